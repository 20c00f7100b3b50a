"""The one way to the primary: through the breaker, within a time-out, so many at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from ftrepo.errors import (
    KeyConflictError,
    KeyExpiredError,
    KeyNotFoundError,
    KeyUnavailableError,
    PrimaryRejectedError,
    PrimaryUnavailableError,
)
from ftrepo.events import Event, PrimaryFailed
from ftrepo.resilience.breaker import BreakerState, CircuitBreaker, Permit
from ftrepo.resilience.deadlines import Deadline, Deadlines

T = TypeVar("T")

_ANSWERS = (KeyNotFoundError, KeyConflictError, KeyExpiredError)
"""Errors by which the primary answers a question. It is healthy if it can say no."""


class GuardedPrimary:
    """Makes calls to the primary that cannot hurt the caller.

    A call runs in a task of its own. When its time is up the task is cancelled and *left behind*:
    the caller goes on at once, even if the driver answers a cancellation late or never. Calls left
    behind count as under way until they end, and the number under way is bounded.

    The task costs two or three turns of the loop. A store whose calls end at once when they are
    cancelled can say so (`PrimaryStore.cancels_at_once`), and is called in the caller's own task.

    Args:
        calls_in_flight_max: most calls under way, those left behind included; at least 1.
        cancels_at_once: whether calls need no task of their own.
        observe: is told of every failure.
        breaker: decides whether a call is made at all; `None` to make every call.
    """

    def __init__(
        self,
        *,
        calls_in_flight_max: int,
        observe: Callable[[Event], None],
        breaker: CircuitBreaker | None,
        cancels_at_once: bool = False,
    ) -> None:
        self.breaker = breaker
        self._cancels_at_once = cancels_at_once
        self._in_callers_tasks = 0
        self._deadlines: dict[float, Deadlines] = {}
        self._calls_in_flight_max = calls_in_flight_max
        self._observe = observe
        self._in_flight: set[asyncio.Task[Any]] = set()

    @property
    def calls_in_flight(self) -> int:
        """Calls under way, those left behind at their time-out included."""
        return len(self._in_flight) + self._in_callers_tasks

    @property
    def is_closed(self) -> bool:
        """Whether ordinary calls are made: there is no breaker, or it is closed."""
        return self.breaker is None or self.breaker.state is BreakerState.CLOSED

    def retry_after_s(self) -> float | None:
        """Seconds until the primary is next worth asking; `None` when nobody knows."""
        if self.breaker is None or self.is_closed:
            return None
        return self.breaker.retry_after_s(asyncio.get_running_loop().time())

    async def call(
        self,
        operation: str,
        action: Callable[[], Coroutine[Any, Any, T]],
        *,
        timeout_s: float | None,
        probe: bool = False,
    ) -> T:
        """Run `action()` and return what it returns.

        Args:
            operation: the name for logs and events.
            action: makes the call; not called if the call is refused.
            timeout_s: the most time until this returns or raises; `None` for no limit.
            probe: take one of the breaker's places when it is half-open. Calls without it are
                rejected then, so that no user pays a time-out to find out how the primary is.

        Raises:
            PrimaryUnavailableError: the call failed, ran out of time, or too many are under way.
                Whatever the driver raised is its `__cause__`.
            PrimaryRejectedError: the primary refuses the data; the breaker does not count it.
            CircuitOpenError: the call was not made, because of the breaker.
            KeyNotFoundError, KeyConflictError, KeyExpiredError: the primary's own answer.
        """
        now_s = asyncio.get_running_loop().time
        if self.calls_in_flight >= self._calls_in_flight_max:
            raise PrimaryUnavailableError(
                f"{operation}: {self.calls_in_flight} calls to the primary are under way already"
            )
        started_s = now_s()
        permit = self._admit(started_s, probe=probe)
        try:
            if self._cancels_at_once:
                result = await self._in_this_task(action(), timeout_s)
            else:
                result = await self._in_own_task(action(), timeout_s)
        except KeyUnavailableError as error:
            self._failed(operation, error, permit, started_s)
            raise PrimaryUnavailableError(f"{operation}: {error}") from error
        except _ANSWERS:
            self._succeeded(permit)
            raise
        except asyncio.CancelledError:
            if self.breaker is not None and permit is not None:
                self.breaker.release(permit)
            raise
        except PrimaryRejectedError as error:
            # It answered, so it is up; it did not do its work, so that proves nothing more.
            self._failed(operation, error, None, started_s)
            if self.breaker is not None and permit is not None:
                self.breaker.release(permit)
            raise
        except Exception as error:
            self._failed(operation, error, permit, started_s)
            raise PrimaryUnavailableError(
                f"{operation}: {str(error) or type(error).__name__}"
            ) from error
        self._succeeded(permit)
        return result

    async def close(self, timeout_s: float) -> None:
        """Cancel what is under way and wait for it to end, but no longer than this."""
        for task in self._in_flight:
            task.cancel()
        if self._in_flight and timeout_s > 0:
            await asyncio.wait(self._in_flight, timeout=timeout_s)

    def kill(self) -> None:
        """Cancel what is under way and wait for nothing."""
        for task in self._in_flight:
            task.cancel()

    def _admit(self, now_s: float, *, probe: bool) -> Permit | None:
        if self.breaker is None:
            return None
        if not probe and (rejection := self.breaker.rejection(now_s)) is not None:
            raise rejection
        return self.breaker.acquire(now_s)

    def _succeeded(self, permit: Permit | None) -> None:
        if self.breaker is not None and permit is not None:
            self.breaker.succeed(permit, asyncio.get_running_loop().time())

    def _failed(
        self, operation: str, error: BaseException, permit: Permit | None, started_s: float
    ) -> None:
        now_s = asyncio.get_running_loop().time()
        self._observe(PrimaryFailed(operation=operation, error=error, duration_s=now_s - started_s))
        if self.breaker is not None and permit is not None:
            self.breaker.fail(permit, now_s)

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
            raise (_no_answer(timeout_s) if late else _cancelled_itself()) from cancelled
        finally:
            self._in_callers_tasks -= 1
            if deadline is not None:
                deadline.lift()
                if deadline.has_passed:
                    task.uncancel()

    async def _in_own_task(self, call: Coroutine[Any, Any, T], timeout_s: float | None) -> T:
        loop = asyncio.get_running_loop()
        task = loop.create_task(call)
        self._in_flight.add(task)
        settled: asyncio.Future[None] = loop.create_future()

        def settle() -> None:
            if not settled.done():
                settled.set_result(None)

        def ended(task: asyncio.Task[T]) -> None:
            self._in_flight.discard(task)
            settle()

        task.add_done_callback(ended)
        deadline = self._deadline(timeout_s, settle)
        try:
            await settled
        except asyncio.CancelledError:
            _leave_behind(task)
            raise
        finally:
            if deadline is not None:
                deadline.lift()
        if not task.done():
            _leave_behind(task)
            raise _no_answer(timeout_s)
        if task.cancelled():
            raise _cancelled_itself()
        return task.result()

    def _deadline(self, timeout_s: float | None, act: Callable[[], object]) -> Deadline | None:
        if timeout_s is None:
            return None
        deadlines = self._deadlines.get(timeout_s)
        if deadlines is None:
            # One for each time-out of the policy: a handful.
            deadlines = self._deadlines[timeout_s] = Deadlines(timeout_s)
        return deadlines.begin(act)


def _no_answer(timeout_s: float | None) -> TimeoutError:
    return TimeoutError(f"no answer within {timeout_s} s")


def _cancelled_itself() -> ConnectionAbortedError:
    # That is the driver's failure, not a cancellation of our caller.
    return ConnectionAbortedError("the driver cancelled the call")


def _leave_behind(task: asyncio.Task[Any]) -> None:
    """Cancel a task without waiting for it; look at its outcome, or asyncio would warn."""
    task.cancel()
    task.add_done_callback(lambda task: task.cancelled() or task.exception())
