"""Promptness: calls return within their time-outs, whatever the primary does.

==================  ============================================================================
`create`            `insert_timeout_s`, and `journal_timeout_s` where there is a journal
`get`               `select_timeout_s`, that of other instances included
`delete_expired`    `delete_timeout_s`
`flush`             no bound, but an end
what is cancelled   at once, whatever it waits for
==================  ============================================================================

Where the time-out is `None` there is no bound. In virtual time the code itself takes no time, so
what is granted on top is only what the code grants itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sim.explore.happenings import Outcome
from sim.explore.hostile_world import OperationKind
from sim.explore.invariants.invariant import Finding, Invariant

if TYPE_CHECKING:
    from sim.explore.invariants.record import Record, Request

MARGIN_S = 0.0021
"""A `get` that joins the call of another may take two times a millisecond longer than its time-out
(`ftrepo.lookup`): one to wait for the other, one at least for a call of its own."""


def _find(record: Record) -> Iterator[Finding]:
    for request in record.requests:
        asked = request.asked
        what = asked.kind.value + (f" of {asked.key_id}" if asked.key_id else "")
        if request.told is None:
            said = f"{what}, asked at {asked.at_s:.3f} s, was never answered"
            yield Finding(record.chronicle.ended_s, said, asked.key_id, asked.instance)
            continue
        took_s = request.told_s - asked.at_s
        bound_s = _bound_s(record, request)
        if took_s > bound_s + MARGIN_S:
            said = (
                f"{what}, asked at {asked.at_s:.3f} s, took {took_s:.3f} s; at most {bound_s:g} s"
            )
            yield Finding(request.told_s, said, asked.key_id, asked.instance)


def _bound_s(record: Record, request: Request) -> float:
    policy, asked, operations = record.policy, request.asked, record.world.operations
    bound_s: float | None = None
    if asked.kind is OperationKind.CREATE:
        bound_s = policy.insert_timeout_s
        if bound_s is not None and record.world.journal and policy.pending_writes:
            bound_s += policy.journal_timeout_s
    elif asked.kind is OperationKind.GET:
        bound_s = policy.select_timeout_s
    elif asked.kind is OperationKind.DELETE_EXPIRED:
        bound_s = policy.delete_timeout_s
    bound_s = math.inf if bound_s is None else bound_s
    if request.outcome is Outcome.CANCELLED and asked.operation < len(operations):
        operation = operations[asked.operation]
        if operation.cancel_after_s is not None and not operation.cancel_at_answer:
            bound_s = min(bound_s, operation.cancel_after_s)
    return bound_s


PROMPTNESS = Invariant(
    "promptness",
    "`create`, `get` and `delete_expired` return within their time-outs, and at once if their "
    "caller gives up, whatever the primary does.",
    _find,
)
