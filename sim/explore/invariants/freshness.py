"""Freshness: after its time has passed no key is acknowledged from memory, or sent by a flush.

What the primary has confirmed may expire on the way back to the caller, and what was sent in time
on the way there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ftrepo.interface import Durability
from sim.explore.invariants.invariant import Finding, Invariant
from sim.explore.invariants.record import ROUNDING_S

if TYPE_CHECKING:
    from ftrepo.keys import PublicKey
    from sim.explore.invariants.record import Record


def _find(record: Record) -> Iterator[Finding]:
    yield from _acknowledged_late(record)
    yield from _sent_late(record)


def _acknowledged_late(record: Record) -> Iterator[Finding]:
    # The journal is written after the last look at the clock.
    writing_s = record.policy.journal_timeout_s if record.world.journal else 0.0
    for request, told, key in record.acknowledged():
        instance, asked_s = request.asked.instance, request.asked.at_s
        looked_s = max(asked_s, told.at_s - writing_s)
        if told.durability is not Durability.PRIMARY and record.must_have_expired(
            key, instance, looked_s, looked_s
        ):
            late_s = looked_s - record.expires_s(key)
            said = f"{key.id} was acknowledged from memory, {late_s:.3f} s after it had expired"
            yield Finding(told.at_s, said, key.id, instance)


def _sent_late(record: Record) -> Iterator[Finding]:
    for (instance, _), calls in record.calls.items():
        for call in calls:
            if call.began.name != "create_many":
                continue
            sent_s = call.began.at_s
            for key_id in call.began.key_ids:
                keys = [key for at, key in record.offers[key_id] if at < call.began_at]
                # Nobody knows which of several keys it was.
                if keys and all(_has_expired(record, key, instance, sent_s) for key in keys):
                    said = f"a flush sent {key_id}, which had expired"
                    yield Finding(sent_s, said, key_id, instance)


def _has_expired(record: Record, key: PublicKey, instance: int, at_s: float) -> bool:
    """Whether a key had expired by the clock of the instance."""
    return record.clocks.earliest_s(instance, at_s, at_s) >= record.expires_s(key) + ROUNDING_S


FRESHNESS = Invariant(
    "freshness",
    "No key is acknowledged from memory, or sent by a flush, after its time has passed.",
    _find,
)
