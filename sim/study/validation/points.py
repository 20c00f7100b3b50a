"""A closed form held against the laboratory, point by point of a grid.

What a form predicts is nearly always a ratio: calls lost to calls made, lags added up to keys. A
run gives both sums. Their ratio over all runs is estimated with its own interval, because a mean of
the runs' ratios would be biased: a run with few long outages has few keys, and counts as much.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ftrepo.policy import Policy
from sim.history import History
from sim.run import run
from sim.study.intervals import CONFIDENCE, Interval
from sim.study.parallel import Progress, spread
from sim.world.scenario import Scenario

Totals = Callable[[History], tuple[float, float]]
"""From a run to the two sums whose ratio a form predicts; of a module, for other processes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One point of a grid: what is played, and what theory says of it.

    Attributes:
        expected: by the closed form.
        scenario: what is played,
        policy: and under which policy.
        totals: the two sums of a run whose ratio is expected.
    """

    expected: float
    scenario: Scenario
    policy: Policy
    totals: Totals


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A closed form and the grid that it is held against.

    Attributes:
        title: what it is the form of.
        formula: in a line, with the names that `sim.study.theory` explains.
        assumes: what it takes for granted.
        x_label: of what is varied, with its unit.
        y_label: of what is predicted, with its unit.
        case: for the name of a series and a value of what is varied.
        series: their names; each is a line.
        xs: the grid of each line.
        whole: whether only whole numbers make sense on the axis.
        log_y: whether the axis of what is predicted is logarithmic; the other one always is.
    """

    title: str
    formula: str
    assumes: str
    x_label: str
    y_label: str
    case: Callable[[str, float], Case]
    series: tuple[str, ...]
    xs: tuple[float, ...]
    whole: bool = False
    log_y: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What the laboratory says of one point of a grid.

    Attributes:
        series: the line that it belongs to.
        x: where it lies on it.
        expected: by theory.
        simulated: the ratio over all runs, with its interval.
    """

    series: str
    x: float
    expected: float
    simulated: Interval

    @property
    def agrees(self) -> bool:
        """Whether the interval covers what theory says, but for rounding."""
        hair = 1e-9 * abs(self.expected)
        return self.simulated.low - hair <= self.expected <= self.simulated.high + hair

    def __str__(self) -> str:
        seen = self.simulated
        return (
            f"{self.series} at {self.x:g}: theory {self.expected:.5g}, "
            f"simulated {seen.mean:.5g} [{seen.low:.5g}, {seen.high:.5g}]"
        )


def ratio_interval(
    totals: Sequence[tuple[float, float]], *, confidence: float = CONFIDENCE
) -> Interval:
    """The ratio of two means, with Student's interval of its linearised error.

    The error of the ratio r of the means of X and Y is, to first order, the mean of (X - rY) / E[Y]
    (the delta method; Cochran, Sampling Techniques, 1977, section 2.11).

    Args:
        totals: X and Y of each run. If no X is negative, neither is the interval.
        confidence: of the interval. For many intervals that are all to hold at once, 1 - α/m.
    """
    above, below = np.array(totals, dtype=float).reshape(-1, 2).T
    count = len(above)
    if not below.sum() > 0:
        return Interval(math.nan, math.nan, math.nan, count)
    ratio = float(above.sum() / below.sum())
    if count == 1:
        return Interval(ratio, math.nan, math.nan, 1)
    errors = (above - ratio * below) / below.mean()
    half = float(stats.t.ppf((1 + confidence) / 2, count - 1) * errors.std(ddof=1)) / count**0.5
    # Sums of calls and of times are not negative, and neither is their ratio.
    least = 0.0 if above.min() >= 0 else -math.inf
    return Interval(ratio, max(least, ratio - half), ratio + half, count)


def validate(
    forms: Mapping[str, Form],
    *,
    seed: int = 1,
    replications: int = 10,
    workers: int | None = None,
    confidence: float = CONFIDENCE,
    progress: Progress | None = None,
) -> dict[str, list[Point]]:
    """Play the grid of every form; points that need the same runs share them.

    Args:
        forms: by name.
        seed: of the study; the same seed gives the same points to the bit.
        replications: runs of each point, at least 2.
        workers: processes; `None` for one for each processor, 1 to stay in this process.
        confidence: of each interval. If m of them are all to hold at once, 1 - 5% / m (Bonferroni).
        progress: is told after every run.
    """
    grid = [
        (name, series, x, form.case(series, x))
        for name, form in forms.items()
        for series in form.series
        for x in form.xs
    ]
    wanted: dict[tuple[Scenario, Policy], dict[Totals, None]] = {}
    for _, _, _, case in grid:
        wanted.setdefault((case.scenario, case.policy), {})[case.totals] = None
    jobs = [
        (scenario, policy, tuple(totals), seed, number)
        for (scenario, policy), totals in wanted.items()
        for number in range(replications)
    ]
    played = iter(spread(totals_of, jobs, workers=workers, progress=progress))
    sums = {key: [next(played) for _ in range(replications)] for key in wanted}
    points: dict[str, list[Point]] = {name: [] for name in forms}
    for name, series, x, case in grid:
        key = (case.scenario, case.policy)
        at = list(wanted[key]).index(case.totals)
        simulated = ratio_interval([run_sums[at] for run_sums in sums[key]], confidence=confidence)
        points[name].append(Point(series=series, x=x, expected=case.expected, simulated=simulated))
    return points


def totals_of(
    scenario: Scenario, policy: Policy, totals: Sequence[Totals], seed: int, replication: int
) -> list[tuple[float, float]]:
    """Play one run and keep its sums."""
    history = run(scenario, policy, seed=seed, replication=replication).history
    return [each(history) for each in totals]
