"""Public keys in PostgreSQL: the store of record.

A write is one statement that inserts what is lacking and touches nothing else. Only if that did not
insert every key is there a second one, which looks at who holds the ids. Being a statement of its
own, it also sees what others committed while the first one waited for them, which the first does
not: under READ COMMITTED a statement sees the rows as they were when it began.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg

from ftrepo.errors import (
    FtrepoError,
    KeyConflictError,
    KeyExpiredError,
    KeyNotFoundError,
    PrimaryRejectedError,
    PrimaryUnavailableError,
)
from ftrepo.interface import Clock, Durability
from ftrepo.keys import Algorithm, PublicKey, is_key_id
from ftrepo.postgres.announcements import announced_ids
from ftrepo.postgres.failures import FailureKind, failure_kind
from ftrepo.postgres.statements import (
    DELETE_EXPIRED,
    INSERT,
    INSERT_MANY,
    LOOK_AT_HOLDERS,
    SELECT,
    SELECT_MANY,
    SELECT_PAGE,
    WRITE_NOTHING,
)
from ftrepo.redact import describe

if TYPE_CHECKING:
    from datetime import datetime

    from ftrepo.postgres.pool import Pool

_log = logging.getLogger("ftrepo")

DELETED_BATCH_MAX = 1000
"""The most rows that one transaction of `delete_expired` locks: some ten milliseconds long."""

DELETING_S_MAX = 0.25
"""After which time `delete_expired` begins no further batch: half of `Policy.delete_timeout_s`.
What is left is deleted the next time; it is visible to nobody meanwhile."""

ROUNDS_MAX = 5
"""How often a write tries again because the ids that it found free were taken in the same moment.
One round more is rare; each takes a rival that also vanishes again."""


class PostgresRepository:
    """A `PrimaryStore` and `ChangeFeed` on the table `public_keys` (see `ftrepo.postgres.migrate`).

    It neither retries nor falls back: that is what `FaultTolerantRepository` is for. Time comes
    from `now` alone; the server's clock decides nothing.

    Every method that asks the server raises `PrimaryUnavailableError` if that fails, with the
    driver's error as its cause; and `PrimaryRejectedError` if the server refuses the data.

    Args:
        pool: lends the connections; whoever made it closes it.
        now: the calendar time, with a time zone.
    """

    cancels_at_once = True
    """The pool drops a connection whose command was abandoned, and does not wait for the server."""

    def __init__(self, pool: Pool, *, now: Clock) -> None:
        self.pool = pool
        self._now = now

    async def create(self, key: PublicKey) -> Durability:
        """Store a key; see `PublicKeyRepository.create`. An expired key's id is free."""
        now = self._now()
        if key.has_expired(now):
            raise KeyExpiredError(f"key {key.id!r} expired at {key.expires}; nothing was stored")
        async with self._asked("create") as connection:
            row = (key.id, key.material, key.algorithm.value, key.created, key.expires)
            tag = await connection.execute(INSERT, *row)
            conflicts = () if _count(tag) else await _settle(connection, [key], now)
        if conflicts:
            raise KeyConflictError(f"id {key.id!r} is bound to other key material, which is kept")
        return Durability.PRIMARY

    async def create_many(self, keys: Sequence[PublicKey]) -> Collection[str]:
        """Store a batch in one statement; see `PrimaryStore.create_many`.

        A second statement follows only if an id was taken already. Of two keys of the batch with
        one id, the first is stored, and if the other is not the same, the id is returned.
        """
        batch: dict[str, PublicKey] = {}
        conflicts = {k.id for k in keys if not batch.setdefault(k.id, k).same_material(k)}
        if batch:
            # In one order for everybody, so that two batches wait for each other one way only.
            ordered = [batch[key_id] for key_id in sorted(batch)]
            async with self._asked("create_many") as connection:
                if not await _insert_all(connection, ordered):
                    conflicts |= await _settle(connection, ordered, self._now())
        return conflicts

    async def get(self, key_id: str) -> PublicKey:
        """Return an unexpired key; see `PublicKeyRepository.get`."""
        if not is_key_id(key_id):
            raise KeyNotFoundError("no key has this id: it is malformed")
        async with self._asked("get") as connection:
            rows = await connection.fetch(SELECT, key_id, self._now())
        for key in _valid(rows):
            return key
        raise KeyNotFoundError(f"the primary has no unexpired key {key_id!r}")

    async def list_valid(self, *, after: str | None, limit: int) -> Sequence[PublicKey]:
        """Return one page; see `PrimaryStore.list_valid`.

        A row that is not a valid key takes no place in it: somebody has edited the table, or a
        newer release has written an algorithm that this one does not know. It is logged.

        Raises:
            ValueError: `limit` is below 1.
        """
        if limit < 1:
            raise ValueError(f"limit = {limit} is not possible; allowed: 1 or more")
        page: list[PublicKey] = []
        last, now = after or "", self._now()
        async with self._asked("list_valid") as connection:
            while len(page) < limit:
                wanted = limit - len(page)
                rows = await connection.fetch(SELECT_PAGE, last, now, wanted)
                page += _valid(rows)
                if len(rows) < wanted:
                    break
                last = rows[-1]["id"]
        return page

    async def delete_expired(self) -> int:
        """Delete expired keys, batch by batch; see `PublicKeyRepository.delete_expired`.

        Rows that another instance is deleting are left to it. After `DELETING_S_MAX` the rest is
        left to the next call.
        """
        clock, now, deleted = asyncio.get_running_loop().time, self._now(), 0
        until_s = clock() + DELETING_S_MAX
        while True:
            async with self._asked("delete_expired") as connection:
                tag = await connection.execute(DELETE_EXPIRED, now, DELETED_BATCH_MAX)
            deleted += _count(tag)
            if _count(tag) < DELETED_BATCH_MAX or clock() >= until_s:
                return deleted

    async def ping(self) -> None:
        """Return if a write would be accepted now; one round trip, and nothing is written.

        It cannot see that the disk is full.
        """
        async with self._asked("ping") as connection:
            await connection.execute(WRITE_NOTHING)

    async def changes(self) -> AsyncGenerator[Sequence[PublicKey] | None, None]:
        """Yield keys as they are stored; see `ChangeFeed.changes`.

        Those that came through this pool are left out: whoever created or flushed them knows them.
        """
        announced = announced_ids(self.pool.connection_settings, is_own=self.pool.has_backend)
        try:
            async with aclosing(announced):
                async for ids in announced:
                    yield None if ids is None else await self._get_many(ids)
        except _DRIVER_ERRORS as error:
            raise _told(error, "changes") from error

    async def _get_many(self, key_ids: Sequence[str]) -> Sequence[PublicKey]:
        async with self._asked("changes") as connection:
            return _valid(await connection.fetch(SELECT_MANY, key_ids, self._now()))

    @asynccontextmanager
    async def _asked(self, operation: str) -> AsyncGenerator[asyncpg.Connection, None]:
        """A connection whose failures are told in the words of `ftrepo`."""
        try:
            async with self.pool.connection() as connection:
                yield connection
        except FtrepoError:
            raise  # The pool's own, in our words already.
        except _DRIVER_ERRORS as error:
            raise _told(error, operation) from error


