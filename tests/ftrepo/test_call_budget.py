"""The bound on calls that bring nothing, told the time."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ftrepo.resilience import CallBudget, Urgency


def empty(budget: CallBudget, now: float) -> CallBudget:
    """A budget of which background work has taken the last token."""
    while budget.take(now, Urgency.BACKGROUND):
        budget.end(now, Urgency.BACKGROUND, useful=False)
    return budget


def waste(budget: CallBudget, now: float) -> bool:
    """Make a call that brings nothing and takes no time, if it may be made."""
    admitted = budget.take(now)
    if admitted:
        budget.end(now, useful=False)
    return admitted


def test_a_burst_and_then_the_rate() -> None:
    """So many calls may come at once, and after that so many a second."""
    budget = CallBudget(rate_per_s=2.0, burst=5)
    assert [waste(budget, 0.0) for _ in range(7)] == [True] * 5 + [False] * 2
    assert [waste(budget, tenth / 10) for tenth in range(1, 21)].count(True) == 4
    assert budget.refused == 2 + 16


def test_a_useful_call_costs_nothing() -> None:
    """A call that gives its token back can be followed by another, for ever."""
    budget = CallBudget(rate_per_s=0.001, burst=1)
    for _ in range(1000):
        assert budget.take(0.0)
        budget.end(0.0, useful=True)


def test_the_urgent_are_not_starved() -> None:
    """When reads have taken all that they may, something is left for writes, and for probes."""
    budget = CallBudget(rate_per_s=1.0, burst=40, reserve=5)
    assert budget.capacity == 50
    assert [budget.take(0.0) for _ in range(60)].count(True) == 40
    assert [budget.take(0.0, Urgency.WRITE) for _ in range(60)].count(True) == 5
    assert [budget.take(0.0, Urgency.BACKGROUND) for _ in range(60)].count(True) == 5


@pytest.mark.parametrize(
    ("urgency", "wait_s"),
    [(Urgency.BACKGROUND, 0.25), (Urgency.WRITE, 0.75), (Urgency.READ, 1.25)],
)
def test_a_refusal_says_when_to_come_back(urgency: Urgency, wait_s: float) -> None:
    """After exactly that time a call may be made, and no sooner."""
    budget = empty(CallBudget(rate_per_s=4.0, burst=20, reserve=2), 10.0)
    assert budget.retry_after_s(10.0, urgency) == pytest.approx(wait_s)
    assert not budget.take(10.0 + wait_s - 0.01, urgency)
    assert budget.take(10.0 + wait_s, urgency)
    assert CallBudget(rate_per_s=4.0, burst=20).retry_after_s(0.0) == 0.0


def test_a_write_pays_nothing_on_the_ramp() -> None:
    """Writes are few, and what they bring is not to be had from memory."""
    budget = CallBudget(rate_per_s=0.001, burst=10, reserve=1)
    budget.begin_ramp(0.0, 100.0)
    for _ in range(50):
        assert budget.take(1.0, Urgency.WRITE)
        budget.end(1.0, Urgency.WRITE, useful=True)
    assert [waste(budget, 1.0) for _ in range(5)].count(True) == 1


@pytest.mark.parametrize("passed", [0.0, 0.25, 0.5, 0.75, 0.9])
def test_the_ramp_lets_calls_back_step_by_step(passed: float) -> None:
    """With p of the ramp gone, useful calls come at rate / (1 − p), as the formula says."""
    rate_per_s, ramp_s = 100.0, 1e6  # So long that p does not change while we count.
    budget = empty(CallBudget(rate_per_s=rate_per_s, burst=10), 0.0)
    budget.begin_ramp(0.0, ramp_s)
    start_s, made = passed * ramp_s, 0
    empty(budget, start_s)
    for step in range(100_000):
        now = start_s + step / 10_000
        if budget.take(now):
            made += 1
            budget.end(now, useful=True)
    assert made == pytest.approx(10.0 * rate_per_s / (1.0 - passed), rel=0.02)


def test_after_the_ramp_nothing_is_held_back() -> None:
    """At its end useful calls are free again; a ramp of zero never begins."""
    budget = CallBudget(rate_per_s=1.0, burst=10)
    budget.begin_ramp(0.0, 5.0)
    assert [waste(budget, 0.0) for _ in range(20)].count(True) == 1
    for _ in range(100):
        assert budget.take(5.0)
        budget.end(5.0, useful=True)
    fresh = CallBudget(rate_per_s=1.0, burst=10)
    fresh.begin_ramp(0.0, 0.0)
    assert fresh.level(0.0) == 10


def test_no_more_than_a_burst_is_under_way() -> None:
    """Time alone does not let calls pile up that do not end."""
    budget = CallBudget(rate_per_s=1000.0, burst=5)
    assert [budget.take(float(second)) for second in range(20)].count(True) == 5
    assert budget.held == 5
    budget.end(30.0, useful=False)
    assert not budget.take(30.0)
    assert budget.take(30.1)


def test_a_clock_that_stands_still_or_goes_back_gives_nothing() -> None:
    """Only time that has passed brings tokens, and none of it twice."""
    budget = empty(CallBudget(rate_per_s=1.0, burst=3), 100.0)
    assert not budget.take(50.0)
    assert not budget.take(100.0)
    assert waste(budget, 101.0)
    assert not budget.take(101.0)


@pytest.mark.parametrize(("rate_per_s", "burst"), [(0.0, 1), (-1.0, 1), (math.nan, 1), (1.0, 0)])
def test_impossible_settings(rate_per_s: float, burst: int) -> None:
    """A rate that never refills, an empty bucket or a reserve below zero is refused."""
    with pytest.raises(ValueError, match="must be"):
        CallBudget(rate_per_s=rate_per_s, burst=burst)
    with pytest.raises(ValueError, match="reserve"):
        CallBudget(rate_per_s=1.0, burst=1, reserve=-1)


class Bound(RuleBasedStateMachine):
    """Whatever happens, calls that bring nothing keep to the bound that is promised."""

    @initialize(
        rate_per_s=st.sampled_from([0.5, 1.0, 3.0, 100.0]),
        burst=st.integers(1, 40),
        reserve=st.integers(0, 4),
    )
    def begin(self, rate_per_s: float, burst: int, reserve: int) -> None:
        self.budget = CallBudget(rate_per_s=rate_per_s, burst=burst, reserve=reserve)
        self.now = 0.0
        self.under_way: list[tuple[float, Urgency]] = []
        self.futile: list[float] = []

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.3, 1.0, 2.5, 60.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(urgency=st.sampled_from(Urgency), times=st.integers(1, 30))
    def call(self, urgency: Urgency, times: int) -> None:
        for _ in range(times):
            may_s = self.budget.retry_after_s(self.now, urgency)
            admitted = self.budget.take(self.now, urgency)
            kept = urgency * self.budget.reserve
            if may_s > 1e-6:
                assert not admitted
            elif not admitted:
                assert self.budget.held + 1 + kept > self.budget.capacity
            if admitted:
                self.under_way.append((self.now, urgency))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), useful=st.booleans())
    def end(self, data: st.DataObject, useful: bool) -> None:
        at = data.draw(st.integers(0, len(self.under_way) - 1))
        began_s, urgency = self.under_way.pop(at)
        self.budget.end(self.now, urgency, useful=useful)
        if not useful:
            self.futile.append(began_s)

    @rule(ramp_s=st.sampled_from([0.0, 1.0, 30.0]))
    def recover(self, ramp_s: float) -> None:
        self.budget.begin_ramp(self.now, ramp_s)

    @invariant()
    def bounded(self) -> None:
        if not hasattr(self, "budget"):
            return
        budget, spent = (
            self.budget,
            sorted(self.futile + [began_s for began_s, _ in self.under_way]),
        )
        for first, began_s in enumerate(spent):
            for last in range(first, len(spent)):
                allowed = budget.capacity + budget.rate_per_s * (spent[last] - began_s)
                assert last - first + 1 <= allowed + 1e-6
        assert 0 <= budget.level(self.now) <= budget.capacity - len(self.under_way) + 1e-6


TestBound = Bound.TestCase
TestBound.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@given(st.lists(st.floats(0.0, 2.0), min_size=1, max_size=60))
def test_greedy_callers_get_the_rate_and_no_more(pauses_s: list[float]) -> None:
    """Calls that all bring nothing are admitted as often as the bucket refills, to the call."""
    budget = empty(CallBudget(rate_per_s=1.0, burst=9), 0.0)
    moments_s = [0.0]
    for pause_s in pauses_s:
        moments_s.append(moments_s[-1] + pause_s)
    tokens = 0.0
    for before_s, now in pairwise(moments_s):
        tokens = min(9.0, tokens + now - before_s)
        expected = tokens >= 1.0 - 1e-9
        assert waste(budget, now) == expected
        tokens -= expected
