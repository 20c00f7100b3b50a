"""The circuit breaker, told the time."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ftrepo.errors import CircuitOpenError
from ftrepo.resilience import BreakerSettings, BreakerState, CircuitBreaker, Permit

SETTINGS = BreakerSettings(
    failure_threshold=3,
    count_interval_s=60,
    open_s=10,
    half_open_max_calls=2,
    probe_timeout_s=5,
)


def tripped(at_s: float = 0.0) -> CircuitBreaker:
    """A breaker that has just opened."""
    breaker = CircuitBreaker(SETTINGS)
    for _ in range(SETTINGS.failure_threshold):
        breaker.fail(breaker.acquire(at_s), at_s)
    assert breaker.state is BreakerState.OPEN
    return breaker


def test_trips_at_the_threshold_and_not_before() -> None:
    """The third failure in a row opens a breaker with a threshold of three."""
    breaker = CircuitBreaker(SETTINGS)
    for _ in range(2):
        breaker.fail(breaker.acquire(0), 0)
    assert breaker.state is BreakerState.CLOSED
    breaker.fail(breaker.acquire(0), 0)
    assert breaker.state is BreakerState.OPEN


def test_a_success_starts_the_count_again() -> None:
    """Failures must be consecutive to trip."""
    breaker = CircuitBreaker(SETTINGS)
    for _ in range(10):
        breaker.fail(breaker.acquire(0), 0)
        breaker.fail(breaker.acquire(0), 0)
        breaker.succeed(breaker.acquire(0), 0)
    assert breaker.state is BreakerState.CLOSED


def test_the_count_is_cleared_every_interval() -> None:
    """Failures that are further apart than the count interval never trip."""
    breaker = CircuitBreaker(SETTINGS)
    for number in range(20):
        breaker.fail(breaker.acquire(number * 31), number * 31)
    assert breaker.state is BreakerState.CLOSED


def test_a_count_interval_of_zero_never_clears() -> None:
    """With an interval of zero only a success clears the count."""
    breaker = CircuitBreaker(BreakerSettings(failure_threshold=3, count_interval_s=0))
    for number in range(3):
        breaker.fail(breaker.acquire(number * 1e6), number * 1e6)
    assert breaker.state is BreakerState.OPEN


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
    assert breaker.state is BreakerState.HALF_OPEN
    breaker.succeed(second, 10)
    assert breaker.state is BreakerState.CLOSED


def test_one_failed_probe_opens_again() -> None:
    """The open time then starts from the failure."""
    breaker = tripped()
    first, second = breaker.acquire(10), breaker.acquire(10)
    breaker.succeed(first, 10)
    breaker.fail(second, 11)
    assert breaker.state is BreakerState.OPEN
    assert breaker.retry_after_s(11) == 10


def test_a_late_success_does_not_close_an_open_breaker() -> None:
    """An outcome from an earlier generation changes nothing."""
    breaker = CircuitBreaker(SETTINGS)
    early = breaker.acquire(0)
    for _ in range(3):
        breaker.fail(breaker.acquire(0), 0)
    breaker.succeed(early, 1)
    assert breaker.state is BreakerState.OPEN
    probe = breaker.acquire(10)
    breaker.succeed(early, 10)
    breaker.succeed(early, 10)
    assert breaker.state is BreakerState.HALF_OPEN
    breaker.fail(early, 10)
    assert breaker.state is BreakerState.HALF_OPEN
    breaker.succeed(probe, 10)


def test_one_probe_cannot_count_twice() -> None:
    """Reporting a success twice does not stand for two probes."""
    breaker = tripped()
    probe = breaker.acquire(10)
    breaker.succeed(probe, 10)
    breaker.succeed(probe, 10)
    assert breaker.state is BreakerState.HALF_OPEN


def test_a_cancelled_probe_gives_its_place_back() -> None:
    """Cancellation is neither success nor failure."""
    breaker = tripped()
    probes = [breaker.acquire(10), breaker.acquire(10)]
    with pytest.raises(CircuitOpenError):
        breaker.acquire(10)
    breaker.release(probes[0])
    assert breaker.state is BreakerState.HALF_OPEN
    breaker.acquire(10)


def test_cancelled_calls_while_closed_change_nothing() -> None:
    """Twenty cancellations do not trip, and do not clear the count either."""
    breaker = CircuitBreaker(SETTINGS)
    breaker.fail(breaker.acquire(0), 0)
    for _ in range(20):
        breaker.release(breaker.acquire(0))
    assert breaker.state is BreakerState.CLOSED
    assert breaker.consecutive_failures == 1


def test_a_probe_that_never_returns_jams_nothing() -> None:
    """Its place goes to the next caller once its lease is over, and its late outcome is ignored."""
    breaker = tripped()
    lost = [breaker.acquire(10), breaker.acquire(10)]
    with pytest.raises(CircuitOpenError):
        breaker.acquire(14.9)
    probes = [breaker.acquire(15), breaker.acquire(15)]
    breaker.fail(lost[0], 15)
    assert breaker.state is BreakerState.HALF_OPEN
    for probe in probes:
        breaker.succeed(probe, 15)
    assert breaker.state is BreakerState.CLOSED


def test_listeners_hear_each_change_once() -> None:
    """The changes form the expected sequence."""
    heard: list[tuple[BreakerState, BreakerState]] = []
    breaker = CircuitBreaker(SETTINGS, on_change=lambda old, new: heard.append((old, new)))
    for _ in range(3):
        breaker.fail(breaker.acquire(0), 0)
    for probe in (breaker.acquire(10), breaker.acquire(10)):
        breaker.succeed(probe, 10)
    closed, opened, half = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
    assert heard == [(closed, opened), (opened, half), (half, closed)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"failure_threshold": 0},
        {"open_s": -1},
        {"half_open_max_calls": 0},
        {"count_interval_s": -1},
        {"probe_timeout_s": float("nan")},
    ],
)
def test_impossible_settings_are_refused_by_name(wrong: dict[str, float]) -> None:
    """The error names the setting."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        BreakerSettings(**wrong)


