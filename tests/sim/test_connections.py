"""The simulated pool: which connections a call gets, and what becomes of them."""

from __future__ import annotations

import asyncio

import pytest

from ftrepo.errors import KeyNotFoundError, PrimaryUnavailableError
from sim.world.durations import Deterministic
from sim.world.outages import Outage, OutageMode
from tests.laboratory import LATENCY_S, Laboratory, hang, make_key, refuse, run_laboratory

CONNECT_S = 0.01


async def ask(lab: Laboratory) -> float:
    """Make one call, and return how long it took."""
    started_s = lab.loop.time()
    with pytest.raises(KeyNotFoundError):
        await lab.primary.get("nobody's")
    return lab.loop.time() - started_s


def run(story, *outages: Outage, **settings):  # type: ignore[no-untyped-def]
    """Play a story before a primary to which connecting takes its time."""
    return run_laboratory(story, outages, connect=Deterministic(mean_s=CONNECT_S), **settings)


def test_a_connection_is_opened_once_and_kept() -> None:
    """Only the first call pays for it."""

    async def story(lab: Laboratory) -> None:
        assert await ask(lab) == pytest.approx(CONNECT_S + LATENCY_S)
        assert await ask(lab) == pytest.approx(LATENCY_S)
        assert lab.primary.pool.idle == 1

    run(story)


def test_idle_connections_have_a_bound() -> None:
    """Of ten that were used at once, as many are kept after a second as the setting says."""

    async def story(lab: Laboratory) -> None:
        await asyncio.gather(*(ask(lab) for _ in range(10)))
        assert lab.primary.pool.idle == 10
        await asyncio.sleep(1.0)
        assert lab.primary.pool.idle == 3

    run(story, idle_max=3)


@pytest.mark.parametrize("mode", [OutageMode.REFUSE, OutageMode.STARTING, OutageMode.RESET])
def test_connections_that_were_cut_are_opened_anew(mode: OutageMode) -> None:
    """The first call after the outage pays for a connection again."""

    async def story(lab: Laboratory) -> None:
        await ask(lab)
        await lab.until(15.0)
        with pytest.raises((OSError, PrimaryUnavailableError)):
            await lab.primary.get("nobody's")
        assert lab.primary.pool.idle == 0
        await lab.until(20.0)
        assert await ask(lab) == pytest.approx(CONNECT_S + LATENCY_S)

    run(story, Outage(10.0, 20.0, mode))


def test_a_call_that_ran_out_of_time_takes_its_connection_with_it() -> None:
    """And so does one that is cancelled: nobody knows what is still to come on it."""

    async def story(lab: Laboratory) -> None:
        await ask(lab)
        await lab.until(10.0)
        with pytest.raises(OSError, match="no answer in time"):
            await lab.primary.get("nobody's")
        assert lab.loop.time() == pytest.approx(10.4)
        assert lab.primary.pool.idle == 0
        await lab.until(20.0)
        await ask(lab)
        call = asyncio.create_task(lab.primary.ping())
        await asyncio.sleep(LATENCY_S / 2)
        call.cancel()
        await asyncio.wait([call])
        assert lab.primary.pool.idle == 0

    run(story, hang(10.0, 20.0), command_timeout_s=0.4)


def test_waiting_for_a_connection_has_a_time_out_of_its_own() -> None:
    """A server that hangs answers nobody who connects, and no write reaches it."""

    async def story(lab: Laboratory) -> None:
        await lab.until(10.0)
        with pytest.raises(TimeoutError):
            await lab.primary.create(make_key("a"))
        assert lab.loop.time() == pytest.approx(10.4)
        await lab.until(30.0)
        assert "a" not in lab.primary

    run(story, hang(10.0, 20.0), acquire_timeout_s=0.4)


def test_at_the_limit_only_open_connections_go_on() -> None:
    """One call at a time is served; a second one at once is refused."""

    async def story(lab: Laboratory) -> None:
        await ask(lab)
        await lab.until(10.0)
        assert await ask(lab) == pytest.approx(LATENCY_S)
        first, second = await asyncio.gather(
            lab.primary.ping(), lab.primary.ping(), return_exceptions=True
        )
        assert first is None
        assert "53300" in str(second)
        assert lab.primary.pool.idle == 1

    run(story, Outage(10.0, 20.0, OutageMode.CONNECTION_LIMIT))


def test_a_full_pool_serves_in_turn_when_it_is_free() -> None:
    """Whoever waits gets a connection at the end of the outage."""

    async def story(lab: Laboratory) -> None:
        await ask(lab)
        await lab.until(15.0)
        waited_s = await asyncio.gather(*(ask(lab) for _ in range(3)))
        assert waited_s[0] == pytest.approx(5.0 + LATENCY_S)
        assert max(waited_s) == pytest.approx(5.0 + CONNECT_S + LATENCY_S)

    run(story, Outage(10.0, 20.0, OutageMode.FULL_POOL))


def test_whoever_is_connecting_at_a_crash_is_told_then() -> None:
    """Not when the connection would have stood."""

    async def story(lab: Laboratory) -> None:
        await lab.until(9.995)
        with pytest.raises(ConnectionResetError):
            await lab.primary.ping()
        assert lab.loop.time() == pytest.approx(10.0)

    run(story, refuse(10.0, 20.0))


def test_a_connection_is_tried_after_a_pause() -> None:
    """The trial costs a round trip; one that fails in time leaves time to connect."""

    async def story(lab: Laboratory) -> None:
        await ask(lab)
        assert await ask(lab) == pytest.approx(LATENCY_S)
        await lab.until(5.0)
        assert await ask(lab) == pytest.approx(2 * LATENCY_S)
        await lab.until(9.95)
        assert await ask(lab) == pytest.approx(0.051 + LATENCY_S)
        await lab.until(19.85)
        assert await ask(lab) == pytest.approx(0.15 + CONNECT_S + LATENCY_S)

    run(story, hang(9.951, 10.0), hang(19.8, 20.0), check_after_idle_s=1.0)


@pytest.mark.parametrize("mode", OutageMode)
def test_after_an_outage_of_any_mode_everything_works(mode: OutageMode) -> None:
    """A write, a read and a ping go through, and no place in the pool is lost."""

    async def story(lab: Laboratory) -> None:
        calls = [asyncio.create_task(lab.primary.ping()) for _ in range(30)]
        await lab.until(15.0)
        calls += [asyncio.create_task(lab.primary.ping()) for _ in range(30)]
        await asyncio.sleep(0.1)
        for call in calls[::2]:
            call.cancel()
        await asyncio.wait(calls)
        await lab.until(25.0)
        await lab.primary.create(make_key("a"))
        assert (await lab.primary.get("a")).id == "a"
        await lab.primary.ping()
        assert lab.primary.pool.places.taken == 0

    run(story, Outage(10.0, 20.0, mode), acquire_timeout_s=0.4, command_timeout_s=0.4)
