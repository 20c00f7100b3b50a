"""Where a fault strikes, and what every fault needs to strike there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg

from ftrepo.postgres.pool import Pool
from sim.testbed.cluster import Cluster
from sim.testbed.proxy import Proxy

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where a fault strikes.

    Attributes:
        cluster: the server, which is broken.
        proxy: the line to it, for faults of the line.
        dsn: the address of the service's database, not by way of the proxy.
        pool: the service's connections.
    """

    cluster: Cluster
    proxy: Proxy
    dsn: str
    pool: Pool

    @property
    def application_name(self) -> str:
        """How the server names the service's connections."""
        return self.pool.connection_settings.application_name


@asynccontextmanager
async def operator(site: Site) -> AsyncIterator[asyncpg.Connection[Any]]:
    """Connect as somebody who mends things: on an own connection that may write in any case."""
    settings = {"application_name": "testbed", "default_transaction_read_only": "off"}
    connection = await asyncpg.connect(site.dsn, timeout=5, server_settings=settings)
    try:
        yield connection
    finally:
        # Some faults end every connection, this one too.
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await connection.close(timeout=5)


async def to_the_end(action: Callable[..., T], *arguments: Any) -> T:
    """Run what blocks in a thread, and wait for it also if cancelled: it goes on in any case."""
    running = asyncio.ensure_future(asyncio.to_thread(action, *arguments))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise
