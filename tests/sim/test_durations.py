"""The distributions of up times, down times and latencies."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sim.world.durations import (
    Deterministic,
    Duration,
    Exponential,
    Lognormal,
    LognormalLatency,
    Weibull,
)
from sim.world.errors import InputError
from sim.world.streams import Streams

SIZE = 200_000

ALL: list[Duration] = [
    Deterministic(mean_s=60),
    Exponential(mean_s=60),
    Weibull(mean_s=60, shape=0.7),
    Weibull(mean_s=60, shape=3),
    Lognormal(median_s=60, sigma=0.6),
    LognormalLatency(median_s=0.002, p99_s=0.010),
]


def _assert_mean(drawn: np.ndarray, expected: float) -> None:
    error = float(drawn.std()) / math.sqrt(len(drawn))
    assert abs(float(drawn.mean()) - expected) <= 4 * error + 1e-12


@pytest.mark.parametrize("duration", ALL, ids=repr)
def test_the_mean_of_draws_is_mean_s(duration: Duration) -> None:
    """The mean that theory reads is the mean that simulation draws, within 4 standard errors."""
    _assert_mean(duration.draw(Streams(1).generator("d"), SIZE), duration.mean_s)


@pytest.mark.parametrize("duration", ALL, ids=repr)
def test_the_mean_residual_is_that_of_renewal_theory(duration: Duration) -> None:
    """The mean of what is left at a random moment is E[X²] / (2 E[X])."""
    rng = Streams(2).generator("d")
    whole = duration.draw(rng, 4 * SIZE)
    _assert_mean(
        duration.draw_residual(rng, SIZE), float((whole**2).mean()) / (2 * duration.mean_s)
    )


def test_the_residual_matches_a_simulated_process() -> None:
    """Residual times drawn directly have the quantiles of those seen in a long process."""
    duration = Lognormal(median_s=60, sigma=0.6)
    rng = Streams(3).generator("d")
    ends = np.cumsum(duration.draw(rng, SIZE))
    moments = rng.random(SIZE) * ends[-1]
    seen = ends[np.searchsorted(ends, moments, side="right")] - moments
    drawn = duration.draw_residual(rng, SIZE)
    shares = [0.1, 0.5, 0.9, 0.99]
    assert np.quantile(drawn, shares) == pytest.approx(np.quantile(seen, shares), rel=0.03)


def test_a_lognormal_latency_has_its_median_and_p99() -> None:
    """Both figures that name the distribution come out of the draws, within 2%."""
    drawn = LognormalLatency(median_s=0.002, p99_s=0.010).draw(Streams(4).generator("d"), SIZE)
    assert np.quantile(drawn, [0.5, 0.99]) == pytest.approx([0.002, 0.010], rel=0.02)


def test_longer_draws_begin_like_shorter_ones() -> None:
    """The first draws do not depend on how many are asked for at once."""
    for duration in ALL:
        short = duration.draw(Streams(5).generator("d"), 10)
        long = duration.draw(Streams(5).generator("d"), 1000)
        assert short.tolist() == long[:10].tolist()


def test_impossible_figures_are_refused_by_name() -> None:
    """Each message begins with the field that is wrong."""
    with pytest.raises(InputError, match="^mean_s must be above 0, not -1"):
        Exponential(mean_s=-1)
    with pytest.raises(InputError, match="^mean_s must be a finite number"):
        Deterministic(mean_s=math.inf)
    with pytest.raises(InputError, match="^shape must be at least"):
        Weibull(mean_s=1, shape=0)
    with pytest.raises(InputError, match="^sigma must be a finite number"):
        Lognormal(median_s=1, sigma=math.nan)
    with pytest.raises(InputError, match="^p99_s must be above median_s"):
        LognormalLatency(median_s=1, p99_s=1)
