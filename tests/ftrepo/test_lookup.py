"""What `get` asks the primary for, and what it need not ask."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Literal

import pytest

from ftrepo.errors import KeyNotFoundError, KeyUnavailableError
from ftrepo.events import CacheMiss, PrimaryFailed, ServedFromMemory
from ftrepo.fault_tolerant import FaultTolerantRepository
from ftrepo.interface import Durability
from ftrepo.keys import PublicKey
from ftrepo.policy import Policy
from ftrepo.resilience import BreakerState
from tests.laboratory import LATENCY_S, Laboratory, hang, make_key, refuse, run_laboratory

PATIENT = Policy(absent_ttl_s=10.0)


def asked(lab: Laboratory) -> int:
    """How many calls the primary has had."""
    return len(lab.primary.attempts_s)


def test_callers_of_one_key_share_one_call() -> None:
    """A hundred callers at one moment cost the primary one call, and all have the key."""

    async def story(lab: Laboratory) -> None:
        async with lab.repository() as repo:
            lab.primary.commit(make_key("a"))
            before = asked(lab)
            keys = await asyncio.gather(*(repo.get("a") for _ in range(100)))
            assert keys == [make_key("a")] * 100
            assert asked(lab) - before == 1
            await repo.get("a")
            assert asked(lab) - before == 2, "what is asked later is a new call"

    run_laboratory(story)


def test_the_failure_of_a_shared_call_is_one_failure() -> None:
    """Those who share a call that fails are each served from memory, and it counts once."""

    async def story(lab: Laboratory) -> None:
        async with lab.repository() as repo:
            await repo.create(make_key("a"))
            await lab.until(1.0)
            keys = await asyncio.gather(*(repo.get("a") for _ in range(100)))
            assert keys == [make_key("a")] * 100
            assert len(lab.seen(PrimaryFailed)) == 1
            assert len(lab.seen(ServedFromMemory)) == 100
            unknown = await asyncio.gather(
                *(repo.get("unknown") for _ in range(10)), return_exceptions=True
            )
            assert {type(each) for each in unknown} == {KeyUnavailableError}
            assert len(set(map(id, unknown))) == 10, "each has an error of its own"

    run_laboratory(story, [refuse(1.0, 5.0)])


def test_nobody_fails_because_another_gave_up() -> None:
    """When the caller whose call is shared is cancelled, the others still get the key."""

    async def story(lab: Laboratory) -> None:
        async with lab.repository() as repo:
            lab.primary.commit(make_key("a"))
            first, *others = [asyncio.create_task(repo.get("a")) for _ in range(5)]
            await asyncio.sleep(LATENCY_S / 2)
            first.cancel()
            assert await asyncio.gather(*others) == [make_key("a")] * 4
            assert first.cancelled()

    run_laboratory(story)


def test_a_key_stored_while_a_shared_call_is_under_way_is_found() -> None:
    """A "no" that is older than the question proves nothing: it is asked once more."""

    async def story(lab: Laboratory) -> None:
        select = lab.primary.get

        async def answer_late(key_id: str) -> PublicKey:
            try:
                return await select(key_id)
            finally:
                await asyncio.sleep(0.1)

        lab.primary.get = answer_late  # type: ignore[method-assign]
        async with lab.repository() as repo:
            early = asyncio.create_task(repo.get("a"))
            await asyncio.sleep(0.05)  # The primary has said no, and that is on its way.
            lab.primary.commit(make_key("a"))
            assert await repo.get("a") == make_key("a")
            with pytest.raises(KeyNotFoundError):
                await early

    run_laboratory(story)


def test_an_absent_key_is_asked_for_once_a_while() -> None:
    """A made-up id costs the primary one call; after the time it is asked for again."""

    async def story(lab: Laboratory) -> None:
        async with lab.repository(PATIENT) as repo:
            before = asked(lab)
            for _ in range(50):
                with pytest.raises(KeyNotFoundError):
                    await repo.get("unknown")
            assert asked(lab) - before == 1
            assert repo.lookup.absent_hits == 49
            await lab.until(11.0)
            with pytest.raises(KeyNotFoundError):
                await repo.get("unknown")
            assert asked(lab) - before == 2

    run_laboratory(story)


def test_zero_asks_every_time() -> None:
    """Without a memory for what is absent each `get` is a call."""

    async def story(lab: Laboratory) -> None:
        async with lab.repository(Policy(absent_ttl_s=0.0)) as repo:
            before = asked(lab)
            for _ in range(5):
                with pytest.raises(KeyNotFoundError):
                    await repo.get("unknown")
            assert asked(lab) - before == 5

    run_laboratory(story)


@pytest.mark.parametrize("read_policy", ["primary-first", "cache-first"])
def test_a_create_ends_the_absence(read_policy: Literal["primary-first", "cache-first"]) -> None:
    """A key that is created here is found at once, also while it only waits to be written."""
    policy = replace(PATIENT, read_policy=read_policy, cache_entries_max=1)

    async def story(lab: Laboratory) -> None:
        async with lab.repository(policy) as repo:
            for _ in range(2):
                with pytest.raises(KeyNotFoundError):
                    await repo.get("a")
            await repo.create(make_key("a"))
            await repo.create(make_key("b"))  # which pushes "a" out of memory
            assert await repo.get("a") == make_key("a")

            with pytest.raises(KeyNotFoundError):
                await repo.get("c")
            await lab.until(1.0)
            await repo.create(make_key("c"))
            assert await repo.get("c") == make_key("c")

    run_laboratory(story, [refuse(1.0, 2.0)])


def test_absence_is_not_remembered_of_a_primary_that_cannot_be_asked() -> None:
    """A failure is no "no": the answer is "unavailable" as long as it lasts, and then the key."""

    async def story(lab: Laboratory) -> None:
        async with lab.repository(PATIENT) as repo:
            lab.primary.commit(make_key("a"))
            await lab.until(1.0)
            for _ in range(3):
                with pytest.raises(KeyUnavailableError):
                    await repo.get("a")
            await lab.until(2.0)
            assert await repo.get("a") == make_key("a")

    run_laboratory(story, [refuse(1.0, 2.0)])


@pytest.mark.parametrize("read_policy", ["primary-first", "cache-first"])
def test_hits_and_misses_are_counted(read_policy: Literal["primary-first", "cache-first"]) -> None:
    """Each call for which memory is asked counts once: as a hit, or as a miss."""

    async def story(lab: Laboratory) -> None:
        async with lab.repository(Policy(read_policy=read_policy)) as repo:
            await repo.create(make_key("a"))
            await lab.until(1.0)
            for _ in range(3):
                await repo.get("a")
            assert (repo.lookup.hits, repo.lookup.misses) == (3, 0)
            with pytest.raises(KeyUnavailableError):
                await repo.get("unknown")
            assert (repo.lookup.hits, repo.lookup.misses) == (3, 1)
            assert len(lab.seen(CacheMiss)) == 1
            if read_policy == "primary-first":
                await lab.until(3.0)
                await repo.get("a")
                assert repo.lookup.hits == 3, "the primary has answered, and memory was not asked"

    run_laboratory(story, [refuse(1.0, 2.0)])


def test_a_joined_caller_keeps_its_own_deadline() -> None:
    """Whoever joins a call that hangs waits no longer than it would have by itself."""

    async def story(lab: Laboratory) -> None:
        async with lab.repository(Policy(breaker=False)) as repo:
            await repo.create(make_key("a"))
            await lab.until(1.0)
            first = asyncio.create_task(repo.get("a"))
            await asyncio.sleep(0.4)
            assert await repo.get("a") == make_key("a")
            assert lab.loop.time() == pytest.approx(1.5)
            await first

    run_laboratory(story, [hang(1.0, 10.0)])


def test_calls_that_the_breaker_keeps_away_are_counted() -> None:
    """Each caller who is refused because the breaker is open is one rejection of that breaker."""

    async def story(lab: Laboratory) -> None:
        async with lab.repository() as repo:
            await lab.until(1.0)
            while repo.breaker_state is BreakerState.CLOSED:
                with pytest.raises(KeyUnavailableError):
                    await repo.get("unknown")
            assert repo.breaker is not None
            before = repo.breaker.counts.rejected
            for _ in range(7):
                with pytest.raises(KeyUnavailableError) as refused:
                    await repo.get("unknown")
                assert refused.value.retry_after_s == pytest.approx(5.0, abs=0.5)
            assert repo.breaker.counts.rejected == before + 7

    run_laboratory(story, [refuse(1.0, 5.0)])


@pytest.mark.parametrize(
    "policy",
    [
        Policy(read_policy="primary-only", absent_ttl_s=1.0),
        Policy(write_order="primary-only", pending_writes=False),
        Policy(write_order="primary-first", cache_entries_max=1),
    ],
    ids=["reads past memory", "writes past memory", "a full memory"],
)
def test_a_no_that_arrives_after_the_create_is_not_remembered(policy: Policy) -> None:
    """Once a `create` has been acknowledged, no `get` that begins afterwards says "unknown"."""

    async def story(lab: Laboratory) -> None:
        select = lab.primary.get

        async def answer_late(key_id: str) -> PublicKey:
            try:
                return await select(key_id)
            finally:
                await asyncio.sleep(0.1)

        async with lab.repository(policy) as repo:
            lab.primary.get = answer_late  # type: ignore[method-assign]
            early = asyncio.create_task(repo.get("a"))
            await asyncio.sleep(0.05)
            assert await repo.create(make_key("a")) is Durability.PRIMARY
            await repo.create(make_key("b"))
            with suppress(KeyNotFoundError):
                await early
            lab.primary.get = select  # type: ignore[method-assign]
            assert await repo.get("a") == make_key("a")

    run_laboratory(story)


def test_a_key_that_was_flushed_is_not_absent() -> None:
    """The primary's "no" of before the flush is forgotten when the flush has confirmed the key."""
    policy = Policy(cache_entries_max=1, flush_interval_s=100.0, breaker=False, absent_ttl_s=10.0)

    async def story(lab: Laboratory) -> None:
        async with lab.repository(policy) as repo:
            await lab.until(1.0)
            await repo.create(make_key("a"))
            await lab.until(2.0)
            assert await repo.get("a") == make_key("a")
            assert len(lab.seen(ServedFromMemory)) == 1, "the primary has said no"
            assert await repo.flush() == 1
            await repo.create(make_key("b"))
            assert "a" not in repo.cache
            assert await repo.get("a") == make_key("a")

    run_laboratory(story, [refuse(1.0, 1.5)])


