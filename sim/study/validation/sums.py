"""The sums of a run whose ratios the closed forms predict.

Each leaves out the warm-up, and what the end of the run cuts short.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.history import Flags, Floats, GetOutcome, History, KeyEnd
from sim.measures import BURST_S
from sim.study.growth import state_at
from sim.study.lags import outage_lags

COUNTED_SHARE = 0.9
"""Keys made later than this share of a run are left out: its end may cut their outage short."""


def lost_calls_of_outages(history: History) -> tuple[float, float]:
    """Calls that failed, in outages and after them, and all that were made in outages.

    How long the outages of a run are by chance then matters less.
    """
    gets = history.gets
    counted = gets.eligible & (gets.at_s >= history.warmup_s)
    lost = counted & (gets.outcome != GetOutcome.RIGHT)
    inside = counted & history.in_outage(gets.at_s)
    return float(np.count_nonzero(lost)), float(np.count_nonzero(inside))


def lags(history: History) -> tuple[float, float]:
    """The lags of keys made in outages, added up, and their number."""
    lags_s = _lags_s(history)
    return float(lags_s.sum()), float(len(lags_s))


@dataclass(frozen=True, slots=True)
class LagsWithin:
    """How many keys made in outages had been committed after so long, and their number."""

    limit_s: float

    def __call__(self, history: History) -> tuple[float, float]:
        """Return the two sums of a run."""
        lags_s = _lags_s(history)
        return float(np.count_nonzero(lags_s <= self.limit_s)), float(len(lags_s))


def waits(history: History) -> tuple[float, float]:
    """The parts of these lags in which there was no outage, added up, and the number of keys."""
    waits_s = outage_lags(history).wait_s
    return float(waits_s.sum()), float(len(waits_s))


def cached_entries(history: History) -> tuple[float, float]:
    """Keys in memory, added up over evenly spaced moments, and the number of these."""
    moments_s = np.linspace(history.warmup_s, history.duration_s, 400)
    return float(state_at(history, "cache_entries", moments_s).sum()), float(len(moments_s))


def pending_at_end(history: History) -> tuple[float, float]:
    """Pending keys at the ends of outages, added up, and the number of outages."""
    ends_s = history.outages[_whole(history), 1]
    return float(state_at(history, "pending", ends_s - 1e-6).sum()), float(len(ends_s))


def cached_at_end(history: History) -> tuple[float, float]:
    """Keys in memory at the ends of outages, added up, and the number of outages."""
    ends_s = history.outages[_whole(history), 1]
    return float(state_at(history, "cache_entries", ends_s - 1e-6).sum()), float(len(ends_s))


def wasted_calls(history: History) -> tuple[float, float]:
    """Calls to the primary in outages, and the number of outages."""
    outages = history.outages[_whole(history)]
    return _within(history.attempts_s, outages), float(len(outages))


def burst_calls(history: History) -> tuple[float, float]:
    """Calls to the primary in the minute after outages, and the number of outages."""
    ends_s = history.outages[_whole(history), 1]
    return _within(history.attempts_s, np.column_stack((ends_s, ends_s + BURST_S))), float(
        len(ends_s)
    )


def _lags_s(history: History) -> Floats:
    keys = history.keys
    counted = (
        (keys.acknowledged_s >= history.warmup_s)
        & (keys.acknowledged_s < COUNTED_SHARE * history.duration_s)
        & (keys.end == KeyEnd.COMMITTED)
        & history.in_outage(keys.acknowledged_s)
    )
    lags_s: Floats = keys.settled_s[counted] - keys.acknowledged_s[counted]
    return np.maximum(0.0, lags_s)


def _whole(history: History) -> Flags:
    """The outages that begin after the warm-up and end a minute before the end."""
    outages = history.outages.reshape(-1, 2)
    whole: Flags = (outages[:, 0] >= history.warmup_s) & (
        outages[:, 1] + BURST_S <= history.duration_s
    )
    return whole


def _within(moments_s: Floats, intervals: Floats) -> float:
    first = np.searchsorted(moments_s, intervals[:, 0], side="left")
    after = np.searchsorted(moments_s, intervals[:, 1], side="left")
    return float((after - first).sum())
