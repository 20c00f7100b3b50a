"""Every behaviour that a search is meant to reach, by name: a fixed list, so it can show gaps.

A search that finds nothing says little unless one knows where it has been. So the names are written
down here, and not gathered from what happened: what no world reached can then be told.

`PAIRS` cross how the primary fails with what happens meanwhile. `SITUATIONS` cross both with where
the breaker of the instance stands. Some of those cannot be, so that none is missed in particular;
but there are enough of them for a search to find new ones for long, which makes them a measure of
what more seeds bring.
"""

from __future__ import annotations

from itertools import product

from ftrepo.interface import Durability
from ftrepo.resilience.breaker_state import BreakerState
from sim.explore.happenings import Outcome
from sim.explore.hostile_world import DiskFaultKind, OperationKind, StopKind
from sim.world.outages import OutageMode

CALLS = ("create", "create_many", "get", "list_valid", "delete_expired", "ping")
"""The methods of the primary."""

_CREATE = (
    Outcome.ACKNOWLEDGED,
    Outcome.UNAVAILABLE,
    Outcome.CONFLICT,
    Outcome.EXPIRED,
    Outcome.FULL,
    Outcome.CANCELLED,
    Outcome.CUT_OFF,
)
_GET = (
    Outcome.FOUND,
    Outcome.NOT_FOUND,
    Outcome.UNAVAILABLE,
    Outcome.CANCELLED,
    Outcome.CUT_OFF,
)
_OTHERS = (Outcome.ACKNOWLEDGED, Outcome.CANCELLED, Outcome.CUT_OFF)

GROUPS: dict[str, tuple[str, ...]] = {
    "outage": (*(mode.value for mode in OutageMode), "another at once"),
    "stop": (
        *(kind.value for kind in StopKind),
        "before it had started",
        "with pending writes",
        "with a journal that is not empty",
        "during a caller's create",
        *(f"during {call}" for call in CALLS),
    ),
    "start": ("primary well", "in an outage", "journal not empty", "from a snapshot"),
    "fault": (
        *(f"disk {kind.value}" for kind in DiskFaultKind),
        "clock forward",
        "clock back",
        "clocks apart",
        "drawn order",
    ),
    "create": tuple(each.value for each in _CREATE),
    "get": tuple(each.value for each in _GET),
    "delete_expired": tuple(each.value for each in _OTHERS),
    "flush asked": tuple(each.value for each in _OTHERS),
    "durability": tuple(each.value for each in Durability),
    "breaker": (
        "closed to open",
        "open to half-open",
        "half-open to closed",
        "half-open to open",
    ),
    "flush": (
        "all confirmed",
        "some remain",
        "failed",
        "dropped: expired",
        "dropped: conflict",
        "dropped: shutdown",
        "during a create",
        "during a refresh",
    ),
    "fallback": (
        "primary unavailable",
        "unknown to the primary",
        "miss",
        "peer had it",
        "no peer had it",
    ),
    "memory": (
        "refresh added keys",
        "refresh added none",
        "refresh during a create",
        "conflict seen",
        "expired deleted everywhere",
        "expired deleted without the primary",
    ),
    "disk": (
        "journal recovered keys",
        "journal dropped expired",
        "journal kept",
        "append failed",
        "remove failed",
        "close failed",
        "snapshot load failed",
        "snapshot save failed",
    ),
    "write": (
        "confirmed",
        "failed, not committed",
        "committed, answer lost",
        "committed after it was given up",
        "in the place of an expired key",
        "delivered once more, after its removal",
        "of somebody else",
    ),
    "race": (
        "two creates of a key, one instance",
        "two creates of a key, two instances",
        "create and get of a key, one instance",
        "create and get of a key, two instances",
        "create and delete_expired",
        "two gets of a key, one instance",
    ),
}
"""What can be reached, by kind."""

MEANWHILE = (
    "kill",
    "leave",
    "start",
    "create",
    "get",
    "delete_expired",
    "flush",
    "publish",
    "cancelled",
    "clock step",
    "breaker opens",
    "breaker probes",
)
"""What may happen in an outage."""

assert {kind.value for kind in (*StopKind, *OperationKind)} <= set(MEANWHILE)


WELL = "well"
"""The primary in a situation without an outage."""


def behaviour(group: str, name: str) -> str:
    """Return the full name of a behaviour."""
    return f"{group}: {name}"


def pair(mode: OutageMode, meanwhile: str) -> str:
    """Return the name of a pair."""
    return f"{mode.value} × {meanwhile}"


def situation(mode: str, breaker: BreakerState, what: str) -> str:
    """Return the name of a situation.

    Args:
        mode: of the outage, or `WELL`.
        breaker: where that of the instance stands.
        what: one of `MEANWHILE`.
    """
    return f"{mode}, {breaker.value} × {what}"


BEHAVIOURS = tuple(behaviour(group, name) for group, names in GROUPS.items() for name in names)

PAIRS = tuple(pair(mode, meanwhile) for mode, meanwhile in product(OutageMode, MEANWHILE))

SITUATIONS = tuple(
    situation(mode, breaker, what)
    for mode, breaker, what in product(
        (WELL, *(mode.value for mode in OutageMode)), BreakerState, MEANWHILE
    )
)
