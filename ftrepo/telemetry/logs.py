"""Events as lines of the standard library's logging, under the logger `ftrepo`.

The level says what an operator should do: nothing (debug), know (info), watch (warning), act
(error). Each field of an event is attached to the record under `extra`, by the same name, for
formatters that write JSON; `docs/telemetry.md` lists them. No event carries key material, and the
text of an error goes through `redact` first, so no secret reaches a log.

An outage would fill a disk if each of 10,000 calls a second that fail had a line of its own. So a
kind of event gets `LINES_PER_S` lines a second. Kinds are told apart by level, by operation, and by
the type of the error and of its causes: a thousand time-outs do not hide the one refusal among
them. How many were `suppressed` has a line of its own as soon as an event of any kind comes after
that second, be it one whose level is not logged. There is no timer: a repository that runs has an
event at every clean-up, and what is owed when the last event has come goes unsaid. Metrics count
every event; a log is not where to count.
"""

from __future__ import annotations

import asyncio
import logging
import math
from dataclasses import fields
from enum import Enum
from typing import NamedTuple

from ftrepo.events import (
    BreakerChanged,
    CacheMiss,
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
from ftrepo.redact import describe, one_line
from ftrepo.resilience.breaker import BreakerState

_log = logging.getLogger("ftrepo")

LINES_PER_S = 10
"""The most lines a second of one kind of event, by default. An operator cannot read more, and
sixteen kinds at that pace make some megabytes an hour."""

LEVELS: dict[type[Event], int] = {
    KeyCreated: logging.INFO,
    PrimaryFailed: logging.WARNING,
    CacheMiss: logging.DEBUG,
    ServedFromMemory: logging.DEBUG,
    PeersAsked: logging.DEBUG,
    Flushed: logging.INFO,
    FlushFailed: logging.WARNING,
    PendingDropped: logging.ERROR,
    ConflictSeen: logging.ERROR,
    Refreshed: logging.DEBUG,
    ExpiredDeleted: logging.DEBUG,
    BreakerChanged: logging.WARNING,
    RetryScheduled: logging.WARNING,
    JournalRecovered: logging.INFO,
    JournalFailed: logging.ERROR,
    JournalKept: logging.WARNING,
    SnapshotLoaded: logging.INFO,
    SnapshotFailed: logging.ERROR,
}
"""The level of each event. It is another one when a breaker closes (info), a key is only in memory
(warning), or a journal was damaged (error)."""

_NEVER_SUPPRESSED = (
    PendingDropped,
    ConflictSeen,
    BreakerChanged,
    JournalRecovered,
    JournalKept,
    SnapshotLoaded,
)
"""Rare by nature; and what was lost, or must be acted on, is written down nowhere else."""

_NAMES = {
    BreakerChanged: {"old": "from", "new": "to"},
    RetryScheduled: {"pause_s": "next_delay_s"},
}
"""Fields that are called otherwise in a log than in the code."""

KINDS_MAX = 1_000
"""How many kinds are told apart. Operations and types of errors are named in code, so there are
few; if there are more, those of one event and level that came too late share their lines."""

_CAUSES_MAX = 3
"""How many errors of a chain of causes tell kinds apart."""


class EventLog:
    """An observer that logs each event, but not too many of them.

    Args:
        lines_per_s: the most lines a second of one kind, at least 1; `None` for no bound. Lines of
            level debug are not bounded, because whoever turns them on wants all, nor are those that
            say that a key was lost, that two keys have one id, or that a breaker changed.

    Raises:
        ValueError: `lines_per_s` is below 1.
    """

    def __init__(self, *, lines_per_s: int | None = LINES_PER_S) -> None:
        if lines_per_s is not None and lines_per_s < 1:
            raise ValueError(f"lines_per_s is {lines_per_s}; it must be at least 1")
        self._lines_per_s = lines_per_s
        self._seconds: dict[_Kind, _Second] = {}
        self._owing: dict[_Kind, _Second] = {}
        self._forgot_s = -math.inf

    def __call__(self, event: Event) -> None:
        """Write an event to the logger `ftrepo`.

        Before it comes a line for each kind of which some were suppressed in a second that is over.
        """
        level = _level(event)
        bounded = level > logging.DEBUG and not isinstance(event, _NEVER_SUPPRESSED)
        enabled = _log.isEnabledFor(level)
        if self._owing or (enabled and bounded):
            now_s = self._time_s()
            if now_s is not None:
                self._pay(now_s)
                if enabled and bounded and not self._has_line(event, level, now_s):
                    return
        if not enabled:
            return
        _write(level, type(event).__name__, _values(event))

    def _time_s(self) -> float | None:
        """The time of the loop; `None` if there is none, or no bound."""
        if self._lines_per_s is None:
            return None
        try:
            return asyncio.get_running_loop().time()
        except RuntimeError:
            return None  # Without a loop there is neither a time nor a flood.

    def _has_line(self, event: Event, level: int, now_s: float) -> bool:
        """Count an event, and say whether it is among the first of its kind in its second."""
        kind = _Kind.of(event, level)
        second = self._seconds.get(kind)
        if second is None:
            if len(self._seconds) >= KINDS_MAX and not 0 <= now_s - self._forgot_s < 1:
                self._forget(now_s)
            if len(self._seconds) >= KINDS_MAX:
                kind = _Kind(type(event), level)
                second = self._seconds.get(kind)
            if second is None:
                assert self._lines_per_s is not None
                second = self._seconds[kind] = _Second(self._lines_per_s)
        if second.takes(now_s):
            return True
        self._owing[kind] = second
        return False

    def _pay(self, now_s: float) -> None:
        """Say of each kind how many were suppressed, once its second is over."""
        for kind, second in list(self._owing.items()):
            if second.is_over(now_s):
                del self._owing[kind]
                _write(
                    kind.level, kind.event.__name__, kind.values() | {"suppressed": second.owed()}
                )

    def _forget(self, now_s: float) -> None:
        """Drop the kinds of which there is nothing to know: their second is over, and paid for."""
        self._forgot_s = now_s
        self._seconds = {
            kind: second
            for kind, second in self._seconds.items()
            if kind in self._owing or not second.is_over(now_s)
        }


class _Kind(NamedTuple):
    """What has so many lines a second of its own."""

    event: type[Event]
    level: int
    operation: str | None = None
    errors: tuple[type[BaseException], ...] = ()

    @classmethod
    def of(cls, event: Event, level: int) -> _Kind:
        errors: list[type[BaseException]] = []
        error = getattr(event, "error", None)
        # The error of a store often is of one type whatever went wrong, and its cause says what.
        while error is not None and len(errors) < _CAUSES_MAX:
            errors.append(type(error))
            error = error.__cause__
        return cls(type(event), level, getattr(event, "operation", None), tuple(errors))

    def values(self) -> dict[str, object]:
        values: dict[str, object] = {}
        if self.operation is not None:
            values["operation"] = one_line(self.operation)
        if self.errors:
            values["error_type"] = self.errors[0].__name__
        return values


class _Second:
    """How many events of one kind there were in the second that began at `start_s`."""

    __slots__ = ("_events", "_lines_max", "_start_s")

    def __init__(self, lines_max: int) -> None:
        self._lines_max = lines_max
        self._start_s = -math.inf
        self._events = 0

    def is_over(self, now_s: float) -> bool:
        # Another loop has a clock of its own, which may be behind.
        return not 0 <= now_s - self._start_s < 1

    def takes(self, now_s: float) -> bool:
        """Count an event, and say whether there is a line for it."""
        if self.is_over(now_s):
            self._start_s, self._events = now_s, 0
        self._events += 1
        return self._events <= self._lines_max

    def owed(self) -> int:
        """How many events of this second had no line."""
        return self._events - self._lines_max


log_event = EventLog()
"""The observer that a repository has unless it is given others. One for the process, so that its
bound on lines is one for the process too."""


def _level(event: Event) -> int:
    if isinstance(event, BreakerChanged) and event.new is BreakerState.CLOSED:
        return logging.INFO
    if isinstance(event, KeyCreated) and event.durability is Durability.MEMORY:
        return logging.WARNING
    if isinstance(event, JournalRecovered) and (event.corrupted or event.file_set_aside):
        return logging.ERROR
    if isinstance(event, SnapshotLoaded) and event.corrupted:
        return logging.ERROR
    return LEVELS[type(event)]


def _write(level: int, kind: str, values: dict[str, object]) -> None:
    text = " ".join(f"{name}={_shown(value)}" for name, value in values.items())
    _log.log(level, "%s %s", kind, text, extra={"kind": kind} | values)


def _values(event: Event) -> dict[str, object]:
    renamed = _NAMES.get(type(event), {})
    values: dict[str, object] = {}
    for field in fields(event):
        value = getattr(event, field.name)
        if isinstance(value, BaseException):
            values["error_type"] = type(value).__name__
            value = describe(value)
        elif isinstance(value, Enum):
            value = value.value
        elif isinstance(value, str):
            value = one_line(value)
        values[renamed.get(field.name, field.name)] = value
    return values


def _shown(value: object) -> str:
    # Quotes where a reader of the line could not tell where the value ends.
    if isinstance(value, str) and (not value or " " in value or '"' in value):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value)
