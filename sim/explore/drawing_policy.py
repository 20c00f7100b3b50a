"""Draws a policy from a seed: near the defaults, with some settings at the end of their range."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

from ftrepo.errors import PolicyError
from ftrepo.policy import Policy
from sim.explore.dice import Dice
from sim.world.streams import Streams

_VALUES: dict[str, tuple[Any, ...]] = {
    "read_policy": ("cache-first", "cache-first", "primary-only"),
    "write_order": ("primary-first", "primary-first", "primary-only"),
    "pending_writes": (False,),
    "insert_timeout_s": (0.05, 0.1, 1.0, None),
    "select_timeout_s": (0.05, 0.1, 1.0, None),
    "delete_timeout_s": (0.05, 1.0, None),
    "load_timeout_s": (0.1, 0.5, None),
    "calls_in_flight_max": (2, 3, 10),
    "futile_calls_per_s_max": (1.0, 2.0, 10.0, None),
    "ramp_up_s": (0.0, 0.5, 10.0),
    "absent_ttl_s": (0.0, 0.1, 5.0),
    "peer_timeout_s": (0.002, 1.0, None),
    "flush_interval_s": (0.05, 0.3, 5.0),
    "flush_batch_max": (1, 2, 3),
    "pending_max": (1, 1, 2, 3),
    "journal_timeout_s": (0.001, 0.002, 1.0),
    "journal_open_timeout_s": (0.5, 2.0),
    "drain_timeout_s": (0.0, 0.05, 1.0),
    "refresh_interval_s": (0.5, 2.0, 7.0, None),
    "load_page_max": (1, 2, 3),
    "expiry_interval_s": (1.0, 5.0, 20.0),
    "cache_entries_max": (1, 2, 3),
    "cache_ttl_s": (0.05, 1.0, 10.0),
    "max_staleness_s": (0.1, 2.0, 15.0),
    "snapshot_interval_s": (0.01, 0.5, 5.0, None),
    "snapshot_timeout_s": (0.002, 0.5),
    "breaker": (False,),
    "breaker_failure_threshold": (1, 1, 2, 2, 20, None),
    "breaker_count_interval_s": (0.0, 1.0),
    "breaker_failure_rate": (0.2, 0.5, 1.0),
    "breaker_slow_rate": (0.5,),
    "breaker_slow_call_s": (0.05, 0.5),
    "breaker_window_s": (0.5, 2.0),
    "breaker_window_calls_min": (1, 2, 20),
    "breaker_open_s": (0.1, 0.5, 1.0, 20.0),
    "breaker_open_factor": (2.0, 4.0),
    "breaker_open_max_s": (2.0, 10.0),
    "breaker_open_jitter": (0.0, 1.0),
    "breaker_half_open_max_calls": (1, 3, 5),
    "breaker_probe_timeout_s": (0.05, 0.3, 1.0),
}
"""What each setting may be other than its default: as extreme as is legal and still makes sense. A
value named twice comes twice as often."""

_SHARES = (0.0, 0.05, 0.15, 0.4)
"""Which share of the settings is changed: it is drawn first, so that some policies are plain."""


def draw_policy(seed: int) -> Policy:
    """Return a legal policy, drawn from a seed.

    Which settings are changed differs from one policy to the next ("swarm testing", Groce et al.,
    ISSTA 2012): a setting that hides what another one does is away in half of them. A change that
    contradicts an earlier one is left out.
    """
    dice = Dice(Streams(seed).generator("hostile policy"))
    share = dice.pick(_SHARES)
    changes = {name: dice.pick(values) for name, values in _VALUES.items() if dice.chance(share)}
    if changes.get("write_order") == "primary-only":
        changes["pending_writes"] = False
    try:
        return Policy(**changes)
    except PolicyError:
        return _without_contradictions(changes)


def _without_contradictions(changes: dict[str, Any]) -> Policy:
    policy = Policy(pending_writes=changes.get("pending_writes", True))
    for name, value in changes.items():
        with suppress(PolicyError):
            policy = replace(policy, **{name: value})
    return policy
