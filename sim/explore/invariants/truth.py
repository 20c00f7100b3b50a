"""Truth: `get` returns a valid key that somebody made under that id, and nothing else.

A key counts as valid by the clock of the instance that was asked. Material counts as made from the
moment at which a caller asked to create it, acknowledged or not, until every such call was refused:
then it must be gone, unless it had come to be in the primary all the same. So must what a flush
has sent and the primary refused, for it has other material under that id.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sim.explore.happenings import Outcome
from sim.explore.hostile_world import OperationKind
from sim.explore.invariants.invariant import Finding, Invariant
from sim.explore.invariants.record import ROUNDING_S
from sim.explore.invariants.trouble import has_failed, was_given_up

if TYPE_CHECKING:
    from ftrepo.keys import PublicKey
    from sim.explore.invariants.record import Record, Request

REFUSED = frozenset({Outcome.CONFLICT, Outcome.EXPIRED, Outcome.FULL, Outcome.UNAVAILABLE})
"""What a `create` is told whose key is not kept."""


def _find(record: Record) -> Iterator[Finding]:
    for gets in record.gets.values():
        for get in gets:
            told = get.told
            if told is not None and told.outcome is Outcome.FOUND:
                wrong = "no key at all" if told.key is None else _why_wrong(record, get, told.key)
                if wrong:
                    asked = get.asked
                    said = f"get of {asked.key_id} returned {wrong}"
                    yield Finding(told.at_s, said, asked.key_id, asked.instance)
    for key_id, stays in record.stays.items():
        for stay in stays:
            if not any(
                at < stay.from_at and _is(key, stay.key) for at, key in record.offers[key_id]
            ):
                said = "the primary has a key that nobody made"
                yield Finding(stay.from_s, said, key_id)


def _why_wrong(record: Record, get: Request, key: PublicKey) -> str:
    """Say why this key must not be returned; empty if it may."""
    asked = get.asked
    if key.id != asked.key_id:
        return f"a key with another id, {key.id}"
    expired_s = record.clocks.earliest_s(asked.instance, get.told_s, get.told_s)
    expired_s -= record.expires_s(key)
    if expired_s >= ROUNDING_S:
        return f"a key that had expired {expired_s:.3f} s before, by the clock of the instance"
    return _why_not_kept(record, get, key)


def _why_not_kept(record: Record, get: Request, key: PublicKey) -> str:
    """Say why no store may have this key; empty if one may."""
    offered = [each for at, each in record.offers[key.id] if at < get.told_at]
    if not any(each.same_material(key) for each in offered):
        return "material that nobody had made"
    if not any(_is(each, key) for each in offered):
        return f"a key that was changed: it expires at {record.expires_s(key):.3f} s"
    if _is_refused(record, key, get):
        return "material of which everybody who made it had been told that it is not kept"
    if _is_displaced(record, key, get):
        return "material of which the instance had been told that the primary has other"
    return ""


def _is_refused(record: Record, key: PublicKey, get: Request) -> bool:
    """Whether every `create` of this material had been refused before the question."""
    if any(record.stays_of(key, 0, get.told_at)):
        return False
    for each in record.requests:
        if (
            each.asked.kind is OperationKind.CREATE
            and each.key is not None
            and each.key.id == key.id
            and each.key.same_material(key)
            and each.asked_at < get.told_at
            and (not _was_refused(record, each) or each.told_at > get.asked_at)
        ):
            return False
    return True


def _was_refused(record: Record, create: Request) -> bool:
    """Whether a caller was told that its key is not kept, and that cannot change any more.

    What a clock took for expired may be valid again once the clock has jumped.
    """
    instance = create.asked.instance
    return create.outcome in REFUSED and not (
        create.outcome is Outcome.EXPIRED
        and any(each.instance == instance for each in record.world.clock_steps)
    )


def _is_displaced(record: Record, key: PublicKey, get: Request) -> bool:
    """Whether the process has sent this material, and was told that the primary has other.

    From then on no store of it may have the key, unless it was created there anew or came from
    another instance.
    """
    if record.world.peers:
        return False
    for call in record.calls[get.process]:
        if (
            call.began.name == "create_many"
            and key.id in call.began.key_ids
            and call.ended_s < get.asked.at_s
            and not has_failed(record, call)
            and not was_given_up(record, call)
            and _only_rivals(record, key, call.began_at, get.told_at)
        ):
            return not any(
                each.process == get.process
                and each.asked.kind is OperationKind.CREATE
                and each.asked.key_id == key.id
                and each.told_at > call.began_at
                and each.asked_at < get.told_at
                for each in record.requests
            )
    return False


def _only_rivals(record: Record, key: PublicKey, from_at: int, to_at: int) -> bool:
    """Whether the primary had one key of other material under the id, all this time."""
    return any(
        stay.from_at < from_at and stay.to_at > to_at and not stay.key.same_material(key)
        for stay in record.stays.get(key.id, ())
    )


def _is(one: PublicKey, other: PublicKey) -> bool:
    """Whether both are the same key, but for when they were made."""
    return one.same_material(other) and one.expires == other.expires


TRUTH = Invariant(
    "truth",
    "`get` never returns an expired key, a key that nobody made, or other material than was made "
    "under that id.",
    _find,
)
