"""Callers who retry, and closed populations: fair between policies, and as patient as they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ftrepo.designs import named_policies
from ftrepo.policy import Policy
from sim.history import GetOutcome, History
from sim.overload import attempts_per_request
from sim.run import run
from sim.study.storms import amplification
from sim.world.callers import CallerSettings, Closed
from sim.world.crowds import FlashCrowd, Steps
from sim.world.durations import Deterministic
from sim.world.errors import InputError
from sim.world.outage_patterns import FixedWindows
from sim.world.outages import OutageMode
from sim.world.primary_settings import PrimarySettings
from sim.world.requests import requests_of_client
from sim.world.scenario import (
    AnyTraffic,
    KeySettings,
    Scenario,
    ServiceSettings,
)
from sim.world.settings import from_table
from sim.world.streams import Streams
from sim.world.traffic import Constant, Poisson

PLAIN = named_policies()["primary-only"]
PATIENT = CallerSettings(deadline_s=1.0, attempts_max=3, jitter=0.0)
WORLD = Scenario(
    name="callers",
    duration_s=300.0,
    warmup_s=0.0,
    condense=False,
    outages=(FixedWindows(windows=((100.0, 200.0),)),),
    traffic=Poisson(rate_per_s=3.0),
    keys=KeySettings(peers=9, unknown_share=0.0),
    caller=PATIENT,
)


def failing(share: float, **caller: object) -> Scenario:
    """A world in which a share of all attempts fails, by nothing but chance."""
    outage = FixedWindows(windows=((0.0, 299.0),), mode=OutageMode.ERROR_RATE, severity=share)
    settings = replace(PATIENT, **caller)  # type: ignore[arg-type]
    return replace(WORLD, warmup_s=100.0, outages=(outage,), caller=settings)


def attempts_in_outage(history: History) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The moments of attempts made while the primary refused."""
    assert history.attempts is not None
    return history.attempts.at_s[history.in_outage(history.attempts.at_s)]


def test_who_does_not_retry_makes_one_attempt() -> None:
    """Then there is nothing to tell of attempts, and a request is one call."""
    history = run(replace(WORLD, caller=CallerSettings()), PLAIN).history
    assert history.attempts is None
    assert attempts_per_request(history) == 1.0


def test_a_request_is_repeated_after_its_pauses_and_no_more_often_than_allowed() -> None:
    """Refused at once, at 0, 100 and 300 ms: then the caller has given up."""
    lone = replace(
        WORLD,
        traffic=Constant(rate_per_s=0.1),
        primary=PrimarySettings(refuse_latency_s=0.0, select=Deterministic(mean_s=0.01)),
    )
    history = run(lone, PLAIN).history
    moments = attempts_in_outage(history)
    assert np.round(np.diff(moments)[:5], 6).tolist() == [0.1, 0.2, 9.7, 0.1, 0.2]
    assert len(moments) == 30
    failed = history.gets.outcome != GetOutcome.RIGHT
    assert history.gets.latency_s[failed] == pytest.approx(0.3)


def test_one_success_ends_a_request() -> None:
    """A caller whose outage ends between two attempts has what he wanted."""
    ending = replace(
        WORLD,
        traffic=Constant(rate_per_s=0.1),
        outages=(FixedWindows(windows=((104.0, 105.2),)),),
        primary=PrimarySettings(refuse_latency_s=0.0, select=Deterministic(mean_s=0.01)),
    )
    history = run(ending, PLAIN).history
    assert (history.gets.outcome == GetOutcome.RIGHT).all()
    assert history.gets.latency_s.max() == pytest.approx(0.31)
    assert attempts_per_request(history) == pytest.approx(32 / 30)


def test_patience_ends_a_request_whatever_attempts_are_left() -> None:
    """With a hanging primary each attempt takes its deadline, and the last one what is left."""
    hanging = replace(
        WORLD,
        outages=(FixedWindows(windows=((100.0, 200.0),), mode=OutageMode.HANG),),
        caller=replace(PATIENT, patience_s=1.5),
    )
    history = run(hanging, PLAIN).history
    hung = history.in_outage(history.gets.at_s) & (history.gets.at_s < 195)
    assert history.gets.latency_s[hung] == pytest.approx(1.5)
    assert hanging.caller.longest_s == 1.5
    assert PATIENT.longest_s == pytest.approx(3.3)
    assert history.gets.latency_s.max() <= 1.5 + 1e-9


