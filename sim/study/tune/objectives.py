"""What a search is for: objectives to push, and constraints to keep.

A constraint is judged twice, by two rules. While searching, by its mean over the replications of
the search, for no interval of a few runs is narrow enough to search by. In the end, on seeds that
the search has not met, by the far end of its interval: then it holds, or it was not shown to. No
number of runs shows that a count is always zero; where that is asked for, as by `lost_keys<=0`, it
is kept if none was seen, and never said to be more than that.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from sim.measures import MEASURES
from sim.study.intervals import Interval
from sim.study.measure_intervals import COUNTS
from sim.world.errors import InputError
from sim.world.settings import did_you_mean

_KINDS = {each.name: each.kind for each in MEASURES}

_BETTER_HIGH = frozenset({"goodput_per_s"})
"""Amounts of which more is better; of every other amount less is."""

_FORM = re.compile(r"\s*(\w+)\s*(<=|>=)\s*(\S+)\s*")


@dataclass(frozen=True, slots=True)
class Objective:
    """A measure to be as high, or as low, as can be.

    Attributes:
        measure: its name.
        maximise: whether high is good.
    """

    measure: str
    maximise: bool

    def gain(self, amount: float) -> float:
        """An amount of the measure, with the sign with which more is better; NaN is the worst."""
        if math.isnan(amount):
            return -math.inf
        return amount if self.maximise else -amount

    def clearly_worse(self, difference: Interval) -> bool:
        """Whether a difference is to the worse, and by more than chance explains."""
        return difference.high < 0 if self.maximise else difference.low > 0

    def clearly_better(self, difference: Interval) -> bool:
        """Whether a difference is to the better, and by more than chance explains."""
        return difference.low > 0 if self.maximise else difference.high < 0

    def __str__(self) -> str:
        return f"{'max' if self.maximise else 'min'}:{self.measure}"


@dataclass(frozen=True, slots=True)
class Constraint:
    """A measure that has to stay within a bound.

    Attributes:
        measure: its name.
        bound: the last value that is allowed.
        at_most: whether larger values break it; if not, smaller ones do.
    """

    measure: str
    bound: float
    at_most: bool

    def excess(self, mean: float) -> float:
        """By how much a mean breaks it, for a sampler: at most 0 where it holds, 1 for NaN.

        Optuna adds up the excesses of several constraints, so each is a share of what is allowed:
        of the bound, or of what a share may lack to 1.
        """
        if math.isnan(mean):
            return 1.0
        room = abs(self.bound)
        if _KINDS[self.measure] == "share":
            room = 1.0 - self.bound
        return -self._margin(mean) / (room or 1.0)

    def margin(self, interval: Interval) -> float:
        """What is left to the bound from the far end of an interval; negative if that is past it.

        NaN if there is no interval.
        """
        return self._margin(interval.high if self.at_most else interval.low)

    @property
    def is_never(self) -> bool:
        """Whether it says that something that is counted must never happen."""
        return self.at_most and self.bound == 0 and self.measure in COUNTS

    def holds(self, interval: Interval) -> bool:
        """Whether the whole interval is within the bound; false if there is none.

        Of what must never happen, whether none was seen.
        """
        if self.is_never:
            return interval.mean == 0 and not math.isnan(interval.high)
        return self.margin(interval) >= 0

    def clearly_broken(self, interval: Interval) -> bool:
        """Whether the whole interval is past the bound."""
        return self._margin(interval.low if self.at_most else interval.high) < 0

    def _margin(self, value: float) -> float:
        return self.bound - value if self.at_most else value - self.bound

    def __str__(self) -> str:
        return f"{self.measure} {'<=' if self.at_most else '>='} {self.bound:.10g}"


def parse_objective(text: str) -> Objective:
    """Read `availability`, `min:sync_lag_p99_s` or `max:…`.

    Without a prefix a share is to be high, and every other measure low but `goodput_per_s`.

    Raises:
        InputError: there is no such measure, or the prefix is neither.
    """
    prefix, colon, name = text.rpartition(":")
    _check_measure(name, f"--objective {text}")
    if colon and prefix not in ("min", "max"):
        raise InputError(f"--objective {text}: before the colon stands min or max, not {prefix!r}")
    if prefix:
        return Objective(name, maximise=prefix == "max")
    return Objective(name, maximise=_KINDS[name] == "share" or name in _BETTER_HIGH)


def parse_constraint(text: str) -> Constraint:
    """Read `sync_lag_p99_s<=10` or `availability>=0.999`.

    Raises:
        InputError: it has not that form, there is no such measure, or the bound is no number that
            the measure could be.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise InputError(f"--within {text!r} has not the form MEASURE<=NUMBER or MEASURE>=NUMBER")
    name, sign, number = found.groups()
    _check_measure(name, f"--within {text}")
    try:
        bound = float(number)
    except ValueError:
        bound = math.nan
    if not math.isfinite(bound):
        raise InputError(f"--within {text}: {number} is not a finite number")
    if bound < 0:
        raise InputError(f"--within {text}: no measure is below 0")
    if bound > 1 and (_KINDS[name] == "share" or name.endswith("_share")):
        raise InputError(f"--within {text}: a share is at most 1; {bound:g}% is {bound / 100:g}")
    return Constraint(name, bound, at_most=sign == "<=")


def check_goals(objectives: Sequence[Objective], constraints: Sequence[Constraint]) -> None:
    """Check that there is something to search for, and nothing twice.

    Raises:
        InputError: there is no objective, a measure is given twice in one role, or two bounds
            leave nothing between them.
    """
    if not objectives:
        raise InputError("a search needs at least one --objective")
    for role, names in (
        ("--objective", [each.measure for each in objectives]),
        ("--within", [f"{each.measure}{'<=' if each.at_most else '>='}" for each in constraints]),
    ):
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"{role} {name} is given twice")
    highest = {each.measure: each for each in constraints if each.at_most}
    for each in constraints:
        above = highest.get(each.measure)
        if not each.at_most and above is not None and above.bound < each.bound:
            raise InputError(f"--within {each} and {above}: nothing is both")


def measures_of(
    objectives: Sequence[Objective], constraints: Sequence[Constraint]
) -> tuple[str, ...]:
    """Every measure that is asked for, once, the objectives first."""
    names = [each.measure for each in objectives] + [each.measure for each in constraints]
    return tuple(dict.fromkeys(names))


def _check_measure(name: str, where: str) -> None:
    if name not in _KINDS:
        raise InputError(f"{where}: {name!r} is not a measure{did_you_mean(name, _KINDS)}")
