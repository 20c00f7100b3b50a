"""What must hold whatever the primary does: eight invariants, in hostile worlds."""

from __future__ import annotations

import asyncio
import random

import pytest

from ftrepo.errors import KeyConflictError, KeyNotFoundError
from ftrepo.policy import Policy
from ftrepo.resilience import BreakerState
from sim.world.outages import Outage, OutageMode, merge
from tests.laboratory import Laboratory, hang, make_key, refuse, run_laboratory

SEEDS = range(25)
MARGIN_S = 0.001


def hostile_outages(rng: random.Random) -> tuple[Outage, ...]:
    """A few outages of random modes within 60 seconds; the primary is up from then on."""
    outages = []
    for _ in range(rng.randint(1, 6)):
        start_s, mode = rng.uniform(0, 50), rng.choice(list(OutageMode))
        severity = rng.uniform(0.2, 1.0) if mode is OutageMode.ERROR_RATE else 1.0
        outages.append(Outage(start_s, min(60.0, start_s + rng.uniform(0.1, 20)), mode, severity))
    return merge(outages)


def hostile_policy(rng: random.Random) -> Policy:
    """A policy from the corners of what is allowed."""
    return Policy(
        read_policy=rng.choice(["primary-first", "cache-first"]),
        write_order=rng.choice(["cache-first", "primary-first"]),
        flush_interval_s=rng.choice([0.05, 1.0, 5.0]),
        flush_batch_max=rng.choice([1, 3, 1000]),
        refresh_interval_s=rng.choice([None, 0.5, 10.0]),
        expiry_interval_s=rng.choice([0.7, 20.0]),
        cache_entries_max=rng.choice([1, 5, 10_000]),
        breaker=rng.random() < 0.7,
        breaker_open_s=rng.choice([0.1, 2.0]),
    )


@pytest.mark.parametrize("honours", [True, False], ids=["driver cancels", "driver does not"])
@pytest.mark.parametrize("seed", SEEDS)
def test_invariants_hold_in_a_hostile_world(seed: int, honours: bool) -> None:
    """1, 2, 3, 4, 6 and 8: a hundred random calls under random outages, in a random order."""
    rng = random.Random(seed)
    policy, outages = hostile_policy(rng), hostile_outages(rng)
    made, acknowledged = {}, set()

    async def story(lab: Laboratory) -> None:
        async def create(name: str) -> None:
            key = make_key(name, created_s=lab.loop.time(), lifetime_s=rng.choice([5.0, 500.0]))
            made.setdefault(name, key)
            started = lab.loop.time()
            await repo.create(made[name])
            acknowledged.add(name)
            assert lab.loop.time() - started <= (policy.insert_timeout_s or 0) + MARGIN_S
            if not made[name].has_expired(lab.now()):  # invariant 1
                assert name in lab.primary or name in repo.pending
            with pytest.raises(KeyConflictError):  # invariant 8
                await repo.create(make_key(name, material="other", lifetime_s=1e6))

        async def get(name: str) -> None:
            started = lab.loop.time()
            try:
                key = await repo.get(name)
            except KeyNotFoundError:
                pass
            else:  # invariant 2
                assert key == made[name]
                assert not key.has_expired(lab.now())
            assert lab.loop.time() - started <= (policy.select_timeout_s or 0) + MARGIN_S

        async def act(number: int) -> None:
            await lab.until(rng.uniform(0, 60))
            name = f"key-{rng.randrange(40)}"
            call = asyncio.create_task(create(f"key-{number}") if number < 40 else get(name))
            if rng.random() < 0.2:  # invariant 6
                await asyncio.sleep(rng.choice([0.0, 0.001, 0.3]))
                call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            if not call.cancelled() and (error := call.exception()):
                raise error

        async with lab.repository(policy) as repo:
            await asyncio.gather(*(act(number) for number in range(100)))
            recovered_s = 60.0 + policy.breaker_open_s + policy.flush_interval_s + 2.0
            await lab.until(recovered_s + 10 * policy.breaker_open_s)
            assert (len(repo.pending), repo.pending.writing) == (0, 0)  # invariant 4
            for name in acknowledged:
                if not made[name].has_expired(lab.now()):
                    assert name in lab.primary
                    assert await repo.get(name) == made[name]
        await asyncio.sleep(1.0)
        assert lab.primary.pool.places.taken == 0  # invariant 6: no connection leaked

    run_laboratory(story, outages, seed=seed, driver_honours_cancellation=honours)


