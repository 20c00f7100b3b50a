"""From what happened in a run to the figures that a decision is made from.

Nothing here knows how the history was made. Where a figure does not exist (a quantile of no
values, a rate during no outage) it is NaN, never a guess.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sim.causes import CAUSE_WORDS, failed_share, measure_of
from sim.history import CreateOutcome, Flags, Floats, GetOutcome, History, KeyEnd
from sim.overload import (
    attempts_per_request,
    breaker_false_trips,
    breaker_open_share,
    breaker_trips,
    goodput_per_s,
    primary_attempts_max_per_s,
    recovery_mean_s,
    unrecovered_share,
    wasted_attempts_per_outage,
)

WINDOW_S = 1.0
"""The window of availability by time."""

BURST_S = 60.0
"""How long after an outage its recovery burst is looked for: a minute."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure of a run.

    Attributes:
        name: its key in tables and JSON; ends in its unit if it has one.
        doc: what it is, in one sentence.
        compute: from a history to the figure.
        kind: "share" if it lies between 0 and 1 and is better high, else "amount".
    """

    name: str
    doc: str
    compute: Callable[[History], float]
    kind: str = "amount"


def availability(history: History) -> float:
    """Share of eligible `get` calls that returned the right key within the caller's deadline."""
    counted, right = _counted(history), history.gets.outcome == GetOutcome.RIGHT
    weights = history.weights(history.gets.at_s)
    return _ratio(weights[counted & right].sum(), weights[counted].sum())


def availability_time(history: History) -> float:
    """Share of one-second windows without a failed `get`."""
    failed = _counted(history) & (history.gets.outcome != GetOutcome.RIGHT)
    windows = np.unique(np.floor(history.gets.at_s[failed] / WINDOW_S)) * WINDOW_S
    lost_s = (history.weights(windows) * WINDOW_S).sum()
    return max(0.0, 1.0 - _ratio(lost_s, _measured_s(history)))


def create_availability(history: History) -> float:
    """Share of `create` calls that were acknowledged."""
    creates = history.creates
    counted = creates.at_s >= history.warmup_s
    weights = history.weights(creates.at_s)
    done = creates.outcome != CreateOutcome.FAILED
    return _ratio(weights[counted & done].sum(), weights[counted].sum())


def _sync_lag(q: float) -> Callable[[History], float]:
    def compute(history: History) -> float:
        keys = history.keys
        counted = (keys.acknowledged_s >= history.warmup_s) & ~np.isnan(keys.settled_s)
        acknowledged_s = keys.acknowledged_s[counted]
        lags_s = np.maximum(0.0, keys.settled_s[counted] - acknowledged_s)
        return weighted_quantile(lags_s, history.weights(acknowledged_s), q)

    return compute


def _visibility_lag(q: float) -> Callable[[History], float]:
    def compute(history: History) -> float:
        keys = history.keys
        counted = (keys.acknowledged_s >= history.warmup_s) & ~np.isnan(keys.visible_s)
        acknowledged_s = keys.acknowledged_s[counted]
        lags_s = keys.visible_s[counted] - acknowledged_s
        return weighted_quantile(lags_s, history.weights(acknowledged_s), q)

    return compute


def _get_latency(q: float) -> Callable[[History], float]:
    def compute(history: History) -> float:
        counted, gets = _counted(history), history.gets
        weights = history.weights(gets.at_s[counted])
        return weighted_quantile(gets.latency_s[counted], weights, q)

    return compute


def _create_latency(q: float) -> Callable[[History], float]:
    def compute(history: History) -> float:
        creates = history.creates
        counted = creates.at_s >= history.warmup_s
        weights = history.weights(creates.at_s[counted])
        return weighted_quantile(creates.latency_s[counted], weights, q)

    return compute


def _largest(column: str) -> Callable[[History], float]:
    def compute(history: History) -> float:
        values = getattr(history.samples, column)[history.samples.at_s >= history.warmup_s]
        return float(values.max()) if len(values) else math.nan

    return compute


def _keys_that_ended(end: KeyEnd) -> Callable[[History], float]:
    def compute(history: History) -> float:
        return float(np.count_nonzero(history.keys.end == end))

    return compute


def wrong_answers(history: History) -> float:
    """`get` calls that returned a wrong key or raised an error of no repository. Must be zero."""
    bad = np.isin(history.gets.outcome, (GetOutcome.WRONG, GetOutcome.ERROR))
    return float(np.count_nonzero(bad))


def primary_attempts_during_outage_per_s(history: History) -> float:
    """Calls to the primary a second while it was failing: mostly wasted."""
    outages = _measured_outages(history)
    return _rate_within(history.attempts_s, outages)


def primary_attempts_after_outage_per_s(history: History) -> float:
    """Calls to the primary a second in the minute after an outage: the recovery burst."""
    outages = _measured_outages(history)
    if not len(outages):
        return math.nan
    following = np.append(outages[1:, 0], history.duration_s)
    ends = np.minimum(outages[:, 1] + BURST_S, following)
    return _rate_within(history.attempts_s, np.column_stack((outages[:, 1], ends)))


