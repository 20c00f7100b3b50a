"""Where a run is played: its clock, and what a play needs of the primary on its stage.

There are two stages: the simulated primary in virtual time, here, and a real PostgreSQL with
injected faults in real time, in `sim.testbed`. The same `sim.play.Play` plays on both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from sim.world.announcements import AnnouncingPrimary
from sim.world.issuers import EPOCH
from sim.world.primary import SimulatedPrimary
from sim.world.streams import of_instance

if TYPE_CHECKING:
    from ftrepo.interface import PrimaryStore
    from ftrepo.keys import PublicKey
    from sim.loop import VirtualTimeLoop
    from sim.world.condense import Timeline
    from sim.world.scenario import Scenario
    from sim.world.streams import Streams


class RunClock:
    """The time of a run, in seconds since it began and as a calendar.

    Until `begin` is called, it is the moment at which the run begins. The calendar is the same in
    every run, whenever that is played.

    Args:
        loop: whose time it is.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop_time = loop.time
        self._began_s: float | None = None
        self._now_s, self._now = 0.0, EPOCH

    def begin(self) -> None:
        """Let the run begin now."""
        self._began_s = self._loop_time()

    def time(self) -> float:
        """Seconds since the run began."""
        return 0.0 if self._began_s is None else self._loop_time() - self._began_s

    def loop_time(self, moment_s: float) -> float:
        """The loop's own time at a moment of the run."""
        assert self._began_s is not None
        return self._began_s + moment_s

    def now(self) -> datetime:
        """The calendar time. Asked many times at one instant, so the last answer is kept."""
        now_s = self.time()
        if now_s != self._now_s:
            self._now_s, self._now = now_s, EPOCH + timedelta(seconds=now_s)
        return self._now


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What a primary has to tell when a run is over.

    Attributes:
        committed_s: when each key was committed, deleted ones included.
        attempts_s: when each call was made, refused ones included; in order.
    """

    committed_s: Mapping[str, float]
    attempts_s: Sequence[float]


class Stage(Protocol):
    """A primary that fails on schedule, in the time of a clock."""

    def store(self, instance: int) -> PrimaryStore:
        """The primary as one instance of the service sees it, by number: faults and all."""
        ...

    async def publish(self, keys: Sequence[PublicKey]) -> None:
        """Store keys past all faults: what others publish."""
        ...

    async def begin(self) -> None:
        """Let the schedule of outages begin; called once, when the clock begins."""
        ...

    async def end(self) -> Ledger:
        """Let everything that was under way end, and tell what happened."""
        ...


class SimulatedStage:
    """A simulated primary in virtual time.

    Args:
        loop: the loop that everything plays on.
        clock: the time of the run.
        scenario: the primary's settings.
        timeline: when it fails.
        streams: the run's random numbers.
    """

    def __init__(
        self,
        loop: VirtualTimeLoop,
        clock: RunClock,
        scenario: Scenario,
        timeline: Timeline,
        streams: Streams,
    ) -> None:
        kind = AnnouncingPrimary if scenario.primary.announces else SimulatedPrimary
        self._streams = streams
        self._primary = kind(
            loop,
            scenario.primary,
            outages=timeline.outages,
            rng=streams.generator("primary"),
            now=clock.now,
        )

    def store(self, instance: int) -> PrimaryStore:
        """The primary through a pool of this instance's own."""
        if instance == 0:
            return self._primary
        rng = self._streams.generator(of_instance("primary", instance))
        return self._primary.for_another_instance(rng)

    async def publish(self, keys: Sequence[PublicKey]) -> None:
        """Store keys at once."""
        for key in keys:
            self._primary.commit(key)

    async def begin(self) -> None:
        """Nothing is to be done: the simulated primary knows its schedule."""

    async def end(self) -> Ledger:
        """Tell what happened."""
        primary = self._primary
        return Ledger(committed_s=primary.committed_s, attempts_s=primary.attempts_s)
