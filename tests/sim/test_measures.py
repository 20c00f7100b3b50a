"""Figures from a history that is small enough to be worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.history import (
    CreateOutcome,
    Creates,
    GetOutcome,
    Gets,
    History,
    KeyEnd,
    Keys,
    Samples,
    Span,
)
from sim.measures import MEASURES, measure, weighted_quantile

RIGHT, UNAVAILABLE, GAVE_UP = GetOutcome.RIGHT, GetOutcome.UNAVAILABLE, GetOutcome.GAVE_UP


def floats(*values: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """A column."""
    return np.array(values, dtype=float)


HISTORY = History(
    warmup_s=10.0,
    duration_s=110.0,
    gets=Gets(
        #            warm-up  ok    fails  fails  ok    forged  ok
        at_s=floats(5.0, 20.0, 30.2, 30.7, 50.0, 55.0, 100.0),
        latency_s=floats(9.0, 0.1, 0.5, 1.0, 0.3, 7.0, 0.2),
        outcome=np.array(
            [GAVE_UP, RIGHT, UNAVAILABLE, GAVE_UP, RIGHT, RIGHT, RIGHT], dtype=np.uint8
        ),
        eligible=np.array([True, True, True, True, True, False, True]),
    ),
    creates=Creates(
        at_s=floats(1.0, 40.0, 60.0, 80.0),
        latency_s=floats(9.0, 0.5, 0.002, 0.004),
        outcome=np.array(
            [
                CreateOutcome.FAILED,
                CreateOutcome.MEMORY,
                CreateOutcome.FAILED,
                CreateOutcome.PRIMARY,
            ],
            dtype=np.uint8,
        ),
    ),
    keys=Keys(
        acknowledged_s=floats(2.0, 40.0, 41.0, 80.0, 90.0),
        settled_s=floats(99.0, 70.0, math.nan, 79.9, 95.0),
        visible_s=floats(99.0, 72.0, math.nan, 80.0, math.nan),
        end=np.array(
            [KeyEnd.COMMITTED, KeyEnd.COMMITTED, KeyEnd.LOST, KeyEnd.COMMITTED, KeyEnd.EXPIRED],
            dtype=np.uint8,
        ),
    ),
    samples=Samples(
        at_s=floats(0.0, 20.0, 100.0),
        cache_entries=np.array([99, 3, 4]),
        cache_bytes=np.array([9900, 300, 400]),
        pending=np.array([50, 2, 0]),
        oldest_pending_age_s=floats(0.0, 7.0, 0.0),
    ),
    outages=np.array([[30.0, 60.0]]),
    attempts_s=floats(5.0, 29.9, 30.0, 45.0, 59.0, 60.0, 80.0, 109.0),
)


def test_every_figure_of_a_small_history() -> None:
    """Worked out by hand; the warm-up and the forged token count nowhere."""
    figures = measure(HISTORY)
    assert list(figures) == [each.name for each in MEASURES]
    assert figures["availability"] == pytest.approx(3 / 5)
    assert figures["availability_time"] == pytest.approx(99 / 100)
    assert figures["create_availability"] == pytest.approx(2 / 3)
    assert figures["sync_lag_p50_s"] == 5.0
    assert figures["sync_lag_p99_s"] == figures["sync_lag_max_s"] == 30.0
    assert (figures["cache_entries_max"], figures["cache_bytes_max"]) == (4, 400)
    assert figures["pending_max"] == 2
    assert (figures["lost_keys"], figures["expired_pending_keys"]) == (1, 1)
    assert figures["wrong_answers"] == 0
    assert figures["primary_attempts_during_outage_per_s"] == pytest.approx(3 / 30)
    assert figures["primary_attempts_after_outage_per_s"] == pytest.approx(3 / 50)
    assert (figures["get_latency_p50_s"], figures["get_latency_max_s"]) == (0.3, 1.0)
    assert figures["create_latency_max_s"] == 0.5


def test_condensed_time_counts_by_its_weight() -> None:
    """A second that stands for ten counts ten times, in every share and quantile."""
    spans = (
        Span(start_s=0.0, end_s=25.0, weight=10.0),
        Span(start_s=25.0, end_s=110.0, weight=1.0),
    )
    figures = measure(replace(HISTORY, spans=spans))
    assert figures["availability"] == pytest.approx(12 / 14)
    assert figures["availability_time"] == pytest.approx(1 - 1 / (15 * 10 + 85))
    assert figures["get_latency_p50_s"] == 0.1


def test_a_figure_that_does_not_exist_is_nan() -> None:
    """No outage has no rate of attempts; no key has no lag."""
    quiet = replace(
        HISTORY,
        outages=np.empty((0, 2)),
        keys=Keys(
            acknowledged_s=floats(),
            settled_s=floats(),
            visible_s=floats(),
            end=np.array([], dtype=np.uint8),
        ),
    )
    figures = measure(quiet)
    assert math.isnan(figures["primary_attempts_during_outage_per_s"])
    assert math.isnan(figures["sync_lag_p99_s"])
    assert figures["lost_keys"] == 0


def test_the_recovery_burst_ends_where_the_next_outage_begins() -> None:
    """What is tried in the next outage is not a burst after the first."""
    flapping = replace(HISTORY, outages=np.array([[30.0, 58.0], [59.0, 59.5]]))
    figures = measure(flapping)
    assert figures["primary_attempts_after_outage_per_s"] == pytest.approx(3 / (1 + 50.5))


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 5)), min_size=1, max_size=30),
    st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]),
)
def test_a_weight_of_n_is_the_value_n_times(pairs: list[tuple[int, int]], q: float) -> None:
    """The weighted quantile is the plain one of the repeated values."""
    values, weights = (floats(*column) for column in zip(*pairs, strict=True))
    repeated = np.repeat(values, weights.astype(int))
    plain = np.quantile(repeated, q, method="inverted_cdf")
    assert weighted_quantile(values, weights, q) == plain
