"""What the events count: the rows of the table that grow with what a repository tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ftrepo.errors import PrimaryRejectedError
from ftrepo.events import (
    BreakerChanged,
    ConflictSeen,
    Event,
    ExpiredDeleted,
    Flushed,
    FlushFailed,
    JournalFailed,
    JournalKept,
    JournalRecovered,
    KeyCreated,
    PeersAsked,
    PendingDropped,
    PrimaryFailed,
    Refreshed,
    RetryScheduled,
    ServedFromMemory,
    SnapshotFailed,
    SnapshotLoaded,
)
from ftrepo.interface import Durability
from ftrepo.resilience.breaker import BreakerState
from ftrepo.telemetry.metric import Kind, Metric

OPERATIONS = ("create", "create_many", "delete_expired", "get", "list_valid", "ping")
"""What is asked of the primary."""

_STATES = tuple(state.value for state in BreakerState)

CHANGES = (
    ("closed", "open"),
    ("open", "half-open"),
    ("half-open", "open"),
    ("half-open", "closed"),
)
"""The changes of state that a breaker makes by itself; others are by `force_open` and `reset`."""


@dataclass(frozen=True, slots=True)
class Count:
    """What one event adds to one metric: to a counter, or as one value to a histogram."""

    metric: Metric
    amount: Callable[[Any], float] = lambda _event: 1.0
    labels: Callable[[Any], tuple[str, ...]] = lambda _event: ()


def _counter(name: str, unit: str, text: str, **labels: tuple[str, ...] | None) -> Metric:
    return Metric(name=name, kind=Kind.COUNTER, unit=unit, help=text, labels=labels)


def _histogram(name: str, text: str, **labels: tuple[str, ...] | None) -> Metric:
    return Metric(name=name, kind=Kind.HISTOGRAM, unit="s", help=text, labels=labels)


KEYS_CREATED = _counter(
    "ftrepo.keys.created",
    "{key}",
    "Keys acknowledged by create, by what the acknowledgement survives.",
    durability=tuple(each.value for each in Durability),
)
PRIMARY_FAILURES = _counter(
    "ftrepo.primary.failures",
    "{call}",
    "Calls to the primary that failed, by what was asked and how: not answered in time (timeout), "
    "refused because of what they ask for (rejected), or otherwise (error).",
    operation=OPERATIONS,
    failure=("error", "rejected", "timeout"),
)
FAILURE_DURATION = _histogram(
    "ftrepo.primary.failure.duration",
    "How long calls to the primary took that failed.",
    operation=OPERATIONS,
)
SERVED_FROM_MEMORY = _counter(
    "ftrepo.served_from_memory",
    "{answer}",
    "Answers to get that memory gave in the primary's place, by why.",
    reason=("unavailable", "unknown to the primary"),
)
PEERS_ASKED = _counter(
    "ftrepo.peers.asked",
    "{question}",
    "Keys that other instances were asked for, by what came of it.",
    outcome=("found", "not found"),
)
FLUSHES = _counter(
    "ftrepo.flushes",
    "{batch}",
    "Batches of pending writes sent to the primary, by outcome.",
    outcome=("confirmed", "failed"),
)
KEYS_FLUSHED = _counter("ftrepo.keys.flushed", "{key}", "Pending keys that the primary confirmed.")
FLUSH_DURATION = _histogram("ftrepo.flush.duration", "How long confirmed batches took.")
KEYS_DROPPED = _counter(
    "ftrepo.keys.dropped",
    "{key}",
    "Acknowledged keys that will never be in the primary, by why; shutdown means lost.",
    reason=("conflict", "expired", "shutdown"),
)
CONFLICTS = _counter("ftrepo.conflicts", "{key}", "Ids found with other material in two stores.")
REFRESHES = _counter("ftrepo.refreshes", "{load}", "Complete loads of the primary's keys.")
KEYS_DELETED = _counter(
    "ftrepo.keys.deleted", "{key}", "Expired keys deleted.", store=("cache", "primary")
)
CLEANUPS_MISSED = _counter(
    "ftrepo.cleanups.missed", "{cleanup}", "Clean-ups for which the primary could not be asked."
)
JOURNAL_FAILURES = _counter(
    "ftrepo.journal.failures",
    "{call}",
    "Calls to the journal that failed or came too late.",
    operation=("append", "close", "remove"),
)
SNAPSHOT_FAILURES = _counter(
    "ftrepo.snapshot.failures",
    "{call}",
    "Calls to the snapshot of memory that failed or came too late.",
    operation=("load", "save"),
)
SNAPSHOT_LOADED = _counter(
    "ftrepo.snapshot.loaded",
    "{key}",
    "Keys that a start found in the snapshot, by what became of them.",
    outcome=("corrupted", "recalled"),
)
JOURNAL_RECOVERED = _counter(
    "ftrepo.journal.recovered",
    "{key}",
    "Keys found in the journal at the start, by what became of them; a file set aside counts as "
    "one corrupted.",
    outcome=("corrupted", "expired", "pending"),
)
JOURNAL_KEPT = _counter(
    "ftrepo.journal.kept", "{key}", "Keys left to the journal at the end, for the next start."
)
STATE_CHANGES = _counter(
    "circuit_breaker.state_changes",
    "{change}",
    "Changes of a breaker's state: from closed to open it trips, from half-open to open a probe "
    "has failed.",
    **{"breaker": None, "from": _STATES, "to": _STATES},
)
RETRY_ATTEMPTS = _counter(
    "retry.attempts", "{attempt}", "Attempts made again after one that failed.", operation=None
)


def _failure(event: PrimaryFailed) -> tuple[str, str]:
    if isinstance(event.error, PrimaryRejectedError):
        return event.operation, "rejected"
    return event.operation, "timeout" if isinstance(event.error, TimeoutError) else "error"


COUNTED: dict[type[Event], tuple[Count, ...]] = {
    KeyCreated: (Count(KEYS_CREATED, labels=lambda e: (e.durability.value,)),),
    PrimaryFailed: (
        Count(PRIMARY_FAILURES, labels=_failure),
        Count(FAILURE_DURATION, lambda e: e.duration_s, lambda e: (e.operation,)),
    ),
    ServedFromMemory: (Count(SERVED_FROM_MEMORY, labels=lambda e: (e.reason,)),),
    PeersAsked: (Count(PEERS_ASKED, labels=lambda e: ("found" if e.found else "not found",)),),
    Flushed: (
        Count(FLUSHES, labels=lambda _: ("confirmed",)),
        Count(KEYS_FLUSHED, lambda e: e.confirmed),
        Count(FLUSH_DURATION, lambda e: e.duration_s),
    ),
    FlushFailed: (Count(FLUSHES, labels=lambda _: ("failed",)),),
    PendingDropped: (Count(KEYS_DROPPED, labels=lambda e: (e.reason,)),),
    ConflictSeen: (Count(CONFLICTS),),
    Refreshed: (Count(REFRESHES),),
    ExpiredDeleted: (
        Count(KEYS_DELETED, lambda e: e.from_cache, lambda _: ("cache",)),
        Count(KEYS_DELETED, lambda e: e.from_primary or 0, lambda _: ("primary",)),
        Count(CLEANUPS_MISSED, lambda e: e.from_primary is None),
    ),
    BreakerChanged: (Count(STATE_CHANGES, labels=lambda e: (e.breaker, e.old.value, e.new.value)),),
    RetryScheduled: (Count(RETRY_ATTEMPTS, labels=lambda e: (e.operation,)),),
    JournalFailed: (Count(JOURNAL_FAILURES, labels=lambda e: (e.operation,)),),
    JournalRecovered: (
        Count(JOURNAL_RECOVERED, lambda e: e.keys, lambda _: ("pending",)),
        Count(JOURNAL_RECOVERED, lambda e: e.expired, lambda _: ("expired",)),
        Count(
            JOURNAL_RECOVERED,
            lambda e: e.corrupted + (e.file_set_aside is not None),
            lambda _: ("corrupted",),
        ),
    ),
    JournalKept: (Count(JOURNAL_KEPT, lambda e: e.keys),),
    SnapshotFailed: (Count(SNAPSHOT_FAILURES, labels=lambda e: (e.operation,)),),
    SnapshotLoaded: (
        Count(SNAPSHOT_LOADED, lambda e: e.keys, lambda _: ("recalled",)),
        Count(SNAPSHOT_LOADED, lambda e: e.corrupted, lambda _: ("corrupted",)),
    ),
}
"""What each event adds. A miss of the cache is not here: it is read, with the hits."""

COUNTED_METRICS: tuple[Metric, ...] = tuple(
    dict.fromkeys(count.metric for counts in COUNTED.values() for count in counts)
)
"""Their rows."""
