"""Confidence intervals cover the truth as often as they claim."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sim.study.intervals import paired_difference, share_interval, t_interval


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


def test_no_failure_seen_is_not_certainty() -> None:
    """With n outages and none harmful, up to 1 - 0.025^(1/n) of them may be."""
    spotless = share_interval([1.0] * 5, outages=30, share_at_risk=0.1)
    assert (spotless.mean, spotless.high) == (1.0, 1.0)
    assert spotless.low == pytest.approx(1 - 0.1 * (1 - 0.025 ** (1 / 30)))
    assert share_interval([1.0] * 5, outages=0, share_at_risk=0.0).low == 0.0


def test_the_bound_for_no_failure_holds() -> None:
    """Harm strikes each outage with probability p and then costs its calls: the bound covers p."""
    rng = np.random.default_rng(3)
    outages, share_at_risk, harm = 40, 0.2, 0.05
    truth = 1 - harm * share_at_risk
    claims = wrong = 0
    for _ in range(4000):
        if rng.random(outages).min() >= harm:  # no outage did harm
            claims += 1
            low = share_interval([1.0] * 4, outages=outages, share_at_risk=share_at_risk).low
            wrong += truth < low
    assert claims > 100
    assert wrong == 0, "this truth is well inside the bound"
    assert 1 - 0.025 ** (1 / outages) == pytest.approx(0.0881, abs=1e-4)


def test_a_share_stays_between_zero_and_one() -> None:
    """However wide Student's interval is."""
    interval = share_interval([0.5, 1.0, 0.99], outages=3, share_at_risk=0.5)
    assert 0.0 <= interval.low < interval.mean < interval.high == 1.0


def test_one_small_failure_makes_no_study_surer() -> None:
    """A single failed call among many runs leaves no less to doubt than none would."""
    spotless = share_interval([1.0] * 30, outages=180, share_at_risk=0.04)
    nearly = share_interval([1.0] * 29 + [1.0 - 1e-5], outages=180, share_at_risk=0.04)
    assert nearly.low <= spotless.low
    assert nearly.low == pytest.approx(spotless.low, abs=1e-5)
    assert nearly.high == 1.0
    often = share_interval([0.99, 0.98] * 15, outages=180, share_at_risk=0.04)
    plain = t_interval([0.99, 0.98] * 15)
    assert (often.low, often.high) == (plain.low, plain.high)
