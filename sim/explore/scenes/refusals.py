"""Scenes of creates that are refused, for their id or for want of room, while others wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.explore.hostile_world import OperationKind
from sim.explore.scenes.scene import Scene, pends, remembers
from sim.explore.stage import FAILS_AT_ONCE
from sim.world.outages import OutageMode

if TYPE_CHECKING:
    from sim.explore.stage import Stage

ROOM_MAX = 3
"""Few keys may wait, if a scene is to fill their room."""


def _one_is_cut_off_and_others_refused(stage: Stage) -> None:
    """Of several creates of one key the first is cut off, after others were refused.

    It was sent to a primary that was slow just then; they were not. They are refused because
    somebody else has stored another key under the id, or since the primary's clock is ahead.
    """
    dice, instance = stage.dice, stage.any_instance()
    at_s = stage.afterwards(1.0 + stage.policy.breaker_open_s)
    stage.outage(at_s, 0.05, OutageMode.SLOW)
    if dice.chance(0.5):
        key = stage.new_key()
        stage.ask(OperationKind.PUBLISH, at_s + 0.02, stage.new_key(same_id_as=key))
    else:
        stage.skew(instance, min(stage.skew_of(instance), -1.0))
        key = stage.new_key(expires_s=at_s + 0.03)
    stage.ask(OperationKind.CREATE, at_s + 0.01, key, instance)
    for _ in range(dice.whole(1, 3)):
        stage.ask(OperationKind.CREATE, at_s + dice.pick((0.051, 0.06)), key, instance)
    stage.outage(at_s + 0.1, dice.pick((0.1, 2.0)), dice.pick(FAILS_AT_ONCE))


def _expires_on_its_way(stage: Stage) -> None:
    """A key expires while its create is under way, and another comes under its id.

    The second one fails at once, when the first was sent to a primary that was slow just then; or
    it waits as well.
    """
    dice, instance = stage.dice, stage.any_instance()
    at_s = stage.afterwards(1.0 + stage.policy.breaker_open_s)
    timeout_s = stage.policy.insert_timeout_s or 1.0
    key = stage.new_key(expires_s=at_s + 0.03 + stage.skew_of(instance))
    later = stage.new_key(same_id_as=key)
    if dice.chance(0.6):
        stage.outage(at_s, 0.05, OutageMode.SLOW)
        stage.outage(at_s + 0.05, 1.0, OutageMode.READ_ONLY)
        later_s = at_s + dice.pick((0.06, 0.1))
    else:
        stage.outage(at_s, 2.0 * timeout_s, dice.pick((OutageMode.HANG, OutageMode.LOCKED)))
        later_s = at_s + dice.between(0.04, max(0.05, 0.9 * timeout_s))
    stage.ask(OperationKind.CREATE, at_s + 0.01, key, instance)
    stage.ask(OperationKind.CREATE, later_s, later, instance)
    stage.ask(OperationKind.GET, later_s + dice.between(0.0, 1.2) * timeout_s, later, instance)


def _no_room(stage: Stage) -> None:
    """No more keys may wait: a key that is stored is created again, and a new one is given up."""
    dice, instance = stage.dice, stage.any_instance()
    at_s = stage.afterwards(1.0 + stage.policy.breaker_open_s)
    stored = stage.new_key()
    stage.ask(OperationKind.CREATE, at_s, stored, instance)
    at_s += 1.0
    stage.outage(at_s, 2.0, dice.pick((*FAILS_AT_ONCE, OutageMode.FULL_POOL)))
    for _ in range(stage.policy.pending_max or 0):
        stage.ask(OperationKind.CREATE, at_s + 0.01, stage.new_key(), instance)
    at_s += 1.0
    for key in (stored, stage.new_key()):
        after_s = dice.pick((None, 0.0005))
        stage.ask(OperationKind.CREATE, at_s, key, instance, cancel_after_s=after_s)
    stage.ask(OperationKind.GET, at_s + 0.9, stored, instance)


def _has_little_room(stage: Stage) -> bool:
    policy = stage.policy
    return policy.pending_writes and 0 < (policy.pending_max or 0) <= ROOM_MAX and remembers(stage)


SCENES = (
    Scene(_one_is_cut_off_and_others_refused, pends, weight=2),
    Scene(
        _expires_on_its_way,
        lambda stage: pends(stage) and not stage.drawn.clock_steps,
        weight=2,
    ),
    Scene(_no_room, _has_little_room, weight=3),
)
"""All of them."""
