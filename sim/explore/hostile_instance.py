"""One instance in a hostile world: processes of the real repository, one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ftrepo.errors import JournalError
from ftrepo.fault_tolerant import FaultTolerantRepository
from sim.explore.chronicler import Chronicler
from sim.explore.happenings import (
    ClockStepped,
    Observed,
    Outcome,
    Started,
    StartFailed,
    Stopped,
    Stores,
)
from sim.explore.hostile_primary import (
    HostileAnnouncingPrimary,
    HostilePrimary,
    NotedFeed,
    NotedStore,
)
from sim.explore.hostile_world import DiskFaultKind, StopKind
from sim.explore.process import Process, ProcessSnapshot
from sim.world.issuers import EPOCH
from sim.world.journal import SimulatedDisk, SimulatedJournal

if TYPE_CHECKING:
    from ftrepo.events import Event
    from ftrepo.keys import PublicKey
    from ftrepo.policy import Policy
    from sim.explore.hostile_world import HostileWorld
    from sim.world.streams import Streams

START_AGAIN_S = 1.0
"""How long after a start that failed the next one follows: what a supervisor does."""

PEER_LATENCY_S = 0.001
"""How long one instance takes to answer another."""

GIVEN_UP_S = 1.0
"""How long a process that is to leave waits for the calls that it has cancelled."""


class HostileInstance:
    """An instance that starts as the world begins, and after every stop.

    Args:
        number: from 0 on.
        world: what happens to it.
        policy: of its repository.
        primary: the server; each process has a pool of its own.
        fleet: all instances, by number.
        streams: the world's random numbers.
        chronicler: is told of everything.

    Attributes:
        process: the present one; `None` while it is away.
        process_number: of the present process, or of the last one.
        left: every process that left in order.
    """

    def __init__(
        self,
        number: int,
        *,
        world: HostileWorld,
        policy: Policy,
        primary: HostilePrimary,
        fleet: list[HostileInstance],
        streams: Streams,
        chronicler: Chronicler,
    ) -> None:
        self.number = number
        self.process: Process | None = None
        self.process_number = -1
        self.left: list[Process] = []
        self.disk = SimulatedDisk()
        self._full = 0
        self._at_answer: list[Callable[[], object]] = []
        self._loop = asyncio.get_running_loop()
        self._world = world
        self._policy = policy
        self._primary = primary
        self._fleet = fleet
        self._luck = streams.generator(f"instance {number}")
        self._chronicler = chronicler
        self._skew_s = world.skew_s[number] if number < len(world.skew_s) else 0.0
        self._now_s, self._now = -1.0, EPOCH

    @property
    def is_up(self) -> bool:
        """Whether it is ready for callers."""
        return self.process is not None and self.process.is_ready

    def now(self) -> datetime:
        """What this instance takes for the time."""
        now_s = self._loop.time() + self._skew_s
        if now_s != self._now_s:
            self._now_s, self._now = now_s, EPOCH + timedelta(seconds=now_s)
        return self._now

    def step_clock(self, by_s: float) -> None:
        """Let its clock jump."""
        self._skew_s += by_s
        self._chronicler.note(ClockStepped(self._chronicler.now_s(), self.number, by_s))

    def break_disk(self, kind: DiskFaultKind, until_s: float) -> None:
        """Let its disk fail from now on."""
        if kind is DiskFaultKind.HANGS:
            self.disk.hangs_until_s = max(self.disk.hangs_until_s, until_s)
            return
        self._full += 1
        self.disk.is_full = True
        self._loop.call_at(until_s, self._free_disk)

    def at_answer(self, act: Callable[[], object]) -> None:
        """Act once, as the next call of this instance to the primary ends."""
        self._at_answer.append(act)

    def expect_no_answer(self) -> None:
        """Forget what was to be done at the next answer."""
        self._at_answer.clear()

    def start(self) -> None:
        """Let the next process start."""
        self.process_number += 1
        self.process = process = self._new_process()
        process.life = self._loop.create_task(self._start(process), name="start")

    def stop(self, kind: StopKind, away_s: float | None) -> None:
        """Let the present process end; nothing happens while there is none.

        Args:
            kind: how. A process that has not started yet cannot leave in order: its start is
                cancelled.
            away_s: how long until the next one starts; `None`: there is none.
        """
        process = self.process
        if process is None or (process.is_leaving and kind is StopKind.LEAVE):
            return
        self.note_stores()
        self._chronicler.note(Stopped(self._chronicler.now_s(), self.number, process.number, kind))
        if kind is StopKind.KILL:
            process.kill()
            self._ended(process, away_s)
            return
        begun, process.is_leaving = process.is_ready, True
        process.is_ready = False
        leave = (
            self._leave(process, away_s)
            if begun
            else self._give_up_start(process, process.life, away_s)
        )
        process.life = self._loop.create_task(leave, name="leave")

    def note_stores(self) -> None:
        """Note what lies in the stores of the present process, if there is one."""
        process = self.process
        if process is None:
            return
        repository = process.repository
        stores = Stores(
            self._chronicler.now_s(),
            self.number,
            process.number,
            cached=frozenset(key.id for key in repository.cache.valid_keys()),
            pending=frozenset(repository.pending.key_ids()),
            on_disk=frozenset(self.disk.rows),
        )
        self._chronicler.note(stores)

    # The life of a process

    async def _start(self, process: Process) -> None:
        began_s = self._loop.time()
        try:
            await process.repository.__aenter__()
        except JournalError as error:
            failure = str(error)
        except Exception as error:
            failure = f"{type(error).__name__}: {error}"
            self._chronicler.broke(f"a start failed: {failure}")
        else:
            failure = ""
        if self.process is not process or process.is_leaving:
            # Ended in the very turn in which its start did: what that began is gone, too.
            process.repository.kill()
            return
        now_s = self._loop.time()
        if not failure:
            process.is_ready = True
            self._chronicler.note(Started(now_s, self.number, process.number, now_s - began_s))
        else:
            self._chronicler.note(
                StartFailed(now_s, self.number, process.number, failure, now_s - began_s)
            )
            self._ended(process, START_AGAIN_S)

    async def _give_up_start(
        self, process: Process, start: asyncio.Task[None] | None, away_s: float | None
    ) -> None:
        if start is not None:
            start.cancel()
            await asyncio.wait([start], timeout=GIVEN_UP_S)
        # A start that came to its end in that very turn has begun what would go on.
        process.repository.kill()
        self._ended(process, away_s)

    async def _leave(self, process: Process, away_s: float | None) -> None:
        calls = tuple(process.calls)
        for call in calls:
            call.give_up(Outcome.CUT_OFF)
        if calls:
            await asyncio.wait([call.task for call in calls], timeout=GIVEN_UP_S)
        try:
            await process.repository.__aexit__(None, None, None)
        except Exception as error:
            self._chronicler.broke(f"leaving failed: {type(error).__name__}: {error}")
        if process.journal is not None and self.disk.holder is process.journal:
            self._chronicler.broke("the journal was left open by a process that has ended")
        self.left.append(process)
        self._ended(process, away_s)

    def _ended(self, process: Process, away_s: float | None) -> None:
        process.end()
        if self.process is process:
            self.process = None
            if away_s is not None:
                self._loop.call_later(away_s, self.start)

    def _new_process(self) -> Process:
        world, policy, disk = self._world, self._policy, self.disk
        primary = self._primary.for_another_instance(self._luck.spawn(1)[0])
        kind = NotedFeed if isinstance(primary, HostileAnnouncingPrimary) else NotedStore
        number = self.process_number
        store = kind(
            primary,
            self._chronicler,
            instance=self.number,
            process=number,
            cancels_at_once=world.cancels_at_once and world.primary.driver_honours_cancellation,
            answered=self._answered,
        )
        journal = SimulatedJournal(disk) if world.journal and policy.pending_writes else None
        snapshot = ProcessSnapshot(disk) if world.snapshot else None

        def observe(event: Event) -> None:
            if not store.is_gone:
                now_s = self._chronicler.now_s()
                self._chronicler.note(Observed(now_s, self.number, number, event))

        repository = FaultTolerantRepository(
            store,
            policy,
            now=self.now,
            observers=[observe],
            journal=journal,
            snapshot=snapshot,
            peers=_Peers(self, self._fleet) if world.peers else None,
            draw=self._luck.random,
        )
        return Process(number, repository, store, journal, snapshot)

    def _answered(self) -> None:
        waiting, self._at_answer = self._at_answer, []
        for act in waiting:
            act()

    def _free_disk(self) -> None:
        self._full -= 1
        self.disk.is_full = self._full > 0


class _Peers:
    """The other instances, as one of them asks them: a `Peers` in virtual time."""

    def __init__(self, own: HostileInstance, fleet: list[HostileInstance]) -> None:
        self._own = own
        self._fleet = fleet

    async def find(self, key_id: str) -> PublicKey | None:
        """Return a key that another instance has at hand; see `Peers.find`."""
        await asyncio.sleep(PEER_LATENCY_S)
        for other in self._fleet:
            if other is not self._own and other.process is not None and other.is_up:
                key = other.process.repository.at_hand(key_id)
                if key is not None:
                    return key
        return None
