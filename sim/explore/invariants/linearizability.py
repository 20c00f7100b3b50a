"""Linearizability, key by key: nobody is told of a key that it is not there once it must be.

Under one id a key is written once and only ever leaves by expiring. For such a register a history
is linearizable if and only if its intervals allow a moment at which the key came to be: no later
than the end of whatever saw it, no earlier than the beginning of whatever missed it (Herlihy and
Wing, "Linearizability", TOPLAS 1990; that a read mapping makes the check linear is shown by Gibbons
and Korach, "Testing shared memories", SIAM J. Comput. 1997). So no search over orders is needed, as
that of Wing and Gong (1993) for objects of any type.

A fleet is weaker than one register, on purpose: an instance may miss a key that another one has not
yet got into the primary. What is left is a register for the primary and one for each process:

* **not found** is never told while the primary has the key for the whole time, unless that it was
  absent may be remembered: from a call that began before the key was there, and was answered no
  longer than `absent_ttl_s` ago; and not if the process has acknowledged the key itself since.
* Whoever acknowledged a key that waits, or whose memory can hold every key of the world, **finds**
  what it acknowledged and what it found before. Where memory is too small, holds keys only for a
  while, or may not be used any longer (`max_staleness_s`), it may be **unavailable**; never not
  found, as long as the key waits. With `read_policy = "primary-only"` memory promises nothing.

Ids under which there is other material are held to the first rule alone: memory may have either.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ftrepo.interface import Durability
from sim.explore.happenings import Outcome
from sim.explore.hostile_world import OperationKind
from sim.explore.invariants.invariant import Finding, Invariant
from sim.explore.invariants.record import ROUNDING_S
from sim.explore.invariants.trouble import ANSWERS

if TYPE_CHECKING:
    from ftrepo.keys import PublicKey
    from sim.explore.invariants.record import Record, Request, Stay


def _find(record: Record) -> Iterator[Finding]:
    for gets in record.gets.values():
        for get in gets:
            if get.outcome not in (Outcome.NOT_FOUND, Outcome.UNAVAILABLE):
                continue
            why = _why_it_is_there(record, get)
            if why:
                asked = get.asked
                assert get.outcome is not None
                said = (
                    f"get of {asked.key_id}, asked at {asked.at_s:.3f} s, was told "
                    f"{get.outcome.value!r}, though {why}"
                )
                yield Finding(get.told_s, said, asked.key_id, asked.instance)


def _why_it_is_there(record: Record, get: Request) -> str:
    """Say why a key must be found that was not; empty if it need not be."""
    if get.outcome is Outcome.NOT_FOUND:
        why = _in_the_primary(record, get)
        if why:
            return why
    return _in_memory(record, get)


def _in_the_primary(record: Record, get: Request) -> str:
    """Say since when the primary has had the key, if that is long enough to be known."""
    asked = get.asked
    assert asked.key_id is not None
    for stay in record.stays.get(asked.key_id, ()):
        if (
            stay.from_at < get.asked_at
            and stay.to_at > get.told_at
            and not _may_be_remembered(record, get, stay)
            and not record.may_have_expired(stay.key, asked.instance, stay.from_s, get.told_s)
        ):
            return f"the primary had had the key since {stay.from_s:.3f} s"
    return ""


def _acknowledged_since(record: Record, get: Request, stay: Stay) -> bool:
    """Whether the process has acknowledged the key since it is there: it forgets an absence then.

    What it is told later, by a call that had begun earlier, it does not believe.
    """
    return any(
        create.process == get.process
        and stay.from_at < create.told_at < get.asked_at
        and key.id == stay.key.id
        for create, _, key in record.acknowledged()
    )


def _may_be_remembered(record: Record, get: Request, stay: Stay) -> bool:
    """Whether the process may remember that the key was absent, from before it came to be there.

    It may if some read of it that began before has been answered since by a no, at most
    `absent_ttl_s` before the question.
    """
    if _acknowledged_since(record, get, stay):
        return False
    since_s = get.asked.at_s - record.policy.absent_ttl_s - ROUNDING_S
    return record.policy.absent_ttl_s > 0 and any(
        call.began.name == "get"
        and stay.key.id in call.began.key_ids
        and call.began_at < stay.from_at
        and call.ended is not None
        and call.ended.error in ANSWERS
        and call.ended_at < get.asked_at
        and call.ended_s >= since_s
        for call in record.calls[get.process]
    )


def _in_memory(record: Record, get: Request) -> str:
    """Say why memory must have the key; empty if it need not."""
    policy = record.policy
    if policy.read_policy == "primary-only":
        return ""
    for source, key in _sources(record, get):
        asked = source.asked
        if any(record.rivals(key, get.told_at)) or record.may_have_expired(
            key, asked.instance, asked.at_s, get.told_s
        ):
            continue
        if _must_hold(record, source, get, key):
            verb = "acknowledged" if source.asked.kind is OperationKind.CREATE else "returned"
            return f"the instance had {verb} that key at {source.told_s:.3f} s"
    return ""


def _sources(record: Record, get: Request) -> Iterator[tuple[Request, PublicKey]]:
    """From what the process knows the key: what it acknowledged, and what it returned before."""
    instance, process = get.process
    for create, told, key in record.acknowledged():
        own = create.process == get.process
        inherited = (
            told.durability is Durability.JOURNAL
            and create.asked.instance == instance
            and create.asked.process < process
        )
        if key.id == get.asked.key_id and create.told_at < get.asked_at and (own or inherited):
            yield create, key
    for other in record.gets[get.asked.key_id or ""]:
        if (
            other.process == get.process
            and other.told_at < get.asked_at
            and other.told is not None
            and other.told.outcome is Outcome.FOUND
            and other.told.key is not None
            and _is_settled(record, other, get)
        ):
            yield other, other.told.key


def _is_settled(record: Record, found: Request, get: Request) -> bool:
    """Whether a key that was found was more than on its way here, or has come to stay since.

    Memory shows a key before its `create` has ended. If that is refused or given up, and there is
    no room for the key to wait, it is gone again.
    """
    creates = [
        each
        for each in record.requests
        if each.process == get.process
        and each.asked.kind is OperationKind.CREATE
        and each.asked.key_id == get.asked.key_id
    ]
    return not any(_may_be_under_way(record, each, found) for each in creates) or any(
        each.outcome is Outcome.ACKNOWLEDGED and each.told_at < get.asked_at for each in creates
    )


def _may_be_under_way(record: Record, create: Request, found: Request) -> bool:
    """Whether a `create` may have shown memory the key that a `get` found, and have taken it back.

    What its caller gave up goes on, for as long as its time-outs allow.
    """
    if create.asked_at > found.told_at:
        return False
    if create.told_at > found.asked_at:
        return True
    if create.outcome not in (Outcome.CANCELLED, Outcome.CUT_OFF):
        return False
    policy = record.policy
    most_s = policy.insert_timeout_s
    if most_s is None:
        return True
    most_s += policy.journal_timeout_s if record.world.journal else 0.0
    return found.asked.at_s <= create.asked.at_s + most_s + ROUNDING_S


def _must_hold(record: Record, source: Request, get: Request, key: PublicKey) -> bool:
    """Whether memory must give the key that it knows from `source`."""
    policy, is_own = record.policy, source.asked.kind is OperationKind.CREATE
    waits = (
        is_own
        and policy.pending_writes
        and not any(record.stays_of(key, source.asked_at, get.told_at))
    )
    # What it acknowledged in another order than through memory, memory need not have.
    is_kept = waits or (
        source.process == get.process
        and holds_everything(record)
        and not (is_own and policy.write_order == "primary-only")
    )
    if not is_kept:
        return False
    # Too stale to be served, but there: that is no reason to say that there is no such key.
    if waits:
        return get.outcome is Outcome.NOT_FOUND or not may_be_stale(record, get)
    return policy.max_staleness_s is None


def holds_everything(record: Record) -> bool:
    """Whether memory has room for every key of the world, for as long as it is valid."""
    policy = record.policy
    ids = {*record.offers}
    return policy.cache_ttl_s is None and len(ids) <= (policy.cache_entries_max or math.inf)


def may_be_stale(record: Record, get: Request) -> bool:
    """Whether memory may no longer serve a key that has waited in this process for so long.

    It counts from the first time that the process heard of the key; a second `create` of it
    confirms nothing. What came from a snapshot or another instance may be older than that.
    """
    staleness_s = record.policy.max_staleness_s
    if staleness_s is None:
        return False
    if record.world.snapshot or record.world.peers or get.asked.process:
        return True
    instance = get.asked.instance
    heard_s = min(
        record.clocks.earliest_s(instance, each.asked.at_s, get.told_s)
        for each in record.requests
        if each.process == get.process
        and each.asked.key_id == get.asked.key_id
        and each.asked_at <= get.asked_at
    )
    return record.clocks.latest_s(instance, get.asked.at_s, get.told_s) - heard_s >= (
        staleness_s - ROUNDING_S
    )


LINEARIZABILITY = Invariant(
    "linearizability",
    "A key that the primary has had for long enough, or that memory must have, is found.",
    _find,
)
