"""The bound on calls that bring nothing, as policies state it and as the simulation keeps to it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from ftrepo.designs import named_policies
from ftrepo.fault_tolerant import FaultTolerantRepository
from ftrepo.policy import Policy
from ftrepo.resilience.call_budget import CallBudget
from sim.history import History
from sim.run import run
from sim.study.loads import (
    LOAD_FIGURES,
    futile_calls_bound_per_s,
    measured_s,
    primary_attempts_per_s,
)
from sim.world.outage_patterns import FixedWindows
from sim.world.scenario import KeySettings, Scenario
from sim.world.traffic import Poisson
from tests.laboratory import Laboratory, run_laboratory

REFUSING = Scenario(
    name="refusing",
    duration_s=6.0,
    warmup_s=1.0,
    condense=False,
    outages=(FixedWindows(windows=((1.0, 6.0),)),),
    traffic=Poisson(rate_per_s=1.0),
    keys=KeySettings(peers=99, unknown_share=0.3),
)
FLOODED = replace(
    REFUSING, name="flooded", outages=(), keys=replace(REFUSING.keys, unknown_share=1.0)
)
BOUNDS = {
    "no bound": Policy(breaker=False, futile_calls_per_s_max=None, calls_in_flight_max=1_000_000),
    "budget alone": Policy(breaker=False),
    "default": Policy(),
}


def asked_by(callers: float, scenario: Scenario) -> Scenario:
    """The scenario with so many callers, each of whom asks about once a second."""
    return replace(scenario, traffic=Poisson(rate_per_s=callers))


def history_of(scenario: Scenario, policy: str) -> History:
    """One run with 500 callers."""
    return run(asked_by(500.0, scenario), BOUNDS[policy], seed=1).history


def test_the_bound_is_a_full_bucket_and_a_rate() -> None:
    """That of the repository; over a long time what is in it at first no longer counts."""
    policy = Policy(calls_in_flight_max=45, futile_calls_per_s_max=50.0)

    async def budget_of(lab: Laboratory) -> CallBudget | None:
        return FaultTolerantRepository(lab.primary, policy).budget

    budget = run_laboratory(budget_of)
    assert budget is not None
    assert futile_calls_bound_per_s(policy, 5.0) == (budget.capacity + 5.0 * 50.0) / 5.0
    assert futile_calls_bound_per_s(policy, 1e9) == pytest.approx(50.0)


@pytest.mark.parametrize("policy", [BOUNDS["no bound"], named_policies()["primary-only"]])
def test_without_a_rate_there_is_no_bound(policy: Policy) -> None:
    """Nor where memory may not answer instead."""
    assert math.isinf(futile_calls_bound_per_s(policy, 5.0))


def test_only_calls_of_the_measured_time_count() -> None:
    """As many a second as were begun after the warm-up and before the end."""
    history = history_of(REFUSING, "no bound")
    assert measured_s(history) == 5.0
    begun = [moment_s for moment_s in history.attempts_s if 1.0 <= moment_s < 6.0]
    assert primary_attempts_per_s(history) == len(begun) / 5.0
    assert len(begun) < len(history.attempts_s)


@pytest.mark.parametrize("scenario", [REFUSING, FLOODED], ids=lambda each: each.name)
def test_the_bound_holds_where_there_is_one(scenario: Scenario) -> None:
    """And is nearly reached, where no breaker helps; without it the primary gets all there is."""
    bound_per_s = futile_calls_bound_per_s(Policy(), 5.0)
    found = {policy: primary_attempts_per_s(history_of(scenario, policy)) for policy in BOUNDS}
    assert found["no bound"] == pytest.approx(500.0, rel=0.1)
    assert 0.75 * bound_per_s < found["budget alone"] <= bound_per_s
    if scenario is FLOODED:
        assert found["default"] == found["budget alone"], "no breaker trips where nothing fails"
    else:
        assert found["default"] < 2.0


def test_memory_answers_for_what_the_primary_is_spared() -> None:
    """Known keys are served throughout; of made-up ids there is none to be served."""
    refused, flooded = (
        {name: figure(history_of(world, "budget alone")) for name, figure in LOAD_FIGURES.items()}
        for world in (REFUSING, FLOODED)
    )
    assert refused["availability"] == 1.0
    assert math.isnan(flooded["availability"])
    assert refused["wrong_answers"] == flooded["wrong_answers"] == 0.0
