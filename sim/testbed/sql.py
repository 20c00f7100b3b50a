"""Statements to a server from code that does not await: the testbed's own preparations."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncpg

CONNECT_TIMEOUT_S = 5.0


def run_sql(dsn: str, *statements: str) -> Sequence[asyncpg.Record]:
    """Run statements, each in a transaction of its own, and return the rows of the last one.

    It may be called where an event loop runs, which it then holds up.

    Raises:
        OSError, asyncpg.PostgresError: the server cannot be reached, or refuses.
    """

    async def run() -> Sequence[asyncpg.Record]:
        connection = await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_S)
        rows: Sequence[Any] = ()
        try:
            for statement in statements:
                rows = await connection.fetch(statement)
        finally:
            await connection.close()
        return rows

    # A loop cannot be run inside another one of the same thread, so it gets its own.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(run())).result()
