"""Lags of keys made during outages, and the growth of memory and backlog, from known histories."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from sim.history import Creates, Gets, History, KeyEnd, Keys, Samples, Span
from sim.study.growth import (
    bytes_per_key,
    expected_entries,
    longest_full_outage,
    mean_entries,
    pending_after_start,
    state_at,
)
from sim.study.lags import LAG_FIGURES, expected_share_committed, mean_wait_s, outage_lags
from sim.world.outages import Outage, OutageMode
from sim.world.scenario_file import load_scenario

EMPTY = np.zeros(0)


def history(
    keys: Sequence[tuple[float, float, KeyEnd]] = (),
    outages: Sequence[tuple[float, float]] = (),
    samples: Sequence[tuple[float, int]] = ((0.0, 0),),
    spans: tuple[Span, ...] = (),
) -> History:
    """A run of 100 s, the first 10 of them warm-up: keys, outages, and entries (also pending)."""
    at_s = np.array([row[0] for row in samples])
    entries = np.array([row[1] for row in samples])
    return History(
        warmup_s=10.0,
        duration_s=100.0,
        gets=Gets(
            at_s=EMPTY,
            latency_s=EMPTY,
            outcome=EMPTY.astype(np.uint8),
            eligible=EMPTY.astype(np.bool_),
        ),
        creates=Creates(at_s=EMPTY, latency_s=EMPTY, outcome=EMPTY.astype(np.uint8)),
        keys=Keys(
            acknowledged_s=np.array([row[0] for row in keys]),
            settled_s=np.array([row[1] for row in keys]),
            visible_s=np.array([row[1] for row in keys]),
            end=np.array([row[2] for row in keys], dtype=np.uint8),
        ),
        samples=Samples(
            at_s=at_s,
            cache_entries=entries,
            cache_bytes=600 * entries,
            pending=entries,
            oldest_pending_age_s=np.zeros(len(at_s)),
        ),
        outages=np.array(outages, dtype=float).reshape(-1, 2),
        attempts_s=EMPTY,
        spans=spans,
    )


COMMITTED = KeyEnd.COMMITTED


def test_a_lag_is_what_is_left_of_the_outage_and_a_wait() -> None:
    """A key made 15 s before the end of an outage and committed 3 s after it waited for 3 s."""
    lags = outage_lags(history([(25.0, 43.0, COMMITTED)], [(20.0, 40.0)]))
    assert lags.lag_s.tolist() == [18.0]
    assert lags.wait_s.tolist() == [3.0]


def test_a_wait_leaves_out_an_outage_that_begins_during_it() -> None:
    """Nobody can write during the second outage either: only the time between them is a wait."""
    lags = outage_lags(history([(25.0, 62.0, COMMITTED)], [(20.0, 40.0), (41.0, 60.0)]))
    assert lags.lag_s.tolist() == [37.0]
    assert lags.wait_s.tolist() == [3.0]


def test_a_key_committed_during_its_outage_did_not_wait() -> None:
    """In a partial outage a write may get through at once."""
    lags = outage_lags(history([(25.0, 25.5, COMMITTED)], [(20.0, 40.0)]))
    assert lags.lag_s.tolist() == [0.5]
    assert lags.wait_s.tolist() == [0.0]


def test_a_key_committed_before_its_acknowledgement_did_not_wait() -> None:
    """The answer of a partial outage may come late, long after the commit."""
    lags = outage_lags(history([(38.0, 22.0, COMMITTED)], [(20.0, 40.0)]))
    assert lags.lag_s.tolist() == [0.0]
    assert lags.wait_s.tolist() == [0.0]


def test_other_keys_are_left_out() -> None:
    """Keys of the warm-up, of healthy time, and those that never arrived have no such lag."""
    rows = [
        (5.0, 42.0, COMMITTED),
        (50.0, 50.1, COMMITTED),
        (25.0, 30.0, KeyEnd.EXPIRED),
        (26.0, math.nan, KeyEnd.LOST),
    ]
    one = history(rows, [(2.0, 40.0)])
    assert not len(outage_lags(one).lag_s)
    figures = {name: compute(one) for name, compute in LAG_FIGURES.items()}
    rate = figures.pop("primary_attempts_during_outage_per_s")
    assert rate == 0.0
    assert all(math.isnan(figure) for figure in figures.values())


def test_without_outages_there_are_no_such_keys() -> None:
    """A healthy run gives empty columns, not an error."""
    assert not len(outage_lags(history([(50.0, 50.1, COMMITTED)])).lag_s)


def test_the_figures_of_lags() -> None:
    """Mean, quantiles and the share that is written within a second."""
    rows = [(30.0, 30.5, COMMITTED), (31.0, 41.0, COMMITTED), (32.0, 43.0, COMMITTED)]
    one = history(rows, [(20.0, 40.0)])
    assert mean_wait_s(one) == pytest.approx((0 + 1 + 3) / 3)
    assert LAG_FIGURES["outage_lag_p50_s"](one) == 10.0
    assert LAG_FIGURES["outage_lag_max_s"](one) == 11.0
    assert LAG_FIGURES["wait_max_s"](one) == 3.0
    assert LAG_FIGURES["instant_share"](one) == pytest.approx(1 / 3)


def test_theory_agrees_with_drawn_outages() -> None:
    """Moments drawn evenly from many lognormal outages, and a uniform wait, give the formula."""
    rng = np.random.default_rng(1)
    lengths_s = rng.lognormal(math.log(75.0), 0.6, 4000)
    ends_s = np.cumsum(lengths_s)
    moments_s = np.sort(rng.random(200_000)) * ends_s[-1]
    left_s = ends_s[np.searchsorted(ends_s, moments_s)] - moments_s
    lags_s = left_s + 5.0 * rng.random(len(left_s))
    grid_s = np.array([1.0, 5.0, 20.0, 60.0, 150.0, 400.0])
    drawn = [(lags_s <= each).mean() for each in grid_s]
    theory = expected_share_committed(grid_s, median_s=75.0, sigma=0.6, longest_wait_s=5.0)
    assert theory == pytest.approx(drawn, abs=0.01)


def test_mean_entries_weigh_time() -> None:
    """A sample holds until the next one; the warm-up does not count."""
    samples = [(0.0, 100), (10.0, 4), (40.0, 1)]
    assert mean_entries(history(samples=samples)) == pytest.approx((30 * 4 + 60 * 1) / 90)


def test_mean_entries_weigh_condensed_time() -> None:
    """A second that stands for ten counts ten times."""
    spans = (
        Span(start_s=0.0, end_s=40.0, weight=10.0),
        Span(start_s=40.0, end_s=100.0, weight=1.0),
    )
    samples = [(0.0, 100), (10.0, 4), (40.0, 1)]
    mean = mean_entries(history(samples=samples, spans=spans))
    assert mean == pytest.approx((10 * 30 * 4 + 60 * 1) / (10 * 30 + 60))


def test_the_state_holds_between_samples() -> None:
    """Before the first sample the first holds."""
    one = history(samples=[(5.0, 1), (10.0, 2)])
    assert state_at(one, "cache_entries", np.array([0.0, 5.0, 9.9, 10.0, 50.0])).tolist() == [
        1.0,
        1.0,
        1.0,
        2.0,
        2.0,
    ]


def test_bytes_per_key() -> None:
    """A cache that was always empty has no size per key."""
    assert bytes_per_key(history(samples=[(0.0, 2), (5.0, 1)])) == 600.0
    assert math.isnan(bytes_per_key(history()))


def test_pending_is_followed_until_the_outage_ends() -> None:
    """From the end of the outage on there is nothing to follow."""
    one = history(samples=[(0.0, 0), (22.0, 1), (30.0, 2)])
    outage = Outage(20.0, 40.0, OutageMode.REFUSE)
    depth = pending_after_start(one, outage, np.array([0.0, 2.0, 10.0, 20.0]))
    assert depth[:3].tolist() == [0.0, 1.0, 2.0]
    assert math.isnan(depth[3])


def test_a_full_outage_lets_no_call_through() -> None:
    """The longest one that refuses or hangs; slow and partial ones do not count."""
    outages = [
        Outage(0.0, 10.0, OutageMode.REFUSE),
        Outage(20.0, 35.0, OutageMode.HANG),
        Outage(40.0, 90.0, OutageMode.ERROR_RATE, 0.5),
        Outage(90.0, 99.0, OutageMode.SLOW),
    ]
    assert longest_full_outage(outages) == outages[1]
    assert longest_full_outage(outages[2:]) is None


def test_little_law_of_a_scenario() -> None:
    """Instances times lifetime over rotation interval."""
    scenario = load_scenario("default")
    keys = replace(scenario.keys, peers=9, rotation_interval_s=600.0, lifetime_s=6000.0)
    assert expected_entries(replace(scenario, keys=keys)) == pytest.approx(100.0)
    fleet = replace(scenario.service, instances=4)
    keys = replace(keys, peers=0)
    assert expected_entries(replace(scenario, keys=keys, service=fleet)) == pytest.approx(40.0)
    fleet = replace(fleet, deploy_every_s=1200.0, crash_every_s=6000.0)
    assert expected_entries(replace(scenario, keys=keys, service=fleet)) == pytest.approx(64.0), (
        "four instances make 20 keys more by deploys in a lifetime, and 4 by crashes"
    )
