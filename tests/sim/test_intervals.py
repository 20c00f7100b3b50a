"""Confidence intervals cover the truth as often as they claim, where anything can."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sim.study.coverage import (
    FAILOVERS,
    INCIDENTS,
    World,
    count_coverage,
    difference_coverage,
    mean_excess,
    share_coverage,
)
from sim.study.intervals import (
    amount_interval,
    paired_difference,
    paired_p_value,
    share_interval,
    t_interval,
)

STUDIES = 600
"""Studies of each made-up world. A coverage of 0.93 is then known to within 0.02, two errors."""


def test_a_known_example() -> None:
    """Four values, by hand: mean 2.5, s = 1.291, t(3) = 3.1824."""
    interval = t_interval([1.0, 2.0, 3.0, 4.0])
    assert interval.mean == 2.5
    assert interval.half_width == pytest.approx(3.182446 * 1.290994 / 2, rel=1e-5)
    assert interval.excludes_zero()


def test_what_is_missing_is_left_out_and_counted() -> None:
    """One value has no interval, and none has no mean."""
    assert t_interval([1.0, math.nan, 3.0]).replications == 2
    alone = t_interval([1.0, math.nan])
    assert (alone.mean, alone.replications) == (1.0, 1)
    assert math.isnan(alone.low)
    assert math.isnan(t_interval([math.nan]).mean)
    assert not alone.excludes_zero()


def test_it_covers_the_truth_in_95_of_100_studies() -> None:
    """4,000 studies of 10 normal values each: within four standard errors of 95%."""
    rng = np.random.default_rng(1)
    studies = rng.normal(7.0, 3.0, (4000, 10))
    covered = sum(i.low <= 7.0 <= i.high for i in map(t_interval, studies.tolist()))
    assert covered / 4000 == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 4000))


def test_pairing_removes_what_both_have_in_common() -> None:
    """The same noise in both leaves an exact difference, where separate intervals overlap."""
    rng = np.random.default_rng(2)
    first = rng.normal(100.0, 20.0, 10)
    difference = paired_difference(first.tolist(), (first + 1.0).tolist())
    assert difference.mean == pytest.approx(1.0)
    assert difference.half_width < 1e-9
    assert t_interval(first.tolist()).half_width > 5
    with pytest.raises(ValueError, match="paired"):
        paired_difference([1.0], [1.0, 2.0])


def test_an_amount_is_not_below_zero_and_otherwise_students() -> None:
    """Only the end that cannot be moves; no value may be where the mean cannot."""
    seldom = [0.0, 0.0, 0.0, 9.0]
    assert t_interval(seldom).low < 0
    assert amount_interval(seldom).low == 0
    assert amount_interval(seldom).high == t_interval(seldom).high
    assert amount_interval([7.0, 8.0, 9.0]) == t_interval([7.0, 8.0, 9.0])
    assert amount_interval([0.0, 0.6, 1.0], most=1.0).high == 1.0
    with pytest.raises(ValueError, match="cannot be negative, and -1 is"):
        amount_interval([1.0, -1.0])


def test_a_count_of_none_is_no_proof_that_there_are_none() -> None:
    """Garwood: a Poisson mean above 3.689 gives a zero less often than once in 40 times."""
    none = amount_interval([0.0] * 10, counts=True)
    assert (none.mean, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(3.6889 / 10, rel=1e-4)
    assert amount_interval([0.0] * 10).high == 0, "an amount that is no count says what was seen"
    one = amount_interval([0.0] * 39 + [1.0], counts=True)
    assert one.high >= amount_interval([0.0] * 40, counts=True).high, "seeing one makes none surer"
    assert math.isnan(amount_interval([0.0], counts=True).high), "one run has no interval"
    missing = amount_interval([0.0, 0.0, math.nan], counts=True)
    assert missing.high == pytest.approx(3.6889 / 2, rel=1e-4), "only runs that have it count"


@pytest.mark.parametrize(("mean", "replications"), [(0.02, 10), (0.1, 10), (0.3, 10), (0.1, 30)])
def test_the_interval_of_a_count_covers_a_rare_truth(mean: float, replications: int) -> None:
    """In 0.93 of studies and more where Student's has the truth in 0.14 to 0.95 of them."""
    ours, students = count_coverage(mean, replications, studies=2000)
    assert ours.covered >= 0.93 - 2 * math.sqrt(0.93 * 0.07 / 2000)
    assert ours.covered >= students.covered
    if mean * replications <= 1:
        assert students.covered < 0.7


