"""The stage on which a run is played in real time: a PostgreSQL, and the faults that strike it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import asyncpg

from ftrepo.errors import PrimaryUnavailableError
from ftrepo.interface import ChangeFeed, Durability, PrimaryStore
from ftrepo.keys import PublicKey
from ftrepo.postgres.migrate import upgrade
from ftrepo.postgres.pool import Pool
from ftrepo.postgres.settings import ConnectionSettings, PoolSettings
from ftrepo.postgres.store import PostgresRepository
from sim.stage import Ledger, RunClock
from sim.testbed.acting import Acted, Actor, needs_line
from sim.testbed.binaries import TestbedError
from sim.testbed.cluster import Cluster, ExistingServer
from sim.testbed.fault_site import Site
from sim.testbed.proxy import Proxy
from sim.testbed.slowness import Slowness

if TYPE_CHECKING:
    from sim.world.condense import Timeline
    from sim.world.primary_settings import PrimarySettings
    from sim.world.scenario import Scenario
    from sim.world.streams import Streams

PUBLISH_S_MAX = 10.0
"""How long another instance tries to publish a key, once the schedule says that it can."""

_PUBLISH_AGAIN_S = 0.02
_CLOCK_READINGS = 9

_KEEP_WHAT_IS_DELETED = """
    CREATE TABLE deleted_keys (id text, stored timestamptz);
    CREATE FUNCTION keep_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO deleted_keys VALUES (OLD.id, OLD.stored); RETURN OLD; END $$;
    CREATE TRIGGER keep_deleted AFTER DELETE ON public_keys
        FOR EACH ROW EXECUTE FUNCTION keep_deleted();
"""

_WHEN_STORED = """
    SELECT id, extract(epoch FROM min(stored))::float8 AS stored_s FROM (
        SELECT id, stored FROM public_keys UNION ALL SELECT id, stored FROM deleted_keys
    ) AS known GROUP BY id
"""


class CountedStore:
    """A `PrimaryStore` that notes when each of its calls is made, as the simulated primary does.

    Args:
        store: does the work.
        clock: the time of the run.

    Attributes:
        attempts_s: when each call was made.
    """

    def __init__(self, store: PrimaryStore, clock: RunClock) -> None:
        self.attempts_s: list[float] = []
        self._store = store
        self._clock = clock

    def _note(self) -> None:
        self.attempts_s.append(self._clock.time())

    async def create(self, key: PublicKey) -> Durability:
        """Store a key; see `PublicKeyRepository.create`."""
        self._note()
        return await self._store.create(key)

    async def create_many(self, keys: Sequence[PublicKey]) -> Collection[str]:
        """Store a batch in one call; see `PrimaryStore.create_many`."""
        self._note()
        return await self._store.create_many(keys)

    async def get(self, key_id: str) -> PublicKey:
        """Return an unexpired key; see `PublicKeyRepository.get`."""
        self._note()
        return await self._store.get(key_id)

    async def list_valid(self, *, after: str | None, limit: int) -> Sequence[PublicKey]:
        """Return one page; see `PrimaryStore.list_valid`."""
        self._note()
        return await self._store.list_valid(after=after, limit=limit)

    async def delete_expired(self) -> int:
        """Delete expired keys; see `PublicKeyRepository.delete_expired`."""
        self._note()
        return await self._store.delete_expired()

    async def ping(self) -> None:
        """Return if the store would accept a write; see `PrimaryStore.ping`."""
        self._note()
        await self._store.ping()


class AnnouncingStore(CountedStore):
    """A `CountedStore` that hands on what PostgreSQL announces, too."""

    async def changes(self) -> AsyncGenerator[Sequence[PublicKey] | None, None]:
        """Yield keys as others publish them; see `ChangeFeed.changes`."""
        assert isinstance(self._store, ChangeFeed)
        async with aclosing(self._store.changes()) as changes:
            async for keys in changes:
                yield keys


class RealStage:
    """A real PostgreSQL in real time; see `sim.stage.Stage`. Made by `real_stage`.

    Args:
        dsn: the database, past all faults of the line.
        pool: the connections of the service under test.
        others: connections of the other instances.
        clock: the time of the run.
        actor: acts the outages.
        announces: whether new keys are told of.
    """

    def __init__(
        self,
        dsn: str,
        *,
        pool: Pool,
        others: Pool,
        clock: RunClock,
        actor: Actor,
        announces: bool,
    ) -> None:
        kind = AnnouncingStore if announces else CountedStore
        self._store = kind(PostgresRepository(pool, now=clock.now), clock)
        self._others = PostgresRepository(others, now=clock.now)
        self._dsn = dsn
        self._clock = clock
        self._actor = actor
        self._acting: asyncio.Task[None] | None = None

    def store(self, instance: int) -> CountedStore:
        """The database through the one pool that there is."""
        assert instance == 0, "a real run has one instance"
        return self._store

    @property
    def acted(self) -> Sequence[Acted]:
        """The outages as they were."""
        return self._actor.acted

    async def publish(self, keys: Sequence[PublicKey]) -> None:
        """Store keys, and try again for a while: a server may be a moment late in coming back.

        Raises:
            TestbedError: the server did not come back.
        """
        deadline_s = self._clock.time() + PUBLISH_S_MAX
        while keys:
            try:
                await self._others.create_many(keys)
            except PrimaryUnavailableError as error:
                if self._clock.time() > deadline_s:
                    raise TestbedError(f"a peer cannot publish its keys: {error}") from error
                await asyncio.sleep(_PUBLISH_AGAIN_S)
            else:
                return

    async def begin(self) -> None:
        """Begin to act the outages."""
        self._acting = asyncio.create_task(self._actor.act())

    async def end(self) -> Ledger:
        """Wait for the last outage to be mended, and ask the table when each key was stored."""
        assert self._acting is not None
        await self._acting
        connection = await asyncpg.connect(self._dsn, timeout=5)
        try:
            began_s = await self._server_time_at_begin(connection)
            rows = await connection.fetch(_WHEN_STORED)
        finally:
            await connection.close(timeout=5)
        return Ledger(
            committed_s={row["id"]: row["stored_s"] - began_s for row in rows},
            attempts_s=self._store.attempts_s,
        )

    async def stop(self) -> None:
        """Mend what is broken, if the run ended before its time."""
        if self._acting is not None and not self._acting.done():
            self._acting.cancel()
            await asyncio.gather(self._acting, return_exceptions=True)

    async def _server_time_at_begin(self, connection: asyncpg.Connection) -> float:
        """The server's clock at the beginning of the run, from the quickest of some readings."""
        readings = []
        for _ in range(_CLOCK_READINGS):
            before_s = self._clock.time()
            read_s = await connection.fetchval(
                "SELECT extract(epoch FROM clock_timestamp())::float8"
            )
            after_s = self._clock.time()
            readings.append((after_s - before_s, read_s - (before_s + after_s) / 2))
        return cast(float, min(readings)[1])


