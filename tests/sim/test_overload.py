"""Figures of recovery, retries and breakers, from histories worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from sim.history import Attempts, BreakerChanges, BreakerCode, GetOutcome, Gets, History, Span
from sim.overload import (
    attempts_per_request,
    breaker_closes_after_s,
    breaker_false_trips,
    breaker_open_healthy_share,
    breaker_open_share,
    breaker_trips,
    goodput_per_s,
    not_closed_s,
    primary_attempts_max_per_s,
    rate_over_time,
    recoveries,
    recovery_mean_s,
    trips_s,
    unrecovered_share,
    wasted_attempts_per_outage,
)
from tests.sim.test_measures import HISTORY, floats

CLOSED, HALF_OPEN, OPEN = BreakerCode.CLOSED, BreakerCode.HALF_OPEN, BreakerCode.OPEN


def served(failing: tuple[float, float], *outages: tuple[float, float]) -> History:
    """Four requests a second for 200 s, of which those made in a stretch come to nothing."""
    at_s = np.arange(0, 200, 0.25)
    outcome = np.where(
        (at_s >= failing[0]) & (at_s < failing[1]), GetOutcome.GAVE_UP, GetOutcome.RIGHT
    ).astype(np.uint8)
    gets = Gets(
        at_s=at_s,
        latency_s=np.full(len(at_s), 0.1),
        outcome=outcome,
        eligible=np.ones(len(at_s), dtype=np.bool_),
    )
    return replace(
        HISTORY,
        duration_s=200.0,
        warmup_s=10.0,
        gets=gets,
        outages=np.array(outages).reshape(-1, 2),
    )


def breaker(*changes: tuple[float, BreakerCode]) -> BreakerChanges:
    """These changes."""
    return BreakerChanges(
        at_s=floats(*(at_s for at_s, _ in changes)),
        state=np.array([state for _, state in changes], dtype=np.uint8),
    )


def test_recovery_begins_with_the_first_second_that_stays_well() -> None:
    """Failures go on for 17.3 s after the outage: the 18th second still has one."""
    history = served((50.0, 77.3), (50.0, 60.0))
    found = recoveries(history)
    assert found.after_s.tolist() == [18.0]
    assert found.seen.tolist() == [True]
    assert (recovery_mean_s(history), unrecovered_share(history)) == (18.0, 0.0)


def test_callers_who_noticed_nothing_have_recovered_at_once() -> None:
    """Also where nobody asked at all."""
    assert recovery_mean_s(served((0.0, 0.0), (50.0, 60.0))) == 0.0
    quiet = served((0.0, 0.0), (50.0, 60.0))
    nobody = replace(quiet.gets, eligible=np.zeros(len(quiet.gets.at_s), dtype=np.bool_))
    assert recovery_mean_s(replace(quiet, gets=nobody)) == 0.0


def test_a_good_moment_is_no_recovery() -> None:
    """Nine good seconds are followed by one bad one: it counts from after that."""
    history = served((50.0, 65.0), (50.0, 60.0))
    outcome = history.gets.outcome.copy()
    outcome[history.gets.at_s == 74.5] = GetOutcome.UNAVAILABLE
    spoilt = replace(history, gets=replace(history.gets, outcome=outcome))
    assert recovery_mean_s(history) == 5.0
    assert recovery_mean_s(spoilt) == 15.0


def test_what_was_not_seen_to_recover_is_a_lower_bound_and_says_so() -> None:
    """It was watched to the end, or to the next outage."""
    endless = served((50.0, 200.0), (50.0, 60.0))
    assert recoveries(endless).seen.tolist() == [False]
    assert (recovery_mean_s(endless), unrecovered_share(endless)) == (140.0, 1.0)
    again = served((50.0, 90.0), (50.0, 60.0), (75.0, 80.0))
    assert recoveries(again).after_s.tolist() == [15.0, 10.0]
    assert unrecovered_share(again) == 0.5
    nearly = served((50.0, 195.0), (50.0, 60.0))
    assert unrecovered_share(nearly) == 1.0, "five good seconds before the end prove nothing"


def test_without_an_outage_nothing_recovers() -> None:
    """And an outage that the run does not outlast is none to recover from."""
    for history in (served((50.0, 60.0)), served((50.0, 60.0), (190.0, 200.0))):
        assert math.isnan(recovery_mean_s(history))
        assert math.isnan(unrecovered_share(history))
        assert math.isnan(wasted_attempts_per_outage(history))
        assert math.isnan(breaker_closes_after_s(history))


def test_attempts_are_counted_by_request_after_the_warm_up() -> None:
    """Nine attempts at six requests; without any record each request was one."""
    attempts = Attempts(
        at_s=floats(5.0, 20.0, 30.2, 31.0, 32.0, 30.7, 31.7, 50.0, 55.0, 100.0),
        latency_s=np.zeros(10),
        outcome=np.zeros(10, dtype=np.uint8),
    )
    assert attempts_per_request(replace(HISTORY, attempts=attempts)) == 9 / 6
    assert attempts_per_request(HISTORY) == 1.0


def test_load_on_the_primary() -> None:
    """The most in a second, and what came in the outage."""
    moments = np.sort(
        np.concatenate((floats(10.0, 10.5, 30.0, 45.0, 59.9, 60.0), 80 + 0.1 * np.arange(7)))
    )
    history = replace(HISTORY, attempts_s=moments)
    assert primary_attempts_max_per_s(history) == 7
    assert wasted_attempts_per_outage(history) == 3
    assert rate_over_time(moments, 0.0, 110.0, 55.0).tolist() == [4 / 55, 9 / 55]
    assert goodput_per_s(HISTORY) == 4 / 100


def test_trips_are_openings_of_a_closed_breaker() -> None:
    """A probe that fails is none; one without an outage is a false one."""
    changes = breaker(
        (2.0, OPEN), (8.0, CLOSED),                                      # warm-up
        (31.0, OPEN), (36.0, HALF_OPEN), (36.1, OPEN), (62.0, HALF_OPEN), (63.0, CLOSED),
        (80.0, OPEN), (85.0, CLOSED),
    )  # fmt: skip
    history = replace(HISTORY, breaker=changes)
    assert trips_s(history).tolist() == [31.0, 80.0]
    assert (breaker_trips(history), breaker_false_trips(history)) == (2.0, 1.0)
    assert not_closed_s(history).sum(axis=0).tolist() == [
        2 + 31 + 36 + 36.1 + 62 + 80,
        8 + 36 + 36.1 + 62 + 63 + 85,
    ]
    assert breaker_open_share(history) == pytest.approx((32 + 5) / 100)
    assert breaker_open_healthy_share(history) == pytest.approx((3 + 5) / 70)
    assert breaker_closes_after_s(history) == 3.0


def test_a_breaker_that_never_changed_is_closed() -> None:
    """Or there is none."""
    assert breaker_trips(HISTORY) == breaker_open_share(HISTORY) == 0.0
    assert breaker_closes_after_s(HISTORY) == 0.0


def test_a_breaker_that_is_stuck_has_no_time_of_closing() -> None:
    """It counts as open to the end of the run."""
    stuck = replace(HISTORY, breaker=breaker((31.0, OPEN)))
    assert math.isnan(breaker_closes_after_s(stuck))
    assert breaker_open_share(stuck) == pytest.approx(79 / 100)
    assert breaker_open_healthy_share(stuck) == pytest.approx(50 / 70)


def test_time_that_stands_for_more_counts_for_more() -> None:
    """Each second after the first 60 stands for ten."""
    spans = (
        Span(start_s=0.0, end_s=60.0, weight=1.0),
        Span(start_s=60.0, end_s=110.0, weight=10.0),
    )
    history = replace(HISTORY, spans=spans, breaker=breaker((50.0, OPEN), (85.0, CLOSED)))
    assert breaker_open_share(history) == pytest.approx((10 + 250) / (50 + 500))
