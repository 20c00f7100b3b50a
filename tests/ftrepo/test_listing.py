"""Every valid key at once, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from laboratory import Laboratory, hang, make_key, refuse, run_laboratory

from ftrepo import listing
from ftrepo.errors import KeyNotFoundError, KeyUnavailableError, PrimaryUnavailableError
from ftrepo.fault_tolerant import FaultTolerantRepository
from ftrepo.interface import Durability, PrimaryStore
from ftrepo.keys import PublicKey
from ftrepo.listing import ValidKeys
from ftrepo.memory import InMemoryRepository
from ftrepo.policy import Policy
from sim.world.outages import Outage, OutageMode


def ids(found: ValidKeys) -> list[str]:
    """The ids, in the order of the answer."""
    return [key.id for key in found.keys]


@dataclass
class Counting:
    """A primary that notes when it was asked for a page."""

    primary: PrimaryStore
    lists: list[float] = field(default_factory=list)
    pages: int = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self.primary, name)

    async def list_valid(self, *, after: str | None, limit: int) -> Sequence[PublicKey]:
        self.pages += 1
        if after is None:
            self.lists.append(asyncio.get_running_loop().time())
        return await self.primary.list_valid(after=after, limit=limit)


def before(
    lab: Laboratory, primary: object, policy: Policy | None = None
) -> FaultTolerantRepository:
    """A repository before another primary than the laboratory's own."""
    return FaultTolerantRepository(
        primary,  # type: ignore[arg-type]
        policy,
        now=lab.now,
        observers=[lab.events.append],
        draw=lambda: 0.0,
    )


@pytest.mark.parametrize("read_policy", ["primary-first", "cache-first", "primary-only"])
def test_what_others_have_stored_is_listed(read_policy: str) -> None:
    """Whatever is asked first for one key: memory cannot know what it lacks."""

    async def story(lab: Laboratory) -> ValidKeys:
        policy = Policy(read_policy=read_policy, refresh_interval_s=None)  # type: ignore[arg-type]
        async with lab.repository(policy) as repo:
            lab.primary.commit(make_key("b"))
            await repo.create(make_key("a"))
            return await repo.valid_keys()

    found = run_laboratory(story)
    assert ids(found) == ["a", "b"]
    assert found.is_complete


def test_many_pages_are_one_answer() -> None:
    """The primary's keys come page by page, a last empty page included."""

    async def story(lab: Laboratory) -> tuple[ValidKeys, int]:
        counting = Counting(lab.primary)
        async with before(lab, counting, Policy(load_page_max=5)) as repo:
            for number in range(20):
                lab.primary.commit(make_key(f"k{number:02}"))
            counting.pages = 0
            return await repo.valid_keys(), counting.pages

    found, pages = run_laboratory(story)
    assert ids(found) == [f"k{number:02}" for number in range(20)]
    assert found.is_complete
    assert pages == 5


def test_an_outage_leaves_what_memory_has() -> None:
    """Keys that the primary had, and those that wait for it; and the answer is not complete."""

    async def story(lab: Laboratory) -> list[tuple[list[str], bool]]:
        answers = []
        lab.primary.commit(make_key("a"))
        async with lab.repository() as repo:
            for moment_s in (5.0, 15.0, 40.0):
                await lab.until(moment_s)
                if moment_s == 15.0:
                    await repo.create(make_key("b"))
                found = await repo.valid_keys()
                answers.append((ids(found), found.is_complete))
        return answers

    expected = [(["a"], True), (["a", "b"], False), (["a", "b"], True)]
    assert run_laboratory(story, [refuse(10.0, 30.0)]) == expected
    assert run_laboratory(story, [hang(10.0, 30.0)]) == expected


def test_a_hanging_primary_is_waited_for_so_long() -> None:
    """One page's time-out, and no call at all once the breaker has tripped."""

    async def story(lab: Laboratory) -> list[float]:
        took_s = []
        async with lab.repository() as repo:
            for second in range(12, 24, 2):
                await lab.until(second)
                await repo.valid_keys()
                took_s.append(lab.loop.time() - second)
        return took_s

    took_s = run_laboratory(story, [hang(10.0, 1e4)])
    assert took_s[:5] == pytest.approx([0.5] * 5, abs=0.001)
    assert took_s[5] == 0.0


