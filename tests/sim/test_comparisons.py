"""Several policies against one: intervals that hold all at once, and verdicts that follow them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from sim.study.comparisons import PolicyComparison, compare_all, simultaneous
from sim.study.intervals import paired_difference, paired_p_value


def compared(
    values: Mapping[str, Sequence[float]], looks: int | None = None
) -> dict[str, PolicyComparison]:
    """Every row but the first against it."""
    reference, *others = values
    rows = compare_all(
        others,
        difference=lambda name, confidence: paired_difference(
            values[reference], values[name], confidence=confidence
        ),
        p_value=lambda name: paired_p_value(values[reference], values[name]),
        looks=looks,
    )
    return {row.policy: row for row in rows}


def test_one_comparison_is_not_corrected() -> None:
    """It is the paired difference and its p-value."""
    values = {"a": [1.0, 2.0, 3.0, 5.0], "b": [2.0, 3.5, 4.0, 5.5]}
    row = compared(values)["b"]
    assert row.difference == paired_difference(values["a"], values["b"])
    assert row.p_value == paired_p_value(values["a"], values["b"])
    assert row.verdict == "higher"


def test_more_comparisons_make_each_wider() -> None:
    """At confidence 1 - 0.05/k, with p-values times k, at most 1."""
    assert simultaneous(5) == pytest.approx(0.99)
    values = {"a": [1.0, 2.0, 3.0, 5.0], "b": [2.0, 3.5, 4.0, 5.5], "c": [1.1, 1.9, 3.3, 4.8]}
    rows = compared(values)
    alone = paired_difference(values["a"], values["b"])
    assert rows["b"].difference.half_width > alone.half_width
    assert rows["b"].p_value == pytest.approx(2 * paired_p_value(values["a"], values["b"]))
    assert rows["c"].p_value == 1.0
    assert compared(values, looks=10)["b"].difference.half_width > rows["b"].difference.half_width
    with pytest.raises(ValueError, match="at least one"):
        simultaneous(0)


def test_ties_gaps_and_single_runs_have_verdicts_too() -> None:
    """Nothing seen, nothing shown, and no interval are three things."""
    gap = math.nan
    rows = compared(
        {
            "first": [1.0, 2.0, 3.0, 4.0],
            "tie": [1.0, 2.0, 3.0, 4.0],
            "noisy": [1.5, 1.0, 3.9, 4.1],
            "lower": [0.0, 1.1, 2.0, 3.05],
            "once": [2.0, gap, gap, gap],
            "never": [gap] * 4,
        }
    )
    assert {name: row.verdict for name, row in rows.items()} == {
        "tie": "no difference seen",
        "noisy": "no difference shown",
        "lower": "lower",
        "once": "no interval",
        "never": "no interval",
    }
    assert rows["tie"].p_value == 1.0
    assert math.isnan(rows["once"].p_value)


def test_verdicts_and_p_values_never_contradict() -> None:
    """A verdict of higher or lower goes with a corrected p-value below 0.05, and no other does."""
    rng = np.random.default_rng(1)
    for _ in range(200):
        noise = rng.normal(0.0, 1.0, 6)
        values = {"first": noise.tolist()}
        for name in "abc":
            values[name] = (noise + rng.normal(0.8, 1.0, 6)).tolist()
        for row in compared(values).values():
            assert (row.p_value < 0.05) == (row.verdict in ("higher", "lower"))


def test_all_intervals_hold_at_once_in_95_of_100_studies() -> None:
    """Five policies as good as the first: some interval excludes zero in few studies.

    Without the correction some do in about every sixth.
    """
    rng = np.random.default_rng(2)
    wrong = uncorrected = 0
    studies = 800
    for _ in range(studies):
        noise = rng.normal(0.0, 3.0, 10)
        values = {"first": (noise + rng.normal(0.0, 1.0, 10)).tolist()}
        for name in "abcde":
            values[name] = (noise + rng.normal(0.0, 1.0, 10)).tolist()
        wrong += any(row.difference.excludes_zero() for row in compared(values).values())
        uncorrected += any(
            paired_difference(values["first"], values[name]).excludes_zero() for name in "abcde"
        )
    assert wrong / studies < 0.05
    assert uncorrected / studies > 0.08