def test_an_answer_is_not_asked_for_again() -> None:
    """That nobody has a key is an answer; a forger who is told to come back does so."""
    forged = replace(WORLD, keys=replace(WORLD.keys, unknown_share=1.0))
    history = run(forged, PLAIN).history
    assert not history.gets.eligible.any()
    assert (history.gets.outcome == GetOutcome.RIGHT).all()
    assert history.attempts is not None
    healthy = ~history.in_outage(history.attempts.at_s)
    assert (history.attempts.outcome[healthy] == GetOutcome.UNKNOWN).all()
    requests = np.count_nonzero(~history.in_outage(history.gets.at_s))
    assert np.count_nonzero(healthy) <= requests + 5
    assert len(attempts_in_outage(history)) > 2.5 * (len(history.gets.at_s) - requests)


@pytest.mark.parametrize("share", [0.3, 0.7, 1.0])
def test_retries_multiply_as_theory_says(share: float) -> None:
    """1 + p + p² attempts for each request without a budget."""
    scenario = failing(share)
    found = attempts_per_request(run(scenario, PLAIN).history)
    assert found == pytest.approx(amplification(share, scenario.caller), rel=0.06)


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5])
def test_a_budget_bounds_what_all_callers_add_together(ratio: float) -> None:
    """However much fails: 1 + ratio, once what was saved up is spent, and never more."""
    scenario = failing(1.0, retry_budget_ratio=ratio)
    history = run(scenario, PLAIN).history
    assert history.attempts is not None
    requests, attempts = len(history.gets.at_s), len(history.attempts.at_s)
    assert attempts - requests <= 100 + ratio * requests
    assert attempts_per_request(history) == pytest.approx(1 + ratio, abs=0.01 + 0.4 * (ratio > 0.4))


def test_policies_meet_the_same_luck_in_every_attempt() -> None:
    """The nth attempt at a request has one latency, whatever came of the others."""
    exponential = replace(WORLD.primary, select=Deterministic(mean_s=0.002))
    first = run(replace(WORLD, primary=exponential), PLAIN).history
    second = run(replace(WORLD, primary=exponential), Policy()).history
    assert np.array_equal(first.gets.at_s, second.gets.at_s)
    # The pauses are drawn beforehand: with jitter too, both repeat after the same time.
    jittered = replace(WORLD, caller=replace(PATIENT, jitter=1.0), traffic=Poisson(rate_per_s=0.2))
    moments = [
        attempts_in_outage(run(replace(jittered, outages=outages), PLAIN).history)
        for outages in (jittered.outages, (FixedWindows(windows=((100.0, 160.0),)),))
    ]
    assert np.array_equal(moments[0][moments[0] < 159], moments[1][moments[1] < 159])


def test_who_retries_first_is_like_who_does_not() -> None:
    """First attempts have the same luck whether or not there may be others."""
    calm = replace(WORLD, outages=())
    once = run(replace(calm, caller=CallerSettings()), PLAIN).history
    patient = run(calm, PLAIN).history
    assert np.array_equal(once.gets.latency_s, patient.gets.latency_s)


def test_a_killed_instance_takes_requests_with_it_and_no_further_attempts() -> None:
    """They are not repeated, and count neither for nor against availability."""
    killed = replace(
        WORLD,
        outages=(FixedWindows(windows=((100.0, 200.0),), mode=OutageMode.HANG),),
        service=ServiceSettings(restarts_s=(150.0,)),
    )
    history = run(killed, PLAIN).history
    dead = history.gets.at_s + history.gets.latency_s == 150.0
    assert np.count_nonzero(dead) > 0
    assert not history.gets.eligible[dead].any()
    assert history.attempts is not None
    assert not (history.attempts.at_s + history.attempts.latency_s == 150.0).any()


def test_an_instance_that_starts_answers_nobody() -> None:
    """It is unavailable until its keys are loaded, and not broken: who retries gets through."""
    slow = replace(
        WORLD,
        outages=(),
        traffic=Constant(rate_per_s=20.0),
        primary=PrimarySettings(select=Deterministic(mean_s=0.2)),
    )
    history = run(slow, Policy()).history
    assert history.attempts is not None
    early = history.attempts.at_s < 0.2
    assert np.count_nonzero(early) > 0
    assert (history.attempts.outcome[early] == GetOutcome.UNAVAILABLE).all()
    assert (history.attempts.outcome[~early] == GetOutcome.RIGHT).all()
    assert (history.gets.outcome == GetOutcome.RIGHT).mean() > 0.999


