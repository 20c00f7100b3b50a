"""Shrinking: from a crowded world to the few things that break it, the same each time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from ftrepo.policy import Policy
from sim.explore.happenings import Violation
from sim.explore.hostile_world import HostileWorld, KeySpec, Operation, OperationKind
from sim.explore.judging import COMPLETION, DETERMINISM, Case
from sim.explore.shrinking import Shrinking, is_alike, size
from sim.explore.simpler import PLAIN_PRIMARY
from sim.explore.timescale import NEVER_S, moments, moved
from sim.world.errors import InputError
from sim.world.outages import Outage, OutageMode
from sim.world.primary_settings import PrimarySettings
from tests.sim.explore.cases import crowded_world

CROWDED = Case(crowded_world(), Policy(flush_batch_max=1, breaker_open_s=3.0))


def shrunk(case: Case, breaks: Callable[[Case], bool], *, plays_max: int = 2000) -> Shrinking:
    """What shrinking makes of a case that is broken."""
    assert breaks(case)
    shrinking = Shrinking(case, breaks, plays_max=plays_max)
    shrinking.run()
    assert breaks(shrinking.best)
    return shrinking


def create_in_an_outage(case: Case) -> bool:
    """Some key is created on any instance while the primary hangs, under tiny batches."""
    return case.policy.flush_batch_max == 1 and any(
        each.kind is OperationKind.CREATE and outage.start_s <= each.at_s < outage.end_s
        for each in case.world.operations
        for outage in case.world.outages
        if outage.mode is OutageMode.HANG
    )


def test_only_what_breaks_it_is_left() -> None:
    """One operation, one outage and one setting of a world with 50 things; all else is plain."""
    best = shrunk(CROWDED, create_in_an_outage).best
    assert best.policy == Policy(flush_batch_max=1)
    assert best.world == HostileWorld(
        duration_s=1.0,
        primary=PLAIN_PRIMARY,
        keys=(KeySpec(expires_s=NEVER_S),),
        operations=(Operation(at_s=0.0, kind=OperationKind.CREATE, key=0),),
        outages=(Outage(0.0, 1.0, OutageMode.HANG),),
    )
    assert size(best) == {
        "operations": 1,
        "restarts": 0,
        "outages": 1,
        "clock_steps": 0,
        "disk_faults": 0,
        "keys": 1,
        "instances": 1,
        "changed_settings": 1,
    }


def test_it_is_the_same_each_time() -> None:
    """Result and number of plays."""
    one, two = (shrunk(CROWDED, create_in_an_outage) for _ in range(2))
    assert (one.best, one.plays) == (two.best, two.plays)


def test_what_belongs_together_stays_together() -> None:
    """Two operations of one key on two instances, in their order and more than 2 s apart."""

    def breaks(case: Case) -> bool:
        ops = case.world.operations
        return any(
            one.key == two.key is not None
            and one.instance != two.instance
            and two.at_s - one.at_s > 2
            and one.kind is OperationKind.CREATE
            and two.kind is OperationKind.GET
            for one in ops
            for two in ops
        )

    best = shrunk(CROWDED, breaks).best
    assert len(best.world.operations) == len({each.instance for each in best.world.operations}) == 2
    assert (best.world.instances, len(best.world.keys)) == (2, 1)
    assert best.world.outages == best.world.restarts == ()


def test_plays_have_a_bound() -> None:
    """And the best so far is kept."""
    shrinking = shrunk(CROWDED, create_in_an_outage, plays_max=9)
    assert shrinking.exhausted
    assert shrinking.plays == 9
    assert len(shrinking.best.world.operations) < 40


def test_ctrl_c_leaves_the_best_so_far() -> None:
    """Who presses it while a world is played has a smaller world all the same."""

    def breaks(case: Case) -> bool:
        if shrinking.plays > 9:
            raise KeyboardInterrupt
        return create_in_an_outage(case)

    shrinking = Shrinking(CROWDED, breaks)
    with pytest.raises(KeyboardInterrupt):
        shrinking.run()
    assert len(shrinking.best.world.operations) < 40
    assert create_in_an_outage(shrinking.best)


def test_a_world_in_a_drawn_order_is_tried_with_other_seeds() -> None:
    """Whatever is left out shifts the draws; here only one order in four breaks anything."""

    def breaks(case: Case) -> bool:
        world = case.world
        orderly = len(world.operations) + world.seed
        return world.shuffled and orderly % 4 == (40 + 77) % 4 and len(world.operations) > 2

    case = Case(replace(crowded_world(), shuffled=True), Policy())
    assert len(shrunk(case, breaks).best.world.operations) == 3


def test_everything_can_be_left_out() -> None:
    """A world that breaks whatever happens in it shrinks to nothing."""
    best = shrunk(CROWDED, lambda _: True).best
    assert best == Case(HostileWorld(duration_s=1.0, primary=PLAIN_PRIMARY), Policy())


def test_moments_move_together() -> None:
    """Outages and what happens in them, and the expiry of keys."""
    world = crowded_world()
    later = moved(world, lambda at_s: at_s + 2)
    assert moments(later) == tuple(sorted({at_s + 2 for at_s in moments(world)}))
    assert later.primary == world.primary != PrimarySettings()
    with pytest.raises(InputError, match="begin"):
        moved(world, lambda _: 1.0)


def test_instances_and_keys_that_are_left_out_leave_no_gap() -> None:
    """What concerns those after them goes on to, under a number less."""
    world = HostileWorld(
        instances=3,
        skew_s=(1.0, 2.0, 3.0),
        keys=(KeySpec(expires_s=1), KeySpec(expires_s=2), KeySpec(expires_s=3, same_id_as=1)),
        operations=tuple(
            Operation(at_s=at, kind=OperationKind.GET, instance=at, key=key)
            for at, key in enumerate((1, 1, 2))
        ),
    )

    def breaks(case: Case) -> bool:
        """The last key has the id of another; it is asked for by the one whose clock is at 3 s."""
        now = case.world
        last = [each for each in now.operations if now.keys[each.key or 0].expires_s == 3]
        return any(
            now.skew_s[each.instance :][:1] == (3.0,)
            and now.keys[each.key or 0].same_id_as is not None
            for each in last
        )

    same = replace(world.keys[2], same_material=True)
    alone = shrunk(Case(replace(world, keys=(*world.keys[:2], same)), Policy()), lambda _: True)
    assert alone.best.world.keys == ()
    best = shrunk(Case(world, Policy()), breaks).best.world
    assert best.skew_s == (3.0,)
    assert [(each.instance, each.key) for each in best.operations] == [(0, 1)]
    assert [each.same_id_as for each in best.keys] == [None, 0]


def test_a_fault_does_not_slip_into_another_as_its_world_gets_smaller() -> None:
    """What is seen is the same, but for numbers and ids; of errors and of two plays, their kind."""

    def said(said: str, invariant: str = "convergence") -> Violation:
        return Violation(invariant=invariant, at_s=1.0, said=said)

    waits = said("k12 still waits to be written, 31.610 s after the primary was well")
    assert is_alike(waits, said("k0 still waits to be written, -2 s after the primary was well"))
    assert not is_alike(waits, said("k12 is still in the journal, 31.610 s after"))
    assert not is_alike(waits, replace(waits, invariant="durability"))
    assert is_alike(said("two plays part", DETERMINISM), said("in how they end", DETERMINISM))
    stuck = said("KeyError: 3", COMPLETION)
    assert is_alike(stuck, said("KeyError: 'k1'", COMPLETION))
    assert not is_alike(stuck, said("TypeError: 3", COMPLETION))
