"""Transactions: committed, rolled back, or known to be in doubt."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import asyncpg
import pytest

from ftrepo.errors import AmbiguousCommitError, PrimaryNotAskedError, TransactionAbortedError
from ftrepo.postgres.pool import Pool
from ftrepo.postgres.retries import retry_reads
from ftrepo.postgres.settings import ConnectionSettings, PoolSettings
from ftrepo.postgres.transactions import (
    Isolation,
    _is_in_doubt,
    run_serializable,
    transaction,
)
from ftrepo.resilience import DATABASE_READS, BackoffSettings
from sim.loop import VirtualTimeLoop, run_virtual
from sim.testbed.proxy import Line, Loss, Proxy

if TYPE_CHECKING:
    from sim.testbed.cluster import Cluster

T = TypeVar("T")

postgres = pytest.mark.postgres


async def story_on(
    dsn: str, story: Callable[[Pool], Awaitable[T]], statement_timeout_s: float = 10.0
) -> T:
    """Play a story on an empty table of notes."""
    connection = ConnectionSettings(
        dsn=dsn, connect_timeout_s=10.0, statement_timeout_s=statement_timeout_s
    )
    async with Pool(connection, PoolSettings(acquire_timeout_s=10.0)) as pool:
        async with pool.connection() as created:
            await created.execute("CREATE TABLE notes (text text UNIQUE DEFERRABLE)")
        result = await story(pool)
        assert pool.statistics().in_use == 0
        return result


def with_pool(dsn: str, story: Callable[[Pool], Awaitable[T]], **settings: float) -> T:
    """Play a story on a loop of its own."""
    return asyncio.run(story_on(dsn, story, **settings))


async def write(connection: asyncpg.Connection, text: str) -> None:
    """Write one note."""
    await connection.execute("INSERT INTO notes VALUES ($1)", text)


async def notes(pool: Pool) -> list[str]:
    """All notes that are committed."""
    async with pool.connection() as connection:
        return [row["text"] for row in await connection.fetch("TABLE notes ORDER BY text")]


@postgres
def test_a_block_that_ends_is_committed(database: str) -> None:
    """What it wrote is there for others afterwards, and not before."""

    async def story(pool: Pool) -> None:
        async with transaction(pool) as connection:
            await write(connection, "one")
            assert await notes(pool) == []
        assert await notes(pool) == ["one"]

    with_pool(database, story)


@postgres
@pytest.mark.parametrize("error", [ValueError, asyncpg.UndefinedTableError])
def test_a_block_that_raises_is_rolled_back(database: str, error: type[Exception]) -> None:
    """Whatever it raised comes through, and the connection can be used again."""

    async def story(pool: Pool) -> None:
        async def block() -> None:
            async with transaction(pool) as connection:
                await write(connection, "one")
                if error is ValueError:
                    raise ValueError("mine")
                await connection.execute("TABLE nothing")

        with pytest.raises(error):
            await block()
        assert await notes(pool) == []
        assert pool.statistics().opened == 1

    with_pool(database, story)


@postgres
def test_a_lent_connection_is_out_of_its_transaction_afterwards(database: str) -> None:
    """The block's end ends the transaction, not only the giving back of the connection."""

    async def story(pool: Pool) -> None:
        async def fail(connection: asyncpg.Connection) -> None:
            async with transaction(connection):
                await write(connection, "one")
                raise ValueError("mine")

        async with pool.connection() as connection:
            with pytest.raises(ValueError, match="mine"):
                await fail(connection)
            assert not connection.is_in_transaction()
            async with transaction(connection):
                await write(connection, "two")
        assert await notes(pool) == ["two"]

    with_pool(database, story)


@postgres
@pytest.mark.parametrize("where", ["in a statement", "between statements"])
def test_a_cancelled_block_is_rolled_back(database: str, where: str) -> None:
    """The cancellation comes through, and nothing that the block wrote is left, not even a lock."""

    async def story(pool: Pool) -> None:
        async def block() -> None:
            async with transaction(pool) as connection:
                await write(connection, "one")
                await (
                    connection.execute("SELECT pg_sleep(9)")
                    if where == "in a statement"
                    else asyncio.sleep(9)
                )

        task = asyncio.create_task(block())
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # The server notices a dropped connection when its statement ends, or its time is up.
        async with transaction(pool) as connection:
            await connection.execute("SET LOCAL statement_timeout = '9s'")
            await connection.execute("LOCK TABLE notes", timeout=9)
        assert await notes(pool) == []

    with_pool(database, story, statement_timeout_s=2.0)


