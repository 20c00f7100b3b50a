"""Many runs of which everything is kept, for questions that no list of measures foresaw."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ftrepo.policy import Policy
from sim.history import History
from sim.run import Result, run
from sim.study.experiment import REPLICATIONS
from sim.study.intervals import Interval, amount_interval, paired_difference, t_interval
from sim.study.parallel import Progress, spread
from sim.world.scenario import Scenario

Figure = Callable[[History], float]
"""Computes one figure of one run; NaN where the run has none."""

Plan = tuple[Scenario, Mapping[str, Policy]]
"""What to play, and under which policies, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """Every replication of a scenario under every policy, on common random numbers.

    Attributes:
        scenario: what was played.
        policies: by name, in the order of tables.
        seed: the seed of the study.
        results: for each policy those of replication 0, 1, 2, …
    """

    scenario: Scenario
    policies: Mapping[str, Policy]
    seed: int
    results: Mapping[str, Sequence[Result]]

    @property
    def replications(self) -> int:
        """How many runs each policy had."""
        return len(next(iter(self.results.values())))

    def values(self, policy: str, figure: Figure) -> list[float]:
        """One figure in each replication; NaN where there is none."""
        return [figure(result.history) for result in self.results[policy]]

    def interval(self, policy: str, figure: Figure) -> Interval:
        """The mean of one figure over replications and its confidence interval.

        Where no replication is below zero the interval is not either: figures of a run are counts,
        times and rates. One without width means that all replications agree, and no more.
        """
        values = self.values(policy, figure)
        return t_interval(values) if any(value < 0 for value in values) else amount_interval(values)

    def difference(self, first: str, second: str, figure: Figure) -> Interval:
        """The paired difference of one figure: the second policy's minus the first's."""
        return paired_difference(self.values(first, figure), self.values(second, figure))

    def intervals(self, figures: Mapping[str, Figure]) -> dict[str, dict[str, Interval]]:
        """Several figures of every policy: policy → figure → interval.

        Shares, whose names end so, cannot leave 0 to 1, and neither do their intervals.
        """
        return {
            policy: {
                name: _clipped(self.interval(policy, figure))
                if name.endswith("_share")
                else self.interval(policy, figure)
                for name, figure in figures.items()
            }
            for policy in self.policies
        }


def _clipped(share: Interval) -> Interval:
    return replace(share, low=max(0.0, share.low), high=min(1.0, share.high))


def play(
    plans: Mapping[str, Plan],
    *,
    seed: int = 1,
    replications: int = REPLICATIONS,
    workers: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Study]:
    """Play several scenarios, each under its policies, and keep every result, some MB a run.

    `experiment` keeps only the measures, and is the better choice for very many runs.

    Args:
        plans: scenarios and their policies, by the name of the study.
        seed: of the studies; the same seed gives the same results to the bit.
        replications: runs for each policy, at least 1; intervals need at least 2.
        workers: processes; `None` for one for each processor, 1 to stay in this process.
        progress: is told after every run.

    Raises:
        ValueError: a plan has no policy, or there are no replications.
    """
    for name, (_, policies) in plans.items():
        if not policies:
            raise ValueError(f"the study {name!r} needs at least one policy")
    if replications < 1:
        raise ValueError(f"replications must be at least 1, not {replications}")
    jobs = [
        (scenario, policy, seed, number)
        for scenario, policies in plans.values()
        for policy in policies.values()
        for number in range(replications)
    ]
    played = iter(spread(result_of, jobs, workers=workers, progress=progress))
    return {
        name: Study(
            scenario=scenario,
            policies=dict(policies),
            seed=seed,
            results={policy: [next(played) for _ in range(replications)] for policy in policies},
        )
        for name, (scenario, policies) in plans.items()
    }


def result_of(scenario: Scenario, policy: Policy, seed: int, replication: int) -> Result:
    """Play one run: `run` with its arguments in a row, as a process pool hands them on."""
    return run(scenario, policy, seed=seed, replication=replication)
