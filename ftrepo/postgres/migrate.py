"""Versions of the database, up and down: run once, however many instances start at the same moment.

Whoever migrates holds an advisory lock of the database; the others wait for it and then find
nothing left to do. They ask for the lock again and again instead of waiting in it, because a
statement that waits holds a snapshot, for which `CREATE INDEX CONCURRENTLY` would wait in turn.
"""

from __future__ import annotations

import asyncio
import io
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from ftrepo.errors import FtrepoError

_log = logging.getLogger("ftrepo")

BASE = "base"
"""The version before the first: a database that has nothing of ours."""

LOCK_TIMEOUT_S = 60.0
"""For how long `upgrade` and `downgrade` wait for somebody else who migrates."""

CONNECT_TIMEOUT_S = 5.0
"""For how long a migration waits for a connection. Nobody's request waits for it."""

TABLE_LOCK_TIMEOUT_S = 5.0
"""For how long one statement waits for a table. While it waits, everybody who comes later waits
behind it; so it gives up, and the version can be tried again at a quieter time."""

_VERSION_TABLE = "ftrepo_version"
_LOCK_KEY = int.from_bytes(b"ftrepo", "big")
_LOCK_ASKED_EVERY_S = 0.1
_ALEMBIC = threading.Lock()

_LOCK_HOLDER = """
    SELECT format('process %s (%s, from %s, since %s)', activity.pid,
        coalesce(nullif(activity.application_name, ''), 'without a name'),
        coalesce(host(activity.client_addr), 'this machine'),
        to_char(activity.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'))
    FROM pg_locks JOIN pg_stat_activity AS activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND (classid::bigint << 32) + objid::bigint = $1
"""


class MigrationError(FtrepoError):
    """A migration could not be run. The database is at the version that it had reached before."""


class DataLossError(MigrationError):
    """Going back would delete a table, and nobody has said that this is meant."""


@dataclass(frozen=True, kw_only=True)
class Status:
    """Where a database is.

    Attributes:
        current: its version; `None` if it has none of ours.
        head: the newest version that this package knows.
        waiting: the versions from the one to the other, oldest first.
        running: who is migrating it now; `None` if nobody is.
    """

    current: str | None
    head: str
    waiting: tuple[str, ...]
    running: str | None


async def upgrade(
    dsn: str, revision: str = "head", *, lock_timeout_s: float = LOCK_TIMEOUT_S
) -> tuple[str, ...]:
    """Bring a database up to a version, and return the versions that this call added.

    A database that is there already, or beyond it, is left as it is.

    Args:
        dsn: where the database is, as libpq reads it.
        revision: a version, or "head" for the newest.
        lock_timeout_s: for how long to wait for another migration to end.

    Raises:
        MigrationError: the database cannot be reached, somebody else migrates it for too long, it
            has a version that is unknown here, or a version failed.
    """
    target = _known(revision)
    async with _locked(dsn, lock_timeout_s) as connection:
        todo = _between(await _current(connection), target)
        if todo:
            await _run(connection, command.upgrade, target)
            _log.info("the database was upgraded to version %s", target)
        return todo


async def downgrade(
    dsn: str, target: str, *, destroy: bool = False, lock_timeout_s: float = LOCK_TIMEOUT_S
) -> tuple[str, ...]:
    """Take a database back, and return the versions that this call removed, newest first.

    Args:
        dsn: where the database is, as libpq reads it.
        target: how many versions to go back ("1"), the version to go back to ("0001"), or "base".
        destroy: whether a table may be deleted, with every key in it.
        lock_timeout_s: for how long to wait for another migration to end.

    Raises:
        DataLossError: a table would be deleted and `destroy` is false; nothing was changed.
        MigrationError: as of `upgrade`.
    """
    async with _locked(dsn, lock_timeout_s) as connection:
        current = await _current(connection)
        goal = _steps_back(current, target) if _is_count(target) else _known(target)
        undone = _between(goal, current or BASE)[::-1]
        if not destroy:
            await _refuse_loss(connection, undone)
        if undone:
            await _run(connection, command.downgrade, goal)
            _log.info("the database was taken back to version %s", goal)
        return undone


async def status(dsn: str) -> Status:
    """Return which version a database has. Raises `MigrationError` if it cannot be asked."""
    async with _connected(dsn) as connection:
        current = await _current(connection)
        running = await connection.fetchval(_LOCK_HOLDER, _LOCK_KEY)
    head = _chain()[-1]
    return Status(current=current, head=head, waiting=_between(current, head), running=running)


async def upgrade_sql(dsn: str | None, revision: str = "head") -> str:
    """Return the SQL that `upgrade` would run, and run nothing.

    Args:
        dsn: the database whose version it starts from; `None` to start from nothing.
        revision: a version, or "head" for the newest.
    """
    target, current = _known(revision), None
    if dsn is not None:
        async with _connected(dsn) as connection:
            current = await _current(connection)
    if not _between(current, target):
        return ""
    text = io.StringIO()
    config = _config()
    config.output_buffer = text
    command.upgrade(config, f"{current or BASE}:{target}", sql=True)
    return text.getvalue()


