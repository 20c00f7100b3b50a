"""What the tests of the real store share: a store on a database, and a second way into it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime

import asyncpg

from ftrepo.interface import Clock
from ftrepo.postgres import ConnectionSettings, Pool, PoolSettings, PostgresRepository
from tests.laboratory import EPOCH

PATIENT_S = 10.0
"""For tests that are not about time-outs, on a machine that may be crowded."""


LATEST_S = 30.0
"""After so long a thing that should happen by itself has not happened."""


def at_epoch() -> datetime:
    """A clock that stands still at the moment at which `make_key` makes keys."""
    return EPOCH


async def until(is_so: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait until something has become so by itself."""
    async with asyncio.timeout(LATEST_S):
        while True:
            answer = is_so()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.01)


@asynccontextmanager
async def open_store(
    dsn: str, now: Clock = at_epoch, *, statement_timeout_s: float = PATIENT_S
) -> AsyncIterator[PostgresRepository]:
    """A store with a pool of its own, as one instance of a service has."""
    connection = ConnectionSettings(
        dsn=dsn, connect_timeout_s=PATIENT_S, statement_timeout_s=statement_timeout_s
    )
    async with Pool(connection, PoolSettings(acquire_timeout_s=PATIENT_S)) as pool:
        yield PostgresRepository(pool, now=now)


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that knows nothing of the store: another client, or whoever looks after it."""
    connection = await asyncpg.connect(dsn, timeout=PATIENT_S)
    try:
        yield connection
    finally:
        connection.terminate()


@asynccontextmanager
async def emptied(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a database whose table of keys has just been emptied."""
    async with connected(dsn) as connection:
        await connection.execute("TRUNCATE public_keys")
        yield connection


async def until_somebody_waits(connection: asyncpg.Connection, many: int = 1) -> None:
    """Return when so many statements of the server wait for a lock."""

    # Not `pg_stat_activity`: a transaction would see the same of it again and again.
    async def somebody_waits() -> bool:
        return await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") >= many

    await until(somebody_waits)