def test_a_slow_primary_is_waited_for_so_long_as_a_whole() -> None:
    """Each page is in time, all of them are not: what came is used, and it is not complete."""

    async def story(lab: Laboratory) -> tuple[ValidKeys, float]:
        @dataclass
        class Slow(Counting):
            pause_s: float = 0.0

            async def list_valid(self, *, after: str | None, limit: int) -> Sequence[PublicKey]:
                await asyncio.sleep(self.pause_s)
                return await super().list_valid(after=after, limit=limit)

        slow = Slow(lab.primary)
        policy = Policy(load_page_max=1, cache_entries_max=1, refresh_interval_s=None)
        async with before(lab, slow, policy) as repo:
            for number in range(20):
                lab.primary.commit(make_key(f"k{number:02}"))
            slow.pause_s = 0.4
            began_s = lab.loop.time()
            return await repo.valid_keys(), lab.loop.time() - began_s

    found, took_s = run_laboratory(story)
    assert took_s == pytest.approx(2.0, abs=0.001)
    assert ids(found) == ["k00", "k01", "k02", "k03"]
    assert not found.is_complete


@pytest.mark.parametrize("outages", [[], [hang(10.0, 1e4)], [refuse(10.0, 1e4)]])
@pytest.mark.parametrize("breaker", [True, False])
def test_a_flood_costs_one_list_a_second(outages: list[object], breaker: bool) -> None:
    """However many ask, and whether or not the primary answers."""

    async def story(lab: Laboratory) -> list[float]:
        counting = Counting(lab.primary)
        policy = Policy(breaker=breaker, refresh_interval_s=None)
        async with before(lab, counting, policy) as repo:
            await lab.until(20.0)
            counting.lists.clear()
            for tenth in range(100):
                await asyncio.gather(*(repo.valid_keys() for _ in range(10)))
                await lab.until(max(lab.loop.time(), 20.0 + tenth / 10))
        return counting.lists

    lists = run_laboratory(story, outages)  # type: ignore[arg-type]
    assert len(lists) >= 1
    assert all(later - earlier >= 1.0 for earlier, later in pairwise(lists))


@pytest.mark.parametrize("policy", [Policy(), Policy(cache_entries_max=1)], ids=["roomy", "tiny"])
def test_what_is_acknowledged_here_is_listed_at_once(policy: Policy) -> None:
    """Also by an answer that is shared, or was begun before; and if memory has no room for it."""

    async def story(lab: Laboratory) -> None:
        async with lab.repository(policy) as repo:
            for number in range(5):
                await repo.create(make_key(f"k{number}"))
                assert ids(await repo.valid_keys()) == [f"k{n}" for n in range(number + 1)]
            await lab.until(10.0)
            asked = asyncio.create_task(repo.valid_keys())
            await asyncio.sleep(0.001)
            await repo.create(make_key("k5"))
            assert "k5" in ids(await repo.valid_keys())
            assert len(ids(await asked)) >= 5

    run_laboratory(story)


def test_a_tiny_cache_lists_all_the_same() -> None:
    """What the primary returns is listed, whether or not memory can keep it; what is used stays."""

    async def story(lab: Laboratory) -> ValidKeys:
        async with lab.repository(Policy(cache_entries_max=2)) as repo:
            for name in ("x", "y"):
                await repo.create(make_key(name))
            for number in range(30):
                lab.primary.commit(make_key(f"k{number:02}"))
            found = await repo.valid_keys()
            assert {key.id for key in repo.all_at_hand()} == {"x", "y"}
            return found

    assert len(run_laboratory(story).keys) == 32


def test_an_expired_key_is_never_listed() -> None:
    """Not even by an answer that is shared, from a moment at which it was valid."""

    async def story(lab: Laboratory) -> list[list[str]]:
        async with lab.repository() as repo:
            await repo.create(make_key("a", lifetime_s=20.0))
            await repo.create(make_key("b"))
            answers = []
            for moment_s in (19.5, 19.9, 20.0):
                await lab.until(moment_s)
                answers.append(ids(await repo.valid_keys()))
        return answers

    assert run_laboratory(story) == [["a", "b"], ["a", "b"], ["b"]]


