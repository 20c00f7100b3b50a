"""Finds code that reads real time, or waits for it, where only virtual time counts."""

from __future__ import annotations

import datetime
import gc
import logging
import sys
import time  # noqa: TID251  to know the functions that nobody may call
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sim.loop.errors import WallClockError

if TYPE_CHECKING:
    from types import CodeType, FrameType

_CLOCKS = frozenset(
    getattr(time, name)
    for name in (
        *("time", "monotonic", "perf_counter", "process_time", "thread_time"),
        *("time_ns", "monotonic_ns", "perf_counter_ns", "process_time_ns", "thread_time_ns"),
        *("clock_gettime", "clock_gettime_ns", "sleep"),
    )
    if hasattr(time, name)
)

_CALENDAR = frozenset({"now", "utcnow", "today"})

_ALLOWED_FILES = frozenset({logging.__file__})
"""`logging` stamps every record with the time of day, which nothing reads back."""


@contextmanager
def forbid_wall_clock(
    on_leak: Callable[[WallClockError], object] | None = None,
) -> Iterator[None]:
    """Make the first call of a real clock in this thread raise `WallClockError`.

    Watched are the clocks and `sleep` of `time`, and `now`, `utcnow` and `today` of `datetime` and
    `date` and of their subclasses, by whatever name or default argument they were bound earlier.
    The calls of `logging` are allowed (it stamps records), and so are those of the callbacks in
    `gc.callbacks` (tools time the garbage collector with them, at moments that no program chooses).

    Not seen: other threads; calls that C code makes, as in `map(time.sleep, ...)` or
    `pandas.Timestamp.now()`; and `time.localtime()`, which cannot be told from the harmless
    `time.localtime(seconds)`.

    It works by `sys.setprofile`, and puts back whatever profile function was set. Every call of
    every function gets dearer: asyncio code takes about four times as long.

    Args:
        on_leak: is told of the error just before it is raised; `None` tells nobody.

    Raises:
        WallClockError: at the call. If the program swallows it there, again at the end of the
            block, because a run that has leaked is worth nothing.
        RuntimeError: a profiler written in C, such as `cProfile`, is active in this thread, and
            could not be put back.
    """
    previous = sys.getprofile()
    if previous is not None and not callable(previous):
        raise RuntimeError(f"cannot watch for wall clocks while {previous!r} profiles this thread")
    leaks: list[WallClockError] = []
    unchosen = {getattr(callback, "__code__", None) for callback in gc.callbacks}

    def watch(frame: FrameType, event: str, called: Any) -> None:
        if event != "c_call" or not _is_clock(called):
            return
        code = frame.f_code
        if code.co_filename in _ALLOWED_FILES or code in unchosen:
            return
        # Python removes a profile function that raises: this is the only leak that is found.
        leaks.append(_leak(called, code, frame.f_lineno))
        if on_leak is not None:
            on_leak(leaks[0])
        raise leaks[0]

    sys.setprofile(watch)
    try:
        yield
    except BaseException as error:
        if leaks and error is not leaks[0]:
            error.add_note(f"before that, unnoticed: {leaks[0]}")
        raise
    else:
        if leaks:
            raise leaks[0]
    finally:
        sys.setprofile(previous)


def _is_clock(called: Any) -> bool:
    if called in _CLOCKS:
        return True
    owner = called.__self__
    return (
        isinstance(owner, type)
        and issubclass(owner, datetime.date)
        and called.__name__ in _CALENDAR
    )


def _leak(called: Any, code: CodeType, line: int) -> WallClockError:
    owner = called.__self__
    name = f"{owner.__name__}.{called.__name__}"
    remedy = "take the time from the running loop (loop.time()) or from an argument"
    return WallClockError(
        f"wall clock: {name}() was called at {code.co_filename}:{line} in {code.co_qualname};"
        f" {remedy}"
    )
