"""Convergence: some time after the last of the faults, nothing waits and every store agrees.

How long that takes at most is worked out from the policy, in `sim.explore.settling`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sim.explore.happenings import Outcome, Stores
from sim.explore.invariants.copies import may_be_a_copy, may_not_have_been_found_out
from sim.explore.invariants.invariant import Finding, Invariant
from sim.explore.invariants.record import ROUNDING_S, Stay
from sim.explore.invariants.trouble import has_failed
from sim.explore.settling import settle_bound_s

if TYPE_CHECKING:
    from ftrepo.keys import PublicKey
    from sim.explore.invariants.record import Record, Request


def _find(record: Record) -> Iterator[Finding]:
    settled_s = settled_from_s(record)
    for at, stores in settled_stores(record):
        yield from _still_waits(record, stores)
        for key_id in stray(record, at, stores):
            said = f"memory has {key_id}, which is not in the primary and does not wait for it"
            yield Finding(stores.at_s, said, key_id, stores.instance)
    for gets in record.gets.values():
        for get in gets:
            if get.asked.at_s >= settled_s:
                yield from _does_not_agree(record, get)


def settled_from_s(record: Record) -> float:
    """From when on everything must have settled."""
    keys = len(record.world.keys)
    bound_s = settle_bound_s(record.policy, keys=keys)
    return record.chronicle.recovered_s + bound_s - ROUNDING_S


def settled_stores(record: Record) -> Iterator[tuple[int, Stores]]:
    """What lay in the stores of the processes that live then, and at which place that was seen."""
    settled_s = settled_from_s(record)
    for process, seen in record.stores.items():
        life = record.lives[process]
        for at, stores in seen:
            if stores.at_s >= settled_s and at < life.stopped_at:
                yield at, stores


def stray(record: Record, at: int, stores: Stores) -> Iterator[str]:
    """Ids that memory has, and neither the primary nor pending writes, though both should agree."""
    if not record.policy.pending_writes:
        return  # Then what the primary missed stays in memory only: that is the policy.
    for key_id in sorted(stores.cached - stores.pending):
        standing = _standing(record, key_id, at)
        keys = [key for offered_at, key in record.offers[key_id] if offered_at < at]
        # Nobody knows which of several keys memory has: each must be one that could not be there.
        if (
            standing is None
            and not may_be_a_copy(record, key_id, (stores.instance, stores.process))
            and not any(
                record.may_have_expired(key, stores.instance, 0.0, stores.at_s) for key in keys
            )
        ):
            yield key_id


def _still_waits(record: Record, stores: Stores) -> Iterator[Finding]:
    after_s = stores.at_s - record.chronicle.recovered_s
    for key_id in sorted(stores.pending):
        said = f"{key_id} still waits to be written, {after_s:.3f} s after the primary was well"
        yield Finding(stores.at_s, said, key_id, stores.instance)
    if any(fault.instance == stores.instance for fault in record.world.disk_faults):
        return  # What could not be taken out of the journal is looked at by the next start.
    for key_id in sorted(stores.on_disk - stores.pending):
        said = f"{key_id} is still in the journal, {after_s:.3f} s after the primary was well"
        yield Finding(stores.at_s, said, key_id, stores.instance)


def _does_not_agree(record: Record, get: Request) -> Iterator[Finding]:
    """An answer that is not the key which the primary has had all the time."""
    asked, told = get.asked, get.told
    if told is None or told.outcome in (Outcome.CANCELLED, Outcome.CUT_OFF):
        return
    assert asked.key_id is not None
    stay = _standing(record, asked.key_id, get.asked_at)
    if stay is None:
        if (
            told.key is not None
            and not may_be_a_copy(record, asked.key_id, get.process)
            and _must_be_there(record, told.key, asked.instance, told.at_s)
        ):
            said = f"get of {asked.key_id} returned a key that the primary still lacks"
            yield Finding(told.at_s, said, asked.key_id, asked.instance)
        return
    if stay.to_at < get.told_at:
        return
    if record.may_have_expired(stay.key, asked.instance, stay.from_s, told.at_s):
        return
    had = f"get of {asked.key_id}, which the primary has had since {stay.from_s:.3f} s,"
    if told.outcome is not Outcome.FOUND:
        if _primary_failed(record, get):
            return  # Many ask at once then. What is promised is that the primary is asked.
        said = f"{had} was told {told.outcome.value!r}"
        yield Finding(told.at_s, said, asked.key_id, asked.instance)
    elif (
        told.key is not None
        and not _agrees(record, told.key, stay)
        and not may_not_have_been_found_out(record, get, stay)
    ):
        said = f"{had} returned other material"
        yield Finding(told.at_s, said, asked.key_id, asked.instance)


def _primary_failed(record: Record, get: Request) -> bool:
    """Whether the primary failed to answer the instance once everything had settled.

    Nothing is wrong with it then, but its workers and its queue may be fewer than those who ask;
    and one failure may be enough for a breaker.
    """
    settled_s = settled_from_s(record)
    return any(
        call.began.at_s <= get.told_s and call.ended_s >= settled_s and has_failed(record, call)
        for call in record.calls[get.process]
    )


def _must_be_there(record: Record, key: PublicKey, instance: int, at_s: float) -> bool:
    """Whether the primary must have a key that memory has."""
    return record.policy.pending_writes and not record.may_have_expired(key, instance, 0.0, at_s)


def _agrees(record: Record, key: PublicKey, stay: Stay) -> bool:
    """Whether a key is the one in the primary, or may be had by an instance all the same.

    It may be one whose place that one took when it expired; and where the policy has no pending
    writes, what the primary missed stays in memory, and nobody compares the two.
    """
    return (
        key.same_material(stay.key)
        or (not record.policy.pending_writes and record.policy.read_policy == "cache-first")
        or any(each.to_at == stay.from_at for each in record.stays_of(key, 0, stay.to_at))
    )


def _standing(record: Record, key_id: str, at: int) -> Stay | None:
    """What the primary has under an id at a place."""
    stays = record.stays.get(key_id, ())
    return next((stay for stay in stays if stay.from_at < at < stay.to_at), None)


CONVERGENCE = Invariant(
    "convergence",
    "Once the primary has been well for long enough, nothing waits to be written, memory has "
    "nothing that the primary lacks, and every instance finds every key.",
    _find,
)
