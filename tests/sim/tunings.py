"""A world whose truth is a formula: what tests of tunings share.

Runs in it take no time. What a setting does is known, so what a tuning ought to find is known too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from ftrepo.policy import Policy
from sim.measures import MEASURES
from sim.study.experiment import RunFigures
from sim.study.tune.goals import Goals
from sim.study.tune.objectives import parse_constraint, parse_objective
from sim.study.tune.played import Means, PlayedRuns
from sim.study.tune.space import parse_search
from sim.study.tune.tuning import Tuning, tune
from sim.world.scenario_file import load_scenario

T = TypeVar("T")

WORLD = replace(load_scenario("default"), duration_s=1200.0, warmup_s=60.0)

LUCK_S = 3.0
"""The standard deviation of what all policies of a replication have in common in their lag."""

SPACE = (
    "operation_timeout_s=0.1:2:log",
    "flush_interval_s=0.25:30:log",
    "refresh_interval_s=30:1800:log",
)


class Formula:
    """An executor that plays no run, and answers as the formula has it.

    The latency is the time-out. The lag is the flush interval, a tenth over the time-out, and the
    luck of the replication. Nothing depends on the refresh interval.

    Args:
        stop_after: after so many runs it fails, as if somebody had pressed Ctrl-C.
        lag_by_seed: what is added to the lag on a seed: another world for the runs that judge.

    Attributes:
        jobs: policy, seed and replication of every run that was asked for.
    """

    def __init__(
        self, *, stop_after: float = math.inf, lag_by_seed: dict[int, float] | None = None
    ) -> None:
        self.jobs: list[tuple[Policy, int, int]] = []
        self._stop_after = stop_after
        self._lag_by_seed = lag_by_seed or {}

    def share(self, value: T) -> T:
        return value

    def finished(
        self, function: Callable[..., T], jobs: Sequence[tuple[Any, ...]]
    ) -> Iterator[tuple[int, Any]]:
        # The last first: a search must not depend on the order in which runs are finished.
        for place, (_, _, policy, seed, number) in reversed(list(enumerate(jobs))):
            if len(self.jobs) >= self._stop_after:
                raise KeyboardInterrupt
            self.jobs.append((policy, seed, number))
            yield place, self._figures(policy, seed, number)

    def _figures(self, policy: Policy, seed: int, number: int) -> RunFigures:
        luck = np.random.default_rng([seed, number]).normal(0.0, LUCK_S)
        assert policy.select_timeout_s is not None
        found = {
            "get_latency_p99_s": policy.select_timeout_s,
            "sync_lag_p99_s": 60.0
            + policy.flush_interval_s
            + 0.1 / policy.select_timeout_s
            + luck
            + self._lag_by_seed.get(seed, 0.0),
            "primary_attempts_during_outage_per_s": 1.0 / policy.flush_interval_s,
            "availability": 0.999,
            "wrong_answers": 0.0,
        }
        return RunFigures(
            measures={each.name: found.get(each.name, math.nan) for each in MEASURES},
            outages=10,
            harmful_outages=1,
            share_at_risk=0.1,
            played_s=1200.0,
        )


def goals(
    *objectives: str, within: Sequence[str] = (), space: Sequence[str] = SPACE, **base: Any
) -> Goals:
    """Goals as a command line has them."""
    return Goals(
        base=Policy(**base),
        space=parse_search(space),
        objectives=tuple(map(parse_objective, objectives)),
        constraints=tuple(map(parse_constraint, within)),
    )


def formula_tuning(asked: Goals, executor: Formula | None = None, **options: Any) -> Tuning:
    """Tune in the world of the formula; 24 trials of 4 replications unless said otherwise."""
    options = {"trials": 24, "replications": 4, "seed": 1} | options
    return tune(WORLD, asked, executor=executor or Formula(), **options)


def formula_runs(executor: Formula | None = None, *, seed: int = 1) -> PlayedRuns:
    """Runs in that world."""
    return PlayedRuns(WORLD, seed=seed, means=Means(executor or Formula()))