def test_a_second_question_has_what_is_left_of_the_time() -> None:
    """Whoever must ask once more, and then meets a primary that hangs, waits no longer for it."""

    async def story(lab: Laboratory) -> None:
        answers_s = iter([0.45, 10.0])
        select = lab.primary.get

        async def slow(key_id: str) -> PublicKey:
            await asyncio.sleep(next(answers_s))
            return await select(key_id)

        lab.primary.get = slow  # type: ignore[method-assign]
        async with lab.repository() as repo:
            first = asyncio.create_task(repo.get("a"))
            await asyncio.sleep(0.01)
            with pytest.raises(KeyUnavailableError):
                await repo.get("a")
            assert lab.loop.time() - 0.01 == pytest.approx(0.5, abs=0.005)
            with pytest.raises(KeyNotFoundError):
                await first

    run_laboratory(story)


def test_those_who_give_up_do_not_keep_others_waiting() -> None:
    """A call that was handed on from one impatient caller to the next ends when the first would."""

    async def story(lab: Laboratory) -> None:
        async def impatient(patience_s: float) -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await repo.get("a")

        async with lab.repository(Policy(breaker=False)) as repo:
            await repo.create(make_key("a"))
            await lab.until(1.0)
            others = [asyncio.create_task(impatient(0.1 * each)) for each in range(1, 10)]
            await asyncio.sleep(0)
            assert await repo.get("a") == make_key("a")
            assert lab.loop.time() == pytest.approx(1.5, abs=0.002)
            await asyncio.gather(*others)

    run_laboratory(story, [hang(1.0, 20.0)])


