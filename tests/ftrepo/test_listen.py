"""The repository before a primary that announces new keys, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from ftrepo.errors import KeyNotFoundError
from ftrepo.events import Refreshed
from ftrepo.fault_tolerant import FaultTolerantRepository
from ftrepo.interface import ChangeFeed
from ftrepo.keys import PublicKey
from ftrepo.policy import Policy
from tests.laboratory import Laboratory, make_key, refuse, run_laboratory

QUIET = Policy(refresh_interval_s=None, flush_interval_s=1.0)
"""Nothing is refreshed but for a reason."""


class Announcing:
    """The simulated primary with a feed, which a test speaks into."""

    def __init__(self, lab: Laboratory) -> None:
        self._lab = lab
        self.subscribed_s: list[float] = []
        self.listeners = 0
        self.announced: asyncio.Queue[Sequence[PublicKey] | Exception | None] = asyncio.Queue()
        self.broken = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lab.primary, name)

    async def changes(self) -> AsyncGenerator[Sequence[PublicKey] | None, None]:
        self.subscribed_s.append(self._lab.loop.time())
        if self.broken:
            raise ConnectionRefusedError("no feed today")
        self.listeners += 1
        try:
            yield None
            while True:
                said = await self.announced.get()
                if isinstance(said, Exception):
                    raise said
                yield said
        finally:
            self.listeners -= 1

    def store(self, key: PublicKey) -> None:
        """Another instance stores a key, which is announced."""
        self._lab.primary.commit(key)
        self.announced.put_nowait([key])

    def repository(self, policy: Policy) -> FaultTolerantRepository:
        return FaultTolerantRepository(
            self,  # type: ignore[arg-type]
            policy,
            now=self._lab.now,
            observers=[self._lab.events.append],
            draw=lambda: 0.0,
        )


def test_an_announced_key_is_in_memory_at_once() -> None:
    """A key that another instance stores is in the cache before anybody asks for it."""

    async def story(lab: Laboratory) -> None:
        primary = Announcing(lab)
        assert isinstance(primary, ChangeFeed)
        async with primary.repository(QUIET) as repo:
            await lab.until(10.0)
            primary.store(make_key("a"))
            await lab.until(10.001)
            assert "a" in repo.cache

    run_laboratory(story)


def test_an_announced_key_is_absent_no_longer() -> None:
    """That the primary did not have a key is forgotten, though memory has no room for the key."""
    policy = replace(QUIET, absent_ttl_s=100.0, cache_entries_max=1)

    async def story(lab: Laboratory) -> None:
        primary = Announcing(lab)
        async with primary.repository(policy) as repo:
            with pytest.raises(KeyNotFoundError):
                await repo.get("a")
            primary.store(make_key("a"))
            primary.store(make_key("b"))
            await asyncio.sleep(1.0)
            assert "a" not in repo.cache
            assert await repo.get("a") == make_key("a")

    run_laboratory(story)


def test_what_was_stored_before_the_feed_began_is_not_missed() -> None:
    """The feed begins with a refresh: a key stored between the load and it is found."""

    async def story(lab: Laboratory) -> None:
        primary = Announcing(lab)
        async with primary.repository(QUIET) as repo:
            lab.primary.commit(make_key("a"))  # the load is over, and nobody listens yet
            await lab.until(1.0)
            assert "a" in repo.cache

    run_laboratory(story)


def test_an_announced_key_joins_the_list_that_is_shared() -> None:
    """Its maker may sign with it at once: a verifier needs it before the list is a second old."""

    async def story(lab: Laboratory) -> tuple[list[list[str]], int]:
        primary = Announcing(lab)
        async with primary.repository(QUIET) as repo:
            await lab.until(5.0)
            answers = [await repo.valid_keys()]
            primary.store(make_key("b"))
            await lab.until(5.1)
            answers += [await repo.valid_keys(), await repo.valid_keys()]
            # Whoever makes something of an answer makes it once.
            assert answers[1] is answers[2]
            assert all(each.is_complete for each in answers)
            return [[key.id for key in each.keys] for each in answers], repo.lookup.misses

    assert run_laboratory(story) == ([[], ["b"], ["b"]], 0)


def test_a_key_that_waits_is_confirmed_by_its_announcement() -> None:
    """A write whose answer was lost is no longer pending once the primary announces the key."""

    async def story(lab: Laboratory) -> None:
        primary = Announcing(lab)
        async with primary.repository(QUIET) as repo:
            await lab.until(5.5)
            await repo.create(make_key("a"))
            assert "a" in repo.pending
            await lab.until(5.6)
            primary.store(make_key("a"))
            await lab.until(5.7)
            assert "a" not in repo.pending

    run_laboratory(story, [refuse(5.0, 5.6)])


def test_a_lost_feed_is_asked_for_once_a_beat() -> None:
    """However the feed fails, it is asked for at most once in a flush interval."""

    async def story(lab: Laboratory) -> None:
        primary = Announcing(lab)
        primary.broken = True
        async with primary.repository(QUIET) as repo:
            await lab.until(60.5)
            assert len(primary.subscribed_s) == 61
            primary.broken = False
            primary.store(make_key("a"))
            await lab.until(62.0)
            assert primary.listeners == 1
            assert "a" in repo.cache

    run_laboratory(story)


def test_a_feed_that_ends_is_asked_for_again() -> None:
    """A feed that is lost in the middle is subscribed to anew, and begins with a refresh."""

    async def story(lab: Laboratory) -> None:
        primary = Announcing(lab)
        async with primary.repository(QUIET) as repo:
            await lab.until(10.0)
            primary.announced.put_nowait(ConnectionResetError("lost"))
            await lab.until(10.1)
            lab.primary.commit(make_key("a"))  # nobody listens
            assert primary.listeners == 0
            await lab.until(11.1)
            assert (primary.listeners, len(primary.subscribed_s)) == (1, 2)
            assert "a" in repo.cache

    run_laboratory(story)


def test_nobody_subscribes_while_the_breaker_is_open() -> None:
    """In an outage the feed is not asked for; it is when the breaker has closed."""

    async def story(lab: Laboratory) -> None:
        primary = Announcing(lab)
        async with primary.repository(QUIET) as repo:
            await lab.until(10.0)
            for number in range(repo.policy.breaker_failure_threshold):
                await repo.create(make_key(f"k{number}"))
            primary.announced.put_nowait(ConnectionResetError("lost"))
            await lab.until(100.0)
            assert len(primary.subscribed_s) == 1
            await lab.until(100.0 + 2 * repo.policy.breaker_open_s)
            assert len(primary.subscribed_s) == 2
            assert primary.listeners == 1

    run_laboratory(story, [refuse(10.0, 100.0)])


def test_many_large_batches_are_one_refresh_a_beat() -> None:
    """A feed that says "look at everything" all the time costs one refresh a flush interval."""

    async def story(lab: Laboratory) -> None:
        primary = Announcing(lab)
        async with primary.repository(QUIET):
            await lab.until(10.0)
            before = len(lab.seen(Refreshed))
            for _ in range(100):
                primary.announced.put_nowait(None)
            await lab.until(20.5)
            assert 10 <= len(lab.seen(Refreshed)) - before <= 11

    run_laboratory(story)


def test_memory_that_is_not_read_is_not_fed() -> None:
    """With `read_policy="primary-only"` nobody subscribes."""

    async def story(lab: Laboratory) -> None:
        primary = Announcing(lab)
        async with primary.repository(Policy(read_policy="primary-only")):
            await lab.until(10.0)
            assert not primary.subscribed_s

    run_laboratory(story)


def test_stopping_ends_the_subscription() -> None:
    """When the repository has stopped, nobody listens any more."""

    async def story(lab: Laboratory) -> None:
        primary = Announcing(lab)
        async with primary.repository(QUIET):
            await lab.until(1.0)
            assert primary.listeners == 1
        assert primary.listeners == 0

    run_laboratory(story)
