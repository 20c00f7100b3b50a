"""Measures how fast a real server is, and writes it down as settings of the simulated primary.

Each operation is called at a fixed rate, whatever the calls before it do, through the pool and the
store that production uses. The latencies are then described by a lognormal distribution with their
median and their 99th percentile, and held against it: see `calibration`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import asyncpg
import numpy as np

from ftrepo.postgres.pool import Pool
from ftrepo.postgres.settings import ConnectionSettings, PoolSettings
from ftrepo.postgres.store import PostgresRepository
from sim.testbed.binaries import TestbedError
from sim.testbed.calibration import Calibration, Latency, fitted
from sim.testbed.real_stage import new_database
from sim.testbed.replay import run_real
from sim.world.issuers import EPOCH, KeyMint
from sim.world.streams import Streams

if TYPE_CHECKING:
    from sim.history import Floats
    from sim.testbed.cluster import Cluster, ExistingServer

CALLS = 2000
"""How often each operation is called: the 99th percentile then has 20 calls above it."""

CALLS_LEAST = 100
"""Fewer calls have no 99th percentile."""

RATE_PER_S = 200.0
"""Calls a second."""

CONNECTS_SHARE = 0.1
"""Connecting is measured on a tenth as many calls, for a service connects rarely,"""

CONNECTS_RATE_SHARE = 0.25
"""and at a quarter of the rate, for each makes the server start a process."""

WARM_UP_SHARE = 0.1
"""The share of the calls, before the others, that is not measured."""

FAILED_SHARE_MAX = 0.005
"""The share of calls that may fail: the disk of a busy machine keeps one waiting beyond its
time-out now and then. Such a call counts with the time that it took."""

_KEYS = 200
_LIFETIME_S = 3600.0


def calibrate(
    server: Cluster | ExistingServer,
    *,
    calls: int = CALLS,
    rate_per_s: float = RATE_PER_S,
    progress: Callable[[str, float], None] | None = None,
) -> Calibration:
    """Measure a server in a database of its own, and remove that.

    May be called where an event loop runs already, as in a notebook's cell.

    Args:
        server: which; nothing of it is broken.
        calls: how often each operation is called, at least `CALLS_LEAST`.
        rate_per_s: how often a second.
        progress: is told of the operation and of the share of its calls that were made.

    Raises:
        TestbedError: calls fail. What is measured must be healthy.
    """
    if calls < CALLS_LEAST:
        raise ValueError(f"calls must be at least {CALLS_LEAST}, not {calls}")
    return run_real(_calibrate(server, calls, rate_per_s, progress or (lambda *_: None)))


async def _calibrate(
    server: Cluster | ExistingServer,
    calls: int,
    rate_per_s: float,
    progress: Callable[[str, float], None],
) -> Calibration:
    async with new_database(server) as dsn:
        settings, pool_settings = ConnectionSettings(dsn=dsn), PoolSettings.server()
        # A pool that keeps nothing: every call needs a new connection.
        unkept = replace(pool_settings, idle_max=0, idle_excess_timeout_s=0.0)
        async with Pool(settings, pool_settings) as pool, Pool(settings, unkept) as connecting:
            bench = _Bench(pool, connecting)
            await bench.prepare()
            measured: dict[str, Floats] = {}
            for name, (call, share, rate_share) in bench.operations.items():
                count = max(CALLS_LEAST, round(calls * share))
                told = partial(progress, name)
                measured[name] = await _at_rate(call, count, rate_per_s * rate_share, told)
        shown = await _version(dsn)
    # What a call takes longer that needs a new connection, its first preparation included.
    more_s = measured["connect"] - np.median(measured["select"])
    measured["connect"] = more_s[more_s > 0]
    latencies = {
        name: Latency(operation=name, seconds=np.sort(seconds), fit=fitted(seconds))
        for name, seconds in measured.items()
    }
    own = type(server).__name__ == "Cluster"
    return Calibration(
        latencies=latencies,
        server=shown,
        where="started by the testbed on this machine" if own else "at an address that was given",
        rate_per_s=rate_per_s,
        measured=datetime.now(UTC),
        connection=settings,
        pool=pool_settings,
    )


class _Bench:
    """The operations to measure, on a table of keys."""

    def __init__(self, pool: Pool, connecting: Pool) -> None:
        self._now = EPOCH
        self._store = PostgresRepository(pool, now=lambda: self._now)
        self._connecting = PostgresRepository(connecting, now=lambda: self._now)
        self._mint = KeyMint(Streams(1), _LIFETIME_S)
        self._known = [self._mint.make(0.0) for _ in range(_KEYS)]
        self._turn = 0
        # Each with the shares of the calls and of the rate at which it is measured.
        self.operations: dict[str, tuple[Callable[[], Awaitable[object]], float, float]] = {
            "select": (self._select, 1.0, 1.0),
            "insert": (self._insert, 1.0, 1.0),
            "delete": (self._delete, 1.0, 1.0),
            "connect": (self._connect, CONNECTS_SHARE, CONNECTS_RATE_SHARE),
        }

    async def prepare(self) -> None:
        await self._store.create_many(self._known)

    def _next(self) -> str:
        self._turn = (self._turn + 1) % _KEYS
        return self._known[self._turn].id

    async def _select(self) -> None:
        await self._store.get(self._next())

    async def _insert(self) -> None:
        await self._store.create(self._mint.make(0.0))

    async def _delete(self) -> None:
        await self._store.delete_expired()

    async def _connect(self) -> None:
        await self._connecting.get(self._next())


async def _at_rate(
    call: Callable[[], Awaitable[object]],
    count: int,
    rate_per_s: float,
    progress: Callable[[float], None],
) -> Floats:
    """Make calls at a fixed rate, each in a task of its own, and return how long each took."""
    loop = asyncio.get_running_loop()
    warm_up = math.ceil(WARM_UP_SHARE * count)
    seconds: list[float] = []
    tasks: list[asyncio.Task[None]] = []

    async def timed(*, counts: bool) -> None:
        started_s = loop.time()
        try:
            await call()
        finally:
            if counts:
                seconds.append(loop.time() - started_s)

    start_s = loop.time()
    for number in range(warm_up + count):
        await asyncio.sleep(start_s + number / rate_per_s - loop.time())
        tasks.append(asyncio.create_task(timed(counts=number >= warm_up)))
        progress((number + 1) / (warm_up + count))
    _refuse_many_failures(await asyncio.gather(*tasks, return_exceptions=True))
    return np.array(seconds)


def _refuse_many_failures(outcomes: Sequence[object]) -> None:
    errors = [each for each in outcomes if isinstance(each, BaseException)]
    if len(errors) > FAILED_SHARE_MAX * len(outcomes):
        raise TestbedError(
            f"{len(errors)} of {len(outcomes)} calls failed while the server was measured: "
            f"{errors[0]}"
        ) from errors[0]


async def _version(dsn: str) -> str:
    connection = await asyncpg.connect(dsn, timeout=5)
    try:
        number = await connection.fetchval("SHOW server_version")
    finally:
        await connection.close(timeout=5)
    return f"PostgreSQL {str(number).split()[0]}"
