"""A hostile world is played: the real repository, and everything that happens is noted."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from ftrepo.fault_tolerant import FaultTolerantRepository
from ftrepo.interface import Durability
from ftrepo.keys import PublicKey
from ftrepo.policy import Policy
from ftrepo.reconcile import Reconciler
from sim.explore import chronicler
from sim.explore.drawing import draw_policy, draw_world
from sim.explore.happenings import (
    Asked,
    Broke,
    CallBegan,
    CallEnded,
    Chronicle,
    Committed,
    Happening,
    Observed,
    OutageBegan,
    Outcome,
    Removed,
    Started,
    StartFailed,
    Stopped,
    Stores,
    Told,
)
from sim.explore.hostile_primary import WORK_WELL_MAX_S, HostilePrimary
from sim.explore.hostile_world import (
    ClockStep,
    DiskFault,
    DiskFaultKind,
    HostileWorld,
    KeySpec,
    Operation,
    OperationKind,
    Restart,
    StopKind,
)
from sim.explore.playing import play
from sim.world.durations import Deterministic
from sim.world.errors import InputError
from sim.world.outages import Outage, OutageMode
from sim.world.primary_settings import PrimarySettings
from sim.world.settings import as_table, from_table

T = TypeVar("T")

SEEDS = range(60)

LATENCY_S = 0.01

TICK = Deterministic(mean_s=LATENCY_S)

PLAIN = HostileWorld(
    primary=PrimarySettings(select=TICK, insert=TICK, delete=TICK, announces=False),
    keys=(KeySpec(expires_s=1000.0),),
)

HANG = Outage(1.0, 11.0, OutageMode.HANG)


def drawn(seed: int) -> Chronicle:
    """The chronicle of a seed."""
    policy = draw_policy(seed)
    return play(draw_world(seed, policy=policy), policy)


def world(*operations: Operation, **settings: Any) -> HostileWorld:
    """A world in which little happens besides."""
    known = {each: getattr(PLAIN, each) for each in ("primary", "keys")}
    return HostileWorld(operations=operations, **{**known, **settings})


def create(at_s: float, key: int = 0, **settings: Any) -> Operation:
    """Somebody creates a key."""
    return Operation(at_s=at_s, kind=OperationKind.CREATE, key=key, **settings)


def get(at_s: float, key: int = 0, **settings: Any) -> Operation:
    """Somebody asks for a key."""
    return Operation(at_s=at_s, kind=OperationKind.GET, key=key, **settings)


def of_kind(kind: type[T], happenings: Iterable[Happening]) -> list[T]:
    """The happenings of one kind."""
    return [each for each in happenings if isinstance(each, kind)]


def told(chronicle: Chronicle, operation: int = 0) -> Told:
    """How an operation ended."""
    tolds = of_kind(Told, chronicle.happenings)
    return next(each for each in tolds if each.operation == operation)


def broken(chronicle: Chronicle) -> list[str]:
    """What broke."""
    return [each.what for each in of_kind(Broke, chronicle.happenings)]


# The same world is the same history


_DIGESTS = """
import sys
from sim.explore.drawing import draw_policy, draw_world
from sim.explore.playing import play
for seed in range(int(sys.argv[1])):
    policy = draw_policy(seed)
    print(play(draw_world(seed, policy=policy), policy).digest)
