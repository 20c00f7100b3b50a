"""Why calls failed: every failure has one cause, and the causes add up to what is missing."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from ftrepo.designs import named_policies
from sim.causes import FailureCause, causes, failed_share, measure_of
from sim.history import Failures, GetOutcome
from sim.measures import availability, measure
from sim.run import Result, run
from sim.world import FixedWindows, KeySettings, OutageMode, Poisson, Scenario, ServiceSettings

SCENARIO = Scenario(
    name="fleet",
    duration_s=5400.0,
    warmup_s=300.0,
    outages=(FixedWindows(windows=((900.0, 4500.0),)),),
    traffic=Poisson(rate_per_s=0.5),
    keys=KeySettings(
        rotation_interval_s=1200.0,
        lifetime_s=3600.0,
        token_lifetime_s=1200.0,
        peers=0,
        unknown_share=0.0,
    ),
    service=ServiceSettings(instances=3, deploy_every_s=2400.0, start_s=5.0),
)
"""An hour without a primary, in which keys are due and instances are replaced."""


def failure(**columns: float) -> Failures:
    """One failure: a key of the schedule, unknown to the primary, asked of an old instance."""
    row = {
        "at_s": 100.0,
        "latency_s": 0.5,
        "outcome": GetOutcome.UNAVAILABLE,
        "committed_s": math.nan,
        "started_s": 10.0,
        "first_key": False,
    }
    return Failures(**{name: np.array([value]) for name, value in (row | columns).items()})


@pytest.mark.parametrize(
    ("columns", "cause"),
    [
        ({}, FailureCause.NOT_FLUSHED),
        ({"committed_s": 100.6}, FailureCause.NOT_FLUSHED),
        ({"first_key": True}, FailureCause.START_KEY),
        ({"committed_s": 50.0}, FailureCause.NOT_LEARNED),
        ({"committed_s": 100.5}, FailureCause.NOT_LEARNED),
        ({"committed_s": 50.0, "first_key": True}, FailureCause.NOT_LEARNED),
        ({"committed_s": 5.0}, FailureCause.EMPTY_MEMORY),
        ({"committed_s": 5.0, "outcome": GetOutcome.UNKNOWN}, FailureCause.EMPTY_MEMORY),
        ({"outcome": GetOutcome.GAVE_UP}, FailureCause.DEADLINE),
        ({"outcome": GetOutcome.GAVE_UP, "started_s": math.nan}, FailureCause.DEADLINE),
        ({"started_s": math.nan}, FailureCause.OTHER),
        ({"outcome": GetOutcome.ERROR}, FailureCause.OTHER),
    ],
)
def test_a_failure_has_the_cause_that_the_instance_lacked(
    columns: dict[str, float], cause: FailureCause
) -> None:
    """Where the key was, and since when the instance ran, decide why it could not answer."""
    assert causes(failure(**columns)).tolist() == [cause]


@pytest.fixture(scope="module")
def results() -> dict[str, Result]:
    """One run of three designs."""
    names = ("primary-only", "mark-down", "breaker")
    return {name: run(SCENARIO, named_policies()[name], seed=3) for name in names}


def test_causes_add_up_to_what_is_missing(results: dict[str, Result]) -> None:
    """Under every design the shares of all causes add up to the share of calls that failed."""
    for result in results.values():
        figures = measure(result.history)
        failed = sum(figures[measure_of(cause)] for cause in FailureCause)
        assert failed > 0
        assert failed == pytest.approx(1 - figures["availability"])


def test_memory_that_is_never_asked_has_learned_nothing(results: dict[str, Result]) -> None:
    """Without memory every key of the primary is unknown; keys made in the outage are refused."""
    history = results["primary-only"].history
    assert failed_share(FailureCause.NOT_LEARNED)(history) > 0.3
    assert failed_share(FailureCause.NOT_FLUSHED)(history) == 0


def test_a_fleet_lacks_the_keys_that_were_made_in_the_outage(results: dict[str, Result]) -> None:
    """What fails is keys that only their maker has, first ones included, and new instances."""
    for name in ("mark-down", "breaker"):
        history = results[name].history
        for cause in (FailureCause.NOT_FLUSHED, FailureCause.START_KEY, FailureCause.EMPTY_MEMORY):
            assert failed_share(cause)(history) > 0, (name, cause)


def test_a_hanging_primary_costs_callers_their_deadline() -> None:
    """A design that waits for a hanging primary fails by the deadline, and by nothing else."""
    hanging = FixedWindows(windows=((900.0, 1500.0),), mode=OutageMode.HANG)
    service = replace(SCENARIO.service, deploy_every_s=None)
    scenario = replace(SCENARIO, duration_s=2400.0, outages=(hanging,), service=service)
    history = run(scenario, named_policies()["primary-only"], seed=3).history
    late = failed_share(FailureCause.DEADLINE)(history)
    assert late == pytest.approx(1 - availability(history))
    assert late > 0.2


def test_a_run_without_calls_has_no_shares() -> None:
    """Where nobody asked, no share exists."""
    scenario = replace(SCENARIO, duration_s=600.0, traffic=Poisson(rate_per_s=1e-9), outages=())
    history = run(scenario, named_policies()["default"]).history
    assert math.isnan(failed_share(FailureCause.OTHER)(history))
