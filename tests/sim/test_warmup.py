"""MSER-5 finds where a transient ends, and says so if it cannot."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ftrepo.policy import Policy
from sim.history import Floats
from sim.run import run
from sim.study.warmup import BATCH, binned, moving_average, mser, warm_up
from sim.world.scenario_file import load_scenario


def autoregressive(runs: int, length: int, *, memory: float, start: float, seed: int = 1) -> Floats:
    """AR(1) of mean 0 from a start far from it: X = memory · X before + noise of variance 1."""
    rng = np.random.default_rng(seed)
    series = np.empty((runs, length))
    state = np.full(runs, start)
    for step in range(length):
        series[:, step] = state
        state = memory * state + rng.normal(0.0, 1.0, runs)
    return series


def test_a_known_transient_is_cut_off() -> None:
    """The start decays as 100 · 0.95^t: below the noise of 10 runs, whose error is 1, at t = 90."""
    series = autoregressive(10, 1000, memory=0.95, start=100.0)
    result = warm_up(series, warmup_s=60.0 * 150, bin_s=60.0)
    assert result.converged
    assert 60 * 50 <= result.suggested_s <= 60 * 150
    assert result.enough
    assert not replace(result, warmup_s=60.0 * 40).enough
    cut = int(result.suggested_s / 60)
    before, after = series.mean(), series[:, cut:].mean()
    assert abs(after) < abs(before) / 2, "the bias is gone"


def test_a_series_without_a_transient_is_cut_little() -> None:
    """From its own distribution on, MSER leaves most of it in."""
    series = autoregressive(10, 1000, memory=0.5, start=0.0)
    result = warm_up(series, warmup_s=0.0, bin_s=1.0)
    assert result.converged
    assert result.suggested_s <= 250


def test_a_run_that_never_settles_is_too_short() -> None:
    """A steady rise has no end, and no warm-up is enough."""
    rising = np.linspace(0.0, 1.0, 500)[None, :].repeat(3, axis=0)
    result = warm_up(rising, warmup_s=1e9, bin_s=1.0)
    assert not result.converged
    assert not result.enough
    assert "make it longer" in str(result)


def test_a_constant_rest_is_cut_where_it_begins() -> None:
    """A step after 20 values is found to the batch, and rounding does not move it."""
    series = np.concatenate((np.zeros(20), np.full(180, 0.1)))
    statistic, cut = mser(series)
    assert cut == 20
    assert statistic[4] == 0
    assert len(statistic) == 200 // BATCH - BATCH


def test_too_little_cannot_be_judged() -> None:
    """Nor can a series with gaps."""
    with pytest.raises(ValueError, match="9 batches"):
        mser(np.zeros(49))
    with pytest.raises(ValueError, match="gaps"):
        mser(np.full(100, np.nan))


def test_the_moving_average_shifts_nothing() -> None:
    """A straight line stays where it is, also near the start, where the window is narrow."""
    line = np.arange(20.0)
    averaged = moving_average(line, window=4)
    assert averaged == pytest.approx(line[:16])
    assert moving_average(line, window=0) == pytest.approx(line)
    assert moving_average(np.array([0.0, 9.0, 0.0]), window=1)[1] == pytest.approx(3.0)
    with pytest.raises(ValueError, match="window"):
        moving_average(line, window=20)


def test_the_cache_of_a_run_fills_within_the_suggested_time() -> None:
    """Memory is full after one lifetime of keys, which MSER-5 finds; the first minute is too early.

    A condensed timeline is refused.
    """
    scenario = replace(
        load_scenario("default"), duration_s=12 * 3600.0, outages=(), condense=False, warmup_s=60.0
    )
    scenario = replace(
        scenario,
        traffic=replace(scenario.traffic, rate_per_s=0.02),
        keys=replace(scenario.keys, rotation_interval_s=300.0),
    )
    histories = [run(scenario, Policy(), replication=number).history for number in range(3)]
    entries = binned(histories)
    assert entries.shape == (3, 720)
    result = warm_up(entries, warmup_s=scenario.warmup_s)
    assert result.converged
    assert 0.5 * scenario.keys.lifetime_s < result.suggested_s < 1.5 * scenario.keys.lifetime_s
    assert not result.enough
    condensed = replace(
        histories[0], spans=tuple(replace(each, weight=2.0) for each in histories[0].spans)
    )
    with pytest.raises(ValueError, match="condense = false"):
        binned([condensed])
    with pytest.raises(ValueError, match="one length"):
        binned([histories[0], replace(histories[1], duration_s=3600.0)])


def test_a_bin_has_the_mean_of_what_held_in_it() -> None:
    """Weighted by time: 0 for 30 s and 4 for the rest of a minute is 2."""
    history = run(
        replace(load_scenario("default"), duration_s=300.0, warmup_s=0.0, outages=()), Policy()
    ).history
    samples = replace(
        history.samples,
        at_s=np.array([0.0, 30.0, 120.0]),
        cache_entries=np.array([0, 4, 1]),
        cache_bytes=np.zeros(3, dtype=np.int64),
        pending=np.zeros(3, dtype=np.int64),
        oldest_pending_age_s=np.zeros(3),
    )
    means = binned([replace(history, samples=samples)], bin_s=60.0)
    assert means.tolist() == [[2.0, 4.0, 1.0, 1.0, 1.0]]
