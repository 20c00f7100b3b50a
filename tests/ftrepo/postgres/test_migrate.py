"""The versions of the database, up and down, and the commands that run them."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import asyncpg
import pytest

from ftrepo.__main__ import main
from ftrepo.postgres import migrate
from sim.testbed.cluster import Cluster
from tests.ftrepo.postgres.stores import connected, open_store
from tests.laboratory import make_key

pytestmark = pytest.mark.postgres

T = TypeVar("T")

INSTANCES = 10


def ask(dsn: str, story: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
    """Run a story with a connection of its own."""

    async def run() -> T:
        async with connected(dsn) as connection:
            return await story(connection)

    return asyncio.run(run())


def schema(dsn: str) -> set[tuple[str, ...]]:
    """Whatever a database has of ours: columns, indexes, constraints, functions, triggers."""
    parts = """
        SELECT 'column', table_name, column_name, data_type, coalesce(collation_name, '')
        FROM information_schema.columns WHERE table_schema = 'public'
        UNION SELECT 'index', tablename, indexname, indexdef, '' FROM pg_indexes
        WHERE schemaname = 'public'
        UNION SELECT 'constraint', conname, pg_get_constraintdef(oid), '', '' FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace
        UNION SELECT 'function', proname, prosrc, '', '' FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace
        UNION SELECT 'trigger', tgname, pg_get_triggerdef(oid), '', '' FROM pg_trigger
        WHERE NOT tgisinternal
    """
    return {tuple(map(str, row)) for row in ask(dsn, lambda each: each.fetch(parts))}


def test_every_version_goes_up_and_down_again(database: str) -> None:
    """Step by step down and up, each version leaves exactly what it found."""
    seen = [schema(database)]
    for revision in ("0001", "0002"):
        assert asyncio.run(migrate.upgrade(database, revision)) == (revision,)
        seen.append(schema(database))
    for revision in ("0002", "0001"):
        assert asyncio.run(migrate.downgrade(database, "1", destroy=True)) == (revision,)
        seen.pop()
        # The table that remembers the version stays, empty.
        assert {part for part in schema(database) if "ftrepo_version" not in str(part)} == {
            part for part in seen[-1] if "ftrepo_version" not in str(part)
        }
    assert asyncio.run(migrate.upgrade(database)) == ("0001", "0002")
    assert asyncio.run(migrate.upgrade(database)) == ()


def test_the_status_tells_where_a_database_is(database: str) -> None:
    """It names the version, the newest one, and what lies between."""
    empty = migrate.Status(current=None, head="0002", waiting=("0001", "0002"), running=None)
    assert asyncio.run(migrate.status(database)) == empty
    asyncio.run(migrate.upgrade(database, "0001"))
    half = migrate.Status(current="0001", head="0002", waiting=("0002",), running=None)
    assert asyncio.run(migrate.status(database)) == half


def test_ten_instances_that_start_at_once_migrate_once(database: str) -> None:
    """Of ten processes started together one runs the versions, and all of them succeed."""
    command = [sys.executable, "-m", "ftrepo", "db", "upgrade", "--dsn", database]
    root = Path(__file__).parents[3]
    running = [
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=root
        )
        for _ in range(INSTANCES)
    ]
    said = [process.communicate(timeout=120)[0].strip() for process in running]
    assert [process.returncode for process in running] == [0] * INSTANCES, said
    assert sorted(said) == ["nothing to do"] * (INSTANCES - 1) + ["upgraded to 0002: 0001, 0002"]
    assert asyncio.run(migrate.status(database)).waiting == ()


def test_two_databases_can_be_migrated_at_once_by_one_process(cluster: Cluster) -> None:
    """Alembic keeps the one it works on in a global; neither gets the other's tables."""
    dsns = [cluster.create_database() for _ in range(2)]

    async def both() -> list[tuple[str, ...]]:
        return await asyncio.gather(*(migrate.upgrade(dsn) for dsn in dsns))

    assert asyncio.run(both()) == [("0001", "0002")] * 2
    assert schema(dsns[0]) == schema(dsns[1])
    for dsn in dsns:
        cluster.drop_database(dsn)


def test_who_waits_too_long_is_told_for_whom(database: str) -> None:
    """The error names the process that holds the lock, and the lock does not outlive it."""

    async def story() -> None:
        async with migrate._locked(database, 5.0) as holder:
            pid = await holder.fetchval("SELECT pg_backend_pid()")
            with pytest.raises(migrate.MigrationError, match=f"process {pid} .ftrepo migrate,"):
                await migrate.upgrade(database, lock_timeout_s=0.2)
            assert f"process {pid} " in str((await migrate.status(database)).running)
        assert len(await migrate.upgrade(database, lock_timeout_s=5.0)) == 2

    asyncio.run(story())


def test_whoever_waits_holds_no_snapshot(database: str) -> None:
    """An index can be built concurrently while somebody waits for the lock on migrations."""

    async def story() -> None:
        async with migrate._locked(database, 5.0) as holder:
            waiting = asyncio.create_task(migrate.upgrade(database, lock_timeout_s=30.0))
            await asyncio.sleep(0.3)
            await holder.execute("CREATE TABLE large (id integer)")
            building = "CREATE INDEX CONCURRENTLY large_id ON large (id)"
            await asyncio.wait_for(holder.execute(building), 20.0)
        assert len(await waiting) == 2

    asyncio.run(story())


