"""Draws scenes: faults and calls that show something only together, in one order.

A story is told at any moment, whatever goes wrong then. A scene brings its fault along: a key is
created while the disk is full *and* the primary away, and then the process is killed. Each is set
on keys of its own, in a part of the worlds whose policy gives it a meaning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.explore.scenes import crowds, fleets, flushes, losses, refusals
from sim.explore.stage import Stage

if TYPE_CHECKING:
    from ftrepo.policy import Policy
    from sim.explore.dice import Dice
    from sim.explore.hostile_world import HostileWorld

SHARE = 0.5
"""The share of the worlds in which there are scenes."""

SCENES_MAX = 4

SCENES = (
    *losses.SCENES,
    *flushes.SCENES,
    *refusals.SCENES,
    *crowds.SCENES,
    *fleets.SCENES,
)
"""All of them."""


def add_scenes(world: HostileWorld, dice: Dice, policy: Policy, *, is_free: bool) -> HostileWorld:
    """Return a world with some scenes more, or none.

    Args:
        world: that was drawn.
        dice: draws.
        policy: of the repositories.
        is_free: whether a scene may give the instances a journal, a snapshot or peers.
    """
    if not dice.chance(SHARE):
        return world
    stage = Stage(world, dice, policy, is_free=is_free)
    for _ in range(dice.whole(1, SCENES_MAX)):
        known = [each for each in SCENES if each.has_a_meaning(stage) for _ in range(each.weight)]
        if known:
            dice.pick(known).play(stage)
    return stage.world()
