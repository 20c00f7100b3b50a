"""Containment: nobody is told anything but the answers that the interface names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from sim.explore.happenings import Broke, Outcome
from sim.explore.hostile_world import OperationKind
from sim.explore.invariants.invariant import Finding, Invariant

if TYPE_CHECKING:
    from sim.explore.invariants.record import Record, Request

_ENDINGS = frozenset({Outcome.CANCELLED, Outcome.CUT_OFF})
"""What the caller, or the end of the instance, makes of a call."""

_ANSWERS = {
    OperationKind.CREATE: {
        Outcome.ACKNOWLEDGED,
        Outcome.CONFLICT,
        Outcome.EXPIRED,
        Outcome.FULL,
        Outcome.UNAVAILABLE,
    },
    OperationKind.GET: {Outcome.FOUND, Outcome.NOT_FOUND, Outcome.UNAVAILABLE},
    OperationKind.DELETE_EXPIRED: {Outcome.ACKNOWLEDGED},
    OperationKind.FLUSH: {Outcome.ACKNOWLEDGED},
    OperationKind.PUBLISH: {Outcome.ACKNOWLEDGED, Outcome.CONFLICT},
}


def _find(record: Record) -> Iterator[Finding]:
    for each in record.chronicle.happenings:
        if isinstance(each, Broke):
            yield Finding(each.at_s, f"something failed of which nobody was told: {each.what}")
    for request in record.requests:
        asked, told = request.asked, request.told
        if told is None or told.outcome in _ENDINGS:
            continue
        wrong = _why_wrong(record, request)
        if wrong:
            said = f"a {asked.kind.value} asked at {asked.at_s:.3f} s was told {wrong}"
            yield Finding(told.at_s, said, asked.key_id, asked.instance)


def _why_wrong(record: Record, request: Request) -> str:
    """Say why an answer must not be given; empty if it may."""
    told = request.told
    assert told is not None
    outcome, kind = told.outcome, request.asked.kind
    if outcome not in _ANSWERS[kind]:
        return f"{outcome.value!r}" + (f": {told.error}" if told.error else "")
    if kind is OperationKind.CREATE:
        wrong, may_be = _REFUSALS.get(outcome, ("", None))
        if may_be and not may_be(record, request):
            return f"{outcome.value!r}, {wrong}"
    return ""


def _may_be_expired(record: Record, request: Request) -> bool:
    key, asked = request.key, request.asked
    return key is None or record.may_have_expired(key, asked.instance, asked.at_s, request.told_s)


def _has_rival(record: Record, request: Request) -> bool:
    """Whether somebody offered other material that had not certainly expired by then.

    If the key itself may have expired on its way, an expired one may have taken its place.
    """
    key, asked = request.key, request.asked
    if key is not None and _may_be_expired(record, request):
        return any(record.rivals(key, request.told_at))
    return key is None or any(
        not record.must_have_expired(rival, asked.instance, asked.at_s, request.told_s)
        for rival in record.rivals(key, request.told_at)
    )


_REFUSALS: dict[Outcome, tuple[str, Callable[[Record, Request], bool]]] = {
    Outcome.UNAVAILABLE: (
        "though memory can keep the key",
        lambda record, _: record.policy.write_order == "primary-only",
    ),
    Outcome.FULL: (
        "though any number of keys may wait",
        lambda record, _: record.policy.pending_writes and record.policy.pending_max is not None,
    ),
    Outcome.EXPIRED: (
        "before its key had, by the clocks of the instance and of the primary",
        _may_be_expired,
    ),
    Outcome.CONFLICT: (
        "though nobody had a valid key of other material under that id",
        _has_rival,
    ),
}
"""What a `create` may be refused with: what is wrong with it, unless this holds."""


CONTAINMENT = Invariant(
    "containment",
    "No failure of the primary, the disk or another instance reaches a caller as an error of its "
    "own, or breaks what goes on in the background.",
    _find,
)