def test_a_version_that_fails_leaves_the_one_before(database: str) -> None:
    """Each version is a transaction: a failing second one leaves exactly the first."""

    async def occupy(connection: asyncpg.Connection) -> None:
        await connection.execute(
            "CREATE FUNCTION announce_public_keys() RETURNS integer LANGUAGE sql AS 'SELECT 1'"
        )

    ask(database, occupy)
    with pytest.raises(migrate.MigrationError, match="already exists"):
        asyncio.run(migrate.upgrade(database))
    assert asyncio.run(migrate.status(database)).current == "0001"
    ask(database, lambda each: each.execute("DROP FUNCTION announce_public_keys()"))
    assert asyncio.run(migrate.upgrade(database)) == ("0002",)


def test_a_locked_table_stops_a_version_soon(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version gives up on a table in use, instead of making everybody wait behind it."""
    monkeypatch.setattr(migrate, "TABLE_LOCK_TIMEOUT_S", 0.1)

    async def story() -> None:
        await migrate.upgrade(database, "0001")
        async with connected(database) as other, other.transaction():
            await other.execute("LOCK TABLE public_keys IN ROW EXCLUSIVE MODE")
            with pytest.raises(migrate.MigrationError, match="lock timeout"):
                await asyncio.wait_for(migrate.upgrade(database), 10.0)
        assert await migrate.upgrade(database) == ("0002",)

    asyncio.run(story())


def test_going_back_keeps_keys_unless_told_otherwise(database: str) -> None:
    """A way back that would delete keys says how many, and changes nothing without leave."""

    async def story() -> None:
        await migrate.upgrade(database)
        async with open_store(database) as store:
            await store.create_many([make_key("a"), make_key("b")])
            assert await migrate.downgrade(database, "1") == ("0002",)
            await store.create(make_key("c"))
            for target in ("base", "1"):
                with pytest.raises(migrate.DataLossError, match="3 rows"):
                    await migrate.downgrade(database, target)
            assert len(await store.list_valid(after=None, limit=9)) == 3
        assert await migrate.downgrade(database, "base", destroy=True) == ("0001",)

    asyncio.run(story())


def test_a_database_of_a_newer_release(database: str) -> None:
    """A version that is unknown here is not touched, and the error says who knows it."""
    asyncio.run(migrate.upgrade(database))
    ask(database, lambda each: each.execute("UPDATE ftrepo_version SET version_num = '0099'"))
    for call in (migrate.upgrade(database), migrate.downgrade(database, "1")):
        with pytest.raises(migrate.MigrationError, match="'0099'.*newer release"):
            asyncio.run(call)


def test_another_application_s_versions_are_left_alone(database: str) -> None:
    """A database that another program migrates with Alembic keeps that program's version."""

    async def story(connection: asyncpg.Connection) -> str:
        await connection.execute("CREATE TABLE alembic_version (version_num text)")
        await connection.execute("INSERT INTO alembic_version VALUES ('theirs')")
        await migrate.upgrade(database)
        version: str = await connection.fetchval("SELECT version_num FROM alembic_version")
        return version

    assert ask(database, story) == "theirs"


class TestCommandLine:
    def test_the_dry_run_is_what_an_upgrade_does(
        self, database: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """`upgrade --sql` prints text that a server accepts and that makes the same database."""
        asyncio.run(migrate.upgrade(database, "0001"))
        before = schema(database)
        assert main(["db", "upgrade", "--sql", "--dsn", database]) == 0
        text = capsys.readouterr().out
        assert "CREATE TABLE public_keys" not in text
        assert schema(database) == before
        ask(database, lambda each: each.execute(text))
        by_text = schema(database)
        assert main(["db", "status", "--dsn", database]) == 0
        assert re.search(r"to do +nothing", capsys.readouterr().out)
        asyncio.run(migrate.downgrade(database, "base", destroy=True))
        asyncio.run(migrate.upgrade(database))
        assert schema(database) == by_text

    def test_up_and_down(self, database: str, capsys: pytest.CaptureFixture[str]) -> None:
        """Each command says what it did; what would delete keys needs `--yes`."""
        here = ["--dsn", database]
        assert main(["db", "upgrade", *here]) == 0
        assert main(["db", "upgrade", *here]) == 0
        assert main(["db", "downgrade", "1", *here]) == 0
        assert main(["db", "downgrade", "0001", *here]) == 0
        assert main(["db", "downgrade", "base", *here]) == 2
        assert main(["db", "downgrade", "base", "--yes", *here]) == 0
        said = capsys.readouterr()
        assert said.out.splitlines() == [
            "upgraded to 0002: 0001, 0002",
            "nothing to do",
            "took back 0002",
            "nothing to do",
            "took back 0001",
        ]
        assert "--yes" in said.err
        assert len(said.err.splitlines()) == 1

    @pytest.mark.parametrize(
        ("arguments", "complaint"),
        [
            (["upgrade"], "--dsn, or FTREPO_DSN"),
            (["upgrade", "--dsn", "postgresql://me:secret@127.0.0.1:1/x"], "cannot be reached"),
            (["status", "--dsn", "nonsense"], "cannot be reached: invalid DSN"),
            (["upgrade", "0007", "--sql"], "there is no version '0007'"),
        ],
    )
    def test_a_mistake_is_one_line(
        self,
        arguments: list[str],
        complaint: str,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """Whatever is wrong ends in one line and exit code 2, and shows no password."""
        monkeypatch.delenv("FTREPO_DSN", raising=False)
        assert main(["db", *arguments]) == 2
        said = capsys.readouterr().err
        assert complaint in said
        assert "secret" not in said
        assert len(said.splitlines()) == 1

    def test_help_has_examples(self, capsys: pytest.CaptureFixture[str]) -> None:
        """`--help` shows commands that can be copied."""
        with pytest.raises(SystemExit):
            main(["db", "--help"])
        assert "python -m ftrepo db upgrade" in capsys.readouterr().out
