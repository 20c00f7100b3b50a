"""The pool on a server that works: lending, checking, ageing, closing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import asyncpg
import pytest

from ftrepo.errors import PoolClosedError, PoolExhaustedError
from ftrepo.postgres.pool import Pool
from ftrepo.postgres.settings import ConnectionSettings, PoolSettings

pytestmark = pytest.mark.postgres

T = TypeVar("T")
PATIENT: dict[str, Any] = {"acquire_timeout_s": 10.0, "check_timeout_s": 5.0}
"""For tests that are not about time-outs: a busy machine does not fail them."""


def with_pool(
    dsn: str,
    story: Callable[[Pool], Awaitable[T]],
    *,
    statement_timeout_s: float = 10.0,
    **pool: Any,
) -> T:
    """Play a story, and see that every connection it opened is accounted for."""

    async def main() -> T:
        connection = ConnectionSettings(
            dsn=dsn, connect_timeout_s=10.0, statement_timeout_s=statement_timeout_s
        )
        async with Pool(connection, PoolSettings(**{**PATIENT, **pool})) as opened:
            result = await story(opened)
            await opened.close()
            left = opened.statistics()
            assert (left.open, left.places_taken, left.waiting) == (0, 0, 0)
            assert left.opened == left.closed + left.lost + left.terminated
            return result

    return asyncio.run(main())


async def server_pid(pool: Pool) -> int:
    """Which session a caller gets."""
    async with pool.connection() as connection:
        return connection.get_server_pid()


async def sessions(pool: Pool) -> int:
    """How many sessions the server counts, this one included."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    async with pool.connection() as connection:
        count: int = await connection.fetchval(query)
        return count


def test_opening_does_not_connect() -> None:
    """A pool opens and closes without a server; only the first use fails."""

    async def main() -> None:
        async with Pool(ConnectionSettings(dsn="postgresql://x@127.0.0.1:1/x")) as pool:
            assert pool.statistics().opened == 0
            with pytest.raises(ConnectionRefusedError):
                await server_pid(pool)
            statistics = pool.statistics()
            assert (statistics.connects_failed, statistics.places_taken) == (1, 0)

    asyncio.run(main())


def test_a_pool_that_is_not_open_lends_nothing() -> None:
    """Neither before it is opened nor after it is closed, and it is not opened twice."""

    async def main() -> None:
        pool = Pool(ConnectionSettings(dsn="postgresql://x@127.0.0.1:1/x"))
        with pytest.raises(PoolClosedError):
            await server_pid(pool)
        async with pool:
            pass
        with pytest.raises(PoolClosedError):
            await server_pid(pool)
        with pytest.raises(PoolClosedError):
            pool.open()

    asyncio.run(main())


def test_a_connection_is_used_again(database: str) -> None:
    """One caller after another gets the same session."""

    async def story(pool: Pool) -> set[int]:
        return {await server_pid(pool) for _ in range(10)}

    assert len(with_pool(database, story)) == 1


def test_no_more_than_open_max_are_open(database: str) -> None:
    """A hundred callers share five connections, and the server never counts more."""

    async def story(pool: Pool) -> int:
        async def caller() -> int:
            async with pool.connection() as connection:
                await connection.fetchval("SELECT pg_sleep(0.001)")
                query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ftrepo'"
                count: int = await connection.fetchval(query + " AND datname = current_database()")
                return count

        counts = await asyncio.gather(*[caller() for _ in range(100)])
        assert pool.statistics().acquired == 100
        return max(counts)

    assert with_pool(database, story, open_max=5, idle_max=5) == 5


def test_who_gets_none_in_time_is_told_why(database: str) -> None:
    """The error names the bound, and sends nothing."""

    async def story(pool: Pool) -> None:
        async with pool.connection():
            with pytest.raises(PoolExhaustedError, match=r"within 0\.05 s: all 1"):
                await pool.connection(timeout_s=0.05).__aenter__()
        assert pool.statistics().exhausted == 1

    with_pool(database, story, open_max=1, idle_max=1)


def test_an_error_of_sql_keeps_the_connection(database: str) -> None:
    """The server is fine, and so is the session."""

    async def story(pool: Pool) -> None:
        before = await server_pid(pool)
        with pytest.raises(asyncpg.UndefinedTableError):
            async with pool.connection() as connection:
                await connection.execute("SELECT * FROM nothing")
        assert await server_pid(pool) == before

    with_pool(database, story)


