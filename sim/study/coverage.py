"""How often the intervals cover a truth that is known: `python -m sim.study.coverage`.

Studies are made up by the thousand. Outages come as a Poisson process or on a fixed schedule, their
lengths are lognormal, and each does some harm of its own; so the true mean is a formula. What
counts is the share of studies whose interval has it, which should be 0.95.

What it shows, in 171 worlds: 9 kinds of harm, 3 rates of outages, 2 spreads of their lengths and a
fixed schedule, and 4, 10 and 30 replications:

* `share_interval` covers 0.93 or more in 95 of 100 worlds. Student's does in 26, and covers 0.07
  where few replications see harm. The price is width: in the median 1.5 times Student's; 1.0 to
  1.25 times where many outages do harm and a run has six or more; 1.5 to 9.5 times on a fixed
  schedule, of which the interval does not know that it cannot bring anything new.
* What it misses are lengths as spread as those of real incidents (σ = 1.28), where few long outages
  do most of the harm: 1 in 100 has 15% of all outage time. With one outage a run that each harms,
  it covers 0.88 with 4 replications and 0.91 with 10; and where outages do harm only when they
  last, with six a run, 0.82 with 4 replications and 0.90 with 30. Nothing that looks at such
  replications alone can hold there, for most studies have not seen what the mean is made of. What
  helps is more replications, or a trace.
* `amount_interval` of Poisson counts covers 0.944 or more, from 0.02 to 3 events a run, with 4, 10
  and 30 runs; Student's as little as 0.07, for where none was seen it has no width. If events come
  several at once, as a crash may lose many keys, that is the coverage of the occasions.
* `paired_difference` covers 0.93 or more from 10 replications on if the difference is no more
  skewed than an exponential one, where Student's covers 0.90; 0.89 and 0.76 if it is as skewed as
  incidents. With 4 replications of a small loss that is seldom a large gain it covers 0.69,
  Student's 0.62: take 10. The price is width: 1.1 times Student's with 10 normal differences, 1.6
  times with 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from scipy import special

from sim.history import Floats
from sim.study.intervals import (
    Interval,
    amount_interval,
    paired_difference,
    share_interval,
    t_interval,
)

SHARE_AT_RISK = 0.05
"""The mean share of a run's calls that are made in an outage."""

FAILOVERS, INCIDENTS = 0.6, 1.28
"""The spread σ of lognormal lengths: of failovers, and of incidents (Cloud Uptime Archive)."""

_SPREADS = (0.0, FAILOVERS, INCIDENTS)

LONG = 2.0
"""A long outage is longer than so many mean ones."""

BRIEF = 0.02
"""A breaker's first time-outs take so much of a mean outage."""

Harm = Callable[[Generator, Floats], Floats]
"""From the lengths of outages, in units of the mean one, to how much of that each harms."""


def mean_excess(over: float, sigma: float) -> float:
    """The mean of max(0, X - over), X lognormal with mean 1: Black and Scholes' formula of 1973."""
    d = (sigma**2 / 2 - math.log(over)) / sigma
    return float(special.ndtr(d) - over * special.ndtr(d - sigma))


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of harm that outages do.

    Attributes:
        what: in words.
        draw: the harm of each.
        mean: its mean, by the spread of the lengths.
    """

    what: str
    draw: Harm
    mean: Callable[[float], float]


def _seldom(share: float) -> Kind:
    return Kind(
        f"{share:.0%} of outages do harm, to half of their calls in the mean",
        lambda rng, x: x * (rng.random(x.shape) < share) * rng.beta(2, 2, x.shape),
        lambda _: share / 2,
    )


def _disaster(share: float, usual: float) -> Kind:
    return Kind(
        f"each harms {usual:.0%} of its calls, {share:.0%} of them all",
        lambda rng, x: x * np.where(rng.random(x.shape) < share, 1.0, usual),
        lambda _: share + (1 - share) * usual,
    )


KINDS: Mapping[str, Kind] = {
    "nearly all": Kind(
        "each harms 90% of its calls, give or take 3%",
        lambda rng, x: x * rng.beta(90, 10, x.shape),
        lambda _: 0.9,
    ),
    "some": Kind(
        "each harms a quarter of its calls in the mean",
        lambda rng, x: x * rng.beta(1, 3, x.shape),
        lambda _: 0.25,
    ),
    "3 in 10": _seldom(0.3),
    "1 in 10": _seldom(0.1),
    "1 in 50": _seldom(0.02),
    "brief": Kind(
        "each harms its first seconds only",
        lambda rng, x: np.minimum(x, BRIEF) * 2 * rng.random(x.shape),
        lambda sigma: 1 - mean_excess(BRIEF, sigma),
    ),
    "disaster 1 in 100": _disaster(0.01, 0.01),
    "disaster 3 in 100": _disaster(0.03, 0.1),
    "long": Kind(
        "only what an outage lasts longer than twice the mean does harm",
        lambda _, x: np.maximum(0.0, x - LONG),
        lambda sigma: mean_excess(LONG, sigma),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Made-up runs whose mean availability is known.

    Attributes:
        kind: of harm, by its name in `KINDS`.
        per_run: mean number of outages in a run.
        sigma: the spread of their lengths; 0 for a fixed schedule of equal ones.
        replications: in each study.
    """

    kind: str
    per_run: int
    sigma: float
    replications: int

    @property
    def truth(self) -> float:
        """The true mean availability."""
        return 1 - SHARE_AT_RISK * KINDS[self.kind].mean(self.sigma)

    def studies(self, count: int, rng: Generator) -> Iterator[tuple[Floats, int, float]]:
        """Yield the availabilities of a study, its outages and its largest share at risk."""
        runs = (count, self.replications)
        numbers = np.full(runs, self.per_run) if not self.sigma else rng.poisson(self.per_run, runs)
        shape = (*runs, max(1, int(numbers.max())))
        lengths = np.exp(self.sigma * rng.standard_normal(shape) - self.sigma**2 / 2)
        lengths *= np.arange(shape[-1]) < numbers[..., None]
        harms = KINDS[self.kind].draw(rng, lengths)
        unit = SHARE_AT_RISK / self.per_run
        available, at_risk = 1 - unit * harms.sum(axis=2), unit * lengths.sum(axis=2)
        yield from zip(
            available, numbers.sum(axis=1).tolist(), at_risk.max(axis=1).tolist(), strict=True
        )


