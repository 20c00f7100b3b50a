"""When a trial is stopped early, and when one is at least as good as another.

Optuna's pruners know one objective and no constraints, and judge by a value so far, which after a
few replications is mostly the luck of their outages. Here trials are compared replication by
replication, on common random numbers, and one is stopped only when it is clear by an interval that
it breaks a constraint which another one breaks less, or that another one is as good in everything
and better in something.

The intervals are of single looks, and there are many: now and then a good trial is stopped. That
costs the search a chance, and no conclusion rests on it.
"""

from __future__ import annotations

from collections.abc import Sequence

from sim.study.experiment import Experiment
from sim.study.tune.objectives import Constraint, Objective

FIRST_LOOK = 3
"""Replications before the first look. With two, Student's quantile is 12.7: nothing is clear."""


def looks(replications: int) -> list[int]:
    """After how many replications trials are looked at: 3, 6, 12, … and then all."""
    counts = []
    count = FIRST_LOOK
    while count < replications:
        counts.append(count)
        count *= 2
    return [*counts, replications]


def broken(study: Experiment, policy: str, constraints: Sequence[Constraint]) -> Constraint | None:
    """The first constraint that a policy clearly breaks; `None` if there is none."""
    return next(
        (each for each in constraints if each.clearly_broken(study.interval(policy, each.measure))),
        None,
    )


def feasible(study: Experiment, policy: str, constraints: Sequence[Constraint]) -> bool:
    """Whether the means of a policy keep every constraint: the rule of the search."""
    return all(each.excess(study.interval(policy, each.measure).mean) <= 0 for each in constraints)


def missed(study: Experiment, policy: str, constraints: Sequence[Constraint]) -> float:
    """How far a policy's means are past the constraints together, as shares of what is allowed.

    0 if it keeps them all.
    """
    excesses = [each.excess(study.interval(policy, each.measure).mean) for each in constraints]
    return sum(max(0.0, each) for each in excesses)


def assured(study: Experiment, policy: str, constraints: Sequence[Constraint]) -> bool:
    """Whether the far ends of its intervals keep every constraint."""
    return all(each.holds(study.interval(policy, each.measure)) for each in constraints)


def clearly_dominated(
    study: Experiment, policy: str, other: str, objectives: Sequence[Objective]
) -> bool:
    """Whether another policy is clearly better in some objective, and equal in the rest.

    Equal is what gave the same figure in every replication: "perhaps a little better" is no reason
    to stop.
    """
    worse = False
    for each in objectives:
        difference = study.difference(other, policy, each.measure)
        if each.clearly_worse(difference):
            worse = True
        elif study.values(policy, each.measure) != study.values(other, each.measure):
            return False
    return worse


def clearly_worse(
    study: Experiment, policy: str, other: str, objectives: Sequence[Objective]
) -> bool:
    """Whether a policy is clearly worse than another in any objective."""
    return any(
        each.clearly_worse(study.difference(other, policy, each.measure)) for each in objectives
    )


def front(study: Experiment, policies: Sequence[str], objectives: Sequence[Objective]) -> list[str]:
    """The policies that no other one beats by its means: the Pareto front, best first.

    Best is by the first objective. Of policies with the same means the first one stays.
    """
    means = {
        name: tuple(each.gain(study.interval(name, each.measure).mean) for each in objectives)
        for name in policies
    }
    kept: list[str] = []
    for name in sorted(policies, key=lambda name: means[name], reverse=True):
        # Sorted, so none that comes later can beat one that is kept already.
        if not any(all(a >= b for a, b in zip(means[k], means[name], strict=True)) for k in kept):
            kept.append(name)
    return kept
