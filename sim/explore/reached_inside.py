"""What the repository's own events say about the behaviours that were reached."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ftrepo import events
from sim.explore.behaviours import behaviour

_Reached = Iterator[tuple[str, str]]


def _breaker(event: events.BreakerChanged) -> _Reached:
    yield "breaker", f"{event.old.value} to {event.new.value}"


def _flushed(event: events.Flushed) -> _Reached:
    yield "flush", "some remain" if event.remaining else "all confirmed"


def _flush_failed(_: events.FlushFailed) -> _Reached:
    yield "flush", "failed"


def _dropped(event: events.PendingDropped) -> _Reached:
    yield "flush", f"dropped: {event.reason}"


def _from_memory(event: events.ServedFromMemory) -> _Reached:
    yield "fallback", {"unavailable": "primary unavailable"}.get(event.reason, event.reason)


def _miss(_: events.CacheMiss) -> _Reached:
    yield "fallback", "miss"


def _peers_asked(event: events.PeersAsked) -> _Reached:
    yield "fallback", "peer had it" if event.found else "no peer had it"


def _refreshed(event: events.Refreshed) -> _Reached:
    yield "memory", "refresh added keys" if event.added else "refresh added none"


def _conflict(_: events.ConflictSeen) -> _Reached:
    yield "memory", "conflict seen"


def _expired(event: events.ExpiredDeleted) -> _Reached:
    where = "without the primary" if event.from_primary is None else "everywhere"
    yield "memory", f"expired deleted {where}"


def _recovered(event: events.JournalRecovered) -> _Reached:
    if event.keys:
        yield "disk", "journal recovered keys"
    if event.expired:
        yield "disk", "journal dropped expired"


def _journal_failed(event: events.JournalFailed) -> _Reached:
    yield "disk", f"{event.operation} failed"


def _journal_kept(_: events.JournalKept) -> _Reached:
    yield "disk", "journal kept"


def _snapshot_loaded(event: events.SnapshotLoaded) -> _Reached:
    if event.keys:
        yield "start", "from a snapshot"


def _snapshot_failed(event: events.SnapshotFailed) -> _Reached:
    yield "disk", f"snapshot {event.operation} failed"


_EVENTS: dict[type[Any], Callable[[Any], _Reached]] = {
    events.BreakerChanged: _breaker,
    events.Flushed: _flushed,
    events.FlushFailed: _flush_failed,
    events.PendingDropped: _dropped,
    events.ServedFromMemory: _from_memory,
    events.CacheMiss: _miss,
    events.PeersAsked: _peers_asked,
    events.Refreshed: _refreshed,
    events.ConflictSeen: _conflict,
    events.ExpiredDeleted: _expired,
    events.JournalRecovered: _recovered,
    events.JournalFailed: _journal_failed,
    events.JournalKept: _journal_kept,
    events.SnapshotLoaded: _snapshot_loaded,
    events.SnapshotFailed: _snapshot_failed,
}


def of_event(event: events.Event) -> Iterator[str]:
    """Yield the behaviours that an event shows, by name."""
    describe = _EVENTS.get(type(event))
    if describe is not None:
        for group, name in describe(event):
            yield behaviour(group, name)
