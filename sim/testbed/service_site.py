"""A real PostgreSQL, real instances of the service before it, and what to break of both."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import asyncpg
import httpx2

from ftrepo.postgres.migrate import upgrade
from sim.testbed.cluster import Cluster
from sim.testbed.fault_site import to_the_end
from sim.testbed.guarded_folder import GuardedFolder
from sim.testbed.service_process import FleetSettings, ServiceProcess, fleet

CLUSTER_SETTINGS = {"max_connections": "80"}
"""Room for three pools of 25."""


class StoredKey(NamedTuple):
    """When a key was made, and when the database got it."""

    created: datetime
    stored: datetime


@dataclass(frozen=True, kw_only=True)
class ServiceSite:
    """Where the service is measured.

    Attributes:
        cluster: the server, which is broken.
        dsn: the address of the service's database.
        settings: of the instances.
        instances: processes, ready at first.
        secret: of the client that may ask for tokens.
        client: asks over HTTP.
    """

    cluster: Cluster
    dsn: str
    settings: FleetSettings
    instances: list[ServiceProcess]
    secret: str
    client: httpx2.AsyncClient

    async def start(self, instance: ServiceProcess) -> None:
        """Start an instance, and wait until it is ready."""
        instance.start()
        await instance.until_ready(self.client)

    async def stored_keys(self) -> Mapping[str, StoredKey]:
        """Look into the database itself: every key that it has, by its id."""
        connection = await asyncpg.connect(self.dsn, timeout=5)
        try:
            rows = await connection.fetch("SELECT id, created, stored FROM public_keys")
        finally:
            await connection.close(timeout=5)
        return {row["id"]: StoredKey(row["created"], row["stored"]) for row in rows}


@asynccontextmanager
async def service_site(cluster: Cluster, settings: FleetSettings) -> AsyncIterator[ServiceSite]:
    """Start instances of the service on a new database; both are removed in the end.

    Args:
        cluster: a server with `CLUSTER_SETTINGS`; it must work again when this is left.
        settings: of the instances.

    Raises:
        TestbedError: an instance does not start.
    """
    dsn = await asyncio.to_thread(cluster.create_database)
    await upgrade(dsn)
    home = await asyncio.to_thread(_home)
    instances, secret = fleet(settings, dsn=dsn, home=home)
    try:
        # Answers come from this machine: a proxy of the environment has no business with them.
        async with httpx2.AsyncClient(trust_env=False) as client:
            site = ServiceSite(
                cluster=cluster,
                dsn=dsn,
                settings=settings,
                instances=instances,
                secret=secret,
                client=client,
            )
            for instance in instances:
                await site.start(instance)
            yield site
    finally:
        for instance in instances:
            await to_the_end(instance.kill)
        await to_the_end(home.close)


def _home() -> GuardedFolder:
    return GuardedFolder("ftrepo-services-", uid=os.geteuid(), gid=os.getegid())
