"""Confidence intervals from independent replications.

One replication gives one value; values of different replications are independent, those of calls
within one are not. So every interval is over replications. Four kinds of figure need four:

* A mean of anything: Student's interval, `t_interval`.
* An amount that cannot be negative, `amount_interval`: Student's, cut off there. Where a count is
  zero in all of n replications Student's has no width, and what it says is false: something that
  happens in one run of n is not seen in a third of studies. The upper end of a count that is zero
  in most runs is therefore never below -ln(0.025) / n ≈ 3.7 / n, Garwood's exact limit for a
  Poisson count of which none was seen (Biometrika 28, 1936; its one-sided form is the rule of
  three, Hanley and Lippman-Hand, Journal of the American Medical Association 249, 1983). It counts
  occasions: how many keys one crash takes, no study that has seen none can tell. What
  `nines.unlike_share` says needs no such reserve.
* A share near 1, `share_interval`. What is missing to 1 comes in outages of which few do most of
  the harm. Student's interval is blind to harm that none of few replications happened to see, and
  has no width at all where nothing failed. This one takes the harm for a compound Poisson sum: its
  ends are quantiles of gamma distributions with the mean and variance that were seen, the upper one
  after one more outage was added that fails every call (Fay and Feuer, Statistics in Medicine 16,
  1997). The variance is estimated from n values, so it is widened as Student's quantile is wider
  than the normal one. Without any failure the upper end is -ln(0.025) ≈ 3.7 such outages.
* A difference of two policies, replication by replication, `paired_difference`. It may be skewed
  either way. The interval is the wider at each end of Student's and Hall's, whose cubic
  transformation takes the skewness out of Student's ratio (Hall, Journal of the Royal Statistical
  Society B 54, 1992).

`sim.study.coverage` measures how often each covers a truth that is known, and says where none can.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special

CONFIDENCE = 0.95

FEW_SHARE = 0.5
"""Few replications are less than this share: those in which policies differ, or a count is not
zero."""


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


def t_interval(values: Sequence[float], *, confidence: float = CONFIDENCE) -> Interval:
    """Student's interval for the mean of independent values; NaN values are left out."""
    sample = _Sample(values)
    if sample.count < 2:
        return sample.without_interval()
    half = _t_quantile(confidence, sample.count) * sample.error
    return Interval(sample.mean, sample.mean - half, sample.mean + half, sample.count)


def amount_interval(
    values: Sequence[float],
    *,
    counts: bool = False,
    most: float = math.inf,
    confidence: float = CONFIDENCE,
) -> Interval:
    """The interval for the mean of values that cannot be negative.

    It has no width only where every replication gave the same value and that is no count of zero:
    then it says that nothing else was seen, not that there is nothing else.

    Args:
        values: one of each replication, none below zero; NaN values are left out.
        counts: whether they count events, of which none is then no proof that there are none.
        most: what no value can exceed, such as 1 for a share.
        confidence: how often it covers the truth.

    Raises:
        ValueError: a value is below zero.
    """
    sample = _Sample(values)
    if sample.least < 0:
        raise ValueError(f"an amount cannot be negative, and {sample.least:g} is")
    plain = t_interval(values, confidence=confidence)
    if sample.count < 2:
        return plain
    unseen = 0.0
    if counts and sample.nonzero < sample.count * FEW_SHARE:
        # Also where few runs have one: a study that saw little is no surer than one that saw none.
        unseen = -math.log((1 - confidence) / 2) / sample.count
    return replace(plain, low=max(0.0, plain.low), high=min(most, max(plain.high, unseen)))


def share_interval(
    values: Sequence[float],
    *,
    outages: int,
    share_at_risk: float,
    confidence: float = CONFIDENCE,
) -> Interval:
    """The interval of a share near 1, honest about harm that was seldom or never seen.

    It never has no width, and none below 0 or above 1. Of a single replication it knows only what a
    spotless one tells: that harm is rare.

    Args:
        values: the share in each replication; NaN where there is none.
        outages: how many outages all replications saw together.
        share_at_risk: the largest share of the calls of one replication that were made in or just
            after an outage.
        confidence: how often it covers the truth.
    """
    harm = _Sample([1.0 - value for value in values])
    if harm.count == 0 or (harm.count == 1 and harm.mean > 0):
        return Interval(1.0 - harm.mean, math.nan, math.nan, harm.count)
    tail = (1 - confidence) / 2
    more = one_more_outage(values, outages=outages, share_at_risk=share_at_risk)
    variance = 0.0
    if harm.count > 1:
        ratio = _t_quantile(confidence, harm.count) / float(special.ndtri(1 - tail))
        variance = (ratio * harm.error) ** 2
    least = _gamma_quantile(tail, harm.mean, variance)
    most = _gamma_quantile(1 - tail, harm.mean + more, variance + more**2)
    low, high = np.clip([1.0 - most, 1.0 - least], 0.0, 1.0).tolist()
    return Interval(1.0 - harm.mean, low, high, harm.count)


