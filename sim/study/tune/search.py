"""The search: settings are proposed, batch by batch, and each trial plays as long as it may win.

Trials are asked for in batches of a fixed size and told in their order, so what is proposed depends
on the seed and on the figures alone: neither on the number of processes nor on which one was
faster. A search that was interrupted is made again from the start, and finds its runs in the store:
the sampler's random numbers, which Optuna's own storages do not keep, are then as they were, and
no run that other code has played is mixed in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ftrepo.errors import PolicyError
from ftrepo.policy import Policy
from sim.study.experiment import Experiment
from sim.study.grid import Point
from sim.study.tune.goals import Goals
from sim.study.tune.objectives import measures_of
from sim.study.tune.played import PlayedRuns
from sim.study.tune.proposals import Proposals
from sim.study.tune.race import broken, clearly_dominated, feasible, front, looks, missed
from sim.study.tune.space import changes, policy_at
from sim.world.errors import InputError

if TYPE_CHECKING:
    import optuna

BATCH = 8
"""Trials that are asked for before any of them is told."""

BASE = "base"
"""What the policy is called from which a search departs."""

CONTRADICTORY = "its settings contradict one another"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One policy that was tried.

    Attributes:
        name: `base`, or `trial 1`, `trial 2`, …
        point: the settings in which it differs from the base policy.
        policy: the whole of it.
        replications: how many it played.
        stopped: why it played no more; empty if it played all.
    """

    name: str
    point: Point
    policy: Policy
    replications: int
    stopped: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """What a search has found.

    Attributes:
        goals: what was searched for.
        trials: all of them, the base policy first.
        study: the figures of those that played every replication, by name; of equal policies only
            the first.
        optuna: the study as Optuna has it.
    """

    goals: Goals
    trials: tuple[Trial, ...]
    study: Experiment
    optuna: optuna.Study

    @property
    def finished(self) -> dict[str, Trial]:
        """The trials that are in the study, by name."""
        return {each.name: each for each in self.trials if each.name in self.study.policies}

    @property
    def feasible(self) -> list[str]:
        """Those of them whose means keep every constraint."""
        return [
            name for name in self.finished if feasible(self.study, name, self.goals.constraints)
        ]

    @property
    def front(self) -> list[str]:
        """The Pareto front of those, best in the first objective first."""
        return front(self.study, self.feasible, self.goals.objectives)


def search(goals: Goals, played: PlayedRuns, *, trials: int, replications: int) -> Searched:
    """Try the base policy, and so many others.

    Args:
        goals: what is searched for.
        played: plays, and says on which seed.
        trials: how many policies are tried beside the base policy, those included whose settings
            contradict one another.
        replications: how many runs a policy plays that is not stopped early.

    Raises:
        InputError: a measure has no value under the base policy, as a lag has none without keys.
        ModuleNotFoundError: Optuna, the extra `tuning`, is not installed.
    """
    base = Trial(name=BASE, point={}, policy=goals.base, replications=replications)
    race = _Race(goals, played, replications, [base])
    _check_measures(race.study([base]), goals)
    proposals = Proposals(goals, seed=played.seed)
    while len(race.trials) <= trials:
        first = len(race.trials)
        asked = [proposals.ask() for _ in range(min(BATCH, trials + 1 - first))]
        batch = [
            _trial(f"trial {first + place}", point, goals, played)
            for place, (_, point) in enumerate(asked)
        ]
        ended = race.run(batch)
        for (proposed, _), trial in zip(asked, ended, strict=True):
            if trial.stopped == CONTRADICTORY:
                proposals.tell_impossible(proposed)
                continue
            values = race.estimates(trial)
            excesses = {each: each.excess(values[each.measure]) for each in goals.constraints}
            if trial.stopped.startswith("breaks"):
                # The estimate may be within the bound all the same; the trial is not to be.
                worst = max(excesses, key=lambda each: excesses[each])
                excesses[worst] = max(excesses[worst], math.ulp(1.0))
            proposals.tell(
                proposed,
                [values[each.measure] for each in goals.objectives],
                excesses,
                name=trial.name,
                stopped=trial.stopped,
            )
        race.trials += ended
    return Searched(
        goals=goals,
        trials=tuple(race.trials),
        study=race.study(race.through),
        optuna=proposals.study,
    )


