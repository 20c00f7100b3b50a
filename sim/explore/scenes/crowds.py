"""Scenes of many callers: those who fail one after the other, and those who wait for one call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.explore.drawing_stories import TURNS_MAX
from sim.explore.hostile_world import OperationKind
from sim.explore.scenes.scene import Scene
from sim.world.outages import OutageMode

if TYPE_CHECKING:
    from sim.explore.stage import Stage


THRESHOLD_MAX = 5
"""More failures than this, in a row, are not worth the calls that they take."""

ENTRIES_MAX = 3
"""A memory is small that a scene may fill."""


def _one_of_many_gives_up(stage: Stage) -> None:
    """Calls fail, one after the other, and now and then somebody gives up between them."""
    policy, instance = stage.policy, stage.any_instance()
    threshold = policy.breaker_failure_threshold or THRESHOLD_MAX
    failures = threshold if policy.breaker_count_interval_s == 0 else 2 * threshold - 1
    step_s = 0.02
    at_s = stage.begin((failures + 8) * step_s)
    stage.outage(at_s, (failures + 8) * step_s, OutageMode.REFUSE)
    key = stage.new_key()
    for place in range(failures + 4):
        at_s += step_s
        stage.ask(OperationKind.CREATE, at_s, key, instance)
        if place % (threshold - 1) == threshold - 2:
            # Before it is refused, which takes a millisecond.
            stage.ask(
                OperationKind.CREATE, at_s + 0.5 * step_s, key, instance, cancel_after_s=0.0005
            )


def _crowd_gives_up(stage: Stage) -> None:
    """Many wait for one key, and all of them but the last give up at about the same moment."""
    dice, instance = stage.dice, stage.any_instance()
    at_s = stage.begin(2.0)
    if dice.chance(0.7):
        stage.outage(at_s - 0.01, 2.0, dice.pick((OutageMode.HANG, OutageMode.LOCKED)))
    key, after_s = stage.new_key(), dice.pick((0.001, 0.01, 0.03))
    for _ in range(dice.whole(3, 6)):
        stage.ask(
            OperationKind.GET,
            at_s,
            key,
            instance,
            cancel_after_s=after_s,
            cancel_after_turns=dice.whole(0, TURNS_MAX // 2),
        )
    stage.ask(OperationKind.GET, at_s, key, instance)


def _made_as_it_is_asked_for(stage: Stage) -> None:
    """A key is stored after the server has read that there is none, and before that is known."""
    dice, instance, reply_s = stage.dice, stage.any_instance(), stage.drawn.read_reply_s
    at_s = stage.begin(4.0 * reply_s)
    key = stage.new_key()
    stage.ask(OperationKind.GET, at_s, key, instance)
    made_s = at_s + dice.between(0.1, 0.6) * reply_s
    stage.ask(OperationKind.CREATE, made_s, key, stage.any_instance())
    entries_max = stage.policy.cache_entries_max or ENTRIES_MAX + 1
    if entries_max <= ENTRIES_MAX:
        # So that memory has forgotten it, and cannot make up for what is remembered wrongly.
        for _ in range(entries_max):
            stage.ask(OperationKind.CREATE, made_s + 0.1 * reply_s, stage.new_key(), instance)
    for _ in range(3):
        stage.ask(OperationKind.GET, made_s + dice.between(0.1, 2.0) * reply_s, key, instance)


def _counts_failures(stage: Stage) -> bool:
    policy = stage.policy
    threshold = policy.breaker_failure_threshold or 0
    return policy.breaker and 2 <= threshold <= THRESHOLD_MAX


SCENES = (
    Scene(_one_of_many_gives_up, _counts_failures),
    Scene(_crowd_gives_up, lambda _: True),
    Scene(_made_as_it_is_asked_for, lambda stage: stage.drawn.read_reply_s > 0, weight=3),
)
"""All of them."""
