"""Durability: what a `create` was told that its key survives, it does survive.

=========  =======================================================================================
primary    the primary had committed the key when the caller was told
journal    the key is in the primary, in pending writes or on the disk, whatever ends the process
memory     the same, as long as the process lives; if it leaves in order, and the primary or a
           journal can be written, then also after that
=========  =======================================================================================

The promise ends when the key expires, by the clock of its instance or of the primary, and when the
primary turns out to hold other material under its id: the primary's key is the one that is kept. It
does not end for material that came later, and through the same process, which should have refused
it.
Where the policy has no pending writes, a key that the primary missed was never promised to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ftrepo.interface import Durability
from sim.explore.happenings import Removed
from sim.explore.hostile_world import StopKind
from sim.explore.invariants.invariant import Finding, Invariant
from sim.explore.invariants.record import ROUNDING_S
from sim.explore.invariants.trouble import PROBE, has_failed, is_in_outage

if TYPE_CHECKING:
    from ftrepo.keys import PublicKey
    from sim.explore.happenings import Told
    from sim.explore.invariants.record import Process, Record, Request

_DRAIN_MIN_S = 1.0
"""A shutdown that may take less than this may miss a flush that is merely slow."""

_STOP_S = 3.0
"""How long a process that leaves may be at stopping its background tasks before it flushes: ten
times 0.2 s (`ftrepo.reconcile`), and one second for the calls of callers."""

_OPEN_TIMEOUT_MIN_S = 0.05
"""With less time than this a healthy disk may be too slow."""


def _find(record: Record) -> Iterator[Finding]:
    for create, told, key in record.acknowledged():
        yield from _not_in_the_primary(record, create, told, key)
        if record.policy.pending_writes:
            yield from _nowhere(record, create, told, key)
    for each in record.chronicle.happenings:
        if isinstance(each, Removed):
            early_s = record.expires_s(each.key) - each.at_s
            if early_s > ROUNDING_S:
                said = f"the primary deleted {each.key.id} {early_s:.3f} s before it expired"
                yield Finding(each.at_s, said, each.key.id)


def _not_in_the_primary(
    record: Record, create: Request, told: Told, key: PublicKey
) -> Iterator[Finding]:
    """A key that was acknowledged as committed, and was not."""
    instance = create.asked.instance
    if (
        told.durability is Durability.PRIMARY
        and not any(record.stays_of(key, create.asked_at, create.told_at))
        and not record.may_have_expired(key, instance, create.asked.at_s, told.at_s)
    ):
        said = f"{key.id} was acknowledged as durable as the primary, which did not have it"
        yield Finding(told.at_s, said, key.id, instance)


def _nowhere(record: Record, create: Request, told: Told, key: PublicKey) -> Iterator[Finding]:
    """A key that was acknowledged and is in no store, at the first moment at which that is seen."""
    process = create.process
    for at, stores, is_promised in _moments(record, process, told):
        if at < create.told_at or not is_promised:
            continue
        if _is_excused(record, create, key, at) or any(record.stays_of(key, create.asked_at, at)):
            return
        if key.id not in stores[0] and key.id not in stores[1]:
            durability = "" if told.durability is None else told.durability.value
            said = (
                f"{key.id}, acknowledged by instance {process[0]} at {told.at_s:.3f} s as durable "
                f"as {durability}, is not in the primary, not pending and not on the disk"
            )
            yield Finding(record.time_at(at), said, key.id, process[0])
            return


def _moments(
    record: Record, process: Process, told: Told
) -> Iterator[tuple[int, tuple[frozenset[str], frozenset[str]], bool]]:
    """When stores were looked into, what was pending and on the disk, and if the key must be there.

    The last moment is the end of a life that nobody looked into any more.
    """
    instance, number = process
    survives = told.durability is Durability.JOURNAL
    nothing: frozenset[str] = frozenset()
    while (instance, number) in record.lives:
        life = record.lives[instance, number]
        for at, stores in record.stores[instance, number]:
            if at < life.stopped_at:
                yield at, (stores.pending, stores.on_disk), True
        if life.kind is StopKind.LEAVE and not life.was_cut_short:
            if _can_drain(record, (instance, number)):
                # Whatever the next process has, the primary must have had it all by then.
                yield record.end, (nothing, nothing), True
            survives = survives or _can_write_journal(record, (instance, number))
        if life.kind is None or not survives:
            return
        number += 1


def _is_excused(record: Record, create: Request, key: PublicKey, until_at: int) -> bool:
    instance, asked_s = create.asked.instance, create.asked.at_s
    return (
        record.rival_in_primary(key, create.asked_at, until_at)
        and _has_rival_of_others(record, create, key, until_at)
    ) or record.may_have_expired(key, instance, asked_s, record.time_at(until_at))


def _has_rival_of_others(record: Record, create: Request, key: PublicKey, until_at: int) -> bool:
    """Whether somebody offered other material whom the process could not refuse.

    It can refuse whoever comes to it when it has acknowledged a key, which then waits.
    """
    refusable = {
        each.asked_at
        for each in record.requests
        if each.process == create.process and each.asked_at > create.told_at
    }
    return any(
        offered_at < until_at and offered_at not in refusable and not offered.same_material(key)
        for offered_at, offered in record.offers.get(key.id, ())
    )


def _can_drain(record: Record, process: Process) -> bool:
    """Whether a process that left in order must have been able to flush first."""
    policy, life = record.policy, record.lives[process]
    until_s = life.stopped_s + _STOP_S + policy.drain_timeout_s
    calls = record.calls[process]
    before = [each for each in calls if each.ended_at < life.stopped_at]
    after = [each for each in calls if each.began_at > life.stopped_at]
    failed_s = max((each.ended_s for each in before if has_failed(record, each)), default=-1.0)
    # An ordinary call that succeeded after the last failure was let through: the breaker is closed,
    # unless it counts shares, for then a success may be what makes the count large enough.
    counts_shares = policy.breaker_failure_rate is not None or policy.breaker_slow_rate is not None
    is_closed = not policy.breaker or (
        not counts_shares
        and any(each.began.at_s > failed_s and each.began.name != PROBE for each in before)
    )
    return (
        policy.drain_timeout_s >= _DRAIN_MIN_S
        and is_closed
        and len(calls) < policy.calls_in_flight_max
        and not is_in_outage(record, life.stopped_s, until_s)
        and not any(has_failed(record, each) for each in after)
    )


def _can_write_journal(record: Record, process: Process) -> bool:
    """Whether a process that left in order must have been able to leave its keys on the disk."""
    instance, number = process
    policy, life = record.policy, record.lives[process]
    if not record.world.journal or policy.journal_open_timeout_s < _OPEN_TIMEOUT_MIN_S:
        return False
    following = record.lives.get((instance, number + 1))
    until_s = record.chronicle.ended_s if following is None else following.began_s
    return not any(
        fault.instance == instance and fault.start_s <= until_s and fault.end_s >= life.stopped_s
        for fault in record.world.disk_faults
    )


DURABILITY = Invariant(
    "durability",
    "An acknowledged key that has not expired is in the primary, in pending writes or on the disk: "
    "as long as its process lives, and with a journal even if that is killed.",
    _find,
)
