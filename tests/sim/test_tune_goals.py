"""What a search is given: measures with a direction, bounds with a margin, ranges with a step."""

from __future__ import annotations

import math

import pytest

from ftrepo.errors import PolicyError
from ftrepo.policy import Policy
from sim.study.intervals import Interval
from sim.study.tune.objectives import (
    check_goals,
    measures_of,
    parse_constraint,
    parse_objective,
)
from sim.study.tune.space import (
    DEFAULT_SPACE,
    Choice,
    Range,
    changes,
    check_space,
    parse_search,
    policy_at,
)
from sim.world.errors import InputError
from tests.sim.tunings import WORLD


def between(low: float, high: float) -> Interval:
    """An interval with these ends."""
    return Interval((low + high) / 2, low, high, 4)


@pytest.mark.parametrize(
    ("text", "maximise"),
    [
        ("availability", True),
        ("goodput_per_s", True),
        ("sync_lag_p99_s", False),
        ("max:cache_entries_max", True),
        ("min:availability", False),
    ],
)
def test_a_share_is_to_be_high_and_an_amount_low(text: str, maximise: bool) -> None:
    """Unless a prefix says otherwise; and what is written is read again."""
    objective = parse_objective(text)
    assert objective.maximise is maximise
    assert parse_objective(str(objective)) == objective


def test_a_difference_is_judged_by_its_whole_interval() -> None:
    """An interval with zero in it is neither better nor worse."""
    lag, share = parse_objective("sync_lag_p99_s"), parse_objective("availability")
    assert lag.clearly_worse(between(1, 3))
    assert lag.clearly_better(between(-3, -1))
    assert share.clearly_worse(between(-3, -1))
    assert lag.gain(1) > lag.gain(2) > lag.gain(math.nan)
    assert share.gain(0.9) > share.gain(0.8) > share.gain(math.nan)
    for objective in (lag, share):
        assert not objective.clearly_worse(between(-1, 3))
        assert not objective.clearly_better(between(-1, 3))
        assert not objective.clearly_worse(Interval(1.0, math.nan, math.nan, 1))


def test_a_constraint_is_judged_by_the_far_end() -> None:
    """A mean within the bound is not enough, and neither is a missing interval."""
    most, least = parse_constraint("sync_lag_p99_s<=10"), parse_constraint("availability >= 0.999")
    assert most.holds(between(5, 10))
    assert not most.holds(between(5, 10.1))
    assert not most.clearly_broken(between(5, 15))
    assert most.clearly_broken(between(10.1, 15))
    assert most.margin(between(5, 12)) == -2
    assert not most.holds(Interval(1.0, math.nan, math.nan, 1))
    assert least.holds(between(0.999, 1))
    assert least.clearly_broken(between(0.99, 0.998))


def test_excesses_of_different_measures_can_be_added() -> None:
    """Each is a share of what is allowed; what has no value is past every bound."""
    most, least = parse_constraint("sync_lag_p99_s<=10"), parse_constraint("availability>=0.99")
    assert most.excess(15) == pytest.approx(0.5)
    assert least.excess(0.985) == pytest.approx(0.5)
    assert most.excess(10) == 0
    assert most.excess(math.nan) == 1
    assert parse_constraint("lost_keys<=0").excess(2) == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sync_lag_p99_s=10", "form"),
        ("sync_lag_p9_s<=10", "did you mean 'sync_lag_p99_s'"),
        ("sync_lag_p99_s<=ten", "not a finite number"),
        ("sync_lag_p99_s<=inf", "not a finite number"),
        ("sync_lag_p99_s<=-1", "no measure is below 0"),
        ("availability>=99.9", "99.9% is 0.999"),
        ("failed_deadline_share<=5", "5% is 0.05"),
    ],
)
def test_a_constraint_that_cannot_be_read_is_refused(text: str, told: str) -> None:
    """With what was expected."""
    with pytest.raises(InputError, match=told):
        parse_constraint(text)


