"""Optuna's side of a search: what to try next, given what came of what was tried.

The sampler is the tree-structured Parzen estimator (Watanabe, arXiv 2304.11127), for one objective
and for several, with constraints: of what Optuna has, it makes the most of the few dozen trials
that can be afforded here. NSGA-II wants generations of 50.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sim.study.grid import Point
from sim.study.tune.goals import Goals
from sim.study.tune.objectives import Constraint
from sim.study.tune.space import Choice, Dimension, Range, value_in

if TYPE_CHECKING:
    import optuna

STARTUP = 16
"""Trials that are drawn at random, before the sampler has anything to go by."""


class Proposals:
    """A study of Optuna that is asked and told; the same answers to the same seed and figures.

    Args:
        goals: what is searched for.
        seed: of the sampler.

    Attributes:
        study: Optuna's own, in memory.

    Raises:
        ModuleNotFoundError: Optuna, the extra `tuning`, is not installed.
    """

    def __init__(self, goals: Goals, *, seed: int) -> None:
        import optuna  # noqa: PLC0415  an extra

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space = goals.space
        self._distributions = _distributions(goals.space)
        self.study = optuna.create_study(
            study_name="tune",
            directions=["maximize" if each.maximise else "minimize" for each in goals.objectives],
            sampler=optuna.samplers.TPESampler(
                seed=seed,
                n_startup_trials=STARTUP,
                # Settings act together: a lag is that of the flush or that of the breaker.
                multivariate=True,
                # Trials of one batch are to differ.
                constant_liar=True,
            ),
        )
        self.study.enqueue_trial(_representable(goals))

    def ask(self) -> tuple[optuna.Trial, Point]:
        """Return what to tell, and the settings to try."""
        trial = self.study.ask(self._distributions)
        return trial, {
            each.name: each.rounded(trial.params[each.name])
            if isinstance(each, Range)
            else each.values[int(trial.params[each.name])]
            for each in self._space
        }

    def tell(
        self,
        trial: optuna.Trial,
        values: Sequence[float],
        excesses: Mapping[Constraint, float],
        *,
        name: str,
        stopped: str,
    ) -> None:
        """Tell what came of a trial; a value that is NaN makes it a failed one."""
        trial.set_user_attr("name", name)
        trial.set_user_attr("stopped", stopped)
        if any(map(math.isnan, values)):
            self.tell_impossible(trial)
            return
        for constraint, excess in excesses.items():
            trial.set_constraint(str(constraint), excess)
        self.study.tell(trial, list(values))

    def tell_impossible(self, trial: optuna.Trial) -> None:
        """Tell that the settings of a trial contradict one another."""
        from optuna.trial import TrialState  # noqa: PLC0415  an extra

        self.study.tell(trial, state=TrialState.FAIL)


def _representable(goals: Goals) -> dict[str, Any]:
    """The base policy's own settings, as far as they lie in the space: where a search begins."""
    start: dict[str, Any] = {}
    for each in goals.space:
        value = value_in(goals.base, each.name)
        if each.has(value):
            start[each.name] = value if isinstance(each, Range) else each.values.index(value)
    return start


def _distributions(
    space: Sequence[Dimension],
) -> dict[str, optuna.distributions.BaseDistribution]:
    from optuna import distributions  # noqa: PLC0415  an extra

    return {
        # A choice by its place: Optuna takes no values of every kind.
        each.name: distributions.CategoricalDistribution(tuple(range(len(each.values))))
        if isinstance(each, Choice)
        else distributions.FloatDistribution(each.low, each.high, log=each.log)
        for each in space
    }