@postgres
def test_a_nested_block_is_undone_alone(database: str) -> None:
    """An inner block that raises leaves the outer one as it was, at any depth."""

    async def story(pool: Pool) -> None:
        async def fail(connection: asyncpg.Connection) -> None:
            async with transaction(connection):
                await write(connection, "undone")
                await connection.execute("TABLE nothing")

        async with transaction(pool) as connection:
            await write(connection, "outer")
            with pytest.raises(asyncpg.UndefinedTableError):
                await fail(connection)
            async with transaction(connection):
                await write(connection, "second")
                with pytest.raises(asyncpg.UndefinedTableError):
                    await fail(connection)
        assert await notes(pool) == ["outer", "second"]

    with_pool(database, story)


@postgres
def test_a_nested_block_falls_with_its_outer_one(database: str) -> None:
    """What an inner block finished is undone if the outer one raises."""

    async def story(pool: Pool) -> None:
        async def outer() -> None:
            async with transaction(pool) as connection:
                async with transaction(connection):
                    await write(connection, "inner")
                raise ValueError("outer")

        with pytest.raises(ValueError, match="outer"):
            await outer()
        assert await notes(pool) == []

    with_pool(database, story)


@postgres
def test_a_read_only_block_cannot_write(database: str) -> None:
    """The server refuses; a nested block alone may be read-only, for its own length."""

    async def story(pool: Pool) -> None:
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            async with transaction(pool, read_only=True) as connection:
                await write(connection, "one")
        async with transaction(pool) as connection:
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                async with transaction(connection, read_only=True):
                    await write(connection, "two")
            async with transaction(connection, read_only=True):
                await connection.fetch("TABLE notes")
            await write(connection, "three")
        assert await notes(pool) == ["three"]

    with_pool(database, story)


@postgres
@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
def test_the_isolation_is_what_was_asked_for(database: str, isolation: Isolation) -> None:
    """And a nested block cannot ask for another."""

    async def story(pool: Pool) -> None:
        async with transaction(pool, isolation=isolation) as connection:
            assert await connection.fetchval("SHOW transaction_isolation") == isolation
            with pytest.raises(ValueError, match="isolation"):
                async with transaction(connection, isolation=isolation):
                    pass

    with_pool(database, story)


@postgres
@pytest.mark.parametrize("depth", [1, 2])
def test_a_swallowed_error_is_not_taken_for_success(database: str, depth: int) -> None:
    """The server answers such a COMMIT with a ROLLBACK and no error; here it is one."""

    async def story(pool: Pool) -> None:
        async def swallow(connection: asyncpg.Connection) -> None:
            await write(connection, "one")
            with pytest.raises(asyncpg.UndefinedTableError):
                await connection.execute("TABLE nothing")

        async def block() -> None:
            async with transaction(pool) as connection:
                if depth == 1:
                    await swallow(connection)
                else:
                    async with transaction(connection):
                        await swallow(connection)

        with pytest.raises(TransactionAbortedError):
            await block()
        assert await notes(pool) == []

    with_pool(database, story)


@postgres
def test_a_refused_commit_is_not_in_doubt(database: str) -> None:
    """A constraint that is checked at the end fails the commit for certain."""

    async def story(pool: Pool) -> None:
        async def block() -> None:
            async with transaction(pool) as connection:
                await connection.execute("SET CONSTRAINTS ALL DEFERRED")
                await write(connection, "one")
                await write(connection, "one")

        with pytest.raises(asyncpg.UniqueViolationError):
            await block()
        assert await notes(pool) == []

    with_pool(database, story)


@postgres
@pytest.mark.parametrize(("lost", "there"), [(Loss.REPLY, ["one"]), (Loss.REQUEST, [])])
def test_a_commit_whose_answer_is_lost_is_in_doubt(
    cluster: Cluster, database: str, lost: Loss, there: list[str]
) -> None:
    """The same error whether it took effect or not: nobody on this side can know."""

    async def main() -> None:
        async with Proxy(cluster.host, cluster.port) as proxy:

            async def story(pool: Pool) -> None:
                def loses(piece: bytes) -> Loss:
                    return lost if b"COMMIT" in piece else Loss.NONE

                proxy.change(Line(loses=loses))
                with pytest.raises(AmbiguousCommitError, match="may or may not"):
                    async with transaction(pool) as connection:
                        await write(connection, "one")
                proxy.change(Line())
                assert await notes(pool) == there

            await story_on(proxy.dsn(database), story)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("code", "severity", "in_doubt"),
    [
        ("23505", "ERROR", False),
        ("40001", "ERROR", False),
        ("57014", "ERROR", False),
        ("57P01", "FATAL", True),
        ("57P02", "FATAL", True),
        ("58030", "PANIC", True),
        ("40003", "ERROR", True),
        ("08007", "ERROR", True),
        ("XX000", None, True),
    ],
)
def test_only_an_error_that_leaves_the_session_is_certain(
    code: str, severity: str | None, in_doubt: bool
) -> None:
    """A server that dies over a COMMIT may have committed; one that goes on has not."""
    fields = {"C": code, "M": "", **({"S": "ERREUR", "V": severity} if severity else {})}
    assert _is_in_doubt(asyncpg.PostgresError.new(fields)) is in_doubt
    assert _is_in_doubt(TimeoutError())


