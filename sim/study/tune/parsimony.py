"""From the best trial to the settings that matter: each that does not stays as it is.

A sampler moves every setting at once, so the best trial differs from the base policy in all of
them, in most by accident. One by one they are set back, the least important first, and stay back
if the policy is then not clearly worse than the best trial in any objective, and keeps the
constraints by the same rule. It is always compared with the best trial itself: steps that are each
too small to see cannot add up unseen.

It errs on the side of the base policy: with few replications little is clear, and little changes.
"""

from __future__ import annotations

from dataclasses import dataclass

from ftrepo.policy import Policy
from sim.study.experiment import Experiment
from sim.study.grid import Point
from sim.study.intervals import Interval
from sim.study.tune.goals import Goals
from sim.study.tune.played import PlayedRuns
from sim.study.tune.race import assured, clearly_worse, feasible, missed
from sim.study.tune.search import Searched, Trial
from sim.study.tune.space import policy_at

_FULL, _WITHOUT = "full", "without"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetBack:
    """A setting that a search had changed and that made no clear difference.

    Attributes:
        name: the setting.
        tried: the value that the best trial had.
        difference: of the first objective, on the seed of the search: with the setting alone set
            back, minus the best trial.
    """

    name: str
    tried: object
    difference: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Simplified:
    """The best trial without what does not matter.

    Attributes:
        best: the trial that it comes from.
        point: the settings that stay changed.
        policy: the base policy with those.
        set_back: the others, the least important first.
    """

    best: Trial
    point: Point
    policy: Policy
    set_back: tuple[SetBack, ...]

    @property
    def between(self) -> list[Point]:
        """The ways back to the best trial: the most important setting changed again, or two."""
        points, point = [], dict(self.point)
        for each in reversed(self.set_back[1:]):
            point[each.name] = each.tried
            points.append(dict(point))
        return points


def best_trial(searched: Searched) -> Trial:
    """The trial to recommend: the best by the first objective among those that are safe to take.

    That is among the trials whose intervals keep every constraint; if there is none, among those
    whose means do; if there is none either, the one that misses by least. Trials that are not
    clearly worse than the best in the first objective count as its equals there, and the next
    objective decides between them, and so on.
    """
    goals, study, names = searched.goals, searched.study, list(searched.finished)
    safe = [name for name in names if assured(study, name, goals.constraints)]
    left = safe or searched.feasible
    if not left:
        return searched.finished[
            min(names, key=lambda name: missed(study, name, goals.constraints))
        ]
    best = left[0]
    for objective in goals.objectives:
        means = {
            name: objective.gain(study.interval(name, objective.measure).mean) for name in left
        }
        best = max(left, key=lambda name: means[name])
        left = [name for name in left if not clearly_worse(study, name, best, [objective])]
    return searched.finished[best]


def simplify(searched: Searched, played: PlayedRuns, *, replications: int) -> Simplified:
    """Set back what does not matter in the best trial, on the seed of the search.

    Args:
        searched: what was found.
        played: plays, on the seed of the search.
        replications: how many runs decide what matters; more than those of the search, as a rule,
            for these are few policies, and what is not clear is set back.
    """
    best, goals, count = best_trial(searched), searched.goals, replications

    def against(point: Point) -> Experiment:
        policy = policy_at(played.scenario, goals.base, point)
        return played.experiment({_FULL: best.policy, _WITHOUT: policy}, count)

    def one_less(name: str) -> Point:
        return {other: value for other, value in best.point.items() if other != name}

    # Together first, so that every process has something to do.
    played.play(
        (policy_at(played.scenario, goals.base, one_less(name)) for name in best.point), count
    )
    alone = {name: against(one_less(name)) for name in best.point}
    order = sorted(best.point, key=lambda name: _cost(alone[name], goals))
    kept: Point = {}
    if not _as_good(against(kept), goals):
        kept = dict(best.point)
        for name in order:
            without = {other: value for other, value in kept.items() if other != name}
            if _as_good(against(without), goals):
                kept = without
    first = goals.objectives[0].measure
    return Simplified(
        best=best,
        point=kept,
        policy=policy_at(played.scenario, goals.base, kept),
        set_back=tuple(
            SetBack(
                name=name,
                tried=best.point[name],
                difference=alone[name].difference(_FULL, _WITHOUT, first),
            )
            for name in order
            if name not in kept
        ),
    )


def _as_good(study: Experiment, goals: Goals) -> bool:
    """Whether a policy may stand for the best trial."""
    if clearly_worse(study, _WITHOUT, _FULL, goals.objectives):
        return False
    for keeps in (assured, feasible):
        if keeps(study, _FULL, goals.constraints):
            return keeps(study, _WITHOUT, goals.constraints)
    # The best trial keeps them not even by its means: nothing may get worse.
    return missed(study, _WITHOUT, goals.constraints) <= missed(study, _FULL, goals.constraints)


def _cost(study: Experiment, goals: Goals) -> list[float]:
    """How much is lost without a setting: of the constraints first, then of each objective."""
    losses = [
        -each.gain(study.difference(_FULL, _WITHOUT, each.measure).mean)
        for each in goals.objectives
    ]
    return [missed(study, _WITHOUT, goals.constraints), *losses]
