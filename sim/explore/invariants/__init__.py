"""What must hold in every world, each as a checker over what was seen from outside.

They are the invariants of the repository's design, one a module, and pure: a chronicle made by hand
is as good as one that was played. That two plays of one world are the same is for whoever plays it
twice (`sim.explore.judging`).
"""

from sim.explore.invariants.every import INVARIANTS, violations
from sim.explore.invariants.invariant import Invariant

__all__ = ["INVARIANTS", "Invariant", "violations"]
