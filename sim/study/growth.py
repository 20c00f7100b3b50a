"""How full memory is over time, and how deep the backlog gets while an outage lasts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sim.history import Floats, History
from sim.measures import MEASURES
from sim.study.theory import cached_keys
from sim.world.outages import PARTIAL, Outage
from sim.world.scenario import Scenario


def mean_entries(history: History) -> float:
    """Mean number of keys in memory over real time, the warm-up left out."""
    return _time_mean(history, history.samples.cache_entries.astype(float))


def bytes_per_key(history: History) -> float:
    """Estimated memory of one cached key; NaN if none was ever cached."""
    samples = history.samples
    entries = samples.cache_entries.sum()
    return float(samples.cache_bytes.sum() / entries) if entries else math.nan


def expected_entries(scenario: Scenario) -> float:
    """Mean number of keys in memory by Little's law, if every instance's keys are in it.

    Those of the peers and of the observed instances; these make one more key at each start after a
    deploy or a crash. Restarts at fixed times are not a rate, and are left out.
    """
    keys, service = scenario.keys, scenario.service
    stops_s = [each for each in (service.deploy_every_s, service.crash_every_s) if each is not None]
    return cached_keys(
        issuers=keys.peers + service.instances,
        rotation_interval_s=keys.rotation_interval_s,
        lifetime_s=keys.lifetime_s,
        starts_per_s=service.instances * sum(1.0 / each_s for each_s in stops_s),
    )


def state_at(history: History, column: str, moments_s: Floats) -> Floats:
    """A column of the samples at other moments: each sample holds until the next one."""
    samples = history.samples
    index = np.searchsorted(samples.at_s, moments_s, side="right") - 1
    values: Floats = getattr(samples, column)[np.maximum(index, 0)].astype(float)
    return values


def pending_after_start(history: History, outage: Outage, elapsed_s: Floats) -> Floats:
    """The pending depth so long after the start of an outage; NaN from its end on."""
    depth = state_at(history, "pending", outage.start_s + elapsed_s)
    return np.where(elapsed_s < outage.duration_s, depth, math.nan)


def longest_full_outage(outages: Sequence[Outage]) -> Outage | None:
    """The longest outage in which every call fails; `None` if there is none."""
    full = [each for each in outages if each.mode not in PARTIAL]
    return max(full, key=lambda each: each.duration_s, default=None)


def _time_mean(history: History, values: Floats) -> float:
    at_s = history.samples.at_s
    held_s = np.diff(at_s, append=max(history.duration_s, at_s[-1]))
    counted = (at_s >= history.warmup_s) & (at_s < history.duration_s)
    weights = (held_s * history.weights(at_s))[counted]
    return float(np.average(values[counted], weights=weights)) if weights.sum() else math.nan


_MEASURED = {each.name: each.compute for each in MEASURES}

GROWTH_FIGURES: Mapping[str, Callable[[History], float]] = {
    "cache_entries_mean": mean_entries,
    "cache_entries_max": _MEASURED["cache_entries_max"],
    "cache_bytes_max": _MEASURED["cache_bytes_max"],
    "cache_bytes_per_key": bytes_per_key,
    "pending_max": _MEASURED["pending_max"],
    "expired_pending_keys": _MEASURED["expired_pending_keys"],
}
"""Figures of memory and backlog."""
