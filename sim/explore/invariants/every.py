"""Every invariant there is, and the one question asked of all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.explore.invariants.binding import BINDING
from sim.explore.invariants.bounds import BOUNDS
from sim.explore.invariants.cancellation import CANCELLATION
from sim.explore.invariants.composure import COMPOSURE
from sim.explore.invariants.containment import CONTAINMENT
from sim.explore.invariants.convergence import CONVERGENCE
from sim.explore.invariants.durability import DURABILITY
from sim.explore.invariants.freshness import FRESHNESS
from sim.explore.invariants.linearizability import LINEARIZABILITY
from sim.explore.invariants.promptness import PROMPTNESS
from sim.explore.invariants.restraint import RESTRAINT
from sim.explore.invariants.staleness import STALENESS
from sim.explore.invariants.truth import TRUTH

if TYPE_CHECKING:
    from sim.explore.happenings import Chronicle, Violation
    from sim.explore.invariants.invariant import Invariant

INVARIANTS: tuple[Invariant, ...] = (
    DURABILITY,
    TRUTH,
    LINEARIZABILITY,
    BINDING,
    PROMPTNESS,
    CONVERGENCE,
    FRESHNESS,
    STALENESS,
    RESTRAINT,
    BOUNDS,
    CANCELLATION,
    COMPOSURE,
    CONTAINMENT,
)
"""Every invariant, the gravest first."""


def violations(chronicle: Chronicle) -> tuple[Violation, ...]:
    """Return every violation in a chronicle, the earliest first; of one moment, the gravest."""
    found = [violation for invariant in INVARIANTS for violation in invariant.check(chronicle)]
    return tuple(sorted(found, key=lambda each: each.at_s))
