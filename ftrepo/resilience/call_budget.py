"""A bound on the calls that bring nothing, whoever makes them and however fast they ask.

Every call holds one token of a bucket while it is under way. A call that was of use puts it back,
so that a healthy dependency may be called as often as anybody likes; one that failed, timed out,
was given up or found nothing has spent it, and the bucket refills at a fixed rate only. So for any
stretch of time::

    calls that bring nothing  ≤  capacity + rate_per_s · seconds

whatever fails, in whatever way, with or without a breaker. For what is in the bucket and what is
held together never exceed the capacity, they grow by the rate alone, and shrink with each futile
call. And no more calls than the capacity are under way at once.

Calls differ in how much depends on them, and the less urgent leave something to the more urgent: a
flood of reads keeps neither a write nor the probe that ends an outage from being made.

After a recovery the way back is a ramp, for reads: the part of a token that a useful one puts back
grows from zero to one. With the part p a read costs 1 − p, and the rate of reads is at most
``rate_per_s / (1 − p)``: the bare rate at first, double at half the ramp, without bound at its end.
"""

from __future__ import annotations

import enum
import math

_ENOUGH = 1.0 - 1e-9
"""What passes for a whole token: adding up tenths must not lose one to rounding."""


class Urgency(enum.IntEnum):
    """How much depends on a call; the value is how many reserves it leaves to others."""

    BACKGROUND = 0
    """Probes and flushes, which end an outage."""
    WRITE = 1
    """What a caller wants to have stored."""
    READ = 2
    """Whatever anybody asks for, made-up things included."""


class CallBudget:
    """A token bucket to which tokens return that were well used. It is told the time.

    Args:
        rate_per_s: tokens that come in by time alone; above zero.
        burst: tokens that reads may use, at least 1.
        reserve: how many more only writes and background work may use, and how many more than
            that only background work; at least 0. The bucket begins full.

    Attributes:
        refused: how many calls were refused so far.
        held: tokens of calls that are under way.
    """

    def __init__(self, *, rate_per_s: float, burst: int, reserve: int = 0) -> None:
        if not rate_per_s > 0:
            raise ValueError(f"rate_per_s is {rate_per_s!r}; it must be above zero")
        for name, value, least in (("burst", burst, 1), ("reserve", reserve, 0)):
            if not value >= least:
                raise ValueError(f"{name} is {value!r}; it must be at least {least}")
        self.rate_per_s = rate_per_s
        self.reserve = reserve
        self.capacity = burst + Urgency.READ * reserve
        self.refused = 0
        self.held = 0
        self._tokens = float(self.capacity)
        self._as_of_s = -math.inf
        self._ramp_from_s = -math.inf
        self._ramp_s = 0.0

    def level(self, now: float) -> float:
        """How many tokens are free, from 0 to `capacity`."""
        self._refill(now)
        return self._tokens

    def take(self, now: float, urgency: Urgency = Urgency.READ) -> bool:
        """Take a token for a call that is about to be made. False: it may not be made."""
        self._refill(now)
        if self._tokens - urgency * self.reserve < _ENOUGH:
            self.refused += 1
            return False
        self._tokens -= 1.0
        self.held += 1
        return True

    def end(self, now: float, urgency: Urgency = Urgency.READ, *, useful: bool) -> None:
        """Note the end of a call for which a token was taken: it is put back, or it is spent."""
        self._refill(now)
        self.held -= 1
        if useful:
            elapsed_s = now - self._ramp_from_s
            ramps = urgency is Urgency.READ and elapsed_s < self._ramp_s
            self._tokens += elapsed_s / self._ramp_s if ramps else 1.0

    def begin_ramp(self, now: float, ramp_s: float) -> None:
        """Let reads back step by step from now on: at first there is a token for one of them.

        Args:
            now: the time.
            ramp_s: how long it takes until a useful read costs nothing; zero for no ramp.
        """
        if ramp_s > 0:
            self._refill(now)
            self._tokens = min(self._tokens, Urgency.READ * self.reserve + 1.0)
            self._ramp_from_s, self._ramp_s = now, ramp_s

    def retry_after_s(self, now: float, urgency: Urgency = Urgency.READ) -> float:
        """Seconds until a call may be made; zero if that depends on a call that is under way."""
        self._refill(now)
        wanted = 1.0 + urgency * self.reserve
        if wanted + self.held > self.capacity:
            return 0.0
        return max(0.0, (wanted - self._tokens) / self.rate_per_s)

    def _refill(self, now: float) -> None:
        if now > self._as_of_s:
            if self._as_of_s > -math.inf:
                earned = (now - self._as_of_s) * self.rate_per_s
                self._tokens = min(self.capacity - self.held, self._tokens + earned)
            self._as_of_s = now
