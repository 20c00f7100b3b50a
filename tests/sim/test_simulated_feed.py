"""The simulated primary that announces new keys."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from datetime import datetime, timedelta

import numpy as np
import pytest

from ftrepo.errors import PrimaryUnavailableError
from ftrepo.fault_tolerant import FaultTolerantRepository
from ftrepo.interface import ChangeFeed
from sim.loop import VirtualTimeLoop, run_virtual
from sim.world.announcements import IDS_MAX, AnnouncingPrimary
from sim.world.durations import Deterministic
from sim.world.faults import Faults
from sim.world.issuers import EPOCH
from sim.world.outages import Outage, OutageMode
from sim.world.primary import SimulatedPrimary
from sim.world.primary_settings import PrimarySettings
from tests.laboratory import LATENCY_S, hang, make_key, refuse


def run(story: Callable[[AnnouncingPrimary], Awaitable[None]], *outages: Outage) -> None:
    """Play a story before a primary that announces."""

    async def main(loop: VirtualTimeLoop) -> None:
        latency = Deterministic(mean_s=LATENCY_S)

        def now() -> datetime:
            return EPOCH + timedelta(seconds=loop.time())

        primary = AnnouncingPrimary(
            loop,
            PrimarySettings(select=latency, insert=latency, connect=latency, announces=True),
            outages=outages,
            rng=np.random.default_rng(0),
            now=now,
        )
        async with asyncio.timeout(1000.0):
            await story(primary)

    run_virtual(main)


def now_s() -> float:
    """Virtual time."""
    return asyncio.get_running_loop().time()


def test_only_this_one_is_a_feed() -> None:
    """A repository listens to whatever has the method."""
    assert issubclass(AnnouncingPrimary, ChangeFeed)
    assert not issubclass(SimulatedPrimary, ChangeFeed)


def test_others_keys_are_told_and_ones_own_are_not() -> None:
    """First that everything is to be looked at; then keys, within a round trip."""

    async def story(primary: AnnouncingPrimary) -> None:
        async with aclosing(primary.changes()) as changes:
            assert await anext(changes) is None
            await primary.create(make_key("own"))
            primary.commit(make_key("a"))
            primary.commit(make_key("b"))
            primary.commit(make_key("a"))
            started_s = now_s()
            keys = await anext(changes)
            assert keys is not None
            assert [key.id for key in keys] == ["a", "b"]
            assert now_s() - started_s == pytest.approx(LATENCY_S)

    run(story)


def test_too_many_to_remember_are_all_to_be_looked_at() -> None:
    """The inbox has a bound."""

    async def story(primary: AnnouncingPrimary) -> None:
        async with aclosing(primary.changes()) as changes:
            assert await anext(changes) is None
            for number in range(IDS_MAX + 1):
                primary.commit(make_key(str(number)))
            assert await anext(changes) is None

    run(story)


@pytest.mark.parametrize(
    ("outages", "lost_s"),
    [
        ([], None),
        ([refuse(12.0, 13.0)], 12.0),
        ([refuse(1.0, 2.0), refuse(12.0, 13.0)], 12.0),
        ([hang(12.0, 30.0)], 17.0),
        ([hang(12.0, 16.5)], None),
        ([hang(12.0, 14.0), hang(24.0, 30.0)], 27.0),
        ([hang(3.0, 9.0)], 7.0),
        ([hang(12.0, 30.0), refuse(40.0, 41.0)], 17.0),
        ([Outage(12.0, 30.0, OutageMode.LOCKED)], None),
        ([Outage(12.0, 30.0, OutageMode.RESET)], 12.0),
    ],
)
def test_a_lost_connection_is_noticed(outages: list[Outage], lost_s: float | None) -> None:
    """A cut at once, silence by the next question, if that is given up before the silence ends."""
    faults = Faults(outages, slow_factor=1.0, lost_reply_share=0.5)
    # Since 0, or since the end of an outage there: asked every 5 s, and given up after 2 s.
    since_s = 2.0 if refuse(1.0, 2.0) in outages else 0.0
    assert faults.listening_until_s(since_s, 5.0, 2.0) == lost_s


def test_a_feed_ends_when_its_connection_does_and_can_be_had_again() -> None:
    """It raises in the moment of the cut, and while nobody can connect."""

    async def story(primary: AnnouncingPrimary) -> None:
        async with aclosing(primary.changes()) as changes:
            assert await anext(changes) is None
            with pytest.raises(PrimaryUnavailableError):
                await anext(changes)
            assert now_s() == pytest.approx(10.0)
        with pytest.raises(ConnectionRefusedError):
            await anext(primary.changes())
        await asyncio.sleep(20.0 - now_s())
        async with aclosing(primary.changes()) as changes:
            assert await anext(changes) is None

    run(story, refuse(10.0, 20.0))


def test_a_repository_knows_what_others_published_just_before_an_outage() -> None:
    """Without a refresh, and without having asked for the key."""

    async def story(primary: AnnouncingPrimary) -> None:
        def now() -> datetime:
            return EPOCH + timedelta(seconds=now_s())

        async with FaultTolerantRepository(primary, now=now, observers=()) as repository:
            await asyncio.sleep(5.0)
            key = make_key("published")
            primary.commit(key)
            await asyncio.sleep(10.0 - now_s())
            assert await repository.get(key.id) == key

    run(story, hang(9.0, 20.0))