def test_a_client_of_a_closed_population_waits_for_its_answer() -> None:
    """With one client no two requests overlap, and think times are what the setting says."""
    closed = replace(WORLD, traffic=Closed(clients=1, think_mean_s=0.5), outages=())
    gets = run(closed, PLAIN).history.gets
    assert (gets.at_s[1:] >= (gets.at_s + gets.latency_s)[:-1] - 1e-9).all()
    thinking = gets.at_s[1:] - (gets.at_s + gets.latency_s)[:-1]
    assert thinking.mean() == pytest.approx(0.5, rel=0.15)
    assert gets.at_s.max() < 300.0


def test_a_slow_service_slows_a_closed_population_down() -> None:
    """Throughput is clients / (think time + what a request takes), by Little's law."""
    closed = replace(
        WORLD,
        traffic=Closed(clients=40, think_mean_s=4.0),
        outages=(FixedWindows(windows=((100.0, 200.0),), mode=OutageMode.HANG),),
    )
    gets = run(closed, PLAIN).history.gets
    healthy, hung = (
        np.count_nonzero((gets.at_s >= start) & (gets.at_s < start + 80)) / 80
        for start in (10.0, 115.0)
    )
    assert healthy == pytest.approx(40 / 4.002, rel=0.1)
    assert hung == pytest.approx(40 / (4.0 + PATIENT.longest_s), rel=0.12)
    assert closed.traffic.mean_rate_per_s == 10.0


def test_a_client_asks_the_same_under_every_policy() -> None:
    """Its nth request and the thought before it are the same, however late it comes to them."""
    population = Closed(clients=2, think_mean_s=1.0)
    closed = replace(WORLD, traffic=population)
    streams = Streams(1)
    for client in (0, 1):
        asked = [next(requests_of_client(closed, streams, client)) for _ in range(2)]
        assert asked[0] == asked[1]
    series = [requests_of_client(closed, streams, client) for client in (0, 1)]
    first, second = ([next(each) for _ in range(150)] for each in series)
    assert len({request.label for request in (*first, *second)}) == 300
    assert [each.token_age_s for each in first] != [each.token_age_s for each in second]
    assert len({each.token_age_s for each in first}) == 150


def test_a_closed_population_is_played_to_the_bit_again() -> None:
    """The same seed gives the same run."""
    closed = replace(WORLD, traffic=Closed(clients=20, think_mean_s=2.0))
    one, two = (run(closed, Policy(), seed=7).history for _ in range(2))
    assert np.array_equal(one.gets.at_s, two.gets.at_s)
    assert np.array_equal(one.attempts_s, two.attempts_s)
    other = run(closed, Policy(), seed=8).history
    assert len(other.gets.at_s) != len(one.gets.at_s) or (other.gets.at_s != one.gets.at_s).any()


@pytest.mark.parametrize(
    ("table", "traffic"),
    [
        (
            {"kind": "closed", "clients": 3, "think_mean_s": 2},
            Closed(clients=3, think_mean_s=2.0),
        ),
        (
            {"kind": "steps", "rates_per_s": [5, 1], "changes_s": [60]},
            Steps(rates_per_s=(5.0, 1.0), changes_s=(60.0,)),
        ),
        (
            {"kind": "flash-crowd", "rate_per_s": 1, "starts_s": [60], "peak_factor": 4},
            FlashCrowd(rate_per_s=1.0, starts_s=(60.0,), peak_factor=4.0),
        ),
    ],
)
def test_a_file_can_name_these_kinds_of_traffic(
    table: dict[str, object], traffic: AnyTraffic
) -> None:
    """As a table of a scenario; it survives being written as plain values."""
    scenario = from_table(Scenario, {"name": "it", "duration_s": 100, "traffic": table})
    assert scenario.traffic == traffic
    written = {name: value for name, value in scenario.as_dict().items() if name == "traffic"}
    assert from_table(Scenario, {"name": "it", "duration_s": 100, **written}) == scenario
    run(scenario, Policy())


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        ({"attempts_max": 0}, "attempts_max must be at least 1"),
        ({"attempts_max": 21}, "attempts_max must be at most 20"),
        ({"patience_s": 0.0}, "patience_s must be above 0"),
        ({"jitter": 1.5}, "jitter must be at most 1"),
        ({"pause_first_s": 20.0}, "pause_max_s must be at least pause_first_s"),
        ({"retry_budget_ratio": -0.1}, "retry_budget_ratio must be at least 0"),
    ],
)
def test_impossible_callers_are_refused_by_name(settings: dict[str, float], wrong: str) -> None:
    """The message names the setting."""
    with pytest.raises(InputError, match=wrong):
        CallerSettings(**settings)  # type: ignore[arg-type]
