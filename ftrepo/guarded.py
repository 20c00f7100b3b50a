"""The one way to the primary: through breaker and budget, within a time-out, so many at a time."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, TypeVar

from ftrepo.errors import (
    CircuitOpenError,
    KeyConflictError,
    KeyExpiredError,
    KeyNotFoundError,
    KeyUnavailableError,
    PrimaryNotAskedError,
    PrimaryRejectedError,
    PrimaryUnavailableError,
)
from ftrepo.events import Event, PrimaryFailed
from ftrepo.resilience.breaker import BreakerState, CircuitBreaker, Permit
from ftrepo.resilience.call_budget import CallBudget, Urgency
from ftrepo.resilience.clock import RunningClock
from ftrepo.resilience.time_limit import TimedCalls

T = TypeVar("T")

_ANSWERS = (KeyNotFoundError, KeyConflictError, KeyExpiredError)
"""Errors by which the primary answers a question. It is healthy if it can say no."""


class GuardedPrimary:
    """Makes calls to the primary that cannot hurt the caller.

    A call that is late is left behind (`TimedCalls`). Calls left behind count as under way until
    they end, and the number under way is bounded.

    Args:
        calls_in_flight_max: most calls under way, those left behind included; at least 1.
        cancels_at_once: whether calls need no task of their own; see `PrimaryStore`.
        observe: is told of every failure.
        breaker: decides whether a call is made at all; `None` to make every call.
        budget: bounds the calls that bring nothing; `None` for no bound.
    """

    def __init__(
        self,
        *,
        calls_in_flight_max: int,
        observe: Callable[[Event], None],
        breaker: CircuitBreaker | None,
        budget: CallBudget | None = None,
        cancels_at_once: bool = False,
    ) -> None:
        self.breaker = breaker
        self._budget = budget
        self._calls = TimedCalls(cancels_at_once=cancels_at_once)
        self._calls_in_flight_max = calls_in_flight_max
        self._observe = observe
        self._is_shut = False
        self._clock = RunningClock()

    @property
    def calls_in_flight(self) -> int:
        """Calls under way, those left behind at their time-out included."""
        return self._calls.under_way

    @property
    def is_closed(self) -> bool:
        """Whether ordinary calls are made: there is no breaker, or it is closed."""
        return self.breaker is None or self.breaker.state is BreakerState.CLOSED

    def retry_after_s(self) -> float | None:
        """Seconds until the primary is next worth asking; `None` when nobody knows."""
        now_s = self._clock.time_s()
        if self.breaker is not None and not self.is_closed:
            return self.breaker.retry_after_s(now_s)
        return None if self._budget is None else self._budget.retry_after_s(now_s) or None

    async def call(
        self,
        operation: str,
        action: Callable[[], Coroutine[Any, Any, T]],
        *,
        timeout_s: float | None,
        urgency: Urgency = Urgency.READ,
        probe: bool = False,
    ) -> T:
        """Run `action()` and return what it returns.

        Args:
            operation: the name for logs and events.
            action: makes the call; not called if the call is refused.
            timeout_s: the most time until this returns or raises; `None` for no limit.
            urgency: how much depends on the call; the budget keeps more for the more urgent.
            probe: take one of the breaker's places when it is half-open. Calls without it are
                rejected then, so that no user pays a time-out to find out how the primary is.

        Raises:
            PrimaryUnavailableError: the call failed or ran out of time. Whatever the driver raised
                is its `__cause__`.
            PrimaryRejectedError: the primary refuses the data; the breaker does not count it.
            PrimaryNotAskedError: the call was not made: the breaker is open, too many are under
                way, too many have brought nothing lately, or `close` was called.
            KeyNotFoundError, KeyConflictError, KeyExpiredError: the primary's own answer.
        """
        call = self._begin(operation, urgency, probe=probe)
        try:
            result = await self._calls.run(action(), timeout_s)
        except KeyUnavailableError as error:
            self._failed(call, error)
            raise PrimaryUnavailableError(f"{operation}: {error}") from error
        except _ANSWERS as answer:
            self._succeeded(call, was_useful=not isinstance(answer, KeyNotFoundError))
            raise
        except PrimaryRejectedError as error:
            # It answered, so it is up; it did not do its work, so that proves nothing more.
            self._failed(call, error, counts=False)
            raise
        except Exception as error:
            self._failed(call, error)
            raise PrimaryUnavailableError(
                f"{operation}: {str(error) or type(error).__name__}"
            ) from error
        except BaseException:
            # The caller gave up: that says nothing of the primary, but the call brought nothing.
            self._end(call, useful=False)
            self._release(call)
            raise
        self._succeeded(call)
        return result

    async def close(self, timeout_s: float) -> None:
        """Make no more calls, cancel those under way and wait for their end, but no longer."""
        self._is_shut = True
        await self._calls.close(timeout_s)

    def kill(self) -> None:
        """Make no more calls, cancel those under way and wait for nothing."""
        self._is_shut = True
        self._calls.kill()

    def _begin(self, operation: str, urgency: Urgency, *, probe: bool) -> _Call:
        """Ask all who may refuse the call.

        Raises:
            PrimaryNotAskedError: one of them does.
        """
        if self._is_shut:
            raise PrimaryNotAskedError(f"{operation}: the repository is closed", retry_after_s=0.0)
        if self.calls_in_flight >= self._calls_in_flight_max:
            raise PrimaryNotAskedError(
                f"{operation}: {self.calls_in_flight} calls to the primary are under way already",
                retry_after_s=0.0,
            )
        now_s = self._clock.time_s()
        call = _Call(operation, urgency, self._admit(now_s, probe=probe), now_s)
        budget = self._budget
        if budget is not None and not budget.take(now_s, urgency):
            self._release(call)
            raise PrimaryNotAskedError(
                f"{operation}: calls are held back, because the primary has just come back, or "
                "too many have brought nothing lately",
                retry_after_s=budget.retry_after_s(now_s, urgency),
            )
        return call

    def _admit(self, now_s: float, *, probe: bool) -> Permit | None:
        if self.breaker is None:
            return None
        if probe or self.is_closed:
            try:
                return self.breaker.acquire(now_s)
            except CircuitOpenError as error:
                refusal = error
        else:
            refusal = self.breaker.reject(now_s)
        raise PrimaryNotAskedError(str(refusal), retry_after_s=refusal.retry_after_s)

    def _succeeded(self, call: _Call, *, was_useful: bool = True) -> None:
        now_s = self._end(call, useful=was_useful)
        if self.breaker is not None and call.permit is not None:
            self.breaker.succeed(call.permit, now_s, now_s - call.started_s)

    def _failed(self, call: _Call, error: Exception, *, counts: bool = True) -> None:
        now_s = self._end(call, useful=False)
        duration_s = now_s - call.started_s
        self._observe(PrimaryFailed(operation=call.operation, error=error, duration_s=duration_s))
        if not counts:
            self._release(call)
        elif self.breaker is not None and call.permit is not None:
            self.breaker.fail(call.permit, now_s, duration_s)

    def _end(self, call: _Call, *, useful: bool) -> float:
        """Settle with the budget, and return the time."""
        now_s = self._clock.time_s()
        if self._budget is not None:
            self._budget.end(now_s, call.urgency, useful=useful)
        return now_s

    def _release(self, call: _Call) -> None:
        if self.breaker is not None and call.permit is not None:
            self.breaker.release(call.permit)


class _Call(NamedTuple):
    """A call that is made."""

    operation: str
    urgency: Urgency
    permit: Permit | None
    started_s: float
