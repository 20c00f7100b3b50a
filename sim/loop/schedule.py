"""What is to run, and when: ready callbacks, timers on SimPy's queue, futures and tasks."""
# The loop works on SimPy's queue of events itself: it has no public name, and nothing else is as
# fast as SimPy. tests/sim/test_simpy_shape.py pins what is relied on.
# ruff: noqa: SLF001

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from heapq import heapify, heappush
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

from simpy.events import NORMAL

from sim.loop.handles import Handle, Task, TimerHandle
from sim.loop.surface import LoopSurface

if TYPE_CHECKING:
    import simpy

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_CANCELLED_TIMERS_MIN = 100
"""With fewer cancelled timers on the queue it is not worth while to sweep it."""

NEVER = math.inf

# Looked up once for each callback, so not worth an attribute access.
_new_handle = Handle.__new__
_new_timer = TimerHandle.__new__
_new_task = Task.__new__
_Future = asyncio.Future


class Schedule(LoopSurface):
    """The part of an event loop that takes orders, while `VirtualTimeLoop` carries them out."""

    def __init__(self, env: simpy.Environment) -> None:
        super().__init__()
        self.env = env
        # asyncio's time is a float; SimPy begins at the integer 0.
        env._now = float(env._now)
        self._ready: deque[Any] = deque()
        self._cancelled_timers = 0
        self._task_numbers = count(1)
        self._closed = False

    def is_closed(self) -> bool:
        """Return whether the loop was closed for good."""
        return self._closed

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self.env._now

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Run a callback at this instant, after what is ready already."""
        if self._closed:
            raise RuntimeError("Event loop is closed")
        handle = _new_handle(Handle)
        handle._callback = callback
        handle._args = args
        handle._context = copy_context() if context is None else context
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Do as `call_soon`. It wakes nobody: virtual time does not wait for other threads."""
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run a callback after so many seconds; zero or less means at this instant."""
        return self._set_timer(self.env._now + delay, callback, args, context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run a callback at this time; at this instant if it has passed, never if it is infinite.

        Raises:
            ValueError: the time is not a number.
        """
        return self._set_timer(when, callback, args, context)

    def _set_timer(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: Context | None,
    ) -> TimerHandle:
        if self._closed:
            raise RuntimeError("Event loop is closed")
        timer = _new_timer(TimerHandle)
        timer._when = when
        timer._callback = callback
        timer._args = args
        timer._context = copy_context() if context is None else context
        timer._loop = self
        timer._scheduled = True
        env: Any = self.env
        if not env._now <= when < NEVER:
            if math.isnan(when):
                raise ValueError("a timer needs a time, and got NaN")
            if when == NEVER:
                # Not on the queue: if all that is left is to wait for this, it is a deadlock.
                timer._scheduled = False
                return timer
            # Time cannot go backwards.
            when = env._now
        heappush(env._queue, (when, NORMAL, next(env._eid), timer))
        return timer

    def timer_cancelled(self) -> None:
        """Count a cancelled timer, and sweep the queue if they are more than half of it."""
        self._cancelled_timers += 1
        cancelled, total = self._cancelled_timers, len(self.env._queue)
        if cancelled > _CANCELLED_TIMERS_MIN and 2 * cancelled > total:
            self._sweep(lambda timer: timer._callback is None)

    def timer_taken(self, timer: TimerHandle) -> None:
        """Make a timer ready that has left the queue."""
        timer._scheduled = False
        if timer._callback is None:
            self._cancelled_timers -= 1
        else:
            self._ready.append(timer)

    def _sweep(self, unwanted: Callable[[TimerHandle], bool]) -> None:
        queue: list[Any] = self.env._queue
        # In place, because SimPy and the running loop hold this very list.
        queue[:] = [e for e in queue if not (type(e[3]) is TimerHandle and unwanted(e[3]))]
        heapify(queue)
        self._cancelled_timers = 0

    def create_future(self) -> asyncio.Future[Any]:
        """Return a new future of this loop."""
        return _Future(loop=self)

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
        eager_start: bool | None = None,
    ) -> asyncio.Task[T]:
        """Start a coroutine. Tasks without a name are numbered from 1 in each loop.

        Args:
            coro: what to run.
            name: `None` for a numbered name.
            context: what the task runs in; `None` for a copy of the caller's.
            eager_start: run the first step at once. `None` leaves that to Python, which knows
                this option from 3.12 on.
        """
        if self._closed:
            raise RuntimeError("Event loop is closed")
        options: dict[str, Any] = {} if eager_start is None else {"eager_start": eager_start}
        if self._task_factory is not None:
            if context is not None:
                options["context"] = context
            made: asyncio.Task[T] = self._task_factory(self, coro, **options)
            if name is not None:
                made.set_name(name)
            return made
        # The number comes first, because a task puts itself into a set while it is made.
        task: Task[T] = _new_task(Task)
        task.number = number = next(self._task_numbers)
        if name is None:
            name = f"Task-{number}"
        if options:
            task.__init__(coro, loop=self, name=name, context=context, **options)  # type: ignore[misc]
        else:
            task.__init__(coro, loop=self, name=name, context=context)  # type: ignore[misc]
        return task
