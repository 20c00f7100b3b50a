"""Many runs: replications of a scenario under one or more policies, in parallel processes.

Every policy plays the same replications, on common random numbers, so that their difference is
estimated from pairs. What comes back does not depend on how many processes did the work.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np

from ftrepo.policy import Policy
from sim.history import GetOutcome, History
from sim.measures import BURST_S, MEASURES, measure
from sim.run import run
from sim.study.comparisons import PolicyComparison, compare_all
from sim.study.intervals import (
    CONFIDENCE,
    Interval,
    one_more_outage,
    paired_difference,
    paired_p_value,
)
from sim.study.measure_intervals import interval_of, is_share
from sim.study.parallel import Executor, Processes, Progress, spread
from sim.study.precision import (
    FIRST,
    LOOK_AHEAD,
    REPLICATIONS_MAX,
    Precision,
    Reached,
    check_known,
    judge,
    next_count,
)
from sim.world.errors import InputError
from sim.world.scenario import Scenario

REPLICATIONS = 4
"""Replications when nobody says otherwise: few enough to be quick, and enough for an interval."""


@dataclass(frozen=True, slots=True)
class RunFigures:
    """What is kept of one run.

    Attributes:
        measures: the figures, by name.
        outages: how many outages fell into the measured part.
        harmful_outages: in or just after how many of them a `get` failed that counts.
        share_at_risk: the share of the eligible `get` calls made in or just after an outage.
        played_s: the length of the run; less than the scenario's if it was condensed.
    """

    measures: dict[str, float]
    outages: int
    harmful_outages: int
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
        precision: what came of every precision that was asked for.
    """

    scenario: Scenario
    policies: Mapping[str, Policy]
    seed: int
    runs: Mapping[str, Sequence[RunFigures]]
    precision: tuple[Reached, ...] = ()

    @property
    def replications(self) -> int:
        """How many runs each policy had."""
        return len(next(iter(self.runs.values())))

    def first(self, replications: int) -> Experiment:
        """Return the experiment as it was after so many replications, no precision judged."""
        runs = {name: runs[:replications] for name, runs in self.runs.items()}
        return replace(self, runs=runs, precision=())

    def values(self, policy: str, measure: str) -> list[float]:
        """One figure in each replication; NaN where there is none."""
        return [figures.measures[measure] for figures in self.runs[policy]]

    def interval(self, policy: str, measure: str, *, confidence: float = CONFIDENCE) -> Interval:
        """The mean of one figure and its confidence interval, of the kind that the figure needs."""
        outages, share_at_risk = _exposure_of(self.runs[policy])
        return interval_of(
            measure,
            self.values(policy, measure),
            outages=outages,
            share_at_risk=share_at_risk,
            confidence=confidence,
        )

    def intervals(self, policy: str) -> dict[str, Interval]:
        """Every figure of one policy with its interval."""
        return {each.name: self.interval(policy, each.name) for each in MEASURES}

    def difference(
        self, first: str, second: str, measure: str, *, confidence: float = CONFIDENCE
    ) -> Interval:
        """The paired difference of one figure: the second policy's minus the first's."""
        return paired_difference(
            self.values(first, measure),
            self.values(second, measure),
            one_outage=self._one_outage(first, second, measure),
            confidence=confidence,
        )

    def differences(
        self, first: str, second: str, *, confidence: float = CONFIDENCE
    ) -> dict[str, Interval]:
        """The paired difference of every figure."""
        return {
            each.name: self.difference(first, second, each.name, confidence=confidence)
            for each in MEASURES
        }

    def p_value(self, first: str, second: str, measure: str) -> float:
        """The probability of a paired difference so clear by chance; see `paired_p_value`."""
        return paired_p_value(
            self.values(first, measure),
            self.values(second, measure),
            one_outage=self._one_outage(first, second, measure),
        )

    def comparisons(
        self, measure: str, reference: str | None = None, *, chosen_after: bool = False
    ) -> list[PolicyComparison]:
        """Compare every other policy with one, with intervals that hold all at once.

        Args:
            measure: the figure.
            reference: the policy; `None` for the first.
            chosen_after: whether it was chosen because of these figures, as the best one is. Then
                all pairs are corrected for, for any of them might have been looked at.
        """
        reference = next(iter(self.policies)) if reference is None else reference
        return compare_all(
            [name for name in self.policies if name != reference],
            difference=lambda name, confidence: self.difference(
                reference, name, measure, confidence=confidence
            ),
            p_value=lambda name: self.p_value(reference, name, measure),
            looks=math.comb(len(self.policies), 2) if chosen_after else None,
        )

    def harmful_outages(self, policy: str) -> tuple[int, int]:
        """How many outages did harm under a policy, and how many there were, all runs together."""
        runs = self.runs[policy]
        harmful = sum(figures.harmful_outages for figures in runs)
        return harmful, sum(figures.outages for figures in runs)

    def _one_outage(self, first: str, second: str, measure: str) -> float:
        if not is_share(measure):
            return 0.0
        outages, first_at_risk = _exposure_of(self.runs[first])
        _, second_at_risk = _exposure_of(self.runs[second])
        worse = map(min, self.values(first, measure), self.values(second, measure))
        return one_more_outage(
            list(worse), outages=outages, share_at_risk=max(first_at_risk, second_at_risk)
        )


