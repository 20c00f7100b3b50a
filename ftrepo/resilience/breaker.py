"""A circuit breaker for any awaitable: the state machine, told the time by the running loop.

Three ways to make a call through one::

    answer = await breaker.call(client.get, key)

    @breaker
    async def get(key): ...

    async with breaker.guard():
        answer = await client.get(key)

In each, a call is admitted when it begins to run, not when it is named: a coroutine that nobody
awaits holds no place. Whoever wants to keep time by other means uses `acquire`, `succeed`, `fail`
and `release` of `BreakerMachine`.
"""

from __future__ import annotations

import functools
import inspect
import logging
import weakref
from asyncio import get_running_loop
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from ftrepo.errors import CallRefusedError, CircuitOpenError
from ftrepo.failure_log import log_failure
from ftrepo.resilience.breaker_machine import BreakerMachine
from ftrepo.resilience.breaker_settings import PRESETS, BreakerSettings
from ftrepo.resilience.breaker_state import BreakerCounts, BreakerState, Outcome, Permit
from ftrepo.resilience.clock import Clock, clock_of, no_loop, running_loop_time_s

__all__ = [
    "PRESETS",
    "BreakerCounts",
    "BreakerSettings",
    "BreakerState",
    "CircuitBreaker",
    "Guard",
    "Outcome",
    "Permit",
    "classify",
]

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger("ftrepo")


def classify(error: Exception) -> Outcome:
    """Say what an error means if nobody says otherwise: a failure, unless nothing was called."""
    return Outcome.NEITHER if isinstance(error, CallRefusedError) else Outcome.FAILURE


class CircuitBreaker(BreakerMachine):
    """A breaker to make calls through. It may serve any number of tasks, of one thread.

    A call that is cancelled, or that ends in any other `BaseException` that is no `Exception`, is
    neither a success nor a failure, and gives a probe's place back.

    It may be used in one event loop after another. If the next one has another clock, as one of
    virtual time has, the times of before mean nothing there; `reset` it.

    Args:
        settings: when to trip and how to probe; the defaults if `None`.
        name: for errors, logs and metrics.
        on_change: called with the old and the new state after each change; see `add_listener`.
        classify: says which errors of a call are failures. If it fails itself, that is logged, and
            the error counts as a failure.
        draw: returns random numbers in [0, 1) for `open_jitter`; without it every opening lasts as
            long as it may.
    """

    __slots__ = ("_classify", "_clock", "_loop")

    def __init__(
        self,
        settings: BreakerSettings | None = None,
        *,
        name: str = "breaker",
        on_change: Callable[[BreakerState, BreakerState], object] | None = None,
        classify: Callable[[Exception], Outcome] = classify,
        draw: Callable[[], float] | None = None,
    ) -> None:
        super().__init__(settings, name=name, on_change=on_change, draw=draw)
        self._classify = classify
        self._clock: Clock = running_loop_time_s
        self._loop: Callable[[], Any] = no_loop

    async def call(
        self, action: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call `action(*args, **kwargs)`, await what it returns, and return that.

        Raises:
            CircuitOpenError: the call was not made; it says when to come back.
            Exception: whatever the call raised, as it is.
        """
        # What follows is `acquire` and `succeed`, with their commonest cases written out: a call of
        # a method costs more than all that they do. `tests/ftrepo/test_breaker_loops.py` holds them
        # to the same decisions.
        if self._quick_rejections > 0:
            clock = self._clock
            left_s = self._open_until_s - clock()
            if left_s > 0.0:
                self._quick_rejections -= 1
                raise CircuitOpenError(self.name, "open", left_s)
        # While that loop runs it is the one that runs here: a breaker is for one thread.
        loop = self._loop()
        if loop is None or not loop.is_running():
            self._follow_running_loop()
        clock = self._clock
        started_s = clock()
        permit = self._closed_permit or self.acquire(started_s)
        try:
            # To pass on arguments that are not there would cost as much as the call.
            result = await (action(*args, **kwargs) if args or kwargs else action())  # type: ignore[call-arg]
        except BaseException as error:
            self._ended(permit, started_s, error)
            raise
        now_s = clock()
        if now_s < permit.plain_until_s and now_s - started_s < permit.slow_call_s:
            permit.plain_successes += 1
        else:
            self.succeed(permit, now_s, now_s - started_s)
        return result

    def __call__(
        self, function: Callable[P, Coroutine[Any, Any, T]]
    ) -> Callable[P, Coroutine[Any, Any, T]]:
        """Return a function that makes its calls through the breaker: a decorator.

        Raises:
            TypeError: it is not a coroutine function.
        """
        if not inspect.iscoroutinefunction(function):
            raise TypeError(f"a breaker decorates coroutine functions, not {function!r}")

        @functools.wraps(function)
        async def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            return await self.call(function, *args, **kwargs)

        return guarded

    def guard(self) -> Guard:
        """Return what makes a block of code one call: `async with breaker.guard(): ...`."""
        return Guard(self)

    def _follow_running_loop(self) -> None:
        loop = get_running_loop()
        self._loop = weakref.ref(loop)
        self._clock = clock_of(loop)

    def _enter(self) -> tuple[Permit, float]:
        loop = self._loop()
        if loop is None or not loop.is_running():
            self._follow_running_loop()
        started_s = self._clock()
        return self.acquire(started_s), started_s

    def _ended(self, permit: Permit, started_s: float, error: BaseException | None) -> None:
        outcome = self._outcome_of(error)
        if outcome is Outcome.NEITHER:
            self.release(permit)
            return
        now_s = self._clock()
        if outcome is Outcome.SUCCESS:
            self.succeed(permit, now_s, now_s - started_s)
        else:
            self.fail(permit, now_s, now_s - started_s)

    def _outcome_of(self, error: BaseException | None) -> Outcome:
        if error is None:
            return Outcome.SUCCESS
        if not isinstance(error, Exception):
            return Outcome.NEITHER
        try:
            return self._classify(error)
        except Exception as failure:
            log_failure(_log, "the breaker %r cannot classify an error", self.name, error=failure)
            return Outcome.FAILURE


class Guard:
    """Makes a block of code one call through a breaker. Each block needs one of its own."""

    __slots__ = ("_breaker", "_permit", "_started_s")

    def __init__(self, breaker: CircuitBreaker) -> None:
        self._breaker = breaker
        self._permit: Permit | None = None
        self._started_s = 0.0

    async def __aenter__(self) -> None:
        """Begin the call.

        Raises:
            CircuitOpenError: the breaker does not admit it; the block is not run.
            RuntimeError: a block is under way with this guard.
        """
        if self._permit is not None:
            raise RuntimeError("this guard is in use; each block needs one of its own")
        self._permit, self._started_s = self._breaker._enter()  # noqa: SLF001  of this file

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Report how the block ended. Its error goes on."""
        permit, self._permit = self._permit, None
        assert permit is not None
        self._breaker._ended(permit, self._started_s, error)  # noqa: SLF001  of this file
