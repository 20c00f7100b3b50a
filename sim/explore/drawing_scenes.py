"""Draws scenes: faults and calls that show something only together, in one order.

A story is told at any moment, whatever goes wrong then. A scene brings its fault along: a key is
created while the disk is full *and* the primary away, and then the process is killed. Each is set
on keys of its own, in a part of the worlds whose policy gives it a meaning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from sim.explore.drawing_stories import TURNS_MAX
from sim.explore.hostile_world import DiskFaultKind, OperationKind, StopKind
from sim.explore.stage import FAILS_AT_ONCE, FOR_EVER_S, Stage
from sim.world.outages import OutageMode

if TYPE_CHECKING:
    from ftrepo.policy import Policy
    from sim.explore.dice import Dice
    from sim.explore.hostile_world import HostileWorld

SHARE = 0.5
"""The share of the worlds in which there are scenes."""

SCENES_MAX = 2

THRESHOLD_MAX = 5
"""More failures than this, in a row, are not worth the calls that they take."""


ENTRIES_MAX = 3
"""A memory is small that a scene may fill."""


class Scene(NamedTuple):
    """What is set, and in which worlds it has a meaning."""

    play: Callable[[Stage], None]
    has_a_meaning: Callable[[Stage], bool]


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
        known = [each for each in SCENES if each.has_a_meaning(stage)]
        if known:
            dice.pick(known).play(stage)
    return stage.world()


# What is lost with a process


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
    at_s = stage.begin(2.0 * most_s)
    key = stage.new_key()
    stage.ask(OperationKind.CREATE, at_s, key, instance)
    stage.outage(at_s + 0.1 * most_s, 1.9 * most_s, dice.pick(FAILS_AT_ONCE))
    stage.stop(StopKind.LEAVE, instance, at_s + 0.3 * most_s, 0.4 * most_s)
    for _ in range(2):
        stage.ask(OperationKind.GET, at_s + dice.between(0.8, 1.7) * most_s, key, instance)


# Flushes


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


# The breaker, and those who wait for one call


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


# Several instances


def _rivals_far_apart(stage: Stage) -> None:
    """Two instances take two keys of one id in one outage, and both are asked in the next one."""
    dice = stage.dice
    one, other = stage.two_instances()
    at_s = stage.begin(8.0)
    lasts_s = dice.pick((0.1, 1.0))
    stage.outage(at_s, lasts_s, dice.pick(FAILS_AT_ONCE))
    key = stage.new_key()
    rival = stage.new_key(same_id_as=key)
    stage.ask(OperationKind.CREATE, at_s + 0.05, key, one)
    stage.ask(OperationKind.CREATE, at_s + dice.pick((0.05, 0.08)), rival, other)
    again_s = at_s + lasts_s + dice.between(1.0, 4.0)
    stage.outage(again_s, 2.0, dice.pick(FAILS_AT_ONCE))
    for instance in (one, other):
        stage.ask(OperationKind.GET, again_s + dice.between(0.1, 1.9), key, instance)


def _expired_elsewhere(stage: Stage) -> None:
    """A key has expired by the clock of who is asked, and not by that of who has it."""
    dice = stage.dice
    stage.use_peers()
    one, other = stage.two_instances()
    ahead_s = dice.pick((1.0, 3.0))
    stage.skew(other, stage.skew_of(one) + ahead_s)
    at_s = stage.begin(4.0)
    expires_s = at_s + dice.between(1.5, 4.0) - min(0.0, stage.skew_of(one))
    stage.outage(at_s, 4.0, dice.pick(FAILS_AT_ONCE))
    key = stage.new_key(expires_s=expires_s + stage.skew_of(one))
    stage.ask(OperationKind.CREATE, at_s + 0.05, key, one)
    for _ in range(3):
        stage.ask(OperationKind.GET, expires_s - ahead_s * dice.between(0.0, 0.9), key, other)


def _other_times(stage: Stage) -> None:
    """The primary has a key with other times than the instance that took it in an outage."""
    dice, instance = stage.dice, stage.any_instance()
    at_s = stage.begin(8.0)
    lasts_s = dice.pick((0.3, 2.0))
    stage.outage(at_s, lasts_s, dice.pick(FAILS_AT_ONCE))
    expires_s = dice.pick((0.5 * FOR_EVER_S, FOR_EVER_S))
    key = stage.new_key(expires_s=expires_s)
    older = stage.new_key(expires_s=0.9 * expires_s, same_id_as=key, same_material=True)
    stage.ask(OperationKind.CREATE, at_s + 0.05, key, instance)
    stored_s = at_s + dice.pick((0.1, lasts_s, lasts_s + 0.002))
    stage.ask(OperationKind.PUBLISH, stored_s, older)
    if dice.chance(0.3):
        stage.ask(OperationKind.CREATE, stored_s + dice.between(0.0, 2.0), older, instance)
    again_s = at_s + lasts_s + dice.between(0.5, 4.0)
    stage.outage(again_s, 2.0, dice.pick(FAILS_AT_ONCE))
    for _ in range(2):
        stage.ask(OperationKind.GET, again_s + dice.between(0.1, 1.9), key, instance)


def _pends(stage: Stage) -> bool:
    policy = stage.policy
    return policy.pending_writes and policy.pending_max is None


def _remembers(stage: Stage) -> bool:
    return stage.policy.read_policy != "primary-only"


def _counts_failures(stage: Stage) -> bool:
    policy = stage.policy
    threshold = policy.breaker_failure_threshold or 0
    return policy.breaker and 2 <= threshold <= THRESHOLD_MAX


def _has_snapshots_and_an_age(stage: Stage) -> bool:
    policy = stage.policy
    return (
        policy.max_staleness_s is not None
        and policy.snapshot_interval_s is not None
        and _remembers(stage)
        and (stage.is_free or stage.drawn.snapshot)
    )


def _asks_others(stage: Stage) -> bool:
    drawn, policy = stage.drawn, stage.policy
    return (
        drawn.instances > 1
        and (stage.is_free or drawn.peers)
        and policy.peer_timeout_s is not None
        and _remembers(stage)
        and _pends(stage)
    )


def _has_a_disk(stage: Stage) -> bool:
    return _pends(stage) and (stage.is_free or stage.drawn.journal)


SCENES = (
    Scene(_full_disk, _has_a_disk),
    Scene(_cancelled_append, _has_a_disk),
    Scene(_leaves_in_order, lambda stage: _pends(stage) and stage.policy.drain_timeout_s >= 1.0),
    Scene(_is_stale_after_a_restart, _has_snapshots_and_an_age),
    Scene(_flushes, _pends),
    Scene(_one_of_many_gives_up, _counts_failures),
    Scene(_crowd_gives_up, lambda _: True),
    Scene(_made_as_it_is_asked_for, lambda stage: stage.drawn.read_reply_s > 0),
    Scene(_rivals_far_apart, lambda stage: stage.drawn.instances > 1 and _pends(stage)),
    Scene(_expired_elsewhere, _asks_others),
    Scene(_other_times, lambda stage: _pends(stage) and _remembers(stage)),
)
"""All of them."""
