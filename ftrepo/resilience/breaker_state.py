"""What a breaker is made of: where it stands, what it counts, and the right to make a call."""

from __future__ import annotations

import enum
import math
from typing import NamedTuple

NEVER_S = -math.inf
"""A time that has always passed. It has a name because `-math.inf` makes a new object each time."""


class BreakerState(enum.Enum):
    """Where the breaker stands."""

    CLOSED = "closed"
    """Every call is admitted."""
    OPEN = "open"
    """Every call is rejected, until the opening is over."""
    HALF_OPEN = "half-open"
    """A fixed number of probes is admitted; what becomes of them decides."""


class Outcome(enum.Enum):
    """What the end of a call says about the one that was called."""

    SUCCESS = "success"
    """It works."""
    FAILURE = "failure"
    """It does not."""
    NEITHER = "neither"
    """Nothing: a cancellation, or a call that was not made after all."""


class BreakerCounts(NamedTuple):
    """What a breaker has counted.

    Attributes:
        successes: calls that succeeded, since the breaker was made.
        failures: calls that failed, since then.
        slow: calls among both that took `slow_call_s` or longer, since then.
        rejected: calls that were not admitted, since then.
        neither: calls that were cancelled, or ended in an error that says nothing, since then.
        late: outcomes that came in a later state than their calls were admitted in, or after a
            probe's time was up, or twice; they changed nothing, and none of the above counts them.
        trips: how often the breaker opened, by force included, since then.
        consecutive_successes: successes since the last failure or change of state.
        consecutive_failures: failures since the last success, change of state or clearing by
            `count_interval_s`.
        window_calls: calls in the rolling window at the last outcome; zero without a window.
        window_failures: how many of those failed.
        window_slow: how many of those were slow.
    """

    successes: int
    failures: int
    slow: int
    rejected: int
    neither: int
    late: int
    trips: int
    consecutive_successes: int
    consecutive_failures: int
    window_calls: int
    window_failures: int
    window_slow: int


class Permit:
    """The right to make one call. Give it back with the outcome, exactly once.

    All calls of one closed state share one: admission then allocates nothing, and an outcome from
    an earlier state is known by its permit. A probe has one of its own.

    Attributes:
        lease_until_s: until when a probe holds its place.
        plain_until_s: up to here a success that is not slow only adds to `plain_successes`.
        plain_successes: those that are not in the breaker's books yet.
        slow_call_s: from how long on a call is slow.
    """

    __slots__ = ("lease_until_s", "plain_successes", "plain_until_s", "slow_call_s")

    def __init__(self, slow_call_s: float, lease_until_s: float = math.inf) -> None:
        self.lease_until_s = lease_until_s
        self.plain_until_s = NEVER_S
        self.plain_successes = 0
        self.slow_call_s = slow_call_s
