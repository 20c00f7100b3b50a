"""The pool on a server that is frozen, killed, restarted or out of reach: its time-outs are kept.

Each bound below is the sum of the time-outs that it checks, with a margin for a busy machine.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pytest

from ftrepo.postgres.pool import Pool
from ftrepo.postgres.settings import ConnectionSettings, PoolSettings
from sim.testbed.proxy import Line, Proxy

if TYPE_CHECKING:
    from sim.testbed.cluster import Cluster

pytestmark = pytest.mark.postgres

T = TypeVar("T")
MARGIN_S = 0.4
"""For a busy machine; without faults a call takes about a millisecond."""

ACQUIRE_S, STATEMENT_S, RELEASE_S = 0.4, 0.4, 0.2


async def ask(pool: Pool) -> None:
    """Make the shortest use of a connection."""
    async with pool.connection() as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def timed(call: Awaitable[object]) -> tuple[float, BaseException | None]:
    """How long it took, and what it raised."""
    loop = asyncio.get_running_loop()
    started_s, error = loop.time(), None
    try:
        await call
    except Exception as raised:
        error = raised
    return loop.time() - started_s, error


async def eventually_well(pool: Pool, *, within_s: float) -> float:
    """Seconds until a call succeeds."""
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    async with asyncio.timeout(within_s):
        while (await timed(ask(pool)))[1] is not None:  # noqa: ASYNC110  nothing else tells
            await asyncio.sleep(0.005)
    return loop.time() - started_s


async def all_usable(pool: Pool) -> bool:
    """Whether as many connections as there are places can be held and used at once."""
    async with contextlib.AsyncExitStack() as held:
        connections = [
            await held.enter_async_context(pool.connection(timeout_s=10))
            for _ in range(pool.settings.open_max)
        ]
        answers = await asyncio.gather(*[each.fetchval("SELECT 1") for each in connections])
    return answers == [1] * pool.settings.open_max


async def load(pool: Pool, *, tasks: int, for_s: float) -> list[float]:
    """How long each call took, of so many tasks that ask again and again."""
    loop = asyncio.get_running_loop()
    until_s, took = loop.time() + for_s, []

    async def caller() -> None:
        while loop.time() < until_s:
            took.append((await timed(ask(pool)))[0])
            await asyncio.sleep(0.02)

    await asyncio.gather(*[caller() for _ in range(tasks)])
    return took


def with_pool(
    dsn: str,
    story: Callable[[Pool], Awaitable[T]],
    *,
    open_max: int = 5,
    statement_timeout_s: float = STATEMENT_S,
) -> T:
    """Play a story with the time-outs of the defaults, on a small pool."""

    async def main() -> T:
        connection = ConnectionSettings(dsn=dsn, statement_timeout_s=statement_timeout_s)
        settings = PoolSettings(open_max=open_max, idle_max=open_max)
        async with Pool(connection, settings) as pool:
            return await story(pool)

    return asyncio.run(main())


def test_a_frozen_server_holds_no_caller(own_cluster: Cluster) -> None:
    """While it is frozen every call ends in time, and after it all connections can be used."""

    async def story(pool: Pool) -> None:
        assert await all_usable(pool)
        own_cluster.freeze()
        took = await load(pool, tasks=20, for_s=1.5)
        own_cluster.thaw()
        assert max(took) < ACQUIRE_S + STATEMENT_S + MARGIN_S
        await eventually_well(pool, within_s=5)
        assert await all_usable(pool)
        assert pool.statistics().places_taken == 0

    with_pool(own_cluster.dsn(), story)


def test_a_roll_back_does_not_wait_for_a_frozen_server(own_cluster: Cluster) -> None:
    """A block that leaves a transaction open ends within the time-out for giving back."""

    async def story(pool: Pool) -> None:
        async def leave_open() -> None:
            async with pool.connection() as connection:
                await connection.execute("BEGIN")
                own_cluster.freeze()

        took_s, error = await timed(leave_open())
        own_cluster.thaw()
        assert error is None
        assert took_s < RELEASE_S + MARGIN_S
        assert pool.statistics().terminated == 1

    with_pool(own_cluster.dsn(), story, statement_timeout_s=3.0)


def test_closing_does_not_wait_for_a_frozen_server(own_cluster: Cluster) -> None:
    """Idle connections are given a moment to say goodbye, and no more."""

    async def story(pool: Pool) -> None:
        assert await all_usable(pool)
        own_cluster.freeze()
        took_s, _ = await timed(pool.close(timeout_s=5))
        own_cluster.thaw()
        assert took_s < RELEASE_S + MARGIN_S

    with_pool(own_cluster.dsn(), story)


@pytest.mark.parametrize("how", ["kill", "stop", "immediate"])
def test_a_restarted_server_is_found_again(own_cluster: Cluster, how: str) -> None:
    """After a restart the first callers get new connections, in place of the dead ones."""

    async def story(pool: Pool) -> None:
        assert await all_usable(pool)
        before = pool.statistics().opened
        if how == "kill":
            own_cluster.kill()
        else:
            own_cluster.stop("fast" if how == "stop" else "immediate")
        assert max(await load(pool, tasks=5, for_s=0.3)) < ACQUIRE_S + MARGIN_S
        own_cluster.start()
        await eventually_well(pool, within_s=5)
        assert await all_usable(pool)
        assert pool.statistics().opened >= before + 5

    with_pool(own_cluster.dsn(), story)


def test_connections_that_went_dead_in_silence_do_not_stick(own_cluster: Cluster) -> None:
    """With every reply lost, and the connections left dead, nobody waits for them afterwards."""

    async def story(proxy: Proxy) -> None:
        connection = ConnectionSettings(dsn=proxy.dsn(own_cluster.dsn()))
        async with Pool(connection, PoolSettings(open_max=5, idle_max=5)) as pool:
            assert await all_usable(pool)
            proxy.change(Line(drops_replies=True))
            took = await load(pool, tasks=20, for_s=1.5)
            assert max(took) < ACQUIRE_S + STATEMENT_S + MARGIN_S
            proxy.half_open()
            proxy.change(Line())
            await eventually_well(pool, within_s=5)
            assert await all_usable(pool)

    async def main() -> None:
        async with Proxy(own_cluster.host, own_cluster.port) as proxy:
            await story(proxy)

    asyncio.run(main())


def test_a_connection_that_died_while_idle_is_found_before_it_is_lent(own_cluster: Cluster) -> None:
    """After a pause the caller gets an answer, not the dead connection's time-out."""

    async def main() -> None:
        async with Proxy(own_cluster.host, own_cluster.port) as proxy:
            connection = ConnectionSettings(dsn=proxy.dsn(own_cluster.dsn()))
            settings = PoolSettings(open_max=5, idle_max=5, check_after_idle_s=0.1)
            async with Pool(connection, settings) as pool:
                assert await all_usable(pool)
                await asyncio.sleep(0.2)
                proxy.half_open()
                took_s, error = await timed(ask(pool))
                assert error is None
                assert took_s < settings.check_timeout_s + MARGIN_S
                statistics = pool.statistics()
                # One was tried; the others, unused for as long, were not worth trying.
                assert (statistics.checks_failed, statistics.open) == (1, 1)

    asyncio.run(main())


