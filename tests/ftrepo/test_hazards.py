"""The known hazards of this design, (a) to (e), one test or more for each."""

from __future__ import annotations

import asyncio

import pytest

from ftrepo.errors import KeyConflictError
from ftrepo.events import Flushed, FlushFailed, PendingDropped
from ftrepo.interface import Durability
from ftrepo.policy import Policy
from sim.world.outages import Outage, OutageMode
from tests.laboratory import LATENCY_S, Laboratory, hang, make_key, refuse, run_laboratory

SEEDS = range(20)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_key_that_fails_while_a_flush_runs_is_not_forgotten(seed: int) -> None:
    """(a) A flush that finishes says nothing about the keys that it did not carry."""
    policy = Policy(breaker=False, flush_interval_s=0.5, refresh_interval_s=None)

    async def story(lab: Laboratory) -> None:
        async with lab.repository(policy) as repo:
            for burst in range(40):
                await lab.until(0.25 * burst + 0.2491)
                names = [f"key-{burst}-{number}" for number in range(5)]
                await asyncio.gather(*(repo.create(make_key(name)) for name in names))
            await lab.until(60.0)
            assert len(lab.primary) == 200
            assert len(repo.pending) == 0

    run_laboratory(story, [Outage(0.0, 20.0, OutageMode.ERROR_RATE, 0.5)], seed=seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_written_twice_and_no_flush_is_idle(seed: int) -> None:
    """(a) Each key is sent until it succeeds, by one writer at a time, and no batch is empty."""
    policy = Policy(breaker=False, flush_interval_s=0.5, refresh_interval_s=None)

    async def story(lab: Laboratory) -> None:
        sent: dict[str, int] = {}
        faults: list[str] = []  # raised here, they would pass for a failure of the primary
        stored: list[str] = []
        create, create_many = lab.primary.create, lab.primary.create_many

        async def counted(names: list[str], call: object) -> object:
            faults.extend(["a flush that does nothing"] * (not names))
            for name in names:
                sent[name] = sent.get(name, 0) + 1
                faults.extend([f"two writers of {name} at once"] * (sent[name] > 1))
            try:
                result = await call
                stored.extend(names)
                return result
            finally:
                for name in names:
                    sent[name] -= 1

        lab.primary.create = lambda key: counted([key.id], create(key))
        lab.primary.create_many = lambda keys: counted([k.id for k in keys], create_many(keys))
        async with lab.repository(policy) as repo:
            for number in range(100):
                await lab.until(0.1 * number + 0.0999)
                await repo.create(make_key(f"key-{number}"))
            await lab.until(30.0)
        assert faults == []
        assert sorted(stored) == sorted(f"key-{number}" for number in range(100))

    run_laboratory(story, [refuse(2.0, 3.0), refuse(5.0, 7.3)], seed=seed)


def test_a_stored_key_is_never_reported_as_an_error() -> None:
    """(b) The primary commits and its answer is lost: the caller hears that the key is stored."""
    outage = Outage(1.0, 9.0, OutageMode.ERROR_RATE, 1.0)

    async def story(lab: Laboratory) -> None:
        async with lab.repository(Policy(breaker=False)) as repo:
            await lab.until(2.0)
            assert await repo.create(make_key("a")) is Durability.MEMORY
            assert "a" in lab.primary
            assert await repo.get("a") == make_key("a")
            await lab.until(20.0)
            assert len(repo.pending) == 0

    run_laboratory(story, [outage], lost_reply_share=1.0)


def test_delete_expired_succeeds_if_memory_was_cleaned() -> None:
    """(c) The primary's failure is logged, not raised, and the count is that of memory."""

    async def story(lab: Laboratory) -> None:
        async with lab.repository() as repo:
            await repo.create(make_key("a", lifetime_s=5.0))
            await lab.until(10.0)
            assert await repo.delete_expired() == 1
            assert len(repo.cache) == 0

    run_laboratory(story, [refuse(9.0, 40.0)])


def test_a_fresher_key_in_memory_is_not_overwritten() -> None:
    """(d) The primary's older copy of the key is returned or loaded, and memory keeps its own."""
    older, fresher = make_key("a", lifetime_s=100.0), make_key("a", lifetime_s=200.0)

    async def story(lab: Laboratory) -> None:
        lab.primary.commit(older)
        async with lab.repository(Policy(refresh_interval_s=10.0)) as repo:
            repo.cache.discard("a")
            repo.cache.put(fresher)
            await repo.get("a")
            assert repo.cache.lookup("a") == fresher
            await lab.until(15.0)  # a refresh has passed
            assert repo.cache.lookup("a") == fresher
            await lab.until(150.0)  # the older one has expired
            assert await repo.get("a") == fresher

    run_laboratory(story)


@pytest.mark.parametrize("outage", [refuse(1.0, 60.0), hang(1.0, 60.0)])
def test_an_expired_key_is_never_written_by_a_flush(outage: Outage) -> None:
    """(e) It is dropped and counted, the others of its batch are written."""
    policy = Policy(flush_interval_s=7.0)

    async def story(lab: Laboratory) -> None:
        written: dict[str, bool] = {}
        create_many = lab.primary.create_many

        async def watched(keys):
            written.update((key.id, key.has_expired(lab.now())) for key in keys)
            return await create_many(keys)

        async with lab.repository(policy) as repo:
            await lab.until(2.0)
            for number in range(6):  # trips the breaker, so that none of these is on its way
                await repo.create(make_key(f"filler-{number}"))
            lab.primary.create_many = watched
            await repo.create(make_key("short", created_s=2.0, lifetime_s=30.0))
            await repo.create(make_key("long"))
            await lab.until(80.0)
            dropped = lab.seen(PendingDropped)
            assert [(e.key_id, e.reason) for e in dropped] == [("short", "expired")]
            assert "short" not in lab.primary
            assert "short" not in repo.cache
            assert "long" in written
            assert not any(written.values())

    run_laboratory(story, [outage])


def test_a_flush_that_fails_half_way_keeps_the_rest() -> None:
    """The batches that were confirmed leave, the others stay for the next beat."""
    policy = Policy(flush_batch_max=10, breaker=False, flush_interval_s=100.0)

    async def story(lab: Laboratory) -> None:
        async with lab.repository(policy) as repo:
            await lab.until(2.0)
            await asyncio.gather(*(repo.create(make_key(f"key-{n}")) for n in range(30)))
            await lab.until(10.0 - 1.5 * LATENCY_S)
            await repo.flush()
            assert len(lab.seen(Flushed)) == 1
            assert len(lab.seen(FlushFailed)) == 1
            assert len(repo.pending) == 20
            await lab.until(110.0)
            assert len(lab.primary) == 30

    run_laboratory(story, [refuse(1.0, 9.0), refuse(10.0, 12.0)])


@pytest.mark.parametrize("ending", ["time-out", "cancellation"])
def test_what_one_create_is_refused_another_is_not_promised(ending: str) -> None:
    """Of two creates of one key, one is told of a conflict; the other, which ends later, too."""
    key, calls = make_key("a"), 0

    async def story(lab: Laboratory) -> None:
        async def insert(_: object) -> Durability:
            nonlocal calls
            calls += 1
            await asyncio.sleep(10.0 if calls == 1 else 0.1)
            raise KeyConflictError("bound to other material")

        lab.primary.create = insert  # type: ignore[method-assign]
        async with lab.repository(Policy(breaker=False)) as repo:
            first = asyncio.create_task(repo.create(key))
            await asyncio.sleep(0.1)
            with pytest.raises(KeyConflictError):
                await repo.create(key)
            if ending == "cancellation":
                first.cancel()
            with pytest.raises((KeyConflictError, asyncio.CancelledError)):
                await first
            assert key.id not in repo.pending
            assert key.id not in repo.cache
            # Nothing is left of it: the next create of this id is judged by itself.
            lab.primary.create = lab.primary.__class__.create.__get__(lab.primary)  # type: ignore[method-assign]
            assert await repo.create(key) is Durability.PRIMARY

    run_laboratory(story)
