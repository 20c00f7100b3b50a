"""The sync lag of keys that were made while the primary was away, and what it consists of.

Such a key waits for the end of the outage, which no policy can hasten, and then for the repository
to notice: until its breaker's next probe, or the next beat of its flush. The second part is called
the *wait* here: the part of the lag in which the primary could have had the key.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from sim.history import Floats, History, KeyEnd
from sim.measures import primary_attempts_during_outage_per_s, weighted_quantile


@dataclass(frozen=True, slots=True, kw_only=True)
class OutageLags:
    """One row for each key that was acknowledged during an outage and committed later.

    Attributes:
        lag_s: from acknowledged to committed.
        wait_s: the part of that in which there was no outage; zero if the key was committed
            while one lasted, as in a partial one, or by a hanging server as it woke.
    """

    lag_s: Floats
    wait_s: Floats


def outage_lags(history: History) -> OutageLags:
    """Return the lags of the keys made during outages, the warm-up left out."""
    keys = history.keys
    counted = (
        (keys.acknowledged_s >= history.warmup_s)
        & (keys.end == KeyEnd.COMMITTED)
        & history.in_outage(keys.acknowledged_s)
    )
    acknowledged_s = keys.acknowledged_s[counted]
    # A healthy primary has a key before its caller is told so.
    settled_s = np.maximum(acknowledged_s, keys.settled_s[counted])
    lag_s = settled_s - acknowledged_s
    away_s = _time_in(history.outages, settled_s) - _time_in(history.outages, acknowledged_s)
    return OutageLags(lag_s=lag_s, wait_s=np.maximum(0.0, lag_s - away_s))


def _time_in(outages: Floats, until_s: Floats) -> Floats:
    """How much of the time from 0 until each of these moments lay in outages."""
    corners_s = np.concatenate(([0.0], outages.ravel()))
    lengths_s = np.column_stack((np.zeros(len(outages)), outages[:, 1] - outages[:, 0])).ravel()
    return np.interp(until_s, corners_s, np.concatenate(([0.0], np.cumsum(lengths_s))))


def expected_share_committed(
    lag_s: Floats, *, median_s: float, sigma: float, longest_wait_s: float
) -> Floats:
    """The share of keys made during outages that the primary has after so long, in theory.

    A moment drawn evenly from outages of lognormal length D meets what is left of one, whose
    distribution is that of the residual life in renewal theory, ∫₀ˣ P(D > u) du / E[D] (Cox,
    Renewal Theory, 1962, section 5.2). On top comes a wait that is uniform up to `longest_wait_s`.

    Args:
        lag_s: the times to return the share at.
        median_s: of the outages' lengths.
        sigma: of the logarithm of these lengths.
        longest_wait_s: the interval of the probes or of the flush that notices the recovery.
    """
    waits_s = (np.arange(100) + 0.5) / 100 * longest_wait_s
    left_s = np.maximum(1e-9, np.asarray(lag_s)[:, None] - waits_s)
    standard = np.log(left_s / median_s) / sigma
    mean_s = median_s * math.exp(sigma**2 / 2)
    # ∫₀ˣ P(D > u) du = x P(D > x) + E[D; D ≤ x], by parts.
    shares = left_s / mean_s * ndtr(-standard) + ndtr(standard - sigma)
    mean: Floats = shares.mean(axis=1)
    return mean


def mean_wait_s(history: History) -> float:
    """Mean wait of the keys made during outages; NaN if there are none."""
    wait_s = outage_lags(history).wait_s
    return float(wait_s.mean()) if len(wait_s) else math.nan


def instant_share(history: History) -> float:
    """Share of the keys made during outages that were committed within a second; NaN if none."""
    lag_s = outage_lags(history).lag_s
    return float((lag_s < 1.0).mean()) if len(lag_s) else math.nan


def _quantile(column: str, q: float) -> Callable[[History], float]:
    def compute(history: History) -> float:
        values: Floats = getattr(outage_lags(history), column)
        return weighted_quantile(values, np.ones(len(values)), q)

    return compute


LAG_FIGURES: Mapping[str, Callable[[History], float]] = {
    "instant_share": instant_share,
    "outage_lag_p50_s": _quantile("lag_s", 0.50),
    "outage_lag_p99_s": _quantile("lag_s", 0.99),
    "outage_lag_max_s": _quantile("lag_s", 1.0),
    "wait_mean_s": mean_wait_s,
    "wait_p50_s": _quantile("wait_s", 0.50),
    "wait_p99_s": _quantile("wait_s", 0.99),
    "wait_max_s": _quantile("wait_s", 1.0),
    "primary_attempts_during_outage_per_s": primary_attempts_during_outage_per_s,
}
"""Figures of the keys made during outages, NaN for a run that made none; and what finding out that
the outage is over costs the primary."""