"""


def test_another_process_plays_the_same_to_the_bit() -> None:
    """Whatever its hashes of texts are."""
    here = [drawn(seed).digest for seed in range(25)]
    command = [sys.executable, "-c", _DIGESTS, str(len(here))]
    environment = {**os.environ, "PYTHONHASHSEED": "4711"}
    root = Path(__file__).parents[3]
    there = subprocess.run(
        command, env=environment, cwd=root, capture_output=True, text=True, check=True
    )
    assert there.stdout.split() == here
    assert len(set(here)) == len(here)


@pytest.mark.parametrize("seed", range(0, 40, 4))
def test_a_world_from_a_file_is_played_the_same(seed: int) -> None:
    """As JSON it is read back equal, and its whole numbers are no other numbers."""
    policy = draw_policy(seed)
    drawn_world = draw_world(seed, policy=policy)
    text = json.dumps(as_table(drawn_world)).replace(".0,", ",")
    read = from_table(HostileWorld, json.loads(text))
    assert read == drawn_world
    assert play(read, policy).digest == play(drawn_world, policy).digest


def test_whole_numbers_are_played_as_fractions_are() -> None:
    """In a world that was written by hand."""
    assert play(world(create(1)), POLICY).digest == play(world(create(1.0)), POLICY).digest


def test_the_seed_of_a_world_decides_about_its_luck() -> None:
    """Latencies differ; with the same seed the order of what is ready does, if it is shuffled."""
    one = HostileWorld(seed=1, keys=PLAIN.keys, operations=(create(1.0), get(1.0)))
    digests = {
        play(
            HostileWorld(seed=seed, shuffled=shuffled, keys=one.keys, operations=one.operations),
            POLICY,
        ).digest
        for seed in (1, 2)
        for shuffled in (False, True)
    }
    assert len(digests) == 4


POLICY = Policy()


# What is noted


def test_every_call_is_told_once_and_every_call_to_the_primary_ends_once() -> None:
    """In the order of time."""
    for seed in SEEDS:
        happenings = drawn(seed).happenings
        asked = [each.operation for each in of_kind(Asked, happenings)]
        assert sorted(asked) == sorted(each.operation for each in of_kind(Told, happenings))
        assert len(set(asked)) == len(asked)
        began = [each.call for each in of_kind(CallBegan, happenings)]
        assert sorted(began) == sorted(each.call for each in of_kind(CallEnded, happenings))
        times_s = [each.at_s for each in happenings]
        assert times_s == sorted(times_s)


def test_a_process_does_nothing_after_its_end_that_was_a_kill() -> None:
    """No call to the primary, no event, no answer: it is gone."""
    for seed in SEEDS:
        killed: set[tuple[int, int]] = set()
        for each in drawn(seed).happenings:
            if isinstance(each, Stopped) and each.kind is StopKind.KILL:
                killed.add((each.instance, each.process))
            elif not isinstance(each, Told | CallEnded | Stores):
                who = (getattr(each, "instance", None), getattr(each, "process", None))
                assert who not in killed or isinstance(each, Asked)


def test_a_killed_process_is_gone_whatever_its_code_goes_on_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing that it does after that is heard of, or reaches anything."""
    monkeypatch.setattr(FaultTolerantRepository, "kill", lambda _: None)
    outage = Outage(1.0, 2.0, OutageMode.REFUSE)
    stop = Restart(at_s=1.7, kind=StopKind.KILL)
    chronicle = play(world(create(1.5), outages=(outage,), restarts=(stop,)), POLICY)
    assert told(chronicle).outcome is Outcome.ACKNOWLEDGED
    after = [each for each in chronicle.happenings if each.at_s > 1.7]
    assert not [each for each in of_kind(CallBegan, after) if each.process == 0]
    assert not [each for each in of_kind(Observed, after) if each.process == 0]
    assert chronicle.rows == {}


def test_a_call_that_is_cancelled_before_its_first_step_is_told_all_the_same() -> None:
    """Its task never runs."""
    never_began = [
        play(world(create(1.0, cancel_after_s=0.0), shuffled=True, seed=seed), POLICY)
        for seed in range(30)
    ]
    assert {told(each).outcome for each in never_began} == {Outcome.CANCELLED}
    assert {bool(of_kind(Committed, each.happenings)) for each in never_began} == {False, True}


def test_a_key_is_followed_from_the_caller_into_the_primary() -> None:
    """Created, committed, acknowledged; and asked for once more in the end."""
    chronicle = play(world(create(1.0)), POLICY)
    committed = of_kind(Committed, chronicle.happenings)
    answer = told(chronicle)
    assert [each.key.id for each in committed] == ["k0"]
    assert 1.0 < committed[0].at_s < answer.at_s == 1.0 + LATENCY_S
    assert (answer.outcome, answer.durability) == (Outcome.ACKNOWLEDGED, Durability.PRIMARY)
    assert told(chronicle, operation=1).outcome is Outcome.FOUND
    assert chronicle.rows == {"k0": committed[0].key}
    assert (chronicle.leftover_tasks, chronicle.open_connections, broken(chronicle)) == ((), 0, [])