def test_no_failure_seen_is_not_certainty() -> None:
    """With n outages and none harmful, -ln(0.025) of them may have failed every call."""
    spotless = share_interval([1.0] * 5, outages=30, share_at_risk=0.1)
    assert (spotless.mean, spotless.high) == (1.0, 1.0)
    assert spotless.low == pytest.approx(1 + math.log(0.025) * 0.1 / 30)
    assert share_interval([1.0] * 5, outages=0, share_at_risk=0.0).low == 0.0
    assert share_interval([1.0], outages=30, share_at_risk=0.1).low == pytest.approx(
        spotless.low
    ), "one run of thirty outages shows as much as five of six"


def test_a_share_stays_between_zero_and_one() -> None:
    """However wide the interval would be."""
    interval = share_interval([0.5, 1.0, 0.99], outages=3, share_at_risk=0.5)
    assert 0.0 <= interval.low < interval.mean < interval.high <= 1.0
    assert share_interval([0.0, 0.0], outages=2, share_at_risk=1.0).high >= 0.0


def test_one_small_failure_makes_no_study_surer() -> None:
    """A single failed call among many runs leaves no less to doubt than none would."""
    spotless = share_interval([1.0] * 30, outages=180, share_at_risk=0.04)
    nearly = share_interval([1.0] * 29 + [1.0 - 1e-5], outages=180, share_at_risk=0.04)
    assert nearly.low <= spotless.low
    assert nearly.low == pytest.approx(spotless.low, abs=1e-5)
    assert nearly.mean < nearly.high < 1.0, "a failure was seen, so the truth is below 1"


def test_no_interval_of_a_share_is_without_width() -> None:
    """Also if every replication is the same, with and without outages."""
    for outages, at_risk in ((0, 0.0), (6, 0.05)):
        interval = share_interval([0.99] * 6, outages=outages, share_at_risk=at_risk)
        assert interval.low < 0.99 <= interval.high
    alone = share_interval([0.99], outages=6, share_at_risk=0.05)
    assert alone.mean == pytest.approx(0.99)
    assert math.isnan(alone.low)


def test_failures_without_an_outage_are_judged_by_themselves() -> None:
    """An overload that no outage began leaves an interval about what was seen, not 0 to 1."""
    interval = share_interval([0.93, 0.95, 0.94, 0.92] * 3, outages=0, share_at_risk=0.0)
    assert 0.85 < interval.low < 0.93 < interval.high < 0.95


@pytest.mark.parametrize(
    ("kind", "per_run", "sigma", "replications"),
    [
        ("nearly all", 1, 0.0, 4),
        ("nearly all", 6, FAILOVERS, 4),
        ("some", 6, FAILOVERS, 10),
        ("some", 30, INCIDENTS, 4),
        ("3 in 10", 1, INCIDENTS, 10),
        ("1 in 10", 6, FAILOVERS, 4),
        ("1 in 50", 1, FAILOVERS, 10),
        ("brief", 6, INCIDENTS, 10),
        ("disaster 1 in 100", 1, FAILOVERS, 4),
        ("disaster 3 in 100", 6, FAILOVERS, 10),
        ("long", 6, FAILOVERS, 10),
    ],
)
def test_the_interval_of_a_share_covers_the_truth(
    kind: str, per_run: int, sigma: float, replications: int
) -> None:
    """In at least 0.93 of studies, less two standard errors of 600, whatever harm outages do."""
    world = World(kind=kind, per_run=per_run, sigma=sigma, replications=replications)
    ours, students = share_coverage(world, studies=STUDIES)
    assert ours.covered >= 0.93 - 2 * math.sqrt(0.93 * 0.07 / STUDIES)
    assert ours.covered >= students.covered - 0.01


