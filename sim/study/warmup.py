"""How much of a run's start to leave out: MSER-5, and the moving average to look at beside it.

A run begins with an empty cache and one key. Until that has been forgotten, its figures are of the
start and not of the long run. Where to cut is a trade: cutting less leaves bias, cutting more
leaves less to average. MSER (White, Simulation 69, 1997) takes the cut after which the standard
error of the mean of the rest is least; MSER-5 (White, Cobb and Spratt, Winter Simulation Conference
2000) first averages the series in batches of five, which makes it less jumpy. A least value in the
second half rests on few batches and means that the run is too short to tell (White and Robinson,
Journal of Simulation 4, 2010).

The series is a state of the service in bins of time, averaged over replications, which takes most
of the noise out and leaves the transient, as in Welch's method (Welch 1983; Law, Simulation
Modeling and Analysis, 5th ed. 2015, section 9.5). Only whole timelines will do: in a condensed one,
time stands for more time in some places than in others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sim.history import Floats, History

BATCH = 5
"""So many bins are averaged before MSER looks at them: the 5 of MSER-5."""

BATCHES_MIN = 10
"""Fewer batches than this cannot tell a transient from chance."""

BIN_S = 60.0
"""The width of a bin when nobody says otherwise."""

ROUNDING = 1e-9
"""A series that varies by no more than this share of itself does not vary."""

LONGEST_SHARE = 0.5
"""A cut after more than this share of the run means that the run is too short to tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmUp:
    """What MSER-5 says of a scenario's warm-up.

    Attributes:
        suggested_s: the least warm-up; NaN if the run was too short to tell.
        converged: whether the run was long enough to tell.
        warmup_s: the scenario's.
    """

    suggested_s: float
    converged: bool
    warmup_s: float

    @property
    def enough(self) -> bool:
        """Whether the scenario leaves out at least what is suggested."""
        return self.converged and self.warmup_s >= self.suggested_s

    def __str__(self) -> str:
        if not self.converged:
            return (
                "MSER-5 finds no end of the transient in the first "
                f"{LONGEST_SHARE:.0%} of the run: make it longer"
            )
        verdict = "enough" if self.enough else "TOO SHORT"
        return (
            f"MSER-5 suggests a warm-up of at least {self.suggested_s:g} s; "
            f"{self.warmup_s:g} s is {verdict}"
        )


def mser(series: Floats, *, batch: int = BATCH) -> tuple[Floats, int]:
    """The statistic for every cut, and the cut at which it is least.

    MSER(d) = Σ(z - mean)² / (k - d)² over the batch means z after the first d of k: the square of
    the standard error of their mean, but for a factor near 1.

    Args:
        series: values at equal distances of time; a rest that fills no batch is left out.
        batch: how many are averaged before.

    Returns:
        The statistic for d = 0, 1, …, without the last `BATCH` ones, which rest on next to nothing;
        and the cut in values of the series, a multiple of `batch`, the first if several are least.

    Raises:
        ValueError: there are fewer than `BATCHES_MIN` batches, or a value is NaN.
    """
    count = len(series) // batch
    if count < BATCHES_MIN:
        raise ValueError(
            f"{len(series)} values make {count} batches of {batch}; MSER needs {BATCHES_MIN}"
        )
    if np.isnan(series).any():
        raise ValueError("the series has gaps: every bin needs a value")
    means = series[: count * batch].reshape(count, batch).mean(axis=1)
    statistic = np.array(
        [((means[cut:] - means[cut:].mean()) ** 2).mean() / (count - cut) for cut in range(count)]
    )[:-BATCH]
    # A rest that is constant but for rounding is constant, and the first cut before it is meant.
    statistic[statistic < ROUNDING**2 * (means**2).mean()] = 0.0
    return statistic, int(np.argmin(statistic)) * batch


def warm_up(series: Floats, *, warmup_s: float, bin_s: float = BIN_S) -> WarmUp:
    """Say how much of the start to leave out, and whether a scenario does.

    Args:
        series: a state by replication and bin, shape (replications, bins), from `binned`.
        warmup_s: what the scenario leaves out.
        bin_s: the width of the bins.

    Raises:
        ValueError: there are fewer than `BATCHES_MIN` batches of `BATCH` bins, or there are gaps.
    """
    mean = np.atleast_2d(series).mean(axis=0)
    _, cut = mser(mean)
    converged = cut <= LONGEST_SHARE * len(mean)
    suggested_s = cut * bin_s if converged else math.nan
    return WarmUp(suggested_s=suggested_s, converged=bool(converged), warmup_s=warmup_s)


def binned(
    histories: Sequence[History], column: str = "cache_entries", *, bin_s: float = BIN_S
) -> Floats:
    """A column of the samples in equal bins of time: shape (replications, bins).

    A bin has the time-weighted mean of the state in it; each sample holds until the next one. A
    rest of the run that fills no bin is left out.

    Args:
        histories: one of each replication, all of one length.
        column: of `Samples`.
        bin_s: the width of a bin, in seconds.

    Raises:
        ValueError: a timeline is condensed, or the runs differ in length.
    """
    if any(span.weight != 1.0 for history in histories for span in history.spans):
        raise ValueError(
            "the timeline is condensed, and time has gaps: set condense = false in the scenario"
        )
    counts = {math.floor(history.duration_s / bin_s) for history in histories}
    if len(counts) != 1:
        raise ValueError(f"the runs must be of one length, and have {sorted(counts)} bins")
    edges_s: Floats = np.arange(counts.pop() + 1, dtype=np.float64) * bin_s
    return np.stack([_bin_means(history, column, edges_s) for history in histories])


def moving_average(series: Floats, *, window: int) -> Floats:
    """Welch's moving average of a series, to look at: as long as the series less half a window.

    Near the start the window is as wide as the start allows, so that nothing is shifted.

    Args:
        series: averaged over replications.
        window: how many values on either side are averaged with each; 0 for none.

    Raises:
        ValueError: the window is negative, or wider than the series.
    """
    if not 0 <= window < len(series):
        raise ValueError(f"a window must be between 0 and {len(series) - 1}, not {window}")
    sums = np.concatenate(([0.0], np.cumsum(series)))
    middle = np.arange(len(series) - window)
    reach = np.minimum(middle, window)
    averaged: Floats = (sums[middle + reach + 1] - sums[middle - reach]) / (2 * reach + 1)
    return averaged


def _bin_means(history: History, column: str, edges_s: Floats) -> Floats:
    samples = history.samples
    at_s, values = samples.at_s, getattr(samples, column).astype(float)
    # The integral of a step function, at the samples and between them at the edges.
    integral = np.concatenate(([0.0], np.cumsum(np.diff(at_s) * values[:-1])))
    index = np.clip(np.searchsorted(at_s, edges_s, side="right") - 1, 0, None)
    at_edges = integral[index] + (edges_s - at_s[index]) * values[index]
    means: Floats = np.diff(at_edges) / np.diff(edges_s)
    return means
