"""Plays a hostile world: the real repository, in virtual time, and everything that goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from ftrepo.policy import Policy
from sim.explore.calls import Call, Keys, acknowledged, after_turns
from sim.explore.chronicler import Chronicler
from sim.explore.ending import Ending, complaints, note_what_nobody_awaited
from sim.explore.happenings import OutageBegan, OutageEnded, Outcome
from sim.explore.hostile_instance import HostileInstance
from sim.explore.hostile_primary import HostileAnnouncingPrimary, HostilePrimary
from sim.explore.hostile_world import HostileWorld, Operation, OperationKind, Restart, StopKind
from sim.explore.processor_time import PROCESSOR_S_MAX, StuckWorldError, bounded
from sim.explore.settling import pause_between_reads_s, settle_bound_s
from sim.loop import LoopError, VirtualTimeLoop, run_virtual
from sim.stage import RunClock
from sim.world.outages import merge
from sim.world.streams import Streams

if TYPE_CHECKING:
    from sim.explore.happenings import Chronicle
    from sim.explore.hostile_world import DiskFault
    from sim.world.outages import Outage

CALM_S_MAX = 300.0
"""How long after the last of the faults every instance must be up again, at the latest."""

LOOK_S = 0.5
"""How often it is looked whether they are."""

STEP_S = 10.0
"""How often it is looked whether a world goes on and on."""

LEFT_S_MAX = 60.0
"""How long an instance may take to leave in the end, while the primary is well."""

AFTERMATH_S = 1.0
"""How long after that what goes on by itself may take to end."""


def play(
    world: HostileWorld, policy: Policy, *, processor_s_max: float = PROCESSOR_S_MAX
) -> Chronicle:
    """Play a world under a policy, and return what happened.

    The same arguments give the same chronicle, to the bit, in every process. A world whose play
    comes to no end, in a deadlock, a livelock or a loop that never awaits, gives the chronicle of
    what happened before, and its `failure` says so.

    Args:
        world: what is played.
        policy: of every repository in it.
        processor_s_max: how long it may compute, in seconds; see `sim.explore.processor_time`.
    """
    endings: list[Ending] = []

    async def main(loop: VirtualTimeLoop) -> None:
        endings.append(Ending(Chronicler(loop)))
        await _Play(loop, world, policy, endings[0]).play()

    order = Streams(world.seed).generator("order") if world.shuffled else None
    failure = ""
    with complaints(endings):
        try:
            with bounded(processor_s_max):
                run_virtual(main, order=order)
        except (LoopError, StuckWorldError) as error:
            failure = f"{type(error).__name__}: {error}"
    return endings[0].chronicle(world, policy, failure)


class _Play:
    """One play, on the loop that it plays on."""

    def __init__(
        self, loop: VirtualTimeLoop, world: HostileWorld, policy: Policy, ending: Ending
    ) -> None:
        self.loop = loop
        self.world = world
        self.policy = policy
        self.ending = ending
        self.chronicler = ending.chronicler
        # The loop outlives the play, and must not keep it.
        loop.set_exception_handler(partial(note_what_nobody_awaited, ending.chronicler))
        clock = RunClock(loop)
        clock.begin()
        streams = Streams(world.seed)
        kind = HostileAnnouncingPrimary if world.primary.announces else HostilePrimary
        self.now = clock.now
        self.primary = kind(
            loop,
            world,
            chronicler=self.chronicler,
            rng=streams.generator("primary"),
            now=clock.now,
        )
        ending.rows = self.primary.rows
        self.keys = Keys(world.keys)
        self.fleet: list[HostileInstance] = []
        for number in range(world.instances):
            instance = HostileInstance(
                number,
                world=world,
                policy=policy,
                primary=self.primary,
                fleet=self.fleet,
                streams=streams,
                chronicler=self.chronicler,
            )
            self.fleet.append(instance)
        self.calls: list[Call] = []
        # Timers that are set, and what will happen some turns from now.
        self.to_come = 0

    async def play(self) -> None:
        """Play it all."""
        self._schedule()
        for instance in self.fleet:
            instance.start()
        await self._until_calm()
        self.ending.recovered_s = self.loop.time()
        await self._pass(settle_bound_s(self.policy, keys=len(self.world.keys)))
        for instance in self.fleet:
            instance.note_stores()
        await self._ask_for_everything()
        await self._leave()
        self.ending.ended_s = self.loop.time()

    # What is to happen

    def _schedule(self) -> None:
        world = self.world

        def at(moment_s: float, act: Callable[..., object], *args: object) -> None:
            # A world from a file may have whole numbers, and one of ours the same as fractions.
            self.loop.call_at(float(moment_s), act, *args)

        for outage in merge(world.outages):
            at(outage.start_s, self._begin_outage, outage)
            at(outage.end_s, self._end_outage, outage)
        for fault in world.disk_faults:
            at(fault.start_s, self._break_disk, fault)
        for step in world.clock_steps:
            at(step.at_s, self.fleet[step.instance].step_clock, step.by_s)
        for number, operation in enumerate(world.operations):
            self.to_come += 1
            at(operation.at_s, self._operate, number, operation)
        for restart in world.restarts:
            self.to_come += 1
            at(restart.at_s, self._time_to_stop, restart)

    def _begin_outage(self, outage: Outage) -> None:
        self._note_stores()
        self.chronicler.note(OutageBegan(self.loop.time(), outage))

    def _end_outage(self, outage: Outage) -> None:
        self.chronicler.note(OutageEnded(self.loop.time(), outage))
        self._note_stores()

    def _break_disk(self, fault: DiskFault) -> None:
        self.fleet[fault.instance].break_disk(fault.kind, fault.end_s)

    def _time_to_stop(self, restart: Restart) -> None:
        self.to_come -= 1
        instance = self.fleet[restart.instance]
        stop = partial(instance.stop, restart.kind, restart.away_s)
        self._act(stop, restart.after_turns, at_answer_of=instance if restart.at_answer else None)

    def _operate(self, number: int, operation: Operation) -> None:
        self.to_come -= 1
        if operation.kind is OperationKind.PUBLISH:
            assert operation.key is not None
            key = self.keys.made(operation.key, self.now())
            if not key.has_expired(self.now()):
                self.primary.commit(key)
            return
        call = self._call(number, operation)
        if operation.cancel_after_s is not None and not call.is_told:
            self.to_come += 1
            self.loop.call_later(operation.cancel_after_s, self._time_to_cancel, call, operation)

    def _time_to_cancel(self, call: Call, operation: Operation) -> None:
        self.to_come -= 1
        self._act(
            partial(call.give_up, Outcome.CANCELLED),
            operation.cancel_after_turns,
            at_answer_of=self.fleet[operation.instance] if operation.cancel_at_answer else None,
        )

    def _act(
        self, act: Callable[[], object], turns: int, *, at_answer_of: HostileInstance | None
    ) -> None:
        """Act some turns from now, or from the next answer that an instance gets."""
        if at_answer_of is not None:
            # One turn at least: the answer is told of by the very task that may be stopped by it.
            at_answer_of.at_answer(partial(self._act, act, turns + 1, at_answer_of=None))
            return
        self.to_come += 1
        after_turns(turns, partial(self._act_now, act))

    def _act_now(self, act: Callable[[], object]) -> None:
        self.to_come -= 1
        act()

    def _call(self, number: int, operation: Operation) -> Call:
        call = Call(
            number,
            operation,
            instance=self.fleet[operation.instance],
            keys=self.keys,
            policy=self.policy,
            chronicler=self.chronicler,
        )
        self.calls.append(call)
        return call

    # How it ends

    async def _until_calm(self) -> None:
        """Wait until nothing hostile happens any more, and every instance is up."""
        await self._pass(self.world.last_moment_s)
        self.primary.ailment.is_over = True
        for instance in self.fleet:
            instance.expect_no_answer()
        given_up_s = self.loop.time() + CALM_S_MAX
        while not self._is_calm():
            if self.loop.time() > given_up_s:
                down = [each.number for each in self.fleet if not each.is_up]
                self.chronicler.broke(
                    f"{CALM_S_MAX:g} s after the last fault, instances {down} are not up"
                )
                return
            await self._pass(LOOK_S)

    def _is_calm(self) -> bool:
        is_up = all(instance.is_up for instance in self.fleet)
        return is_up and not self.to_come and self.primary.is_calm

    async def _ask_for_everything(self) -> None:
        """Get every key that was acknowledged, or is in the primary, through every instance."""
        keys = {**self.primary.rows, **acknowledged(self.chronicler.happenings)}
        now = self.now()
        valid = sorted(key_id for key_id, key in keys.items() if not key.has_expired(now))
        number = len(self.world.operations)
        rounds = []
        for instance in self.fleet:
            rounds.append(self._ask_one_by_one(instance, valid, number))
            number += len(valid)
        await asyncio.gather(*rounds)

    async def _ask_one_by_one(
        self, instance: HostileInstance, key_ids: list[str], number: int
    ) -> None:
        for key_id in key_ids:
            place = int(key_id.removeprefix("k"))
            get = Operation(
                at_s=self.loop.time(),
                kind=OperationKind.GET,
                instance=instance.number,
                key=place,
            )
            call = self._call(number, get)
            if not call.is_told:
                await asyncio.wait([call.task], timeout=LEFT_S_MAX)
            await asyncio.sleep(pause_between_reads_s(self.policy))
            number += 1

    async def _leave(self) -> None:
        """Leave every instance in order, and look what goes on."""
        for call in self.calls:
            if not call.is_told:
                call.tell(Outcome.FAILED, error="the call never came to an end")
        for instance in self.fleet:
            instance.stop(StopKind.LEAVE, None)
        given_up_s = self.loop.time() + LEFT_S_MAX
        while any(instance.process is not None for instance in self.fleet):
            if self.loop.time() > given_up_s:
                self.chronicler.broke(f"an instance did not leave within {LEFT_S_MAX:g} s")
                break
            await self._pass(LOOK_S)
        await self._pass(AFTERMATH_S)
        own = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks(self.loop) if task is not own]
        self.ending.leftover_tasks = tuple(sorted(map(_what, tasks)))
        self.ending.open_connections = sum(
            process.store.open_connections for each in self.fleet for process in each.left
        )

    async def _pass(self, seconds: float) -> None:
        """Let time pass, in steps, and give up a world in which too much happens meanwhile."""
        until_s = self.loop.time() + seconds
        while (left_s := until_s - self.loop.time()) > 0:
            await asyncio.sleep(min(left_s, STEP_S))
            self.chronicler.must_end()

    def _note_stores(self) -> None:
        for instance in self.fleet:
            instance.note_stores()


def _what(task: asyncio.Task[Any]) -> str:
    return getattr(task.get_coro(), "__qualname__", task.get_name())