def test_where_no_interval_can_hold_it_is_known_by_how_much() -> None:
    """One incident a run and four runs: 0.88 instead of 0.95, Student's 0.75."""
    world = World(kind="nearly all", per_run=1, sigma=INCIDENTS, replications=4)
    ours, students = share_coverage(world, studies=STUDIES)
    assert 0.83 < ours.covered < 0.93
    assert students.covered < 0.80


def test_the_interval_costs_little_where_outages_usually_do_harm() -> None:
    """With six an hour and ten runs, at most a quarter wider than Student's."""
    world = World(kind="nearly all", per_run=6, sigma=FAILOVERS, replications=10)
    ours, students = share_coverage(world, studies=200)
    assert ours.width < 1.25 * students.width


def test_the_made_up_truths_are_true() -> None:
    """The formula for what is longer than twice the mean agrees with a million draws."""
    lengths = np.random.default_rng(5).lognormal(-(INCIDENTS**2) / 2, INCIDENTS, 1_000_000)
    excess = np.maximum(0.0, lengths - 2.0)
    error = excess.std() / 1000
    assert mean_excess(2.0, INCIDENTS) == pytest.approx(excess.mean(), abs=4 * error)


@pytest.mark.parametrize(
    ("name", "replications", "least"),
    [
        ("normal", 4, 0.95),
        ("exponential", 10, 0.93),
        ("failovers", 10, 0.93),
        ("incidents", 30, 0.91),
    ],
)
def test_the_interval_of_a_difference_covers_the_truth(
    name: str, replications: int, least: float
) -> None:
    """Skewed or not, and never less often than Student's, which it contains."""
    ours, students = difference_coverage(name, replications, studies=2000)
    assert ours.covered >= least - 2 * math.sqrt(least * (1 - least) / 2000)
    assert ours.covered >= students.covered


def test_a_p_value_and_its_interval_agree() -> None:
    """Below 0.05 where the interval at 95% excludes zero, and nowhere else, rare harm included."""
    rng = np.random.default_rng(6)
    verdicts = set()
    for number in range(300):
        sample = (rng.exponential(1.0, 8) - 0.5) * (rng.random(8) < (0.3 if number % 2 else 1.0))
        zeros = [0.0] * 8
        interval = paired_difference(zeros, sample.tolist(), one_outage=0.05)
        p = paired_p_value(zeros, sample.tolist(), one_outage=0.05)
        assert (p < 0.05) == interval.excludes_zero()
        verdicts.add((p < 0.05, bool(number % 2)))
    assert len(verdicts) > 2


def test_policies_that_never_differed_may_still_differ() -> None:
    """By what an outage may do that none of few outages did."""
    same = [0.99, 0.98, 1.0, 1.0]
    unseen = paired_difference(same, same, one_outage=0.001)
    assert unseen.mean == 0
    assert unseen.high == -unseen.low == pytest.approx(-math.log(0.025) * 0.001)
    assert paired_difference(same, same, one_outage=1.0).high == 1.0
    assert paired_p_value(same, same, one_outage=0.001) == 1.0
    assert paired_difference(same, same).half_width == 0, "an amount is what it is"


def test_too_few_replications_have_no_difference() -> None:
    """One pair has a mean, none has nothing; a NaN in either takes the pair out."""
    alone = paired_difference([1.0, math.nan, 2.0], [3.0, 1.0, math.nan])
    assert (alone.mean, alone.replications) == (2.0, 1)
    assert math.isnan(alone.low)
    assert math.isnan(paired_p_value([1.0], [2.0]))
    assert math.isnan(paired_difference([math.nan], [1.0]).mean)
    assert paired_p_value([1.0, 2.0], [2.0, 3.0]) == 0.0, "the same difference in both"
