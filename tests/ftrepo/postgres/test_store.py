"""What only the real store can get wrong: races between instances, refusals, edited rows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest

from ftrepo.errors import (
    KeyConflictError,
    KeyNotFoundError,
    PoolExhaustedError,
    PrimaryRejectedError,
    PrimaryUnavailableError,
)
from ftrepo.interface import ChangeFeed, Durability, PrimaryStore
from ftrepo.postgres import ConnectionSettings, Pool, PoolSettings, PostgresRepository, store
from tests.ftrepo.postgres.stores import connected, emptied, open_store, until_somebody_waits
from tests.laboratory import EPOCH, make_key

pytestmark = pytest.mark.postgres

Story = Callable[[PostgresRepository, asyncpg.Connection], Awaitable[None]]

INSERT = """
    INSERT INTO public_keys (id, material, algorithm, created, expires)
    VALUES ($1, $2, 'Ed25519', $3, $4)
"""
LATER = timedelta(days=1)


@pytest.fixture
def run(public_keys_database: str) -> Callable[[Story], None]:
    """Run a story with an empty store and a second connection to its database."""

    def run(story: Story) -> None:
        async def main() -> None:
            dsn = public_keys_database
            async with emptied(dsn) as other, open_store(dsn) as store:
                await asyncio.wait_for(story(store, other), 60)

        asyncio.run(main())

    return run


def test_it_is_a_primary_store_and_a_change_feed(run: Callable[[Story], None]) -> None:
    """It has every method that the facade can use."""

    async def story(store: PostgresRepository, other: asyncpg.Connection) -> None:
        assert isinstance(store, PrimaryStore)
        assert isinstance(store, ChangeFeed)

    run(story)


class TestRaces:
    """Rows that a statement cannot see, because they were committed after it began."""

    @pytest.mark.parametrize("as_batch", [False, True])
    def test_the_same_key_committed_meanwhile_is_a_no_op(
        self, run: Callable[[Story], None], as_batch: bool
    ) -> None:
        """A create that waited for a rival with the same key succeeds, and stores nothing twice."""
        key = make_key("a")

        async def story(store: PostgresRepository, other: asyncpg.Connection) -> None:
            transaction = other.transaction()
            await transaction.start()
            await other.execute(INSERT, "a", key.material, key.created, key.expires)
            creating = asyncio.create_task(_store(store, key, as_batch=as_batch))
            await until_somebody_waits(other)
            await transaction.commit()
            assert await creating

        run(story)

    @pytest.mark.parametrize("as_batch", [False, True])
    def test_another_key_committed_meanwhile_is_a_conflict(
        self, run: Callable[[Story], None], as_batch: bool
    ) -> None:
        """A create that waited for a rival with another key is told of the conflict."""
        first = make_key("a", material="first")

        async def story(store: PostgresRepository, other: asyncpg.Connection) -> None:
            transaction = other.transaction()
            await transaction.start()
            await other.execute(INSERT, "a", first.material, first.created, first.expires)
            creating = asyncio.create_task(_store(store, make_key("a"), as_batch=as_batch))
            await until_somebody_waits(other)
            await transaction.commit()
            assert not await creating
            assert (await store.get("a")).same_material(first)

        run(story)

    @pytest.mark.parametrize("as_batch", [False, True])
    def test_a_rival_that_gives_up_leaves_the_id(
        self, run: Callable[[Story], None], as_batch: bool
    ) -> None:
        """A create that waited for a rival which was rolled back stores its key."""
        first, key = make_key("a", material="first"), make_key("a")

        async def story(store: PostgresRepository, other: asyncpg.Connection) -> None:
            transaction = other.transaction()
            await transaction.start()
            await other.execute(INSERT, "a", first.material, first.created, first.expires)
            creating = asyncio.create_task(_store(store, key, as_batch=as_batch))
            await until_somebody_waits(other)
            await transaction.rollback()
            assert await creating
            assert await store.get("a") == key

        run(story)

    def test_an_expired_key_that_another_is_deleting(self, run: Callable[[Story], None]) -> None:
        """A create under an expired key's id waits for whoever deletes it, and is stored."""
        successor = make_key("a", material="other")
        expired = replace(successor, created=EPOCH - 2 * LATER, expires=EPOCH - LATER)

        async def story(store: PostgresRepository, other: asyncpg.Connection) -> None:
            await other.execute(INSERT, "a", b"old", expired.created, expired.expires)
            transaction = other.transaction()
            await transaction.start()
            await other.execute("DELETE FROM public_keys")
            creating = asyncio.create_task(store.create(successor))
            await until_somebody_waits(other)
            await transaction.commit()
            assert await creating is Durability.PRIMARY
            assert await store.get("a") == successor

        run(story)

    def test_an_id_that_never_comes_to_rest(
        self, run: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An id that is taken and freed again all the time is given up after a bounded number."""
        rounds = []

        async def always_too_late(*_: object) -> bool:
            rounds.append(1)
            return False

        async def story(store_: PostgresRepository, other: asyncpg.Connection) -> None:
            monkeypatch.setattr(store, "_insert_all", always_too_late)
            with pytest.raises(PrimaryUnavailableError, match="taken and freed again"):
                await store_.create_many([make_key("a")])
            assert len(rounds) == store.ROUNDS_MAX + 1
            monkeypatch.undo()
            await store_.create(make_key("a"))

        run(story)

    def test_batches_of_two_instances_cannot_deadlock(
        self, public_keys_database: str, run: Callable[[Story], None]
    ) -> None:
        """Batches with the same keys in opposite orders wait for each other one way only."""
        batch = [make_key("a"), make_key("m"), make_key("z")]

        async def story(store: PostgresRepository, other: asyncpg.Connection) -> None:
            # Somebody holds the id in the middle, so that both batches get as far as they can.
            middle = other.transaction()
            await middle.start()
            await other.execute(INSERT, "m", b"other", batch[1].created, batch[1].expires)
            async with open_store(public_keys_database) as second:
                first_one = asyncio.create_task(store.create_many(batch))
                await until_somebody_waits(other)
                second_one = asyncio.create_task(second.create_many(batch[::-1]))
                await until_somebody_waits(other, 2)
                await middle.rollback()
                assert await asyncio.gather(first_one, second_one) == [set(), set()]
            assert await store.list_valid(after=None, limit=9) == batch

        run(story)


def test_two_keys_of_a_batch_under_one_id(run: Callable[[Story], None]) -> None:
    """The first one is stored; the same key again is nothing, another one is a conflict."""
    batch = [make_key("b"), make_key("a"), make_key("a"), make_key("b", material="other")]

    async def story(store: PostgresRepository, other: asyncpg.Connection) -> None:
        assert set(await store.create_many(batch)) == {"b"}
        assert await store.list_valid(after=None, limit=9) == [batch[1], batch[0]]

    run(story)


class TestDeleteExpired:
    """The clean-up, which many instances do at once and which must be in nobody's way."""

    def test_more_than_one_batch(self, run: Callable[[Story], None]) -> None:
        """Every expired key goes, however many transactions it takes, and the others stay."""

        async def story(store_: PostgresRepository, other: asyncpg.Connection) -> None:
            many = 2 * store.DELETED_BATCH_MAX + 1
            await _insert_expired(other, many)
            await store_.create(make_key("valid"))
            deleted = 0
            while some := await store_.delete_expired():
                deleted += some
            assert deleted == many
            assert [key.id for key in await store_.list_valid(after=None, limit=9)] == ["valid"]

        run(story)

    def test_it_is_bounded_in_time(
        self, run: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Once its time is over it begins no further batch, and says what it has deleted."""

        async def story(store_: PostgresRepository, other: asyncpg.Connection) -> None:
            await _insert_expired(other, 25)
            monkeypatch.setattr(store, "DELETED_BATCH_MAX", 10)
            monkeypatch.setattr(store, "DELETING_S_MAX", 0.0)
            assert [await store_.delete_expired() for _ in range(4)] == [10, 10, 5, 0]

        run(story)

    def test_it_waits_for_nobody(self, run: Callable[[Story], None]) -> None:
        """A row that somebody has locked is left to them; all others are deleted at once."""

        async def story(store: PostgresRepository, other: asyncpg.Connection) -> None:
            await _insert_expired(other, 10)
            async with other.transaction():
                await other.fetch("SELECT * FROM public_keys WHERE id IN ('0', '7') FOR UPDATE")
                assert await store.delete_expired() == 8
            assert await store.delete_expired() == 2

        run(story)

    def test_nobody_waits_for_it(
        self, public_keys_database: str, run: Callable[[Story], None]
    ) -> None:
        """Many instances delete at once; each key is counted once, by one of them."""

        async def story(store: PostgresRepository, other: asyncpg.Connection) -> None:
            await _insert_expired(other, 5000)
            async with open_store(public_keys_database) as second:
                counts = await asyncio.gather(
                    *(each.delete_expired() for each in [store, second] * 4),
                    *(store.create(make_key(f"new-{n}")) for n in range(50)),
                )
            assert sum(count for count in counts if isinstance(count, int)) == 5000

        run(story)


class TestPing:
    """Whether a write would be accepted now."""

    def test_it_writes_nothing_and_tells_nobody(self, run: Callable[[Story], None]) -> None:
        """A ping leaves no row, takes no transaction number and sends no announcement."""

        async def story(store: PostgresRepository, other: asyncpg.Connection) -> None:
            heard: list[object] = []
            await other.add_listener("ftrepo_public_keys", lambda *heard_: heard.append(heard_))
            await other.execute("SELECT pg_stat_clear_snapshot()")
            before = await other.fetchval("SELECT pg_snapshot_xmax(pg_current_snapshot())")
            for _ in range(3):
                await store.ping()
            after = await other.fetchval("SELECT pg_snapshot_xmax(pg_current_snapshot())")
            assert (after, heard) == (before, [])
            assert not await store.list_valid(after=None, limit=9)

        run(story)

    def test_a_read_only_database(self, database: str) -> None:
        """A database that takes no writes fails the ping, though it can be read."""

        async def story(dsn: str) -> None:
            async with connected(dsn) as other:
                name = await other.fetchval("SELECT current_database()")
                await other.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only=on')
            async with open_store(dsn) as store:
                assert not await store.list_valid(after=None, limit=1)
                with pytest.raises(PrimaryUnavailableError) as caught:
                    await store.ping()
                assert isinstance(caught.value.__cause__, asyncpg.ReadOnlySQLTransactionError)

        asyncio.run(_after_upgrade(database, story))

    def test_a_database_without_the_table(self, database: str) -> None:
        """A database that nobody has migrated fails the ping, and the error says what to do."""

        async def story() -> None:
            async with open_store(database) as store:
                with pytest.raises(PrimaryUnavailableError, match="python -m ftrepo db upgrade"):
                    await store.ping()

        asyncio.run(story())

    def test_a_locked_table(self, public_keys_database: str, run: Callable[[Story], None]) -> None:
        """A table that somebody has locked fails the ping within the statement time-out."""

        async def story(_: PostgresRepository, other: asyncpg.Connection) -> None:
            async with open_store(public_keys_database, statement_timeout_s=0.2) as store:
                async with other.transaction():
                    await other.execute("LOCK TABLE public_keys IN ACCESS EXCLUSIVE MODE")
                    with pytest.raises(PrimaryUnavailableError):
                        await store.ping()
                await store.ping()

        run(story)


class TestErrors:
    """Failures in the words of `ftrepo`."""

    def test_a_refused_row(self, database: str) -> None:
        """A constraint that the package does not know is told apart from an absent server."""

        async def story(dsn: str) -> None:
            async with connected(dsn) as other, open_store(dsn) as store:
                await other.execute("ALTER TABLE public_keys ADD CHECK (id <> 'a')")
                for write in (store.create(make_key("a")), store.create_many([make_key("a")])):
                    with pytest.raises(PrimaryRejectedError) as caught:
                        await write
                    assert isinstance(caught.value.__cause__, asyncpg.CheckViolationError)
                    assert "Failing row" not in str(caught.value)
                assert await store.create(make_key("b")) is Durability.PRIMARY

        asyncio.run(_after_upgrade(database, story))

    def test_data_that_a_column_cannot_take(self, database: str) -> None:
        """Errors of class 22 refuse the row too."""

        async def story(dsn: str) -> None:
            async with connected(dsn) as other, open_store(dsn) as store:
                await other.execute("ALTER TABLE public_keys ALTER algorithm TYPE varchar(3)")
                with pytest.raises(PrimaryRejectedError) as caught:
                    await store.create(make_key("a"))
                assert isinstance(caught.value.__cause__, asyncpg.DataError)

        asyncio.run(_after_upgrade(database, story))

    def test_nobody_there(self) -> None:
        """A refused connection is `PrimaryUnavailableError`, with the driver's error as cause."""

        async def story() -> None:
            async with open_store("postgresql://nobody@127.0.0.1:1/nothing") as store:
                calls = [
                    store.create(make_key("a")),
                    store.create_many([make_key("a")]),
                    store.get("a"),
                    store.list_valid(after=None, limit=1),
                    store.delete_expired(),
                    store.ping(),
                    anext(store.changes()),
                ]
                for call in calls:
                    with pytest.raises(PrimaryUnavailableError) as caught:
                        await call
                    assert isinstance(caught.value.__cause__, OSError)

        asyncio.run(story())

    def test_a_pool_in_full_use(self, public_keys_database: str) -> None:
        """An exhausted pool keeps its own error, which says that nothing was sent."""

        async def story() -> None:
            connection = ConnectionSettings(dsn=public_keys_database, connect_timeout_s=10.0)
            few = PoolSettings(open_max=1, idle_max=1, acquire_timeout_s=5.0)
            async with Pool(connection, few) as pool:
                store = PostgresRepository(pool, now=lambda: EPOCH)
                await store.ping()
                object.__setattr__(few, "acquire_timeout_s", 0.05)
                async with pool.connection():
                    with pytest.raises(PoolExhaustedError):
                        await store.ping()

        asyncio.run(story())


class TestEditedRows:
    """Rows that no release of this package has written."""

    def test_a_page_passes_them_over(
        self, run: Callable[[Story], None], caplog: pytest.LogCaptureFixture
    ) -> None:
        """A page has as many keys as are asked for, without those rows; one line says so."""
        keys = [make_key(name) for name in "abcdef"]

        async def story(store: PostgresRepository, other: asyncpg.Connection) -> None:
            await store.create_many(keys)
            await other.execute("UPDATE public_keys SET algorithm = 'ML-DSA-44' WHERE id = 'b'")
            await other.execute("UPDATE public_keys SET material = '' WHERE id = 'c'")
            await other.execute(INSERT, "not an id", b"m", EPOCH, EPOCH + LATER)
            with caplog.at_level(logging.ERROR, "ftrepo"):
                page = await store.list_valid(after=None, limit=3)
                assert [key.id for key in page] == ["a", "d", "e"]
                rest = await store.list_valid(after="e", limit=3)
                assert [key.id for key in rest] == ["f"]
                with pytest.raises(KeyNotFoundError):
                    await store.get("b")
            said = [record.getMessage() for record in caplog.records]
            assert "2 rows of public_keys are not valid keys" in said[0]
            assert "ML-DSA-44" in said[0]

        run(story)

    def test_years_that_python_has_not(self, run: Callable[[Story], None]) -> None:
        """A row that would make every page unreadable cannot be written."""

        async def story(store: PostgresRepository, other: asyncpg.Connection) -> None:
            await store.create(make_key("a"))
            for expires in ("'infinity'", "'20000-01-01'"):
                with pytest.raises(asyncpg.CheckViolationError):
                    await other.execute(f"UPDATE public_keys SET expires = {expires}")
            assert await store.list_valid(after=None, limit=9) == [make_key("a")]

        run(story)


def test_it_is_stored_by_the_server_s_clock(run: Callable[[Story], None]) -> None:
    """`stored` is when the primary took the key, whatever the service's clock says."""

    async def story(store: PostgresRepository, other: asyncpg.Connection) -> None:
        await store.create(make_key("a"))
        age = await other.fetchval("SELECT clock_timestamp() - stored FROM public_keys")
        assert timedelta(0) < age < timedelta(minutes=1)

    run(story)


def test_a_cancelled_create_leaves_the_pool_whole(run: Callable[[Story], None]) -> None:
    """A caller that gives up while the server is busy costs nobody else a connection."""

    async def story(store: PostgresRepository, other: asyncpg.Connection) -> None:
        async with other.transaction():
            await other.execute("LOCK TABLE public_keys IN ACCESS EXCLUSIVE MODE")
            creating = [asyncio.create_task(store.create(make_key(f"k{n}"))) for n in range(25)]
            await until_somebody_waits(other)
            for task in creating:
                task.cancel()
            await asyncio.wait(creating)
            assert all(task.cancelled() for task in creating)
        assert await store.create(make_key("a")) is Durability.PRIMARY
        assert store.pool.statistics().in_use == 0

    run(story)


async def _store(store: PostgresRepository, key: object, *, as_batch: bool) -> bool:
    """Store a key either way. Says whether it is there now."""
    if as_batch:
        return not await store.create_many([make_key("_before"), key, make_key("z")])  # type: ignore[list-item]
    try:
        await store.create(key)  # type: ignore[arg-type]
    except KeyConflictError:
        return False
    return True


async def _insert_expired(connection: asyncpg.Connection, many: int) -> None:
    await connection.execute(
        """
        INSERT INTO public_keys (id, material, algorithm, created, expires)
        SELECT n::text, 'm', 'Ed25519', $1, $2 FROM generate_series(0, $3 - 1) AS n
        """,
        EPOCH - 2 * LATER,
        EPOCH - LATER,
        many,
    )


async def _after_upgrade(dsn: str, story: Callable[[str], Awaitable[None]]) -> None:
    from ftrepo.postgres.migrate import upgrade

    await upgrade(dsn)
    await story(dsn)
