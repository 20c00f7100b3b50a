"""Attempts at a call with pauses in between: the thin face of `backoff` and `retry_budget`."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, ParamSpec, TypeVar

from ftrepo.events import RetryScheduled
from ftrepo.failure_log import log_failure
from ftrepo.resilience.backoff import TRANSIENT, BackoffSettings, pauses_s
from ftrepo.resilience.clock import RunningClock
from ftrepo.resilience.retry_budget import RetryBudget
from ftrepo.resilience.transient import is_transient, nothing_was_done

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger("ftrepo")

BUDGET_USED_UP = "not tried again: the budget for retries is used up"
"""The note on an error that would have been worth another attempt."""


class Retry:
    """Makes a call again when it fails in a way that may pass.

    Used as a call, or as a decorator of async functions::

        @Retry(operation="load", idempotent=True, budget=budget, draw=draw)
        async def load(key_id: str) -> bytes: ...

    Not every failed call may be made again: a write that timed out may have taken effect. So the
    call site must say which kind it is, and there is no default. A call that is not idempotent is
    made again only after an error which proves that it was never sent (`nothing_was_done`); it must
    then be a single call, because an action made of several may have done the first before the
    second was refused.

    A cancellation is never an attempt that failed: it passes through at once, also in a pause. An
    error with a `retry_after_s` is heeded: the pause comes on top of that time, so that those who
    were told the same do not return together; if the time is longer than any pause may be, there is
    no other attempt.

    Args:
        settings: how often, and with what pauses; `TRANSIENT` by default.
        operation: what is called, for events and metrics.
        idempotent: whether making the call twice is the same as making it once, as with reads.
        when: says whether an error is worth another attempt; by default `is_transient`. It cannot
            widen what is repeated of calls that are not idempotent.
        budget: bounds the retries of all who share it; `None` for no bound.
        draw: returns random numbers in [0, 1) for the jitter; without it there is none.
        observe: is told before each pause. If it fails, that is logged, and changes nothing else.

    Attributes:
        attempts: how often the call was made, since the beginning.
        retries: how many of these were not the first attempt.
        budget_refusals: how often the budget stood in the way of another.
    """

    def __init__(
        self,
        settings: BackoffSettings = TRANSIENT,
        *,
        idempotent: bool,
        operation: str = "call",
        when: Callable[[Exception], bool] = is_transient,
        budget: RetryBudget | None = None,
        draw: Callable[[], float] | None = None,
        observe: Callable[[RetryScheduled], None] | None = None,
    ) -> None:
        self.settings = settings
        self.operation = operation
        self.attempts = 0
        self.retries = 0
        self.budget_refusals = 0
        self._idempotent = idempotent
        self._when = when
        self._budget = budget
        self._draw = draw
        self._observe = observe
        self._is_timed = settings.total_max_s is not None
        self._clock = RunningClock()

    def call(
        self, action: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, T]:
        """Await what `action(*args, **kwargs)` returns, at the first attempt that succeeds.

        Raises:
            Exception: the error of the last attempt, as it is: of the one after which there were to
                be no more, or the first that is not worth another. If the budget was the reason,
                the error has the note `BUDGET_USED_UP`.
        """
        return self._run(action, args, kwargs)

    def __call__(self, function: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        """Return the function with its failures repeated."""

        @functools.wraps(function)
        async def tried_again(*args: P.args, **kwargs: P.kwargs) -> T:
            return await self._run(function, args, kwargs)

        return tried_again

    async def _run(
        self, action: Callable[..., Awaitable[T]], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> T:
        course: _Course | None = None
        started_s = self._clock.time_s() if self._is_timed else 0.0
        if self._budget is not None:
            self._budget.deposit()
        while True:
            self.attempts += 1
            try:
                return await action(*args, **kwargs)
            except Exception as error:
                if course is None:
                    course = _Course(pauses_s(self.settings, draw=self._draw), started_s)
                pause_s = self._pause_s(error, course)
                if pause_s is None:
                    raise
            await asyncio.sleep(pause_s)
            self.retries += 1

    def _pause_s(self, error: Exception, course: _Course) -> float | None:
        """Decide about another attempt: how long to pause before it, or `None` to make none."""
        if not self._when(error) or not (self._idempotent or nothing_was_done(error)):
            return None
        pause_s = next(course.pauses_s, None)
        if pause_s is None:
            return None
        course.failures += 1
        told_s = getattr(error, "retry_after_s", None) or 0.0
        if told_s > self.settings.pause_max_s:
            return None
        pause_s += told_s
        now_s = self._clock.time_s()
        total_max_s = self.settings.total_max_s
        if total_max_s is not None and now_s + pause_s - course.started_s > total_max_s:
            return None
        if self._budget is not None and not self._budget.withdraw(now_s):
            self.budget_refusals += 1
            # An error may be raised more than once; its notes must not grow without end.
            if BUDGET_USED_UP not in getattr(error, "__notes__", ()):
                error.add_note(BUDGET_USED_UP)
            return None
        if self._observe is not None:
            self._tell(self._observe, error, course.failures, pause_s)
        return pause_s

    def _tell(
        self,
        observe: Callable[[RetryScheduled], None],
        error: Exception,
        attempt: int,
        pause_s: float,
    ) -> None:
        try:
            observe(
                RetryScheduled(
                    operation=self.operation, attempt=attempt, error=error, pause_s=pause_s
                )
            )
        except Exception as failure:
            log_failure(_log, "an observer of %r failed", self.operation, error=failure)


class _Course:
    """One call that has failed at least once.

    Attributes:
        pauses_s: what is left of them.
        started_s: when the first attempt began; zero if nobody asks.
        failures: how many attempts failed.
    """

    __slots__ = ("failures", "pauses_s", "started_s")

    def __init__(self, pauses_s: Iterator[float], started_s: float) -> None:
        self.failures = 0
        self.pauses_s = pauses_s
        self.started_s = started_s
