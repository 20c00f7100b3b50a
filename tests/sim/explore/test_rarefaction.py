"""How coverage grows: what ecology's formulas say is what counting says, and intervals cover."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from sim.explore.rarefaction import Growth, powers, share_of_worlds
from sim.explore.tally import Tally, share_max

WORLDS = ("abc", "ab", "a", "ad", "ab", "a")
"""What each of six worlds reached: d and c once, b three times."""
TIMES = Counter("".join(WORLDS))


GROWTH = Growth(len(WORLDS), tuple(TIMES.values()), 8)


@pytest.mark.parametrize("size", range(1, 7))
def test_fewer_worlds_reach_what_the_mean_of_all_choices_among_them_does(size: int) -> None:
    """The formula is the mean over every choice of so many worlds."""
    chosen = [len(set("".join(each))) for each in combinations(WORLDS, size)]
    assert GROWTH.after(size).mean == pytest.approx(np.mean(chosen))


@pytest.mark.parametrize("size", range(2, 7))
def test_what_one_more_brings_is_how_steep_the_curve_is(size: int) -> None:
    """Good and Turing's estimate after some worlds is the step of the curve that led there."""
    step = GROWTH.after(size).mean - GROWTH.after(size - 1).mean
    assert GROWTH.new_in_one(size).mean == pytest.approx(step)


def test_after_all_worlds_one_more_brings_the_share_of_what_was_seen_once() -> None:
    """Two names were seen in one of six worlds."""
    assert GROWTH.new_in_one().mean == pytest.approx(2 / 6)
    assert GROWTH.new_in_one(6) == GROWTH.new_in_one()


def test_how_many_can_be_reached_is_counted_as_chao_does() -> None:
    """Three seen once and two twice in ten worlds: 0.9 · 3 · 2 / (2 · 3) more, if there are any."""
    times = (1, 1, 1, 2, 2, 5)
    assert Growth(10, times, 20).reachable == pytest.approx(6.9)
    assert Growth(10, times, 6).reachable == 6


def test_more_worlds_approach_what_can_be_reached() -> None:
    """Beyond what was played there is an estimate and no interval."""
    few = Growth(10, (1, 1, 1, 2, 2, 5), 20)
    ahead = [few.after(worlds) for worlds in (11, 20, 10_000)]
    assert [each.mean for each in ahead] == sorted(each.mean for each in ahead)
    assert ahead[0].mean == pytest.approx(6 + few.new_in_one().mean, rel=0.05)
    assert ahead[-1].mean == pytest.approx(6.9)
    assert all(np.isnan(each.low) for each in ahead)


def test_what_one_more_brings_is_as_uncertain_as_its_error() -> None:
    """Two seen once and one twice: the gamma with variance 2 + 2, above with one more."""
    new = Growth(100, (1, 1, 2, 40), 9).new_in_one()
    low = stats.gamma(2**2 / 4, scale=4 / 2).ppf(0.025) / 100
    high = stats.gamma(3**2 / 5, scale=5 / 3).ppf(0.975) / 100
    assert (new.low, new.high) == pytest.approx((low, high))


def test_where_nothing_was_seen_once_something_rare_may_be_left() -> None:
    """The upper end is that of a Poisson count of zero; only a complete list leaves nothing."""
    done = Growth(100, (50, 60), 3)
    assert done.new_in_one().mean == done.new_in_one().low == 0
    assert done.new_in_one().high == pytest.approx(-np.log(0.025) / 100)
    complete = Growth(100, (50, 60), 2).new_in_one()
    assert (complete.low, complete.high) == (0, 0)
    assert done.after(100).low < 2 < done.after(100).high


def test_the_intervals_cover_what_is_true() -> None:
    """In made-up searches whose names are reached with known probabilities."""
    rng = np.random.default_rng(1)
    rates = np.exp(rng.uniform(np.log(1e-4), np.log(0.3), 80))
    worlds, studies = 500, 400
    truth = float((1 - (1 - rates) ** worlds).sum())
    covers = Counter[str]()
    for times in rng.binomial(worlds, rates, (studies, len(rates))):
        each = Growth(worlds, tuple(int(many) for many in times if many), len(rates))
        reached, new = each.after(worlds), each.new_in_one()
        covers["reached"] += reached.low <= truth <= reached.high
        covers["new"] += new.low <= float(rates[times == 0].sum()) <= new.high
    assert covers["reached"] >= 0.9 * studies
    assert covers["new"] >= 0.9 * studies


def test_a_share_of_worlds_has_the_exact_interval() -> None:
    """Clopper's and Pearson's, as scipy has it."""
    for many, worlds in ((1, 20), (7, 200), (199, 200)):
        exact = stats.binomtest(many, worlds).proportion_ci(method="exact")
        share = share_of_worlds(many, worlds)
        assert (share.low, share.high) == pytest.approx((exact.low, exact.high))
        assert share.mean == many / worlds


def test_of_nothing_seen_the_bound_is_that_of_the_tally() -> None:
    """One-sided, about 3/n; and the same from the other end."""
    none, all_of_them = share_of_worlds(0, 1_000), share_of_worlds(1_000, 1_000)
    assert (none.low, none.high) == (0, pytest.approx(share_max(1_000)))
    assert (all_of_them.low, all_of_them.high) == (pytest.approx(1 - share_max(1_000)), 1)


def test_the_growth_of_a_tally_counts_the_names_that_were_reached() -> None:
    """What is not on the list is not counted, and what was never reached only as a name."""
    tally = Tally(worlds=6, times=Counter({"a": 6, "b": 2, "other": 3}))
    assert Growth.of(tally, ("a", "b", "c")) == Growth(6, (6, 2), 3)


def test_numbers_of_worlds_go_up_evenly_by_their_logarithm() -> None:
    """From one to all, each once."""
    numbers = powers(1_000, per_decade=3)
    assert numbers == [1, 2, 5, 10, 22, 46, 100, 215, 464, 1_000]
    assert powers(1) == [1]
