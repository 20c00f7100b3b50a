"""Events as lines of the standard library's logging, under the logger `ftrepo`.

The level says what an operator should do: nothing (debug), know (info), watch (warning), act
(error). Every field of the event is attached to the record under `extra`, for structured
formatters. No event carries key material, so none can reach a log.
"""

from __future__ import annotations

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
    ServedFromMemory,
)
from ftrepo.interface import Durability
from ftrepo.resilience.breaker import BreakerState

_log = logging.getLogger("ftrepo")

_LEVELS: dict[type[Event], int] = {
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
    JournalRecovered: logging.INFO,
    JournalFailed: logging.ERROR,
    JournalKept: logging.WARNING,
}


def log_event(event: Event) -> None:
    """Write an event to the logger `ftrepo`."""
    level = _LEVELS[type(event)]
    if isinstance(event, BreakerChanged) and event.new is BreakerState.CLOSED:
        level = logging.INFO
    elif isinstance(event, KeyCreated) and event.durability is Durability.MEMORY:
        level = logging.WARNING
    elif isinstance(event, JournalRecovered) and (event.corrupted or event.file_set_aside):
        level = logging.ERROR
    if not _log.isEnabledFor(level):
        return
    values = {f.name: _plain(getattr(event, f.name)) for f in fields(event)}
    text = " ".join(f"{name}={value}" for name, value in values.items())
    _log.log(
        level, "%s %s", type(event).__name__, text, extra={"event": type(event).__name__} | values
    )


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {value}"
    return value
