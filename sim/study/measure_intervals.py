"""Which interval a measure needs: that of a share, of a count, or of any other amount."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sim.causes import CAUSE_WORDS, measure_of
from sim.measures import MEASURES
from sim.study.intervals import CONFIDENCE, Interval, amount_interval, share_interval

COUNTS = frozenset(
    {"lost_keys", "expired_pending_keys", "wrong_answers", "breaker_trips", "breaker_false_trips"}
)
"""Measures that count events of a run, and are often zero."""

_FAILED_SHARES = frozenset(map(measure_of, CAUSE_WORDS))


def is_share(measure: str) -> bool:
    """Whether a measure lies between 0 and 1 and is better high.

    Raises:
        StopIteration: there is no such measure.
    """
    return next(each.kind for each in MEASURES if each.name == measure) == "share"


def interval_of(
    measure: str,
    values: Sequence[float],
    *,
    outages: int,
    share_at_risk: float,
    confidence: float = CONFIDENCE,
) -> Interval:
    """The mean of a measure over replications, with the interval that it needs.

    Args:
        measure: its name.
        values: one of each replication; NaN where there is none.
        outages: how many outages all replications saw together.
        share_at_risk: as in `share_interval`.
        confidence: how often the interval covers the truth.
    """

    def of_share(shares: Sequence[float]) -> Interval:
        return share_interval(
            shares, outages=outages, share_at_risk=share_at_risk, confidence=confidence
        )

    if is_share(measure):
        return of_share(values)
    if measure in _FAILED_SHARES and not any(value > 0 for value in values):
        # No call failed for this cause: that shows as little as a spotless availability.
        found = of_share([1.0 - value for value in values])
        return Interval(1.0 - found.mean, 1.0 - found.high, 1.0 - found.low, found.replications)
    return amount_interval(
        values,
        counts=measure in COUNTS,
        most=1.0 if measure.endswith("_share") else math.inf,
        confidence=confidence,
    )
