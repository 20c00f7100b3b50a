"""Plays a scenario in real time against a real PostgreSQL, with the play of the simulation."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from ftrepo.policy import Policy
from sim.history import History
from sim.play import Play
from sim.run import Result
from sim.stage import RunClock
from sim.testbed.acting import Acted, needs_line
from sim.testbed.cluster import Cluster, ExistingServer
from sim.testbed.real_stage import real_stage
from sim.world.condense import Timeline
from sim.world.errors import InputError
from sim.world.scenario import Scenario
from sim.world.streams import Streams

T = TypeVar("T")

REAL_TIME_S_MAX = 1800.0
"""The longest scenario that is played in real time: half an hour."""

CLUSTER_SETTINGS = {"max_connections": "60"}
"""Room for two pools of 25, and few enough to be used up quickly."""

QUIET_SETTINGS = {**CLUSTER_SETTINGS, "fsync": "off"}
"""For several servers on one disk, whose waits for it would add up to time-outs. No fault here ends
the machine, so that nothing is lost by it."""

_PROGRESS_EVERY_S = 0.25

Progress = Callable[[float, float], None]
"""Is told how many seconds are played, and of how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A run in real time.

    Attributes:
        result: the same as a simulated run gives.
        acted: each outage as it was planned and as it was.
    """

    result: Result
    acted: Sequence[Acted]


def server_for(
    dsn: str | None, *, settings: Mapping[str, str] | None = None
) -> AbstractContextManager[Cluster | ExistingServer]:
    """Return a server to play on: a new one of one's own, or the one at an address.

    Args:
        dsn: the address; `None` for one's own.
        settings: parameters of one's own; by default `CLUSTER_SETTINGS`.
    """
    if dsn is None:
        return Cluster(settings=settings or CLUSTER_SETTINGS)
    return nullcontext(ExistingServer(dsn))


def replay(
    scenario: Scenario,
    policy: Policy,
    *,
    server: Cluster | ExistingServer,
    seed: int = 1,
    replication: int = 0,
    progress: Progress | None = None,
) -> Replay:
    """Play a scenario once in real time. Its arrivals, keys and outages are the simulation's.

    May be called where an event loop runs already, as in a notebook's cell.

    Args:
        scenario: what happens; no longer than `REAL_TIME_S_MAX`.
        policy: how the repository behaves.
        server: where it is played, in a database of its own. A `Cluster` is stopped, frozen and
            restarted as the scenario says; at somebody's server only the line to it is spoiled.
        seed: of the whole study.
        replication: the number of this run in the study.
        progress: is told of the time.

    Raises:
        InputError: the scenario is too long, or has an outage that cannot be acted there.
        TestbedError: the server does not do what it should.
    """
    job = Job(scenario=scenario, policy=policy, seed=seed, replication=replication)
    return run_real(job.play(server, progress))


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to play: see `replay`."""

    scenario: Scenario
    policy: Policy
    seed: int = 1
    replication: int = 0

    async def play(
        self, server: Cluster | ExistingServer, progress: Progress | None = None
    ) -> Replay:
        """Play it on the running loop; see `replay`."""
        streams = Streams(self.seed, self.replication)
        own = isinstance(server, Cluster)
        timeline = playable(self.scenario, streams, own_server=own)
        world: dict[str, Any] = {
            "scenario": self.scenario,
            "timeline": timeline,
            "streams": streams,
        }
        clock = RunClock(asyncio.get_running_loop())
        async with real_stage(server, clock, **world) as stage:
            play = Play(stage, clock, policy=self.policy, **world)
            history = await _with_progress(play, clock, timeline.duration_s, progress)
        result = Result(
            scenario=self.scenario,
            policy=self.policy,
            seed=self.seed,
            replication=self.replication,
            timeline=timeline,
            history=history,
        )
        return Replay(result=result, acted=tuple(stage.acted))


def playable(scenario: Scenario, streams: Streams, *, own_server: bool) -> Timeline:
    """Return the timeline of a scenario that can be played in real time: whole, not condensed.

    Raises:
        InputError: it is too long, has several instances or stops in order, or an outage that
            cannot be acted.
    """
    service = scenario.service
    if service.instances > 1 or service.deploy_every_s or service.crash_every_s:
        raise InputError(
            f"{scenario.name} has a fleet, which is only simulated; for real time set "
            f"service.instances = 1, and neither deploy_every_s nor crash_every_s"
        )
    if scenario.length_s > REAL_TIME_S_MAX:
        raise InputError(
            f"{scenario.name} takes {scenario.length_s / 60:.0f} min, and would take as long in "
            f"real time; the most is {REAL_TIME_S_MAX / 60:.0f} min: set a shorter duration_s"
        )
    timeline = Timeline.whole(scenario.draw_outages(streams), scenario.length_s)
    needs_line(timeline.outages, own_server=own_server)
    return timeline


def run_real(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on an ordinary event loop, in a new thread if one runs in this already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(main)
    outcome: list[T | BaseException] = []
    done = threading.Event()
    task: list[asyncio.Task[T]] = []

    async def watched() -> T:
        running: asyncio.Task[T] | None = asyncio.current_task()
        assert running is not None
        task.append(running)
        return await main

    def work() -> None:
        try:
            outcome.append(asyncio.run(watched()))
        except BaseException as error:
            outcome.append(error)
        done.set()

    threading.Thread(target=work, daemon=True).start()
    try:
        done.wait()
    except BaseException:
        if task:
            task[0].get_loop().call_soon_threadsafe(task[0].cancel)
        done.wait()
        raise
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


async def _with_progress(
    play: Play, clock: RunClock, duration_s: float, progress: Progress | None
) -> History:
    async def tell() -> None:
        while progress is not None:
            progress(min(clock.time(), duration_s), duration_s)
            await asyncio.sleep(_PROGRESS_EVERY_S)

    telling = asyncio.create_task(tell())
    try:
        return await play.play()
    finally:
        telling.cancel()
        with suppress(asyncio.CancelledError):
            await telling
