"""Events as lines of the standard library's logging, under the logger `ftrepo`.

The level says what an operator should do: nothing (debug), know (info), watch (warning), act
(error). Each field of an event is attached to the record under `extra`, by the same name, for
formatters that write JSON; `docs/telemetry.md` lists them. No event carries key material, and the
text of an error goes through `redact` first, so no secret reaches a log.

An outage would fill a disk if each of 10,000 calls a second that fail had a line of its own. So a
kind of event gets `LINES_PER_S` lines a second, and the next line that is written says how many
were `suppressed` before it. Metrics count every event; a log is not where to count.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import fields
from enum import Enum

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
    PendingDropped,
    PrimaryFailed,
    Refreshed,
    RetryScheduled,
    ServedFromMemory,
)
from ftrepo.interface import Durability
from ftrepo.resilience.breaker import BreakerState
from ftrepo.telemetry.redact import describe, one_line

_log = logging.getLogger("ftrepo")

LINES_PER_S = 10
"""The most lines a second of one kind of event, level and operation, by default. An operator cannot
read more, and sixteen kinds at that pace make some megabytes an hour."""

LEVELS: dict[type[Event], int] = {
    KeyCreated: logging.INFO,
    PrimaryFailed: logging.WARNING,
    CacheMiss: logging.DEBUG,
    ServedFromMemory: logging.DEBUG,
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
}
"""The level of each event. It is another one when a breaker closes (info), a key is only in memory
(warning), or a journal was damaged (error)."""

_NEVER_SUPPRESSED = (PendingDropped, BreakerChanged, JournalRecovered, JournalKept)
"""Rare by nature; and what was lost is written down nowhere else."""

_NAMES = {
    BreakerChanged: {"old": "from", "new": "to"},
    RetryScheduled: {"pause_s": "next_delay_s"},
}
"""Fields that are called otherwise in a log than in the code."""

_KINDS_MAX = 1_000
"""How many kinds are told apart. Operations are named in code, so there are few."""


class EventLog:
    """An observer that logs each event, but not too many of them.

    Args:
        lines_per_s: the most lines a second of one kind, at least 1; `None` for no bound. Lines of
            level debug are not bounded, because whoever turns them on wants all, nor are those that
            say that a key was lost or that a breaker changed.

    Raises:
        ValueError: `lines_per_s` is below 1.
    """

    def __init__(self, *, lines_per_s: int | None = LINES_PER_S) -> None:
        if lines_per_s is not None and lines_per_s < 1:
            raise ValueError(f"lines_per_s is {lines_per_s}; it must be at least 1")
        self._lines_per_s = lines_per_s
        self._seconds: dict[object, _Second] = {}

    def __call__(self, event: Event) -> None:
        """Write an event to the logger `ftrepo`."""
        level = _level(event)
        if not _log.isEnabledFor(level):
            return
        suppressed = 0
        if level > logging.DEBUG and not isinstance(event, _NEVER_SUPPRESSED):
            second = self._second(event, level)
            if second is not None:
                if second.is_full:
                    return
                suppressed = second.taken_note_of()
        values = _values(event)
        if suppressed:
            values["suppressed"] = suppressed
        kind = type(event).__name__
        text = " ".join(f"{name}={_shown(value)}" for name, value in values.items())
        _log.log(level, "%s %s", kind, text, extra={"kind": kind} | values)

    def _second(self, event: Event, level: int) -> _Second | None:
        """The second that this event falls into, counted; `None` if there is no bound to it."""
        if self._lines_per_s is None:
            return None
        try:
            now_s = asyncio.get_running_loop().time()
        except RuntimeError:
            return None  # Without a loop there is neither a time nor a flood.
        kind = (type(event), level, getattr(event, "operation", None))
        second = self._seconds.get(kind)
        if second is None:
            if len(self._seconds) >= _KINDS_MAX:
                self._seconds.clear()
            second = self._seconds[kind] = _Second(self._lines_per_s)
        second.count(now_s)
        return second


class _Second:
    """How many events of one kind there were in the second that began at `start_s`."""

    __slots__ = ("_events", "_lines_max", "_start_s", "_suppressed")

    def __init__(self, lines_max: int) -> None:
        self._lines_max = lines_max
        self._start_s = 0.0
        self._events = 0
        self._suppressed = 0

    @property
    def is_full(self) -> bool:
        return self._events > self._lines_max

    def count(self, now_s: float) -> None:
        # Another loop has a clock of its own, which may be behind.
        if not 0 <= now_s - self._start_s < 1:
            self._start_s, self._events = now_s, 0
        self._events += 1
        if self.is_full:
            self._suppressed += 1

    def taken_note_of(self) -> int:
        """How many events had no line since the last that had one."""
        suppressed, self._suppressed = self._suppressed, 0
        return suppressed


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
    return LEVELS[type(event)]


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
