"""A whole tuning: search, simplify, judge on fresh seeds, ask what matters, check on other traces.

No figure that a recommendation is judged by comes from the runs that it was found with: the search
and the simplification have one seed, everything after them another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ftrepo.policy import Policy
from sim.study.experiment import Experiment
from sim.study.grid import Point
from sim.study.parallel import Executor, Progress, local_executor
from sim.study.run_store import RunStore
from sim.study.tune.goals import Goals
from sim.study.tune.objectives import check_goals, measures_of
from sim.study.tune.parsimony import Simplified, simplify
from sim.study.tune.played import Means, PlayedRuns, Told
from sim.study.tune.search import BASE, BATCH, Searched, search
from sim.study.tune.sensitivity import Effect, importances, one_at_a_time
from sim.study.tune.space import check_space, differs, policy_at, value_in
from sim.study.tune.verdict import Checked, Gain, Kept, check_on, first_that_keeps, gains
from sim.world.errors import InputError
from sim.world.outage_trace import RecordedTrace
from sim.world.outages import Outage
from sim.world.scenario import Scenario
from sim.world.streams import WORD_MAX

TRIALS = 48
"""Policies that are tried when nobody says otherwise: six batches, two of them at random."""

REPLICATIONS = 6
"""Runs of a trial when nobody says otherwise: one look in the middle, see `race.looks`."""

FRESH_FACTOR = 2
"""So many times as many replications simplify and judge a recommendation as found it."""

FRONT_MAX = 8
"""At most so many points of a Pareto front are played again on fresh seeds."""

BETWEEN_MAX = 2
"""So many ways back from the simplified policy to the best trial may be recommended, too: more
candidates would make each verdict less sure."""

SIMPLIFIED, RECOMMENDED = "simplified", "recommended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What came of a tuning.

    Attributes:
        scenario: what it was tuned on.
        goals: what was searched for.
        seed: of the search.
        fresh_seed: of all that judges the recommendation.
        searched: the search.
        simplified: its best trial without what does not matter.
        fresh: on the fresh seed: the base policy, the front, and the candidates for recommendation.
        front: the Pareto front, at most `FRONT_MAX` of it, best in the first objective first; names
            in `fresh`.
        recommended: the name of the recommended policy in `fresh`.
        kept: what each candidate keeps, in the order of preference.
        gains: what the recommendation changes, against the base policy.
        effects: what moving each setting would do, one at a time.
        importances: how much each setting mattered in the search, the largest first.
        checked: the recommendation on other traces.
        played: how many runs were played; those of an earlier search that were stored not counted.
    """

    scenario: Scenario
    goals: Goals
    seed: int
    fresh_seed: int
    searched: Searched
    simplified: Simplified
    fresh: Experiment
    front: tuple[str, ...]
    recommended: str
    kept: Mapping[str, tuple[Kept, ...]]
    gains: tuple[Gain, ...]
    effects: tuple[Effect, ...]
    importances: Mapping[str, float]
    checked: tuple[Checked, ...]
    played: int

    @property
    def policy(self) -> Policy:
        """The recommended policy."""
        return self.fresh.policies[self.recommended]

    @property
    def changed(self) -> Point:
        """The settings in which it differs from the base policy; empty if it is the base policy."""
        return self.changes_of(self.recommended)

    def changes_of(self, name: str) -> Point:
        """The searched settings in which a policy of the fresh study differs from the base one."""
        policy, base = self.fresh.policies[name], self.goals.base
        names = [each.name for each in self.goals.space if differs(policy, base, each.name)]
        return {each: value_in(policy, each) for each in names}

    @property
    def verdicts(self) -> tuple[Kept, ...]:
        """What the recommended policy keeps."""
        return self.kept[self.recommended]

    @property
    def holds(self) -> bool:
        """Whether every constraint was shown to hold, also on every other trace."""
        judged = [*self.verdicts, *(one for each in self.checked for one in each.kept)]
        return all(each.holds for each in judged)


