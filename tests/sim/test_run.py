"""One run: reproducible, fair between policies, and true to the books."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import fields, replace
from itertools import product

import numpy as np
import pytest

from ftrepo.designs import named_policies
from ftrepo.policy import Policy
from sim.history import CreateOutcome, GetOutcome, History, KeyEnd
from sim.measures import measure
from sim.run import Result, run
from sim.study import experiment
from sim.study.theory import availability_alternating
from sim.world.durations import Exponential
from sim.world.errors import InputError
from sim.world.outage_patterns import AlternatingRenewal, FixedWindows
from sim.world.outages import OutageMode
from sim.world.primary_settings import PrimarySettings
from sim.world.scenario import KeySettings, Scenario
from sim.world.scenario_file import load_scenario, named_scenarios
from sim.world.service import ServiceSettings
from sim.world.traffic import Poisson

SHORT = Scenario(
    name="short",
    duration_s=1200.0,
    warmup_s=60.0,
    condense=False,
    outages=(FixedWindows(windows=((300.0, 420.0), (700.0, 760.0)), mode=OutageMode.HANG),),
    traffic=Poisson(rate_per_s=2.0),
    keys=KeySettings(rotation_interval_s=100.0, lifetime_s=400.0, token_lifetime_s=200.0),
)


def columns(history: History) -> bytes:
    """Every bit of a history."""
    parts = (history.gets, history.creates, history.keys, history.samples)
    arrays = [getattr(part, each.name) for part in parts for each in fields(part)]
    return b"".join(array.tobytes() for array in [*arrays, history.attempts_s, history.outages])


def test_the_same_seed_gives_the_same_run_to_the_bit() -> None:
    """And another seed or replication another one."""
    first = columns(run(SHORT, Policy(), seed=1).history)
    assert columns(run(SHORT, Policy(), seed=1).history) == first
    assert columns(run(SHORT, Policy(), seed=2).history) != first
    assert columns(run(SHORT, Policy(), seed=1, replication=1).history) != first


def test_it_does_not_depend_on_the_process() -> None:
    """Two processes with different hash seeds agree."""
    program = (
        "import hashlib, sys; sys.path[:0] = sys.argv[1:]; import test_run as t;"
        "from ftrepo.policy import Policy;"
        "print(hashlib.sha256(t.columns(t.run(t.SHORT, Policy(), seed=1).history)).hexdigest())"
    )
    paths = [str(__file__).rsplit("/", 1)[0], *sys.path]
    digests = {
        subprocess.run(
            [sys.executable, "-c", program, *paths],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_policies_meet_the_same_world() -> None:
    """The same calls at the same moments, from the same streams: common random numbers."""
    first = run(SHORT, Policy(), seed=1).history
    second = run(SHORT, Policy(read_policy="cache-first", breaker=False), seed=1).history
    assert np.array_equal(first.gets.at_s, second.gets.at_s)
    assert np.array_equal(first.outages, second.outages)
    healthy = first.gets.at_s < 300
    slow = first.gets.latency_s[healthy]
    third = run(SHORT, Policy(flush_interval_s=7.0), seed=1).history
    assert np.array_equal(third.gets.latency_s[healthy], slow)


def test_fault_tolerance_helps() -> None:
    """In the same outages the default serves what the service without it cannot."""
    plain = measure(run(SHORT, named_policies()["primary-only"], seed=1).history)
    default = measure(run(SHORT, Policy(), seed=1).history)
    assert plain["availability"] < 0.9
    assert default["availability"] > plain["availability"] + 0.1
    assert default["create_latency_max_s"] <= 0.5 + 1e-9
    assert default["primary_attempts_during_outage_per_s"] < 0.5


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        *product(sorted(named_scenarios()), ("primary-only", "default", "cache-first")),
        *product(("default", "fleet"), ("cache-fallback", "mark-down", "breaker")),
    ],
)
def test_the_books_balance_in_every_scenario(name: str, policy: str) -> None:
    """Every acknowledged key is in the primary, expired, or counted as lost; no answer is wrong."""
    scenario = load_scenario(name)
    if scenario.length_s > 10_000:
        scenario = replace(scenario, duration_s=10_000.0, condense=False)
    history = run(scenario, named_policies()[policy], seed=3).history
    ends = history.keys.end
    acknowledged = np.count_nonzero(history.creates.outcome != CreateOutcome.FAILED)
    assert len(ends) == acknowledged
    assert not np.any(ends == KeyEnd.PENDING)
    service = scenario.service
    stops = bool(service.restarts_s or service.deploy_every_s or service.crash_every_s)
    keeps = service.journal and named_policies()[policy].pending_writes
    if keeps or not stops:
        assert not np.any(ends == KeyEnd.LOST)
    bad = (GetOutcome.WRONG, GetOutcome.ERROR)
    assert not np.any(np.isin(history.gets.outcome, bad))
    assert np.all(history.gets.latency_s <= scenario.caller.longest_s + 1e-9)
    settled = history.keys.settled_s[ends == KeyEnd.COMMITTED]
    assert not np.any(np.isnan(settled))


def test_keys_that_were_only_in_memory_die_with_the_instance() -> None:
    """A restart in an outage loses what was acknowledged in it, and nothing else."""
    scenario = replace(SHORT, service=ServiceSettings(restarts_s=(400.0,)))
    keys = run(scenario, Policy(), seed=1).history.keys
    lost = keys.acknowledged_s[keys.end == KeyEnd.LOST]
    assert len(lost) >= 1
    assert np.all((lost >= 300.0) & (lost < 400.0))


def test_a_cell_of_a_notebook_can_run_it() -> None:
    """Where an event loop is running already."""

    async def cell() -> Result:
        return run(SHORT, Policy(), seed=1)

    assert columns(asyncio.run(cell()).history) == columns(run(SHORT, Policy(), seed=1).history)


def test_time_comes_from_nowhere_but_the_loop() -> None:
    """Neither the repository nor the laboratory reads a real clock during a run."""
    result = run(replace(SHORT, duration_s=500.0), Policy(), seed=1, forbid_wall_clock=True)
    assert len(result.history.gets.at_s) > 500


def test_availability_agrees_with_renewal_theory() -> None:
    """Without fault tolerance it is the share of up time: MTTF / (MTTF + MTTR)."""
    up, down = Exponential(mean_s=600.0), Exponential(mean_s=60.0)
    scenario = replace(
        SHORT,
        duration_s=20_000.0,
        traffic=Poisson(rate_per_s=0.3),
        outages=(AlternatingRenewal(up=up, down=down, stationary=True),),
        keys=KeySettings(rotation_interval_s=500.0, lifetime_s=5000.0, peers=9),
        primary=PrimarySettings(refuse_latency_s=0.0),
    )
    policies = {"primary-only": named_policies()["primary-only"]}
    study = experiment(scenario, policies, replications=8, workers=1)
    interval = study.interval("primary-only", "availability")
    truth = availability_alternating(600.0, 60.0)
    assert interval.low <= truth <= interval.high
    assert interval.half_width < 0.03


def test_a_policy_that_condensing_would_bias_is_refused() -> None:
    """An interval above the time kept after each outage, by name and with the way out."""
    scenario = load_scenario("recorded-shape")
    with pytest.raises(InputError, match="refresh_interval_s = 7200 .* condense = false"):
        run(scenario, Policy(refresh_interval_s=7200.0), seed=1)
    with pytest.raises(InputError, match="breaker_open_max_s = 7200 .* condense = false"):
        run(scenario, Policy(breaker_open_max_s=7200.0), seed=1)
