"""Several policies against one: intervals that all hold at once.

Of twenty intervals that each miss the truth once in twenty studies, one misses in most studies. So
where k differences are looked at, each interval is made at confidence 1 - 0.05/k, and each p-value
is multiplied by k (Bonferroni). Together they hold in at least 95 of 100 studies, however the
differences depend on one another.

Why not something sharper. Dunnett's intervals for many treatments against one control want
independent groups of one variance; here the replications are common, so the differences depend on
one another by pairs, and a policy that loses much also varies much. Holm's steps find a few more
differences than Bonferroni's, but have no intervals to go with them, and a verdict that its own
interval contradicts is no help in a meeting.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sim.study.intervals import CONFIDENCE, Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyComparison:
    """One policy against the reference.

    Attributes:
        policy: its name.
        difference: its figure minus the reference's, with an interval that holds together with
            those of the other comparisons.
        p_value: the probability of a difference so clear by chance, times the number of
            comparisons, at most 1; NaN with fewer than two replications.
        verdict: "higher" or "lower" than the reference, if the interval excludes zero; "no
            difference seen" if the mean difference is exactly zero, as where every replication
            agrees; "no difference shown" if it may be chance; or "no interval".
    """

    policy: str
    difference: Interval
    p_value: float
    verdict: str


def simultaneous(looks: int, *, confidence: float = CONFIDENCE) -> float:
    """The confidence of each interval with which so many hold at once (Bonferroni)."""
    if looks < 1:
        raise ValueError(f"there must be at least one comparison, not {looks}")
    return 1 - (1 - confidence) / looks


def compare_all(
    policies: Sequence[str],
    *,
    difference: Callable[[str, float], Interval],
    p_value: Callable[[str], float],
    looks: int | None = None,
) -> list[PolicyComparison]:
    """Compare each of these policies with the reference.

    Args:
        policies: by name.
        difference: from a policy and a confidence to its paired difference to the reference.
        p_value: from a policy to the p-value of that, not corrected.
        looks: how many comparisons to correct for; `None` for as many as there are policies.
    """
    looks = max(1, len(policies)) if looks is None else looks
    confidence = simultaneous(looks)
    rows = []
    for name in policies:
        interval, p = difference(name, confidence), p_value(name)
        rows.append(
            PolicyComparison(
                policy=name,
                difference=interval,
                p_value=p if math.isnan(p) else min(1.0, looks * p),
                verdict=_verdict(interval),
            )
        )
    return rows


def _verdict(difference: Interval) -> str:
    if math.isnan(difference.low):
        return "no interval"
    if difference.excludes_zero():
        return "higher" if difference.mean > 0 else "lower"
    return "no difference seen" if difference.mean == 0 else "no difference shown"
