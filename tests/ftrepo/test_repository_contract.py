"""What every repository keeps, whichever it is: a caller cannot tell which one it holds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from ftrepo.errors import KeyConflictError, KeyExpiredError, KeyNotFoundError
from ftrepo.interface import Durability, PrimaryStore, PublicKeyRepository
from ftrepo.keys import KEY_ID_LENGTH_MAX, Algorithm, PublicKey, SigningKey
from tests.ftrepo.repositories import (
    REPOSITORIES,
    RepositoryUnderTest,
    SettableClock,
)
from tests.laboratory import EPOCH, make_key

Scenario = Callable[[PublicKeyRepository, SettableClock], Awaitable[None]]
PrimaryScenario = Callable[[PrimaryStore, SettableClock], Awaitable[None]]


def _named(name: str, under_test: RepositoryUnderTest) -> object:
    return pytest.param(under_test, id=name, marks=under_test.marks)


@pytest.fixture(params=[_named(*each) for each in REPOSITORIES.items()])
def run(request: pytest.FixtureRequest) -> Callable[[Scenario], None]:
    """Run a scenario against an empty repository of each kind, on the loop that it needs."""
    return _runner(request)


@pytest.fixture(params=[_named(*each) for each in REPOSITORIES.items() if each[1].is_primary_store])
def run_primary(request: pytest.FixtureRequest) -> Callable[[PrimaryScenario], None]:
    """Run a scenario against an empty repository of each kind that is a primary store."""
    return _runner(request)  # type: ignore[return-value]


def _runner(request: pytest.FixtureRequest) -> Callable[[Scenario], None]:
    under_test: RepositoryUnderTest = request.param
    needed = [request.getfixturevalue(name) for name in under_test.fixtures]

    def run(scenario: Scenario) -> None:
        async def body() -> None:
            clock = SettableClock()
            async with under_test.open(clock, *needed) as repository:
                await scenario(repository, clock)

        under_test.run(body())

    return run


async def expect_missing(repository: PublicKeyRepository, key_id: str) -> None:
    """Assert that nobody has a key with this id."""
    with pytest.raises(KeyNotFoundError):
        await repository.get(key_id)


class TestPublicKeyRepository:
    def test_is_one(self, run: Callable[[Scenario], None]) -> None:
        """It has the three methods of the interface."""

        async def scenario(repository: PublicKeyRepository, clock: SettableClock) -> None:
            assert isinstance(repository, PublicKeyRepository)

        run(scenario)

    @pytest.mark.parametrize("algorithm", list(Algorithm), ids=lambda each: each.value)
    def test_a_created_key_is_found(
        self, run: Callable[[Scenario], None], algorithm: Algorithm
    ) -> None:
        """`get` returns what `create` was given, to the last byte and microsecond."""
        created = EPOCH + timedelta(microseconds=123_457)
        lifetime = timedelta(hours=1, microseconds=1)
        key = SigningKey.generate(algorithm, created=created, lifetime=lifetime).public

        async def scenario(repository: PublicKeyRepository, clock: SettableClock) -> None:
            assert isinstance(await repository.create(key), Durability)
            assert await repository.get(key.id) == key

        run(scenario)

    @pytest.mark.parametrize("key_id", ["a", "A", "-", "_.~", "é", "a" * 500, "", "a\0b", "%", "'"])
    def test_an_unknown_id_is_not_found(self, run: Callable[[Scenario], None], key_id: str) -> None:
        """An id that nobody created is not found, however malformed it is."""

        async def scenario(repository: PublicKeyRepository, clock: SettableClock) -> None:
            await repository.create(make_key("b"))
            await expect_missing(repository, key_id)

        run(scenario)

    def test_ids_are_told_apart(self, run: Callable[[Scenario], None]) -> None:
        """Ids differ by case, by every mark and by their last character."""
        longest = "a" * (KEY_ID_LENGTH_MAX - 1)
        ids = ["a", "A", "a-", "a_", "a.", "a~", "-a", longest + "b", longest + "c"]

        async def scenario(repository: PublicKeyRepository, clock: SettableClock) -> None:
            for key_id in ids:
                await repository.create(make_key(key_id))
            for key_id in ids:
                assert await repository.get(key_id) == make_key(key_id)

        run(scenario)

    def test_creating_twice_is_a_no_op(self, run: Callable[[Scenario], None]) -> None:
        """A second create of the same id and material succeeds, and the first key stays."""
        first = make_key("a", lifetime_s=100)
        second = replace(first, expires=first.expires + timedelta(seconds=50))

        async def scenario(repository: PublicKeyRepository, clock: SettableClock) -> None:
            await repository.create(first)
            assert isinstance(await repository.create(first), Durability)
            assert isinstance(await repository.create(second), Durability)
            assert await repository.get("a") == first

        run(scenario)

    def test_an_id_is_never_rebound(self, run: Callable[[Scenario], None]) -> None:
        """A second create with other material or algorithm is a conflict; the first key stays."""
        first = make_key("a")

        async def scenario(repository: PublicKeyRepository, clock: SettableClock) -> None:
            await repository.create(first)
            for other in (make_key("a", material="x"), replace(first, algorithm=Algorithm.ES256)):
                with pytest.raises(KeyConflictError):
                    await repository.create(other)
                assert await repository.get("a") == first

        run(scenario)

    def test_of_racing_creates_one_wins(self, run: Callable[[Scenario], None]) -> None:
        """When many keys race for one id, one is stored, and every other create is told so."""
        rivals = [make_key("a", material=f"m{number}") for number in range(10)]

        async def scenario(repository: PublicKeyRepository, clock: SettableClock) -> None:
            creates = (repository.create(key) for key in rivals)
            results = await asyncio.gather(*creates, return_exceptions=True)
            losers = [r for r in results if isinstance(r, KeyConflictError)]
            (winner,) = (k for k, r in zip(rivals, results, strict=True) if r not in losers)
            assert len(losers) == len(rivals) - 1
            assert await repository.get("a") == winner

        run(scenario)

    def test_racing_creates_of_one_key_all_succeed(self, run: Callable[[Scenario], None]) -> None:
        """The same key created by many tasks at once is stored once, and all are told yes."""
        key = make_key("a")

        async def scenario(repository: PublicKeyRepository, clock: SettableClock) -> None:
            await asyncio.gather(*(repository.create(key) for _ in range(10)))
            assert await repository.get("a") == key

        run(scenario)

    def test_an_expired_key_is_not_taken(self, run: Callable[[Scenario], None]) -> None:
        """`create` refuses a key at the very moment of its expiry, and nothing is stored."""

        async def scenario(repository: PublicKeyRepository, clock: SettableClock) -> None:
            clock.advance(10)
            with pytest.raises(KeyExpiredError):
                await repository.create(make_key("a", lifetime_s=10))
            await expect_missing(repository, "a")
            assert await repository.delete_expired() == 0

        run(scenario)

    def test_an_expired_key_is_not_found(self, run: Callable[[Scenario], None]) -> None:
        """A key is found until just before its expiry, and no longer at the moment itself."""
        key = make_key("a", lifetime_s=10)

        async def scenario(repository: PublicKeyRepository, clock: SettableClock) -> None:
            await repository.create(key)
            clock.advance(9.999_999)
            assert await repository.get("a") == key
            clock.advance(0.000_001)
            await expect_missing(repository, "a")

        run(scenario)

    def test_delete_expired_counts(self, run: Callable[[Scenario], None]) -> None:
        """`delete_expired` deletes exactly what has expired, counts it, and counts it once."""

        async def scenario(repository: PublicKeyRepository, clock: SettableClock) -> None:
            assert await repository.delete_expired() == 0
            for key_id, lifetime_s in (("a", 10), ("b", 10), ("c", 20), ("d", 30)):
                await repository.create(make_key(key_id, lifetime_s=lifetime_s))
            clock.advance(20)
            await repository.create(make_key("e", lifetime_s=40))
            assert await repository.delete_expired() == 3
            assert await repository.delete_expired() == 0
            assert (await repository.get("d")).id == "d"
            assert (await repository.get("e")).id == "e"

        run(scenario)

    def test_an_id_is_free_when_its_key_has_expired(self, run: Callable[[Scenario], None]) -> None:
        """An expired key's id is free for its successor even before it was deleted."""
        successor = make_key("a", material="other")

        async def scenario(repository: PublicKeyRepository, clock: SettableClock) -> None:
            await repository.create(make_key("a", lifetime_s=10))
            clock.advance(10)
            await repository.create(successor)
            assert await repository.get("a") == successor
            await repository.delete_expired()
            assert await repository.get("a") == successor

        run(scenario)

    def test_an_id_is_free_after_deletion(self, run: Callable[[Scenario], None]) -> None:
        """Once an expired key was deleted, its id can be given to another."""
        successor = make_key("a", material="other")

        async def scenario(repository: PublicKeyRepository, clock: SettableClock) -> None:
            await repository.create(make_key("a", lifetime_s=10))
            clock.advance(10)
            await repository.delete_expired()
            await repository.create(successor)
            assert await repository.get("a") == successor

        run(scenario)


