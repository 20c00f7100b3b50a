"""Staleness: memory serves no key that the primary has not confirmed for longer than it may.

What confirms a key is an answer of the primary to the instance: to a read or a write of that key,
or a page of keys, in which it may have been; and what another instance has stored if that is
announced. Before the last of them, nothing can have confirmed the key later. A snapshot carries
confirmations from one process to the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sim.explore.happenings import Outcome
from sim.explore.hostile_primary import WORK_MAX_S
from sim.explore.invariants.invariant import Finding, Invariant
from sim.explore.invariants.record import ROUNDING_S

if TYPE_CHECKING:
    from ftrepo.keys import PublicKey
    from sim.explore.invariants.record import Call, Record, Request, Stay

_READ_S_MAX = 2 * WORK_MAX_S
"""How long it may take, apart from outages, until an announced key was read: another read may be
under way first."""


def _find(record: Record) -> Iterator[Finding]:
    most_s, world = record.policy.max_staleness_s, record.world
    if most_s is None:
        return
    for gets in record.gets.values():
        for get in gets:
            told, instance = get.told, get.asked.instance
            if told is None or told.outcome is not Outcome.FOUND or told.key is None:
                continue
            if any(each.instance == instance for each in world.clock_steps):
                continue  # By such a clock nobody knows how long ago anything was.
            stale_s = get.told_s - _last_confirmed_s(record, get, told.key)
            if stale_s > most_s + ROUNDING_S:
                said = (
                    f"get of {told.key.id} was answered {stale_s:.3f} s after the primary could "
                    f"have confirmed it; max_staleness_s is {most_s:g}"
                )
                yield Finding(get.told_s, said, told.key.id, instance)


def _last_confirmed_s(record: Record, get: Request, key: PublicKey) -> float:
    """The latest moment at which anything can have confirmed a key to the instance."""
    instance = get.asked.instance
    # A key is as old as it says, by the clock of whoever made it.
    made_s = (key.created - record.chronicle.began).total_seconds()
    moments_s = [made_s + record.world.skew_max_s]
    for (asker, _), calls in record.calls.items():
        if asker == instance or record.world.peers:
            moments_s += [
                call.ended_s
                for call in calls
                if call.ended_at < get.told_at and _may_confirm(call, key)
            ]
    for request in record.requests:
        is_near = request.process[0] == instance or record.world.peers
        if is_near and _is_about(request, key) and request.asked_at < get.told_at:
            # Memory takes a key sometime between the question and the answer.
            moments_s.append(min(request.told_s, get.told_s))
    if record.world.journal:
        # What a process takes over from its journal counts as new.
        moments_s += [
            life.started_s
            for (starter, _), life in record.lives.items()
            if life.started_at < get.told_at and (starter == instance or record.world.peers)
        ]
    if record.world.primary.announces:
        stays = record.stays.get(key.id, ())
        moments_s += [_heard_s(record, stay) for stay in stays if stay.from_at < get.told_at]
    return max(moments_s)


def _is_about(request: Request, key: PublicKey) -> bool:
    """Whether a request offered the key, be it with other times."""
    offered = request.key
    return offered is not None and offered.id == key.id and offered.same_material(key)


def _may_confirm(call: Call, key: PublicKey) -> bool:
    """Whether a call was answered, and the answer may have said that the primary has the key."""
    if call.ended is None or call.ended.error:
        return False
    return call.began.name == "list_valid" or key.id in call.began.key_ids


def _heard_s(record: Record, stay: Stay) -> float:
    """The latest moment at which an instance has read a key that was announced to it.

    It reads by a connection of its own, one announcement after the other, and no call is seen.
    """
    outages_s = (each.duration_s for each in record.world.outages if each.end_s > stay.from_s)
    return stay.from_s + _READ_S_MAX + sum(outages_s)


STALENESS = Invariant(
    "staleness",
    "Memory serves no key that the primary cannot have confirmed within `max_staleness_s`.",
    _find,
)
