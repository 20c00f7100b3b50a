"""A bound on the calls that bring nothing, whoever makes them and however fast they ask.

Every call holds one token of a bucket while it is under way. A call that was of use puts it back,
so that a healthy dependency may be called as often as anybody likes; one that failed, timed out,
was given up or found nothing has spent it, and the bucket refills at a fixed rate only. So for any
stretch of time::

    calls that bring nothing  ≤  burst + rate_per_s · seconds

whatever fails, in whatever way, with or without a breaker. For what is in the bucket and what is
held together never exceed `burst`, they grow by the rate alone, and shrink with each futile call.
And no more than `burst` calls are under way at once.

After a recovery the way back is a ramp: the part of a token that a useful call puts back grows from
zero to one. With the part p a call costs 1 − p, and the rate of calls is at most
``rate_per_s / (1 − p)``: the bare rate at first, double at half the ramp, without bound at its end.
"""

from __future__ import annotations

import math

RESERVED_SHARE = 0.1
"""Which share of a full bucket only background work may use: probes and flushes end an outage, and
a flood of calls must not keep them from it."""

_ENOUGH = 1.0 - 1e-9
"""What passes for a whole token: adding up tenths must not lose one to rounding."""


class CallBudget:
    """A token bucket to which tokens return that were well used. It is told the time.

    Args:
        rate_per_s: tokens that come in by time alone; above zero.
        burst: tokens in a full bucket, with which it begins; at least 1.

    Attributes:
        refused: how many calls were refused so far.
        held: tokens of calls that are under way.
    """

    def __init__(self, *, rate_per_s: float, burst: int) -> None:
        if not rate_per_s > 0:
            raise ValueError(f"rate_per_s is {rate_per_s!r}; it must be above zero")
        if not burst >= 1:
            raise ValueError(f"burst is {burst!r}; it must be at least 1")
        self.rate_per_s = rate_per_s
        self.burst = burst
        self.refused = 0
        self.held = 0
        self._reserve = math.floor(burst * RESERVED_SHARE)
        self._tokens = float(burst)
        self._as_of_s = -math.inf
        self._ramp_from_s = -math.inf
        self._ramp_s = 0.0

    def level(self, now: float) -> float:
        """How many tokens are free, from 0 to `burst`."""
        self._refill(now)
        return self._tokens

    def take(self, now: float, *, reserved: bool = False) -> bool:
        """Take a token for a call that is about to be made. False: it may not be made.

        Args:
            now: the time, in seconds of a clock that does not go backwards.
            reserved: whether the call may use what is kept for background work.
        """
        self._refill(now)
        kept = 0 if reserved else self._reserve
        if self._tokens - kept < _ENOUGH:
            self.refused += 1
            return False
        self._tokens -= 1.0
        self.held += 1
        return True

    def end(self, now: float, *, useful: bool) -> None:
        """Note the end of a call for which a token was taken: it is put back, or it is spent."""
        self._refill(now)
        self.held -= 1
        if useful:
            elapsed_s = now - self._ramp_from_s
            self._tokens += 1.0 if elapsed_s >= self._ramp_s else elapsed_s / self._ramp_s

    def begin_ramp(self, now: float, ramp_s: float) -> None:
        """Let calls back step by step from now on: nothing is left but what is reserved.

        Args:
            now: the time.
            ramp_s: how long it takes until a useful call costs nothing; zero for no ramp.
        """
        if ramp_s > 0:
            self._refill(now)
            self._tokens = min(self._tokens, self._reserve + 1.0)
            self._ramp_from_s, self._ramp_s = now, ramp_s

    def retry_after_s(self, now: float, *, reserved: bool = False) -> float:
        """Seconds until a call may be made; zero if that depends on a call that is under way."""
        self._refill(now)
        wanted = 1.0 + (0 if reserved else self._reserve)
        if wanted + self.held > self.burst:
            return 0.0
        return max(0.0, (wanted - self._tokens) / self.rate_per_s)

    def _refill(self, now: float) -> None:
        if now > self._as_of_s:
            if self._as_of_s > -math.inf:
                earned = (now - self._as_of_s) * self.rate_per_s
                self._tokens = min(self.burst - self.held, self._tokens + earned)
            self._as_of_s = now