@postgres
def test_a_lost_read_is_not_in_doubt(cluster: Cluster, database: str) -> None:
    """A read-only transaction has nothing to commit, so its lost COMMIT is a lost connection."""

    async def main() -> None:
        async with Proxy(cluster.host, cluster.port) as proxy:

            async def story(pool: Pool) -> None:
                proxy.change(
                    Line(loses=lambda sent: Loss.REPLY if b"COMMIT" in sent else Loss.NONE)
                )
                with pytest.raises((OSError, asyncpg.PostgresConnectionError)):
                    async with transaction(pool, read_only=True) as connection:
                        await connection.fetch("TABLE notes")

            await story_on(proxy.dsn(database), story)

    asyncio.run(main())


@postgres
@pytest.mark.parametrize("step", ["statement", "commit", "roll-back"])
def test_no_step_waits_for_a_frozen_server(
    own_cluster: Cluster, step: Literal["statement", "commit", "roll-back"]
) -> None:
    """Each ends with one time-out, not with two: after an abandoned command nothing is awaited."""

    async def story(pool: Pool) -> None:
        loop = asyncio.get_running_loop()
        started_s = 0.0

        async def block() -> None:
            nonlocal started_s
            async with transaction(pool) as connection:
                await write(connection, "one")
                own_cluster.freeze()
                started_s = loop.time()
                if step == "statement":
                    await write(connection, "two")
                if step == "roll-back":
                    raise ValueError("mine")

        raised = {
            "statement": TimeoutError,
            "commit": AmbiguousCommitError,
            "roll-back": ValueError,
        }[step]
        with pytest.raises(raised):
            await block()
        took_s = loop.time() - started_s
        own_cluster.thaw()
        assert took_s < 0.4 + 0.3
        assert pool.statistics().terminated == 1

    with_pool(own_cluster.dsn(), story, statement_timeout_s=0.4)


@postgres
def test_a_serializable_body_is_run_again_until_it_fits(database: str) -> None:
    """Ten that count at once end with ten: each saw what the others had committed."""

    async def story(pool: Pool) -> int:
        repeated = 0

        def count_repeats(*_: Any) -> None:
            nonlocal repeated
            repeated += 1

        async def body(connection: asyncpg.Connection) -> None:
            number = await connection.fetchval("SELECT count(*) FROM notes")
            await asyncio.sleep(0.01)
            await write(connection, f"{number:02}")

        settings = BackoffSettings(attempts_max=50, first_s=0.005, pause_max_s=0.1)
        draws = iter(range(10_000))
        await asyncio.gather(
            *[
                run_serializable(
                    pool,
                    body,
                    settings,
                    draw=lambda: next(draws) % 7 / 7,
                    observe=count_repeats,
                )
                for _ in range(10)
            ]
        )
        assert await notes(pool) == [f"{number:02}" for number in range(10)]
        return repeated

    assert with_pool(database, story) > 0


@postgres
def test_a_serializable_body_is_not_run_again_for_other_reasons(database: str) -> None:
    """A conflict of data is raised at the first attempt, and five is the most for the others."""

    async def story(pool: Pool) -> None:
        runs = 0

        async def body(connection: asyncpg.Connection, code: str) -> None:
            nonlocal runs
            runs += 1
            statement = f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END $$"
            await connection.execute(statement)

        for code, expected in (("23505", 1), ("40001", 5), ("40P01", 5), ("57014", 1)):
            runs = 0
            with pytest.raises(asyncpg.PostgresError):
                await run_serializable(pool, lambda connection, code=code: body(connection, code))  # type: ignore[misc]
            assert runs == expected, code

    with_pool(database, story)


def test_reads_are_tried_three_times() -> None:
    """With pauses of 1 s and 2 s; a validation error, an open breaker and a conflict, never."""

    async def main(loop: VirtualTimeLoop) -> list[tuple[int, float]]:
        found = []
        for error in (
            ConnectionRefusedError(),
            asyncpg.DeadlockDetectedError("40P01"),
            ValueError("validation"),
            PermissionDeniedByBusinessError(),
            asyncpg.InsufficientPrivilegeError("42501"),
            asyncpg.UniqueViolationError("23505"),
            PrimaryNotAskedError("open", retry_after_s=1),
        ):
            attempts, started_s = 0, loop.time()

            @retry_reads()
            async def read(argument: int, error: Exception = error) -> None:
                nonlocal attempts
                attempts += argument
                raise error

            with pytest.raises(type(error)):
                await read(1)
            found.append((attempts, loop.time() - started_s))
        return found

    assert run_virtual(main) == [(3, 3.0), (3, 3.0), (1, 0), (1, 0), (1, 0), (1, 0), (1, 0)]
    assert DATABASE_READS.pause_max_s == 10.0


class PermissionDeniedByBusinessError(Exception):
    """An error of somebody else's, unknown here."""