def test_a_revoked_key_is_listed_as_it_is_found() -> None:
    """While `get` answers from memory so does the list, and for no longer."""

    async def story(lab: Laboratory) -> list[tuple[bool, bool]]:
        primary = InMemoryRepository(now=lab.now, entries_max=None)
        answers = []
        async with before(lab, primary, Policy(max_staleness_s=60.0)) as repo:
            await repo.create(make_key("a"))
            primary.discard("a")
            for moment_s in (10.0, 59.0, 62.0):
                await lab.until(moment_s)
                listed = "a" in ids(await repo.valid_keys())
                try:
                    found = (await repo.get("a")).id == "a"
                except LookupError:
                    found = False
                answers.append((listed, found))
        return answers

    assert run_laboratory(story) == [(True, True), (True, True), (False, False)]


def test_primary_only_lists_nothing_of_memory() -> None:
    """A key that was deleted from the primary is gone, at once but for the shared second."""

    async def story(lab: Laboratory) -> list[list[str]]:
        primary = InMemoryRepository(now=lab.now, entries_max=None)
        answers = []
        async with before(lab, primary, Policy(read_policy="primary-only")) as repo:
            await repo.create(make_key("a"))
            for moment_s in (1.0, 2.0):
                await lab.until(moment_s)
                answers.append(ids(await repo.valid_keys()))
                primary.discard("a")
            assert "a" in repo.cache
        return answers

    assert run_laboratory(story) == [["a"], []]


def test_what_waits_and_may_not_be_served_makes_the_answer_incomplete() -> None:
    """In an outage longer than `max_staleness_s`, of a primary that can be read."""

    class Unwritable(InMemoryRepository):
        async def create(self, key: PublicKey) -> object:  # type: ignore[override]
            raise PrimaryUnavailableError("read-only")

        async def create_many(self, keys: object) -> object:  # type: ignore[override]
            raise PrimaryUnavailableError("read-only")

    async def story(lab: Laboratory) -> list[bool]:
        primary = Unwritable(now=lab.now)
        async with before(lab, primary, Policy(max_staleness_s=30.0, breaker=False)) as repo:
            await repo.create(make_key("a"))
            complete = []
            for moment_s in (10.0, 40.0):
                await lab.until(moment_s)
                complete.append((await repo.valid_keys()).is_complete)
        return complete

    assert run_laboratory(story) == [True, False]


def test_the_primarys_own_is_listed_where_two_keys_have_one_id() -> None:
    """As `get` returns it: an id is bound by the store of record."""

    async def story(lab: Laboratory) -> ValidKeys:
        async with lab.repository(Policy(breaker=False, flush_interval_s=60.0)) as repo:
            await lab.until(15.0)
            await repo.create(make_key("a", material="ours"))
            lab.primary.commit(make_key("a", material="theirs"))
            await lab.until(20.5)
            assert len(repo.pending) == 1
            return await repo.valid_keys()

    found = run_laboratory(story, [refuse(10.0, 20.0)])
    assert [key.material for key in found.keys] == [make_key("a", material="theirs").material]


def test_primary_only_says_that_it_is_unavailable() -> None:
    """An outage is an outage: memory answers nothing."""

    async def story(lab: Laboratory) -> None:
        policy = Policy(
            read_policy="primary-only", write_order="primary-only", pending_writes=False
        )
        async with lab.repository(policy) as repo:
            await repo.create(make_key("a"))
            assert ids(await repo.valid_keys()) == ["a"]
            await lab.until(15.0)
            with pytest.raises(KeyUnavailableError):
                await repo.valid_keys()
            await lab.until(40.0)
            assert ids(await repo.valid_keys()) == ["a"]

    run_laboratory(story, [refuse(10.0, 30.0)])


def test_who_gives_up_takes_nobody_along() -> None:
    """The one who asks for all is cancelled: another asks, within the time-out of the first."""

    async def story(lab: Laboratory) -> float:
        async with lab.repository() as repo:
            await lab.until(20.0)
            first, *others = [asyncio.create_task(repo.valid_keys()) for _ in range(5)]
            await asyncio.sleep(0.3)
            first.cancel()
            await asyncio.gather(*others)
            assert first.cancelled()
            return lab.loop.time() - 20.0

    assert run_laboratory(story, [hang(10.0, 1e4)]) == pytest.approx(0.5, abs=0.01)


