from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import asyncpg
import pytest

from ftrepo.errors import PrimaryUnavailableError
from ftrepo.policy import Policy
from ftrepo.resilience.breaker import BreakerState
from sim.testbed.cluster import Cluster
from sim.testbed.fault_load import LoopLag
from sim.testbed.fault_run import CLUSTER_SETTINGS, Service, run_fault, service
from sim.testbed.fault_site import Site, operator
from sim.testbed.fault_table import defects
from sim.testbed.real_faults import REAL_FAULTS, RealFault, frozen
from sim.testbed.sql import run_sql

pytestmark = pytest.mark.postgres

FAULT_S = 2.0

POLICY = Policy(breaker_open_s=0.5, flush_interval_s=0.5)
"""Probes come several times within a fault, and the end of it is noticed soon."""


@pytest.fixture(scope="module")
def victim() -> Iterator[Cluster]:
    """Give a server that every test here breaks, and that works again afterwards."""
    with Cluster(settings=CLUSTER_SETTINGS) as cluster:
        yield cluster


@pytest.mark.parametrize("name", REAL_FAULTS)
def test_no_caller_notices_a_fault(name: str, victim: Cluster) -> None:
    """Whatever fails: no error, no slow call, no key lost, no connection leaked, no backlog left.

    The primary is used again within an interval of the breaker, a flush and a second.
    """
    fault = REAL_FAULTS[name]
    outcome = asyncio.run(run_fault(name, fault, victim, policy=POLICY, fault_s=FAULT_S))
    assert defects(outcome, POLICY) == []
    assert outcome.breaker == "closed"
    assert outcome.gets > 50 * FAULT_S
    assert outcome.creates > 5 * FAULT_S
    assert outcome.backlog_empty_s is not None
    soon_s = POLICY.breaker_open_s + POLICY.flush_interval_s + 1.0 + outcome.lag_max_s
    assert outcome.backlog_empty_s < soon_s


@pytest.mark.parametrize("seed", [1, 2])
def test_no_caller_notices_faults_that_follow_each_other(seed: int, victim: Cluster) -> None:
    """Ten faults in a random order, with hardly a pause: the same holds as for one."""
    rng = random.Random(seed)
    names = rng.sample(list(REAL_FAULTS), 10)

    @asynccontextmanager
    async def flapping(site: Site) -> AsyncIterator[None]:
        for name in names:
            async with REAL_FAULTS[name].inject(site):
                await asyncio.sleep(rng.uniform(0.05, 0.8))
            await asyncio.sleep(rng.choice([0.0, 0.05, 0.3]))
        yield

    fault = RealFault(inject=flapping, doc="Everything, in a row.", by_proxy=True)
    outcome = asyncio.run(run_fault("flapping", fault, victim, policy=POLICY, fault_s=0.0))
    assert defects(outcome, POLICY) == [], names
    assert outcome.breaker == "closed"


WHAT_IT_DOES = {
    "fast-stop": OSError,
    "immediate-stop": OSError,
    "kill-all": OSError,
    "freeze": TimeoutError,
    "starting-up": asyncpg.CannotConnectNowError,
    "read-only": asyncpg.ReadOnlySQLTransactionError,
    "table-lock": (asyncpg.QueryCanceledError, TimeoutError),
    "pool-exhausted": PrimaryUnavailableError,
    "connections-exhausted": asyncpg.TooManyConnectionsError,
    "pause": TimeoutError,
    "drop-replies": TimeoutError,
    "refuse": ConnectionRefusedError,
    "reset": (ConnectionResetError, asyncpg.ConnectionDoesNotExistError),
    "trickle": TimeoutError,
}
"""What a write to the primary fails with in a fault. The others hurt only some of them."""


@pytest.mark.parametrize("name", WHAT_IT_DOES)
def test_a_fault_does_what_it_says(name: str, victim: Cluster) -> None:
    """During the fault each write to the primary fails in its own way; after it, they succeed."""
    fault = REAL_FAULTS[name]

    async def causes(running: Service) -> list[BaseException | None]:
        found: list[BaseException | None] = []
        for _ in range(3):
            try:
                await running.primary.create(running.new_key())
            except PrimaryUnavailableError as error:
                found.append(error.__cause__ or error)
            else:
                found.append(None)
        return found

    async def play() -> None:
        policy = replace(POLICY, breaker=False)
        async with service(victim, policy=policy, by_proxy=fault.by_proxy) as running:
            assert await causes(running) == [None] * 3
            async with fault.inject(running.site):
                # A connection from before may fail in another way than those that come after.
                last = (await causes(running))[-1]
                assert isinstance(last, WHAT_IT_DOES[name]), repr(last)
            await asyncio.sleep(0.5)
            assert (await causes(running))[-1] is None

    asyncio.run(play())


