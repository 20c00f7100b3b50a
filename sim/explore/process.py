"""One process of an instance in a hostile world, and what the operating system does at its end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ftrepo.errors import JournalError
from sim.explore.happenings import Outcome
from sim.world.journal import SimulatedSnapshot

if TYPE_CHECKING:
    from ftrepo.fault_tolerant import FaultTolerantRepository
    from sim.explore.calls import Call
    from sim.explore.hostile_primary import NotedStore
    from sim.world.journal import SimulatedJournal


class ProcessSnapshot(SimulatedSnapshot):
    """A `SimulatedSnapshot` that a process which has ended writes no more.

    Attributes:
        is_gone: whether it has.
    """

    is_gone = False

    async def _wait(self) -> None:
        await super()._wait()
        if self.is_gone:
            raise JournalError("the process has ended")


@dataclass(slots=True, eq=False)
class Process:
    """One process: from its start to its end."""

    number: int
    repository: FaultTolerantRepository
    store: NotedStore
    journal: SimulatedJournal | None
    snapshot: ProcessSnapshot | None
    is_ready: bool = False
    is_leaving: bool = False
    calls: list[Call] = field(default_factory=list)
    """Of callers, under way."""
    life: asyncio.Task[None] | None = None
    """Its start, or its leaving."""

    def kill(self) -> None:
        """End at once: nothing of it reaches anything any more."""
        self.end()
        self.repository.kill()
        for call in tuple(self.calls):
            call.tell(Outcome.CUT_OFF)
            call.give_up(Outcome.CUT_OFF)
        if self.life is not None:
            self.life.cancel()

    def end(self) -> None:
        """Be over: what the operating system takes back is free."""
        self.is_ready = False
        self.store.is_gone = True
        if self.journal is not None:
            self.journal.kill()
        if self.snapshot is not None:
            self.snapshot.is_gone = True
