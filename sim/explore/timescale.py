"""All the moments of a world at once: when things happen, moved together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sim.explore.hostile_world import HostileWorld


NEVER_S = 3600.0
"""A key that expires so late, or later, does not expire in a world; such a time is no moment."""


def moments(world: HostileWorld) -> tuple[float, ...]:
    """Return when something happens by the clock of the world, in order, each moment once."""
    found: set[float] = set()

    def noted(at_s: float) -> float:
        found.add(at_s)
        return at_s

    moved(world, noted)
    return tuple(sorted(found))


def moved(world: HostileWorld, new_s: Callable[[float], float]) -> HostileWorld:
    """Return the world with every moment at another time; what lasts from one to another follows.

    Args:
        world: what is changed; how long a restart takes, or a caller waits, is no moment.
        new_s: the new time of a moment; it must not change their order.

    Raises:
        InputError: a moment would be before the beginning, or an outage would end as it begins.
    """
    return replace(
        world,
        keys=tuple(
            each if each.expires_s >= NEVER_S else replace(each, expires_s=new_s(each.expires_s))
            for each in world.keys
        ),
        operations=tuple(replace(each, at_s=new_s(each.at_s)) for each in world.operations),
        restarts=tuple(replace(each, at_s=new_s(each.at_s)) for each in world.restarts),
        clock_steps=tuple(replace(each, at_s=new_s(each.at_s)) for each in world.clock_steps),
        outages=tuple(
            replace(each, start_s=new_s(each.start_s), end_s=new_s(each.end_s))
            for each in world.outages
        ),
        disk_faults=tuple(
            replace(each, start_s=new_s(each.start_s), end_s=new_s(each.end_s))
            for each in world.disk_faults
        ),
    )
