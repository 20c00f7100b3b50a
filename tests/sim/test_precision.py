"""Replications are added until intervals are narrow enough, and luck does not end a study."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from sim.study.intervals import Interval, t_interval
from sim.study.precision import (
    FIRST,
    LOOK_AHEAD,
    Intervals,
    Precision,
    check_known,
    judge,
    look_ahead,
    next_count,
)


def of(values: list[float]) -> Intervals:
    """The interval of one policy's first values."""
    return lambda count: {"policy": t_interval(values[:count])}


def played(draw: Callable[[int], list[float]], precision: Precision, most: int) -> tuple[int, bool]:
    """How many replications a study takes, and whether it got there."""
    values, count = draw(most), FIRST + LOOK_AHEAD
    while True:
        reached = judge(precision, of(values), count)
        following = next_count([reached], count, most)
        if following == count:
            return count, reached.reached
        count = following


def test_a_width_is_absolute_or_relative() -> None:
    """One of the two, and above zero."""
    interval = Interval(10.0, 9.0, 11.0, 20)
    assert Precision(measure="x", half_width=2.0).excess(interval) == 0.5
    assert Precision(measure="x", relative=0.05).excess(interval) == pytest.approx(2.0)
    for widths in ({}, {"half_width": 1.0, "relative": 0.1}, {"half_width": 0.0}):
        with pytest.raises(ValueError, match="width"):
            Precision(measure="x", **widths)


def test_an_interval_that_is_not_there_is_never_narrow() -> None:
    """None with fewer than two values; and none is a share of a mean of zero."""
    missing = Interval(math.nan, math.nan, math.nan, 0)
    assert Precision(measure="x", half_width=1.0).excess(missing) == math.inf
    assert Precision(measure="x", relative=0.1).excess(Interval(0.0, -1.0, 1.0, 9)) == math.inf
    assert Precision(measure="x", relative=0.1).excess(Interval(0.0, 0.0, 0.0, 9)) == 0.0


def test_narrow_by_luck_is_not_narrow() -> None:
    """Ten values that agree and then one that does not: five more must agree as well."""
    values = [1.0] * 11 + [50.0] + [1.0] * 8
    precision = Precision(measure="x", half_width=0.5)
    assert not judge(precision, of(values), FIRST).reached, "too few to look"
    assert not judge(precision, of(values), FIRST + LOOK_AHEAD).reached
    assert judge(precision, of([1.0] * 15), FIRST + LOOK_AHEAD).reached
    late = [1.0, 2.0] * 30
    count = next(n for n in range(15, 60) if t_interval(late[:n]).half_width <= 0.16)
    narrow = Precision(measure="x", half_width=0.16)
    assert not judge(narrow, of(late), count).reached, "narrow for the first time"
    assert judge(narrow, of(late), count + 2 * LOOK_AHEAD).reached


def test_the_look_ahead_grows_with_the_study() -> None:
    """Five up to 100 replications, and 5% of them after that."""
    assert [look_ahead(count) for count in (15, 100, 200, 210)] == [5, 5, 10, 10]


def test_a_study_grows_by_what_is_missing() -> None:
    """By the square of the excess, but never less than a fifth, more than twofold or the most."""

    def following(half_width: float, most: int) -> int:
        values = [1.0, 2.0] * 50
        reached = judge(Precision(measure="x", half_width=half_width), of(values), 20)
        return next_count([reached], 20, most)

    assert following(0.2, 200) == 29, "excess 1.2, squared 1.44"
    assert following(0.24, 200) == 24
    assert following(0.01, 200) == 40
    assert following(0.01, 25) == 25
    assert following(0.5, 200) == 20, "narrow enough"


def test_a_study_ends_narrow_or_says_that_it_did_not() -> None:
    """Neither a gap in the figures nor the end of patience passes for precision."""
    rng = np.random.default_rng(1)
    draw = lambda count: rng.normal(0.0, 1.0, count).tolist()  # noqa: E731
    count, reached = played(draw, Precision(measure="x", half_width=0.2), 200)
    assert reached
    assert 50 < count < 150
    count, reached = played(draw, Precision(measure="x", half_width=0.01), 200)
    assert (count, reached) == (200, False)
    judged = judge(Precision(measure="x", half_width=0.01), of(draw(20)), 20)
    assert str(judged).startswith("precision NOT reached: x ± 0.01 was asked for, and it is ± 0.")


def test_the_rule_keeps_the_coverage_of_its_intervals() -> None:
    """Stopping by width costs at most two points of 95; looking from the second value, six."""
    rng = np.random.default_rng(2)
    precision = Precision(measure="x", half_width=0.5)
    studies = 400
    covered = 0
    for _ in range(studies):
        values = rng.normal(0.0, 1.0, 100).tolist()
        count, _ = played(lambda most, values=values: values[:most], precision, 100)
        interval = t_interval(values[:count])
        covered += interval.low <= 0 <= interval.high
    assert covered / studies > 0.93 - 2 * math.sqrt(0.93 * 0.07 / studies)


def test_what_does_not_exist_cannot_be_precise() -> None:
    """Neither a measure nor a policy that there is not."""
    asked = [Precision(measure="x", half_width=1.0, difference_to="a")]
    check_known(asked, measures=["x"], policies=["a", "b"])
    with pytest.raises(ValueError, match="no measure 'x'"):
        check_known(asked, measures=["y"], policies=["a", "b"])
    with pytest.raises(ValueError, match="no difference to 'a'"):
        check_known(asked, measures=["x"], policies=["b", "c"])
    with pytest.raises(ValueError, match="no difference to 'a'"):
        check_known(asked, measures=["x"], policies=["a"])