@dataclass(slots=True)
class _Race:
    """Trials side by side, and those that are through."""

    goals: Goals
    played: PlayedRuns
    replications: int
    trials: list[Trial]

    def study(self, trials: Sequence[Trial], replications: int | None = None) -> Experiment:
        count = self.replications if replications is None else replications
        return self.played.experiment({each.name: each.policy for each in trials}, count)

    @property
    def through(self) -> list[Trial]:
        """The trials that played every replication; of equal policies the first."""
        by_policy: dict[Policy, Trial] = {}
        for each in self.trials:
            if not each.stopped:
                by_policy.setdefault(each.policy, each)
        return list(by_policy.values())

    def run(self, batch: Sequence[Trial]) -> list[Trial]:
        """Play trials side by side, and drop at each look those that clearly cannot win."""
        rivals = self._rivals()
        ended = {each.name: each for each in batch}
        running = [each for each in batch if not each.stopped]
        for count in looks(self.replications):
            study = self.study([*rivals, *running], count)
            left = []
            for trial in running:
                reason = "" if count == self.replications else self._why(study, trial, rivals)
                ended[trial.name] = replace(trial, replications=count, stopped=reason)
                if not reason:
                    left.append(trial)
            running = left
        return list(ended.values())

    def estimates(self, trial: Trial) -> dict[str, float]:
        """The measures of a trial, as if it had played every replication.

        Of one that was stopped only some are known, and their mean has the luck of their outages.
        So this is the base policy's mean over all, and the paired difference to it over those that
        were played.
        """
        base = self.trials[0]
        whole, part = self.study([base]), self.study([base, trial], trial.replications)
        return {
            measure: whole.interval(base.name, measure).mean
            + part.difference(base.name, trial.name, measure).mean
            for measure in measures_of(self.goals.objectives, self.goals.constraints)
        }

    def _rivals(self) -> list[Trial]:
        """The trials that a new one has to beat: the front of those that are through.

        While none of them keeps every constraint, it is the one that misses by least.
        """
        through, goals = {each.name: each for each in self.through}, self.goals
        study = self.study(list(through.values()))
        names = [name for name in through if feasible(study, name, goals.constraints)]
        if not names:
            return [min(through.values(), key=lambda x: missed(study, x.name, goals.constraints))]
        return [through[name] for name in front(study, names, goals.objectives)]

    def _why(self, study: Experiment, trial: Trial, rivals: Sequence[Trial]) -> str:
        """Why a trial is to be stopped; empty if it may win yet."""
        goals = self.goals
        which = broken(study, trial.name, goals.constraints)
        mine, *others = (missed(study, each.name, goals.constraints) for each in (trial, *rivals))
        if which is not None and min(others) < mine:
            return f"breaks {which}"
        for rival, its in zip(rivals, others, strict=True):
            if its <= mine and clearly_dominated(study, trial.name, rival.name, goals.objectives):
                return f"worse than {rival.name}"
        return ""


def _trial(name: str, point: Point, goals: Goals, played: PlayedRuns) -> Trial:
    try:
        policy = policy_at(played.scenario, goals.base, point)
        changed = changes(played.scenario, goals.base, point)
    except (InputError, PolicyError):
        return Trial(
            name=name, point=point, policy=goals.base, replications=0, stopped=CONTRADICTORY
        )
    return Trial(name=name, point=changed, policy=policy, replications=0)


def _check_measures(study: Experiment, goals: Goals) -> None:
    for each in measures_of(goals.objectives, goals.constraints):
        if math.isnan(study.interval(BASE, each).mean):
            raise InputError(
                f"{each} has no value in any of {study.replications} replications under the base "
                "policy; a longer duration_s, or another measure"
            )