def test_stores_are_looked_into_where_they_matter() -> None:
    """As an outage begins and ends, before a stop and in the end: contents, by id."""
    stop = Restart(at_s=3.0, kind=StopKind.KILL)
    chronicle = play(world(create(1.5), outages=(HANG,), restarts=(stop,), journal=True), POLICY)
    stores = of_kind(Stores, chronicle.happenings)
    assert [each.at_s for each in stores[:3]] == [1.0, 3.0, 11.0]
    assert stores[1].cached == stores[1].pending == stores[1].on_disk == {"k0"}
    assert (stores[1].process, stores[2].process) == (0, 1)
    assert stores[2].pending == {"k0"}
    # In the end it is settled; and once more before each leaves.
    assert stores[-1].pending == stores[-1].on_disk == frozenset()
    assert stores[-1].cached == {"k0"}


def test_an_outage_that_overlaps_another_is_noted_as_it_is_felt() -> None:
    """The worst wins at every moment."""
    outages = (Outage(1.0, 5.0, OutageMode.SLOW), Outage(2.0, 3.0, OutageMode.HANG))
    chronicle = play(world(outages=outages), POLICY)
    modes = [each.outage.mode for each in of_kind(OutageBegan, chronicle.happenings)]
    assert modes == [OutageMode.SLOW, OutageMode.HANG, OutageMode.SLOW]


def test_a_clean_up_is_noted_row_by_row() -> None:
    """Whoever caused it."""
    clean = Operation(at_s=4.0, kind=OperationKind.DELETE_EXPIRED)
    chronicle = play(world(create(1.0), clean, keys=(KeySpec(expires_s=3.0),)), POLICY)
    assert [each.key.id for each in of_kind(Removed, chronicle.happenings)] == ["k0"]


def test_what_others_publish_gets_through_every_outage() -> None:
    """It is committed, and nobody is told."""
    publish = Operation(at_s=2.0, kind=OperationKind.PUBLISH, key=0)
    chronicle = play(world(publish, outages=(HANG,)), POLICY)
    assert [each.at_s for each in of_kind(Committed, chronicle.happenings)] == [2.0]
    assert told(chronicle, operation=1).outcome is Outcome.FOUND


def test_one_key_may_be_made_with_two_times() -> None:
    """Then nobody sees a conflict, and the primary keeps those that it was told first."""
    keys = (KeySpec(expires_s=900.0), KeySpec(expires_s=1000.0, same_id_as=0, same_material=True))
    chronicle = play(world(create(1.0), create(2.0, 1), keys=keys), POLICY)
    outcomes = [told(chronicle, operation).outcome for operation in (0, 1)]
    assert outcomes == [Outcome.ACKNOWLEDGED] * 2
    (committed,) = of_kind(Committed, chronicle.happenings)
    one, other = (told(chronicle, operation).key for operation in (0, 1))
    assert one is not None
    assert other is not None
    assert committed.key == one
    assert one.same_material(other)
    assert one.expires < other.expires
    with pytest.raises(InputError, match="same_id_as"):
        KeySpec(expires_s=900.0, same_material=True)


def test_the_answer_to_a_read_tells_what_was_true_when_it_was_read() -> None:
    """A key that is stored meanwhile is missing; once all is over, answers come at once."""
    publish = Operation(at_s=1.0 + 2 * LATENCY_S, kind=OperationKind.PUBLISH, key=0)
    chronicle = play(world(get(1.0), publish, read_reply_s=0.3), POLICY)
    missed = told(chronicle)
    assert (missed.outcome, missed.at_s) == (Outcome.NOT_FOUND, pytest.approx(1.3 + LATENCY_S))
    asked = next(each for each in of_kind(Asked, chronicle.happenings) if each.operation == 2)
    assert told(chronicle, 2).at_s - asked.at_s == pytest.approx(LATENCY_S)
    deaf = replace(PLAIN.primary, driver_honours_cancellation=False)
    chronicle = play(world(get(1.0), publish, read_reply_s=0.3, primary=deaf), POLICY)
    assert told(chronicle).at_s == pytest.approx(1.0 + LATENCY_S)


