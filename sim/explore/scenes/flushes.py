"""Scenes of keys that wait: the batches of a flush, and who comes between two of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sim.explore.hostile_world import OperationKind
from sim.explore.scenes.scene import Scene, pends, remembers
from sim.explore.stage import FAILS_AT_ONCE
from sim.world.outages import OutageMode

if TYPE_CHECKING:
    from sim.explore.stage import Stage


def _flushes(stage: Stage) -> None:
    """Several keys wait, and another one as a batch is under way; several flush at once."""
    dice, instance = stage.dice, stage.any_instance()
    # Later on, a refresh would find what a flush has lost.
    at_s = stage.begin(1.0) if dice.chance(0.3) else stage.afterwards()
    lasts_s = dice.pick((0.05, 0.2))
    stage.outage(at_s, lasts_s, dice.pick(FAILS_AT_ONCE))
    for place in range(dice.whole(2, 4)):
        stage.ask(OperationKind.CREATE, at_s + 0.005 * (place + 1), stage.new_key(), instance)
    at_s += lasts_s + dice.pick((0.0, 0.001, 0.01))
    # Who gives up while his key is on its way leaves it to the next batch.
    for _ in range(dice.whole(1, 2)):
        stage.ask(OperationKind.CREATE, at_s, stage.new_key(), instance, cancel_after_s=0.0003)
    are_cancelled = dice.chance(0.6)
    for place in range(dice.whole(1, 3)):
        stage.ask(
            OperationKind.FLUSH,
            at_s + place * 0.0005,
            instance=instance,
            cancel_after_s=0.001 if are_cancelled else None,
            cancel_after_turns=dice.whole(0, 3),
            cancel_at_answer=are_cancelled,
        )


def _gives_up_between_batches(stage: Stage) -> None:
    """Who flushes gives up as a batch is answered: the next one was just taken, and is on its way.

    No call has failed, so no breaker is in the way: both keys wait because their callers gave up,
    the second one while the first is sent.
    """
    instance = stage.any_instance()
    sent_s = _flush_one_key(
        stage,
        instance,
        cancel_after_s=0.0007,
        cancel_after_turns=stage.dice.whole(0, 3),
        cancel_at_answer=True,
    )
    for _ in range(stage.dice.whole(1, 2)):
        key = stage.new_key()
        stage.ask(OperationKind.CREATE, sent_s + 0.0003, key, instance, cancel_after_s=0.0002)


def _expires_between_batches(stage: Stage) -> None:
    """A key comes to wait while a batch is under way, and expires before the next one is sent."""
    instance = stage.any_instance()
    sent_s = _flush_one_key(stage, instance)
    for _ in range(2):
        expires_s = sent_s + stage.dice.pick((0.0008, 0.002)) + stage.skew_of(instance)
        key = stage.new_key(expires_s=expires_s)
        stage.ask(OperationKind.CREATE, sent_s + 0.0003, key, instance, cancel_after_s=0.0002)


def _flush_one_key(stage: Stage, instance: int, **cancelled: Any) -> float:
    """Let a key wait whose caller gave up, and somebody flush it; return when."""
    # When breakers have closed again, and no refresh comes that would find what was lost.
    at_s = stage.afterwards(1.0 + stage.policy.breaker_open_s)
    stage.ask(OperationKind.CREATE, at_s, stage.new_key(), instance, cancel_after_s=0.0002)
    stage.ask(OperationKind.FLUSH, at_s + 0.001, instance=instance, **cancelled)
    return at_s + 0.001


def _rival_of_one_that_waits(stage: Stage) -> None:
    """A key waits, the primary is back, and before the next flush comes another under its id."""
    dice, instance = stage.dice, stage.any_instance()
    at_s = stage.afterwards(1.0 + stage.policy.breaker_open_s)
    lasts_s = dice.pick((0.05, 0.2))
    stage.outage(at_s, lasts_s, dice.pick(FAILS_AT_ONCE))
    key = stage.new_key()
    stage.ask(OperationKind.CREATE, at_s + 0.9 * lasts_s, key, instance)
    at_s += lasts_s + dice.pick((0.0005, 0.002, 0.01))
    stage.ask(OperationKind.CREATE, at_s, stage.new_key(same_id_as=key), instance)
    stage.ask(OperationKind.GET, at_s + dice.pick((0.0, 0.01, 1.0)), key, instance)


def _waits_for_too_long(stage: Stage) -> None:
    """A key waits until it is too old to be served; meanwhile the primary can be read."""
    dice, instance = stage.dice, stage.any_instance()
    most_s = stage.policy.max_staleness_s or 0.0
    at_s = stage.afterwards(1.0 + stage.policy.breaker_open_s)
    stage.outage(at_s, 2.0 * most_s + 0.1, OutageMode.READ_ONLY)
    key = stage.new_key()
    stage.ask(OperationKind.CREATE, at_s + 0.01, key, instance)
    for _ in range(2):
        asked_s = at_s + 0.05 + dice.between(1.0, 2.0) * most_s
        stage.ask(OperationKind.GET, asked_s, key, instance)


def _pends_and_can_give_up(stage: Stage) -> bool:
    return pends(stage) and stage.drawn.primary.driver_honours_cancellation


def _pends_by_one_clock(stage: Stage) -> bool:
    return _pends_and_can_give_up(stage) and not stage.drawn.clock_steps


def _pends_with_an_age(stage: Stage) -> bool:
    return pends(stage) and remembers(stage) and stage.policy.max_staleness_s is not None


def _lets_the_primary_decide(stage: Stage) -> bool:
    return pends(stage) and stage.policy.write_order == "primary-first"


SCENES = (
    Scene(_flushes, pends),
    Scene(_gives_up_between_batches, _pends_and_can_give_up, weight=2),
    Scene(_expires_between_batches, _pends_by_one_clock),
    Scene(_waits_for_too_long, _pends_with_an_age, weight=8),
    Scene(_rival_of_one_that_waits, _lets_the_primary_decide, weight=8),
)
"""All of them."""
