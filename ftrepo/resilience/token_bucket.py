"""A token bucket: a pure decision about how often something may happen, told the time."""

from __future__ import annotations

import math

EARLY_S = 1e-6
"""How much too early a token may be taken: a timer may fire a rounding error before its time. What
was taken too early is owed, so the rate holds all the same."""

_ROUNDING = 1e-9
"""By how much tokens that were put together from fractions may fall short of one."""


class TokenBucket:
    """Gives out tokens: at first `burst` of them, then `rate_per_s` a second.

    In any interval of t seconds at most burst + rate·t tokens are taken. Times are seconds of any
    clock; one that goes backwards stands still.

    Args:
        rate_per_s: how many tokens come a second; zero for none.
        burst: how many it holds, and holds at the start; above zero.
    """

    __slots__ = ("_at_s", "_ramp_until_s", "_rate", "_slope", "_target", "_tokens", "burst")

    def __init__(self, rate_per_s: float, burst: float) -> None:
        if not burst > 0:
            raise ValueError(f"burst is {burst!r}; it must be above zero")
        self.burst = burst
        self._tokens = float(burst)
        self._at_s = -math.inf
        # From now on, and after a ramp. During a ramp the rate changes by so much a second.
        self._rate = self._target = _checked(rate_per_s)
        self._slope = 0.0
        self._ramp_until_s = -math.inf

    def take(self, now: float, n: float = 1.0) -> bool:
        """Take `n` tokens, or none if there are fewer.

        Raises:
            ValueError: the bucket never holds so many.
        """
        if n > self.burst:
            raise ValueError(f"a bucket of {self.burst:g} tokens never holds {n:g}")
        self._advance(now)
        if self._tokens + _ROUNDING + EARLY_S * self._rate < n:
            return False
        self._tokens -= n
        return True

    def add(self, n: float) -> None:
        """Put tokens in, no more than there is room for. It needs no time: see `RetryBudget`."""
        tokens = self._tokens + n
        # Every call of whoever has a retry budget pays for this, and `min` is twice as dear.
        self._tokens = tokens if tokens < self.burst else self.burst  # noqa: FURB136

    def empty(self, now: float) -> None:
        """Throw away what it holds."""
        self._advance(now)
        self._tokens = min(self._tokens, 0.0)

    def tokens(self, now: float) -> float:
        """How many it holds; a hair below zero if one was taken a rounding error early."""
        self._advance(now)
        return self._tokens

    def rate_per_s(self, now: float) -> float:
        """How many tokens come a second at present."""
        self._advance(now)
        return self._rate

    def wait_s(self, now: float, n: float = 1.0) -> float:
        """Seconds until `n` tokens have come, if none are taken meanwhile; zero if it has them.

        More than `burst` means tokens that are taken one after the other, as by a queue. Infinite
        if they never come.
        """
        self._advance(now)
        lacking = n - self._tokens
        if lacking <= _ROUNDING:
            return 0.0
        ramp_s = max(0.0, self._ramp_until_s - now)
        by_ramp = self._rate * ramp_s + self._slope / 2.0 * ramp_s**2
        if lacking <= by_ramp:
            # The root of rate·t + slope/2·t² = lacking, in the form that also bears slope 0.
            root = math.sqrt(self._rate**2 + 2.0 * self._slope * lacking)
            return 2.0 * lacking / (self._rate + root)
        if self._target == 0:
            return math.inf
        return ramp_s + (lacking - by_ramp) / self._target

    def set_rate(self, now: float, rate_per_s: float, *, ramp_s: float = 0.0) -> None:
        """Change the rate, at once or evenly from the present one over `ramp_s` seconds."""
        self._advance(now)
        self._target = _checked(rate_per_s)
        if ramp_s > 0:
            self._slope = (self._target - self._rate) / ramp_s
            self._ramp_until_s = now + ramp_s
        else:
            self._end_ramp()

    def _advance(self, now: float) -> None:
        """Let the tokens come that have come since the last time."""
        passed_s = now - self._at_s
        if passed_s <= 0:
            return
        self._at_s = now
        if passed_s == math.inf:  # The first time: it is full.
            return
        came = 0.0
        if self._slope:
            on_ramp_s = min(passed_s, self._ramp_until_s - (now - passed_s))
            came = self._rate * on_ramp_s + self._slope / 2.0 * on_ramp_s**2
            self._rate += self._slope * on_ramp_s
            passed_s -= on_ramp_s
            if now >= self._ramp_until_s:
                self._end_ramp()
        came += self._rate * passed_s
        self._tokens = min(self.burst, self._tokens + came)

    def _end_ramp(self) -> None:
        self._rate = self._target
        self._slope = 0.0
        self._ramp_until_s = -math.inf


def _checked(rate_per_s: float) -> float:
    if not 0 <= rate_per_s < math.inf:
        raise ValueError(f"rate_per_s is {rate_per_s!r}; it must be at least 0, and finite")
    return float(rate_per_s)
