"""Many runs: replications of a scenario under one or more policies, in parallel processes.

Every policy plays the same replications, on common random numbers, so that their difference is
estimated from pairs. What comes back does not depend on how many processes did the work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ftrepo.policy import Policy
from sim.history import History
from sim.measures import BURST_S, MEASURES, measure
from sim.run import run
from sim.study.intervals import Interval, paired_difference, share_interval, t_interval
from sim.study.parallel import Progress, spread
from sim.world.scenario import Scenario

REPLICATIONS = 4
"""Replications when nobody says otherwise: few enough to be quick, and enough for an interval."""


@dataclass(frozen=True, slots=True)
class RunFigures:
    """What is kept of one run.

    Attributes:
        measures: the figures, by name.
        outages: how many outages fell into the measured part.
        share_at_risk: the share of the eligible `get` calls made in or just after an outage.
        played_s: the length of the run; less than the scenario's if it was condensed.
    """

    measures: dict[str, float]
    outages: int
    share_at_risk: float
    played_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """The figures of every replication under every policy.

    Attributes:
        scenario: what was played.
        policies: by name, in the order of tables.
        seed: the seed of the study.
        runs: for each policy the figures of replication 0, 1, 2, …
    """

    scenario: Scenario
    policies: Mapping[str, Policy]
    seed: int
    runs: Mapping[str, Sequence[RunFigures]]

    @property
    def replications(self) -> int:
        """How many runs each policy had."""
        return len(next(iter(self.runs.values())))

    def values(self, policy: str, measure: str) -> list[float]:
        """One figure in each replication; NaN where there is none."""
        return [figures.measures[measure] for figures in self.runs[policy]]

    def interval(self, policy: str, measure: str) -> Interval:
        """The mean of one figure and its confidence interval."""
        values = self.values(policy, measure)
        kind = next(each.kind for each in MEASURES if each.name == measure)
        if kind != "share":
            return t_interval(values)
        runs = self.runs[policy]
        return share_interval(
            values,
            outages=sum(figures.outages for figures in runs),
            share_at_risk=float(np.mean([figures.share_at_risk for figures in runs])),
        )

    def intervals(self, policy: str) -> dict[str, Interval]:
        """Every figure of one policy with its interval."""
        return {each.name: self.interval(policy, each.name) for each in MEASURES}

    def difference(self, first: str, second: str, measure: str) -> Interval:
        """The paired difference of one figure: the second policy's minus the first's."""
        return paired_difference(self.values(first, measure), self.values(second, measure))

    def differences(self, first: str, second: str) -> dict[str, Interval]:
        """The paired difference of every figure."""
        return {each.name: self.difference(first, second, each.name) for each in MEASURES}


def experiment(
    scenario: Scenario,
    policies: Mapping[str, Policy],
    *,
    seed: int = 1,
    replications: int = REPLICATIONS,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Experiment:
    """Play every policy in every replication.

    Args:
        scenario: what happens.
        policies: what to compare, by name; at least one.
        seed: of the study; the same seed gives the same figures to the bit.
        replications: runs for each policy, at least 1; intervals need at least 2.
        workers: processes; `None` for one for each processor, 1 to stay in this process.
        progress: is told after every run.

    Raises:
        ValueError: there is no policy, or there are no replications.
    """
    if not policies:
        raise ValueError("an experiment needs at least one policy")
    if replications < 1:
        raise ValueError(f"replications must be at least 1, not {replications}")
    # By replication first, so that a progress bar moves at one pace if policies differ in speed.
    todo = [(name, number) for number in range(replications) for name in policies]
    jobs = [(scenario, policies[name], seed, number) for name, number in todo]
    done = dict(
        zip(todo, spread(figures_of, jobs, workers=workers, progress=progress), strict=True)
    )
    return Experiment(
        scenario=scenario,
        policies=dict(policies),
        seed=seed,
        runs={name: [done[name, number] for number in range(replications)] for name in policies},
    )


def figures_of(scenario: Scenario, policy: Policy, seed: int, replication: int) -> RunFigures:
    """Play one run and keep its figures."""
    return figures_from(run(scenario, policy, seed=seed, replication=replication).history)


def figures_from(history: History) -> RunFigures:
    """Return what is kept of a run, simulated or real."""
    outages, share = exposure(history)
    return RunFigures(measure(history), outages, share, history.duration_s)


def exposure(history: History) -> tuple[int, float]:
    """How many outages were measured, and the share of eligible calls in or just after one."""
    outages = history.outages[history.outages[:, 1] > history.warmup_s]
    gets = history.gets
    counted = gets.eligible & (gets.at_s >= history.warmup_s)
    at_s, weights = gets.at_s[counted], history.weights(gets.at_s[counted])
    if not len(outages) or not weights.sum():
        return len(outages), 0.0
    index = np.searchsorted(outages[:, 0], at_s, side="right") - 1
    at_risk = (index >= 0) & (at_s < outages[np.maximum(index, 0), 1] + BURST_S)
    return len(outages), float(weights[at_risk].sum() / weights.sum())
