"""What the repository costs and gives on a real PostgreSQL; each benchmark starts one."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from ftrepo import Algorithm, FaultTolerantRepository, Policy, PublicKey
from ftrepo.events import BreakerChanged, Event
from ftrepo.postgres import ConnectionSettings, Pool, PostgresRepository
from ftrepo.postgres.migrate import upgrade
from ftrepo.resilience import BreakerState
from sim.testbed.cluster import Cluster

GETS = 200
PAIRS = 151
KEYS = 100_000
FLUSHES = 7
OUTAGES_S = (20.0, 21.0, 22.0, 23.0, 24.0)
"""Not one length: the probes come at a fixed pace, so that one would always meet the same phase."""
COLUMNS = ("id", "material", "algorithm", "created", "expires")


def get_overhead_vs_driver() -> dict[str, Any]:
    """A healthy primary-first `get`, against the same call on the store that it wraps."""

    async def measure(store: PostgresRepository) -> list[tuple[float, float]]:
        async with FaultTolerantRepository(store, observers=[]) as repository:
            (key,) = _keys(1)
            await repository.create(key)
            sides: list[Callable[[str], Awaitable[PublicKey]]] = [repository.get, store.get]
            for get in sides:
                await _wall_s(get, key.id)
            pairs = []
            for pair in range(PAIRS):
                # Whoever goes first may meet a slower machine.
                timed = {g: await _wall_s(g, key.id) for g in sides[:: 1 if pair % 2 else -1]}
                pairs.append((timed[repository.get], timed[store.get]))
            return pairs

    pairs = asyncio.run(_on_fresh_server(measure))
    driver_us = statistics.median(driver_s for _, driver_s in pairs) / GETS * 1e6
    return {
        "name": "get_overhead_vs_driver",
        "value": round(statistics.median(ours_s / driver_s for ours_s, driver_s in pairs), 3),
        "unit": "ratio",
        "reference": f"wall time of the store's own get, {driver_us:.0f} µs a call here; "
        f"median of {PAIRS} pairs",
    }


def flush_throughput_vs_copy() -> dict[str, Any]:
    """Flushing 100,000 pending keys, against COPY of the same rows into the same kind of table."""
    ratios, rates = [], []

    async def measure(store: PostgresRepository) -> None:
        keys = _keys(KEYS)
        for number in range(FLUSHES):
            sides = [_flush, _copy]
            timed = {}
            for side in sides[:: 1 if number % 2 else -1]:
                async with store.pool.connection() as connection:
                    await connection.execute("TRUNCATE public_keys")
                    await connection.execute("CHECKPOINT")
                timed[side] = await side(store, keys)
            ratios.append(timed[_copy] / timed[_flush])
            rates.append(KEYS / timed[_flush])

    # One COPY of everything takes longer than a statement may take in a service.
    asyncio.run(_on_fresh_server(measure, statement_timeout_s=None))
    return {
        "name": "flush_throughput_vs_copy",
        "value": round(statistics.median(ratios), 3),
        "unit": "ratio",
        "reference": f"copy_records_to_table of {KEYS:,} rows; "
        f"{statistics.median(rates):,.0f} keys/s flushed here",
    }


def failover_first_success_s() -> dict[str, Any]:
    """From a restarted server's first answer to the repository's, after 20 s and a little away."""

    async def measure(store: PostgresRepository) -> list[tuple[float, float]]:
        return [await _first_success_s(store, cluster, outage_s) for outage_s in OUTAGES_S]

    with Cluster() as cluster:
        seen = asyncio.run(_on_server(cluster, measure))
    store_s = statistics.median(at_store_s for at_store_s, _ in seen)
    slowest_s = max(facade_s for _, facade_s in seen)
    return {
        "name": "failover_first_success_s",
        "value": round(statistics.mean(facade_s for _, facade_s in seen), 3),
        "unit": "s",
        "reference": f"breaker_open_s = {Policy().breaker_open_s:g} between probes; at most "
        f"{slowest_s:.2f} s, and the store by itself {store_s * 1e3:.0f} ms; "
        f"{len(OUTAGES_S)} outages of {OUTAGES_S[0]:g} to {OUTAGES_S[-1]:g} s",
    }


async def _flush(store: PostgresRepository, keys: Sequence[PublicKey]) -> float:
    """Let every key be pending, as after an outage, and flush; the loop's own tasks included."""
    async with FaultTolerantRepository(store, _FLUSH_POLICY, observers=[]) as repository:
        for key in keys:
            repository.cache.put(key)
            repository.cache.pin(key.id)
            repository.pending.reserve(key, 0.0)
        repository.pending.release(key.id for key in keys)
        gc.collect()
        start_s = time.perf_counter()
        confirmed = await repository.flush()
        elapsed_s = time.perf_counter() - start_s
    if confirmed != len(keys):
        raise AssertionError(f"{confirmed} of {len(keys)} keys were flushed")
    return elapsed_s


