"""Retry storms: what callers who repeat add to a load, and whether a server gets over it.

A server that works through what nobody waits for any more stays overloaded after the cause of the
overload is gone: a metastable failure (Bronson et al., Metastable failures in distributed systems,
HotOS 2021). Theory here is that of a fluid: rates without chance, which is what matters while a
queue is long.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from sim.history import Floats, GetOutcome, History
from sim.measures import MEASURES
from sim.overload import breaker_closes_after_s, rate_over_time
from sim.world.callers import CallerSettings
from sim.world.scenario import Scenario

END_S = 60.0
"""The end of a run, at which a failure that outlived its cause is looked for: a minute."""


def end_availability(history: History) -> float:
    """Share of the requests in the last minute of a run that came out right."""
    gets = history.gets
    late = gets.eligible & (gets.at_s >= history.duration_s - END_S)
    right = gets.outcome[late] == GetOutcome.RIGHT
    return float(right.mean()) if len(right) else math.nan


def end_load_per_s(history: History) -> float:
    """Calls to the primary a second in the last minute of a run."""
    start_s = history.duration_s - END_S
    rates = rate_over_time(history.attempts_s, start_s, history.duration_s, END_S)
    return float(rates[0])


def served_per_s(history: History, window_s: float) -> Floats:
    """Requests a second that came out right, by the window in which they did."""
    gets = history.gets
    right = gets.outcome == GetOutcome.RIGHT
    done_s = np.sort(gets.at_s[right] + gets.latency_s[right])
    return rate_over_time(done_s, 0.0, history.duration_s, window_s)


def called_per_s(history: History, window_s: float) -> Floats:
    """Calls to the primary a second, by window."""
    return rate_over_time(history.attempts_s, 0.0, history.duration_s, window_s)


def amplification(failing_share: float, caller: CallerSettings) -> float:
    """Attempts at a request in the mean: 1 + p + p² + …, at most 1 + the ratio of the budget.

    Every attempt fails with the same probability p, independently. The budget's bound is that of
    Brooker, Fixing retries with token buckets and circuit breakers, 2022.
    """
    unbounded = sum(failing_share**number for number in range(caller.attempts_max))
    if caller.retry_budget_ratio is None:
        return unbounded
    return min(unbounded, 1 + caller.retry_budget_ratio)


def load_of_storm_per_s(scenario: Scenario) -> float:
    """Calls a second when every attempt fails: the arrivals times the amplification."""
    return scenario.traffic.mean_rate_per_s * amplification(1.0, scenario.caller)


def drained_after_s(scenario: Scenario, away_s: float) -> float:
    """How long after an outage a first-come-first-served server is in time again, as a fluid.

    All calls made in the outage wait as it ends. Until the queue is shorter than callers wait,
    every attempt fails and is repeated. Infinite where the load of the storm exceeds the capacity:
    then it feeds itself.
    """
    capacity, load = scenario.primary.capacity_per_s, load_of_storm_per_s(scenario)
    if load >= capacity:
        return math.inf
    most = scenario.primary.queue_max or math.inf
    queued = min(most, load * away_s) - capacity * scenario.caller.deadline_s
    return max(0.0, queued) / (capacity - load)


_MEASURED = {each.name: each.compute for each in MEASURES}

STORM_FIGURES: Mapping[str, Callable[[History], float]] = {
    "availability": _MEASURED["availability"],
    "end_availability": end_availability,
    "attempts_per_request": _MEASURED["attempts_per_request"],
    "primary_attempts_max_per_s": _MEASURED["primary_attempts_max_per_s"],
    "end_load_per_s": end_load_per_s,
    "goodput_per_s": _MEASURED["goodput_per_s"],
    "recovery_mean_s": _MEASURED["recovery_mean_s"],
    "unrecovered_share": _MEASURED["unrecovered_share"],
    "breaker_closes_after_s": breaker_closes_after_s,
    "wrong_answers": _MEASURED["wrong_answers"],
}
"""Figures of a storm; what a run has not is NaN."""