def test_callers_without_patience_do_not_hide_an_outage() -> None:
    """If all give up before the time-out, the call that they share still fails, and that counts."""

    async def story(lab: Laboratory) -> None:
        served = 0

        async def caller() -> None:
            nonlocal served
            with suppress(TimeoutError):
                async with asyncio.timeout(0.3):
                    await repo.get("a")
                    served += 1

        async with lab.repository() as repo:
            await repo.create(make_key("a"))
            await lab.until(1.0)
            crowd = []
            for _ in range(1000):
                crowd.append(asyncio.create_task(caller()))
                await asyncio.sleep(0.01)
            await asyncio.gather(*crowd)
            assert repo.breaker_state is not BreakerState.CLOSED
            # It took five time-outs of half a second until the breaker tripped.
            assert served >= 700

    run_laboratory(story, [hang(1.0, 100.0)])


def test_a_closed_repository_makes_no_call() -> None:
    """A caller who would take over a shared call after the end is told that there is no primary."""

    async def story(lab: Laboratory) -> None:
        async with lab.repository(Policy(drain_timeout_s=0.0)) as repo:
            await lab.until(1.0)
            first, second = (asyncio.create_task(repo.get("a")) for _ in range(2))
            await lab.until(1.1)
            calls = asked(lab)
        first.cancel()
        with pytest.raises(KeyUnavailableError):
            await second
        assert asked(lab) == calls

    run_laboratory(story, [hang(1.0, 20.0)])


@pytest.mark.parametrize("read_policy", ["primary-first", "cache-first", "primary-only"])
def test_a_key_that_the_primary_takes_for_valid_may_have_expired(
    read_policy: Literal["primary-first", "cache-first", "primary-only"],
) -> None:
    """Where the clocks differ, an instance goes by its own."""

    async def story(lab: Laboratory) -> None:
        lab.primary.commit(make_key("a", lifetime_s=60.0))
        repo = FaultTolerantRepository(
            lab.primary,
            Policy(read_policy=read_policy),
            now=lambda: lab.now() + timedelta(seconds=60),
            observers=[],
        )
        async with repo:
            with pytest.raises(KeyNotFoundError):
                await repo.get("a")

    run_laboratory(story)
