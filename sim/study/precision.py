"""How many replications: as many as make an interval narrow enough.

The rule is sequential (Chow and Robbins, Annals of Mathematical Statistics 36, 1965; Law,
Simulation Modeling and Analysis, 5th ed. 2015, section 9.4). Stopping at the first interval that is
narrow enough stops too often on a variance that is small by luck, and then covers the truth less
often than it says: with normal values, 89 of 100 times when looked at from the second replication
on. Two guards bring that to 94.5: a first sample of `FIRST`, and an interval that stays narrow
enough for `LOOK_AHEAD` more replications (Hoad, Robinson and Davies, Journal of the Operational
Research Society 61, 2010, whose look-ahead is 5 for up to 100 replications and grows with them).

Replication k is the same run whatever is asked, and whatever number of processes plays it, so a
study that is continued is the study that would have been longer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass

from sim.study.intervals import Interval

FIRST = 10
"""Replications before the first look."""

LOOK_AHEAD = 5
"""For so many replications more, of up to 100, an interval must stay narrow enough."""

REPLICATIONS_MAX = 200
"""Where a study stops when nobody says otherwise, narrow enough or not."""

GROWTH_MIN, GROWTH_MAX = 1.2, 2.0
"""By what factor a study grows before the next look: at least, so that looks are few; at most,
because the variance is an estimate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """How narrow an interval must be.

    Exactly one of the two widths is given.

    Attributes:
        measure: the figure.
        half_width: the most that half the interval's width may be, in the figure's unit.
        relative: likewise, as a share of the mean; where the mean is 0, only an interval without
            width is narrow enough.
        difference_to: of the paired difference of every other policy to this one; `None` for the
            figure itself, of every policy.

    Raises:
        ValueError: not exactly one width is given, or it is not a finite number above 0.
    """

    measure: str
    half_width: float | None = None
    relative: float | None = None
    difference_to: str | None = None

    def __post_init__(self) -> None:
        widths = [each for each in (self.half_width, self.relative) if each is not None]
        if len(widths) != 1:
            raise ValueError("a precision is either a half_width or relative, one of the two")
        if not 0 < widths[0] < math.inf:
            raise ValueError(f"a width must be a finite number above 0, not {widths[0]}")

    def most(self, interval: Interval) -> float:
        """The most that half this interval's width may be."""
        if self.half_width is not None:
            return self.half_width
        assert self.relative is not None
        return self.relative * abs(interval.mean)

    def excess(self, interval: Interval) -> float:
        """Half the interval's width over what it may be; above 1 it is too wide.

        Infinite for an interval that does not exist, because no or only one replication has the
        figure: it is not known how wide it would be.
        """
        half, most = interval.half_width, self.most(interval)
        if math.isnan(half) or (half > 0 and most == 0):
            return math.inf
        return half / most if most else 0.0

    def __str__(self) -> str:
        of = self.measure
        if self.difference_to is not None:
            of = f"differences in {of} to {self.difference_to}"
        if self.half_width is not None:
            return f"{of} ± {self.half_width:g}"
        return f"{of} ± {self.relative:.3g} of the mean"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """What came of a precision that was asked for.

    Attributes:
        precision: what was asked for.
        widest: which policy's interval, or that of which difference, is widest.
        interval: that interval.
        reached: whether every interval was narrow enough, and was before for `LOOK_AHEAD`
            replications.
    """

    precision: Precision
    widest: str
    interval: Interval
    reached: bool

    def __str__(self) -> str:
        found = f"± {self.interval.half_width:.3g} for {self.widest}"
        if self.reached:
            return f"precision reached: {self.precision}; widest is {found}"
        return f"precision NOT reached: {self.precision} was asked for, and it is {found}"


Intervals = Callable[[int], dict[str, Interval]]
"""From a number of replications to the intervals over the first so many, by name."""


def check_known(
    wanted: Iterable[Precision], *, measures: Container[str], policies: Sequence[str]
) -> None:
    """Check that there is what a precision is asked of.

    Raises:
        ValueError: there is no such measure, or no difference to such a policy.
    """
    for each in wanted:
        if each.measure not in measures:
            raise ValueError(f"there is no measure {each.measure!r}")
        to = each.difference_to
        if to is not None and (to not in policies or len(policies) < 2):
            raise ValueError(f"there is no difference to {to!r}")


def look_ahead(replications: int) -> int:
    """For how many replications an interval must stay narrow enough, so many having been played."""
    return math.floor(LOOK_AHEAD * max(replications, 100) / 100)


def judge(precision: Precision, intervals: Intervals, replications: int) -> Reached:
    """Say whether the intervals of so many replications, and of the last few less, are narrow.

    Args:
        precision: what is asked for.
        intervals: computes them.
        replications: how many there are.
    """
    now = intervals(replications)
    widest = max(now, key=lambda name: precision.excess(now[name]))
    earliest = replications - look_ahead(replications)
    reached = earliest >= FIRST and all(
        precision.excess(interval) <= 1
        for count in range(earliest, replications + 1)
        for interval in intervals(count).values()
    )
    return Reached(precision=precision, widest=widest, interval=now[widest], reached=reached)


def next_count(judged: Sequence[Reached], replications: int, replications_max: int) -> int:
    """How many replications to have at the next look; the same number if this was the last.

    It is a guess from the widths so far, which shrink as 1/√n, kept between `GROWTH_MIN` and
    `GROWTH_MAX` times the present number. It depends on the figures alone, so every computer plays
    the same number.

    Args:
        judged: every precision that is asked for.
        replications: how many there are.
        replications_max: and may be.
    """
    missing = [each for each in judged if not each.reached]
    if not missing:
        return replications
    excess = max(each.precision.excess(each.interval) for each in missing)
    growth = min(max(excess**2, GROWTH_MIN), GROWTH_MAX)
    return min(math.ceil(replications * growth), replications_max)
