"""The token bucket and the retry budget on it, against exact models; no loop, no clock."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ftrepo.resilience import RetryBudget, TokenBucket

TENTHS = st.integers(0, 60).map(lambda tenths: Fraction(tenths, 10))
RATES = st.sampled_from([Fraction(0), Fraction(1, 3), Fraction(2), Fraction(50)])


def test_it_begins_full_and_refills_at_its_rate() -> None:
    """Three at once, then one every half second."""
    bucket = TokenBucket(2.0, 3)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.wait_s(100.0) == pytest.approx(0.5)
    assert not bucket.take(100.49)
    assert bucket.take(100.5)
    assert not bucket.take(100.5)


def test_it_holds_no_more_than_its_burst() -> None:
    """After a year it gives out three."""
    bucket = TokenBucket(2.0, 3)
    bucket.take(0.0)
    assert sum(bucket.take(3e7) for _ in range(10)) == 3
    with pytest.raises(ValueError, match="never holds 4"):
        bucket.take(3e7, 4)


@pytest.mark.parametrize("rate", [1 / 3, 0.7, 3.0, 99.9, 1e5])
def test_after_the_wait_there_is_a_token(rate: float) -> None:
    """The time to come back is neither too short, at any time of day, nor too long."""
    bucket = TokenBucket(rate, 1)
    now = 1e6 / 7
    assert bucket.take(now)
    for _ in range(1000):
        wait_s = bucket.wait_s(now)
        assert not bucket.take(now + wait_s - max(0.1 * wait_s, 2e-6))
        now += wait_s
        assert bucket.take(now)
    assert now == pytest.approx(1e6 / 7 + 1000 / rate, abs=1e-4)


def test_without_a_rate_the_wait_is_for_ever() -> None:
    """Nothing comes, and that is said."""
    bucket = TokenBucket(0.0, 1)
    bucket.take(0.0)
    assert bucket.wait_s(0.0) == math.inf
    assert not bucket.take(1e9)


def test_a_clock_that_goes_back_gives_nothing() -> None:
    """Time that has been counted is not counted again."""
    bucket = TokenBucket(1.0, 5)
    assert bucket.take(100.0, 4)
    assert bucket.take(50.0)  # Nor is it taken away.
    assert not bucket.take(50.9)
    assert not bucket.take(100.9)
    assert bucket.take(101.0)


def test_a_ramp_is_even() -> None:
    """From 0 to 10 a second over 10 s: 50 tokens come, half of them in the last 3 s; then 10/s."""
    for step_s in (0.01, 1.0, 7.0, 100.0):  # However seldom one looks.
        bucket = TokenBucket(0.0, 1000)
        bucket.take(0.0, 1000)
        bucket.set_rate(0.0, 10.0, ramp_s=10.0)
        now = 0.0
        while now < 7.0:
            now = min(7.0, now + step_s)
            bucket.tokens(now)
        assert bucket.tokens(7.0) == pytest.approx(24.5)
        assert bucket.rate_per_s(7.0) == pytest.approx(7.0)
        assert bucket.wait_s(7.0, 50) == pytest.approx(3.0)
        assert bucket.wait_s(7.0, 60) == pytest.approx(4.0)
        assert bucket.wait_s(7.0, 24.5 + 0.705) == pytest.approx(0.1)
        assert bucket.tokens(12.0) == pytest.approx(70.0)


def test_a_ramp_down_may_end_in_nothing() -> None:
    """What still comes on the way is waited for; what would come after it never comes."""
    bucket = TokenBucket(10.0, 100)
    bucket.take(0.0, 100)
    bucket.set_rate(0.0, 0.0, ramp_s=10.0)
    assert bucket.wait_s(0.0, 49.99) == pytest.approx(10.0, rel=0.02)
    assert bucket.wait_s(0.0, 50.01) == math.inf


@pytest.mark.parametrize(("rate", "burst"), [(-1.0, 1.0), (math.inf, 1.0), (1.0, 0.0)])
def test_impossible_buckets_are_refused(rate: float, burst: float) -> None:
    """No negative rate, no infinite one, no burst of nothing."""
    with pytest.raises(ValueError, match="must be"):
        TokenBucket(rate, burst)


class BucketAgainstModel(RuleBasedStateMachine):
    """The model counts in fractions, without rounding, and knows only a rate and a number."""

    def __init__(self) -> None:
        super().__init__()
        self.now = Fraction(0)
        self.rate, self.burst, self.tokens = Fraction(2), Fraction(5), Fraction(5)
        self.bucket = TokenBucket(2.0, 5)
        # Of a ramp: where it leads, and when it ends.
        self.target, self.until = self.rate, self.now

    def rate_at(self, time: Fraction) -> Fraction:
        """The rate that the model has at a time from now on."""
        if time >= self.until:
            return self.target
        return self.rate + (self.target - self.rate) * (time - self.now) / (self.until - self.now)

    @rule(seconds=TENTHS)
    def time_passes(self, seconds: Fraction) -> None:
        end = self.now + seconds
        middle = min(end, max(self.now, self.until))
        came = (self.rate + self.rate_at(middle)) / 2 * (middle - self.now)
        if middle < self.until or self.until > self.now:
            self.tokens = min(self.burst, self.tokens + came)
        self.tokens = min(self.burst, self.tokens + self.target * (end - middle))
        self.rate, self.now = self.rate_at(end), end

    @rule(n=st.integers(1, 5))
    def take(self, n: int) -> None:
        near = abs(self.tokens - n) < 1e-5 * (1 + self.rate)
        taken = self.bucket.take(float(self.now), n)
        assert near or taken == (self.tokens >= n)
        if taken:
            self.tokens -= n

    @rule(n=TENTHS)
    def add(self, n: Fraction) -> None:
        self.bucket.tokens(float(self.now))
        self.bucket.add(float(n))
        self.tokens = min(self.burst, self.tokens + n)

    @rule()
    def empty(self) -> None:
        self.bucket.empty(float(self.now))
        self.tokens = min(self.tokens, Fraction(0))

    @rule(rate=RATES, ramp=TENTHS)
    def set_rate(self, rate: Fraction, ramp: Fraction) -> None:
        self.bucket.set_rate(float(self.now), float(rate), ramp_s=float(ramp))
        self.target, self.until = rate, self.now + ramp
        if not ramp:
            self.rate = rate

    @precondition(lambda self: self.target > 0)
    @rule(n=st.integers(1, 20))
    def the_wait_is_exact(self, n: int) -> None:
        """After it, and not before it, the tokens have come that were asked for."""
        wait_s = Fraction(self.bucket.wait_s(float(self.now), n))
        end = self.now + wait_s
        middle = min(end, max(self.now, self.until))
        came = (self.rate + self.rate_at(middle)) / 2 * (middle - self.now)
        came += self.target * (end - middle)
        assert float(self.tokens + came) >= n - 1e-5
        assert not wait_s or float(self.tokens + came) == pytest.approx(n, abs=1e-5)

    @invariant()
    def it_holds_what_the_model_holds(self) -> None:
        assert self.bucket.tokens(float(self.now)) == pytest.approx(float(self.tokens), abs=1e-6)
        assert self.bucket.rate_per_s(float(self.now)) == pytest.approx(float(self.rate), abs=1e-6)


class BudgetAgainstModel(RuleBasedStateMachine):
    """The model counts tokens in fractions; and over all time the stated bound holds."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.calls = Fraction(0), 0
        self.balance = Fraction(5)
        self.budget = RetryBudget(ratio=0.1, per_s_min=0.5, balance_max=5.0)

    @rule(seconds=TENTHS)
    def time_passes(self, seconds: Fraction) -> None:
        self.now += seconds
        self.balance = min(Fraction(5), self.balance + seconds / 2)

    @rule(calls=st.integers(1, 50))
    def deposit(self, calls: int) -> None:
        self.calls += calls
        for _ in range(calls):
            self.budget.deposit()
        self.balance = min(Fraction(5), self.balance + Fraction(calls, 10))

    @rule(times=st.integers(1, 10))
    def withdraw(self, times: int) -> None:
        for _ in range(times):
            granted = self.budget.withdraw(float(self.now))
            assert granted == (self.balance >= 1)
            self.balance -= granted

    @invariant()
    def the_bound_holds(self) -> None:
        bound = 5 + Fraction(1, 10) * self.calls + self.now / 2
        assert self.budget.granted <= bound
        assert self.budget.balance(float(self.now)) == pytest.approx(float(self.balance), abs=1e-6)


TestBucketAgainstModel = BucketAgainstModel.TestCase
TestBucketAgainstModel.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestBudgetAgainstModel = BudgetAgainstModel.TestCase
TestBudgetAgainstModel.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_ten_calls_earn_one_retry() -> None:
    """Ten tenths are one, also in floating point; a million calls later still."""
    budget = RetryBudget(ratio=0.1, per_s_min=0.0, balance_max=1.0)
    assert budget.withdraw(0.0)
    for _ in range(100_000):
        for _ in range(9):
            budget.deposit()
        assert not budget.withdraw(0.0)
        budget.deposit()
        assert budget.withdraw(0.0)
    assert (budget.granted, budget.refused) == (100_001, 100_000)


@pytest.mark.parametrize("wrong", [{"ratio": -0.1}, {"per_s_min": -1}, {"balance_max": 0.5}])
def test_impossible_budgets_are_refused_by_name(wrong: dict[str, float]) -> None:
    """The error names the setting."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RetryBudget(**wrong)  # type: ignore[arg-type]