# What goes wrong


@pytest.mark.parametrize(
    ("kind", "journal", "pending_after"),
    [
        (StopKind.KILL, False, frozenset()),
        (StopKind.KILL, True, frozenset({"k0"})),
        (StopKind.LEAVE, False, frozenset()),
        (StopKind.LEAVE, True, frozenset({"k0"})),
    ],
)
def test_only_a_disk_survives_a_process(
    kind: StopKind, journal: bool, pending_after: frozenset[str]
) -> None:
    """Its memory is gone, and its next one begins with what the disk has."""
    stop = Restart(at_s=3.0, kind=kind, away_s=0.5)
    chronicle = play(world(create(1.5), outages=(HANG,), restarts=(stop,), journal=journal), POLICY)
    at_end = next(each for each in of_kind(Stores, chronicle.happenings) if each.at_s == 11.0)
    assert (at_end.process, at_end.pending) == (1, pending_after)


def test_a_call_is_cut_off_by_the_end_of_its_process() -> None:
    """At that moment, whatever it waits for; and at once while there is no process."""
    stop = Restart(at_s=1.6, kind=StopKind.KILL, away_s=5.0)
    chronicle = play(world(create(1.5), get(2.0), outages=(HANG,), restarts=(stop,)), POLICY)
    assert (told(chronicle).outcome, told(chronicle).at_s) == (Outcome.CUT_OFF, 1.6)
    stopped = of_kind(Stopped, chronicle.happenings)[0]
    assert chronicle.happenings.index(told(chronicle)) == chronicle.happenings.index(stopped) + 1
    assert (told(chronicle, 1).outcome, told(chronicle, 1).at_s) == (Outcome.CUT_OFF, 2.0)


def test_a_start_can_be_cut_off() -> None:
    """By a kill or in order; the process after it starts all the same."""
    hang = Outage(0.0, 10.0, OutageMode.HANG)
    for kind in StopKind:
        stop = Restart(at_s=1.0, kind=kind)
        chronicle = play(world(outages=(hang,), restarts=(stop,), journal=True), POLICY)
        assert [each.process for each in of_kind(Started, chronicle.happenings)] == [1]
        assert broken(chronicle) == []


def test_a_stop_in_order_can_be_cut_off_by_a_kill() -> None:
    """The flush that it waits for never ends; the next process has what the journal has."""
    stops = (
        Restart(at_s=2.0, kind=StopKind.LEAVE, away_s=3.0),
        Restart(at_s=2.1, kind=StopKind.KILL, away_s=0.0),
    )
    chronicle = play(world(create(1.2), outages=(HANG,), restarts=stops, journal=True), POLICY)
    kinds = [each.kind for each in of_kind(Stopped, chronicle.happenings)]
    assert kinds == [StopKind.LEAVE, StopKind.KILL, StopKind.LEAVE]
    assert [each.process for each in of_kind(Started, chronicle.happenings)] == [0, 1]
    assert chronicle.rows.keys() == {"k0"}
    assert broken(chronicle) == []


def ends_of_cancelled(**when: Any) -> list[Outcome]:
    """How a `create` ends whose caller cancels after so many turns."""
    plays = (
        play(world(create(1.0, cancel_after_turns=turns, **when)), POLICY) for turns in range(12)
    )
    return [told(each).outcome for each in plays]


def test_a_cancellation_reaches_every_await_of_a_create() -> None:
    """So many turns late, it comes before the call, while the primary is asked, or too late."""
    assert set(ends_of_cancelled(cancel_after_s=0.0)) == {Outcome.CANCELLED}
    ends = ends_of_cancelled(cancel_after_s=0.0, cancel_at_answer=True)
    late = ends.index(Outcome.ACKNOWLEDGED)
    assert 1 <= late <= 10
    assert ends == [Outcome.CANCELLED] * late + [Outcome.ACKNOWLEDGED] * (12 - late)


