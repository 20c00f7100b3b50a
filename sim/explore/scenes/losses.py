"""Scenes of a process that ends: what it had taken in must not end with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.explore.hostile_world import DiskFaultKind, OperationKind, StopKind
from sim.explore.scenes.scene import Scene, pends, remembers
from sim.explore.stage import FAILS_AT_ONCE

if TYPE_CHECKING:
    from sim.explore.stage import Stage


def _full_disk(stage: Stage) -> None:
    """A key comes while the disk is full and the primary away, and then the process is killed."""
    dice, instance = stage.dice, stage.any_instance()
    stage.use_journal()
    at_s = stage.begin(4.0)
    stage.outage(at_s, 4.0, dice.pick(FAILS_AT_ONCE))
    stage.break_disk(DiskFaultKind.FULL, instance, at_s, dice.pick((0.2, 1.0)))
    key = stage.new_key()
    stage.ask(OperationKind.CREATE, at_s + 0.05, key, instance)
    stage.stop(StopKind.KILL, instance, at_s + dice.between(0.1, 2.0), dice.pick((0.0, 1.0)))


def _cancelled_append(stage: Stage) -> None:
    """Who creates a key gives up while the journal is written."""
    dice, instance = stage.dice, stage.any_instance()
    stage.use_journal()
    at_s = stage.begin(1.0)
    stage.outage(at_s, dice.pick((0.2, 1.0)), dice.pick(FAILS_AT_ONCE))
    if dice.chance(0.7):
        stage.break_disk(DiskFaultKind.HANGS, instance, at_s, 0.5)
    for _ in range(2):
        stage.ask(
            OperationKind.CREATE,
            at_s + dice.between(0.05, 0.15),
            stage.new_key(),
            instance,
            cancel_after_s=dice.pick((0.0005, 0.0015, 0.003, 0.02)),
            cancel_after_turns=dice.whole(0, 3),
        )


def _leaves_in_order(stage: Stage) -> None:
    """An instance leaves between an outage and the next flush: what waits must not be lost."""
    dice, instance = stage.dice, stage.any_instance()
    at_s = stage.begin(3.0)
    stage.let_all_be_well_after(at_s)
    lasts_s = dice.pick((0.1, 0.5, 2.0))
    stage.outage(at_s, lasts_s, dice.pick(FAILS_AT_ONCE))
    stage.ask(OperationKind.CREATE, at_s + 0.05, stage.new_key(), instance)
    end_s = at_s + lasts_s
    # A call that succeeds: so the breaker is closed, and what is flushed gets through.
    stage.ask(OperationKind.GET, end_s + 0.001, stage.new_key(), instance)
    stage.stop(StopKind.LEAVE, instance, end_s + dice.pick((0.03, 0.1, 0.3)), 0.5)


def _is_stale_after_a_restart(stage: Stage) -> None:
    """A process starts in an outage from a snapshot whose keys are about to be too old."""
    dice, instance = stage.dice, stage.any_instance()
    stage.use_snapshot()
    most_s = stage.policy.max_staleness_s or 0.0
    at_s = stage.begin(2.0 * most_s) if dice.chance(0.3) else stage.afterwards()
    key = stage.new_key()
    stage.ask(OperationKind.CREATE, at_s, key, instance)
    stage.outage(at_s + 0.1 * most_s, 1.9 * most_s, dice.pick(FAILS_AT_ONCE))
    stage.stop(StopKind.LEAVE, instance, at_s + 0.3 * most_s, 0.4 * most_s)
    # Soon after the primary's last word on it is too old; and any time.
    for latest in (1.3, 1.7):
        earliest = 1.0 if latest < 1.5 else 0.8
        stage.ask(OperationKind.GET, at_s + dice.between(earliest, latest) * most_s, key, instance)


def _has_a_disk(stage: Stage) -> bool:
    return pends(stage) and (stage.is_free or stage.drawn.journal)


def _has_snapshots_and_an_age(stage: Stage) -> bool:
    drawn, policy = stage.drawn, stage.policy
    return (
        # By clocks that are apart nobody can say how old a key is.
        not (any(drawn.skew_s) or drawn.clock_steps)
        and policy.max_staleness_s is not None
        and policy.snapshot_interval_s is not None
        and remembers(stage)
        and (stage.is_free or stage.drawn.snapshot)
    )


SCENES = (
    Scene(_full_disk, _has_a_disk),
    Scene(_cancelled_append, _has_a_disk),
    Scene(_leaves_in_order, lambda stage: pends(stage) and stage.policy.drain_timeout_s >= 1.0),
    Scene(_is_stale_after_a_restart, _has_snapshots_and_an_age, weight=8),
)
"""All of them."""