def _config() -> Config:
    config = Config()
    folder = str(Path(__file__).parent / "migrations")
    # The option is read by a parser that gives "%" a meaning.
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["version_table"] = _VERSION_TABLE
    return config


def _scripts() -> list[Script]:
    """Return every version, oldest first. They are a chain: each has one before it."""
    return list(ScriptDirectory.from_config(_config()).walk_revisions())[::-1]


def _chain() -> list[str]:
    return [BASE, *(script.revision for script in _scripts())]


def _known(revision: str) -> str:
    chain = _chain()
    if revision == "head":
        return chain[-1]
    if revision not in chain:
        raise MigrationError(
            f"there is no version {revision!r}; the versions are {', '.join(chain)}"
        )
    return revision


def _between(lower: str | None, upper: str) -> tuple[str, ...]:
    """Return the versions after `lower` up to `upper`, none if it is not below."""
    chain = _chain()
    return tuple(chain[chain.index(lower or BASE) + 1 : chain.index(upper) + 1])


def _is_count(target: str) -> bool:
    return target.isdecimal() and not target.startswith("0")


def _steps_back(current: str | None, steps: str) -> str:
    chain = _chain()
    at = chain.index(current or BASE)
    if int(steps) > at:
        raise MigrationError(f"cannot go back {steps} versions: the database has {at} of them")
    return chain[at - int(steps)]


async def _refuse_loss(connection: asyncpg.Connection, undone: tuple[str, ...]) -> None:
    for script in _scripts():
        table = getattr(script.module, "destroys", None)
        if table is not None and script.revision in undone:
            rows = await connection.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608
            raise DataLossError(
                f"going back before version {script.revision} deletes the table {table} and the "
                f"{rows} rows in it; nothing was changed. Make a backup, and say --yes"
            )


async def _current(connection: asyncpg.Connection) -> str | None:
    if await connection.fetchval("SELECT to_regclass($1)", _VERSION_TABLE) is None:
        return None
    current: str | None = await connection.fetchval(
        f"SELECT version_num FROM {_VERSION_TABLE}"  # noqa: S608
    )
    chain = _chain()
    if current is not None and current not in chain:
        raise MigrationError(
            f"the database has version {current!r}, which is unknown here (the newest known is "
            f"{chain[-1]}): a newer release has migrated it. Run that release"
        )
    return current


async def _run(connection: asyncpg.Connection, run: Callable[..., None], revision: str) -> None:
    async def the_one_that_holds_the_lock() -> Any:
        return connection

    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=the_one_that_holds_the_lock, poolclass=NullPool
    )
    config = _config()

    def run_versions(synchronous: Any) -> None:
        config.attributes["connection"] = synchronous
        run(config, revision)

    async with engine.connect() as wrapped, _alone():
        await wrapped.run_sync(run_versions)


@asynccontextmanager
async def _alone() -> AsyncIterator[None]:
    """Alembic in this process for oneself: which database it works on is a global of its modules.

    Asked for again and again, since two event loops of two threads share it too.
    """
    while not _ALEMBIC.acquire(blocking=False):  # noqa: ASYNC110 - an event has one loop only
        await asyncio.sleep(_LOCK_ASKED_EVERY_S)
    try:
        yield
    finally:
        _ALEMBIC.release()


@asynccontextmanager
async def _locked(dsn: str, timeout_s: float) -> AsyncIterator[asyncpg.Connection]:
    """A connection that holds the lock on migrations; closing it is what gives the lock back."""
    async with _connected(dsn) as connection:
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        said = False
        while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK_KEY):
            holder = await connection.fetchval(_LOCK_HOLDER, _LOCK_KEY) or "somebody"
            if not said:
                _log.info("waiting up to %s s: %s is migrating the database", timeout_s, holder)
                said = True
            if loop.time() >= deadline_s:
                raise MigrationError(
                    f"gave up after {timeout_s:g} s: {holder} is still migrating the database. "
                    "Nothing was changed; try again when it has ended"
                )
            await asyncio.sleep(_LOCK_ASKED_EVERY_S)
        yield connection


@asynccontextmanager
async def _connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of its own, whose failures and those of Alembic are `MigrationError`s."""
    connection: asyncpg.Connection | None = None
    try:
        connection = await asyncpg.connect(
            dsn,
            timeout=CONNECT_TIMEOUT_S,
            server_settings={
                "application_name": "ftrepo migrate",
                "lock_timeout": f"{TABLE_LOCK_TIMEOUT_S:g}s",
                "statement_timeout": "0",
            },
        )
        yield connection
    except (CommandError, SQLAlchemyError, asyncpg.PostgresError) as error:
        what = "the migration failed" if connection else "the database refuses the connection"
        reason = getattr(error, "orig", None) or error
        raise MigrationError(f"{what}: {_first_line(reason)}") from error
    except (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise MigrationError(f"the database cannot be reached: {_first_line(error)}") from error
    finally:
        if connection is not None:
            connection.terminate()


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
