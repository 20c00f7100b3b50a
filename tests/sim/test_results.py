"""Studies that keep their results, and the processes that the work is spread over."""

from __future__ import annotations

import math
import os
from dataclasses import replace

import pytest

from ftrepo.policy import Policy
from sim.history import History
from sim.run import run
from sim.study.experiment import experiment
from sim.study.intervals import t_interval
from sim.study.lags import LAG_FIGURES
from sim.study.parallel import spread
from sim.study.results import Plan, play
from sim.world.outage_patterns import FixedWindows
from sim.world.scenario import KeySettings, Scenario
from sim.world.traffic import Poisson

SCENARIO = Scenario(
    name="small",
    duration_s=900.0,
    warmup_s=60.0,
    outages=(FixedWindows(windows=((300.0, 420.0),)),),
    traffic=Poisson(rate_per_s=0.2),
    keys=KeySettings(rotation_interval_s=20.0, lifetime_s=1200.0, token_lifetime_s=600.0, peers=1),
)
PLANS: dict[str, Plan] = {
    "small": (SCENARIO, {"quick": Policy(breaker_open_s=1.0), "slow": Policy(breaker_open_s=30.0)}),
    "long": (replace(SCENARIO, name="long", duration_s=1000.0), {"quick": Policy()}),
}


def requests(history: History) -> float:
    """How many calls of `get` there were."""
    return float(len(history.gets.at_s))


def test_results_are_those_of_single_runs() -> None:
    """Every study has the replications of its own scenario and policies, in order."""
    studies = play(PLANS, seed=3, replications=2, workers=1)
    assert list(studies) == ["small", "long"]
    study = studies["small"]
    assert study.replications == 2
    assert list(study.results) == ["quick", "slow"]
    for policy, results in study.results.items():
        for replication, result in enumerate(results):
            assert (result.scenario, result.policy) == (SCENARIO, study.policies[policy])
            assert (result.seed, result.replication) == (3, replication)
    single = run(PLANS["long"][0], Policy(), seed=3, replication=1).history
    found = studies["long"].results["quick"][1].history
    assert found.gets.at_s.tolist() == single.gets.at_s.tolist()
    assert found.keys.settled_s.tolist() == single.keys.settled_s.tolist()


def test_figures_agree_with_an_experiment() -> None:
    """A measure computed from kept results is the one that `experiment` reports."""
    policies = PLANS["small"][1]
    study = play({"small": PLANS["small"]}, replications=2, workers=1)["small"]
    measured = experiment(SCENARIO, policies, replications=2, workers=1)
    name = "primary_attempts_during_outage_per_s"
    assert study.values("quick", LAG_FIGURES[name]) == measured.values("quick", name)
    assert study.interval("quick", LAG_FIGURES[name]) == measured.interval("quick", name)
    assert study.difference("quick", "slow", LAG_FIGURES[name]) == measured.difference(
        "quick", "slow", name
    )


def test_intervals_come_by_policy_and_name() -> None:
    """Shares stay between 0 and 1; common random numbers make the requests the same."""
    study = play({"small": PLANS["small"]}, replications=2, workers=1)["small"]
    intervals = study.intervals({"requests": requests, "some_share": lambda h: requests(h) / 200})
    assert intervals["quick"] == intervals["slow"]
    assert intervals["quick"]["requests"] == t_interval(study.values("quick", requests))
    share = intervals["quick"]["some_share"]
    assert 0.0 <= share.low <= share.mean <= 1.0 >= share.high


def test_a_longer_open_time_is_a_longer_wait() -> None:
    """The wait after the outage is bounded by the time that the breaker stays open."""
    study = play({"small": PLANS["small"]}, replications=2, workers=1)["small"]
    quick, slow = (study.interval(name, LAG_FIGURES["wait_max_s"]).mean for name in study.policies)
    assert 0 < quick < 1.1
    assert quick < slow < 30.1


@pytest.mark.parametrize(
    ("plans", "replications", "message"),
    [({"none": (SCENARIO, {})}, 1, "'none' needs at least one policy"), (PLANS, 0, "at least 1")],
)
def test_impossible_studies_are_refused(
    plans: dict[str, Plan], replications: int, message: str
) -> None:
    """There must be something to play, and how often."""
    with pytest.raises(ValueError, match=message):
        play(plans, replications=replications)


def test_results_come_in_the_order_of_jobs() -> None:
    """In another process as in this one, and progress is told from none to all."""
    jobs = [(float(x),) for x in (9, 4, 1)]
    for workers in (1, 2):
        told: list[tuple[int, ...]] = []
        assert spread(
            math.sqrt, jobs, workers=workers, progress=lambda *now, told=told: told.append(now)
        ) == [3.0, 2.0, 1.0]
        assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_work_is_done_in_other_processes() -> None:
    """More than one worker leaves this process free."""
    assert os.getpid() not in spread(os.getpid, [(), ()], workers=2)
    assert spread(os.getpid, [(), ()], workers=1) == [os.getpid()] * 2


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failure_is_raised_here(workers: int) -> None:
    """Whatever a job raises reaches the caller."""
    with pytest.raises(ValueError, match="math domain error|nonnegative"):
        spread(math.sqrt, [(1.0,), (-1.0,)], workers=workers)


def test_no_jobs_give_no_results() -> None:
    """An empty list of jobs starts nothing."""
    assert spread(math.sqrt, []) == []
