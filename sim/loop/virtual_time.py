"""An asyncio event loop on a SimPy environment."""
# The loop works on SimPy's queue of events itself: it has no public name, and nothing else is as
# fast as SimPy. tests/sim/test_simpy_shape.py pins what is relied on.
# ruff: noqa: SLF001

from __future__ import annotations

import asyncio
import sys
from asyncio.futures import _set_result_unless_cancelled as _wake  # type: ignore[attr-defined]
from collections.abc import Awaitable, Callable, Iterator
from contextlib import nullcontext
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, TypeVar

from sim.loop.bridges import event_of, future_of, settle
from sim.loop.errors import DeadlockError
from sim.loop.handles import Handle, TimerHandle, tasks_in_order
from sim.loop.progress import turns_while_time_passes
from sim.loop.schedule import NEVER, Schedule
from sim.loop.wall_clock import forbid_wall_clock

if TYPE_CHECKING:
    import numpy as np
    import simpy

T = TypeVar("T")

_STOP = Handle.__new__(Handle)
_STOP.cancel()


class VirtualTimeLoop(Schedule):
    """An asyncio event loop on a SimPy environment, for one thread.

    `time` is `env.now`, in seconds. Timers lie on the environment's own queue, with their exact
    time, so that timers and SimPy events share one order. Everything that is ready runs, first
    come first served, before the next timer or event, even if that is due at the same instant
    (where asyncio would fire all timers that are due before it runs what follows from them).

    The same program runs in the same order in every process, also where asyncio iterates over sets
    of tasks (see `sim.loop.handles.Task`). An exception is `asyncio.as_completed`, which starts
    bare coroutines in an order of Python's choice: give it tasks. Functions given to
    `run_in_executor` or `asyncio.to_thread` run in this very thread, one after another, and take
    no virtual time. Sockets, processes and signals are refused with `InputOutputError`.

    Args:
        env: where time passes. The loop drives it: nobody else should call `env.run` meanwhile.
        order: `None` for first come, first served. A generator instead draws what runs next, from
            the callbacks that are ready, the timers that are due and the next SimPy event that is
            due, so as to search for interleavings that break a program. The same seed gives the
            same order. It is more hostile than asyncio, which promises first come, first served
            for `call_soon`.
        forbid_wall_clock: raise `WallClockError` when the program reads a real clock. Slow: see
            `sim.loop.wall_clock.forbid_wall_clock`.
        callbacks_at_one_instant_max: how many callbacks, timers and events may run before virtual
            time passes. At the default a standstill is found in a second or two; an honest burst
            of 10,000 tasks that start at once and take ten steps each needs a tenth of it.
    """

    def __init__(
        self,
        env: simpy.Environment,
        *,
        order: np.random.Generator | None = None,
        forbid_wall_clock: bool = False,
        callbacks_at_one_instant_max: int = 1_000_000,
    ) -> None:
        super().__init__(env)
        if callbacks_at_one_instant_max < 1:
            raise ValueError("callbacks_at_one_instant_max must be at least 1")
        self._order = order
        self._forbids_wall_clock = forbid_wall_clock
        self._turns_max = callbacks_at_one_instant_max
        # What may run next, while it is drawn.
        self._pool: list[Any] = []
        self._main: asyncio.Future[Any] | None = None
        self._running = False

    # SimPy and asyncio, each awaited by the other

    def as_future(self, event: simpy.Event) -> asyncio.Future[Any]:
        """Return a future with the value of a SimPy event or process.

        If the event fails, the future raises its exception, and the event counts as defused. A
        future that was cancelled leaves the event alone.

        Raises:
            ValueError: the event belongs to another environment.
        """
        if event.env is not self.env:
            raise ValueError(f"{event!r} belongs to another environment than this loop")
        return future_of(event, self)

    def as_event(self, awaitable: Awaitable[Any]) -> simpy.Event:
        """Return a SimPy event with the result of a coroutine, a task or a future.

        A process that yields it gets the result, or has the exception thrown into it: as ever in
        SimPy, a copy whose `__cause__` is the original (or a `CopyError`, if its class cannot be
        copied). If no process waits for it, a failure ends the run; a cancellation does not.
        """
        return event_of(awaitable, self, self.env)

    # Running

    def is_running(self) -> bool:
        """Return whether the loop runs now."""
        return self._running

    def stop(self) -> None:
        """End the run once everything that is ready now has run."""
        self._ready.append(_STOP)

    def halt(self) -> None:
        """End the run after the callback that runs now. Any thread may call this."""
        self._ready.appendleft(_STOP)

    def close(self) -> None:
        """Forget all callbacks and timers. SimPy's own events stay.

        Raises:
            RuntimeError: the loop is running.
        """
        if self._running:
            raise RuntimeError("Cannot close a running event loop")
        self._closed = True
        self._ready.clear()
        self._pool.clear()
        self._sweep(lambda timer: timer._loop is self)

    def run_until_complete(self, future: Awaitable[T]) -> T:  # type: ignore[override, unused-ignore]
        """Run until the awaitable is done, and return its result.

        Raises:
            DeadlockError: it is not done, and nothing is left that could run.
            NoProgressError: callbacks run for ever, and virtual time stands still.
            Exception: the awaitable's own; or that of a SimPy event that failed and that nobody
                defused.
        """
        if self._closed:
            raise RuntimeError("Event loop is closed")
        is_new = not asyncio.isfuture(future)
        main = asyncio.ensure_future(future, loop=self)
        if is_new:
            # If the run fails, its error is raised; a complaint about the task adds nothing.
            main._log_destroy_pending = False  # type: ignore[attr-defined]
        main.add_done_callback(self._main_done)
        self._main = main
        try:
            self.run_forever()
        except BaseException:
            if is_new and main.done() and not main.cancelled():
                main.exception()
            raise
        finally:
            self._main = None
            main.remove_done_callback(self._main_done)
        if not main.done():
            raise RuntimeError("Event loop stopped before Future completed.")
        return main.result()

    def _main_done(self, done: asyncio.Future[Any]) -> None:
        # Not the main future of an earlier run, which an exception ended before this was called.
        if done is self._main:
            self.stop()

    def run_forever(self) -> None:
        """Run until `stop` is called.

        Raises:
            DeadlockError: nothing is left that could run, so that nobody can call `stop`.
            NoProgressError: callbacks run for ever, and virtual time stands still.
        """
        if self._closed:
            raise RuntimeError("Event loop is closed")
        if self._running:
            raise RuntimeError("This event loop is already running")
        if asyncio._get_running_loop() is not None:
            raise RuntimeError("Cannot run the event loop while another loop is running")
        hooks = sys.get_asyncgen_hooks()
        watch = forbid_wall_clock(lambda _: self.halt()) if self._forbids_wall_clock else None
        self._running = True
        try:
            sys.set_asyncgen_hooks(self._asyncgen_started, self._asyncgen_finalized)
            asyncio._set_running_loop(self)
            with watch or nullcontext():
                if self._order is None:
                    self._run_first_come()
                else:
                    self._run_drawn(self._order.random)
        finally:
            self._running = False
            asyncio._set_running_loop(None)
            sys.set_asyncgen_hooks(*hooks)
            while _STOP in self._ready:
                self._ready.remove(_STOP)
            # So that `env.run` would not stop for them either.
            self._sweep(lambda timer: timer._callback is None)

    def _run_first_come(self) -> None:  # noqa: C901, PLR0912, PLR0915  calls are what is slow
        env: Any = self.env
        queue, ready = env._queue, self._ready
        popleft = ready.popleft
        chunks = self._turns()
        turns = next(chunks)
        handle: Any = None
        while True:
            try:
                for _ in turns:
                    if not ready:
                        break
                    handle = popleft()
                    callback = handle._callback
                    if callback is None:
                        if handle is _STOP:
                            return
                        continue
                    # A starred call takes three times as long, and tasks never need one.
                    args = handle._args
                    if not args:
                        handle._context.run(callback)
                    elif len(args) == 1:
                        handle._context.run(callback, args[0])
                    else:
                        handle._context.run(callback, *args)
                else:
                    handle = None
                    turns = next(chunks)
                    continue
                handle = None
                if not queue:
                    raise self._deadlock()
                when, _, _, item = heappop(queue)
                if type(item) is TimerHandle:
                    callback = item._callback
                    if callback is None:
                        self._cancelled_timers -= 1
                        continue
                    env._now = when
                    item._scheduled = False
                    handle = item
                    if callback is _wake:
                        # The end of an `asyncio.sleep`: it needs neither a call nor a context.
                        future, result = item._args
                        if not future.cancelled():
                            future.set_result(result)
                    else:
                        item._context.run(callback, *item._args)
                elif when < NEVER:
                    env._now = when
                    settle(item)
                else:
                    env.schedule(item, delay=when)
                    raise self._deadlock()
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                if handle is None:
                    raise
                self._report(handle, error)

    def _run_drawn(self, draw: Callable[[], float]) -> None:
        env, pool = self.env, self._pool
        queue: list[Any] = env._queue
        chunks = self._turns()
        turns = next(chunks)
        handle: Any = None
        while True:
            try:
                for _ in turns:
                    handle = None
                    if self._fill(pool):
                        return
                    choices = len(pool) + bool(queue and queue[0][0] <= env._now)
                    if not choices:
                        self._advance()
                        continue
                    chosen = int(draw() * choices) if choices > 1 else 0
                    if chosen == len(pool):
                        settle(heappop(queue)[3])
                        continue
                    pool[chosen], pool[-1] = pool[-1], pool[chosen]
                    handle = pool.pop()
                    if handle._callback is not None:
                        handle._context.run(handle._callback, *handle._args)
                handle = None
                turns = next(chunks)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                if handle is None:
                    raise
                self._report(handle, error)

    def _fill(self, pool: list[Any]) -> bool:
        """Put what is ready and the timers that are due into the pool. Return whether to stop."""
        ready = self._ready
        queue: list[Any] = self.env._queue
        events = []
        while queue and queue[0][0] <= self.env._now:
            entry = heappop(queue)
            if type(entry[3]) is TimerHandle:
                self.timer_taken(entry[3])
            else:
                events.append(entry)
        for entry in events:
            heappush(queue, entry)
        while ready:
            handle = ready.popleft()
            if handle is _STOP:
                return True
            pool.append(handle)
        return False

    def _advance(self) -> None:
        """Move the clock to the next live timer or event."""
        queue: list[Any] = self.env._queue
        while queue and type(queue[0][3]) is TimerHandle and queue[0][3]._callback is None:
            self.timer_taken(heappop(queue)[3])
        if not queue or queue[0][0] == NEVER:
            raise self._deadlock()
        self.env._now = queue[0][0]

    def _turns(self) -> Iterator[Iterator[None]]:
        return turns_while_time_passes(self.env, self._turns_max, self._upcoming)

    def _upcoming(self) -> Any:
        for callbacks in (self._pool, self._ready):
            if callbacks:
                return callbacks[0]
        queue: list[Any] = self.env._queue
        return queue[0][3] if queue else None

    def _deadlock(self) -> DeadlockError:
        return DeadlockError.of(tasks_in_order(self))

    def _report(self, handle: asyncio.Handle, error: BaseException) -> None:
        self.call_exception_handler(
            {"message": f"exception in callback {handle!r}", "exception": error, "handle": handle}
        )
