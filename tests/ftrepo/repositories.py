"""Every repository that the contract suite runs over, and what its tests need to drive one.

To put another repository under the contract, add it to `REPOSITORIES`: how to open an empty one
on a given clock, and how to run a coroutine on the event loop that it needs.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ftrepo.designs import named_policies
from ftrepo.fault_tolerant import FaultTolerantRepository
from ftrepo.interface import PrimaryStore
from ftrepo.memory import InMemoryRepository
from ftrepo.policy import Policy
from sim.loop import VirtualTimeLoop, run_virtual
from sim.world.journal import SimulatedDisk, SimulatedJournal
from sim.world.primary import SimulatedPrimary
from sim.world.primary_settings import PrimarySettings
from tests.laboratory import EPOCH

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

    from ftrepo.interface import PublicKeyRepository


class SettableClock:
    """A calendar clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = EPOCH

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        """Move the clock on."""
        self.now += timedelta(seconds=seconds)


@dataclass(frozen=True, kw_only=True)
class RepositoryUnderTest:
    """How the contract suite gets at one kind of repository.

    Attributes:
        open: gives an empty repository, which takes the calendar time from the clock. It gets the
            clock and the values of `fixtures`.
        run: runs a coroutine to its end, on the event loop that the repository needs.
        is_primary_store: whether it is a `PrimaryStore` too.
        fixtures: the names of the fixtures that `open` needs.
        marks: what pytest selects its tests by.
    """

    open: Callable[..., AbstractAsyncContextManager[PublicKeyRepository]]
    run: Callable[[Coroutine[Any, Any, None]], object] = asyncio.run
    is_primary_store: bool
    fixtures: Sequence[str] = ()
    marks: Sequence[pytest.MarkDecorator] = ()


@asynccontextmanager
async def in_memory(clock: SettableClock) -> AsyncIterator[PublicKeyRepository]:
    """An unbounded `InMemoryRepository`: a bound may forget keys, which the contract forbids."""
    yield InMemoryRepository(now=clock, entries_max=None)


def _primary(clock: SettableClock) -> SimulatedPrimary:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    return SimulatedPrimary(loop, PrimarySettings(), rng=np.random.default_rng(0), now=clock)


@asynccontextmanager
async def simulated_primary(clock: SettableClock) -> AsyncIterator[PublicKeyRepository]:
    """The laboratory's fake of PostgreSQL."""
    yield _primary(clock)


def before_simulated_primary(
    policy: Policy,
) -> Callable[[SettableClock], AbstractAsyncContextManager[PublicKeyRepository]]:
    """The facade before the simulated primary."""

    @asynccontextmanager
    async def opened(clock: SettableClock) -> AsyncIterator[PublicKeyRepository]:
        async with FaultTolerantRepository(_primary(clock), policy, now=clock) as repository:
            yield repository

    return opened


@asynccontextmanager
async def before_memory(clock: SettableClock) -> AsyncIterator[PublicKeyRepository]:
    """The facade before a store in memory, on the loop that production uses."""
    primary = InMemoryRepository(now=clock, entries_max=None)
    async with FaultTolerantRepository(primary, now=clock) as repository:
        yield repository


@asynccontextmanager
async def in_postgres(clock: SettableClock, dsn: str) -> AsyncIterator[PublicKeyRepository]:
    """The store of record. A crowded machine may be slow, which is not what is tested here."""
    from ftrepo.postgres import ConnectionSettings, Pool, PoolSettings, PostgresRepository

    connection = ConnectionSettings(dsn=dsn, connect_timeout_s=10.0, statement_timeout_s=10.0)
    async with Pool(connection, PoolSettings(acquire_timeout_s=10.0)) as pool:
        async with pool.connection() as session:
            await session.execute("TRUNCATE public_keys")
        yield PostgresRepository(pool, now=clock)


@asynccontextmanager
async def before_postgres(clock: SettableClock, dsn: str) -> AsyncIterator[PublicKeyRepository]:
    """The facade before the store of record."""
    patient = Policy(insert_timeout_s=10.0, select_timeout_s=10.0, delete_timeout_s=10.0)
    async with in_postgres(clock, dsn) as primary:
        assert isinstance(primary, PrimaryStore)
        async with FaultTolerantRepository(primary, patient, now=clock) as repository:
            yield repository


@asynccontextmanager
async def with_journal(clock: SettableClock) -> AsyncIterator[PublicKeyRepository]:
    """The facade with a journal on a simulated disk."""
    journal = SimulatedJournal(SimulatedDisk())
    async with FaultTolerantRepository(_primary(clock), now=clock, journal=journal) as repository:
        yield repository


def in_virtual_time(test: Coroutine[Any, Any, None]) -> None:
    """Run a test on the laboratory's loop."""

    async def main(_: VirtualTimeLoop) -> None:
        await test

    run_virtual(main)


REPOSITORIES: dict[str, RepositoryUnderTest] = {
    "memory": RepositoryUnderTest(open=in_memory, is_primary_store=True),
    "simulated primary": RepositoryUnderTest(
        open=simulated_primary, run=in_virtual_time, is_primary_store=True
    ),
    "fault-tolerant, with a journal": RepositoryUnderTest(
        open=with_journal, run=in_virtual_time, is_primary_store=False
    ),
    "fault-tolerant, before memory": RepositoryUnderTest(
        open=before_memory, is_primary_store=False
    ),
    **{
        f"fault-tolerant, {name}": RepositoryUnderTest(
            open=before_simulated_primary(policy), run=in_virtual_time, is_primary_store=False
        )
        for name, policy in named_policies().items()
    },
    "PostgreSQL": RepositoryUnderTest(
        open=in_postgres,
        is_primary_store=True,
        fixtures=("public_keys_database",),
        marks=(pytest.mark.postgres,),
    ),
    "fault-tolerant, before PostgreSQL": RepositoryUnderTest(
        open=before_postgres,
        is_primary_store=False,
        fixtures=("public_keys_database",),
        marks=(pytest.mark.postgres,),
    ),
}
