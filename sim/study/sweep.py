"""A sweep: every combination of some settings' values, replicated, each run played only once.

All points meet the same seeds, and with them the same outages and requests as far as the settings
leave those alone (common random numbers): two points are compared by their paired difference.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftrepo.policy import Policy
from sim.study.experiment import REPLICATIONS, RunFigures, figures_of
from sim.study.grid import Case, expand
from sim.study.parallel import Executor, Progress, local_executor
from sim.study.run_digest import code_digest, run_keys
from sim.study.run_store import RunStore
from sim.study.swept import Sweep
from sim.world.scenario import Scenario

START_S = 1.0
"""How long it takes until workers play, for an estimate beforehand."""


class OtherCodeError(RuntimeError):
    """A worker has other code than the process that began the sweep: the runs would not agree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """A sweep that has been checked, and what of it is still to be played.

    Attributes:
        scenario: what happens where no setting says otherwise.
        policy: how the repository behaves where no setting says otherwise.
        settings: the swept names and their values.
        seed: of the study.
        cases: the points.
        keys: for each point the name of the run of replication 0, 1, 2, …
        code: the digest of the code that is to play them.
        known: the figures of the runs that the store had, by key.
    """

    scenario: Scenario
    policy: Policy
    settings: Mapping[str, tuple[Any, ...]]
    seed: int
    cases: tuple[Case, ...]
    keys: tuple[tuple[str, ...], ...]
    code: str
    known: Mapping[str, RunFigures]

    @property
    def runs(self) -> int:
        """How many runs there are, played already or not. Points that are alike share theirs."""
        return len({key for keys in self.keys for key in keys})

    @property
    def to_play(self) -> dict[str, tuple[Case, int]]:
        """The runs that the store does not have, by key: where and which replication.

        The longest are first, so that no worker begins one when the others are about to end.
        """
        missing = {
            key: (case, number)
            for case, keys in zip(self.cases, self.keys, strict=True)
            for number, key in enumerate(keys)
            if key not in self.known
        }
        return dict(sorted(missing.items(), key=lambda each: -each[1][0].expected_s))

    def expected_s(self, workers: int) -> float:
        """About how long it will take on so many processors, within a factor of two or so.

        At least as long as the longest run, however many processors there are.
        """
        runs_s = [case.expected_s for case, _ in self.to_play.values()]
        if not runs_s:
            return 0.0
        return START_S + max(sum(runs_s) / workers, *runs_s)

    def play(
        self, executor: Executor, *, store: RunStore | None = None, progress: Progress | None = None
    ) -> Sweep:
        """Play what is missing, storing each run as soon as it is finished.

        Args:
            executor: does the work.
            store: takes the runs; what it has taken is there whatever happens next.
            progress: is told how many runs there are at the start, and after every run.

        Raises:
            OtherCodeError: a worker has other code, or the code was changed meanwhile.
            Exception: what the executor raises when its workers are lost.
        """
        found = dict(self.known)
        report = progress or (lambda done, total: None)
        report(len(found), self.runs)
        todo = self.to_play
        shared = {id(case.scenario): case.scenario for case, _ in todo.values()}
        shared = {place: executor.share(scenario) for place, scenario in shared.items()}
        jobs = [
            (self.code, shared[id(case.scenario)], case.policy, self.seed, number)
            for case, number in todo.values()
        ]
        keys = list(todo)
        for place, figures in executor.finished(play_run, jobs):
            if store is not None:
                store.put(keys[place], figures)
            found[keys[place]] = figures
            report(len(found), self.runs)
        return Sweep(
            scenario=self.scenario,
            policy=self.policy,
            settings=self.settings,
            seed=self.seed,
            cases=self.cases,
            runs=tuple(tuple(found[key] for key in keys) for keys in self.keys),
        )


def plan_sweep(
    scenario: Scenario,
    policy: Policy,
    settings: Mapping[str, Sequence[Any]],
    *,
    seed: int = 1,
    replications: int = REPLICATIONS,
    store: RunStore | None = None,
) -> SweepPlan:
    """Check a sweep and look up which of its runs are stored; see `sweep` for the arguments.

    Raises:
        InputError, PolicyError: as `sim.study.grid.expand`.
        ValueError: there are no replications.
    """
    if replications < 1:
        raise ValueError(f"replications must be at least 1, not {replications}")
    cases = tuple(expand(scenario, policy, settings, seed=seed))
    code = code_digest() if store is None else store.code
    keys = tuple(
        tuple(run_keys(case.scenario, case.policy, seed=seed, replications=replications, code=code))
        for case in cases
    )
    stored = {} if store is None else {key: store.get(key) for each in keys for key in each}
    return SweepPlan(
        scenario=scenario,
        policy=policy,
        settings={name: _values(cases, name) for name in settings},
        seed=seed,
        cases=cases,
        keys=keys,
        code=code,
        known={key: figures for key, figures in stored.items() if figures is not None},
    )


def sweep(
    scenario: Scenario,
    policy: Policy,
    settings: Mapping[str, Sequence[Any]],
    *,
    seed: int = 1,
    replications: int = REPLICATIONS,
    workers: int | None = None,
    store: RunStore | Path | None = None,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> Sweep:
    """Play every combination of the settings' values in every replication.

    Args:
        scenario: what happens where no setting says otherwise.
        policy: how the repository behaves where no setting says otherwise.
        settings: names and the values that each takes; see `sim.study.grid` for the names.
        seed: of the study; the same seed gives the same figures to the bit.
        replications: runs at each point, at least 1; intervals need at least 2.
        workers: processes; `None` for one for each processor, 1 to stay in this process.
        store: where finished runs are kept and looked for, or its folder; `None` for nowhere.
        progress: is told how many runs there are at the start, and after every run.
        executor: does the work in the place of `workers` processes of its own.

    Raises:
        InputError, PolicyError: a point is impossible; nothing has been played then.
        ValueError: there are no replications.
        OtherCodeError, WorkersLostError: as `SweepPlan.play`; what was finished is stored.
    """
    kept = RunStore(store) if isinstance(store, Path) else store
    plan = plan_sweep(scenario, policy, settings, seed=seed, replications=replications, store=kept)
    if executor is None:
        with local_executor(workers, jobs=len(plan.to_play)) as chosen:
            return plan.play(chosen, store=kept, progress=progress)
    return plan.play(executor, store=kept, progress=progress)


def play_run(
    code: str, scenario: Scenario, policy: Policy, seed: int, replication: int
) -> RunFigures:
    """Play one run in a worker, if that has the code with this digest."""
    if code_digest() != code:
        raise OtherCodeError(
            f"{platform.node()} has other code of ftrepo and sim, or other versions of what they "
            "stand on, than the process that began; or the code was changed meanwhile"
        )
    return figures_of(scenario, policy, seed, replication)


def _values(cases: Sequence[Case], name: str) -> tuple[Any, ...]:
    """The values of a setting as the points hold them, which need not be hashable."""
    by_text = {repr(case.point[name]): case.point[name] for case in cases}
    return tuple(by_text.values())


__all__ = [
    "OtherCodeError",
    "Sweep",
    "SweepPlan",
    "plan_sweep",
    "play_run",
    "sweep",
]
