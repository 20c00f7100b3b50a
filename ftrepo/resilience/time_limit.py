"""Calls that return in time, whatever the one who is called does.

`asyncio.timeout` cancels the call and then waits until it has ended, so only a call that ends at
once when it is cancelled keeps it. Drivers wait for the server to confirm: with a server that
hangs, calls with a time-out of 0.5 s took 5 s.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from ftrepo.errors import BulkheadFullError, TimeLimitError
from ftrepo.resilience.deadlines import Deadline, Deadlines

P = ParamSpec("P")
T = TypeVar("T")

TIMEOUTS_KEPT = 64
"""How many different time-outs share a timer each. Calls with others have timers of their own."""


class TimedCalls:
    """Makes calls that cannot keep their caller waiting, and keeps count of them.

    A call runs in a task of its own. When its time is up the task is cancelled and *left behind*:
    the caller goes on at once, even if the call answers a cancellation late or never. The task
    costs two or three turns of the loop, so calls that are known to end at once when they are
    cancelled can be made in the caller's own task.

    Args:
        cancels_at_once: whether calls need no task of their own.

    Attributes:
        left_behind: how many calls go on although nobody waits for them any longer. Nothing here
            bounds them.
        timed_out: how many calls took longer than they may, since the beginning.
    """

    def __init__(self, *, cancels_at_once: bool = False) -> None:
        self.left_behind = 0
        self.timed_out = 0
        self._cancels_at_once = cancels_at_once
        self._in_callers_tasks = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._deadlines: dict[float, Deadlines] = {}

    @property
    def under_way(self) -> int:
        """Calls that have not ended, those left behind included."""
        return len(self._tasks) + self._in_callers_tasks

    def run(self, call: Coroutine[Any, Any, T], timeout_s: float | None) -> Coroutine[Any, Any, T]:
        """Return a coroutine that waits for `call`, no longer than this; `None` for no limit.

        Raises:
            TimeLimitError: the time is up. Whether the call took effect is unknown.
            ConnectionAbortedError: the call ended as cancelled, and nobody had cancelled it.
            Exception: what the call raised.
            asyncio.CancelledError: the caller is cancelled. The call is cancelled too, and not
                waited for.
        """
        if self._cancels_at_once:
            return self._in_this_task(call, timeout_s)
        return self._in_own_task(call, timeout_s)

    async def close(self, timeout_s: float) -> None:
        """Cancel what is under way and wait for it to end, but no longer than this."""
        self.kill()
        if self._tasks and timeout_s > 0:
            await asyncio.wait(self._tasks, timeout=timeout_s)

    def kill(self) -> None:
        """Cancel what is under way and wait for nothing."""
        for task in self._tasks:
            task.cancel()

    async def _in_this_task(self, call: Coroutine[Any, Any, T], timeout_s: float | None) -> T:
        task = asyncio.current_task()
        assert task is not None
        deadline = self._deadline(timeout_s, task.cancel)
        cancelling_before = task.cancelling()
        self._in_callers_tasks += 1
        try:
            return await call
        except asyncio.CancelledError as cancelled:
            late = deadline is not None and deadline.has_passed
            if task.cancelling() - late > cancelling_before:
                raise  # The caller itself is cancelled.
            raise (self._no_answer(timeout_s) if late else _cancelled_itself()) from cancelled
        finally:
            self._in_callers_tasks -= 1
            if deadline is not None:
                deadline.lift()
                if deadline.has_passed:
                    task.uncancel()

    async def _in_own_task(self, call: Coroutine[Any, Any, T], timeout_s: float | None) -> T:
        loop = asyncio.get_running_loop()
        task = loop.create_task(call)
        self._tasks.add(task)
        settled: asyncio.Future[None] = loop.create_future()

        def settle() -> None:
            if not settled.done():
                settled.set_result(None)

        def ended(task: asyncio.Task[T]) -> None:
            self._tasks.discard(task)
            settle()

        task.add_done_callback(ended)
        deadline = self._deadline(timeout_s, settle)
        try:
            await settled
        except asyncio.CancelledError:
            self._leave_behind(task)
            raise
        finally:
            if deadline is not None:
                deadline.lift()
        if not task.done():
            self._leave_behind(task)
            raise self._no_answer(timeout_s)
        if task.cancelled():
            raise _cancelled_itself()
        return task.result()

    def _leave_behind(self, task: asyncio.Task[Any]) -> None:
        """Cancel a task without waiting for it; look at its outcome, or asyncio would warn."""

        def ended(task: asyncio.Task[Any]) -> None:
            self.left_behind -= 1
            if not task.cancelled():
                task.exception()

        self.left_behind += 1
        task.cancel()
        task.add_done_callback(ended)

    def _no_answer(self, timeout_s: float | None) -> TimeLimitError:
        self.timed_out += 1
        return TimeLimitError(f"no answer within {timeout_s} s")

    def _deadline(self, timeout_s: float | None, act: Callable[[], object]) -> Deadline | None:
        if timeout_s is None:
            return None
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            # A timer of a loop that is gone would never fire.
            self._loop = loop
            self._deadlines = {}
        deadlines = self._deadlines.get(timeout_s)
        if deadlines is None:
            deadlines = Deadlines(timeout_s)
            if len(self._deadlines) < TIMEOUTS_KEPT:
                self._deadlines[timeout_s] = deadlines
        return deadlines.begin(act)


class TimeLimit:
    """Makes calls that return within one time-out, whatever they wait for.

    Used as a call, or as a decorator of async functions::

        @TimeLimit(0.5, name="lookup")
        async def lookup(key_id: str) -> bytes: ...

    Args:
        timeout_s: the most time until a call returns or raises; above zero.
        name: for errors and metrics.
        cancels_at_once: the calls end at once when they are cancelled. Then they run in the
            caller's own task, which is quicker; but one that does not keeps its caller waiting.
        refuse_at_left_behind: at least 1. Once so many calls have been left behind and have not
            ended, further calls are refused: something hangs, and each would cost memory and most
            likely a connection. That alone does not bound how many are left behind: those under
            way at that moment may still be. With a `Bulkhead` around, which bounds those, there are
            at most `refuse_at_left_behind - 1 + concurrency_max`; with one inside, no more than its
            `concurrency_max`. The default is the size of many a server's pool of connections.

    Attributes:
        admitted: how many calls were made, since the beginning.
        refused: how many were not made.
    """

    def __init__(
        self,
        timeout_s: float,
        *,
        name: str = "time limit",
        cancels_at_once: bool = False,
        refuse_at_left_behind: int = 100,
    ) -> None:
        if not timeout_s > 0:
            raise ValueError(f"timeout_s is {timeout_s!r}; it must be above zero")
        if not refuse_at_left_behind >= 1:
            at = f"refuse_at_left_behind is {refuse_at_left_behind!r}"
            raise ValueError(f"{at}; it must be at least 1")
        self.name = name
        self.timeout_s = timeout_s
        self.refuse_at_left_behind = refuse_at_left_behind
        self.admitted = 0
        self.refused = 0
        self._calls = TimedCalls(cancels_at_once=cancels_at_once)

    @property
    def under_way(self) -> int:
        """Calls that have not ended, those left behind included."""
        return self._calls.under_way

    @property
    def left_behind(self) -> int:
        """Calls that go on although nobody waits for them any longer."""
        return self._calls.left_behind

    @property
    def timed_out(self) -> int:
        """How many calls took longer than they may, since the beginning."""
        return self._calls.timed_out

    async def call(
        self, action: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Return what `action(*args, **kwargs)` returns, in time.

        Raises:
            TimeLimitError: the time is up. Whether the call took effect is unknown.
            BulkheadFullError: the call was not made, because too many were left behind.
            ConnectionAbortedError: the call ended as cancelled, and nobody had cancelled it.
            Exception: what the call raised.
        """
        if self._calls.left_behind >= self.refuse_at_left_behind:
            self.refused += 1
            reason = f"{self._calls.left_behind} calls that took too long have not ended yet"
            raise BulkheadFullError(self.name, reason, 0.0)
        self.admitted += 1
        return await self._calls.run(action(*args, **kwargs), self.timeout_s)

    def __call__(
        self, function: Callable[P, Coroutine[Any, Any, T]]
    ) -> Callable[P, Coroutine[Any, Any, T]]:
        """Return the function with its time limited."""

        @functools.wraps(function)
        async def in_time(*args: P.args, **kwargs: P.kwargs) -> T:
            return await self.call(function, *args, **kwargs)

        return in_time

    async def close(self, timeout_s: float) -> None:
        """Cancel what is under way and wait for it to end, but no longer than this."""
        await self._calls.close(timeout_s)


def _cancelled_itself() -> ConnectionAbortedError:
    # That is the driver's failure, not a cancellation of our caller.
    return ConnectionAbortedError("the driver cancelled the call")
