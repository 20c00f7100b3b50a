"""What a breaker's settings cost and bring: calls wasted on a failing primary, and time to return.

Theory is that of a clock: a breaker that has tripped probes at a fixed pace until a probe succeeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from scipy.special import ndtri

from ftrepo.policy import Policy
from sim.history import Floats, History
from sim.measures import MEASURES
from sim.overload import (
    breaker_closes_after_s,
    breaker_open_healthy_share,
    trips_s,
)

_QUANTILES = 4000


def outage_lengths_s(median_s: float, sigma: float) -> Floats:
    """Lengths of lognormal outages, evenly by probability: their mean is a mean over outages."""
    shares = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    lengths: Floats = median_s * np.exp(sigma * ndtri(shares))
    return lengths


def expected_wasted_attempts(
    lengths_s: Floats, *, calls_per_s: float, trips_after_s: float, open_s: float
) -> float:
    """Calls to a primary that refuses them, in the mean over outages: until the trip, then probes.

    Args:
        lengths_s: of the outages.
        calls_per_s: what is called while the breaker is closed.
        trips_after_s: how long after the start of an outage it opens.
        open_s: the pace of the probes.
    """
    before = calls_per_s * np.minimum(lengths_s, trips_after_s)
    probes = np.floor(np.maximum(0.0, lengths_s - trips_after_s) / open_s)
    return float(np.mean(before + probes))


def expected_closing_delay_s(lengths_s: Floats, *, trips_after_s: float, open_s: float) -> float:
    """From the end of an outage to the next probe, in the mean; half the pace in long outages.

    Args:
        lengths_s: of the outages; after those that end before the trip there is no delay.
        trips_after_s: how long after the start of an outage the breaker opens.
        open_s: the pace of the probes.
    """
    open_for_s = lengths_s - trips_after_s
    delays_s = np.ceil(open_for_s / open_s) * open_s - open_for_s
    return float(np.mean(np.where(open_for_s > 0, delays_s, 0.0)))


def trips_after_s(policy: Policy, calls_per_s: float, *, failing_share: float = 0.0) -> float:
    """How long after a total outage began a breaker trips, where calls fail at once.

    With a threshold: so many calls. With a rate r over a window W, and a share q that fails anyway:
    t seconds into the outage t/W + q(1 - t/W) of the calls in the window have failed.
    """
    after_s = [np.inf]
    if policy.breaker_failure_threshold is not None:
        after_s.append(policy.breaker_failure_threshold / calls_per_s)
    if policy.breaker_failure_rate is not None:
        beyond = max(0.0, policy.breaker_failure_rate - failing_share) / (1 - failing_share)
        after_s.append(policy.breaker_window_s * beyond)
    return float(min(after_s))


def open_pace_s(policy: Policy) -> float:
    """The mean time between two probes: the jitter takes up to its share away."""
    return policy.breaker_open_s * (1 - policy.breaker_open_jitter / 2)


def false_trips_per_h(history: History) -> float:
    """How often an hour without an outage the breaker opened although there was none."""
    false = np.count_nonzero(~history.in_outage(trips_s(history)))
    clipped = np.clip(history.outages, history.warmup_s, history.duration_s)
    away_s = float((clipped[:, 1] - clipped[:, 0]).sum())
    return float(false / (history.duration_s - history.warmup_s - away_s) * 3600)


_MEASURED = {each.name: each.compute for each in MEASURES}

BREAKER_FIGURES: Mapping[str, Callable[[History], float]] = {
    "availability": _MEASURED["availability"],
    "wasted_attempts_per_outage": _MEASURED["wasted_attempts_per_outage"],
    "breaker_closes_after_s": breaker_closes_after_s,
    "recovery_mean_s": _MEASURED["recovery_mean_s"],
    "breaker_trips": _MEASURED["breaker_trips"],
    "false_trips_per_h": false_trips_per_h,
    "breaker_open_healthy_share": breaker_open_healthy_share,
    "attempts_per_request": _MEASURED["attempts_per_request"],
}
"""Figures of a breaker; NaN for a run without an outage, where they are about one."""
