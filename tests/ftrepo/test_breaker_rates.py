"""What trips a breaker by its share: failures, slow calls, failures beyond the normal."""

from __future__ import annotations

import math

import pytest

from ftrepo.errors import CircuitOpenError
from ftrepo.resilience import PRESETS, BreakerSettings, BreakerState, CircuitBreaker
from ftrepo.resilience.rolling import RollingCounts

HALF = BreakerSettings(failure_threshold=None, failure_rate=0.5, slow_rate=None, window_s=10)
SLOW = BreakerSettings(failure_threshold=None, slow_rate=0.5, slow_call_s=0.25, window_s=10)


def report(
    breaker: CircuitBreaker, outcomes: str, *, at_s: float = 0.0, apart_s: float = 0.0
) -> float:
    """Make calls that end at once: `.` succeeds, `x` fails, `s` succeeds slowly, `z` fails slowly.

    Returns the time after the last of them, and its pause.
    """
    for outcome in outcomes:
        permit = breaker.acquire(at_s)
        duration_s = 10.0 if outcome in "sz" else 0.0
        if outcome in "xz":
            breaker.fail(permit, at_s, duration_s)
        else:
            breaker.succeed(permit, at_s, duration_s)
        at_s += apart_s
    return at_s


@pytest.mark.parametrize("outcomes", ["xxx..", "..xxx", "x.x.x", "...xxx", "....xxxx"])
def test_half_of_at_least_five_calls_trips(outcomes: str) -> None:
    """Whatever their order, and with the last of them only."""
    breaker = CircuitBreaker(PRESETS["half-failed"])
    report(breaker, outcomes[:-1])
    assert breaker.state is BreakerState.CLOSED
    report(breaker, outcomes[-1])
    assert breaker.state is BreakerState.OPEN


@pytest.mark.parametrize("outcomes", ["xxxx", "xx...", "x", "....xxx", "..........xxxxxxxxx"])
def test_less_than_half_or_fewer_than_five_do_not(outcomes: str) -> None:
    """Four failures of four are too few calls; nine of nineteen are too few failures."""
    breaker = CircuitBreaker(HALF)
    report(breaker, outcomes)
    assert breaker.state is BreakerState.CLOSED


def test_a_success_that_makes_the_calls_enough_can_trip() -> None:
    """Four failures and then a success are five calls, of which four failed."""
    breaker = CircuitBreaker(HALF)
    report(breaker, "xxxx.")
    assert breaker.state is BreakerState.OPEN


def test_failures_leave_the_window() -> None:
    """Four that failed eleven seconds ago do not count with a fifth; in nine seconds they do."""
    breaker = CircuitBreaker(HALF)
    report(breaker, "xxxx", at_s=0.5)
    report(breaker, "x", at_s=11.5)
    assert breaker.state is BreakerState.CLOSED
    breaker = CircuitBreaker(HALF)
    report(breaker, "xxxx", at_s=0.5)
    report(breaker, "x", at_s=9.5)
    assert breaker.state is BreakerState.OPEN


def test_successes_leave_the_window_too() -> None:
    """A thousand old successes do not hide that everything fails now."""
    breaker = CircuitBreaker(HALF)
    now = report(breaker, "." * 1000, apart_s=0.001)
    report(breaker, "xxxx", at_s=now + 11)
    assert breaker.state is BreakerState.CLOSED
    report(breaker, "x", at_s=now + 11)
    assert breaker.state is BreakerState.OPEN


def test_an_intermittent_failure_trips_by_rate_and_never_in_a_row() -> None:
    """Every second call fails: five in a row never come, half of five come at once."""
    in_row, by_rate = CircuitBreaker(PRESETS["consecutive"]), CircuitBreaker(PRESETS["half-failed"])
    report(in_row, ".x" * 500, apart_s=0.1)
    assert in_row.state is BreakerState.CLOSED
    report(by_rate, ".x.x.x")
    assert by_rate.state is BreakerState.OPEN


def test_whichever_rule_comes_first_trips() -> None:
    """Three in a row trip at a rate of three in a hundred, if three in a row are too many."""
    both = BreakerSettings(failure_threshold=3, failure_rate=0.5)
    breaker = CircuitBreaker(both)
    report(breaker, "." * 97 + "xxx")
    assert breaker.state is BreakerState.OPEN
    breaker = CircuitBreaker(both)
    report(breaker, ".xx.x")
    assert breaker.state is BreakerState.OPEN


def test_slow_calls_trip_whether_they_fail_or_not() -> None:
    """Three slow ones of six do; a call of just less than the limit is not slow."""
    breaker = CircuitBreaker(SLOW)
    report(breaker, "...sz")
    assert breaker.state is BreakerState.CLOSED
    breaker.succeed(breaker.acquire(0), 0, math.nextafter(0.25, 0))
    assert breaker.counts.window_slow == 2
    breaker.succeed(breaker.acquire(0), 0, 0.25)
    breaker.succeed(breaker.acquire(0), 0, 0.25)
    assert breaker.state is BreakerState.OPEN


def test_failures_that_are_quick_do_not_trip_by_slowness() -> None:
    """With only the slow rate on, a thousand failures change nothing."""
    breaker = CircuitBreaker(SLOW)
    report(breaker, "x" * 1000)
    assert breaker.state is BreakerState.CLOSED


