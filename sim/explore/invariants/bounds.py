"""Bounds: memory holds no more than it may, what waits stays in it, and one flush works at a time.

What lies in the stores is seen now and then, between two turns of the loop, so this finds a bound
that is not kept for some time, and none that is broken for a moment.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from sim.explore.hostile_world import OperationKind
from sim.explore.invariants.invariant import Finding, Invariant
from sim.explore.invariants.trouble import CANCELLED

if TYPE_CHECKING:
    from sim.explore.happenings import Stores
    from sim.explore.invariants.record import Process, Record


def _find(record: Record) -> Iterator[Finding]:
    for process, seen in record.stores.items():
        for at, stores in seen:
            yield from _too_many(record, process, stores)
            yield from _evicted(record, process, at, stores)
    for process in record.calls:
        yield from _two_flushes(record, process)


def _too_many(record: Record, process: Process, stores: Stores) -> Iterator[Finding]:
    policy = record.policy
    most = policy.cache_entries_max
    if most is not None and (others := len(stores.cached - stores.pending)) > most:
        said = f"memory holds {others} keys that do not wait; cache_entries_max is {most}"
        yield Finding(stores.at_s, said, instance=process[0])
    most = policy.pending_max
    # What is taken over from a journal was acknowledged before, and is beyond the bound.
    takes_over = record.world.journal and process[1] > 0
    if most is not None and not takes_over and len(stores.pending) > most:
        said = f"{len(stores.pending)} keys wait to be written; pending_max is {most}"
        yield Finding(stores.at_s, said, instance=process[0])


def _evicted(record: Record, process: Process, at: int, stores: Stores) -> Iterator[Finding]:
    """A key that waits, as its caller was told, is in memory, whatever else is."""
    if not (lacking := stores.pending - stores.cached):
        return
    for request, _, key in record.acknowledged():
        if (
            request.process == process
            and request.told_at < at
            and key.id in lacking
            and not _is_being_written(record, process, key.id, at)
            and not record.may_have_expired(key, process[0], stores.at_s, stores.at_s)
            and not any(record.rivals(key, at))
        ):
            said = f"{key.id} waits to be written, and memory no longer has it"
            yield Finding(stores.at_s, said, key.id, process[0])


def _is_being_written(record: Record, process: Process, key_id: str, at: int) -> bool:
    """Whether a `create` is under way, for which a key waits before memory must have it."""
    return any(
        each.asked.kind is OperationKind.CREATE
        and each.asked.key_id == key_id
        and each.process == process
        and each.asked_at < at < each.told_at
        for each in record.requests
    )


def _two_flushes(record: Record, process: Process) -> Iterator[Finding]:
    """Two batches under way at once, though each was waited for to its end."""
    batches = [
        each
        for each in record.calls[process]
        if each.began.name == "create_many"
        and each.ended is not None
        and each.ended.error != CANCELLED  # else it was left behind, and nobody waits for it
    ]
    for before, batch in pairwise(batches):
        if before.ended_at > batch.began_at:
            said = (
                f"a batch of {len(batch.began.key_ids)} keys was sent while another one, sent at "
                f"{before.began.at_s:.3f} s, was on its way"
            )
            yield Finding(batch.began.at_s, said, instance=process[0])


BOUNDS = Invariant(
    "bounds",
    "Memory holds no more keys than it may, every key that waits, and one batch is sent at a time.",
    _find,
)
