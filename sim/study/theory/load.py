"""What outages cost the primary: attempts wasted on it while it is down, and the burst after it."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from ftrepo.policy import Policy
from sim.history import Floats


def probe_times_s(policy: Policy, until_s: float, *, probe_s: float = 0.0) -> Floats:
    """When an open breaker probes, seconds after it tripped, in the mean over its jitter.

    The nth pause is `breaker_open_s` times `breaker_open_factor`ⁿ, at most `breaker_open_max_s`,
    less half of the share that jitter may take.

    Args:
        policy: whose breaker trips.
        until_s: the probes after this are left out.
        probe_s: how long a probe takes to fail.

    Source: `ftrepo.resilience.breaker_machine`, whose rules these are.
    """
    longest_s = max(policy.breaker_open_s, policy.breaker_open_max_s)
    times_s: list[float] = []
    now_s, pause_s = 0.0, policy.breaker_open_s
    while True:
        now_s += pause_s * (1 - policy.breaker_open_jitter / 2)
        if now_s > until_s:
            return np.array(times_s)
        times_s.append(now_s)
        now_s += probe_s
        pause_s = min(pause_s * policy.breaker_open_factor, longest_s)


def wasted_attempts(
    lengths_s: Floats,
    policy: Policy,
    *,
    calls_per_s: float,
    instances: int = 1,
    probe_s: float = 0.0,
) -> float:
    """Calls to a primary that is down, in the mean over outages, of all instances together.

    Without a breaker all that is called, rate × D. With one each instance makes as many calls as it
    takes to trip, k of them (fewer if so many do not come), and then probes:
    N (E[min(M, k)] + #probes), M the calls that come to one instance, Poisson. An outage that ends
    before the trip has no probe.

    Args:
        lengths_s: of the outages, in which every call fails.
        policy: of every instance; its breaker trips by `breaker_failure_threshold`.
        calls_per_s: calls to the primary while it is up, of all instances, background included.
        instances: among which they are divided evenly.
        probe_s: how long a failing call takes: next to nothing if refused, the time-out if not.

    Raises:
        ValueError: the breaker trips by a rate only, for which there is no closed form.
    """
    if not policy.breaker:
        return calls_per_s * float(np.mean(lengths_s))
    threshold = policy.breaker_failure_threshold
    if threshold is None:
        raise ValueError("there is no closed form for a breaker that trips by a rate only")
    rate_per_s = calls_per_s / instances
    # E[min(M, k)] = Σ P(M ≥ n) for n = 1 … k.
    counts = np.arange(threshold)[:, None]
    before = np.sum(stats.poisson.sf(counts, rate_per_s * lengths_s[None, :]), axis=0)
    probes_s = probe_times_s(policy, float(lengths_s.max()), probe_s=probe_s)
    tripped_s = _trip_times_s(threshold, rate_per_s) + probe_s
    open_s = np.maximum(0.0, lengths_s[None, :] - tripped_s[:, None])
    probes = np.searchsorted(probes_s, open_s, side="right").mean(axis=0)
    return instances * float(np.mean(before + probes))


def _trip_times_s(threshold: int, rate_per_s: float) -> Floats:
    """When the last of so many calls comes, evenly by probability: a gamma distribution."""
    shares = (np.arange(40) + 0.5) / 40
    times_s: Floats = stats.gamma.ppf(shares, threshold) / rate_per_s
    return times_s


def recovery_calls(
    policy: Policy,
    *,
    instances: int,
    calls_per_s: float,
    pending_share: float,
    cached_keys: float,
    announced: bool = True,
    window_s: float = 60.0,
) -> float:
    """Calls to the primary in the first time after an outage, of all instances together.

    Each instance makes the probes that close its breaker, flushes what waits, refreshes (a call for
    each page, and one that finds the end if the last page is full), deletes what expired, and lets
    its callers back, who have missed half of the time between two probes. It refreshes as the
    breaker closes, and where new keys are announced once more, as it listens again. Where callers
    come faster than `futile_calls_per_s_max` they return step by step, which is not in this form.

    Args:
        policy: of every instance, with a breaker.
        instances: how many there are.
        calls_per_s: of `get` and `create` that reach the primary while it is up, of all instances.
        pending_share: the share of instances that have something to flush, a batch at most.
        cached_keys: unexpired keys in the primary after the outage.
        announced: whether the primary announces new keys.
        window_s: how long after the outage is counted: longer than `breaker_open_s`, and shorter
            than `refresh_interval_s` and `expiry_interval_s`.
    """
    wait_s = policy.breaker_open_s * (1 - policy.breaker_open_jitter / 2) / 2
    pages = math.floor(cached_keys / policy.load_page_max) + 1
    refreshes = 2 if announced else 1
    each = policy.breaker_half_open_max_calls + pending_share + pages * refreshes + 1
    return instances * each + calls_per_s * (window_s - wait_s)