def test_a_stop_reaches_every_turn_of_a_create() -> None:
    """Also between the answer of the primary and that of the repository."""
    ends = []
    for turns in range(12):
        stop = Restart(at_s=1.0, kind=StopKind.KILL, at_answer=True, after_turns=turns)
        chronicle = play(world(create(1.0), restarts=(stop,)), POLICY)
        assert chronicle.rows.keys() == {"k0"}
        ends.append(told(chronicle).outcome)
    late = ends.index(Outcome.ACKNOWLEDGED)
    assert 1 <= late <= 10
    assert ends == [Outcome.CUT_OFF] * late + [Outcome.ACKNOWLEDGED] * (12 - late)


def test_what_waits_for_an_answer_that_never_comes_does_not_happen() -> None:
    """Neither the stop nor the cancellation."""
    outage = Outage(1.0, 3.0, OutageMode.REFUSE)
    stop = Restart(at_s=5.0, kind=StopKind.KILL, at_answer=True)
    chronicle = play(world(create(0.5), outages=(outage,), restarts=(stop,)), POLICY)
    assert [each.kind for each in of_kind(Stopped, chronicle.happenings)] == [StopKind.LEAVE]


def test_a_shuffled_order_lets_turns_fall_between_things_of_one_instant() -> None:
    """A cancellation at the very moment of the answer comes before it, or after."""
    ends = {
        told(
            play(
                world(
                    create(1.0, cancel_after_s=LATENCY_S, cancel_after_turns=2),
                    shuffled=True,
                    seed=seed,
                ),
                POLICY,
            )
        ).outcome
        for seed in range(20)
    }
    assert ends == {Outcome.CANCELLED, Outcome.ACKNOWLEDGED}


def test_clocks_differ_and_jump() -> None:
    """A key is expired for whoever believes it is."""
    keys = (KeySpec(expires_s=5.0),)
    asks = (create(1.0), get(2.0, instance=0), get(2.0, instance=1), get(3.0, instance=0))
    chronicle = play(
        world(
            *asks,
            keys=keys,
            instances=2,
            skew_s=(0.0, 10.0),
            clock_steps=(ClockStep(at_s=2.5, by_s=60.0),),
        ),
        POLICY,
    )
    outcomes = [told(chronicle, number).outcome for number in range(4)]
    assert outcomes == [
        Outcome.ACKNOWLEDGED,
        Outcome.FOUND,
        Outcome.NOT_FOUND,
        Outcome.NOT_FOUND,
    ]


@pytest.mark.parametrize(
    ("fault", "durability"), [(DiskFaultKind.FULL, "memory"), (DiskFaultKind.HANGS, "memory")]
)
def test_a_disk_that_fails_keeps_nothing(fault: DiskFaultKind, durability: str) -> None:
    """And works again after its time."""
    broken_disk = DiskFault(start_s=1.0, end_s=3.0, kind=fault)
    keys = (KeySpec(expires_s=1000.0), KeySpec(expires_s=1000.0))
    chronicle = play(
        world(
            create(1.2),
            create(5.0, key=1),
            keys=keys,
            outages=(HANG,),
            journal=True,
            disk_faults=(broken_disk,),
        ),
        POLICY,
    )
    assert told(chronicle).durability is Durability(durability)
    assert told(chronicle, 1).durability is Durability.JOURNAL


def test_a_start_that_the_disk_prevents_is_noted_and_follows_later() -> None:
    """The journal does not open while its disk hangs."""
    stop = Restart(at_s=1.0, kind=StopKind.KILL, away_s=0.0)
    hang = DiskFault(start_s=0.5, end_s=15.0, kind=DiskFaultKind.HANGS)
    chronicle = play(world(restarts=(stop,), disk_faults=(hang,), journal=True), POLICY)
    failed = of_kind(StartFailed, chronicle.happenings)
    assert [(each.at_s, each.process) for each in failed] == [(11.0, 1)]
    assert [each.process for each in of_kind(Started, chronicle.happenings)] == [0, 2]
    assert broken(chronicle) == []