@pytest.mark.parametrize("seed", range(3))
def test_cancelled_callers_and_a_frozen_server_leak_nothing(
    own_cluster: Cluster, seed: int
) -> None:
    """A hundred tasks on five connections, cancelled at random around a freeze: none is lost."""

    async def story(pool: Pool) -> None:
        rng = np.random.default_rng(seed)

        async def caller(pauses: list[float]) -> None:
            for pause_s in pauses:
                with contextlib.suppress(Exception):
                    async with pool.connection() as connection:
                        await connection.execute("SELECT pg_sleep(0.002)")
                await asyncio.sleep(pause_s)

        async def freezer() -> None:
            for _ in range(2):
                await asyncio.sleep(0.3)
                own_cluster.freeze()
                await asyncio.sleep(0.5)
                own_cluster.thaw()

        frozen = asyncio.create_task(freezer())
        tasks = [asyncio.create_task(caller(list(rng.exponential(0.01, 200)))) for _ in range(100)]
        for task in rng.permutation(np.array(tasks, dtype=object))[:70]:
            await asyncio.sleep(float(rng.exponential(0.02)))
            task.cancel()
        await frozen
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        statistics = pool.statistics()
        assert (statistics.places_taken, statistics.in_use, statistics.waiting) == (0, 0, 0)
        assert statistics.opened > 5
        await eventually_well(pool, within_s=5)
        assert await all_usable(pool)
        statistics = pool.statistics()
        gone = statistics.closed + statistics.lost + statistics.terminated
        assert statistics.opened == statistics.open + gone

    try:
        with_pool(own_cluster.dsn(), story)
    finally:
        own_cluster.thaw()
