"""How many nines were shown, and how little was seen, in words that claim no more."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sim.study.intervals import Interval
from sim.study.nines import (
    alike_statement,
    harm_statement,
    nines,
    nines_statement,
    nines_supported,
    unlike_share,
)


def test_nines_are_counted_from_the_lower_end() -> None:
    """A mean of five nines whose interval begins at 0.9991 shows three."""
    assert nines(0.999) == pytest.approx(3.0)
    assert nines(1.0) == math.inf
    assert nines_supported(Interval(0.99999, 0.9991, 1.0, 10)) == 3
    assert nines_supported(Interval(0.9995, 0.999, 1.0, 10)) == 3, "a hair from rounding is none"
    assert nines_supported(Interval(0.9, 0.5, 1.0, 10)) == 0
    assert nines_supported(Interval(0.9, math.nan, math.nan, 1)) == 0


def test_no_statement_says_one_hundred_per_cent() -> None:
    """Not even of a study without any failure."""
    assert nines_statement(Interval(1.0, 0.997, 1.0, 9)) == "2 nines shown; no failure was seen"
    assert nines_statement(Interval(0.9999, 0.95, 1.0, 9)) == "1 nine shown; the mean has 4.0"
    assert nines_statement(Interval(0.8, 0.7, 0.9, 9)) == "no nines shown; the mean has 0.7"
    assert "no interval" in nines_statement(Interval(1.0, math.nan, math.nan, 1))
    assert harm_statement(0, 37) == "no failure in 37 outages: at most 7.8 of 100 do harm"
    assert harm_statement(3, 37) == (
        "failures in 3 of 37 outages: between 1.7 and 22 of 100 do harm"
    )
    assert harm_statement(0, 0) == "no outage was seen, so nothing is known of any"
    assert harm_statement(5, 5).endswith("between 48 and 100 of 100 do harm")
    with pytest.raises(ValueError, match="4 of 3"):
        harm_statement(4, 3)


def test_the_statement_holds_in_95_of_100_studies() -> None:
    """If one outage in ten does harm, a bound below ten is stated in at most 5% of studies."""
    studies = np.random.default_rng(7).binomial(37, 0.1, 4000)
    assert "at most 7.8 of 100" in harm_statement(0, 37), "which is wrong of one in ten"
    assert (studies == 0).mean() < 0.05


def test_runs_that_are_all_alike_say_how_many_others_may_not_be() -> None:
    """The rule of three, exactly: 0.95 of 59 such runs in a row would be luck of one in twenty."""
    assert (1 - unlike_share(59)) ** 59 == pytest.approx(0.05)
    assert unlike_share(59) == pytest.approx(3 / 59, rel=0.03)
    assert alike_statement(Interval(7.0, 7.0, 7.0, 10)) == (
        "the same in all 10 runs: at most 26 of 100 give another value"
    )
    assert alike_statement(Interval(7.0, 6.0, 8.0, 10)) == ""
    assert alike_statement(Interval(7.0, math.nan, math.nan, 1)) == ""
