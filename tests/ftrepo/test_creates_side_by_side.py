"""Creates of one key side by side: whatever becomes of one, the others are told what is true."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from ftrepo.errors import (
    FtrepoError,
    KeyConflictError,
    KeyExpiredError,
    KeyUnavailableError,
    PendingFullError,
)
from ftrepo.events import PendingDropped
from ftrepo.interface import Durability
from ftrepo.keys import PublicKey
from ftrepo.policy import Policy
from tests.laboratory import LATENCY_S, Laboratory, make_key, refuse, run_laboratory

NO_BREAKER = Policy(breaker=False)

Answer = tuple[float, type[FtrepoError | OSError] | None]
"""After how long the primary answers a call, and what it raises; `None` for success."""


def answer_in_turn(lab: Laboratory, *answers: Answer) -> None:
    """Let the primary answer one `create` after the other like this, and then as it does."""
    left, create = list(answers), lab.primary.create

    async def answered(key: PublicKey) -> Durability:
        if not left:
            return await create(key)
        after_s, error = left.pop(0)
        await asyncio.sleep(after_s)
        if error is not None:
            raise error("as the test wants it")
        lab.primary.commit(key)
        return Durability.PRIMARY

    lab.primary.create = answered  # type: ignore[method-assign]


def outcomes(*answers: Answer, policy: Policy = NO_BREAKER) -> list[object]:
    """What creates of one key are told, begun in turn; and at last if memory has it."""

    async def story(lab: Laboratory) -> list[object]:
        key = make_key("a")
        answer_in_turn(lab, *answers)
        async with lab.repository(policy) as repo:
            creates = []
            for _ in answers:
                creates.append(asyncio.create_task(repo.create(key)))
                await asyncio.sleep(0.01)
            told = await asyncio.gather(*creates, return_exceptions=True)
            assert repo.pending.writing == 0
            outcome = [type(each) if isinstance(each, BaseException) else each for each in told]
            return [*outcome, key.id in repo.cache]

    return run_laboratory(story)


@pytest.mark.parametrize(
    ("first", "second"),
    [((0.1, None), (0.2, OSError)), ((0.2, OSError), (0.1, None))],
)
def test_a_failure_beside_a_success_is_a_success(first: Answer, second: Answer) -> None:
    """The key is stored, and so it stays in memory."""
    assert outcomes(first, second) == [Durability.PRIMARY, Durability.PRIMARY, True]


def test_two_failures_are_one_pending_write() -> None:
    """Both are acknowledged, and memory has the key."""
    assert outcomes((0.2, OSError), (0.1, OSError)) == [Durability.MEMORY, Durability.MEMORY, True]


@pytest.mark.parametrize("others", [1, 2, 3])
@pytest.mark.parametrize("last", [OSError, KeyConflictError])
def test_a_conflict_is_a_conflict_for_all(others: int, last: type[Exception]) -> None:
    """However many are told of it before the one that took the key in has ended."""
    refusals: Sequence[Answer] = [(0.1, KeyConflictError)] * others
    assert outcomes((0.4, last), *refusals) == [KeyConflictError] * (others + 1) + [False]  # type: ignore[arg-type]


def test_what_the_clock_of_the_primary_refuses_is_no_conflict() -> None:
    """It says that the key has expired, and so is everybody told."""
    told = outcomes((0.4, OSError), (0.1, KeyExpiredError))
    assert told == [KeyExpiredError, KeyExpiredError, False]


def test_a_refusal_leaves_the_right_key_alone() -> None:
    """Memory has learnt whose id it is, while the wrong key was on its way."""

    async def story(lab: Laboratory) -> None:
        wrong, right = make_key("a", material="wrong"), make_key("a")
        answer_in_turn(lab, (0.2, KeyConflictError), (0.01, None))
        async with lab.repository(Policy(breaker=False, write_order="primary-first")) as repo:
            lab.primary.commit(right)
            refused = asyncio.create_task(repo.create(wrong))
            await asyncio.sleep(0.01)
            assert (await repo.get("a")).same_material(right)
            with pytest.raises(KeyConflictError):
                await refused
            assert repo.at_hand("a") == right

    run_laboratory(story)


def test_a_key_that_expires_as_the_primary_takes_it_waits_for_nobody() -> None:
    """Its create is refused, and nothing is left of it; the next one is judged by itself."""

    async def story(lab: Laboratory) -> None:
        async with lab.repository(Policy(breaker=False, pending_max=1)) as repo:
            answer_in_turn(lab, (0.2, None))
            with pytest.raises(KeyExpiredError):
                await repo.create(make_key("a", lifetime_s=0.1 + lab.loop.time()))
            assert "a" not in repo.pending
            assert not repo.pending.is_full()
            answer_in_turn(lab, (0.1, OSError))
            assert await repo.create(make_key("b")) is Durability.MEMORY

    run_laboratory(story)


def test_an_expired_key_on_its_way_takes_nobodys_id() -> None:
    """What has expired binds its id no longer, though its own create is under way still."""

    async def story(lab: Laboratory) -> None:
        policy = Policy(breaker=False, write_order="primary-first")
        answer_in_turn(lab, (0.4, OSError), (0.01, OSError))
        async with lab.repository(policy) as repo:
            lifetime_s = lab.loop.time() + 0.1
            old = asyncio.create_task(repo.create(make_key("a", lifetime_s=lifetime_s)))
            await asyncio.sleep(0.2)
            new = make_key("a", material="new", created_s=0.1)
            assert await repo.create(new) is Durability.MEMORY
            with pytest.raises(KeyExpiredError):
                await old
            assert repo.at_hand("a") == new
            await asyncio.sleep(5.0)
            assert (await lab.primary.get("a")).same_material(new)

    run_laboratory(story)


def test_no_room_costs_nobody_a_key_that_is_stored() -> None:
    """A repeated create that is refused leaves memory as it was."""

    async def story(lab: Laboratory) -> None:
        stored, waiting = make_key("stored"), make_key("waiting")
        async with lab.repository(Policy(breaker=False, pending_max=1)) as repo:
            assert await repo.create(stored) is Durability.PRIMARY
            await lab.until(2.0)
            assert await repo.create(waiting) is Durability.MEMORY
            for key in (stored, make_key("new")):
                with pytest.raises(PendingFullError):
                    await repo.create(key)
            assert repo.at_hand("stored") == stored
            assert repo.at_hand("new") is None

    run_laboratory(story, [refuse(1.0, 100.0)])


def test_no_room_for_a_key_that_its_caller_gave_up() -> None:
    """Memory alone would have it, and nobody would ever write it."""

    async def story(lab: Laboratory) -> None:
        async with lab.repository(Policy(breaker=False, pending_max=1)) as repo:
            answer_in_turn(lab, (0.1, OSError), (10.0, None))
            assert await repo.create(make_key("waits")) is Durability.MEMORY
            given_up = asyncio.create_task(repo.create(make_key("given-up")))
            await asyncio.sleep(0)
            given_up.cancel()
            await asyncio.wait([given_up])
            assert repo.at_hand("given-up") is None

    run_laboratory(story, [refuse(0.05, 100.0)])


def test_a_key_that_expires_between_two_batches_is_not_sent() -> None:
    """(e) A flush looks at the clock for each batch, not once for all."""

    async def story(lab: Laboratory) -> None:
        sent: list[str] = []
        create_many = lab.primary.create_many

        async def watched(keys: Sequence[PublicKey]) -> object:
            sent.extend(key.id for key in keys)
            return await create_many(keys)

        policy = Policy(breaker=False, flush_batch_max=1, flush_interval_s=100.0)
        async with lab.repository(policy) as repo:
            await lab.until(2.0)
            await repo.create(make_key("first"))
            await repo.create(make_key("late", lifetime_s=10.0 + LATENCY_S / 2))
            await lab.until(10.0)
            lab.primary.create_many = watched  # type: ignore[method-assign, assignment]
            # The second batch is taken as the first is answered.
            await repo.flush()
            assert sent == ["first"]
            await repo.flush()
            dropped = [each for each in lab.events if isinstance(each, PendingDropped)]
            assert [each.key_id for each in dropped] == ["late"]

    run_laboratory(story, [refuse(1.0, 9.0)])


def test_a_create_leaves_a_key_to_the_flush_that_is_sending_it() -> None:
    """It is acknowledged, as it is held; the next batch does not send it once more."""

    async def story(lab: Laboratory) -> None:
        sent: list[list[str]] = []
        create_many = lab.primary.create_many

        async def slowly(keys: Sequence[PublicKey]) -> object:
            sent.append([key.id for key in keys])
            await asyncio.sleep(0.1)
            return await create_many(keys)

        async with lab.repository(Policy(breaker=False, flush_interval_s=1000.0)) as repo:
            answer_in_turn(lab, (0.01, OSError), (0.01, OSError))
            lab.primary.create_many = slowly  # type: ignore[method-assign, assignment]
            assert await repo.create(make_key("a")) is Durability.MEMORY
            flush = asyncio.create_task(repo.flush())
            await asyncio.sleep(0.01)
            assert await repo.create(make_key("a")) is Durability.MEMORY
            assert await flush == 1
            assert sent == [["a"]]

    run_laboratory(story)


def test_a_key_that_waits_is_never_unknown() -> None:
    """Too old to be served from memory, it is unavailable: the primary will have it yet."""

    async def story(lab: Laboratory) -> None:
        policy = Policy(breaker=False, max_staleness_s=1.0, flush_interval_s=1000.0)
        async with lab.repository(policy) as repo:
            await lab.until(1.5)
            await repo.create(make_key("a"))
            await lab.until(10.0)
            with pytest.raises(KeyUnavailableError):
                await repo.get("a")

    run_laboratory(story, [refuse(1.0, 5.0)])


@pytest.mark.parametrize("waits", [False, True])
def test_a_copy_of_what_the_primary_refused_its_maker_is_forgotten(waits: bool) -> None:
    """The primary's key is the one that is kept; what waits here, a flush finds out about."""

    async def story(lab: Laboratory) -> None:
        copy, right = make_key("a", material="another's"), make_key("a")
        policy = Policy(
            read_policy="cache-first",
            breaker=False,
            flush_interval_s=1000.0,
            refresh_interval_s=9.0,
        )
        async with lab.repository(policy) as repo:
            repo.cache.put(copy)
            await lab.until(1.0)
            if waits:
                assert await repo.create(copy) is Durability.MEMORY
            lab.primary.commit(right)
            await lab.until(10.0)
            assert repo.at_hand("a") == (copy if waits else None)
            if waits:
                await repo.flush()
            assert (await repo.get("a")).same_material(right)

    run_laboratory(story, [refuse(0.1, 4.0)])