class ImpatientCallers:
    """Callers of `get` and `create` who each give up at a random moment within a time-out."""

    def __init__(self, running: Service, rng: random.Random) -> None:
        self._running = running
        self._rng = rng
        self.acknowledged = list(running.known)
        self.answered = self.gave_up = 0
        self.late_max_s = 0.0

    async def call(self) -> None:
        patience_s = self._rng.uniform(0.0, 0.45)
        call = self._get() if self._rng.random() < 0.7 else self._create()
        now_s = asyncio.get_running_loop().time
        until_s = now_s() + patience_s
        try:
            async with asyncio.timeout(patience_s):
                await call
            self.answered += 1
        except TimeoutError:
            self.gave_up += 1
            self.late_max_s = max(self.late_max_s, now_s() - until_s)

    async def _get(self) -> None:
        key = self._rng.choice(self.acknowledged)
        assert (await self._running.repository.get(key.id)).same_material(key)

    async def _create(self) -> None:
        key = self._running.new_key()
        await self._running.repository.create(key)
        self.acknowledged.append(key)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, and fail if it does not come."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - there is no event for what the server sees
            await asyncio.sleep(0.01)


async def sessions(running: Service) -> int:
    """Return how many sessions the server has of the service."""
    async with operator(running.site) as connection:
        found: int = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1",
            running.site.application_name,
        )
    return found


def test_callers_who_give_up_on_a_frozen_server_lose_nothing(victim: Cluster) -> None:
    """Callers cancelled at random moments around a freeze leak no connection and lose no key.

    Each is free at once. A key that was acknowledged is in the table in the end, and so is one
    whose `create` was cancelled, if memory has it: every store agrees.
    """

    async def play() -> None:
        lag = LoopLag()
        async with service(victim, policy=POLICY, by_proxy=False, name="cancel") as running:
            repository, pool = running.repository, running.pool
            callers, calls = ImpatientCallers(running, random.Random(3)), []
            with lag.measured():
                async with AsyncExitStack() as fault:
                    for number in range(600):
                        if number == 100:
                            await fault.enter_async_context(frozen(running.site))
                        if number == 400:
                            await fault.aclose()
                        calls.append(asyncio.create_task(callers.call()))
                        await asyncio.sleep(0.004)
                await asyncio.gather(*calls)
            assert callers.gave_up > 20
            assert callers.answered > 20
            assert callers.late_max_s < 0.05 + lag.max_s
            await until(lambda: not repository.pending)
            await until(lambda: repository.breaker_state is BreakerState.CLOSED)
            await until(lambda: not pool.statistics().places_taken)
            for _ in range(100):
                if await sessions(running) <= pool.statistics().open:
                    break
                await asyncio.sleep(0.05)
            assert await sessions(running) <= pool.statistics().open <= pool.settings.open_max
            # All the pool's places can be had: none was lost on the way.
            async with AsyncExitStack() as held:
                for _ in range(pool.settings.open_max):
                    await held.enter_async_context(pool.connection())
            async with operator(running.site) as connection:
                stored = {row["id"] for row in await connection.fetch("SELECT id FROM public_keys")}
            assert {key.id for key in callers.acknowledged} <= stored
            # Memory has nothing that the primary lacks.
            remembered = await repository.cache.list_valid(after=None, limit=10_000)
            assert {key.id for key in remembered} <= stored

    asyncio.run(play())


def test_the_server_is_whole_after_every_fault(victim: Cluster) -> None:
    """No fault leaves a setting, a lock or a session behind."""
    dsn = victim.dsn()
    assert run_sql(dsn, "SHOW default_transaction_read_only")[0][0] == "off"
    assert run_sql(dsn, "SELECT pg_is_in_recovery()")[0][0] is False
    left = run_sql(
        dsn, "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'testbed%'"
    )
    assert left[0][0] == 0
