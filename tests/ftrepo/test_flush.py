"""A flush of many batches: one under way at a time, the books kept meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

import pytest

from ftrepo.errors import PrimaryUnavailableError
from ftrepo.events import Flushed, FlushFailed
from ftrepo.fault_tolerant import FaultTolerantRepository
from ftrepo.keys import PublicKey
from ftrepo.policy import Policy
from tests.laboratory import Laboratory, make_key, refuse, run_laboratory

KEYS = [make_key(f"key-{number:02}") for number in range(10)]
POLICY = Policy(flush_batch_max=3, flush_interval_s=1000.0, breaker=False)


async def outage_over(lab: Laboratory) -> FaultTolerantRepository:
    """A running repository with ten keys pending, and a primary that is up again."""
    repo = lab.repository(POLICY)
    await repo.__aenter__()
    await lab.until(1.0)
    for key in KEYS:
        await repo.create(key)
    await lab.until(11.0)
    assert len(repo.pending) == len(KEYS)
    return repo


def test_batches_follow_each_other() -> None:
    """Ten keys go in four batches, never two at once, each key once and in order."""
    sent: list[list[str]] = []

    async def story(lab: Laboratory) -> None:
        repo = await outage_over(lab)
        store, under_way = lab.primary.create_many, 0

        async def create_many(keys: Sequence[PublicKey]) -> Collection[str]:
            nonlocal under_way
            under_way += 1
            assert under_way == 1
            sent.append([key.id for key in keys])
            result = await store(keys)
            under_way -= 1
            return result

        lab.primary.create_many = create_many  # type: ignore[method-assign]
        assert await repo.flush() == len(KEYS)
        assert not repo.pending
        assert [e.confirmed for e in lab.seen(Flushed)] == [3, 3, 3, 1]  # type: ignore[attr-defined]
        assert [e.remaining for e in lab.seen(Flushed)] == [7, 4, 1, 0]  # type: ignore[attr-defined]

    run_laboratory(story, [refuse(1.0, 10.0)])
    assert sent == [[k.id for k in KEYS[at : at + 3]] for at in (0, 3, 6, 9)]


def test_flushes_follow_each_other() -> None:
    """Three who flush at once, and each key goes once, in batches of which none overlap."""
    sent: list[str] = []

    async def story(lab: Laboratory) -> None:
        repo = await outage_over(lab)
        store, under_way, together = lab.primary.create_many, 0, 0

        async def create_many(keys: Sequence[PublicKey]) -> Collection[str]:
            nonlocal under_way, together
            under_way += 1
            together = max(together, under_way)
            sent.extend(key.id for key in keys)
            result = await store(keys)
            under_way -= 1
            return result

        lab.primary.create_many = create_many  # type: ignore[method-assign]
        assert await asyncio.gather(*(repo.flush() for _ in range(3))) == [len(KEYS), 0, 0]
        assert together == 1

    run_laboratory(story, [refuse(1.0, 10.0)])
    assert sent == [key.id for key in KEYS]


def test_the_books_are_kept_while_the_primary_works() -> None:
    """As a batch reaches the primary the one before is still in the books; soon it is not."""
    waiting: list[tuple[int, int]] = []

    async def story(lab: Laboratory) -> None:
        repo = await outage_over(lab)
        store = lab.primary.create_many

        async def create_many(keys: Sequence[PublicKey]) -> Collection[str]:
            at_start = len(repo.pending)
            result = await store(keys)
            waiting.append((at_start, len(repo.pending)))
            return result

        lab.primary.create_many = create_many  # type: ignore[method-assign]
        await repo.flush()

    run_laboratory(story, [refuse(1.0, 10.0)])
    assert waiting == [(10, 10), (10, 7), (7, 4), (4, 1)]


@pytest.mark.parametrize("failing", [0, 1, 3])
def test_a_batch_that_fails_stops_the_flush(failing: int) -> None:
    """What was confirmed before is settled; the batch that failed and all after it still wait."""

    async def story(lab: Laboratory) -> None:
        repo = await outage_over(lab)
        store, number = lab.primary.create_many, 0

        async def create_many(keys: Sequence[PublicKey]) -> Collection[str]:
            nonlocal number
            number += 1
            if number == failing + 1:
                raise PrimaryUnavailableError("away again")
            return await store(keys)

        lab.primary.create_many = create_many  # type: ignore[method-assign]
        done = 3 * failing
        assert await repo.flush() == done
        assert repo.pending.key_ids() == [key.id for key in KEYS[done:]]
        assert len(repo.pending) == len(KEYS) - done  # all of them wait; nobody owns them
        assert len(lab.seen(FlushFailed)) == 1
        assert await repo.flush() == len(KEYS) - done
        assert all(key.id in lab.primary for key in KEYS)

    run_laboratory(story, [refuse(1.0, 10.0)])


@pytest.mark.parametrize("moment_s", [0.0, 0.001, 0.002, 0.003, 0.004, 0.005])
def test_a_cancelled_flush_gives_its_keys_back(moment_s: float) -> None:
    """Cancelled at any point, it leaves no key without an owner, no call, and nothing is lost."""

    async def story(lab: Laboratory) -> None:
        repo = await outage_over(lab)
        flush = asyncio.create_task(repo.flush())
        await asyncio.sleep(moment_s)
        flush.cancel()
        await asyncio.gather(flush, return_exceptions=True)
        await asyncio.sleep(1.0)
        left = repo.pending.key_ids()
        assert len(repo.pending) == len(left)
        assert repo._guarded.calls_in_flight == 0
        assert all(k.id in left or k.id in lab.primary for k in KEYS)
        assert await repo.flush() == len(left)
        assert all(key.id in lab.primary for key in KEYS)

    run_laboratory(story, [refuse(1.0, 10.0)])


@pytest.mark.parametrize("turns", range(40))
def test_a_flush_cancelled_between_two_batches_leaves_nothing_behind(turns: int) -> None:
    """At whatever turn of the loop it is cancelled: no key without an owner, no call under way."""

    async def story(lab: Laboratory) -> None:
        repo = await outage_over(lab)
        sent, under_way = 0, 0

        async def create_many(keys: Sequence[PublicKey]) -> Collection[str]:
            nonlocal sent, under_way
            sent, under_way = sent + 1, under_way + 1
            try:
                for _ in range(5 if sent == 1 else 200):
                    await asyncio.sleep(0)
                return ()
            finally:
                under_way -= 1

        store, lab.primary.create_many = lab.primary.create_many, create_many  # type: ignore[method-assign]
        flush = asyncio.create_task(repo.flush())
        for _ in range(turns):
            await asyncio.sleep(0)
        flush.cancel()
        await asyncio.gather(flush, return_exceptions=True)
        for _ in range(5):
            await asyncio.sleep(0)
        assert not under_way
        left = repo.pending.key_ids()
        assert left == [key.id for key in KEYS][len(KEYS) - len(left) :]
        lab.primary.create_many = store  # type: ignore[method-assign]
        assert await repo.flush() == len(left)

    run_laboratory(story, [refuse(1.0, 10.0)])