def tune(
    scenario: Scenario,
    goals: Goals,
    *,
    seed: int = 1,
    trials: int = TRIALS,
    replications: int = REPLICATIONS,
    fresh_replications: int | None = None,
    others: Mapping[str, Scenario] | None = None,
    workers: int | None = None,
    store: RunStore | Path | None = None,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> Tuning:
    """Search for settings, and judge what is found.

    Args:
        scenario: what happens to the service.
        goals: what is searched for.
        seed: of the search; the next number is that of the runs that judge. The same seed gives the
            same figures and the same recommendation, whatever `workers` and `store` are.
        trials: how many policies are tried beside the base policy.
        replications: runs of a policy in the search, at least 2.
        fresh_replications: runs that judge; `None` for `FRESH_FACTOR` times as many.
        others: scenarios that the recommendation is checked on, by name.
        workers: processes; `None` for one for each processor, 1 to stay in this process.
        store: where runs are kept and looked for, so that an interrupted tuning goes on, or its
            folder; `None` for nowhere.
        progress: is told how many runs there are, and of how many; the total is a guess, for
            trials that are stopped early play fewer.
        executor: does the work in the place of `workers` processes of its own.

    Raises:
        InputError, PolicyError: the goals, the space or the numbers are impossible, or one of the
            others has the recorded outages that would be tuned on.
        ModuleNotFoundError: Optuna, the extra `tuning`, is not installed.
        OtherCodeError, WorkersLostError: as `sim.study.sweep.SweepPlan.play`; what was finished is
            stored.
    """
    sizes = _Sizes(
        seed=seed,
        trials=trials,
        replications=replications,
        fresh=FRESH_FACTOR * replications if fresh_replications is None else fresh_replications,
    )
    sizes.check()
    check_goals(goals.objectives, goals.constraints)
    check_space(scenario, goals.base, goals.space)
    others = others or {}
    _check_others(scenario, others)
    kept = RunStore(store) if isinstance(store, Path) else store
    told = _counter(_expected_runs(goals, sizes, len(others)), progress)
    if executor is not None:
        return _tuned(scenario, goals, others, sizes, Means(executor, kept, told))
    with local_executor(workers, jobs=BATCH * replications) as own:
        return _tuned(scenario, goals, others, sizes, Means(own, kept, told))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sizes:
    """How large a tuning is."""

    seed: int
    trials: int
    replications: int
    fresh: int

    def check(self) -> None:
        if min(self.replications, self.fresh) < 2:
            raise InputError("a tuning needs at least 2 replications: one has no interval")
        if self.trials < 1:
            raise InputError(f"a tuning needs at least one trial, not {self.trials}")


def _check_others(scenario: Scenario, others: Mapping[str, Scenario]) -> None:
    """Refuse to check a policy on the recording that it is tuned on: that would show nothing."""
    tuned_on = _recordings(scenario)
    for name, world in others.items():
        if tuned_on & _recordings(world):
            raise InputError(
                f"{name} has the recorded outages that the policy is tuned on; to check it, "
                "others are needed"
            )


def _recordings(scenario: Scenario) -> set[tuple[Outage, ...]]:
    return {each.outages for each in scenario.outages if isinstance(each, RecordedTrace)}


def _tuned(
    scenario: Scenario,
    goals: Goals,
    others: Mapping[str, Scenario],
    sizes: _Sizes,
    means: Means,
) -> Tuning:
    searching = PlayedRuns(scenario, seed=sizes.seed, means=means)
    searched = search(goals, searching, trials=sizes.trials, replications=sizes.replications)
    most = max(sizes.replications, sizes.fresh)
    simplified = simplify(searched, searching, replications=most)
    judging = PlayedRuns(scenario, seed=_next_seed(sizes.seed), means=means)
    policies, candidates, front = _finalists(searched, simplified, scenario)
    fresh = judging.experiment(policies, sizes.fresh)
    recommended, verdicts = first_that_keeps(fresh, candidates, goals.constraints)
    measures = measures_of(goals.objectives, goals.constraints)
    pair = {BASE: goals.base, RECOMMENDED: policies[recommended]}
    elsewhere = {
        name: PlayedRuns(world, seed=judging.seed, means=means) for name, world in others.items()
    }
    return Tuning(
        scenario=scenario,
        goals=goals,
        seed=sizes.seed,
        fresh_seed=judging.seed,
        searched=searched,
        simplified=simplified,
        fresh=fresh,
        front=front,
        recommended=recommended,
        kept=verdicts,
        gains=gains(fresh, BASE, recommended, measures),
        effects=one_at_a_time(
            judging, policies[recommended], goals.space, measures, replications=sizes.fresh
        ),
        importances=importances(searched),
        checked=check_on(
            {name: runs.experiment(pair, sizes.fresh) for name, runs in elsewhere.items()},
            goals.objectives,
            goals.constraints,
            base=BASE,
            policy=RECOMMENDED,
        ),
        played=sum(each.played for each in (searching, judging, *elsewhere.values())),
    )


def _finalists(
    searched: Searched, simplified: Simplified, scenario: Scenario
) -> tuple[dict[str, Policy], list[str], tuple[str, ...]]:
    """Who is played on fresh seeds, who of them may be recommended in which order, and the front.

    The candidates are fixed before any fresh run: the simplified policy, up to `BETWEEN_MAX` ways
    back to the trial that it comes from, that trial, and the base policy.
    """
    base, best = searched.goals.base, simplified.best
    front = _thinned(searched.front)
    policies = {BASE: base} | {name: searched.finished[name].policy for name in front}
    policies |= {best.name: best.policy}
    wanted = {SIMPLIFIED: simplified.policy}
    for point in simplified.between[:BETWEEN_MAX]:
        added = ", ".join(name for name in point if name not in simplified.point)
        wanted[f"{SIMPLIFIED}, with {added}"] = policy_at(scenario, base, point)
    for name, policy in wanted.items():
        if policy not in policies.values():
            policies[name] = policy
    by_policy = {policy: name for name, policy in policies.items()}
    order = [by_policy[policy] for policy in (*wanted.values(), best.policy, base)]
    return policies, list(dict.fromkeys(order)), front


def _thinned(names: list[str]) -> tuple[str, ...]:
    """At most `FRONT_MAX` of them, both ends included, at equal steps between."""
    if len(names) <= FRONT_MAX:
        return tuple(names)
    step = (len(names) - 1) / (FRONT_MAX - 1)
    return tuple(names[round(place * step)] for place in range(FRONT_MAX))


def _next_seed(seed: int) -> int:
    return seed + 1 if seed < WORD_MAX else 0


def _expected_runs(goals: Goals, sizes: _Sizes, others: int) -> int:
    """About how many runs there will be; fewer, as trials are stopped early."""
    settings = len(goals.space)
    searching = 1 + sizes.trials
    front = 1 if len(goals.objectives) == 1 else FRONT_MAX
    judging = 3 + BETWEEN_MAX + front + 4 * settings + 2 * others
    return searching * sizes.replications + judging * sizes.fresh


def _counter(expected: int, progress: Progress | None) -> Told | None:
    if progress is None:
        return None
    done = 0

    def told(more: int) -> None:
        nonlocal done
        done += more
        progress(done, max(done, expected))

    return told