_DRIVER_ERRORS = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


async def _insert_all(connection: asyncpg.Connection, keys: Sequence[PublicKey]) -> bool:
    """Insert those keys whose ids are free. Says whether that was all of them."""
    tag = await connection.execute(
        INSERT_MANY,
        [key.id for key in keys],
        [key.material for key in keys],
        [key.algorithm.value for key in keys],
        [key.created for key in keys],
        [key.expires for key in keys],
    )
    return _count(tag) == len(keys)


async def _settle(
    connection: asyncpg.Connection, keys: Sequence[PublicKey], now: datetime
) -> set[str]:
    """Find out about keys that were not all inserted; insert those whose ids have become free.

    Returns:
        The ids that are bound to other material.

    Raises:
        PrimaryUnavailableError: the ids were taken and freed again all the time.
    """
    conflicts: set[str] = set()
    for _ in range(ROUNDS_MAX):
        differing = await connection.fetch(
            LOOK_AT_HOLDERS,
            [key.id for key in keys],
            [key.material for key in keys],
            [key.algorithm.value for key in keys],
            now,
        )
        conflicts |= {row["id"] for row in differing if not row["is_free"]}
        free = {row["id"] for row in differing if row["is_free"]}
        keys = [key for key in keys if key.id in free]
        if not keys or await _insert_all(connection, keys):
            return conflicts
    raise PrimaryUnavailableError(
        f"the ids of {len(keys)} keys, {keys[0].id!r} for one, were taken and freed again "
        f"{ROUNDS_MAX} times; whether they are stored is unknown"
    )


def _count(tag: str) -> int:
    """Return the number of rows from what the server says of a command: "INSERT 0 25"."""
    return int(tag.rpartition(" ")[2])


def _valid(rows: Sequence[asyncpg.Record]) -> list[PublicKey]:
    """Return the keys that rows hold. A row that holds none is passed over, and logged."""
    keys, invalid = [], []
    for row in rows:
        try:
            key_id, material, algorithm, created, expires = row
            keys.append(PublicKey(key_id, material, Algorithm(algorithm), created, expires))
        except ValueError as error:
            invalid.append((row["id"], error))
    if invalid:
        key_id, reason = invalid[0]
        _log.error(
            "%d rows of public_keys are not valid keys and are passed over, %.200r first: %s",
            len(invalid),
            key_id,
            describe(reason),
        )
    return keys


def _told(error: Exception, operation: str) -> PrimaryUnavailableError:
    """Return the error that a caller gets. Only the first line: the others may quote the row."""
    said = str(error).partition("\n")[0] or type(error).__name__
    code = getattr(error, "sqlstate", None) or ""
    kind = failure_kind(error)
    if kind is FailureKind.CONFLICT or code.startswith("22"):
        return PrimaryRejectedError(f"{operation}: the primary refuses it: {said}")
    if isinstance(error, asyncpg.UndefinedTableError):
        said += "; bring the database up to date with `python -m ftrepo db upgrade`"
    return PrimaryUnavailableError(f"{operation}: {said}")
