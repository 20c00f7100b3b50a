"""What a survey of the table finds, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from ftrepo.keys import PublicKey, SigningKey
from ftrepo.postgres import migrate
from ftrepo.postgres.recovery.checks import check_live
from ftrepo.postgres.recovery.survey import Portion, Survey, compare, settle, survey

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
NOON_HOUR = int(NOON.timestamp()) // 3600
INSERT = (
    "INSERT INTO public_keys (id, material, algorithm, created, expires) VALUES ($1,$2,$3,$4,$5)"
)


def key() -> PublicKey:
    """A key that is valid for two days from noon."""
    return SigningKey.generate(created=NOON, lifetime=timedelta(hours=48)).public


async def insert(connection: asyncpg.Connection, one: PublicKey, **changed: Any) -> None:
    """Insert the row of a key, changed where it is to be wrong."""
    row = {
        "id": one.id,
        "material": one.material,
        "algorithm": one.algorithm.value,
        "created": one.created,
        "expires": one.expires,
        **changed,
    }
    await connection.execute(INSERT, *row.values())


def on(dsn: str, story: Callable[[asyncpg.Connection], Awaitable[None]]) -> None:
    """Tell a story on a database that has the table."""

    async def run() -> None:
        await migrate.upgrade(dsn)
        connection = await asyncpg.connect(dsn)
        try:
            await story(connection)
        finally:
            await connection.close()

    asyncio.run(run())


@pytest.mark.postgres
def test_every_kind_of_faulty_row_is_found(database: str) -> None:
    """A row with bad material, algorithm, id or encoding is no valid key."""

    async def story(connection: asyncpg.Connection) -> None:
        good = key()
        await insert(connection, good)
        await insert(connection, key(), id="nonsense", material=b"nonsense")
        await insert(connection, key(), id="mixed", algorithm="RS256")
        await insert(connection, key(), id="not/an/id")
        await insert(connection, key(), id="unknown", algorithm="none")
        await insert(connection, key(), id="longer", material=good.material + b"\0")
        found = await survey(connection)
        assert found.total.keys == 6
        assert found.faulty == 5
        for bad in ("nonsense", "mixed", "not/an/id", "unknown", "longer"):
            assert any(repr(bad) in problem for problem in found.problems)
        (rows, *_) = await check_live(connection)
        assert rows.passed is False
        assert "5 of 6" in rows.detail

    on(database, story)


@pytest.mark.postgres
def test_a_time_without_a_date_does_not_end_the_survey(database: str) -> None:
    """A row whose times Python cannot hold is reported like any other faulty one."""

    async def story(connection: asyncpg.Connection) -> None:
        await insert(connection, key())
        await connection.execute("ALTER TABLE public_keys DROP CONSTRAINT public_keys_lifetime")
        await connection.execute(
            "UPDATE public_keys SET expires = 'infinity', created = '-infinity'"
        )
        found = await survey(connection, settled_before=await settle(connection))
        assert found.faulty == 1
        assert "no date" in found.problems[0]

    on(database, story)


@pytest.mark.postgres
def test_any_change_changes_the_checksum(database: str) -> None:
    """The checksum depends on every column of every row, and on nothing else."""

    async def story(connection: asyncpg.Connection) -> None:
        first, second = key(), key()
        await insert(connection, first)
        await insert(connection, second)
        seen = {(await survey(connection)).total}
        assert {(await survey(connection)).total} == seen
        for change in (
            "algorithm = 'RS256'",
            "expires = expires + interval '1 microsecond'",
            "created = created + interval '1 microsecond'",
            "stored = stored + interval '1 microsecond'",
            "material = material || '\\x00'",
            "id = id || 'x'",
        ):
            await connection.execute(f"UPDATE public_keys SET {change} WHERE id = $1", first.id)
            seen.add((await survey(connection)).total)
            if change.startswith("id"):
                break
        assert len(seen) == 7

    on(database, story)


@pytest.mark.postgres
def test_settling_waits_for_whoever_is_writing(database: str) -> None:
    """A key whose insert began before the moment is settled, though it was committed after it."""

    async def story(connection: asyncpg.Connection) -> None:
        writer = await asyncpg.connect(database)
        transaction = writer.transaction()
        await transaction.start()
        await insert(writer, key())
        settling = asyncio.create_task(settle(connection))
        await asyncio.sleep(0.3)
        assert not settling.done()
        await transaction.commit()
        moment = await settling
        await insert(writer, key())
        found = await survey(connection, settled_before=moment)
        assert found.total.keys == 2
        assert sum(part.keys for part in found.settled.values()) == 1
        await writer.close()

    on(database, story)


@pytest.mark.postgres
def test_somebody_who_writes_for_ever_holds_up_no_backup(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction that was left open costs the comparison, and is waited for only so long."""
    monkeypatch.setattr("ftrepo.postgres.recovery.survey.WRITERS_WAIT_S_MAX", 0.2)

    async def story(connection: asyncpg.Connection) -> None:
        writer = await asyncpg.connect(database)
        transaction = writer.transaction()
        await transaction.start()
        await insert(writer, key())
        assert await settle(connection) is None
        assert (await survey(connection, settled_before=None)).settled == {}
        await transaction.rollback()
        await writer.close()

    on(database, story)


def surveyed(**settled: tuple[int, str]) -> Survey:
    """What a survey saw of the keys that expire in each hour after noon."""
    hours = {NOON_HOUR + int(hour[1:]): Portion(*part) for hour, part in settled.items()}
    return Survey(total=Portion(0, ""), settled_before=NOON, settled=hours)


def test_a_deleted_key_that_had_not_expired_is_noticed() -> None:
    """Keys are compared by the hour in which they expire; one that is missing is seen."""
    before = surveyed(h5=(2, "a"), h6=(3, "b"))
    assert compare(before, before, at=NOON) == (5, 0, 0)
    assert compare(before, surveyed(h5=(2, "a"), h6=(2, "c")), at=NOON) == (5, 0, 3)
    assert compare(before, surveyed(h5=(2, "a")), at=NOON) == (5, 0, 3)
    assert compare(before, surveyed(h5=(2, "a"), h6=(3, "b"), h7=(1, "d")), at=NOON) == (5, 0, 1)


def test_keys_that_may_have_expired_are_left_out() -> None:
    """What was deleted because it had expired, by a clock up to five minutes fast, is no loss."""
    before = surveyed(h0=(1, "a"), h1=(2, "b"), h2=(3, "c"))
    after = surveyed(h2=(3, "c"))
    assert compare(before, after, at=NOON + timedelta(minutes=56)) == (3, 3, 0)
    assert compare(before, after, at=NOON + timedelta(minutes=54)) == (5, 1, 2)
