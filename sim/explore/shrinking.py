"""Makes a world that breaks an invariant as small as it gets, and keeps that one invariant broken.

First there is to be less: chunks of operations, restarts, outages, clock steps and disk faults are
left out, large ones first, as in delta debugging (Zeller and Hildebrandt, "Simplifying and
Isolating Failure-Inducing Input", IEEE Transactions on Software Engineering 28, 2002; its `ddmin`,
of which only the tests of complements are used here: a chunk alone rarely fails). Then what is left
is to be plainer: the edits of `sim.explore.simpler`. Both again, until nothing gets better.

The result is a world from which nothing more can be taken alone. It is not the smallest there is.
What it breaks is the same invariant in the same way: the sentence that says what was seen is the
same, but for numbers and ids. Without that, one fault slips into another as worlds get smaller.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from ftrepo.policy import Policy
from sim.explore.judging import COMPLETION, DETERMINISM, Case, judge
from sim.explore.processor_time import (
    PROCESSOR_S_MAX,
    PROCESSOR_S_MAX_SHRINKING,
    StuckWorldError,
)
from sim.explore.simpler import LISTS, edits

if TYPE_CHECKING:
    from sim.explore.happenings import Violation

PLAYS_MAX = 2_000
"""Where shrinking stops at the latest: some twenty seconds."""

_NUMBER = re.compile(r"k?-?\d[\d.,]*")
"""A number, or the id of a key, which has its place in it."""

RESEEDED = 3
"""How many other seeds are tried for a smaller world that is played in a drawn order.

Whatever is left out shifts all draws after it, and with them the one order that broke something.
"""


class Shrinking:
    """Looks for a smaller case that is still broken; `best` holds the smallest so far.

    Deterministic: the same case gives the same result.

    Args:
        case: what is broken.
        breaks: plays a case and says if it is broken in the same way.
        plays_max: how many plays there may be.
        progress: is told how many plays there were, and of at most how many.
    """

    def __init__(
        self,
        case: Case,
        breaks: Callable[[Case], bool],
        *,
        plays_max: int = PLAYS_MAX,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.best = case
        self.plays = 0
        self._breaks = breaks
        self._plays_max = plays_max
        self._progress = progress or (lambda _done, _most: None)
        self._in_vain: set[Case] = set()

    @property
    def exhausted(self) -> bool:
        """Whether it stopped for want of plays; `best` might get smaller still."""
        return self.plays >= self._plays_max

    def run(self) -> Case:
        """Make it as small as it gets and return it."""
        before = None
        while before != self.best and not self.exhausted:
            before = self.best
            for name in LISTS:
                self._leave_out(name)
            for edit in edits(self.best):
                self._try(edit(self.best))
        return self.best

    def _leave_out(self, name: str) -> None:
        """Leave out chunks of one list: all of it, then halves, quarters, down to single items."""
        size = len(getattr(self.best.world, name))
        while size:
            # From the end: what came after the violation can go at once.
            end = len(getattr(self.best.world, name))
            while end > 0:
                items: tuple[Any, ...] = getattr(self.best.world, name)
                start = max(0, end - size)
                fewer: dict[str, Any] = {name: items[:start] + items[end:]}
                self._try(Case(replace(self.best.world, **fewer), self.best.policy))
                end = start
            size //= 2

    def _try(self, case: Case | None) -> None:
        """Take a case for the best if it is broken, too."""
        if case is None or case == self.best:
            return
        seeds = [case.world.seed]
        if case.world.shuffled:
            seeds += [seed for seed in range(RESEEDED) if seed != case.world.seed]
        for seed in seeds:
            other = case if seed == case.world.seed else _reseeded(case, seed)
            if other in self._in_vain:
                continue
            if self.exhausted:
                return
            self.plays += 1
            self._progress(self.plays, self._plays_max)
            if self._breaks(other):
                self.best = other
                return
            self._in_vain.add(other)


def breaks_like(violation: Violation) -> Callable[[Case], bool]:
    """Return what plays a case and says if the same invariant is broken in the same way."""
    name = violation.invariant
    is_stuck = violation.said.startswith(StuckWorldError.__name__)
    processor_s_max = PROCESSOR_S_MAX_SHRINKING if is_stuck else PROCESSOR_S_MAX

    def breaks(case: Case) -> bool:
        verdict = judge(case, only=name, twice=name == DETERMINISM, processor_s_max=processor_s_max)
        return any(is_alike(each, violation) for each in verdict.violations)

    return breaks


def is_alike(one: Violation, other: Violation) -> bool:
    """Whether two violations say the same, but for numbers and the ids of keys.

    What a play ended with, or where two plays part, is told in more detail than that: there the
    type of the error counts, or nothing.
    """
    if one.invariant != other.invariant:
        return False
    if one.invariant == DETERMINISM:
        return True
    if one.invariant == COMPLETION:
        return one.said.partition(":")[0] == other.said.partition(":")[0]
    return _NUMBER.sub("", one.said) == _NUMBER.sub("", other.said)


def size(case: Case) -> dict[str, int]:
    """Return how much there is of what a case is made of, by name."""
    world = case.world
    default = Policy()
    changed = [
        each.name
        for each in fields(case.policy)
        if getattr(case.policy, each.name) != getattr(default, each.name)
    ]
    return {
        **{name: len(getattr(world, name)) for name in (*LISTS, "keys")},
        "instances": world.instances,
        "changed_settings": len(changed),
    }


def _reseeded(case: Case, seed: int) -> Case:
    return Case(replace(case.world, seed=seed), case.policy)
