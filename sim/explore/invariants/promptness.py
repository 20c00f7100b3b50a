"""Promptness: calls return within their time-outs, whatever the primary does.

==================  ============================================================================
`create`            `insert_timeout_s`, and `journal_timeout_s` where there is a journal
`get`               `select_timeout_s`, that of other instances included
`delete_expired`    `delete_timeout_s`
`flush`             no bound, but an end
what is cancelled   at once, whatever it waits for; so are calls that the end of a process cuts off
a start             `load_timeout_s` for each page of keys, `journal_open_timeout_s` and
                    `snapshot_timeout_s` where there is a journal or a snapshot
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
from sim.explore.invariants.record import ROUNDING_S

if TYPE_CHECKING:
    from sim.explore.invariants.record import Record, Request

MARGIN_S = 0.0021
"""A `get` that joins the call of another may take two times a millisecond longer than its time-out
(`ftrepo.lookup`): one to wait for the other, one at least for a call of its own."""


def _find(record: Record) -> Iterator[Finding]:
    yield from _slow_starts(record)
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
    policy, asked = record.policy, request.asked
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
    return min(bound_s, _given_up_after_s(record, request))


def _given_up_after_s(record: Record, request: Request) -> float:
    """How long after it had asked a caller gave up, or its process ended; infinite if neither."""
    asked, operations = request.asked, record.world.operations
    if request.outcome is Outcome.CUT_OFF:
        life = record.lives.get(request.process)
        return 0.0 if life is None else max(0.0, life.stopped_s - asked.at_s)
    if request.outcome is not Outcome.CANCELLED or asked.operation >= len(operations):
        return math.inf
    operation = operations[asked.operation]
    if operation.cancel_after_s is None:
        return math.inf
    if not operation.cancel_at_answer:
        return operation.cancel_after_s
    waits_from_s = asked.at_s + operation.cancel_after_s + ROUNDING_S
    answered_s = (call.ended_s for call in record.calls.get(request.process, ()))
    return min((each for each in answered_s if each > waits_from_s), default=math.inf) - asked.at_s


def _slow_starts(record: Record) -> Iterator[Finding]:
    bound_s = _start_bound_s(record)
    for each in record.starts:
        if each.took_s > bound_s + MARGIN_S:
            said = f"a start took {each.took_s:.3f} s; at most {bound_s:g} s"
            yield Finding(each.at_s, said, instance=each.instance)


def _start_bound_s(record: Record) -> float:
    policy, world = record.policy, record.world
    bound_s = 0.0
    if policy.read_policy != "primary-only":
        # A full page may be the last one: nobody knows before the next.
        pages = len(record.offers) // policy.load_page_max + 1
        bound_s += math.inf if policy.load_timeout_s is None else pages * policy.load_timeout_s
    if world.journal and policy.pending_writes:
        bound_s += policy.journal_open_timeout_s
    if world.snapshot:
        bound_s += policy.snapshot_timeout_s
    return bound_s


PROMPTNESS = Invariant(
    "promptness",
    "`create`, `get`, `delete_expired` and a start return within their time-outs, and at once if "
    "their caller gives up, whatever the primary does.",
    _find,
)