def test_a_write_is_carried_out_twice() -> None:
    """The second time late, after the key has expired and was deleted."""
    chronicle = play(
        world(
            create(1.0),
            Operation(at_s=1.5, kind=OperationKind.DELETE_EXPIRED),
            keys=(KeySpec(expires_s=1.2),),
            duplicate_share=1.0,
            duplicate_after_max_s=20.0,
        ),
        POLICY,
    )
    first, second = of_kind(Committed, chronicle.happenings)
    assert first.key == second.key
    removed = of_kind(Removed, chronicle.happenings)[0].at_s
    assert first.at_s < removed < second.at_s < chronicle.recovered_s + 1.0


def test_the_primary_is_well_in_the_end() -> None:
    """However slow it was, it answers quickly once everything hostile is over."""
    slow = PrimarySettings(select=Deterministic(mean_s=2.0), insert=Deterministic(mean_s=2.0))
    chronicle = play(world(create(4.0), primary=slow), POLICY)
    began = {each.call: each.at_s for each in of_kind(CallBegan, chronicle.happenings)}
    took_s = {
        each.call: each.at_s - began[each.call] for each in of_kind(CallEnded, chronicle.happenings)
    }
    late = [took_s[call] for call, at_s in began.items() if at_s > chronicle.recovered_s]
    assert late
    assert max(late) <= WORK_WELL_MAX_S + 1e-9
    assert max(took_s.values()) > 1.0
    assert chronicle.rows.keys() == {"k0"}


# What must not pass unseen


def test_an_undocumented_error_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller of `get` must not be told of anything else than what is promised."""

    async def fail(_self: object, _key_id: str) -> PublicKey:
        raise ConnectionResetError("from the depths")

    monkeypatch.setattr(FaultTolerantRepository, "get", fail)
    answer = told(play(world(get(1.0)), POLICY))
    assert (answer.outcome, answer.error) == (
        Outcome.FAILED,
        "ConnectionResetError: from the depths",
    )


def test_a_cancellation_that_nobody_asked_for_is_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As when one caller's cancellation leaks into the call of another."""

    async def cancelled(_self: object, _key_id: str) -> PublicKey:
        raise asyncio.CancelledError

    monkeypatch.setattr(FaultTolerantRepository, "get", cancelled)
    assert told(play(world(get(1.0)), POLICY)).outcome is Outcome.FAILED


