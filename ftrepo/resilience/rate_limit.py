"""So many calls a second; if need be, as many as a breaker's state suggests."""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from ftrepo.errors import RateLimitedError
from ftrepo.resilience.breaker import CircuitBreaker
from ftrepo.resilience.breaker_state import BreakerState
from ftrepo.resilience.clock import RunningClock
from ftrepo.resilience.token_bucket import EARLY_S, TokenBucket

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimitSettings:
    """How many calls there may be, and who waits.

    Attributes:
        rate_per_s: calls a second in the long run; above zero.
        burst: the most calls at one moment, at least 1.
        wait_max_s: how long a caller may wait for its turn; zero: nobody waits.
        queue_max: the most callers that wait, at least 1.
    """

    rate_per_s: float
    burst: float = 1.0
    wait_max_s: float = 0.0
    queue_max: int = 100

    def __post_init__(self) -> None:
        if not 0 < self.rate_per_s < math.inf:
            raise ValueError(f"rate_per_s is {self.rate_per_s!r}; it must be above zero")
        for name, least in (("burst", 1), ("wait_max_s", 0), ("queue_max", 1)):
            value = getattr(self, name)
            if not value >= least:
                raise ValueError(f"{name} is {value!r}; it must be at least {least}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerShares:
    """Which share of the full rate, from 0 to 1, there is in each state of a breaker.

    Attributes:
        while_open: zero for no calls, which then wait for the breaker's next probe.
        while_half_open: above zero, or nobody could probe. One call may be made at once, whatever
            the rate.
        after_closing: where the rate begins when the breaker has closed.
        ramp_s: how long it then takes to grow evenly to the full rate; zero: it is full at once.
            A server that has just come back has cold caches, and a queue of those who waited.
    """

    while_open: float = 0.0
    while_half_open: float = 0.1
    after_closing: float = 0.1
    ramp_s: float = 10.0

    def __post_init__(self) -> None:
        for name in ("while_open", "while_half_open", "after_closing"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be from 0 to 1")
        if not self.while_half_open:
            raise ValueError("while_half_open is 0; nobody could find out that all is well again")
        if not 0 <= self.ramp_s < math.inf:
            raise ValueError(f"ramp_s is {self.ramp_s!r}; it must be at least 0")


class RateLimiter:
    """Lets through so many calls a second. Who asks first is served first.

    Used as a call, as a decorator of async functions, or as a context::

        async with limiter:
            await load()

    Args:
        settings: how many, and whether callers wait.
        name: for errors and metrics.
        follow: a breaker whose state the rate is to follow; it need not be the one through which
            the calls go.
        shares: of the full rate in each of the breaker's states.

    Attributes:
        admitted: how many calls had their turn, since the beginning.
        refused: how many were not made.
    """

    def __init__(
        self,
        settings: RateLimitSettings,
        *,
        name: str = "rate limiter",
        follow: CircuitBreaker | None = None,
        shares: BreakerShares | None = None,
    ) -> None:
        self.settings = settings
        self.name = name
        self.admitted = 0
        self.refused = 0
        self._bucket = TokenBucket(settings.rate_per_s, settings.burst)
        self._queue: dict[asyncio.Future[None], None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._clock = RunningClock()
        self._breaker = follow
        self._shares = shares or BreakerShares()
        self._followed: BreakerState | None = None
        if follow is not None:
            if follow.state is not BreakerState.CLOSED:
                self._change_rate(follow.state, follow.changed_at_s or 0.0)
            follow.add_listener(self._breaker_changed)

    @property
    def waiting(self) -> int:
        """Callers that wait for their turn."""
        return len(self._queue)

    def rate_per_s(self, now: float) -> float:
        """Calls a second that there may be at present. To ask changes nothing."""
        if self._may_be_probed(now):
            return self._shares.while_half_open * self.settings.rate_per_s
        return self._bucket.rate_per_s(now)

    def close(self) -> None:
        """Follow no breaker any longer, which would otherwise keep this object alive.

        From now on there is the full rate, whatever the breaker's state is.
        """
        if self._breaker is None:
            return
        self._breaker.remove_listener(self._breaker_changed)
        self._breaker = self._followed = None
        # Where no loop runs nobody can say the time. A bucket bears one that has long passed.
        try:
            now = self._clock.time_s()
        except RuntimeError:
            now = 0.0
        self._bucket.set_rate(now, self.settings.rate_per_s)
        self._wake()

    async def acquire(self) -> None:
        """Take a turn, after waiting for it if that is allowed. Cancelled, it takes none.

        Raises:
            RateLimitedError: it is not the caller's turn, and will not be soon enough. Its
                `retry_after_s` says when it would be, if all who wait have theirs before and the
                breaker that is followed, if any, does not change.
        """
        now = self._clock.time_s()
        if self._followed is BreakerState.OPEN:
            self._look(now)
        if not self._queue and self._bucket.take(now):
            self.admitted += 1
            return
        wait_s = self._wait_s(now, len(self._queue) + 1)
        if wait_s > self.settings.wait_max_s or len(self._queue) >= self.settings.queue_max:
            raise self._refusal("too many calls lately", wait_s)
        await self._turn()
        self.admitted += 1

    async def call(
        self, action: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Return what `action(*args, **kwargs)` returns, when it is its turn.

        Raises:
            RateLimitedError: the call was not made; as `acquire`.
            Exception: what the call raised.
        """
        await self.acquire()
        return await action(*args, **kwargs)

    def __call__(self, function: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        """Return the function, so many of whose calls are made a second."""

        @functools.wraps(function)
        async def in_its_turn(*args: P.args, **kwargs: P.kwargs) -> T:
            return await self.call(function, *args, **kwargs)

        return in_its_turn

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    async def _turn(self) -> None:
        """Wait in the queue. The rate may fall meanwhile, so the wait is bounded here too."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._queue[turn] = None
        self._set_timer(loop)
        try:
            # A turn that comes at the very end counts; its timer may fire a rounding error late.
            async with asyncio.timeout(self.settings.wait_max_s + EARLY_S):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._bucket.add(1.0)  # Its turn had come in the very moment of giving up.
            self._queue.pop(turn, None)
            self._set_timer(loop)
            if isinstance(error, TimeoutError):
                wait_s = self._wait_s(loop.time(), len(self._queue) + 1)
                reason = f"no turn within {self.settings.wait_max_s} s"
                raise self._refusal(reason, wait_s) from None
            raise

    def _refusal(self, reason: str, wait_s: float) -> RateLimitedError:
        self.refused += 1
        return RateLimitedError(self.name, reason, wait_s)

    def _set_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the first in the queue served when its turn comes."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._queue:
            wait_s = self._wait_s(loop.time(), 1)
            if wait_s < math.inf:
                self._timer = loop.call_at(loop.time() + wait_s, self._serve, loop)

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        self._look(now)
        while self._queue:
            turn = next(iter(self._queue))
            if not turn.done():
                if not self._bucket.take(now):
                    break
                turn.set_result(None)
            del self._queue[turn]
        self._set_timer(loop)

    def _wait_s(self, now: float, turns: int) -> float:
        """Seconds until so many turns have come."""
        wait_s = self._bucket.wait_s(now, turns)
        if self._followed is BreakerState.OPEN and self._breaker is not None:
            # When the breaker may be probed, one call comes at once, and others at that rate.
            probe_s = self._breaker.retry_after_s(now)
            rate_per_s = self._shares.while_half_open * self.settings.rate_per_s
            wait_s = min(wait_s, probe_s + (turns - 1) / rate_per_s)
        return wait_s

    def _breaker_changed(self, _: CircuitBreaker, old: BreakerState, new: BreakerState) -> None:
        assert self._breaker is not None
        assert self._breaker.changed_at_s is not None
        self._change_rate(new, self._breaker.changed_at_s)
        self._wake()

    def _wake(self) -> None:
        """Have the first in the queue served when its turn comes by the present rate."""
        for turn in self._queue:
            self._set_timer(turn.get_loop())
            break

    def _look(self, now: float) -> None:
        """Take an open breaker that may be probed for half-open.

        Its state does not change by time alone but by a call, and without this there would be none.
        """
        if self._may_be_probed(now):
            self._change_rate(BreakerState.HALF_OPEN, now)

    def _may_be_probed(self, now: float) -> bool:
        return (
            self._followed is BreakerState.OPEN
            and self._breaker is not None
            and self._breaker.retry_after_s(now) <= EARLY_S
        )

    def _change_rate(self, state: BreakerState, now: float) -> None:
        was, self._followed = self._followed, state
        bucket, shares, full = self._bucket, self._shares, self.settings.rate_per_s
        if state is BreakerState.OPEN:
            bucket.empty(now)
            bucket.set_rate(now, shares.while_open * full)
        elif state is BreakerState.CLOSED:
            bucket.set_rate(now, shares.after_closing * full)
            bucket.set_rate(now, full, ramp_s=shares.ramp_s)
        elif was is not BreakerState.HALF_OPEN:
            bucket.empty(now)
            bucket.add(1.0)
            bucket.set_rate(now, shares.while_half_open * full)