def test_the_callers_own_error_keeps_the_connection(database: str) -> None:
    """A ValueError in the block says nothing about the session."""

    async def story(pool: Pool) -> None:
        before = await server_pid(pool)
        with pytest.raises(ValueError, match="mine"):
            async with pool.connection():
                raise ValueError("mine")
        assert await server_pid(pool) == before

    with_pool(database, story)


@pytest.mark.parametrize("swallow", [False, True])
def test_a_statement_that_timed_out_costs_the_connection(database: str, swallow: bool) -> None:
    """Also if the block swallowed the error, or made another of it."""

    async def story(pool: Pool) -> None:
        before = await server_pid(pool)

        async def block() -> None:
            async with pool.connection() as connection:
                try:
                    await connection.execute("SELECT pg_sleep(5)", timeout=0.05)
                except TimeoutError as error:
                    if not swallow:
                        raise LookupError from error

        with contextlib.suppress(LookupError):
            await block()
        assert pool.statistics().terminated == 1
        assert await server_pid(pool) != before

    with_pool(database, story)


def test_the_servers_own_time_out_keeps_the_connection(database: str) -> None:
    """It comes first, as an answer, so that nothing is in doubt."""

    async def story(pool: Pool) -> None:
        before = await server_pid(pool)
        with pytest.raises(asyncpg.QueryCanceledError):
            async with pool.connection() as connection:
                await connection.execute("SELECT pg_sleep(5)")
        assert await server_pid(pool) == before

    with_pool(database, story, statement_timeout_s=2.0)


def test_a_caller_cancelled_in_a_command_costs_the_connection(database: str) -> None:
    """The abandoned command is not left to the next caller."""

    async def story(pool: Pool) -> None:
        before = await server_pid(pool)

        async def caller() -> None:
            async with pool.connection() as connection:
                await connection.execute("SELECT pg_sleep(5)")

        task = asyncio.create_task(caller())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (pool.statistics().terminated, pool.statistics().open) == (1, 0)
        assert await server_pid(pool) != before

    with_pool(database, story)


def test_a_caller_cancelled_between_commands_does_not(database: str) -> None:
    """Nothing is under way on the session, so it is as good as before."""

    async def story(pool: Pool) -> None:
        before = await server_pid(pool)

        async def caller() -> None:
            async with pool.connection() as connection:
                await connection.execute("SELECT 1")
                await asyncio.sleep(60)

        task = asyncio.create_task(caller())
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.wait([task])
        assert await server_pid(pool) == before

    with_pool(database, story)


def test_a_transaction_left_open_is_rolled_back(database: str) -> None:
    """The next caller gets a session without one, and nothing was stored."""

    async def story(pool: Pool) -> None:
        async with pool.connection() as connection:
            await connection.execute("CREATE TABLE notes (text text)")
        async with pool.connection() as connection:
            await connection.execute("BEGIN")
            await connection.execute("INSERT INTO notes VALUES ('half-way')")
        async with pool.connection() as connection:
            assert not connection.is_in_transaction()
            assert await connection.fetchval("SELECT count(*) FROM notes") == 0

    with_pool(database, story)


def test_a_session_that_the_server_ended_is_not_lent(database: str) -> None:
    """The driver noticed while it was idle: the next caller gets another and no error."""

    async def story(pool: Pool) -> None:
        async with pool.connection() as one, pool.connection() as other:
            ended, ender = one.get_server_pid(), other.get_server_pid()
        async with pool.connection() as connection:
            if connection.get_server_pid() == ended:
                ended = ender
            await connection.execute("SELECT pg_terminate_backend($1::int)", ended)
        await asyncio.sleep(0.2)
        async with pool.connection() as one, pool.connection() as other:
            pids = {one.get_server_pid(), other.get_server_pid()}
            assert ended not in pids
            await one.execute("SELECT 1")
            await other.execute("SELECT 1")

    with_pool(database, story)


def test_connections_grow_old_and_are_replaced(database: str) -> None:
    """Past its lifetime a session is closed, idle or not."""

    async def story(pool: Pool) -> None:
        before = await server_pid(pool)
        await asyncio.sleep(0.4)
        assert pool.statistics().open == 0
        async with pool.connection() as connection:
            after = connection.get_server_pid()
            await asyncio.sleep(0.4)
        assert after != before
        assert await server_pid(pool) != after

    with_pool(database, story, lifetime_max_s=0.3)


