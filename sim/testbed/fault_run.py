"""One fault under load, through the whole stack: what callers saw, and what is left afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

import asyncpg

from ftrepo.fault_tolerant import FaultTolerantRepository
from ftrepo.interface import PrimaryStore
from ftrepo.keys import PublicKey
from ftrepo.policy import Policy
from ftrepo.postgres.migrate import upgrade
from ftrepo.postgres.pool import Pool
from ftrepo.postgres.settings import ConnectionSettings
from ftrepo.postgres.store import PostgresRepository
from ftrepo.resilience.breaker import BreakerState
from sim.testbed.cluster import Cluster
from sim.testbed.fault_load import Load, LoopLag, WatchedPrimary
from sim.testbed.fault_site import Site, operator
from sim.testbed.proxy import Proxy
from sim.testbed.real_faults import RealFault
from sim.world.issuers import EPOCH, KeyMint
from sim.world.streams import Streams

CLUSTER_SETTINGS = {"max_connections": "60"}
"""Room for a pool of 25 and those who watch, and few enough to be used up quickly."""

WARM_UP_S = 1.0
SETTLE_S_MAX = 30.0
LEAK_S_MAX = 10.0

_AFTERWARDS_S = 0.5
_LOOK_EVERY_S = 0.01
_OTHERS_KEYS = 20
_LIFETIME_S = 24 * 3600.0


@dataclass(frozen=True, kw_only=True)
class FaultOutcome:
    """What one fault did.

    Attributes:
        fault: its name.
        fault_s: how long it lasted.
        gets: calls of `get` before, during and after it; likewise `creates`.
        errors: errors that reached a caller, each as text. There should be none.
        slowest_get_s: the longest that any call took; likewise `slowest_create_s`.
        lag_max_s: the latest that the event loop was.
        pending_max: the most keys that waited for the primary.
        first_success_s: from the end of the fault to the first call that the primary answered;
            `None` if it never did.
        backlog_empty_s: from there to the moment at which nothing was pending; likewise `None`.
        leaked: connections beyond those that the pool knows, and places in it that nobody uses.
        lost: acknowledged keys that the table lacks.
        different: acknowledged keys that the table has with other material.
        breaker: the breaker's state at the end.
    """

    fault: str
    fault_s: float
    gets: int
    creates: int
    errors: tuple[str, ...]
    slowest_get_s: float
    slowest_create_s: float
    lag_max_s: float
    pending_max: int
    first_success_s: float | None
    backlog_empty_s: float | None
    leaked: int
    lost: int
    different: int
    breaker: str


@dataclass(frozen=True, kw_only=True)
class Service:
    """An instance of the service before a real server, with all that a fault acts on."""

    repository: FaultTolerantRepository
    primary: WatchedPrimary
    pool: Pool
    site: Site
    known: tuple[PublicKey, ...]
    new_key: Callable[[], PublicKey]


@asynccontextmanager
async def service(
    cluster: Cluster, *, policy: Policy, by_proxy: bool, name: str = "service"
) -> AsyncIterator[Service]:
    """Run an instance on a new database, in which other instances have stored keys."""
    dsn = await asyncio.to_thread(cluster.create_database)
    mint = KeyMint(Streams(1), _LIFETIME_S)

    def new_key() -> PublicKey:
        return mint.make((_now() - EPOCH).total_seconds())

    known = tuple(new_key() for _ in range(_OTHERS_KEYS))
    try:
        async with AsyncExitStack() as stack:
            await upgrade(dsn)
            async with Pool(ConnectionSettings(dsn=dsn)) as others:
                await PostgresRepository(others, now=_now).create_many(known)
            proxy = await stack.enter_async_context(Proxy(cluster.host, cluster.port))
            address = proxy.dsn(dsn) if by_proxy else dsn
            settings = ConnectionSettings(dsn=address, application_name=f"testbed {name}")
            pool = await stack.enter_async_context(Pool(settings))
            primary = WatchedPrimary(PostgresRepository(pool, now=_now))
            repository = await stack.enter_async_context(
                FaultTolerantRepository(cast(PrimaryStore, primary), policy, now=_now, observers=())
            )
            yield Service(
                repository=repository,
                primary=primary,
                pool=pool,
                site=Site(cluster=cluster, proxy=proxy, dsn=dsn, pool=pool),
                known=known,
                new_key=new_key,
            )
    finally:
        await asyncio.to_thread(cluster.drop_database, dsn)


async def run_fault(
    name: str,
    fault: RealFault,
    cluster: Cluster,
    *,
    policy: Policy | None = None,
    fault_s: float = 3.0,
) -> FaultOutcome:
    """Let one fault strike a service under load, and look at what happened.

    Args:
        name: the fault's name.
        fault: what to break.
        cluster: a server with `CLUSTER_SETTINGS`; it works again when this returns.
        policy: by default `Policy()`.
        fault_s: how long the fault lasts.
    """
    async with service(
        cluster, policy=policy or Policy(), by_proxy=fault.by_proxy, name=name
    ) as running:
        load = Load(running.repository, known=running.known, new_key=running.new_key)
        lag, backlog = LoopLag(), _Backlog(running.repository)
        with lag.measured():
            load.start()
            watcher = asyncio.create_task(backlog.watch())
            await asyncio.sleep(WARM_UP_S)
            async with fault.inject(running.site):
                await asyncio.sleep(fault_s)
            mended_s = asyncio.get_running_loop().time()
            empty_s = await _settled_s(running, mended_s)
            await asyncio.sleep(_AFTERWARDS_S)
            await load.stop()
            watcher.cancel()
        leaked = await _leaked(running)
        lost, different = await _compared_with_table(running, load.acknowledged)
        first_s = running.primary.first_success_s(mended_s)
        return FaultOutcome(
            fault=name,
            fault_s=fault_s,
            gets=load.gets,
            creates=load.creates,
            errors=tuple(load.errors),
            slowest_get_s=load.slowest_get_s,
            slowest_create_s=load.slowest_create_s,
            lag_max_s=lag.max_s,
            pending_max=backlog.most,
            first_success_s=None if first_s is None else first_s - mended_s,
            backlog_empty_s=None if empty_s is None else empty_s - mended_s,
            leaked=leaked,
            lost=lost,
            different=different,
            breaker=running.repository.breaker_state.value,
        )


class _Backlog:
    """The most keys that were pending at once."""

    def __init__(self, repository: FaultTolerantRepository) -> None:
        self._repository = repository
        self.most = 0

    async def watch(self) -> None:
        while True:
            self.most = max(self.most, len(self._repository.pending))
            await asyncio.sleep(_LOOK_EVERY_S)


async def _settled_s(running: Service, mended_s: float) -> float | None:
    """Wait until the primary is in use again and the backlog is gone; return when that was."""
    loop = asyncio.get_running_loop()
    repository = running.repository
    while loop.time() < mended_s + SETTLE_S_MAX:
        closed = repository.breaker_state is BreakerState.CLOSED
        if (
            closed
            and not repository.pending
            and running.primary.first_success_s(mended_s) is not None
        ):
            return loop.time()
        await asyncio.sleep(_LOOK_EVERY_S)
    return None


async def _leaked(running: Service) -> int:
    """Count what nobody uses and nobody closes, once it has had time to be closed."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + LEAK_S_MAX
    async with operator(running.site) as connection:
        while True:
            sessions = await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1",
                running.site.application_name,
            )
            known = running.pool.statistics()
            leaked = max(0, sessions - known.open) + known.in_use + known.waiting
            if not leaked or loop.time() > until_s:
                return int(leaked)
            await asyncio.sleep(_LOOK_EVERY_S)


async def _compared_with_table(running: Service, acknowledged: list[PublicKey]) -> tuple[int, int]:
    async with operator(running.site) as connection:
        rows: list[asyncpg.Record] = await connection.fetch("SELECT id, material FROM public_keys")
    stored = {row["id"]: row["material"] for row in rows}
    lost = sum(key.id not in stored for key in acknowledged)
    different = sum(stored.get(key.id, key.material) != key.material for key in acknowledged)
    return lost, different


def _now() -> datetime:
    return datetime.now(UTC)
