"""What became of the calls of the last seconds, counted in a fixed number of buckets."""

from __future__ import annotations

import math
from array import array

from ftrepo.resilience.breaker_state import NEVER_S

BUCKETS = 10
"""How many buckets a window has: it moves on by a tenth of its length at a time."""

_COUNTS = 3
"""Calls, failures and slow calls, side by side in each bucket."""

_HAIR = 1e-15
"""More than the rounding errors of a product and a quotient, as a share."""


class RollingCounts:
    """Counts calls, failures and slow calls over a window of time, in fixed memory.

    Time is cut into buckets of a tenth of the window, from zero of the clock on. Counted are the
    bucket that holds the present moment and the nine before it: never a call older than `window_s`,
    and every call of the last nine tenths of it. Moving on costs at most ten steps, however long
    nothing was counted. A time before the latest one seen counts as the latest.

    Args:
        window_s: the length of the window in seconds; above zero.
        memory_s: the time constant with which the normal failure rate is learnt; `None` to learn
            none. See `normal_rate`.
        doubt_calls: how many calls without a failure are taken to have come before the first.

    Attributes:
        calls: how many calls are in the window.
        failures: how many of them failed.
        slow: how many of them were slow, whether they failed or not.
        ends_s: until when the present bucket surely lasts.
    """

    __slots__ = (
        "_bucket",
        "_bucket_s",
        "_buckets",
        "_doubt_calls",
        "_fading",
        "_learnt_calls",
        "_learnt_failures",
        "calls",
        "ends_s",
        "failures",
        "slow",
    )

    def __init__(
        self, window_s: float, *, memory_s: float | None = None, doubt_calls: int = 0
    ) -> None:
        self.calls = self.failures = self.slow = 0
        self.ends_s = NEVER_S
        self._bucket_s = window_s / BUCKETS
        self._bucket: int | None = None
        # An array, because a list has an object for each number above 256; of four bytes each,
        # because nobody makes four thousand million calls within a tenth of a window.
        self._buckets = array("I", [0] * (_COUNTS * BUCKETS))
        self._fading = None if memory_s is None else math.exp(-self._bucket_s / memory_s)
        self._doubt_calls = doubt_calls
        self._learnt_calls = self._learnt_failures = 0.0

    @property
    def normal_rate(self) -> float:
        """The share of failures that is usual, from 0 to 1; zero if none is learnt.

        It is the share among the calls that have left the window, each with a weight that falls by
        1/e in `memory_s`; so an outage cannot pass for normal before a window's length is over.
        """
        calls = self._learnt_calls + self._doubt_calls
        return self._learnt_failures / calls if calls else 0.0

    def add(self, now: float, *, calls: int = 1, failures: int = 0, slow: int = 0) -> None:
        """Count calls that have ended now."""
        self.move_to(now)
        assert self._bucket is not None
        at = self._bucket % BUCKETS * _COUNTS
        self._buckets[at] += calls
        self._buckets[at + 1] += failures
        self._buckets[at + 2] += slow
        self.calls += calls
        self.failures += failures
        self.slow += slow

    def move_to(self, now: float) -> None:
        """Let go of what is older than the window."""
        if now < self.ends_s:
            return
        bucket = math.floor(now / self._bucket_s)
        if self._bucket is not None:
            steps = bucket - self._bucket
            for number in range(1, min(steps, BUCKETS) + 1):
                self._forget((self._bucket + number) % BUCKETS)
            if self._fading is not None and steps > BUCKETS:
                self._fade(self._fading ** (steps - BUCKETS))
        self._bucket = bucket
        # A hair before the end, since neither this product nor that quotient is exact: whoever
        # comes within the hair looks at the quotient, and nobody counts in the wrong bucket.
        self.ends_s = (bucket + 1) * self._bucket_s * (1.0 - _HAIR)

    def clear(self) -> None:
        """Begin again with an empty window. What was learnt stays; what is cleared is not."""
        self.calls = self.failures = self.slow = 0
        for at in range(len(self._buckets)):
            self._buckets[at] = 0

    def _forget(self, place: int) -> None:
        at = place * _COUNTS
        calls, failures, slow = self._buckets[at : at + _COUNTS]
        self.calls -= calls
        self.failures -= failures
        self.slow -= slow
        for offset in range(_COUNTS):
            self._buckets[at + offset] = 0
        if self._fading is not None:
            self._fade(self._fading)
            self._learnt_calls += calls
            self._learnt_failures += failures

    def _fade(self, share: float) -> None:
        self._learnt_calls *= share
        self._learnt_failures *= share