def test_background_work_that_fails_has_broken_something(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the repository only logs it and tries again."""

    async def fail(_self: object) -> int:
        raise ZeroDivisionError("in the flush")

    monkeypatch.setattr(Reconciler, "flush", fail)
    outage = Outage(1.0, 2.0, OutageMode.REFUSE)
    logging.getLogger("ftrepo").disabled = False
    found = broken(play(world(create(1.5), outages=(outage,)), POLICY))
    assert "logged: background flush failed" in found[0]
    assert "ZeroDivisionError: in the flush" in found[0]


def test_an_error_that_nobody_awaited_has_broken_something(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a task that was forgotten, in a cycle that only the garbage collector ends."""

    async def forgotten() -> None:
        own: list[Any] = [asyncio.current_task()]
        own.append(own)
        raise ZeroDivisionError("unseen")

    inner = FaultTolerantRepository.get

    async def careless(self: FaultTolerantRepository, key_id: str) -> PublicKey:
        asyncio.create_task(forgotten())  # noqa: RUF006  that is the point
        return await inner(self, key_id)

    monkeypatch.setattr(FaultTolerantRepository, "get", careless)
    chronicle = play(world(get(1.0)), POLICY)
    assert broken(chronicle) == ["Task exception was never retrieved: ZeroDivisionError: unseen"]


def test_a_task_that_outlives_the_repository_is_left_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is named in the chronicle."""
    inner = FaultTolerantRepository.get
    kept = []

    async def careless(self: FaultTolerantRepository, key_id: str) -> PublicKey:
        kept.append(asyncio.create_task(asyncio.sleep(1e6)))
        return await inner(self, key_id)

    monkeypatch.setattr(FaultTolerantRepository, "get", careless)
    assert play(world(get(1.0)), POLICY).leftover_tasks == ("sleep",)


def test_a_connection_that_a_process_takes_with_it_is_leaked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also if that left long before the end; what a kill takes, the server gets back."""

    async def keep(self: HostilePrimary) -> int:
        self.pool.places.take()
        return 0

    monkeypatch.setattr(HostilePrimary, "delete_expired", keep)
    clean_up = Operation(at_s=1.0, kind=OperationKind.DELETE_EXPIRED)
    for kind, leaked in ((StopKind.LEAVE, 1), (StopKind.KILL, 0)):
        stop = Restart(at_s=2.0, kind=kind)
        chronicle = play(world(clean_up, restarts=(stop,)), Policy(expiry_interval_s=1e6))
        assert chronicle.open_connections == leaked


def test_a_call_that_never_ends_is_told_as_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the play ends."""

    async def never(_self: object, _key_id: str) -> PublicKey:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    monkeypatch.setattr(FaultTolerantRepository, "get", never)
    answer = told(play(world(get(1.0)), POLICY))
    assert (answer.outcome, answer.error) == (Outcome.FAILED, "the call never came to an end")


def test_a_program_that_turns_in_a_circle_has_broken_something(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While time stands still, and while it passes: the play ends, and says why."""

    async def still(_self: object, _key_id: str) -> PublicKey:
        while True:  # noqa: ASYNC110  that is the point
            await asyncio.sleep(0)

    with monkeypatch.context() as patch:
        patch.setattr(FaultTolerantRepository, "get", still)
        chronicle = play(world(get(1.0)), POLICY)
    assert chronicle.failure.startswith("NoProgressError: ")
    assert of_kind(Asked, chronicle.happenings)

    async def busy(self: FaultTolerantRepository, key_id: str) -> PublicKey:
        for _ in itertools.count():
            await asyncio.sleep(0.001)
            await self._primary.ping()
        raise AssertionError(key_id)

    monkeypatch.setattr(chronicler, "HAPPENINGS_MAX", 1000)
    monkeypatch.setattr(FaultTolerantRepository, "get", busy)
    assert play(world(get(1.0)), POLICY).failure.startswith("EndlessWorldError: ")


def test_a_program_that_never_comes_back_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it catches whatever it can; and the next play is none the worse for it."""

    async def stuck(_self: object, _key_id: str) -> PublicKey:
        while True:
            with suppress(Exception):
                sum(range(1000))

    with monkeypatch.context() as patch:
        patch.setattr(FaultTolerantRepository, "get", stuck)
        chronicle = play(world(get(1.0)), POLICY, processor_s_max=0.05)
    assert chronicle.failure.startswith("StuckWorldError: ")
    assert of_kind(Asked, chronicle.happenings)
    assert chronicle.ended_s == 1.0
    assert play(world(get(1.0)), POLICY).failure == ""
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)


def test_a_process_that_cannot_be_left_has_broken_something(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With an error, or without an end."""

    async def fail(*_: object) -> None:
        raise ZeroDivisionError("at the end")

    async def hang(*_: object) -> None:
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(FaultTolerantRepository, "__aexit__", fail)
    assert broken(play(world(), POLICY))[0] == "leaving failed: ZeroDivisionError: at the end"
    monkeypatch.setattr(FaultTolerantRepository, "__aexit__", hang)
    assert "did not leave" in broken(play(world(), POLICY))[0]


def test_nothing_of_a_play_is_kept() -> None:
    """But the chronicle: thousands of worlds are played in one process."""
    others = set(asyncio.tasks._all_tasks)  # type: ignore[attr-defined]  # Of earlier tests.
    for seed in SEEDS:
        drawn(seed)
    assert set(asyncio.tasks._all_tasks) <= others  # type: ignore[attr-defined]