MEASURES: tuple[Measure, ...] = (
    Measure("availability", str(availability.__doc__), availability, "share"),
    Measure("availability_time", str(availability_time.__doc__), availability_time, "share"),
    Measure("create_availability", str(create_availability.__doc__), create_availability, "share"),
    *(
        Measure(measure_of(cause), f"Share of eligible `get` calls: {words}.", failed_share(cause))
        for cause, words in CAUSE_WORDS.items()
    ),
    Measure("sync_lag_p50_s", "Median time from acknowledged to committed.", _sync_lag(0.50)),
    Measure("sync_lag_p99_s", "99th percentile of the same.", _sync_lag(0.99)),
    Measure("sync_lag_max_s", "The longest time from acknowledged to committed.", _sync_lag(1.0)),
    Measure(
        "visibility_lag_p99_s",
        "99th percentile of the time from acknowledged until every instance could answer for it.",
        _visibility_lag(0.99),
    ),
    Measure(
        "visibility_lag_max_s",
        "The longest time from acknowledged until every instance could answer for it.",
        _visibility_lag(1.0),
    ),
    Measure("cache_entries_max", "The most keys in memory.", _largest("cache_entries")),
    Measure("cache_bytes_max", "The most memory they took, estimated.", _largest("cache_bytes")),
    Measure("pending_max", "The most keys pending at once.", _largest("pending")),
    Measure(
        "lost_keys",
        "Acknowledged keys that no store will ever have.",
        _keys_that_ended(KeyEnd.LOST),
    ),
    Measure(
        "expired_pending_keys",
        "Acknowledged keys that expired before the primary could be told.",
        _keys_that_ended(KeyEnd.EXPIRED),
    ),
    Measure("wrong_answers", str(wrong_answers.__doc__), wrong_answers),
    Measure(
        "primary_attempts_during_outage_per_s",
        str(primary_attempts_during_outage_per_s.__doc__),
        primary_attempts_during_outage_per_s,
    ),
    Measure(
        "primary_attempts_after_outage_per_s",
        str(primary_attempts_after_outage_per_s.__doc__),
        primary_attempts_after_outage_per_s,
    ),
    Measure("get_latency_p50_s", "Median time that a `get` takes.", _get_latency(0.50)),
    Measure("get_latency_p99_s", "99th percentile of the same.", _get_latency(0.99)),
    Measure("get_latency_max_s", "The longest `get`.", _get_latency(1.0)),
    Measure("create_latency_p50_s", "Median time that a `create` takes.", _create_latency(0.50)),
    Measure("create_latency_max_s", "The longest `create`.", _create_latency(1.0)),
    Measure("attempts_per_request", str(attempts_per_request.__doc__), attempts_per_request),
    Measure("goodput_per_s", str(goodput_per_s.__doc__), goodput_per_s),
    Measure(
        "primary_attempts_max_per_s",
        str(primary_attempts_max_per_s.__doc__),
        primary_attempts_max_per_s,
    ),
    Measure(
        "wasted_attempts_per_outage",
        str(wasted_attempts_per_outage.__doc__),
        wasted_attempts_per_outage,
    ),
    Measure(
        "recovery_mean_s",
        "Mean time from the end of an outage until callers are served; a lower bound where "
        "`unrecovered_share` is above zero.",
        recovery_mean_s,
    ),
    Measure("unrecovered_share", str(unrecovered_share.__doc__), unrecovered_share),
    Measure("breaker_open_share", str(breaker_open_share.__doc__), breaker_open_share),
    Measure("breaker_trips", str(breaker_trips.__doc__), breaker_trips),
    Measure("breaker_false_trips", str(breaker_false_trips.__doc__), breaker_false_trips),
)
"""Every figure, in the order of tables."""


def measure(history: History) -> dict[str, float]:
    """Compute every figure of `MEASURES`."""
    return {each.name: each.compute(history) for each in MEASURES}


def weighted_quantile(values: Floats, weights: Floats, q: float) -> float:
    """The smallest value with at least a share `q` of the weight at or below it; NaN for no values.

    This is the inverse of the empirical distribution (definition 1 of Hyndman and Fan, 1996): it
    returns values that were seen, and no interpolation hides a rare long wait.
    """
    if not len(values):
        return math.nan
    order = np.argsort(values, kind="stable")
    cumulated = np.cumsum(weights[order])
    # A hair less than q, so that rounding in the sum does not push an exact q to the next value.
    index = int(np.searchsorted(cumulated, q * cumulated[-1] * (1 - 1e-12), side="left"))
    return float(values[order[min(index, len(values) - 1)]])


def _counted(history: History) -> Flags:
    counted: Flags = history.gets.eligible & (history.gets.at_s >= history.warmup_s)
    return counted


def _measured_s(history: History) -> float:
    """Real seconds that the measured part of the run stands for."""
    spans = [(span.start_s, span.end_s, span.weight) for span in history.spans]
    if not spans:
        spans = [(0.0, history.duration_s, 1.0)]
    return sum(
        weight * max(0.0, end_s - max(start_s, history.warmup_s))
        for start_s, end_s, weight in spans
    )


def _measured_outages(history: History) -> Floats:
    outages = history.outages
    if not len(outages):
        return outages.reshape(0, 2)
    clipped = np.clip(outages, history.warmup_s, history.duration_s)
    kept: Floats = clipped[clipped[:, 1] > clipped[:, 0]]
    return kept


def _rate_within(moments_s: Floats, intervals: Floats) -> float:
    """Moments within these disjoint intervals, a second of interval."""
    if not len(intervals):
        return math.nan
    first = np.searchsorted(moments_s, intervals[:, 0], side="left")
    after = np.searchsorted(moments_s, intervals[:, 1], side="left")
    return _ratio(float((after - first).sum()), float((intervals[:, 1] - intervals[:, 0]).sum()))


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else math.nan
