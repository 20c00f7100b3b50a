"""What the primary is asked for nothing: by how many callers, and the bound that is set on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from ftrepo.fault_tolerant import RESERVED_SHARE
from ftrepo.policy import Policy
from ftrepo.resilience.call_budget import Urgency
from sim.history import History
from sim.measures import MEASURES


def primary_attempts_per_s(history: History) -> float:
    """Calls to the primary a second, in the measured time.

    All of them bring nothing if an outage fills that time, or if every id is made up.
    """
    edges_s = (history.warmup_s, history.duration_s)
    first, after = np.searchsorted(history.attempts_s, edges_s, side="left")
    return float(after - first) / measured_s(history)


def measured_s(history: History) -> float:
    """How long the run was after the warm-up."""
    return history.duration_s - history.warmup_s


def futile_calls_bound_per_s(policy: Policy, span_s: float) -> float:
    """The most calls a second that may bring nothing, in any stretch of time of this length.

    A full bucket and a rate: (capacity + rate · T) / T; see `ftrepo.resilience.call_budget`.
    Infinite where the policy sets no bound.
    """
    rate_per_s = policy.futile_calls_per_s_max
    if rate_per_s is None or policy.read_policy == "primary-only":
        return math.inf
    reads = policy.calls_in_flight_max
    return (reads + Urgency.READ * math.ceil(RESERVED_SHARE * reads)) / span_s + rate_per_s


_MEASURED = {each.name: each.compute for each in MEASURES}

LOAD_FIGURES: Mapping[str, Callable[[History], float]] = {
    "primary_attempts_per_s": primary_attempts_per_s,
    "availability": _MEASURED["availability"],
    "wrong_answers": _MEASURED["wrong_answers"],
}
"""Figures of a load; the availability is NaN where every id is made up."""