@dataclass(frozen=True, slots=True)
class Coverage:
    """How often an interval has the truth, and how wide it is on the average."""

    covered: float
    width: float


def share_coverage(world: World, *, studies: int, seed: int = 1) -> tuple[Coverage, Coverage]:
    """Of `share_interval` and of Student's, on the same studies."""
    ours, students = [], []
    for values, outages, at_risk in world.studies(studies, np.random.default_rng(seed)):
        sample = values.tolist()
        ours.append(share_interval(sample, outages=outages, share_at_risk=at_risk))
        students.append(t_interval(sample))
    return _coverage(ours, world.truth), _coverage(students, world.truth)


DIFFERENCES: Mapping[str, tuple[Callable[[Generator, tuple[int, int]], Floats], float]] = {
    "normal": (lambda rng, shape: rng.normal(1.0, 1.0, shape), 1.0),
    "exponential": (lambda rng, shape: rng.exponential(1.0, shape), 1.0),
    "failovers": (lambda rng, shape: rng.lognormal(0.0, FAILOVERS, shape), math.exp(0.18)),
    "incidents": (lambda rng, shape: rng.lognormal(0.0, INCIDENTS, shape), math.exp(0.8192)),
    "a small loss, and in 3 of 10 runs a large gain": (
        lambda rng, shape: (rng.random(shape) < 0.3) * rng.exponential(1.0, shape) - 0.3,
        0.0,
    ),
}
"""Made-up differences of two policies, and their true mean."""


def difference_coverage(
    name: str, replications: int, *, studies: int, seed: int = 1
) -> tuple[Coverage, Coverage]:
    """Of `paired_difference` and of Student's, on the same studies."""
    draw, truth = DIFFERENCES[name]
    samples = draw(np.random.default_rng(seed), (studies, replications)).tolist()
    nothing = [0.0] * replications
    ours = [paired_difference(nothing, sample) for sample in samples]
    return _coverage(ours, truth), _coverage([t_interval(each) for each in samples], truth)


COUNTS_MEAN = (0.02, 0.1, 0.3, 1.0, 3.0)
"""Mean events of a run: Poisson counts, from one in fifty runs to a few in each."""


def count_coverage(
    mean: float, replications: int, *, studies: int, seed: int = 1
) -> tuple[Coverage, Coverage]:
    """Of `amount_interval` and of Student's, on the same Poisson counts."""
    samples = np.random.default_rng(seed).poisson(mean, (studies, replications)).astype(float)
    ours = [amount_interval(each, counts=True) for each in samples.tolist()]
    return _coverage(ours, mean), _coverage([t_interval(each) for each in samples.tolist()], mean)


def _coverage(intervals: list[Interval], truth: float) -> Coverage:
    ends = np.array([(each.low, each.high) for each in intervals])
    covered = (ends[:, 0] <= truth) & (truth <= ends[:, 1])
    return Coverage(float(covered.mean()), float((ends[:, 1] - ends[:, 0]).mean()))


def worlds() -> Iterator[World]:
    """Every made-up world of the table."""
    for kind in KINDS:
        for sigma in _SPREADS if kind == "nearly all" else _SPREADS[1:]:
            for per_run in (1, 6, 30):
                for replications in (4, 10, 30):
                    yield World(kind=kind, per_run=per_run, sigma=sigma, replications=replications)


def main(studies: int = 2000) -> None:
    """Print the coverage in every world and of every made-up difference."""
    print(f"{'harm':18} per run  sigma  runs  covered  Student's  width over Student's")
    for world in worlds():
        ours, students = share_coverage(world, studies=studies)
        where = f"{world.kind:18} {world.per_run:7} {world.sigma:6} {world.replications:5}"
        wider = ours.width / students.width if students.width else math.nan
        print(f"{where} {ours.covered:8.3f} {students.covered:10.3f} {wider:21.2f}")
    for mean in COUNTS_MEAN:
        for replications in (4, 10, 30):
            ours, students = count_coverage(mean, replications, studies=studies)
            print(
                f"{mean:g} events a run, {replications} runs: {ours.covered:.3f}, "
                f"Student's {students.covered:.3f}"
            )
    for name in DIFFERENCES:
        for replications in (4, 10, 30):
            ours, students = difference_coverage(name, replications, studies=studies)
            wider = ours.width / students.width
            print(
                f"difference: {name}, {replications} runs: {ours.covered:.3f}, "
                f"Student's {students.covered:.3f}, {wider:.2f} times as wide"
            )


if __name__ == "__main__":
    main()
