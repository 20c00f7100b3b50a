"""The clock of whichever event loop runs, found cheaply.

Asking for the running loop is the dearest part of reading its clock: Python 3.11 asks the operating
system for the process's number on each call. And `asyncio`'s own loops all have one clock, the
monotonic clock of the machine, behind a method. So whoever reads the clock on every call keeps what
`clock_of` returns, together with a weak reference to the loop, and asks again once that loop does
not run any more.

This is the only file of the package that names a real clock, and it reads it only where the running
loop would: a loop with a clock of its own, such as one of virtual time, is asked itself.
"""

from __future__ import annotations

import asyncio
import time  # noqa: TID251  the clock of asyncio's own loops, without the way through the loop
import weakref
from collections.abc import Callable

Clock = Callable[[], float]
"""Returns seconds since a moment of its own. It belongs to the running loop."""


def running_loop_time_s() -> float:
    """Return the time of the loop that runs in this thread.

    Raises:
        RuntimeError: none runs.
    """
    return asyncio.get_running_loop().time()


def clock_of(loop: asyncio.AbstractEventLoop) -> Clock:
    """Return what reads the clock of this loop while it runs. It does not keep the loop alive."""
    # Compared is the function, so that a loop which overrides `time` is never taken for an ordinary
    # one, whatever it inherits from; nor is one whose method was replaced on the instance.
    is_ordinary = getattr(loop.time, "__func__", None) is asyncio.BaseEventLoop.time
    return time.monotonic if is_ordinary else running_loop_time_s


class RunningClock:
    """Reads the clock of whichever loop runs, and remembers which that was. For one thread.

    For who reads it once a call; the breaker, which reads it twice, has the same written out.
    """

    __slots__ = ("_clock", "_loop")

    def __init__(self) -> None:
        self._clock: Clock = running_loop_time_s
        self._loop: Callable[[], asyncio.AbstractEventLoop | None] = no_loop

    def time_s(self) -> float:
        """Return the time of the running loop.

        Raises:
            RuntimeError: none runs.
        """
        loop = self._loop()
        # While that loop runs it is the one that runs here.
        if loop is None or not loop.is_running():
            loop = asyncio.get_running_loop()
            self._loop = weakref.ref(loop)
            self._clock = clock_of(loop)
        clock = self._clock
        # A loop with a clock of its own is at hand: it need not be found again.
        return loop.time() if clock is running_loop_time_s else clock()


def no_loop() -> None:
    """Stand for a reference to a loop that is gone."""
