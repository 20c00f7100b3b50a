"""A service that goes on creating and reading keys all through a disaster, and remembers them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from ftrepo.errors import FtrepoError
from ftrepo.fault_tolerant import FaultTolerantRepository
from ftrepo.interface import Durability
from ftrepo.keys import PublicKey, SigningKey
from ftrepo.policy import Policy
from ftrepo.postgres.pool import Pool
from ftrepo.postgres.settings import ConnectionSettings
from ftrepo.postgres.store import PostgresRepository

LIFETIME = timedelta(days=2)
"""So long that no key of a drill expires, and every one of them is compared."""

_LOOK_EVERY_S = 0.02
_STRIDE = 7
"""Which key is read next: neighbours were made together, so each read goes on by a few."""


class Acknowledged(NamedTuple):
    """A key that a `create` returned for."""

    key: PublicKey
    at_s: float
    durability: Durability


@dataclass(frozen=True, kw_only=True)
class LoadSettings:
    """How much is asked of the service.

    Attributes:
        creates_per_s: new keys.
        gets_per_s: reads of keys that were acknowledged.
    """

    creates_per_s: float = 20.0
    gets_per_s: float = 100.0


class DrillLoad:
    """Creates and reads keys at a fixed rate, and remembers every acknowledged one.

    Args:
        repository: the service's.
        known: keys that were there before.
        settings: the rates.

    Attributes:
        acknowledged: every key that was created, in the order of their acknowledgement.
        committed: when the service knew that the primary had a key, by id. A key that waited is
            seen up to 20 ms late.
        gets: reads that have ended; likewise `failed_gets` without the right key.
        failed_creates: keys that nobody would take.
    """

    def __init__(
        self,
        repository: FaultTolerantRepository,
        known: Sequence[PublicKey],
        settings: LoadSettings,
    ) -> None:
        self.repository = repository
        self.acknowledged: list[Acknowledged] = []
        self.committed: dict[str, datetime] = {}
        self.gets = self.failed_gets = self.failed_creates = 0
        self._readable = list(known)
        self._waiting: list[str] = []
        self._settings = settings
        self._next = itertools.count(0, _STRIDE)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Load the service for as long as the block lasts."""
        settings = self._settings
        async with asyncio.TaskGroup() as group:
            sources = [
                group.create_task(self._repeat(group, self._create, settings.creates_per_s)),
                group.create_task(self._repeat(group, self._get, settings.gets_per_s)),
                group.create_task(self._watch_flushes()),
            ]
            try:
                yield
            finally:
                for source in sources:
                    source.cancel()

    async def until_in_use(self, since_s: float) -> float:
        """Wait until a `create` is confirmed by the primary again; return when that was."""
        while True:
            for one in reversed(self.acknowledged):
                if one.at_s < since_s:
                    break
                if one.durability is Durability.PRIMARY:
                    return one.at_s
            await asyncio.sleep(_LOOK_EVERY_S)

    async def until_settled(self) -> None:
        """Wait until every answer that the server gave before it went away has been noted."""
        await asyncio.sleep(5 * _LOOK_EVERY_S)

    async def until_flushed(self) -> float:
        """Wait until nothing is pending; return when that was."""
        while True:
            if not self.repository.pending:
                return asyncio.get_running_loop().time()
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _watch_flushes(self) -> None:
        """Note when a key that had to wait waits no more."""
        while True:
            pending = self.repository.pending
            still = [key_id for key_id in self._waiting if key_id in pending]
            for key_id in set(self._waiting).difference(still):
                self.committed[key_id] = now()
            self._waiting = still
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _repeat(
        self, group: asyncio.TaskGroup, call: Callable[[], Coroutine[Any, Any, None]], rate: float
    ) -> None:
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        for number in itertools.count(1):
            group.create_task(call())
            await asyncio.sleep(start_s + number / rate - loop.time())

    async def _create(self) -> None:
        key = new_key()
        try:
            durability = await self.repository.create(key)
        except FtrepoError:
            self.failed_creates += 1
            return
        now_s = asyncio.get_running_loop().time()
        self.acknowledged.append(Acknowledged(key, now_s, durability))
        if durability is Durability.PRIMARY:
            self.committed[key.id] = now()
        else:
            self._waiting.append(key.id)
        self._readable.append(key)

    async def _get(self) -> None:
        if not self._readable:
            return
        key = self._readable[next(self._next) % len(self._readable)]
        try:
            is_right = (await self.repository.get(key.id)).same_material(key)
        except FtrepoError:
            is_right = False
        self.gets += 1
        self.failed_gets += not is_right


def new_key() -> PublicKey:
    """Make a key that every check takes for one."""
    return SigningKey.generate(created=now(), lifetime=LIFETIME).public


def now() -> datetime:
    """The calendar time, which is the server's too: it runs on this machine."""
    return datetime.now(UTC)


@asynccontextmanager
async def drill_service(
    dsn: str, *, existing: int, settings: LoadSettings
) -> AsyncIterator[DrillLoad]:
    """Run a service on a database, in which other instances have stored keys before."""
    known = [new_key() for _ in range(existing)]
    async with Pool(ConnectionSettings(dsn=dsn, statement_timeout_s=60.0)) as others:
        store = PostgresRepository(others, now=now)
        for batch in _batches(known, 1000):
            await store.create_many(batch)
    # Whatever the cache has no room for cannot be read while there is no server.
    room = Policy(cache_entries_max=max(Policy().cache_entries_max or 0, 2 * existing))
    async with (
        Pool(ConnectionSettings(dsn=dsn, application_name="drill")) as pool,
        FaultTolerantRepository(
            PostgresRepository(pool, now=now), room, now=now, observers=()
        ) as repository,
    ):
        yield DrillLoad(repository, known, settings)


def _batches(keys: Sequence[PublicKey], size: int) -> list[Sequence[PublicKey]]:
    return [keys[start : start + size] for start in range(0, len(keys), size)]