@asynccontextmanager
async def real_stage(
    server: Cluster | ExistingServer,
    clock: RunClock,
    scenario: Scenario,
    timeline: Timeline,
    streams: Streams,
) -> AsyncIterator[RealStage]:
    """Open a stage on a new database of a server, and remove that database afterwards.

    Raises:
        InputError: an outage cannot be acted on this server.
    """
    own = server if isinstance(server, Cluster) else None
    by_line = needs_line(timeline.outages, own_server=own is not None)
    async with AsyncExitStack() as stack:
        dsn = await stack.enter_async_context(new_database(server))
        proxy = Proxy(*address(dsn))
        if by_line:
            await stack.enter_async_context(proxy)
        settings = connection_settings(proxy.dsn(dsn) if by_line else dsn, scenario.primary)
        pool = await stack.enter_async_context(Pool(settings, pool_settings(scenario.primary)))
        others_settings = ConnectionSettings(dsn=dsn, application_name="ftrepo-testbed peers")
        others = await stack.enter_async_context(Pool(others_settings))
        # Where the server is somebody else's, no fault is acted that touches it.
        site = Site(cluster=cast(Cluster, server), proxy=proxy, dsn=dsn, pool=pool)
        slowness = Slowness(scenario.primary, streams.generator("the line"))
        proxy.watch = slowness.note
        actor = Actor(site, timeline.outages, clock, slowness=slowness, own_server=own is not None)
        await actor.rehearse()
        stage = RealStage(
            dsn,
            pool=pool,
            others=others,
            clock=clock,
            actor=actor,
            announces=scenario.primary.announces,
        )
        try:
            yield stage
        finally:
            await stage.stop()


@asynccontextmanager
async def new_database(server: Cluster | ExistingServer) -> AsyncIterator[str]:
    """Make a database with the tables of the service, and drop it in the end."""
    dsn = await asyncio.to_thread(server.create_database)
    try:
        await upgrade(dsn)
        connection = await asyncpg.connect(dsn, timeout=5)
        try:
            await connection.execute(_KEEP_WHAT_IS_DELETED)
        finally:
            await connection.close(timeout=5)
        yield dsn
    finally:
        # A server of one's own is removed whole; one that is down keeps nobody from ending.
        with suppress(OSError, asyncpg.PostgresError):
            await asyncio.to_thread(server.drop_database, dsn)


def connection_settings(dsn: str, primary: PrimarySettings) -> ConnectionSettings:
    """Return how the service connects, as the simulated primary's settings have it."""
    if primary.command_timeout_s is None:
        return ConnectionSettings(dsn=dsn)
    return ConnectionSettings(dsn=dsn, statement_timeout_s=primary.command_timeout_s)


def pool_settings(primary: PrimarySettings) -> PoolSettings:
    """Return how many connections the service keeps, as the simulated primary's settings have it.

    What they leave unset is as `ftrepo.postgres` ships it.
    """
    given: dict[str, Any] = {
        "open_max": primary.pool_size,
        "idle_max": min(primary.idle_max, primary.pool_size),
        "acquire_timeout_s": primary.acquire_timeout_s,
        "check_after_idle_s": primary.check_after_idle_s,
    }
    return PoolSettings(**{name: value for name, value in given.items() if value is not None})


def address(dsn: str) -> tuple[str, int]:
    """Return the host and the port that a dsn names."""
    parts = urlsplit(dsn)
    return parts.hostname or "127.0.0.1", parts.port or 5432