class BreakerMachine(RuleBasedStateMachine):
    """Any sequence of calls, outcomes and waits keeps the promises of the module's drawing."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.breaker = CircuitBreaker(SETTINGS)
        self.under_way: list[tuple[Permit, BreakerState, float]] = []
        self.probes_admitted = 0

    @rule(seconds=st.floats(min_value=0, max_value=20))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def call(self) -> None:
        before, retry_after_s = self.breaker.state, self.breaker.retry_after_s(self.now)
        try:
            permit = self.breaker.acquire(self.now)
        except CircuitOpenError:
            assert before is not BreakerState.CLOSED
            return
        assert before is not BreakerState.OPEN or retry_after_s == 0
        self.under_way.append((permit, self.breaker.state, self.now))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def report(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.under_way) - 1))
        permit, _, _ = self.under_way.pop(index)
        before = self.breaker.state
        outcome = data.draw(st.sampled_from(["succeed", "fail", "release"]))
        if outcome == "release":
            self.breaker.release(permit)
            assert self.breaker.state is before
        else:
            getattr(self.breaker, outcome)(permit, self.now)
        if before is BreakerState.OPEN:
            assert self.breaker.state is BreakerState.OPEN, "only a call leaves the open state"
        if outcome == "succeed":
            assert self.breaker.state is before or self.breaker.state is BreakerState.CLOSED
        if outcome == "fail":
            assert self.breaker.state is before or self.breaker.state is BreakerState.OPEN

    @invariant()
    def probes_are_bounded(self) -> None:
        if self.breaker.state is not BreakerState.HALF_OPEN:
            return
        alive = [
            permit
            for permit, state, since in self.under_way
            if state is BreakerState.HALF_OPEN
            and permit.generation == self.breaker._generation
            and self.now - since < SETTINGS.probe_timeout_s
        ]
        assert len(alive) <= SETTINGS.half_open_max_calls


TestBreakerMachine = BreakerMachine.TestCase
TestBreakerMachine.settings = settings(max_examples=100, deadline=None)
