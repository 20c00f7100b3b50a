"""New keys, announced by a real server to everybody who listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any

import asyncpg
import pytest

from ftrepo.errors import PrimaryUnavailableError
from ftrepo.fault_tolerant import FaultTolerantRepository
from ftrepo.keys import PublicKey
from ftrepo.policy import Policy
from ftrepo.postgres import ConnectionSettings, PostgresRepository, announcements
from ftrepo.postgres.migrate import upgrade
from sim.testbed.cluster import Cluster
from tests.ftrepo.postgres.stores import at_epoch, connected, emptied, open_store, until
from tests.laboratory import make_key

pytestmark = pytest.mark.postgres

Feed = AsyncGenerator[Sequence[PublicKey] | None, None]
Story = Callable[[PostgresRepository, Feed, asyncpg.Connection], Awaitable[None]]


@pytest.fixture
def run(public_keys_database: str) -> Callable[[Story], None]:
    """Run a story with an empty store, and the feed of another one that already listens."""

    def run(story: Story) -> None:
        async def main() -> None:
            dsn = public_keys_database
            async with (
                emptied(dsn) as other,
                open_store(dsn) as writer,
                open_store(dsn) as reader,
                aclosing(reader.changes()) as feed,
            ):
                assert await anext(feed) is None
                await asyncio.wait_for(story(writer, feed, other), 30)

        asyncio.run(main())

    return run


async def heard(feed: Feed) -> list[str] | None:
    """The ids of what the feed says next."""
    keys = await asyncio.wait_for(anext(feed), 10)
    return None if keys is None else sorted(key.id for key in keys)


def test_a_stored_key_is_announced(run: Callable[[Story], None]) -> None:
    """Whoever listens gets the key itself, stored alone or in a batch."""

    async def story(store: PostgresRepository, feed: Feed, other: asyncpg.Connection) -> None:
        await store.create(make_key("a"))
        assert await anext(feed) == [make_key("a")]
        await store.create_many([make_key("c"), make_key("b")])
        assert await heard(feed) == ["b", "c"]

    run(story)


def test_a_store_is_not_told_of_its_own_keys(public_keys_database: str) -> None:
    """What a store creates or flushes it does not read again; what another one does, it does."""

    async def story() -> None:
        dsn = public_keys_database
        async with (
            emptied(dsn),
            open_store(dsn) as one,
            open_store(dsn) as two,
            aclosing(one.changes()) as feed,
        ):
            assert await anext(feed) is None
            for number in range(20):
                await one.create(make_key(f"own-{number}"))
            await one.create_many([make_key(f"flushed-{number}") for number in range(200)])
            await two.create(make_key("other"))
            assert await heard(feed) == ["other"]
            await two.create_many([make_key(f"many-{number}") for number in range(200)])
            assert await heard(feed) is None  # too many to name

    asyncio.run(story())


def test_what_changes_nothing_is_not_announced(run: Callable[[Story], None]) -> None:
    """A repeated create, a conflict, a ping and a deletion say nothing."""

    async def story(store: PostgresRepository, feed: Feed, other: asyncpg.Connection) -> None:
        said: list[Any] = []
        await other.add_listener(announcements.CHANNEL, lambda *said_: said.append(said_[3]))
        await store.create(make_key("a"))
        await store.create(make_key("a"))
        await store.create_many([make_key("a"), make_key("a", material="other")])
        await store.ping()
        await store.delete_expired()
        await other.execute("DELETE FROM public_keys")
        await store.create(make_key("last"))
        await until(lambda: "last" in said)
        assert said == ["a", "last"]

    run(story)


@pytest.mark.parametrize(("many", "announced"), [(1, True), (50, True), (51, False), (1000, False)])
def test_a_batch_is_one_announcement(
    run: Callable[[Story], None], many: int, announced: bool
) -> None:
    """Up to 50 ids are named, the longest ones included; more are "look at everything"."""
    keys = [make_key(f"{number:0128}") for number in range(many)]

    async def story(store: PostgresRepository, feed: Feed, other: asyncpg.Connection) -> None:
        said: list[str] = []
        await other.add_listener(announcements.CHANNEL, lambda *said_: said.append(str(said_[3])))
        await store.create_many(keys)
        assert await heard(feed) == ([key.id for key in keys] if announced else None)
        await other.execute("SELECT 1")
        assert said == [" ".join(key.id for key in keys) if announced else "*"]

    run(story)


def test_a_forged_announcement_plants_nothing(run: Callable[[Story], None]) -> None:
    """Whoever sends a notification can make others look, and nothing else."""

    async def story(store: PostgresRepository, feed: Feed, other: asyncpg.Connection) -> None:
        for payload, expected in (("nobody", []), ("a\nb", None), ("", None), ("x" * 7999, None)):
            await other.execute("SELECT pg_notify($1, $2)", announcements.CHANNEL, payload)
            assert await heard(feed) == expected

    run(story)


def test_ids_that_no_notification_can_carry(run: Callable[[Story], None]) -> None:
    """Rows with monstrous ids, written by hand, can be stored all the same."""

    async def story(store: PostgresRepository, feed: Feed, other: asyncpg.Connection) -> None:
        await other.execute(
            "INSERT INTO public_keys SELECT repeat('x', 2600 + n), 'm', 'Ed25519', $1, $2 "
            "FROM generate_series(1, 4) AS n",
            make_key("a").created,
            make_key("a").expires,
        )
        assert await heard(feed) is None

    run(story)


def test_a_burst_is_bounded() -> None:
    """More ids than may wait become "look at everything", and then it goes on as before."""
    inbox = announcements._Inbox(lambda _: False)

    async def story() -> None:
        for number in range(announcements.IDS_MAX):
            inbox.put(None, 0, "", f"k{number}")
        assert len(await inbox.take() or ()) == announcements.IDS_MAX
        for number in range(3 * announcements.IDS_MAX):
            inbox.put(None, 0, "", f"k{number}")
            assert len(inbox._ids) <= announcements.IDS_MAX
        assert await inbox.take() is None
        inbox.put(None, 0, "", "a b")
        assert await inbox.take() == ["a", "b"]

    asyncio.run(story())


def test_a_lost_connection_ends_the_feed(run: Callable[[Story], None]) -> None:
    """When the server ends the session, whoever listens is told at once."""

    async def story(store: PostgresRepository, feed: Feed, other: asyncpg.Connection) -> None:
        listening = asyncio.create_task(heard(feed))
        await asyncio.sleep(0)
        await other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'ftrepo listen' AND datname = current_database()"
        )
        with pytest.raises(PrimaryUnavailableError, match="lost"):
            await listening

    run(story)


def test_a_server_that_answers_keeps_its_listener(public_keys_database: str) -> None:
    """While the server answers, no check ends the feed, however often it asks."""

    async def story() -> None:
        settings = ConnectionSettings(dsn=public_keys_database, connect_timeout_s=10.0)
        ids = announcements.announced_ids(settings, check_interval_s=0.01, check_timeout_s=10.0)
        async with aclosing(ids), connected(public_keys_database) as other:
            assert await anext(ids) is None
            await asyncio.sleep(0.2)
            await other.execute("SELECT pg_notify($1, 'a')", announcements.CHANNEL)
            assert await anext(ids) == ["a"]

    asyncio.run(story())


def test_closing_the_feed_ends_its_session(public_keys_database: str) -> None:
    """A feed that nobody reads any more leaves no session on the server."""
    sessions = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE application_name = 'ftrepo listen' AND datname = current_database()"
    )

    async def story() -> None:
        dsn = public_keys_database
        async with connected(dsn) as other, open_store(dsn) as store:

            async def nobody_listens() -> bool:
                return await other.fetchval(sessions) == 0

            async with aclosing(store.changes()) as feed:
                await anext(feed)
                assert not await nobody_listens()
            await until(nobody_listens)

    asyncio.run(story())


def test_a_silent_server_is_noticed(own_cluster: Cluster) -> None:
    """A server that is frozen says nothing; the feed ends after one check, and can be closed."""

    async def story() -> None:
        loop = asyncio.get_running_loop()
        settings = ConnectionSettings(dsn=own_cluster.dsn())
        ids = announcements.announced_ids(settings, check_interval_s=0.3, check_timeout_s=0.2)
        async with aclosing(ids):
            assert await anext(ids) is None
            own_cluster.freeze()
            try:
                started_s = loop.time()
                with pytest.raises(TimeoutError):
                    await anext(ids)
                assert loop.time() - started_s < 2.0
                started_s = loop.time()
                with pytest.raises(TimeoutError):
                    await anext(announcements.announced_ids(settings))
                assert loop.time() - started_s < 2.0
            finally:
                own_cluster.thaw()

    asyncio.run(story())


def test_two_instances_see_each_other_s_keys(database: str) -> None:
    """A key that one service creates is in the other's memory without any refresh."""
    policy = Policy(refresh_interval_s=None, insert_timeout_s=10.0, select_timeout_s=10.0)

    async def story() -> None:
        await upgrade(database)
        async with (
            open_store(database) as one,
            open_store(database) as two,
            FaultTolerantRepository(one, policy, now=at_epoch) as first,
            FaultTolerantRepository(two, policy, now=at_epoch) as second,
        ):
            await asyncio.sleep(0.5)  # both listen
            for number in range(10):
                await first.create(make_key(f"k{number}"))
            await until(lambda: len(second.cache) == 10)

    asyncio.run(story())