def experiment(
    scenario: Scenario,
    policies: Mapping[str, Policy],
    *,
    seed: int = 1,
    replications: int = REPLICATIONS,
    precision: Iterable[Precision] = (),
    replications_max: int = REPLICATIONS_MAX,
    workers: int | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Experiment:
    """Play every policy in every replication.

    Args:
        scenario: what happens.
        policies: what to compare, by name; at least one.
        seed: of the study; the same seed gives the same figures to the bit.
        replications: runs for each policy, at least 1; intervals need at least 2.
        precision: how narrow intervals must be. Where any is asked for, replications are added
            until all are, and the result says whether they came to be; at least `FIRST` +
            `LOOK_AHEAD` of them; see `sim.study.precision`.
        replications_max: the most there may be then.
        workers: processes; `None` for one for each processor, 1 to stay in this process.
        executor: plays the runs in the place of `workers` processes of its own.
        progress: is told after every run.

    Raises:
        ValueError: there is no policy, or there are no replications, or more are asked for than
            there may be, or a precision names a measure or a policy that does not exist.
    """
    if not policies:
        raise ValueError("an experiment needs at least one policy")
    if replications < 1:
        raise ValueError(f"replications must be at least 1, not {replications}")
    wanted = tuple(precision)
    check_known(wanted, measures=[each.name for each in MEASURES], policies=list(policies))
    if wanted and replications > max(replications_max, REPLICATIONS):
        raise InputError(
            f"{replications} replications are asked for, and no more than {replications_max}"
        )
    if wanted:
        replications = min(max(replications, FIRST + LOOK_AHEAD), replications_max)
    study = Experiment(
        scenario=scenario,
        policies=dict(policies),
        seed=seed,
        runs=dict.fromkeys(policies, ()),
    )
    with ExitStack() as stack:
        # Kept for all looks: to start processes takes a second or two.
        pool = executor
        if pool is None and wanted and workers != 1:
            pool = stack.enter_context(Processes(workers))
        while True:
            study = _continued(study, replications, workers, progress, pool)
            judged = tuple(_judge(each, study) for each in wanted)
            count = next_count(judged, replications, replications_max)
            if count == replications:
                return replace(study, precision=judged)
            replications = count


def _continued(
    study: Experiment,
    replications: int,
    workers: int | None,
    progress: Progress | None,
    pool: Executor | None,
) -> Experiment:
    """Return the study with so many replications; those that it has are not played again."""
    names, had = list(study.policies), study.replications
    # By replication first, so that a progress bar moves at one pace if policies differ in speed.
    todo = [(name, number) for number in range(had, replications) for name in names]
    jobs = [(study.scenario, study.policies[name], study.seed, number) for name, number in todo]
    before = had * len(names)

    def report(done: int, total: int) -> None:
        if progress is not None:
            progress(before + done, before + total)

    results = spread(figures_of, jobs, workers=workers, progress=report, executor=pool)
    played = dict(zip(todo, results, strict=True))
    runs = {
        name: (*study.runs[name], *(played[name, number] for number in range(had, replications)))
        for name in names
    }
    return replace(study, runs=runs)


def _judge(precision: Precision, study: Experiment) -> Reached:
    def intervals(count: int) -> dict[str, Interval]:
        part, to = study.first(count), precision.difference_to
        if to is None:
            return {name: part.interval(name, precision.measure) for name in part.policies}
        return {
            f"{name} - {to}": part.difference(to, name, precision.measure)
            for name in part.policies
            if name != to
        }

    return judge(precision, intervals, study.replications)


def figures_of(scenario: Scenario, policy: Policy, seed: int, replication: int) -> RunFigures:
    """Play one run and keep its figures."""
    return figures_from(run(scenario, policy, seed=seed, replication=replication).history)


def figures_from(history: History) -> RunFigures:
    """Return what is kept of a run, simulated or real."""
    outages, harmful, share = exposure(history)
    return RunFigures(
        measures=measure(history),
        outages=outages,
        harmful_outages=harmful,
        share_at_risk=share,
        played_s=history.duration_s,
    )


def exposure(history: History) -> tuple[int, int, float]:
    """How many outages were measured, how many did harm, and the share of calls at risk.

    Calls are the eligible ones of `get`; at risk are those made in or just after an outage.
    """
    outages = history.outages[history.outages[:, 1] > history.warmup_s]
    gets = history.gets
    counted = gets.eligible & (gets.at_s >= history.warmup_s)
    at_s, weights = gets.at_s[counted], history.weights(gets.at_s[counted])
    if not len(outages) or not weights.sum():
        return len(outages), 0, 0.0
    index = np.searchsorted(outages[:, 0], at_s, side="right") - 1
    at_risk = (index >= 0) & (at_s < outages[np.maximum(index, 0), 1] + BURST_S)
    failed = at_risk & (gets.outcome[counted] != GetOutcome.RIGHT)
    harmful = len(np.unique(index[failed]))
    return len(outages), harmful, float(weights[at_risk].sum() / weights.sum())


def _exposure_of(runs: Sequence[RunFigures]) -> tuple[int, float]:
    """All outages of these runs, and the largest share of calls at risk in any."""
    return sum(each.outages for each in runs), max(each.share_at_risk for each in runs)
