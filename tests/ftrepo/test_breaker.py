"""The circuit breaker, told the time."""

from __future__ import annotations

import pytest

from ftrepo.errors import CircuitOpenError
from ftrepo.resilience import BreakerSettings, CircuitBreaker
from tests.breakers import CLOSED, HALF_OPEN, OPEN, SETTINGS, trip, tripped


def test_trips_at_the_threshold_and_not_before() -> None:
    """The third failure in a row opens a breaker with a threshold of three."""
    breaker = CircuitBreaker(SETTINGS)
    for _ in range(2):
        breaker.fail(breaker.acquire(0), 0)
    assert breaker.state is CLOSED
    breaker.fail(breaker.acquire(0), 0)
    assert breaker.state is OPEN


def test_a_success_starts_the_count_again() -> None:
    """Failures must be consecutive to trip."""
    breaker = CircuitBreaker(SETTINGS)
    for _ in range(10):
        breaker.fail(breaker.acquire(0), 0)
        breaker.fail(breaker.acquire(0), 0)
        breaker.succeed(breaker.acquire(0), 0)
    assert breaker.state is CLOSED


def test_the_count_is_cleared_every_interval() -> None:
    """Failures that are further apart than the count interval never trip."""
    breaker = CircuitBreaker(SETTINGS)
    for number in range(20):
        breaker.fail(breaker.acquire(number * 31), number * 31)
    assert breaker.state is CLOSED


def test_a_count_interval_of_zero_never_clears() -> None:
    """With an interval of zero only a success clears the count."""
    breaker = CircuitBreaker(BreakerSettings(failure_threshold=3, count_interval_s=0))
    for number in range(3):
        breaker.fail(breaker.acquire(number * 1e6), number * 1e6)
    assert breaker.state is OPEN


def test_open_rejects_and_says_for_how_long() -> None:
    """A rejection carries the time until the next probe."""
    breaker = tripped(at_s=100)
    with pytest.raises(CircuitOpenError) as rejected:
        breaker.acquire(103)
    assert rejected.value.retry_after_s == 7
    assert breaker.retry_after_s(103) == 7


def test_half_open_admits_exactly_the_configured_probes() -> None:
    """Of a hundred callers at the end of the open time, two reach the primary."""
    breaker = tripped()
    admitted = 0
    for _ in range(100):
        try:
            breaker.acquire(10)
        except CircuitOpenError:
            continue
        admitted += 1
    assert admitted == SETTINGS.half_open_max_calls


def test_closes_when_every_probe_has_succeeded() -> None:
    """One success of two is not enough."""
    breaker = tripped()
    first, second = breaker.acquire(10), breaker.acquire(10)
    breaker.succeed(first, 10)
    assert breaker.state is HALF_OPEN
    breaker.succeed(second, 10)
    assert breaker.state is CLOSED


def test_a_probe_that_succeeded_leaves_no_place_for_another() -> None:
    """Of two probes one has succeeded: one more is admitted, and not two."""
    breaker = tripped()
    breaker.succeed(breaker.acquire(10), 10)
    breaker.acquire(10)
    with pytest.raises(CircuitOpenError):
        breaker.acquire(10)


def test_one_failed_probe_opens_again() -> None:
    """The open time then starts from the failure."""
    breaker = tripped()
    first, second = breaker.acquire(10), breaker.acquire(10)
    breaker.succeed(first, 10)
    breaker.fail(second, 11)
    assert breaker.state is OPEN
    assert breaker.retry_after_s(11) == 10


def test_a_late_success_does_not_close_an_open_breaker() -> None:
    """An outcome from an earlier generation changes nothing."""
    breaker = CircuitBreaker(SETTINGS)
    early = breaker.acquire(0)
    for _ in range(3):
        breaker.fail(breaker.acquire(0), 0)
    breaker.succeed(early, 1)
    assert breaker.state is OPEN
    probe = breaker.acquire(10)
    breaker.succeed(early, 10)
    breaker.succeed(early, 10)
    assert breaker.state is HALF_OPEN
    breaker.fail(early, 10)
    assert breaker.state is HALF_OPEN
    breaker.succeed(probe, 10)


def test_one_probe_cannot_count_twice() -> None:
    """Reporting a success twice does not stand for two probes."""
    breaker = tripped()
    probe = breaker.acquire(10)
    breaker.succeed(probe, 10)
    breaker.succeed(probe, 10)
    assert breaker.state is HALF_OPEN


def test_a_cancelled_probe_gives_its_place_back() -> None:
    """Cancellation is neither success nor failure."""
    breaker = tripped()
    probes = [breaker.acquire(10), breaker.acquire(10)]
    with pytest.raises(CircuitOpenError):
        breaker.acquire(10)
    breaker.release(probes[0])
    assert breaker.state is HALF_OPEN
    breaker.acquire(10)


def test_cancelled_calls_while_closed_change_nothing() -> None:
    """Twenty cancellations do not trip, and do not clear the count either."""
    breaker = CircuitBreaker(SETTINGS)
    breaker.fail(breaker.acquire(0), 0)
    for _ in range(20):
        breaker.release(breaker.acquire(0))
    assert breaker.state is CLOSED
    assert breaker.consecutive_failures == 1


def test_a_probe_that_never_returns_jams_nothing() -> None:
    """Its place goes to the next caller once its lease is over, and its late outcome is ignored."""
    breaker = tripped()
    lost = [breaker.acquire(10), breaker.acquire(10)]
    with pytest.raises(CircuitOpenError):
        breaker.acquire(14.9)
    probes = [breaker.acquire(15), breaker.acquire(15)]
    breaker.fail(lost[0], 15)
    assert breaker.state is HALF_OPEN
    for probe in probes:
        breaker.succeed(probe, 15)
    assert breaker.state is CLOSED


def test_an_outcome_that_comes_after_the_lease_changes_nothing_even_if_nobody_took_the_place() -> (
    None
):
    """A probe's time is up when it is up, and not when the next caller notices."""
    breaker = tripped()
    slow, slower = breaker.acquire(10), breaker.acquire(10)
    breaker.fail(slow, 15)
    assert breaker.state is HALF_OPEN
    breaker.succeed(slower, 15)
    assert breaker.counts.consecutive_successes == 0
    assert breaker.counts.late == 2


def test_a_clock_that_goes_backwards_prolongs_an_opening_by_no_more_than_its_length() -> None:
    """Ten seconds before, or a whole clock before: callers wait `open_s` at most, from then on."""
    breaker = tripped(at_s=1e6)
    with pytest.raises(CircuitOpenError) as rejected:
        breaker.acquire(5)
    assert rejected.value.retry_after_s == 10
    breaker.succeed(breaker.acquire(15), 14)
    breaker.succeed(breaker.acquire(13), 12)
    assert breaker.state is CLOSED
    trip(breaker, 3)