def test_idle_connections_above_the_bound_are_closed(database: str) -> None:
    """After a burst of ten, two stay."""

    async def story(pool: Pool) -> None:
        async def caller() -> None:
            async with pool.connection() as connection:
                await connection.execute("SELECT pg_sleep(0.05)")

        await asyncio.gather(*[caller() for _ in range(10)])
        assert pool.statistics().idle == 10
        await asyncio.sleep(0.5)
        assert pool.statistics().idle == 2
        assert await sessions(pool) == 2

    with_pool(database, story, idle_max=2, idle_excess_timeout_s=0.2)


def test_an_unused_connection_is_closed_in_the_end(database: str) -> None:
    """Also one within the bound on idle ones."""

    async def story(pool: Pool) -> None:
        await server_pid(pool)
        await asyncio.sleep(0.4)
        assert pool.statistics().open == 0

    with_pool(database, story, idle_timeout_s=0.2)


def test_recycling_replaces_every_connection(database: str) -> None:
    """The idle ones at once, one that is in use when it comes back."""

    async def story(pool: Pool) -> None:
        async with pool.connection() as used:
            idle = await server_pid(pool)
            before = {idle, used.get_server_pid()}
            pool.recycle()
            assert pool.statistics().idle == 0
            await used.execute("SELECT 1")
        async with pool.connection() as one, pool.connection() as other:
            assert not before & {one.get_server_pid(), other.get_server_pid()}

    with_pool(database, story)


def test_closing_waits_for_what_is_lent_and_refuses_who_waits(database: str) -> None:
    """The user of a connection finishes; who waits is told at once; nothing is left."""

    async def story(pool: Pool) -> list[Any]:
        async def user() -> str:
            async with pool.connection() as connection:
                await connection.execute("SELECT pg_sleep(0.2)")
            return "finished"

        async def waiter() -> None:
            async with pool.connection():
                pass

        tasks = [asyncio.create_task(user())]
        await asyncio.sleep(0.1)
        tasks.append(asyncio.create_task(waiter()))
        await asyncio.sleep(0.01)
        await pool.close()
        return await asyncio.gather(*tasks, return_exceptions=True)

    finished, refused = with_pool(database, story, open_max=1, idle_max=1)
    assert finished == "finished"
    assert isinstance(refused, PoolClosedError)


def test_closing_does_not_wait_for_ever(database: str) -> None:
    """A connection that never comes back is dropped when the time is up."""

    async def story(pool: Pool) -> None:
        async def user() -> None:
            async with pool.connection() as connection:
                await connection.execute("SELECT pg_sleep(9)")

        task = asyncio.create_task(user())
        await asyncio.sleep(0.1)
        started_s = asyncio.get_running_loop().time()
        await pool.close(timeout_s=0.2)
        assert asyncio.get_running_loop().time() - started_s < 1.0
        with pytest.raises(Exception, match="closed"):
            await task

    with_pool(database, story)


def test_waiting_until_ready_tries_again_and_tells(database: str) -> None:
    """Five attempts at a server that is not there, then its error; one at one that is."""

    async def main() -> list[int]:
        told: list[int] = []
        settings = ConnectionSettings(
            dsn="postgresql://x@127.0.0.1:1/x", connect_backoff_first_s=0.001
        )
        async with Pool(settings) as pool:
            with pytest.raises(ConnectionRefusedError):
                await pool.wait_until_ready(observe=lambda event: told.append(event.attempt))
        settings = ConnectionSettings(dsn=database + "_missing", connect_timeout_s=10)
        async with Pool(settings, PoolSettings(**PATIENT)) as pool:
            with pytest.raises(asyncpg.InvalidCatalogNameError):
                await pool.wait_until_ready(observe=lambda event: told.append(-event.attempt))
        return told

    assert asyncio.run(main()) == [1, 2, 3, 4]

    async def story(pool: Pool) -> None:
        await pool.wait_until_ready()
        assert pool.statistics().idle == 1

    with_pool(database, story)


def test_the_server_knows_who_asks(database: str) -> None:
    """The session carries the name, and its defaults survive without any state."""

    async def story(pool: Pool) -> None:
        async with pool.connection() as connection:
            assert await connection.fetchval("SHOW application_name") == "ftrepo"
            assert await connection.fetchval("SHOW statement_timeout") == "9s"
            await connection.execute("RESET ALL")
            assert await connection.fetchval("SHOW statement_timeout") == "9s"

    with_pool(database, story)
