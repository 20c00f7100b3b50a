"""Binding: an id is never rebound to other key material while its key is valid.

Two instances may each acknowledge a key of their own under one id while the primary is away; no
store knows of both. Then the primary decides, and the other key is dropped. What must not happen is
that a store which has one of them takes the other. The same holds for the times of a key: memory
keeps those that it had first, for what comes second may be the older one. The primary may have
others, and answers with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from sim.explore.happenings import Outcome
from sim.explore.hostile_world import OperationKind
from sim.explore.invariants.invariant import Finding, Invariant
from sim.explore.invariants.linearizability import holds_everything
from sim.explore.invariants.record import ROUNDING_S

if TYPE_CHECKING:
    from ftrepo.keys import PublicKey
    from sim.explore.invariants.record import Record, Request


class _Taken(NamedTuple):
    """When and by whom the key of a `create` was taken, whatever its caller was told."""

    at: int
    at_s: float
    by: str


def _find(record: Record) -> Iterator[Finding]:
    for key_id, stays in record.stays.items():
        for before, after in pairwise(stays):
            left_s = record.expires_s(before.key) - after.from_s
            if not before.key.same_material(after.key) and left_s > ROUNDING_S:
                said = f"the primary bound {key_id} anew, {left_s:.3f} s before its key expired"
                yield Finding(after.from_s, said, key_id)
    yield from _taken_by_a_process(record)
    yield from _times_replaced(record)


def _taken_by_a_process(record: Record) -> Iterator[Finding]:
    """What a process took under an id under which it must still have had another key."""
    creates = [each for each in record.requests if each.asked.kind is OperationKind.CREATE]
    for before, told, held in record.acknowledged():
        for after in creates:
            key = after.key
            if (
                key is None
                or key.id != held.id
                or key.same_material(held)
                or after.process != before.process
                or after.asked_at < before.told_at
            ):
                continue
            for taken in _taken(record, before, after, key):
                if _must_have_held(record, before, held, after, taken):
                    said = (
                        f"{key.id} was {taken.by} with other material than at {told.at_s:.3f} s, "
                        "by the same process"
                    )
                    yield Finding(taken.at_s, said, key.id, after.asked.instance)


def _taken(record: Record, before: Request, after: Request, key: PublicKey) -> Iterator[_Taken]:
    """Yield where the key of a `create` was taken that came after another one."""
    if after.outcome is Outcome.ACKNOWLEDGED:
        yield _Taken(after.told_at, after.told_s, "acknowledged")
        return
    own = sum(
        each.asked.kind is OperationKind.CREATE
        and each.process == after.process
        and each.asked_at > before.told_at
        and each.key is not None
        and each.key.id == key.id
        and each.key.same_material(key)
        for each in record.requests
    )
    if own == sum(offered.same_material(key) for _, offered in record.offers[key.id]):
        # Nobody else can have put it there.
        for stay in record.stays_of(key, after.asked_at, record.end):
            yield _Taken(stay.from_at, stay.from_s, "put into the primary")
            return


def _must_have_held(
    record: Record, before: Request, held: PublicKey, after: Request, taken: _Taken
) -> bool:
    """Whether a process must still have had what it had acknowledged, when it took another key."""
    if record.may_have_expired(
        held, before.asked.instance, before.asked.at_s, max(taken.at_s, after.asked.at_s)
    ) or record.rival_in_primary(held, 0, after.asked_at):
        return False  # What the primary had got by then, the process may have heard of.
    policy = record.policy
    if policy.write_order == "primary-only":
        return False  # Only the primary decides, and that was looked at.
    waits = policy.pending_writes and not any(record.stays_of(held, before.asked_at, taken.at))
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
