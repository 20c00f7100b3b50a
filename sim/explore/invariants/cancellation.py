"""Cancellation: a caller who gives up leaks nothing, and leaves no key half-way.

A `create` that its caller cancelled was not acknowledged. Its key is then in every store in the
end, or in none: not in the memory of one instance alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sim.explore.happenings import Outcome
from sim.explore.hostile_world import OperationKind
from sim.explore.invariants.convergence import settled_stores, stray
from sim.explore.invariants.invariant import Finding, Invariant

if TYPE_CHECKING:
    from sim.explore.invariants.record import Record


def _find(record: Record) -> Iterator[Finding]:
    chronicle = record.chronicle
    if chronicle.leftover_tasks:
        said = f"tasks were left running: {', '.join(chronicle.leftover_tasks)}"
        yield Finding(chronicle.ended_s, said)
    if chronicle.open_connections:
        said = f"{chronicle.open_connections} connections of the pool were never given back"
        yield Finding(chronicle.ended_s, said)
    given_up = {
        each.asked.key_id
        for each in record.requests
        if each.asked.kind is OperationKind.CREATE and each.outcome is Outcome.CANCELLED
    }
    kept = {key.id for _, _, key in record.acknowledged()}
    for at, stores in settled_stores(record):
        for key_id in stray(record, at, stores):
            if key_id in given_up - kept:
                said = f"memory alone has {key_id}, whose create was cancelled"
                yield Finding(stores.at_s, said, key_id, stores.instance)


CANCELLATION = Invariant(
    "cancellation",
    "A caller who gives up leaves no task, no connection and no key behind that only one store "
    "knows of.",
    _find,
)
