"""The designs that a review compares, as named policies: all of them settings of one class."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ftrepo.errors import PolicyError
from ftrepo.policy import Policy

_PRIMARY_ONLY = Policy(
    read_policy="primary-only",
    write_order="primary-only",
    pending_writes=False,
    insert_timeout_s=30.0,
    select_timeout_s=30.0,
    delete_timeout_s=30.0,
    load_timeout_s=30.0,
    calls_in_flight_max=1_000_000,
    futile_calls_per_s_max=None,
    ramp_up_s=0.0,
    absent_ttl_s=0.0,
    peer_timeout_s=None,
    drain_timeout_s=0.0,
    refresh_interval_s=None,
    snapshot_interval_s=None,
    publish_lead_s=0.0,
    sign_when_committed=False,
    breaker=False,
)

_PENDING_WRITES = Policy(
    calls_in_flight_max=1_000_000,
    futile_calls_per_s_max=None,
    ramp_up_s=0.0,
    absent_ttl_s=0.0,
    peer_timeout_s=None,
    snapshot_interval_s=None,
    publish_lead_s=0.0,
    sign_when_committed=False,
    breaker=False,
)


def named_policies() -> dict[str, Policy]:
    """Return the policies that have a name, the simplest design first.

    * `primary-only`: the service before any fault tolerance. Its time-outs are 30 s, the default
      wait of SQLAlchemy's pool, since asyncpg has none at all; no call is refused.
    * `cache-fallback`: the primary, and memory if it fails within 500 ms. Nothing waits to be
      written: a key that the primary missed stays in the memory of the instance that made it.
    * `mark-down`: one error marks the primary as down; a check every 30 s brings it back. Keys that
      were made meanwhile never reach it.
    * `pending-writes`: what the primary missed is flushed every second; the primary is called each
      time, dead or not.
    * `breaker`: the same behind a circuit breaker, which flushes and refreshes as it closes.
    * `default`: `Policy()`. New keys are published ahead of their use, and wait for the primary as
      long as the older one may sign; calls that bring nothing are bounded; what memory lacks in
      an outage other instances are asked for; and where there is a disk, a start reads a snapshot.
    * `cache-first`: the same, but memory is read first.
    """
    cache_fallback = replace(_PENDING_WRITES, pending_writes=False, refresh_interval_s=None)
    return {
        "primary-only": _PRIMARY_ONLY,
        "cache-fallback": cache_fallback,
        "mark-down": replace(
            cache_fallback,
            breaker=True,
            breaker_failure_threshold=1,
            breaker_open_s=30.0,
            breaker_open_jitter=0.0,
            breaker_half_open_max_calls=1,
        ),
        "pending-writes": _PENDING_WRITES,
        "breaker": replace(_PENDING_WRITES, breaker=True),
        "default": Policy(),
        "cache-first": Policy(read_policy="cache-first"),
    }


DESIGNS = ("primary-only", "cache-fallback", "mark-down", "pending-writes", "breaker", "default")
"""Those that a design review holds against each other, the recommended one last."""


def policy_named_or_file(text: str) -> Policy:
    """Return the named policy, or the one in the TOML file at this path.

    Raises:
        PolicyError: neither exists (the message lists the names), or the file is not a policy.
    """
    named = named_policies()
    if text in named:
        return named[text]
    path = Path(text)
    if path.suffix == ".toml" or path.exists():
        return Policy.from_toml(path)
    raise PolicyError(
        f"no policy is named {text!r}, and there is no such file; "
        f"the named policies are {', '.join(named)}"
    )
