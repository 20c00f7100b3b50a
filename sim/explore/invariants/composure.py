"""Composure: an instance speaks of an outage only if it has seen one.

It does if a call of its own failed, just now or often enough to trip the breaker. So callers who
give up are neither successes nor failures, a miss is no failure either, and no limit refuses what
it need not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ftrepo.interface import Durability
from sim.explore.happenings import Outcome
from sim.explore.hostile_world import OperationKind
from sim.explore.invariants.invariant import Finding, Invariant
from sim.explore.invariants.linearizability import may_be_stale
from sim.explore.invariants.record import ROUNDING_S
from sim.explore.invariants.trouble import may_be_refused

if TYPE_CHECKING:
    from sim.explore.invariants.record import Record, Request


def _find(record: Record) -> Iterator[Finding]:
    for request in record.requests:
        what = _speaks_of_an_outage(request)
        # Who waited for all of a time-out may have missed an answer by nothing.
        if what and not (
            _has_waited(record, request)
            or may_be_refused(record, request)
            or _waits_too_long(record, request)
        ):
            asked = request.asked
            said = (
                f"a {asked.kind.value}, asked at {asked.at_s:.3f} s, was {what}, though no calls "
                "of the primary had failed that could be the reason"
            )
            yield Finding(request.told_s, said, asked.key_id, asked.instance)


def _waits_too_long(record: Record, request: Request) -> bool:
    """Whether the key that is asked for may wait here, and be too old to be served from memory."""
    asked = request.asked
    return (
        asked.kind is OperationKind.GET
        and record.policy.pending_writes
        and any(
            each.asked.kind is OperationKind.CREATE
            and each.asked.key_id == asked.key_id
            and each.asked.instance == asked.instance
            and each.asked_at < request.told_at
            for each in record.requests
        )
        and may_be_stale(record, request)
    )


def _has_waited(record: Record, request: Request) -> bool:
    """Whether a request took as long as its time-out."""
    policy = record.policy
    is_create = request.asked.kind is OperationKind.CREATE
    timeout_s = policy.insert_timeout_s if is_create else policy.select_timeout_s
    took_s = request.told_s - request.asked.at_s
    return timeout_s is not None and took_s >= timeout_s - ROUNDING_S


def _speaks_of_an_outage(request: Request) -> str:
    """Say what was told that only a failing primary excuses; empty if nothing was."""
    told = request.told
    if told is None:
        return ""
    if told.outcome in (Outcome.UNAVAILABLE, Outcome.FULL):
        return f"told {told.outcome.value!r}"
    if (
        request.asked.kind is OperationKind.CREATE
        and told.outcome is Outcome.ACKNOWLEDGED
        and told.durability is not None
        and told.durability is not Durability.PRIMARY
    ):
        return f"acknowledged as durable as {told.durability.value}"
    return ""


COMPOSURE = Invariant(
    "composure",
    "An instance is unavailable, or acknowledges a key as less durable than the primary, only if "
    "calls of the primary have failed.",
    _find,
)