def test_a_slow_probe_opens_again_only_if_slowness_trips() -> None:
    """What made the breaker trip must be over before it closes."""
    for settings, expected in ((SLOW, BreakerState.OPEN), (HALF, BreakerState.HALF_OPEN)):
        breaker = CircuitBreaker(settings)
        report(breaker, "zzzzz")
        assert breaker.state is BreakerState.OPEN
        report(breaker, "s", at_s=30)
        assert breaker.state is expected


def test_a_closing_begins_with_an_empty_window() -> None:
    """The failures that opened the breaker do not open it twice."""
    breaker = CircuitBreaker(
        BreakerSettings(failure_threshold=None, failure_rate=0.5, open_s=1, half_open_max_calls=1)
    )
    report(breaker, "xxxxx")
    report(breaker, ".", at_s=1)
    assert breaker.state is BreakerState.CLOSED
    report(breaker, "..xx", at_s=1)
    assert breaker.state is BreakerState.CLOSED
    assert breaker.counts.window_calls == 4


def test_a_normal_failure_rate_is_learnt_and_only_what_is_beyond_it_trips() -> None:
    """Where a third of the calls always fails, half of the *others* must fail as well to trip.

    That is two thirds of all: (2/3 - 1/3) / (1 - 1/3) = 1/2.
    """
    learning = CircuitBreaker(
        BreakerSettings(
            failure_threshold=None,
            failure_rate=0.5,
            normal_rate_memory_s=600,
            window_s=10,
            window_calls_min=20,
        )
    )
    now = report(learning, "..x" * 2000, apart_s=0.1)
    assert learning.normal_failure_rate == pytest.approx(1 / 3, abs=0.01)
    now = report(learning, ".x" * 100, at_s=now, apart_s=0.1)
    assert learning.state is BreakerState.CLOSED, "half fail, and a third is normal"
    with pytest.raises(CircuitOpenError):
        report(learning, ".xxxx" * 20, at_s=now, apart_s=0.1)


def test_an_outage_is_not_learnt_before_it_trips() -> None:
    """A call is learnt from once it has left the window; what is in it at a trip never is."""
    breaker = CircuitBreaker(
        BreakerSettings(failure_threshold=None, failure_rate=0.5, normal_rate_memory_s=60, open_s=1)
    )
    now = report(breaker, "." * 600, apart_s=0.1)
    with pytest.raises(CircuitOpenError):
        report(breaker, "x" * 600, at_s=now, apart_s=0.1)
    assert breaker.normal_failure_rate == 0
    breaker.reset(now + 100)
    report(breaker, ".", at_s=now + 200)
    assert breaker.normal_failure_rate == 0


def test_what_was_learnt_fades_with_its_time_constant() -> None:
    """After one time constant an hour of failures weighs 1/e of what the present does."""
    counts = RollingCounts(10, memory_s=1000, doubt_calls=0)
    counts.add(0, calls=100, failures=50)
    counts.add(10, calls=0)
    assert counts.normal_rate == 0.5
    counts.add(1000, calls=100)
    counts.add(1010, calls=0)
    weight = math.exp(-1)
    assert counts.normal_rate == pytest.approx(50 * weight / (100 * weight + 100))


def test_a_single_failure_at_low_traffic_is_not_normal() -> None:
    """The first calls are held against as many imagined successes as make a share mean anything."""
    breaker = CircuitBreaker(
        BreakerSettings(failure_threshold=None, failure_rate=0.5, normal_rate_memory_s=3600)
    )
    report(breaker, "x", at_s=0)
    report(breaker, ".", at_s=60)
    assert breaker.normal_failure_rate == pytest.approx(1 / 6, rel=0.02)
    report(breaker, "xxxxx", at_s=120)
    assert breaker.state is BreakerState.OPEN


def test_the_window_holds_nothing_older_than_itself_and_nearly_all_that_is_younger() -> None:
    """After so many seconds a call has left; after nine tenths of them it is there."""
    for moment in range(100):
        began_s = moment * 0.1
        counts = RollingCounts(10)
        counts.add(began_s)
        counts.move_to(began_s + 9)
        assert counts.calls == 1
        counts.move_to(began_s + 10)
        assert counts.calls == 0


def test_a_window_after_a_long_silence_is_empty_at_once() -> None:
    """A year without calls costs no more steps than ten tenths."""
    counts = RollingCounts(0.001, memory_s=1e6)
    counts.add(0, calls=7, failures=3, slow=2)
    counts.add(3e7, calls=1)
    assert (counts.calls, counts.failures, counts.slow) == (1, 0, 0)


def test_a_window_whose_clock_goes_backwards_counts_in_its_latest_tenth() -> None:
    """Nothing is lost, and nothing is counted twice."""
    counts = RollingCounts(10)
    counts.add(100, calls=1)
    counts.add(3, calls=2, failures=2)
    counts.move_to(109)
    assert (counts.calls, counts.failures) == (3, 2)
    counts.move_to(110)
    assert (counts.calls, counts.failures) == (0, 0)


def test_a_bucket_never_seems_to_last_into_the_next() -> None:
    """The moment up to which a success only counts lies before the first that counts elsewhere."""
    for window_s in (1.0, 7.3, 10.0, 0.3):
        counts = RollingCounts(window_s)
        bucket_s = window_s / 10
        for number in range(1, 2000):
            counts.move_to((number - 0.5) * bucket_s)
            end_s = number * bucket_s
            for moment_s in (math.nextafter(end_s, 0), end_s):
                if math.floor(moment_s / bucket_s) == number:
                    assert counts.ends_s <= moment_s
