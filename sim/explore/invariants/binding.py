"""Binding: an id is never rebound to other key material while its key is valid.

Two instances may each acknowledge a key of their own under one id while the primary is away; no
store knows of both. Then the primary decides, and the other key is dropped. What must not happen is
that a store which has one of them takes the other. The same holds for the times of a key: memory
keeps those that it had first, for what comes second may be the older one. The primary may have
others, and answers with them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from sim.explore.happenings import Told
from sim.explore.invariants.invariant import Finding, Invariant
from sim.explore.invariants.linearizability import holds_everything
from sim.explore.invariants.record import ROUNDING_S

if TYPE_CHECKING:
    from ftrepo.keys import PublicKey
    from sim.explore.invariants.record import Record, Request

_Acknowledged = tuple["Request", Told, "PublicKey"]


def _find(record: Record) -> Iterator[Finding]:
    for key_id, stays in record.stays.items():
        for before, after in pairwise(stays):
            left_s = record.expires_s(before.key) - after.from_s
            if not before.key.same_material(after.key) and left_s > ROUNDING_S:
                said = f"the primary bound {key_id} anew, {left_s:.3f} s before its key expired"
                yield Finding(after.from_s, said, key_id)
    acknowledged = list(record.acknowledged())
    yield from _times_replaced(record)
    for first in acknowledged:
        for second in acknowledged:
            if first[2].id == second[2].id and _is_rebound(record, first, second):
                told, key_id, instance = second[1], second[2].id, second[0].asked.instance
                said = (
                    f"{key_id} was acknowledged with other material than at {first[1].at_s:.3f} s, "
                    "by the same process"
                )
                yield Finding(told.at_s, said, key_id, instance)


def _is_rebound(record: Record, first: _Acknowledged, second: _Acknowledged) -> bool:
    """Whether a process took a key under an id under which it must still have had another."""
    before, told, held = first
    after, _, key = second
    if (
        before.process != after.process
        or told.at_s == math.inf
        or after.asked_at < before.told_at
        or held.same_material(key)
        or record.may_have_expired(held, before.asked.instance, before.asked.at_s, after.told_s)
        or record.rival_in_primary(held, 0, after.told_at)
    ):
        return False
    policy = record.policy
    if policy.write_order == "primary-only":
        return False  # Only the primary decides, and that was looked at.
    waits = policy.pending_writes and not any(record.stays_of(held, before.asked_at, after.told_at))
    return waits or holds_everything(record)


def _times_replaced(record: Record) -> Iterator[Finding]:
    """What memory returns with other times than the process has acknowledged, before any others."""
    if not any(each.same_material for each in record.world.keys) or not holds_everything(record):
        return
    for create, told, key in record.acknowledged():
        for get in record.gets[key.id]:
            found = None if get.told is None else get.told.key
            if (
                get.process == create.process
                and create.told_at < get.asked_at
                and found is not None
                and found.same_material(key)
                and found.expires != key.expires
                and _was_first(record, create, key)
                and not record.may_have_expired(
                    key, get.asked.instance, create.asked.at_s, get.told_s
                )
                and not _was_answered(record, get)
            ):
                said = (
                    f"memory returned {key.id} with other times than it had when it was "
                    f"acknowledged at {told.at_s:.3f} s"
                )
                yield Finding(get.told_s, said, key.id, get.asked.instance)


def _was_first(record: Record, create: Request, key: PublicKey) -> bool:
    """Whether nobody had offered the key with other times before it was acknowledged."""
    return record.policy.write_order != "primary-only" and all(
        offered_at > create.told_at or offered.expires == key.expires
        for offered_at, offered in record.offers[key.id]
    )


def _was_answered(record: Record, get: Request) -> bool:
    """Whether the primary answered the process while a question was open: with its own times."""
    return any(
        call.began.name == "get"
        and call.ended is not None
        and not call.ended.error
        and get.asked_at < call.ended_at < get.told_at
        for call in record.calls[get.process]
    )


BINDING = Invariant(
    "binding",
    "No store takes a key under an id under which it has a valid key of other material, and memory "
    "changes no key's times.",
    _find,
)
