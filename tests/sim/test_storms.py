"""Retry storms: when one feeds itself, and what ends it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from ftrepo.designs import named_policies
from ftrepo.policy import Policy
from sim.history import GetOutcome
from sim.measures import measure
from sim.run import run
from sim.study.storms import (
    STORM_FIGURES,
    amplification,
    called_per_s,
    drained_after_s,
    end_availability,
    end_load_per_s,
    load_of_storm_per_s,
    served_per_s,
)
from sim.world.callers import CallerSettings, Closed
from sim.world.crowds import Steps
from sim.world.scenario import Scenario
from sim.world.scenario_file import load_scenario

PLAIN = named_policies()["primary-only"]
STORM = replace(load_scenario("retry-storm"), duration_s=180.0)
CROWD = replace(load_scenario("flash-crowd"), duration_s=220.0)


def figures(scenario: Scenario, policy: Policy = PLAIN) -> dict[str, float]:
    """The figures of one run."""
    history = run(scenario, policy, seed=1).history
    return {name: figure(history) for name, figure in STORM_FIGURES.items()}


def callers(scenario: Scenario, **settings: object) -> Scenario:
    """The same with other callers."""
    caller = replace(scenario.caller, **settings)  # type: ignore[arg-type]
    return replace(scenario, caller=caller)


def test_amplification_is_the_sum_of_the_powers_and_a_budget_bounds_it() -> None:
    """1 + p + p² for three attempts; Brooker's bound of 1 + ratio."""
    three = CallerSettings(attempts_max=3)
    assert amplification(0.0, three) == 1.0
    assert amplification(0.5, three) == 1.75
    assert amplification(1.0, three) == 3.0
    assert amplification(1.0, replace(three, retry_budget_ratio=0.1)) == 1.1
    assert amplification(0.05, replace(three, retry_budget_ratio=0.1)) == pytest.approx(1.0525)


def test_a_queue_drains_only_if_the_storm_is_below_the_capacity() -> None:
    """50/s can do, 35/s come: three attempts never end; one drains 350 - 50 calls at 15/s."""
    assert load_of_storm_per_s(STORM) == pytest.approx(105.0)
    assert math.isinf(drained_after_s(STORM, 10.0))
    assert drained_after_s(callers(STORM, attempts_max=1), 10.0) == pytest.approx(20.0)
    assert drained_after_s(callers(STORM, attempts_max=1), 1.0) == 0.0
    # The queue has a bound, so that an outage of an hour leaves no more than one of ten seconds.
    budget = callers(STORM, retry_budget_ratio=0.1)
    assert drained_after_s(budget, 3600.0) == pytest.approx((400 - 50) / (50 - 38.5))


def test_a_storm_outlives_its_cause_without_a_budget() -> None:
    """Metastable: nothing comes out, a hundred seconds on, and the load is twice the capacity."""
    found = figures(STORM)
    assert found["end_availability"] == 0.0
    assert found["unrecovered_share"] == 1.0
    assert found["recovery_mean_s"] == pytest.approx(110.0, abs=1.0)
    assert found["end_load_per_s"] > 2 * STORM.primary.capacity_per_s
    assert found["attempts_per_request"] > 2.5


@pytest.mark.parametrize(
    ("scenario", "policy"),
    [
        (callers(STORM, attempts_max=1), PLAIN),
        (callers(STORM, retry_budget_ratio=0.1), PLAIN),
        (replace(STORM, primary=replace(STORM.primary, queue_max=40)), PLAIN),
        (replace(STORM, primary=replace(STORM.primary, command_timeout_s=0.8)), PLAIN),
        (STORM, replace(PLAIN, breaker=True, select_timeout_s=0.5)),
        (STORM, Policy()),
        (replace(STORM, traffic=Steps(rates_per_s=(35, 5, 35), changes_s=(80, 115))), PLAIN),
    ],
    ids=["no retries", "budget", "short queue", "server time-out", "breaker", "default", "shed"],
)
def test_what_keeps_the_load_below_the_capacity_ends_it(scenario: Scenario, policy: Policy) -> None:
    """Callers who retry less, a server that drops work, a breaker, or less to do for a while."""
    found = figures(scenario, policy)
    assert found["unrecovered_share"] == 0.0
    assert found["end_availability"] > 0.98
    assert found["end_load_per_s"] < 1.15 * 35
    assert found["wrong_answers"] == 0


def test_a_storm_needs_no_fault_of_the_primary() -> None:
    """A crowd that has gone leaves it behind too, and a budget ends it."""
    endless = figures(CROWD)
    assert endless["end_availability"] == 0.0
    assert endless["end_load_per_s"] > CROWD.primary.capacity_per_s
    assert math.isnan(endless["recovery_mean_s"])
    assert figures(callers(CROWD, retry_budget_ratio=0.1))["end_availability"] > 0.98


def test_a_storm_needs_a_load_that_retries_lift_above_the_capacity() -> None:
    """At 20% of the capacity three times the load is no storm, and it ends by itself."""
    light = replace(STORM, traffic=Steps(rates_per_s=(10.0,)))
    assert math.isfinite(drained_after_s(light, 10.0))
    found = figures(light)
    assert found["unrecovered_share"] == 0.0
    assert found["end_availability"] > 0.99


def test_a_closed_population_makes_a_storm_of_its_own() -> None:
    """Who waits asks less, and three attempts are too many all the same."""
    found = figures(replace(STORM, traffic=Closed(clients=350, think_mean_s=10.0)))
    assert found["end_availability"] == 0.0
    assert 50 < found["end_load_per_s"] < 105


def test_rates_over_time_count_every_call_and_every_success() -> None:
    """Summed up they are the calls and the requests that came out right, to the end of the run."""
    history = run(STORM, Policy(), seed=1).history
    calls = called_per_s(history, 5.0)
    assert len(calls) == 36
    assert calls.sum() * 5.0 == pytest.approx((history.attempts_s < 180.0).sum())
    ended = history.gets.at_s + history.gets.latency_s < 180.0
    right = ended & (history.gets.outcome == GetOutcome.RIGHT)
    assert served_per_s(history, 5.0).sum() * 5.0 == pytest.approx(right.sum())
    late = measure(history)
    assert late["availability"] == pytest.approx(end_availability(history), abs=0.01)
    assert end_load_per_s(history) == pytest.approx(35.0, rel=0.1)
