"""Transactions that end: committed, rolled back, or known to be in doubt.

The driver's own are not used, for three reasons. Its `commit` does not look at the answer, and the
server answers a COMMIT of a failed transaction with ROLLBACK and no error. Its roll-back after a
time-out waits for a hung server once more. And it does not tell a commit that failed from one whose
answer was lost.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from itertools import count
from typing import Literal, TypeVar

import asyncpg

from ftrepo.errors import AmbiguousCommitError, TransactionAbortedError
from ftrepo.events import RetryScheduled
from ftrepo.postgres.failures import FailureKind, failure_kind
from ftrepo.postgres.pool import Pool
from ftrepo.postgres.session import Session
from ftrepo.resilience.backoff import BackoffSettings
from ftrepo.resilience.retry import Retry

T = TypeVar("T")

Isolation = Literal["read committed", "repeatable read", "serializable"]

SERIALIZABLE_RETRIES = BackoffSettings(attempts_max=5, first_s=0.01, pause_max_s=0.5)
"""How often `run_serializable` tries. Another transaction was in the way, which is a matter of
milliseconds, not of a server that must recover; five attempts as for connecting."""

_IN_DOUBT = ("08007", "40003")
"""Transaction resolution unknown; statement completion unknown (PostgreSQL, appendix A)."""

_SWALLOWED = (
    "rolled back: a statement in this transaction had failed, and its error was not passed on; "
    "nothing was committed"
)

_savepoint_numbers = count(1)


@contextlib.asynccontextmanager
async def transaction(
    source: Pool | asyncpg.Connection,
    *,
    isolation: Isolation | None = None,
    read_only: bool = False,
) -> AsyncGenerator[asyncpg.Connection, None]:
    """Run the block in a transaction: committed if it ends, rolled back if it raises.

    On a connection that is in a transaction already, the block gets a savepoint of its own: if it
    raises, what it did is undone and the outer transaction can go on.

    After any exception and any cancellation the transaction is rolled back; if the server does not
    answer to that in time, or a command was abandoned half-way, the connection is dropped, which
    makes the server roll back.

    Args:
        source: a pool, which lends a connection, or a connection.
        isolation: how strictly it is kept from others; `None` is the server's default. A savepoint
            has that of its transaction.
        read_only: whether the server is to refuse every write. A savepoint may narrow this for
            the rest of its transaction, never widen it.

    Raises:
        AmbiguousCommitError: the answer to COMMIT was lost; it may or may not be committed. A
            read-only transaction, and a savepoint, raise the error of the network instead.
        TransactionAbortedError: the block swallowed the error of a statement; nothing is committed.
        Exception: whatever the block raised, or the reason for which the server refused to commit.
        asyncio.CancelledError: passed on. If it came during COMMIT, that is in doubt.
    """
    if isinstance(source, Pool):
        async with (
            source.connection() as connection,
            transaction(connection, isolation=isolation, read_only=read_only),
        ):
            yield connection
        return
    if source.is_in_transaction():
        if isolation is not None:
            raise ValueError("a savepoint has the isolation of its transaction")
        steps = _savepoint(source, read_only=read_only)
    else:
        steps = _whole(source, isolation=isolation, read_only=read_only)
    async with steps:
        yield source


async def run_serializable(
    pool: Pool,
    body: Callable[[asyncpg.Connection], Awaitable[T]],
    settings: BackoffSettings = SERIALIZABLE_RETRIES,
    *,
    read_only: bool = False,
    draw: Callable[[], float] | None = None,
    observe: Callable[[RetryScheduled], None] | None = None,
) -> T:
    """Run `body` in a serializable transaction, again if another one was in its way.

    Only serialization failures (40001) and deadlocks (40P01) are repeated: the server has undone
    everything then. A lost connection or commit is not: see `AmbiguousCommitError`.

    Args:
        pool: lends a connection for each attempt.
        body: is called with the connection, once for each attempt: what it does outside the
            database must be safe to repeat.
        settings: how often, and with what pauses.
        read_only: whether the server is to refuse every write.
        draw: random numbers in [0, 1) for the jitter, without which two that were in each other's
            way may meet again.
        observe: is told of every repetition.

    Raises:
        Exception: that of the last attempt, or the first of another kind.
    """

    async def attempt() -> T:
        async with transaction(pool, isolation="serializable", read_only=read_only) as connection:
            return await body(connection)

    # Whatever the body writes: what was undone can be done again.
    retry = Retry(
        settings,
        idempotent=True,
        operation="serializable transaction",
        when=_was_undone,
        draw=draw,
        observe=observe,
    )
    return await retry.call(attempt)


@contextlib.asynccontextmanager
async def _whole(
    connection: asyncpg.Connection, *, isolation: Isolation | None, read_only: bool
) -> AsyncGenerator[None, None]:
    begin = "BEGIN"
    if isolation is not None:
        begin += f" ISOLATION LEVEL {isolation.upper()}"
    if read_only:
        begin += " READ ONLY"
    await connection.execute(begin)
    try:
        yield
    except BaseException:
        await _undo(connection, "ROLLBACK")
        raise
    try:
        answer = await connection.execute("COMMIT")
    except Exception as error:
        if read_only or not _is_in_doubt(error):
            raise
        raise AmbiguousCommitError(
            f"the answer to COMMIT was lost ({str(error) or type(error).__name__}): "
            "the transaction may or may not have been committed"
        ) from error
    if answer != "COMMIT":
        raise TransactionAbortedError(_SWALLOWED)


@contextlib.asynccontextmanager
async def _savepoint(
    connection: asyncpg.Connection, *, read_only: bool
) -> AsyncGenerator[None, None]:
    name = f"nested_{next(_savepoint_numbers)}"
    await connection.execute(f"SAVEPOINT {name}")
    try:
        if read_only:
            await connection.execute("SET TRANSACTION READ ONLY")
        yield
        try:
            await connection.execute(f"RELEASE SAVEPOINT {name}")
        except asyncpg.InFailedSQLTransactionError as error:
            raise TransactionAbortedError(_SWALLOWED) from error
    except BaseException:
        await _undo(connection, f"ROLLBACK TO SAVEPOINT {name}; RELEASE SAVEPOINT {name}")
        raise


async def _undo(connection: asyncpg.Connection, statement: str) -> None:
    """Undo, or drop the connection if that is not certain to have worked. Raises no error.

    It is bounded by the connection's time-out for statements. A second cancellation passes through.
    """
    if connection.is_closed():
        return
    if isinstance(connection, Session) and not connection.is_at_rest():
        # A command was abandoned, so the next would first wait for the server to confirm that.
        connection.throw_away()
        return
    try:
        await connection.execute(statement)
    except BaseException as error:
        with contextlib.suppress(Exception):
            connection.terminate()
        if not isinstance(error, Exception):
            raise


def _is_in_doubt(error: Exception) -> bool:
    """Say whether a COMMIT that ended so may nevertheless have taken effect.

    After an ERROR the session goes on, and the server has rolled back. After a FATAL, such as a
    shutdown, it is gone, and may have committed before it went: for one, while it waited for a
    standby to confirm. Everything else is a lost connection or a time-out on this side.
    """
    if not isinstance(error, asyncpg.PostgresError):
        return True
    severity = getattr(error, "severity_en", None) or getattr(error, "severity", None)
    return getattr(error, "sqlstate", None) in _IN_DOUBT or severity != "ERROR"


def _was_undone(error: Exception) -> bool:
    return (
        isinstance(error, asyncpg.PostgresError)
        and failure_kind(error) is FailureKind.TRANSIENT
        and not _is_in_doubt(error)
    )
