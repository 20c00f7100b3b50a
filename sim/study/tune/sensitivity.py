"""Which setting matters: one at a time around the recommendation, and over the whole search.

One at a time: each searched setting is moved to the ends of its range, the others staying as
recommended, and the difference is paired, with an interval. That is a statement on this policy, and
can be read off. PED-ANOVA (Watanabe and others, IJCAI 2023) tells, from all trials, which settings
made the difference between good trials and others; it has no interval, and is shown beside.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from ftrepo.errors import PolicyError
from ftrepo.policy import Policy
from sim.study.comparisons import simultaneous
from sim.study.intervals import Interval
from sim.study.tune.played import PlayedRuns
from sim.study.tune.search import Searched
from sim.study.tune.space import Dimension, policy_at, value_in
from sim.world.errors import InputError

BETTER_SHARE = 0.25
"""PED-ANOVA asks what sets the best quarter of the trials apart. Its own choice is a tenth, of
hundreds of trials; it needs at least five."""

TRIALS_MIN = 20
"""With fewer trials it is not asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What moving one setting does to one measure.

    Attributes:
        name: of the setting.
        value: what it is moved to.
        recommended: what it is moved from.
        measure: which figure.
        difference: with it moved, minus the recommended policy; the intervals of a measure hold
            together.
    """

    name: str
    value: object
    recommended: object
    measure: str
    difference: Interval


def one_at_a_time(
    played: PlayedRuns,
    recommended: Policy,
    space: Sequence[Dimension],
    measures: Sequence[str],
    *,
    replications: int,
) -> tuple[Effect, ...]:
    """Move each setting to the ends of its range, or to each other value that it can take.

    A value that contradicts the other settings is left out.
    """
    moved: dict[tuple[str, object], Policy] = {}
    for each in space:
        for value in each.ends():
            try:
                policy = policy_at(played.scenario, recommended, {each.name: value})
            except (InputError, PolicyError):
                continue
            if policy != recommended:
                moved[each.name, value] = policy
    names = {key: f"{key[0]} = {key[1]}" for key in moved}
    policies = {names[key]: policy for key, policy in moved.items()}
    study = played.experiment({"recommended": recommended} | policies, replications)
    confidence = simultaneous(max(1, len(moved)))
    return tuple(
        Effect(
            name=key[0],
            value=key[1],
            recommended=value_in(recommended, key[0]),
            measure=measure,
            difference=study.difference("recommended", names[key], measure, confidence=confidence),
        )
        for measure in measures
        for key in moved
    )


def importances(searched: Searched) -> dict[str, float]:
    """The share that each setting has in the first objective being good, the largest first.

    Empty with fewer than `TRIALS_MIN` trials, or if all were alike.
    """
    from optuna.importance import (  # noqa: PLC0415  an extra
        PedAnovaImportanceEvaluator,
        get_param_importances,
    )
    from optuna.trial import TrialState  # noqa: PLC0415

    objective, study = searched.goals.objectives[0], searched.optuna
    complete = study.get_trials(states=(TrialState.COMPLETE,))
    if len(complete) < TRIALS_MIN or len({each.values[0] for each in complete}) < 2:
        return {}
    maximise = objective.maximise
    with warnings.catch_warnings():
        # It warns whenever it is given a target, that low values of it are taken for good.
        warnings.filterwarnings("ignore", "PedAnovaImportanceEvaluator computes")
        return get_param_importances(
            study,
            evaluator=PedAnovaImportanceEvaluator(target_quantile=BETTER_SHARE),
            target=lambda trial: -trial.values[0] if maximise else trial.values[0],
        )