def paired_difference(
    first: Sequence[float],
    second: Sequence[float],
    *,
    one_outage: float = 0.0,
    confidence: float = CONFIDENCE,
) -> Interval:
    """The interval for the mean of `second - first`, replication by replication.

    Both must come from the same seeds: common random numbers make the difference much less noisy
    than its parts.

    Args:
        first: a figure of one policy in each replication; NaN where there is none.
        second: the same figure of the other.
        one_outage: what one more outage could change the mean by, from `one_more_outage`. Where the
            policies differ in few replications, the interval reaches at least -ln(0.025) of them to
            either side, and no further than -1 and 1. 0 for figures that are not shares.
        confidence: how often it covers the truth.

    Raises:
        ValueError: they are not of equally many replications.
    """
    sample = _Sample(_differences(first, second))
    if sample.count < 2:
        return sample.without_interval()
    t = _t_quantile(confidence, sample.count)
    below, above = (
        max(t, _unskewed(sign * t, sample.skewness_of_mean) * sign) * sample.error
        for sign in (1, -1)
    )
    if one_outage and sample.nonzero < sample.count * FEW_SHARE:
        unseen = -math.log((1 - confidence) / 2) * one_outage
        below = min(max(below, unseen), 1 + sample.mean)
        above = min(max(above, unseen), 1 - sample.mean)
    return Interval(sample.mean, sample.mean - below, sample.mean + above, sample.count)


def paired_p_value(
    first: Sequence[float], second: Sequence[float], *, one_outage: float = 0.0
) -> float:
    """The probability of a difference so clear by chance, if the true one is zero.

    It is below 1 - `confidence` where the interval of `paired_difference` excludes zero, and
    nowhere else. 1 where all differences are zero; NaN with fewer than two.
    """
    sample = _Sample(_differences(first, second))
    if sample.count < 2:
        return math.nan
    if sample.mean == 0:
        return 1.0
    ratio = sample.mean / sample.error if sample.error else math.copysign(math.inf, sample.mean)
    p = 2 * float(special.stdtr(sample.count - 1, -abs(ratio)))
    if sample.error:
        unskewed = _without_skewness(ratio, sample.skewness_of_mean)
        p = max(p, 2 * float(special.stdtr(sample.count - 1, -abs(unskewed))))
    if one_outage and sample.nonzero < sample.count * FEW_SHARE:
        p = max(p, min(1.0, 2 * math.exp(-abs(sample.mean) / one_outage)))
    return p


def one_more_outage(values: Sequence[float], *, outages: int, share_at_risk: float) -> float:
    """What one more outage, in which every call fails, would take from a mean share.

    The outage is an average one of the replication that outages hit hardest; where more calls
    failed than were at risk, of the replication that failed most. Without an outage it is one more
    replication like the worst; and if that failed in nothing, nothing was tried, and all is in
    doubt.

    Args:
        values: the share in each replication; NaN where there is none.
        outages: as in `share_interval`.
        share_at_risk: likewise.
    """
    harms = [1.0 - value for value in values if not math.isnan(value)]
    worst = max(harms, default=0.0)
    if not outages and not worst:
        return 1.0
    return max(share_at_risk if outages else 0.0, worst) / max(outages, len(harms), 1)


class _Sample:
    """Independent values without NaN, and their moments."""

    def __init__(self, values: Sequence[float]) -> None:
        kept: NDArray[np.float64] = np.array([x for x in values if not math.isnan(x)], dtype=float)
        self.count = len(kept)
        self.nonzero = int(np.count_nonzero(kept))
        self.least = float(kept.min()) if self.count else 0.0
        self.mean = float(kept.mean()) if self.count else math.nan
        away = kept - self.mean
        spread = float((away**2).mean()) if self.count else 0.0
        self.error = math.sqrt(spread / (self.count - 1)) if self.count > 1 else math.nan
        skewness = float(((away / math.sqrt(spread)) ** 3).mean()) if spread else 0.0
        self.skewness_of_mean = skewness / math.sqrt(max(self.count, 1))

    def without_interval(self) -> Interval:
        return Interval(self.mean, math.nan, math.nan, self.count)


def _differences(first: Sequence[float], second: Sequence[float]) -> list[float]:
    if len(first) != len(second):
        raise ValueError(f"{len(first)} replications cannot be paired with {len(second)}")
    return [b - a for a, b in zip(first, second, strict=True)]


def _t_quantile(confidence: float, count: int) -> float:
    return float(special.stdtrit(count - 1, (1 + confidence) / 2))


def _gamma_quantile(probability: float, mean: float, variance: float) -> float:
    """The quantile of the gamma distribution with this mean and variance; the mean if it is 0."""
    if mean <= 0 or variance <= 0:
        return max(0.0, mean)
    return float(special.gammaincinv(mean**2 / variance, probability)) * variance / mean


_NO_SKEWNESS = 1e-6
"""Below, Hall's transformation is the identity to the digits that a float has."""


def _without_skewness(ratio: float, skewness: float) -> float:
    """Hall's transformation g(T) = T + kT²/3 + k²T³/27 + k/6, of a ratio of skewness k."""
    return ratio + skewness * ratio**2 / 3 + skewness**2 * ratio**3 / 27 + skewness / 6


def _unskewed(quantile: float, skewness: float) -> float:
    """The ratio T with g(T) equal to this quantile."""
    if abs(skewness) < _NO_SKEWNESS:
        return quantile
    return 3 / skewness * (float(np.cbrt(1 + skewness * (quantile - skewness / 6))) - 1)
