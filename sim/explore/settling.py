"""How long it takes until everything has settled, once the primary is well: worked out, not tried.

It is an upper bound from the policy's own settings, so that a right implementation is never accused
of being late, and as low as that allows, so that a wrong one is not excused.
"""

from __future__ import annotations

import math

from ftrepo.fault_tolerant import RESERVED_SHARE
from ftrepo.policy import Policy
from ftrepo.resilience.call_budget import Urgency
from sim.explore.hostile_primary import WORK_MAX_S

SLACK_S = 1.0
"""For latencies, connections that are opened, and rounding."""

BATCH_S = 0.2
"""For a batch of one key, from its call to its end: a primary that is well is much quicker, but may
have a single worker for all instances."""


def settle_bound_s(policy: Policy, *, keys: int) -> float:
    """Return within which time after the recovery nothing is pending and everybody can answer.

    One after the other, as if nothing overlapped:

    * what was under way ends, at its time-out or when the server has done it;
    * an open breaker probes: it was opened as late as that, for as long as it may, and each of its
      places for a probe was lost once; a prober that was refused pauses for `breaker_open_s` more;
    * background work that failed, or a flush whose first batch did, comes again at the next beat,
      with batches of one key if the last ones had failed: as many calls as there are keys;
    * what an id was remembered for as absent is forgotten, and callers are let back: after
      `ramp_up_s`, and when the budget of futile calls has filled up so far that it lets reads
      through. Whoever asks for several keys then must leave `pause_between_reads_s` between them.

    Args:
        policy: of the repositories.
        keys: how many different keys there are.
    """
    call_s = _longest_call_s(policy)
    parts_s = [call_s]
    if policy.breaker:
        open_s = policy.breaker_open_s
        if policy.breaker_open_factor > 1:
            open_s = max(open_s, policy.breaker_open_max_s)
        probes_s = policy.breaker_half_open_max_calls * call_s + policy.breaker_probe_timeout_s
        parts_s += [open_s, probes_s, policy.breaker_open_s]
    parts_s += [2 * (policy.flush_interval_s + call_s), keys * BATCH_S]
    parts_s += [policy.absent_ttl_s, policy.ramp_up_s]
    if policy.futile_calls_per_s_max is not None:
        reserve = math.ceil(RESERVED_SHARE * policy.calls_in_flight_max)
        parts_s += [(1 + Urgency.READ * reserve) / policy.futile_calls_per_s_max]
    return sum(parts_s) + SLACK_S


def pause_between_reads_s(policy: Policy) -> float:
    """Return after which time another read is let through, even if the last one was futile."""
    rate_per_s = policy.futile_calls_per_s_max
    return 0.0 if rate_per_s is None else 1.0 / rate_per_s


def _longest_call_s(policy: Policy) -> float:
    timeouts_s = (
        policy.insert_timeout_s,
        policy.select_timeout_s,
        policy.delete_timeout_s,
        policy.load_timeout_s,
    )
    return max(WORK_MAX_S if each is None else each for each in timeouts_s)