def test_a_store_without_end_is_left_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound on what is listed, which also stops a store that repeats its first page."""
    monkeypatch.setattr(listing, "LISTED_MAX", 10)

    class Endless(InMemoryRepository):
        async def list_valid(self, *, after: str | None, limit: int) -> Sequence[PublicKey]:
            await asyncio.sleep(0.01)
            return [make_key("a"), make_key("b")]

    async def story(lab: Laboratory) -> ValidKeys:
        policy = Policy(load_page_max=2, read_policy="primary-only")
        async with before(lab, Endless(now=lab.now), policy) as repo:
            return await repo.valid_keys()

    found = run_laboratory(story)
    assert ids(found) == ["a", "b"]
    assert not found.is_complete


def test_what_is_at_hand_is_what_memory_may_serve() -> None:
    """The answer for other instances: nobody is asked, and nothing counts as used."""

    async def story(lab: Laboratory) -> list[list[str]]:
        answers = []
        async with lab.repository(Policy(max_staleness_s=50.0, refresh_interval_s=None)) as repo:
            await repo.create(make_key("a", lifetime_s=15.0))
            await repo.create(make_key("b"))
            for moment_s in (5.0, 20.0, 60.0):
                await lab.until(moment_s)
                answers.append(sorted(key.id for key in repo.all_at_hand()))
        return answers

    assert run_laboratory(story, [hang(2.0, 1e4)]) == [["a", "b"], ["b"], []]


def test_what_the_cache_has_let_go_is_not_at_hand() -> None:
    """With `cache_ttl_s` a key leaves memory before it expires, unless it waits to be written."""

    async def story(lab: Laboratory) -> list[list[str]]:
        answers = []
        policy = Policy(cache_ttl_s=10.0, breaker=False, refresh_interval_s=None)
        async with lab.repository(policy) as repo:
            await repo.create(make_key("a"))
            await lab.until(4.0)
            await repo.create(make_key("b"))
            for moment_s in (5.0, 15.0):
                await lab.until(moment_s)
                answers.append(sorted(key.id for key in repo.all_at_hand()))
        return answers

    assert run_laboratory(story, [refuse(3.0, 1e4)]) == [["a", "b"], ["b"]]


def test_a_key_that_takes_the_place_of_an_expired_one_is_listed() -> None:
    """Within the second in which an answer is shared: the id is there, but not with this key."""

    async def story(lab: Laboratory) -> tuple[PublicKey, ValidKeys]:
        async with lab.repository() as repo:
            await repo.create(make_key("a", lifetime_s=1.0))
            await lab.until(0.8)
            assert ids(await repo.valid_keys()) == ["a"]
            await lab.until(1.1)
            again = make_key("a", material="new", created_s=1.1)
            await repo.create(again)
            return again, await repo.valid_keys()

    again, found = run_laboratory(story)
    assert found.keys == (again,)
    assert found.is_complete


def test_what_get_would_deny_does_not_join_a_shared_answer() -> None:
    """With "primary-only" memory has a key that the primary refused, and does not serve it."""

    async def story(lab: Laboratory) -> list[list[str]]:
        answers = []
        policy = Policy(read_policy="primary-only", breaker=False)
        async with lab.repository(policy) as repo:
            await lab.until(1.0)
            answers.append(ids(await repo.valid_keys()))
            await lab.until(1.5)
            assert await repo.create(make_key("b")) is Durability.MEMORY
            with pytest.raises(KeyNotFoundError):
                await repo.get("b")
            answers.append(ids(await repo.valid_keys()))
        return answers

    assert run_laboratory(story, [Outage(1.2, 5.0, OutageMode.READ_ONLY)]) == [[], []]


def test_a_key_that_is_too_old_to_be_served_leaves_an_answer_incomplete() -> None:
    """Creating it again in an outage makes it no younger: `get` says that it is unavailable."""

    async def story(lab: Laboratory) -> ValidKeys:
        policy = Policy(max_staleness_s=10.0, refresh_interval_s=None)
        async with lab.repository(policy) as repo:
            await repo.create(make_key("a"))
            await lab.until(20.0)
            await repo.valid_keys()
            await repo.create(make_key("a"))
            with pytest.raises(KeyUnavailableError):
                await repo.get("a")
            return await repo.valid_keys()

    found = run_laboratory(story, [refuse(5.0, 1e4)])
    assert found.keys == ()
    assert not found.is_complete