class TestPrimaryStore:
    def test_is_one(self, run_primary: Callable[[PrimaryScenario], None]) -> None:
        """It has the further methods of a primary store, and takes writes when it is empty."""

        async def scenario(store: PrimaryStore, clock: SettableClock) -> None:
            assert isinstance(store, PrimaryStore)
            await store.ping()

        run_primary(scenario)

    def test_a_batch_is_stored(self, run_primary: Callable[[PrimaryScenario], None]) -> None:
        """`create_many` stores every key; the same batch again changes nothing; none is nothing."""
        batch = [make_key(f"k{number:02}") for number in range(25)]

        async def scenario(store: PrimaryStore, clock: SettableClock) -> None:
            for _ in range(2):
                assert not await store.create_many(batch)
                assert list(await store.list_valid(after=None, limit=100)) == batch
            assert not await store.create_many([])

        run_primary(scenario)

    def test_a_batch_names_its_conflicts(
        self, run_primary: Callable[[PrimaryScenario], None]
    ) -> None:
        """`create_many` returns the ids bound to other material, and stores all the others."""
        first = make_key("b")
        batch = [make_key("a"), make_key("b", material="other"), make_key("c")]

        async def scenario(store: PrimaryStore, clock: SettableClock) -> None:
            await store.create(first)
            assert set(await store.create_many(batch)) == {"b"}
            assert await store.get("b") == first
            assert [await store.get("a"), await store.get("c")] == [batch[0], batch[2]]

        run_primary(scenario)

    def test_a_batch_takes_the_ids_of_expired_keys(
        self, run_primary: Callable[[PrimaryScenario], None]
    ) -> None:
        """`create_many` stores a key whose id an expired one still has, beside all the others."""
        batch = [make_key(name, material="other") for name in "abc"]

        async def scenario(store: PrimaryStore, clock: SettableClock) -> None:
            await store.create_many([make_key("a", lifetime_s=10), make_key("b")])
            clock.advance(10)
            assert set(await store.create_many(batch)) == {"b"}
            assert [await store.get(name) for name in "ac"] == [batch[0], batch[2]]

        run_primary(scenario)

    def test_pages_are_in_the_order_of_ids(
        self, run_primary: Callable[[PrimaryScenario], None]
    ) -> None:
        """Pages follow each other by code point, whatever the locale; a short one is the last."""
        ids = ["b", "-", "~", "A", "a", "_", "Z", ".x", "0", "aa", "a-", "aB"]

        async def scenario(store: PrimaryStore, clock: SettableClock) -> None:
            await store.create_many([make_key(key_id) for key_id in ids])
            pages: list[list[str]] = []
            after = None
            while not pages or len(pages[-1]) == 5:
                page = await store.list_valid(after=after, limit=5)
                pages.append([key.id for key in page])
                after = pages[-1][-1]
            assert [len(page) for page in pages] == [5, 5, 2]
            assert [key_id for page in pages for key_id in page] == sorted(ids)
            assert not await store.list_valid(after="~", limit=5)

        run_primary(scenario)

    def test_pages_leave_expired_keys_out(
        self, run_primary: Callable[[PrimaryScenario], None]
    ) -> None:
        """A key that has expired is in no page, deleted or not, and takes no place in one."""

        async def scenario(store: PrimaryStore, clock: SettableClock) -> None:
            keys = [make_key(name, lifetime_s=10 if name in "ac" else 20) for name in "abcd"]
            await store.create_many(keys)
            clock.advance(10)
            page = await store.list_valid(after=None, limit=2)
            assert [key.id for key in page] == ["b", "d"]

        run_primary(scenario)

    def test_two_stores_of_one_key_agree(
        self, run_primary: Callable[[PrimaryScenario], None]
    ) -> None:
        """A key stored by a batch and by a create are the same key, read either way."""
        keys: list[PublicKey] = [make_key("a"), make_key("b")]

        async def scenario(store: PrimaryStore, clock: SettableClock) -> None:
            await store.create(keys[0])
            await store.create_many(keys[1:])
            assert list(await store.list_valid(after=None, limit=9)) == keys
            assert [await store.get("a"), await store.get("b")] == keys

        run_primary(scenario)
