"""Confidence intervals from independent replications.

One replication gives one value; values of different replications are independent, those of calls
within one are not. So the interval is Student's, over replications. Two things are done about its
known weaknesses:

* A share cannot leave [0, 1], so neither does its interval.
* When no failure at all was seen, Student's interval has no width, which would claim certainty
  from a finite run; and when few replications saw one, it says nothing of worse ones. Then an
  exact binomial bound (Clopper and Pearson) is put on the share of *outages* that do more harm
  than any seen, for outages are what failures come in: with none among n independent ones, at
  most 1 - 0.025^(1/n) do, at 97.5% confidence. Each can at most fail every call made in it, so
  the unavailability is at most what was seen, and that share times the share of calls made in or
  just after an outage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95

FEW_SHARE = 0.5
"""Failures are few if they were seen in less than this share of the replications."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and the interval that covers the true value in 95 of 100 studies.

    Attributes:
        mean: the mean over replications; NaN if no replication has the figure.
        low: the lower end; NaN if fewer than two replications have the figure.
        high: the upper end; likewise.
        replications: how many replications have the figure.
    """

    mean: float
    low: float
    high: float
    replications: int

    @property
    def half_width(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2

    def excludes_zero(self) -> bool:
        """Whether zero lies outside: a difference this clear is not chance."""
        return self.low > 0 or self.high < 0


def t_interval(values: Sequence[float]) -> Interval:
    """Student's interval for the mean of independent values; NaN values are left out."""
    kept = np.array([value for value in values if not math.isnan(value)])
    count = len(kept)
    if count == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    mean = float(kept.mean())
    if count == 1:
        return Interval(mean, math.nan, math.nan, 1)
    error = float(kept.std(ddof=1)) / math.sqrt(count)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * error
    return Interval(mean, mean - half, mean + half, count)


def share_interval(values: Sequence[float], *, outages: int, share_at_risk: float) -> Interval:
    """The interval of a share, honest when few or no failures were seen; see the module.

    Args:
        values: the share in each replication; NaN where there is none.
        outages: how many outages all replications saw together.
        share_at_risk: the share of the calls that were made in or just after an outage.
    """
    plain = t_interval(values)
    low, high = np.clip([plain.low, plain.high], 0.0, 1.0).tolist()
    if math.isnan(plain.mean):
        return Interval(plain.mean, low, high, plain.replications)
    saw_failures = sum(value < 1.0 for value in values)  # NaN is not.
    if saw_failures < plain.replications * FEW_SHARE:
        # Without a single outage nothing was tried, and nothing can be said.
        harmful_most = 1 - ((1 - CONFIDENCE) / 2) ** (1 / outages) if outages else 1.0
        unseen_most = harmful_most * (share_at_risk if outages else 1.0)
        low = max(0.0, min(plain.mean - unseen_most, 1.0 if math.isnan(low) else low))
        high = 1.0
    return Interval(plain.mean, low, high, plain.replications)


def paired_difference(first: Sequence[float], second: Sequence[float]) -> Interval:
    """Student's interval for the mean of `second - first`, replication by replication.

    Both must come from the same seeds: common random numbers make the difference much less noisy
    than its parts.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} replications cannot be paired with {len(second)}")
    return t_interval([b - a for a, b in zip(first, second, strict=True)])
