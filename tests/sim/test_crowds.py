"""Flash crowds and steps: the rate is what the settings say, at every moment."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.world.condense import condense
from sim.world.crowds import FlashCrowd, Steps
from sim.world.errors import InputError
from sim.world.outages import Outage, OutageMode
from sim.world.streams import Streams

CROWD = FlashCrowd(
    rate_per_s=3.0, starts_s=(600.0, 1500.0), peak_factor=8.0, ramp_s=60.0, decay_s=300.0
)
STEPS = Steps(rates_per_s=(5.0, 0.0, 20.0), changes_s=(1000.0, 1500.0))

each_pattern = pytest.mark.parametrize("pattern", [CROWD, STEPS], ids=["crowd", "steps"])


@each_pattern
def test_arrivals_are_sorted_within_the_run_and_repeat(pattern: FlashCrowd | Steps) -> None:
    """The same stream gives the same times, in order, from 0 up to the end."""
    times = pattern.draw(Streams(1).generator("t"), 3000)
    assert len(times) > 1000
    assert (np.diff(times) >= 0).all()
    assert times[0] >= 0
    assert times[-1] < 3000
    assert times.tolist() == pattern.draw(Streams(1).generator("t"), 3000).tolist()


@each_pattern
@pytest.mark.parametrize("short_s", [620.0, 1200.0, 2000.0])
def test_a_longer_run_only_appends_arrivals(pattern: FlashCrowd | Steps, short_s: float) -> None:
    """The arrivals of a short run begin those of a long one, also if it ends in a crowd."""
    short = pattern.draw(Streams(2).generator("t"), short_s)
    long = pattern.draw(Streams(2).generator("t"), 20_000)
    assert long[: len(short)] == pytest.approx(short)
    assert long[len(short)] >= short_s


@each_pattern
def test_every_window_has_as_many_arrivals_as_the_rate_gives(pattern: FlashCrowd | Steps) -> None:
    """Over 200 replications, counts by the half minute have the mean and variance of Poisson's."""
    edges = np.arange(0.0, 3001.0, 30.0)
    counts = np.array(
        [
            np.histogram(pattern.draw(Streams(3, run).generator("t"), 3000), bins=edges)[0]
            for run in range(200)
        ]
    )
    middles = (np.arange(0.0, 3000.0, 0.05) + 0.025).reshape(-1, 600)
    expected = np.array([pattern.rate_at(row).mean() * 30.0 for row in middles])
    error = np.sqrt(np.maximum(expected, 1e-12) / 200)
    assert (abs(counts.mean(axis=0) - expected) <= 4.5 * error).all()
    some = expected > 0
    assert (counts.var(axis=0, ddof=1)[some] / expected[some]).mean() == pytest.approx(1, abs=0.05)


@given(
    st.floats(0.1, 5.0),
    st.floats(1.0, 30.0),
    st.floats(0.0, 200.0),
    st.floats(5.0, 500.0),
    st.lists(st.integers(0, 900), max_size=3, unique=True),
)
def test_the_expected_count_is_the_rate_summed_over_time(
    rate: float, peak: float, ramp_s: float, decay_s: float, starts: list[int]
) -> None:
    """The closed form and a sum over small steps agree, with crowds that overlap or cut off."""
    pattern = FlashCrowd(
        rate_per_s=rate,
        starts_s=tuple(map(float, sorted(starts))),
        peak_factor=peak,
        ramp_s=ramp_s,
        decay_s=decay_s,
    )
    step_s = 0.1
    moments = np.arange(0.0, 1000.0, step_s) + step_s / 2
    summed = float(pattern.rate_at(moments).sum() * step_s)
    assert pattern.expected_count(1000.0) == pytest.approx(summed, rel=2e-3)


def test_the_peak_is_where_the_rise_ends() -> None:
    """There the rate is the steady one times the factor; a decay later, 1/e of what came on top."""
    rates = CROWD.rate_at(np.array([599.0, 630.0, 660.0, 960.0]))
    assert rates == pytest.approx([3.0, 3.0 * 4.5, 24.0, 3.0 + 21.0 / math.e])


def test_a_crowd_that_is_cut_out_of_a_timeline_does_not_come() -> None:
    """Crowds come at real times: a condensed run has those of the time that it keeps."""
    outages = (Outage(50_000, 51_000, OutageMode.REFUSE),)
    timeline = condense(outages, 100_000, lead_s=3600, tail_s=1800)
    kept = FlashCrowd(rate_per_s=0.1, starts_s=(49_000.0,), peak_factor=100.0, decay_s=100.0)
    cut = FlashCrowd(rate_per_s=0.1, starts_s=(20_000.0,), peak_factor=100.0, decay_s=100.0)
    counts = [
        len(pattern.draw_on(Streams(4).generator("t"), timeline)) / timeline.duration_s
        for pattern in (kept, cut)
    ]
    assert counts[1] == pytest.approx(0.1, rel=0.15)
    assert counts[0] > 1.5 * counts[1]
    times = timeline.to_real(kept.draw_on(Streams(4).generator("t"), timeline))
    assert np.count_nonzero((times >= 49_000) & (times < 49_300)) > 500


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (lambda: FlashCrowd(rate_per_s=0, starts_s=()), "rate_per_s must be above 0"),
        (lambda: FlashCrowd(rate_per_s=1, starts_s=(), peak_factor=0.5), "peak_factor must be at"),
        (lambda: FlashCrowd(rate_per_s=1, starts_s=(5.0, 5.0)), "starts_s must be in order"),
        (lambda: FlashCrowd(rate_per_s=1, starts_s=(-1.0,)), "starts_s must be finite times of at"),
        (lambda: FlashCrowd(rate_per_s=1, starts_s=(), decay_s=0), "decay_s must be above 0"),
        (lambda: Steps(rates_per_s=(1.0, 2.0)), "changes_s must have one time fewer"),
        (lambda: Steps(rates_per_s=(0.0,)), "rates_per_s must be 0 or more, one above"),
        (lambda: Steps(rates_per_s=(1.0, -2.0), changes_s=(1.0,)), "rates_per_s must be 0 or more"),
        (lambda: Steps(rates_per_s=(1.0, math.inf), changes_s=(1.0,)), "rates_per_s must be 0 or"),
    ],
)
def test_impossible_crowds_are_refused_by_name(make: object, wrong: str) -> None:
    """The message names the setting."""
    assert callable(make)
    with pytest.raises(InputError, match=wrong):
        make()


def test_a_peak_in_wrong_units_is_refused() -> None:
    """More arrivals than fit in memory end in a sentence."""
    with pytest.raises(InputError, match="lower its rate or the duration"):
        FlashCrowd(rate_per_s=100.0, starts_s=(1.0,), peak_factor=1e6).draw(
            Streams(5).generator("t"), 10
        )