async def _copy(store: PostgresRepository, keys: Sequence[PublicKey]) -> float:
    rows = [(k.id, k.material, k.algorithm.value, k.created, k.expires) for k in keys]
    gc.collect()
    async with store.pool.connection() as connection:
        start_s = time.perf_counter()
        await connection.copy_records_to_table("public_keys", records=rows, columns=COLUMNS)
        return time.perf_counter() - start_s


_FLUSH_POLICY = replace(Policy(), insert_timeout_s=30.0, refresh_interval_s=None)


async def _first_success_s(
    store: PostgresRepository, cluster: Cluster, outage_s: float
) -> tuple[float, float]:
    """One outage under load; seconds from the server's return, at the store and at the facade."""
    closed = asyncio.Event()

    def watch(event: Event) -> None:
        if isinstance(event, BreakerChanged) and event.new is BreakerState.CLOSED:
            closed.set()

    async with FaultTolerantRepository(store, observers=[watch]) as repository:
        (key,) = _keys(1)
        await repository.create(key)
        await asyncio.to_thread(cluster.stop, "fast")
        end_s = time.perf_counter() + outage_s
        while time.perf_counter() < end_s:
            await repository.get(key.id)
            await asyncio.sleep(0.05)
        if repository.breaker_state is BreakerState.CLOSED:
            raise AssertionError("the outage went unnoticed")
        await asyncio.to_thread(cluster.start)
        up_s = time.perf_counter()
        await _until(store.ping)
        store_s = time.perf_counter() - up_s
        await closed.wait()
        return store_s, time.perf_counter() - up_s


async def _until(ping: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await ping()
        except Exception:
            await asyncio.sleep(0.001)
        else:
            return


async def _wall_s(get: Callable[[str], Awaitable[PublicKey]], key_id: str) -> float:
    gc.collect()
    start_s = time.perf_counter()
    for _ in range(GETS):
        await get(key_id)
    return time.perf_counter() - start_s


async def _on_fresh_server(
    measure: Callable[[PostgresRepository], Awaitable[Any]], **settings: Any
) -> Any:
    with Cluster() as cluster:
        return await _on_server(cluster, measure, **settings)


async def _on_server(
    cluster: Cluster, measure: Callable[[PostgresRepository], Awaitable[Any]], **settings: Any
) -> Any:
    dsn = cluster.create_database()
    await upgrade(dsn)
    async with Pool(ConnectionSettings(dsn=dsn, **settings)) as pool:
        return await measure(PostgresRepository(pool, now=lambda: datetime.now(UTC)))


def _keys(count: int) -> list[PublicKey]:
    """Keys as different from each other as real ones, in no order."""
    created = datetime.now(UTC)
    digests = (hashlib.sha256(f"{created}{number}".encode()) for number in range(count))
    return [
        PublicKey(
            id=digest.hexdigest()[:43],
            material=bytes(12) + digest.digest(),
            algorithm=Algorithm.ED25519,
            created=created,
            expires=created + timedelta(days=1),
        )
        for digest in digests
    ]
