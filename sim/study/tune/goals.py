"""What a search is given: the policy that it departs from, and what may change to what end."""

from __future__ import annotations

from dataclasses import dataclass

from ftrepo.policy import Policy
from sim.study.tune.objectives import Constraint, Objective
from sim.study.tune.space import Dimension


@dataclass(frozen=True, slots=True, kw_only=True)
class Goals:
    """What is searched for.

    Attributes:
        base: the policy whose other settings stay, and which a recommendation has to beat.
        space: the settings that may change.
        objectives: what to push; the first one decides where others leave a choice.
        constraints: what to keep.
    """

    base: Policy
    space: tuple[Dimension, ...]
    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...] = ()