def test_the_timeout_is_kept_when_the_driver_ignores_cancellation() -> None:
    """3: 500 ms means 500 ms, also if the driver waits ten seconds for the server."""

    async def story(lab: Laboratory) -> None:
        async with lab.repository(Policy(breaker=False)) as repo:
            await repo.create(make_key("a"))
            await lab.until(1.0)
            for call in (repo.get("a"), repo.create(make_key("b")), repo.delete_expired()):
                started = lab.loop.time()
                await call
                assert lab.loop.time() - started == pytest.approx(0.5)

    run_laboratory(story, [hang(1.0, 11.0)], driver_honours_cancellation=False)


@pytest.mark.parametrize("callers", [1, 10, 1000])
def test_the_primary_is_called_at_a_bounded_rate_while_it_is_down(callers: int) -> None:
    """5: however many callers there are, an outage costs the first few calls and then probes."""

    async def story(lab: Laboratory) -> None:
        async with lab.repository() as repo:
            await repo.create(make_key("a"))

            async def caller(number: int) -> None:
                await asyncio.sleep(number / callers)
                while lab.loop.time() < 100.0:
                    await repo.get("a")
                    await asyncio.sleep(1.0)

            tasks = [asyncio.create_task(caller(number)) for number in range(callers)]
            await lab.until(10.0)
            before = len(lab.primary.attempts_s)
            await asyncio.gather(*tasks)
            attempts = len(lab.primary.attempts_s) - before
            policy = repo.policy
            first_calls = policy.breaker_failure_threshold + policy.calls_in_flight_max
            probes = 90 / policy.breaker_open_s * policy.breaker_half_open_max_calls
            assert attempts <= first_calls + probes

    run_laboratory(story, [hang(10.0, 200.0)])


def test_calls_left_behind_are_bounded() -> None:
    """5 and 6: without a breaker, and with a driver that never gives up, calls do not pile up."""
    policy = Policy(breaker=False, calls_in_flight_max=10)

    async def story(lab: Laboratory) -> None:
        async with lab.repository(policy) as repo:
            await repo.create(make_key("a"))
            await lab.until(1.0)
            for _ in range(50):
                assert await repo.get("a") == make_key("a")
            assert repo._guarded.calls_in_flight == 10
            await lab.until(70.0)
            assert repo._guarded.calls_in_flight == 0
            assert lab.primary.pool.places.taken == 0

    run_laboratory(story, [hang(1.0, 60.0)], driver_honours_cancellation=False)


def test_cancelled_callers_do_not_trip_the_breaker() -> None:
    """6: cancellation is neither success nor failure."""

    async def story(lab: Laboratory) -> None:
        async with lab.repository() as repo:
            await repo.create(make_key("a"))
            await lab.until(1.0)
            for _ in range(50):
                call = asyncio.create_task(repo.get("a"))
                await asyncio.sleep(0.01)
                call.cancel()
                await asyncio.gather(call, return_exceptions=True)
                assert call.cancelled()
            assert repo.breaker_state is BreakerState.CLOSED

    run_laboratory(story, [hang(1.0, 60.0)])


def test_a_driver_that_cancels_itself_does_not_cancel_the_caller() -> None:
    """6: a stray CancelledError from below is the primary's failure, not the caller's end."""

    async def story(lab: Laboratory) -> None:
        async def cancels_itself(key_id: str) -> None:
            raise asyncio.CancelledError

        async with lab.repository() as repo:
            await repo.create(make_key("a"))
            lab.primary.get = cancels_itself
            assert await repo.get("a") == make_key("a")

    run_laboratory(story)


def test_the_same_seed_gives_the_same_run() -> None:
    """7: the same events at the same moments, also with a random order of callbacks."""

    def events(seed: int) -> list[str]:
        async def story(lab: Laboratory) -> list[str]:
            log: list[str] = []
            repo = lab.repository()
            repo._observers = (lambda event: log.append(f"{lab.loop.time()!r} {event}"),)
            async with repo:
                names = [f"key-{number}" for number in range(30)]
                await asyncio.gather(*(repo.create(make_key(name)) for name in names))
                await lab.until(3.0)
                await asyncio.gather(*(repo.create(make_key(f"late-{n}")) for n in names))
                await lab.until(30.0)
            return log

        return run_laboratory(story, [refuse(2.0, 9.0)], seed=seed, pool_size=3)

    assert events(1) == events(1)
    assert events(1) != events(2)
