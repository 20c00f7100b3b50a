"""Faults put into the code on purpose, for as long as a search takes: to see that it can fail.

A search that finds nothing says little of one that cannot find anything. What is put in here is one
method in place of another, in this process alone; the set of faults that the project keeps, and
that are all searched for, is under `tests/mutants`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sim.explore.rarefaction import share_of_worlds
from sim.explore.searching import Plan, Search, search
from sim.explore.smallest import Smallest, smallest
from sim.study.intervals import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Hunt:
    """How a fault that was put in was found.

    Attributes:
        search: up to the first world that shows it.
        smallest: what that world was made into; `None` if none was found.
        share: of the worlds that show it, with its 95% interval.
    """

    search: Search
    smallest: Smallest | None
    share: Interval


@contextmanager
def planted(owner: type, method: str, fault: Callable[..., Any]) -> Iterator[None]:
    """Put one method in place of another for the length of a block.

    Args:
        owner: the class.
        method: its name in the class itself, not in a base.
        fault: what is called instead, with the instance first.
    """
    right = vars(owner)[method]
    setattr(owner, method, fault)
    try:
        yield
    finally:
        setattr(owner, method, right)


def hunt(owner: type, method: str, fault: Callable[..., Any], *, plan: Plan, counted: int) -> Hunt:
    """Search for a fault that is put in, make the world smaller, and count how many show it.

    Everything is done in this process: no other one has the fault.

    Args:
        owner: the class.
        method: its name.
        fault: what is called instead.
        plan: what is searched at most.
        counted: in how many worlds, from the first seed of the plan on, the fault is looked for.
    """
    with planted(owner, method, fault):
        done = search(plan, workers=1)
        small = None if done.found is None else smallest(done.found)
        seeds = range(plan.first, plan.first + counted)
        worlds = [(seed, grounds) for seed in seeds for grounds in plan.grounds]
        shows = sum(
            bool(plan.judged(seed, plan.case(seed, each)).violations) for seed, each in worlds
        )
    return Hunt(search=done, smallest=small, share=share_of_worlds(shows, len(worlds)))
