"""Scenes of more than one who stores keys: two instances, or an instance and the primary."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.explore.hostile_world import OperationKind, StopKind
from sim.explore.scenes.scene import Scene, pends, remembers
from sim.explore.stage import FAILS_AT_ONCE, FOR_EVER_S

if TYPE_CHECKING:
    from sim.explore.stage import Stage


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


def _copied_and_refused(stage: Stage) -> None:
    """One instance has a copy from another one of a key that is then refused to that."""
    dice = stage.dice
    stage.use_peers()
    one, other = stage.two_instances()
    # When all is well but for this, and who starts finds the primary away.
    at_s = stage.afterwards(1.0 + stage.policy.breaker_open_s)
    stage.outage(at_s, 1.0, dice.pick(FAILS_AT_ONCE))
    stage.stop(StopKind.KILL, other, at_s + 0.01, 0.1)
    key = stage.new_key()
    stage.ask(OperationKind.CREATE, at_s + 0.05, key, one)
    stage.ask(OperationKind.PUBLISH, at_s + 0.1, stage.new_key(same_id_as=key))
    for _ in range(2):
        stage.ask(OperationKind.GET, at_s + dice.between(0.2, 0.9), key, other)


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


def _asks_others(stage: Stage) -> bool:
    drawn, policy = stage.drawn, stage.policy
    return (
        drawn.instances > 1
        and (stage.is_free or drawn.peers)
        and policy.peer_timeout_s is not None
        and remembers(stage)
        and pends(stage)
    )


def _keeps_copies(stage: Stage) -> bool:
    policy = stage.policy
    return (
        _asks_others(stage)
        and policy.read_policy == "cache-first"
        and policy.max_staleness_s is None
        and policy.cache_ttl_s is None
    )


SCENES = (
    Scene(_rivals_far_apart, lambda stage: stage.drawn.instances > 1 and pends(stage)),
    Scene(_expired_elsewhere, _asks_others),
    Scene(_copied_and_refused, _keeps_copies, weight=4),
    Scene(_other_times, lambda stage: pends(stage) and remembers(stage)),
)
"""All of them."""
