"""Runs that a search has played: each once, on whatever seeds and under whatever policies.

Since every run is looked up by what it depends on, a search that was interrupted is simply made
again: it comes by the same policies in the same order, and finds their runs played.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ftrepo.policy import Policy
from sim.study.experiment import Experiment, RunFigures
from sim.study.parallel import Executor
from sim.study.run_digest import code_digest, run_keys
from sim.study.run_store import RunStore
from sim.study.sweep import play_run
from sim.world.scenario import Scenario

Told = Callable[[int], None]
"""Is told, after each run, how many more there are than before: 1."""


@dataclass(frozen=True, slots=True)
class Means:
    """What plays runs, and where they are kept.

    Attributes:
        executor: does the work.
        store: takes every run, and is asked before one is played; `None` for nowhere.
        told: is told after every run.
    """

    executor: Executor
    store: RunStore | None = None
    told: Told | None = None


class PlayedRuns:
    """The runs of one scenario on one seed.

    Args:
        scenario: what is played.
        seed: of the study; policies meet the same outages and calls in each replication.
        means: what plays.

    Attributes:
        scenario: as given.
        seed: as given.
        played: how many runs were played here, those that the store had not counted.
    """

    def __init__(self, scenario: Scenario, *, seed: int, means: Means) -> None:
        self.scenario = scenario
        self.seed = seed
        self.played = 0
        self._means = means
        self._code = code_digest() if means.store is None else means.store.code
        self._shared = means.executor.share(scenario)
        self._runs: dict[Policy, dict[int, RunFigures]] = {}

    def play(self, policies: Iterable[Policy], replications: int) -> None:
        """Play replications 0, 1, 2, … of each policy, so many, but for those that there are."""
        todo = {
            (policy, number): key
            for policy in dict.fromkeys(policies)
            for number, key in enumerate(self._keys(policy, replications))
            if not self._find(policy, number, key)
        }
        # By replication first, so that policies go on side by side.
        order = sorted(todo, key=lambda each: each[1])
        jobs = [(self._code, self._shared, policy, self.seed, number) for policy, number in order]
        for place, figures in self._means.executor.finished(play_run, jobs):
            policy, number = order[place]
            if self._means.store is not None:
                self._means.store.put(todo[policy, number], figures)
            self._keep(policy, number, figures)
            self.played += 1

    def experiment(self, policies: Mapping[str, Policy], replications: int) -> Experiment:
        """Return the first replications of some policies as a study, playing what is missing."""
        self.play(policies.values(), replications)
        return Experiment(
            scenario=self.scenario,
            policies=dict(policies),
            seed=self.seed,
            runs={
                name: tuple(self._runs[policy][number] for number in range(replications))
                for name, policy in policies.items()
            },
        )

    def _find(self, policy: Policy, number: int, key: str) -> bool:
        """Whether a run is here or in the store, from where it is taken."""
        if number in self._runs.get(policy, {}):
            return True
        figures = None if self._means.store is None else self._means.store.get(key)
        if figures is not None:
            self._keep(policy, number, figures)
        return figures is not None

    def _keep(self, policy: Policy, number: int, figures: RunFigures) -> None:
        self._runs.setdefault(policy, {})[number] = figures
        if self._means.told is not None:
            self._means.told(1)

    def _keys(self, policy: Policy, replications: int) -> list[str]:
        if self._means.store is None:
            return [""] * replications
        return run_keys(
            self.scenario, policy, seed=self.seed, replications=replications, code=self._code
        )
