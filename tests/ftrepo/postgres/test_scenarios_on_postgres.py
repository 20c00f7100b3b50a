"""The standard scenario, and those of failover and recovery, on a real server that really fails.

They run in real time with the time-outs of production; only the intervals are shorter, so that a
recovery is a matter of a second. The same stories run in virtual time beside this.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from ftrepo.errors import KeyNotFoundError
from ftrepo.events import Event, Flushed, FlushFailed
from ftrepo.fault_tolerant import FaultTolerantRepository
from ftrepo.interface import Durability
from ftrepo.keys import PublicKey, SigningKey
from ftrepo.policy import Policy
from ftrepo.postgres import ConnectionSettings, Pool, PostgresRepository
from ftrepo.postgres.migrate import upgrade
from ftrepo.resilience import BreakerState
from sim.testbed.cluster import Cluster
from tests.ftrepo.postgres.stores import until

pytestmark = pytest.mark.postgres

SOON = Policy(flush_interval_s=0.2, breaker_open_s=0.3, refresh_interval_s=5.0, expiry_interval_s=5)
"""The default policy at a faster pace."""

MARGIN_S = 0.25
"""What a call may take beyond its time-out, on a machine that does other things too."""


def real_now() -> datetime:
    """The calendar of the machine."""
    return datetime.now(UTC)


def new_key(name: str | None = None, *, lifetime_s: float = 3600.0) -> PublicKey:
    """A key as a service makes one."""
    lifetime = timedelta(seconds=lifetime_s)
    return SigningKey.generate(created=real_now(), lifetime=lifetime, key_id=name).public


@dataclass
class Service:
    """One instance: the repository, the store behind it, and what was observed."""

    repository: FaultTolerantRepository
    store: PostgresRepository
    events: list[Event] = field(default_factory=list)

    def seen(self, kind: type[Event]) -> int:
        return sum(isinstance(event, kind) for event in self.events)


@asynccontextmanager
async def service(dsn: str, policy: Policy = SOON) -> AsyncIterator[Service]:
    """Start an instance, whatever the server does."""
    events: list[Event] = []
    async with Pool(ConnectionSettings(dsn=dsn)) as pool:
        store = PostgresRepository(pool, now=real_now)
        repository = FaultTolerantRepository(store, policy, now=real_now, observers=[events.append])
        async with repository:
            yield Service(repository, store, events)


async def has(store: PostgresRepository, key: PublicKey) -> bool:
    """Whether the primary itself has a key."""
    try:
        return await store.get(key.id) == key
    except KeyNotFoundError:
        return False


async def duration_s(call: Awaitable[object]) -> float:
    """How long a call takes."""
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    await call
    return loop.time() - started_s


def run(cluster: Cluster, story: Callable[[str], Awaitable[None]]) -> None:
    """Run a story on a fresh database of the server."""
    dsn = cluster.create_database()

    async def main() -> None:
        await upgrade(dsn)
        await story(dsn)

    asyncio.run(asyncio.wait_for(main(), 120))


def test_the_standard_scenario_on_postgres(own_cluster: Cluster) -> None:
    """Served from the cache in the outage, written in it, flushed at the second try."""
    policy = replace(SOON, breaker=False, flush_interval_s=1.0)

    async def story(dsn: str) -> None:
        async with service(dsn, policy) as each:
            repo, first, second = each.repository, new_key(), new_key()
            assert await repo.create(first) is Durability.PRIMARY
            assert await has(each.store, first)
            await asyncio.to_thread(own_cluster.stop, "immediate")
            assert await repo.get(first.id) == first
            assert await repo.create(second) is Durability.MEMORY
            assert second.id in repo.cache
            assert second.id in repo.pending
            await until(lambda: each.seen(FlushFailed) == 1)
            assert second.id in repo.pending
            await asyncio.to_thread(own_cluster.start)
            await until(lambda: each.seen(Flushed) == 1)
            assert len(repo.pending) == 0
            assert await has(each.store, second)
            assert second.id in repo.cache

    run(own_cluster, story)


def test_start_with_the_primary_up(own_cluster: Cluster) -> None:
    """Every unexpired key of the primary is in memory once the service has started."""
    keys = [new_key() for _ in range(25)]

    async def story(dsn: str) -> None:
        async with service(dsn) as before:
            for key in keys:
                await before.repository.create(key)
            await before.repository.create(new_key("gone", lifetime_s=0.05))
        await asyncio.sleep(0.1)
        async with service(dsn) as after:
            assert len(after.repository.cache) == 25
            await asyncio.to_thread(own_cluster.stop, "immediate")
            for key in keys:
                assert await after.repository.get(key.id) == key

    run(own_cluster, story)


def test_start_with_the_primary_down(own_cluster: Cluster) -> None:
    """The service starts at once with the one key that it makes, and finds the primary itself."""

    async def story(dsn: str) -> None:
        async with service(dsn) as before:
            old = new_key()
            await before.repository.create(old)
        await asyncio.to_thread(own_cluster.stop, "immediate")
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        async with service(dsn) as each:
            repo, own = each.repository, new_key()
            assert await repo.create(own) is Durability.MEMORY
            assert loop.time() - started_s < 2 * 0.5 + MARGIN_S
            assert (len(repo.cache), len(repo.pending)) == (1, 1)
            assert await repo.get(own.id) == own
            await asyncio.to_thread(own_cluster.start)
            await until(lambda: len(repo.pending) == 0 and old.id in repo.cache)
            assert await has(each.store, own)
            assert await repo.get(old.id) == old

    run(own_cluster, story)


def test_up_down_up(own_cluster: Cluster) -> None:
    """Through an outage every key can be read and every create is kept; then all stores agree."""

    async def story(dsn: str) -> None:
        async with service(dsn) as each, service(dsn) as other:
            repo = each.repository
            keys = [new_key() for _ in range(60)]
            for key in keys[:20]:
                assert await repo.create(key) is Durability.PRIMARY
            await asyncio.to_thread(own_cluster.kill)
            for key in keys[20:40]:
                took_s = await duration_s(repo.create(key))
                assert took_s < repo.policy.insert_timeout_s + MARGIN_S  # type: ignore[operator]
            assert repo.breaker_state is not BreakerState.CLOSED
            for key in keys[:40]:
                assert await repo.get(key.id) == key
            await asyncio.to_thread(own_cluster.start)
            await until(lambda: repo.breaker_state is BreakerState.CLOSED)
            await until(lambda: len(repo.pending) == 0)
            for key in keys[40:]:
                assert await repo.create(key) is Durability.PRIMARY
            stored = await each.store.list_valid(after=None, limit=100)
            assert {key.id for key in stored} == {key.id for key in keys}
            await until(lambda: len(other.repository.cache) == 60)

    run(own_cluster, story)


def test_flapping(own_cluster: Cluster) -> None:
    """However often the primary comes and goes, nothing acknowledged is lost or told twice."""

    async def story(dsn: str) -> None:
        async with service(dsn) as each:
            repo, keys = each.repository, list[PublicKey]()

            async def issue() -> None:
                while True:
                    key = new_key()
                    await repo.create(key)
                    keys.append(key)
                    assert await repo.get(keys[len(keys) // 2].id) == keys[len(keys) // 2]
                    await asyncio.sleep(0.005)

            issuing = asyncio.create_task(issue())
            for _ in range(4):
                await asyncio.sleep(0.4)
                await asyncio.to_thread(own_cluster.kill)
                await asyncio.sleep(0.4)
                await asyncio.to_thread(own_cluster.start)
            await until(lambda: repo.breaker_state is BreakerState.CLOSED)
            assert not issuing.done(), issuing
            issuing.cancel()
            await asyncio.wait([issuing])
            await until(lambda: len(repo.pending) == 0 and repo.pending.writing == 0)
            stored = {key.id: key for key in await each.store.list_valid(after=None, limit=10_000)}
            assert len(keys) > 50
            assert all(stored.get(key.id) == key for key in keys)

    run(own_cluster, story)


def test_hanging(own_cluster: Cluster) -> None:
    """A server that is frozen costs each call its time-out and no more; what was sent is kept."""

    async def story(dsn: str) -> None:
        async with service(dsn) as each:
            repo, first = each.repository, new_key()
            await repo.create(first)
            await asyncio.to_thread(own_cluster.freeze)
            keys = [new_key() for _ in range(30)]
            try:
                slowest_s = max(
                    await asyncio.gather(*(duration_s(repo.create(key)) for key in keys))
                )
                assert slowest_s < 0.5 + MARGIN_S
                assert await duration_s(repo.get(first.id)) < 0.5 + MARGIN_S
            finally:
                await asyncio.to_thread(own_cluster.thaw)
            await until(lambda: len(repo.pending) == 0)
            stored = await each.store.list_valid(after=None, limit=100)
            assert {key.id for key in stored} == {key.id for key in [first, *keys]}
            await until(lambda: repo.breaker_state is BreakerState.CLOSED)
            assert await repo.create(new_key()) is Durability.PRIMARY

    run(own_cluster, story)


def test_restart_of_the_service_during_an_outage(own_cluster: Cluster) -> None:
    """The new process starts at once; what the primary has committed comes back with it."""

    async def story(dsn: str) -> None:
        committed, lost, own = new_key(), new_key(), new_key()
        async with service(dsn) as first:
            assert await first.repository.create(committed) is Durability.PRIMARY
            await asyncio.to_thread(own_cluster.kill)
            assert await first.repository.create(lost) is Durability.MEMORY
            first.repository.kill()
        async with service(dsn) as second:
            repo = second.repository
            assert await repo.create(own) is Durability.MEMORY
            with pytest.raises(KeyNotFoundError):
                await repo.get(committed.id)
            await asyncio.to_thread(own_cluster.start)
            await until(lambda: len(repo.pending) == 0 and committed.id in repo.cache)
            assert await repo.get(committed.id) == committed
            assert await has(second.store, own)
            # Acknowledged with `Durability.MEMORY`, and nothing outlived that memory.
            assert not await has(second.store, lost)

    run(own_cluster, story)


def test_a_clean_up_that_the_primary_missed(own_cluster: Cluster) -> None:
    """Keys that expire in an outage are deleted from the primary when it returns."""

    async def story(dsn: str) -> None:
        async with service(dsn) as each:
            repo = each.repository
            for _ in range(5):
                await repo.create(new_key(lifetime_s=1.0))
            await asyncio.to_thread(own_cluster.stop, "immediate")
            await asyncio.sleep(1.0)
            assert await repo.delete_expired() == 5
            for _ in range(5):
                await repo.create(new_key())
            await asyncio.to_thread(own_cluster.start)

            async def is_clean() -> bool:
                async with each.store.pool.connection() as connection:
                    return await connection.fetchval("SELECT count(*) FROM public_keys") == 5

            await until(lambda: len(repo.pending) == 0)
            await until(is_clean)

    run(own_cluster, story)
