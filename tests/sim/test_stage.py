"""The clock of a run, and what other instances do on its stage."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence
from datetime import timedelta

import pytest

from ftrepo.keys import PublicKey
from ftrepo.policy import Policy
from sim.loop import VirtualTimeLoop, run_virtual
from sim.play import Play
from sim.stage import RunClock, SimulatedStage
from sim.world.issuers import EPOCH
from sim.world.outage_patterns import FixedWindows
from sim.world.outages import OutageMode
from sim.world.scenario import KeySettings, Scenario
from sim.world.streams import Streams
from sim.world.traffic import Constant

NOBODY_WRITES = {
    OutageMode.REFUSE,
    OutageMode.HANG,
    OutageMode.READ_ONLY,
    OutageMode.STARTING,
    OutageMode.RESET,
    OutageMode.LOCKED,
}


class WatchedStage(SimulatedStage):
    """Notes when others publish."""

    published_s: list[float]
    clock: RunClock

    async def publish(self, keys: Sequence[PublicKey]) -> None:
        self.published_s += [self.clock.time()] * len(keys)
        await super().publish(keys)


def ten_keys_a_second(mode: OutageMode = OutageMode.REFUSE) -> Scenario:
    """Half a minute of five other instances, with an outage in its middle third."""
    return Scenario(
        name="ten keys a second",
        duration_s=30.0,
        condense=False,
        traffic=Constant(rate_per_s=1.0),
        outages=(FixedWindows(windows=((10.0, 20.0),), mode=mode),),
        keys=KeySettings(rotation_interval_s=0.5, lifetime_s=60.0, token_lifetime_s=30.0, peers=5),
    )


def test_the_clock_stands_until_the_run_begins() -> None:
    """Then it goes with the loop; what was prepared before is at the moment of its beginning."""

    async def main(loop: VirtualTimeLoop) -> None:
        await asyncio.sleep(7.0)
        clock = RunClock(loop)
        assert (clock.time(), clock.now()) == (0.0, EPOCH)
        await asyncio.sleep(3.0)
        assert clock.time() == 0.0
        clock.begin()
        assert clock.time() == 0.0
        await asyncio.sleep(2.5)
        assert (clock.time(), clock.now()) == (2.5, EPOCH + timedelta(seconds=2.5))
        assert clock.loop_time(4.0) == 14.0

    run_virtual(main)


@pytest.mark.parametrize("mode", OutageMode)
def test_others_publish_as_soon_as_anybody_can_write(mode: OutageMode) -> None:
    """They wait out an outage of the server, and do not notice one of this instance."""
    scenario = ten_keys_a_second(mode)
    streams = Streams(1)
    timeline = scenario.timeline(scenario.draw_outages(streams))
    published_s: list[float] = []

    async def main(loop: VirtualTimeLoop) -> None:
        clock = RunClock(loop)
        stage = WatchedStage(loop, clock, scenario, timeline, streams)
        stage.published_s, stage.clock = published_s, clock
        await Play(
            stage, clock, scenario=scenario, policy=Policy(), streams=streams, timeline=timeline
        ).play()

    run_virtual(main)
    within = [moment_s for moment_s in published_s if 10.0 <= moment_s < 20.0]
    assert len(within) == (0 if mode in NOBODY_WRITES else 100)
    # Each of the five waits with one key, and goes on with those that are still to come.
    assert published_s.count(20.0) == (5 if mode in NOBODY_WRITES else 0)
    assert len([moment_s for moment_s in published_s if moment_s > 20.0]) == 100


@pytest.mark.parametrize("after_s", [0.0, 0.3, 7.0])
def test_a_run_that_is_given_up_leaves_nobody_behind(after_s: float) -> None:
    """Whoever went on would fail at what has been closed, with nobody to be told."""
    scenario = ten_keys_a_second()
    streams = Streams(1)
    timeline = scenario.timeline(scenario.draw_outages(streams))

    async def main(loop: VirtualTimeLoop) -> None:
        unawaited: list[dict[str, object]] = []
        loop.set_exception_handler(lambda _, context: unawaited.append(context))
        clock = RunClock(loop)
        stage = SimulatedStage(loop, clock, scenario, timeline, streams)
        play = asyncio.create_task(
            Play(
                stage, clock, scenario=scenario, policy=Policy(), streams=streams, timeline=timeline
            ).play()
        )
        await asyncio.sleep(after_s)
        play.cancel()
        await asyncio.wait([play])
        assert play.cancelled()
        # Longer than any time-out, and than the steps of any rotation.
        await asyncio.sleep(120.0)
        gc.collect()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert not unawaited

    run_virtual(main)


def test_a_peer_that_fails_fails_the_run() -> None:
    """Its keys would be missing, and nobody would know."""
    scenario = ten_keys_a_second()
    streams = Streams(1)
    timeline = scenario.timeline(scenario.draw_outages(streams))

    class FailingStage(SimulatedStage):
        async def publish(self, keys: Sequence[PublicKey]) -> None:
            if asyncio.get_running_loop().time() > 5.0:
                raise ZeroDivisionError

    async def main(loop: VirtualTimeLoop) -> None:
        clock = RunClock(loop)
        stage = FailingStage(loop, clock, scenario, timeline, streams)
        await Play(
            stage, clock, scenario=scenario, policy=Policy(), streams=streams, timeline=timeline
        ).play()

    with pytest.raises(ZeroDivisionError):
        run_virtual(main)