def test_objectives_that_cannot_be_are_refused() -> None:
    """An unknown measure, an unknown prefix, the same one twice, none."""
    with pytest.raises(InputError, match="did you mean 'availability'"):
        parse_objective("availabilty")
    with pytest.raises(InputError, match="min or max"):
        parse_objective("least:availability")
    availability = parse_objective("availability")
    with pytest.raises(InputError, match="twice"):
        check_goals([availability, availability], [])
    with pytest.raises(InputError, match="at least one"):
        check_goals([], [])
    both = [parse_constraint("sync_lag_p99_s<=10"), parse_constraint("sync_lag_p99_s>=0.1")]
    check_goals([availability], both)
    assert measures_of([availability], both) == ("availability", "sync_lag_p99_s")
    neither = [parse_constraint("sync_lag_p99_s<=1"), parse_constraint("sync_lag_p99_s>=2")]
    with pytest.raises(InputError, match="nothing is both"):
        check_goals([availability], neither)


def test_a_space_is_read_as_it_is_written() -> None:
    """Ranges, ranges by equal factors, and choices."""
    texts = [
        "flush_interval_s=0.5:10:log",
        "publish_lead_s=0:600",
        "read_policy=primary-first,cache-first",
        "refresh_interval_s=none,300",
    ]
    space = parse_search(texts)
    assert space == (
        Range("flush_interval_s", 0.5, 10, log=True),
        Range("publish_lead_s", 0, 600),
        Choice("read_policy", ("primary-first", "cache-first")),
        Choice("refresh_interval_s", (None, 300)),
    )
    assert parse_search(list(map(str, DEFAULT_SPACE))) == DEFAULT_SPACE


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("flush_interval=1:2", "did you mean 'flush_interval_s'"),
        ("service.instances=1:4", "not a setting of a policy"),
        ("flush_interval_s=2:1", "below"),
        ("flush_interval_s=a:b", "form"),
        ("flush_interval_s=1:2:lin", "form"),
        ("publish_lead_s=0:600:log", "above zero"),
        ("flush_interval_s=1", "several values"),
        ("flush_interval_s", "several values"),
    ],
)
def test_a_space_that_cannot_be_is_refused(text: str, told: str) -> None:
    """With what was expected."""
    with pytest.raises(InputError, match=told):
        parse_search([text])


def test_a_setting_is_searched_once() -> None:
    """Also where an alias and its part would both set it."""
    with pytest.raises(InputError, match="select_timeout_s twice"):
        parse_search(["operation_timeout_s=0.1:1", "select_timeout_s=0.1:1"])


def test_a_range_that_a_policy_refuses_is_refused_before_anything_is_played() -> None:
    """By the setting's own error."""
    with pytest.raises(PolicyError, match="flush_interval_s"):
        check_space(WORLD, Policy(), parse_search(["flush_interval_s=0:1"]))
    with pytest.raises(InputError, match="no setting"):
        check_space(WORLD, Policy(), ())
    check_space(WORLD, Policy(), DEFAULT_SPACE)


def test_numbers_that_are_tried_can_be_read() -> None:
    """Two significant digits within the range; whole where the setting counts something."""
    flush = Range("flush_interval_s", 0.25, 30, log=True)
    assert flush.rounded(3.87291) == 3.9
    assert flush.rounded(0.2512) == 0.25
    assert flush.rounded(29.96) == 30
    failures = Range("breaker_failure_threshold", 2, 20)
    assert failures.rounded(4.6) == 5
    assert isinstance(failures.rounded(4.6), int)
    assert Range("publish_lead_s", 0, 600).rounded(0.0) == 0.0


def test_a_point_is_what_differs_from_the_base_policy() -> None:
    """A value that the base policy has is no change, and an alias sets all its parts."""
    point = {"flush_interval_s": 1, "operation_timeout_s": 0.2}
    assert changes(WORLD, Policy(), point) == {"operation_timeout_s": 0.2}
    policy = policy_at(WORLD, Policy(), point)
    assert policy == Policy(insert_timeout_s=0.2, select_timeout_s=0.2, delete_timeout_s=0.2)
    assert policy_at(WORLD, Policy(), {}) == Policy()
