"""The lengths of outages as closed forms need them: evenly by probability.

A form is then a mean over outages, whatever distribution they have, and a recorded trace may stand
in for a distribution: its lengths are an array like any other.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from sim.history import Floats
from sim.world.durations import AnyDuration, Deterministic, Exponential, Lognormal

LENGTHS = 20_000
"""How many lengths stand for a distribution. The mean of an exponential is then right to 1 in
20,000, its mean square to 1 in 3,000; what the longest outage in 20,000 does is left out."""


def outage_lengths_s(duration: AnyDuration, *, count: int = LENGTHS) -> Floats:
    """Return the quantiles of a distribution at the middles of `count` equal shares, ascending.

    Source: the inverse of each distribution function.
    """
    shares = (np.arange(count) + 0.5) / count
    match duration:
        case Deterministic():
            return np.full(count, duration.mean_s)
        case Exponential():
            return -duration.mean_s * np.log1p(-shares)
        case Lognormal():
            lengths: Floats = duration.median_s * np.exp(duration.sigma * ndtri(shares))
            return lengths
        case _:
            return duration.scale_s * (-np.log1p(-shares)) ** (1 / duration.shape)


def mean_residual_s(lengths_s: Floats) -> float:
    """Mean of what is left of an outage at a moment drawn evenly from outages: E[D²] / 2E[D].

    Source: renewal theory, Cox, Renewal Theory, 1962, section 5.2. A moment falls into a long
    outage more often than into a short one, so this is more than half of the mean length.
    """
    return float(np.mean(lengths_s**2) / (2 * np.mean(lengths_s)))


def residual_share(lengths_s: Floats, within_s: Floats) -> Floats:
    """P(what is left of an outage ≤ x) = E[min(D, x)] / E[D], at each of these times.

    Source: the same; ∫₀ˣ P(D > u) du = E[min(D, x)].
    """
    ascending = np.sort(lengths_s)
    cumulated = np.concatenate(([0.0], np.cumsum(ascending)))
    shorter = np.searchsorted(ascending, within_s, side="right")
    times_s = np.maximum(0.0, within_s)
    capped_s = cumulated[shorter] + times_s * (len(ascending) - shorter)
    shares: Floats = capped_s / cumulated[-1]
    return shares


def mean_beyond_s(lengths_s: Floats, threshold_s: float) -> float:
    """E[(D - t)⁺]: how much of an outage lies more than t after its start, in the mean."""
    return float(np.mean(np.maximum(0.0, lengths_s - threshold_s)))
