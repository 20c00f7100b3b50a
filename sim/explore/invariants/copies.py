"""Copies: keys that memory has from another instance, or from an earlier process.

Whoever has not taken a key in does not write it to the primary, for that the primary lacks the key
may be a revocation. So a copy is served until it expires, even if its maker is gone. If the primary
has other material under the id, a copy lasts until its process loads the primary's keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.explore.invariants.trouble import may_be_full, may_have_failed, was_slow

if TYPE_CHECKING:
    from sim.explore.invariants.record import Call, Process, Record, Request, Stay


def may_be_a_copy(record: Record, key_id: str, process: Process) -> bool:
    """Whether memory may have a key from another instance, or from an earlier process."""
    world = record.world
    return (world.peers or world.snapshot) and not any(
        create.process == process and key.id == key_id for create, _, key in record.acknowledged()
    )


def may_not_have_been_found_out(record: Record, get: Request, stay: Stay) -> bool:
    """Whether memory may have answered with a copy that is not what the primary has.

    Where memory is read first, it may until the process has loaded the primary's keys; and again
    if it may have asked another instance since, which it does only if the primary fails or cannot
    be asked. What the pages of a load held is not known, so only loads of one page count.

    Args:
        record: of the world.
        get: was answered with other material.
        stay: what the primary had under the id all the time.
    """
    assert get.asked.key_id is not None
    if record.policy.read_policy != "cache-first" or not may_be_a_copy(
        record, get.asked.key_id, get.process
    ):
        return False
    # A page that is full may not be the last one, and the next one has nothing of the first.
    if len(record.world.keys) >= record.policy.load_page_max:
        return True
    return all(_may_have_asked_since(record, get, load) for load in _loads(record, get, stay))


def _loads(record: Record, get: Request, stay: Stay) -> list[Call]:
    """By which calls the process has loaded the key that the primary has, before it was asked."""
    return [
        call
        for call in record.calls[get.process]
        if call.began.name == "list_valid"
        and stay.from_at < call.began_at
        and call.ended is not None
        and not call.ended.error
        and call.ended_at < get.asked_at
    ]


def _may_have_asked_since(record: Record, get: Request, load: Call) -> bool:
    """Whether another instance may have been asked for the key since a load began.

    The breaker was closed when that began, so that nothing but what came later can have opened it.
    """
    calls = [call for call in record.calls[get.process] if call.began_at < get.told_at]
    if any(
        call.ended_at > load.began_at
        and (may_have_failed(record, call) or was_slow(record.policy, call))
        for call in calls
    ):
        return True
    gets = record.gets[get.asked.key_id or ""]
    return any(
        each.asked_at < load.began_at or may_be_full(record, each, calls)
        for each in gets
        if each.process == get.process
        and each.asked_at <= get.asked_at
        and each.told_at > load.began_at
    )
