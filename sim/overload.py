"""Figures of retries, breakers and recovery: what is added to a failing primary, and how long.

As in `sim.measures`, nothing here knows how the history was made, and what does not exist is NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sim.history import BreakerCode, Flags, Floats, GetOutcome, History

RECOVERED_SHARE = 0.99
"""The availability of a window from which on a service counts as recovered,"""

RECOVERED_FOR_S = 10.0
"""if it stays so for this long: one good second in a storm is no recovery."""

_WINDOW_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recoveries:
    """One row for each measured outage: how long after its end the service was well again.

    Attributes:
        after_s: from the end of the outage; where it was not seen to recover, for how long it was
            watched, a lower bound.
        seen: whether it did, before the next outage and the end of the run.
    """

    after_s: Floats
    seen: Flags


def recoveries(history: History) -> Recoveries:
    """Return when callers were served again after each outage.

    They are, from the first second on in which `RECOVERED_SHARE` of the requests made in it come
    out right, if that stays so in the next `RECOVERED_FOR_S` seconds. A second without a request
    is no failure.
    """
    _, ends_s, watched_until_s = _watched(history)
    gets = history.gets
    counted = gets.eligible
    at_s, right = gets.at_s[counted], (gets.outcome == GetOutcome.RIGHT)[counted]
    after_s, seen = [], []
    for end_s, until_s in zip(ends_s, watched_until_s, strict=True):
        windows = math.floor((until_s - end_s) / _WINDOW_S)
        inside = (at_s >= end_s) & (at_s < end_s + windows * _WINDOW_S)
        which = ((at_s[inside] - end_s) / _WINDOW_S).astype(int)
        made = np.bincount(which, minlength=windows)[:windows]
        served = np.bincount(which, weights=right[inside], minlength=windows)[:windows]
        well = served >= RECOVERED_SHARE * made
        first = _first_run(well, round(RECOVERED_FOR_S / _WINDOW_S))
        seen.append(first is not None)
        after_s.append(max(0.0, until_s - end_s) if first is None else first * _WINDOW_S)
    return Recoveries(after_s=np.array(after_s), seen=np.array(seen, dtype=np.bool_))


def recovery_mean_s(history: History) -> float:
    """Mean time from the end of an outage until callers are served; see `recoveries`.

    Where one was not recovered from, which `unrecovered_share` tells, a lower bound.
    """
    after_s = recoveries(history).after_s
    return float(after_s.mean()) if len(after_s) else math.nan


def unrecovered_share(history: History) -> float:
    """Share of the outages that callers had not got over before the next one, or the end."""
    seen = recoveries(history).seen
    return float(1.0 - seen.mean()) if len(seen) else math.nan


def attempts_per_request(history: History) -> float:
    """Attempts that callers make at one request, in the mean; 1 if none repeats what failed."""
    if history.attempts is None:
        return 1.0
    made = np.count_nonzero(history.attempts.at_s >= history.warmup_s)
    requests = np.count_nonzero(history.gets.at_s >= history.warmup_s)
    return made / requests if requests else math.nan


def primary_attempts_max_per_s(history: History) -> float:
    """The most calls to the primary in one second."""
    rates = rate_over_time(history.attempts_s, history.warmup_s, history.duration_s, 1.0)
    return float(rates.max()) if len(rates) else math.nan


def wasted_attempts_per_outage(history: History) -> float:
    """Calls to the primary while it was failing, in the mean over outages."""
    starts_s, ends_s, _ = _watched(history)
    if not len(starts_s):
        return math.nan
    first = np.searchsorted(history.attempts_s, starts_s, side="left")
    after = np.searchsorted(history.attempts_s, ends_s, side="left")
    return float((after - first).mean())


def goodput_per_s(history: History) -> float:
    """Requests a second that came out right, whatever they asked for."""
    gets = history.gets
    right = (gets.outcome == GetOutcome.RIGHT) & (gets.at_s >= history.warmup_s)
    span_s = history.duration_s - history.warmup_s
    return float(np.count_nonzero(right & (gets.at_s < history.duration_s)) / span_s)


def breaker_open_share(history: History) -> float:
    """Share of the time in which the breaker was not closed."""
    return _breaker_share(history, healthy_only=False)


def breaker_open_healthy_share(history: History) -> float:
    """Share of the time without an outage in which the breaker was not closed."""
    return _breaker_share(history, healthy_only=True)


def breaker_trips(history: History) -> float:
    """How often the breaker opened after it had been closed; probes that fail are no trips."""
    return float(len(trips_s(history)))


def breaker_false_trips(history: History) -> float:
    """How often it did so while there was no outage."""
    return float(np.count_nonzero(~history.in_outage(trips_s(history))))


def breaker_closes_after_s(history: History) -> float:
    """Mean time from the end of an outage until the breaker is closed; zero where it was.

    NaN if it was still open when the next outage began, or at the end, in every case.
    """
    _, ends_s, watched_until_s = _watched(history)
    changes = history.breaker
    waits_s = []
    for end_s, until_s in zip(ends_s, watched_until_s, strict=True):
        index = int(np.searchsorted(changes.at_s, end_s, side="right"))
        if index == 0 or changes.state[index - 1] == BreakerCode.CLOSED:
            waits_s.append(0.0)
            continue
        closed_s = changes.at_s[index:][changes.state[index:] == BreakerCode.CLOSED]
        if len(closed_s) and closed_s[0] <= until_s:
            waits_s.append(float(closed_s[0]) - float(end_s))
    return float(np.mean(waits_s)) if waits_s else math.nan


def trips_s(history: History) -> Floats:
    """The measured moments at which the breaker opened after it had been closed."""
    state = history.breaker.state
    before = np.concatenate(([BreakerCode.CLOSED], state[:-1]))[: len(state)]
    tripped = (state == BreakerCode.OPEN) & (before == BreakerCode.CLOSED)
    at_s: Floats = history.breaker.at_s[tripped & (history.breaker.at_s >= history.warmup_s)]
    return at_s


def not_closed_s(history: History) -> Floats:
    """The stretches in which the breaker was not closed: start and end of each, shape (n, 2)."""
    at_s = np.minimum(history.breaker.at_s, history.duration_s)
    until_s = np.append(at_s[1:], history.duration_s)[: len(at_s)]
    tripped = history.breaker.state != BreakerCode.CLOSED
    return np.column_stack((at_s[tripped], until_s[tripped]))


def rate_over_time(moments_s: Floats, start_s: float, end_s: float, window_s: float) -> Floats:
    """Moments a second in each whole window between two times."""
    windows = math.floor((end_s - start_s) / window_s + 1e-9)
    edges_s = start_s + window_s * np.arange(windows + 1)
    counts: Floats = np.diff(np.searchsorted(moments_s, edges_s, side="left")) / window_s
    return counts


def _watched(history: History) -> tuple[Floats, Floats, Floats]:
    """The measured outages: start, end, and until when each is watched after it."""
    outages = history.outages
    if len(outages):
        outages = outages[(outages[:, 1] > history.warmup_s) & (outages[:, 1] < history.duration_s)]
    outages = outages.reshape(-1, 2)
    until_s = np.append(outages[1:, 0], history.duration_s)[: len(outages)]
    return np.maximum(outages[:, 0], history.warmup_s), outages[:, 1], until_s


def _first_run(well: Flags, length: int) -> int | None:
    """The first index from which on so many values in a row hold; `None` if there is none."""
    total = np.concatenate(([0], np.cumsum(well)))
    if len(well) < length:
        return None
    starts = np.flatnonzero(total[length:] - total[:-length] == length)
    return int(starts[0]) if len(starts) else None


def _breaker_share(history: History, *, healthy_only: bool) -> float:
    """Share of the measured time, weighted, that lies in stretches when it was not closed."""
    inside_s = _clipped(not_closed_s(history), history.warmup_s, history.duration_s)
    corners = np.unique(
        np.concatenate(
            [
                [history.warmup_s, history.duration_s],
                inside_s.ravel(),
                np.clip(history.outages.ravel(), history.warmup_s, history.duration_s),
                [s.start_s for s in history.spans if s.start_s > history.warmup_s],
            ]
        )
    )
    starts_s, lengths_s = corners[:-1], np.diff(corners)
    weights = history.weights(starts_s) * lengths_s
    if healthy_only:
        weights = weights * ~history.in_outage(starts_s)
    index = np.searchsorted(inside_s[:, 0], starts_s, side="right") - 1
    not_closed = (
        (index >= 0) & (starts_s < inside_s[np.maximum(index, 0), 1])
        if len(inside_s)
        else np.zeros(len(starts_s), dtype=np.bool_)
    )
    whole = float(weights.sum())
    return float(weights[not_closed].sum() / whole) if whole > 0 else math.nan


def _clipped(intervals: Floats, low_s: float, high_s: float) -> Floats:
    clipped = np.clip(intervals, low_s, high_s)
    kept: Floats = clipped[clipped[:, 1] > clipped[:, 0]]
    return kept
