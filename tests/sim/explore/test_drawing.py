"""Hostile worlds and policies are drawn: legal, the same for each seed, and hostile."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace

import pytest

from ftrepo.policy import Policy
from sim.explore.dice import Dice
from sim.explore.drawing import draw_policy, draw_world
from sim.explore.drawing_policy import _VALUES
from sim.explore.drawing_scenes import SCENES, add_scenes
from sim.explore.hostile_world import (
    DiskFaultKind,
    HostileWorld,
    OperationKind,
    StopKind,
)
from sim.explore.judging import Case, judge
from sim.explore.scenes.scene import Scene
from sim.explore.stage import Stage
from sim.world.outages import OutageMode, merge
from sim.world.primary_settings import PrimarySettings
from sim.world.scenario_file import load_scenario
from sim.world.streams import Streams

SEEDS = range(300)

WORLDS = [draw_world(seed) for seed in SEEDS]


def share(present: list[bool]) -> float:
    """In which part of the worlds something is there."""
    return sum(present) / len(present)


def test_a_seed_is_one_world_and_one_policy() -> None:
    """And different seeds are different ones."""
    assert [draw_world(seed) for seed in range(50)] == WORLDS[:50]
    assert [draw_policy(seed) for seed in range(50)] == [draw_policy(seed) for seed in range(50)]
    assert len({repr(each) for each in WORLDS}) == len(WORLDS)


def test_every_kind_of_hostility_is_there() -> None:
    """Each outage mode, each kind of operation, stop and disk fault, more than once."""
    seen: Counter[object] = Counter()
    for world in WORLDS:
        seen.update({each.mode for each in world.outages})
        seen.update({each.kind for each in world.operations})
        seen.update({each.kind for each in world.restarts})
        seen.update({each.kind for each in world.disk_faults})
    for kinds in (OutageMode, OperationKind, StopKind, DiskFaultKind):
        for kind in kinds:
            assert seen[kind] >= 10, kind


HOSTILITIES = {
    "order": lambda world: world.shuffled,
    "outage": lambda world: bool(world.outages),
    "overlapping outages": lambda world: (
        sum(each.duration_s for each in world.outages)
        > sum(each.duration_s for each in merge(world.outages)) + 1e-6
    ),
    "back to back": lambda world: any(
        one.end_s == other.start_s for one in world.outages for other in world.outages
    ),
    "short outage": lambda world: any(each.duration_s < 0.4 for each in world.outages),
    "long outage": lambda world: any(each.duration_s > 5.0 for each in world.outages),
    "stop": lambda world: bool(world.restarts),
    "late stop": lambda world: any(each.after_turns for each in world.restarts),
    "cancellation": lambda world: any(each.cancel_after_s is not None for each in world.operations),
    "skew": lambda world: any(world.skew_s),
    "backward step": lambda world: any(each.by_s < 0 for each in world.clock_steps),
    "forward step": lambda world: any(each.by_s > 0 for each in world.clock_steps),
    "expiry": lambda world: any(each.expires_s < world.duration_s for each in world.keys),
    "conflict": lambda world: any(each.same_id_as is not None for each in world.keys),
    "fleet": lambda world: world.instances > 1,
    "journal": lambda world: world.journal,
    "snapshot": lambda world: world.snapshot,
    "peers": lambda world: world.peers,
    "announcements": lambda world: world.primary.announces,
    "duplicates": lambda world: world.duplicate_share > 0,
    "disk faults": lambda world: bool(world.disk_faults),
    "tiny pool": lambda world: world.primary.pool_size <= 2,
    "workers": lambda world: world.primary.workers is not None,
    "full queue": lambda world: world.primary.queue_max is not None,
    "slow writes": lambda world: world.primary.insert.mean_s > 0.05,
    "cancels at once": lambda world: world.cancels_at_once,
    "deaf driver": lambda world: not world.primary.driver_honours_cancellation,
    "stop at an answer": lambda world: any(each.at_answer for each in world.restarts),
    "cancellation at an answer": lambda world: any(
        each.cancel_at_answer for each in world.operations
    ),
    "one tick": lambda world: all(
        abs(each.at_s / 0.01 - round(each.at_s / 0.01)) < 1e-6 for each in world.operations
    ),
}


@pytest.mark.parametrize("name", HOSTILITIES)
def test_a_hostility_is_in_some_of_the_worlds_and_missing_in_others(name: str) -> None:
    """In at least one in twenty, and missing in at least as many: that is what swarms are."""
    assert 0.05 <= share([bool(HOSTILITIES[name](world)) for world in WORLDS]) <= 0.95


def test_operations_crowd_together() -> None:
    """Half of them have another one within a twentieth of a second, on a few keys."""
    close = []
    for world in WORLDS:
        times_s = [each.at_s for each in world.operations]
        close += [sum(abs(one - at_s) < 0.05 for one in times_s) > 1 for at_s in times_s]
    assert share(close) > 0.5
    keys = sorted(len(world.keys) for world in WORLDS)
    assert keys[len(keys) // 2] <= 5
    assert keys[-1] <= 20


def test_some_operations_come_as_an_outage_begins_or_ends() -> None:
    """To the tenth of a millisecond."""
    meets = []
    for world in WORLDS:
        edges_s = {edge_s for each in world.outages for edge_s in (each.start_s, each.end_s)}
        meets.append(any(each.at_s in edges_s for each in world.operations))
    assert share(meets) > 0.2


def test_a_scenario_gives_primary_instances_and_journal() -> None:
    """Only the rest is drawn."""
    fleet = load_scenario("fleet")
    world = draw_world(3, within=fleet)
    assert world.primary == fleet.primary
    assert world.instances == fleet.service.instances
    assert world.journal is world.snapshot is fleet.service.journal
    assert world.operations


def test_failures_all_the_time_are_an_outage_with_an_end() -> None:
    """Otherwise the primary would never be well again."""
    fleet = load_scenario("fleet")
    noisy = replace(fleet, primary=PrimarySettings(failing_share=0.05))
    world = draw_world(3, within=noisy)
    assert world.primary.failing_share == 0
    (noise,) = (each for each in world.outages if each.severity == 0.05)
    assert noise.mode is OutageMode.ERROR_RATE
    assert noise.start_s == 0.0
    assert noise.end_s <= world.duration_s


def test_the_moments_of_a_policy_are_moments_of_its_world() -> None:
    """A flush every five seconds is met by operations every five seconds."""
    worlds = [draw_world(seed, policy=Policy(flush_interval_s=5.0)) for seed in range(50)]
    assert worlds != WORLDS[:50]


def test_every_setting_is_drawn_somewhere() -> None:
    """Each of its values too; and a third of the policies is the default."""
    policies = [draw_policy(seed) for seed in range(1500)]
    for name, values in _VALUES.items():
        drawn = {getattr(each, name) for each in policies}
        assert drawn >= set(values), name
    plain = share([each == Policy() for each in policies])
    assert 0.2 < plain < 0.5


def test_settings_that_concern_only_who_signs_are_left_alone() -> None:
    """They are the only ones that no policy changes."""
    unchanged = {each.name for each in fields(Policy)} - _VALUES.keys()
    assert unchanged == {"publish_lead_s", "sign_when_committed"}


def test_nothing_hostile_happens_after_the_end() -> None:
    """But what an operation or a stop at the very end brings with it."""
    for world in WORLDS:
        assert isinstance(world, HostileWorld)
        assert all(each.at_s <= world.duration_s for each in world.operations)
        assert all(each.end_s <= world.duration_s for each in world.outages)


POLICY = Policy(
    write_order="primary-first",
    max_staleness_s=2.0,
    snapshot_interval_s=1.0,
    cache_entries_max=2,
)
"""Under which every scene has a meaning that lets any number of keys wait."""

ROOM_FOR_ONE = replace(POLICY, pending_max=1)
"""Under which others have one: those for which little room is needed."""

MEMORY_FIRST = Policy(read_policy="cache-first")
"""Under which the others have one."""


def stage_of(seed: int = 0, policy: Policy = POLICY, *, is_free: bool = True) -> Stage:
    """A stage without anything on it but two instances."""
    drawn = HostileWorld(instances=2, read_reply_s=0.05)
    return Stage(drawn, Dice(Streams(seed).generator("scene")), policy, is_free=is_free)


@pytest.mark.parametrize("scene", SCENES, ids=lambda each: each.play.__name__)
def test_a_scene_is_legal_and_breaks_nothing(scene: Scene) -> None:
    """Each with several draws, and the operations in order of time."""
    policy = next(
        policy
        for policy in (POLICY, ROOM_FOR_ONE, MEMORY_FIRST)
        if scene.has_a_meaning(stage_of(policy=policy))
    )
    for seed in range(5):
        stage = stage_of(seed, policy)
        assert scene.has_a_meaning(stage)
        scene.play(stage)
        world = stage.world()
        times_s = [each.at_s for each in world.operations]
        assert times_s == sorted(times_s)
        assert times_s
        assert not judge(Case(world, policy)).violations


def test_scenes_leave_a_scenario_its_instances() -> None:
    """They give nobody a journal, a snapshot or peers where that is said already."""
    stage = stage_of(is_free=False)
    for scene in SCENES:
        if scene.has_a_meaning(stage):
            scene.play(stage)
    world = stage.world()
    assert (world.journal, world.snapshot, world.peers) == (False, False, False)


def test_scenes_are_in_some_of_the_worlds_and_missing_in_others() -> None:
    """So that they hide nothing that others would show."""
    drawn = HostileWorld(instances=2)
    changed = [
        add_scenes(drawn, Dice(Streams(seed).generator("scene")), POLICY, is_free=True) != drawn
        for seed in SEEDS
    ]
    assert 0.3 < share(changed) < 0.7
