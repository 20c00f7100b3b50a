"""The fault-tolerant repository before a primary that fails, in virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from ftrepo.designs import named_policies
from ftrepo.errors import (
    KeyConflictError,
    KeyExpiredError,
    KeyNotFoundError,
    KeyUnavailableError,
    PendingFullError,
    PrimaryUnavailableError,
)
from ftrepo.events import (
    BreakerChanged,
    CacheMiss,
    ConflictSeen,
    ExpiredDeleted,
    Flushed,
    FlushFailed,
    PendingDropped,
    PrimaryFailed,
    Refreshed,
    ServedFromMemory,
)
from ftrepo.interface import Durability
from ftrepo.policy import Policy
from ftrepo.resilience import BreakerState
from sim.world.outages import Outage, OutageMode
from tests.laboratory import LATENCY_S, Laboratory, hang, make_key, refuse, run_laboratory


def test_the_standard_scenario() -> None:
    """Served from the cache in the outage, written in it, flushed at the second try."""
    policy = Policy(breaker=False, flush_interval_s=10.0, refresh_interval_s=None)

    async def story(lab: Laboratory) -> None:
        async with lab.repository(policy) as repo:
            first, second = make_key("first"), make_key("second")
            assert await repo.create(first) is Durability.PRIMARY
            assert "first" in lab.primary
            await lab.until(11.0)  # the primary fails
            assert await repo.get("first") == first
            assert await repo.create(second) is Durability.MEMORY
            assert "second" in repo.cache
            assert "second" in repo.pending
            await lab.until(21.0)  # the first flush has failed
            assert len(lab.seen(FlushFailed)) == 1
            assert "second" in repo.pending
            assert "second" not in lab.primary
            await lab.until(31.0)  # the second one has not
            assert len(lab.seen(Flushed)) == 1
            assert len(repo.pending) == 0
            assert "second" in lab.primary
            assert "second" in repo.cache

    run_laboratory(story, [refuse(11.0, 25.0)])


class TestCreate:
    """A create is acknowledged if any store took the key."""

    def test_is_in_both_stores_when_all_is_well(self) -> None:
        """A healthy create takes one trip to the primary and leaves nothing pending."""

        async def story(lab: Laboratory) -> None:
            async with lab.repository() as repo:
                assert await repo.create(make_key("a")) is Durability.PRIMARY
                assert "a" in repo.cache
                assert "a" in lab.primary
                assert (len(repo.pending), repo.pending.writing) == (0, 0)

        run_laboratory(story)

    @pytest.mark.parametrize("outage", [refuse(1.0, 9.0), hang(1.0, 9.0)])
    def test_never_raises_what_the_primary_raised(self, outage: Outage) -> None:
        """A primary that refuses or hangs costs durability, not an error."""

        async def story(lab: Laboratory) -> None:
            async with lab.repository() as repo:
                await lab.until(2.0)
                started = lab.loop.time()
                assert await repo.create(make_key("a")) is Durability.MEMORY
                assert lab.loop.time() - started <= repo.policy.insert_timeout_s
                assert len(lab.seen(PrimaryFailed)) == 1

        run_laboratory(story, [outage])

    def test_another_key_under_the_same_id_is_a_conflict(self) -> None:
        """The id stays bound to the first key, in every store, whichever store noticed."""

        async def story(lab: Laboratory) -> None:
            first, other = make_key("id", material="one"), make_key("id", material="two")
            async with lab.repository() as repo:
                await repo.create(first)
                with pytest.raises(KeyConflictError):
                    await repo.create(other)
                assert await repo.get("id") == first
            async with lab.repository(Policy(refresh_interval_s=None)) as repo:
                repo.cache.discard("id")  # only the primary can notice now
                with pytest.raises(KeyConflictError):
                    await repo.create(other)
                assert repo.cache.lookup("id") is None
                assert (len(repo.pending), repo.pending.writing) == (0, 0)
                assert await repo.get("id") == first

        run_laboratory(story)

    def test_the_same_key_again_is_a_no_op(self) -> None:
        """So that a caller whose create failed half-way may simply repeat it."""

        async def story(lab: Laboratory) -> None:
            async with lab.repository() as repo:
                await repo.create(make_key("a"))
                assert await repo.create(make_key("a")) is Durability.PRIMARY
                await lab.until(5.0)
                assert await repo.create(make_key("b")) is Durability.MEMORY
                assert await repo.create(make_key("b")) is Durability.MEMORY
                await lab.until(20.0)
                assert "b" in lab.primary
                assert len(repo.pending) == 0

        run_laboratory(story, [refuse(4.0, 8.0)])

    def test_an_expired_key_is_refused(self) -> None:
        """Nothing is stored anywhere."""

        async def story(lab: Laboratory) -> None:
            async with lab.repository() as repo:
                await lab.until(10.0)
                with pytest.raises(KeyExpiredError):
                    await repo.create(make_key("a", lifetime_s=10.0))
                assert "a" not in repo.cache
                assert len(lab.primary.attempts_s) == 1  # The load.

        run_laboratory(story)

    def test_a_full_buffer_is_an_error_only_if_the_primary_fails_too(self) -> None:
        """The bound on pending writes loses nothing that was acknowledged."""

        async def story(lab: Laboratory) -> None:
            async with lab.repository(Policy(pending_max=1)) as repo:
                await lab.until(2.0)
                assert await repo.create(make_key("a")) is Durability.MEMORY
                with pytest.raises(PendingFullError, match="pending_max=1"):
                    await repo.create(make_key("b"))
                assert "b" not in repo.cache
                await lab.until(30.0)
                assert "a" in lab.primary
                assert await repo.create(make_key("b")) is Durability.PRIMARY

        run_laboratory(story, [refuse(1.0, 9.0)])

    def test_primary_first_shows_the_key_only_when_the_primary_has_spoken(self) -> None:
        """The cache learns of it after the write, also when the write fails."""

        async def story(lab: Laboratory) -> None:
            policy = Policy(write_order="primary-first", read_policy="cache-first")
            async with lab.repository(policy) as repo:
                creating = asyncio.create_task(repo.create(make_key("a")))
                await asyncio.sleep(LATENCY_S / 2)
                assert "a" not in repo.cache
                assert await creating is Durability.PRIMARY
                assert "a" in repo.cache
                await lab.until(2.0)
                assert await repo.create(make_key("b")) is Durability.MEMORY
                assert await repo.get("b") == make_key("b")

        run_laboratory(story, [refuse(1.0, 9.0)])

    @pytest.mark.parametrize("mode", [OutageMode.HANG, OutageMode.FULL_POOL])
    def test_a_cancelled_create_ends_in_every_store_or_none(self, mode: OutageMode) -> None:
        """Nobody was told that it is stored; but it may be, so it is flushed all the same.

        What reached a server that hangs is written there when it wakes; what waited for a
        connection never was sent.
        """

        async def story(lab: Laboratory) -> None:
            async with lab.repository() as repo:
                await lab.until(2.0)
                creating = asyncio.create_task(repo.create(make_key("a")))
                await asyncio.sleep(0.1)
                creating.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await creating
                assert lab.loop.time() == pytest.approx(2.1)
                assert repo.breaker_state is BreakerState.CLOSED
                await lab.until(30.0)
                assert "a" in lab.primary
                assert "a" in repo.cache
                assert (len(repo.pending), repo.pending.writing) == (0, 0)

        run_laboratory(story, [Outage(1.0, 9.0, mode)])


class TestGet:
    """A get asks whoever may have the key."""

    def test_copies_a_hit_into_the_cache(self) -> None:
        """What another instance wrote is then at hand when the primary fails."""

        async def story(lab: Laboratory) -> None:
            async with lab.repository(Policy(refresh_interval_s=None)) as repo:
                lab.primary.commit(make_key("other"))
                assert "other" not in repo.cache
                await repo.get("other")
                await lab.until(2.0)
                assert await repo.get("other") == make_key("other")
                assert lab.seen(ServedFromMemory)

        run_laboratory(story, [refuse(1.0, 9.0)])

    def test_asks_memory_when_the_primary_knows_no_such_key(self) -> None:
        """A key that is not flushed yet is found although the primary says no."""
        policy = Policy(flush_interval_s=100.0, breaker=False)

        async def story(lab: Laboratory) -> None:
            async with lab.repository(policy) as repo:
                await lab.until(2.0)
                await repo.create(make_key("a"))
                await lab.until(10.0)
                assert "a" not in lab.primary
                assert await repo.get("a") == make_key("a")
                served = lab.seen(ServedFromMemory)
                assert [event.reason for event in served] == ["unknown to the primary"]

        run_laboratory(story, [refuse(1.0, 9.0)])

    def test_a_key_that_nobody_has_is_not_found(self) -> None:
        """With the primary up this is certain, and not a kind of unavailability."""

        async def story(lab: Laboratory) -> None:
            async with lab.repository() as repo:
                with pytest.raises(KeyNotFoundError) as raised:
                    await repo.get("nobody")
                assert not isinstance(raised.value, KeyUnavailableError)
                assert lab.seen(CacheMiss)

        run_laboratory(story)

    def test_a_miss_while_the_primary_is_away_is_unavailable(self) -> None:
        """The caller can tell "ask again" from "unknown", and no driver error shows."""

        async def story(lab: Laboratory) -> None:
            async with lab.repository() as repo:
                await lab.until(2.0)
                with pytest.raises(KeyUnavailableError) as raised:
                    await repo.get("somebody")
                assert raised.value.retry_after_s is None
                for _ in range(repo.policy.breaker_failure_threshold):
                    with pytest.raises(KeyUnavailableError) as raised:
                        await repo.get("somebody")
                assert raised.value.retry_after_s == pytest.approx(
                    repo.policy.breaker_open_s, abs=0.1
                )

        run_laboratory(story, [refuse(1.0, 9.0)])

    @pytest.mark.parametrize("read_policy", ["primary-first", "cache-first"])
    def test_an_expired_key_is_never_returned(self, read_policy: str) -> None:
        """Not from the cache, not from the primary, not in an outage."""

        async def story(lab: Laboratory) -> None:
            async with lab.repository(Policy(read_policy=read_policy)) as repo:
                await repo.create(make_key("a", lifetime_s=5.0))
                await lab.until(4.9)
                await repo.get("a")
                await lab.until(5.0)
                with pytest.raises(KeyNotFoundError):
                    await repo.get("a")
                await lab.until(7.0)
                with pytest.raises(KeyNotFoundError):
                    await repo.get("a")

        run_laboratory(story, [refuse(6.0, 9.0)])

    def test_a_key_that_expires_while_the_primary_answers_is_not_returned(self) -> None:
        """The expiry counts at the moment of the return, not of the call."""

        async def story(lab: Laboratory) -> None:
            async with lab.repository() as repo:
                await repo.create(make_key("a", lifetime_s=5.0))
                await lab.until(5.0 - 0.1)
                with pytest.raises(KeyNotFoundError):
                    await repo.get("a")
                assert lab.loop.time() > 5.0

        run_laboratory(story, [hang(4.0, 5.1)])

    @pytest.mark.parametrize("read_policy", ["primary-first", "cache-first", "primary-only"])
    def test_an_expired_key_from_the_primary_is_not_returned(self, read_policy: str) -> None:
        """A primary whose clock is late may still answer with it."""
        policy = replace(named_policies()["primary-only"], read_policy=read_policy)

        async def story(lab: Laboratory) -> None:
            async def late(key_id: str):
                return make_key(key_id, lifetime_s=5.0)

            async with lab.repository(policy) as repo:
                lab.primary.get = late
                await lab.until(4.9)
                assert await repo.get("a") == make_key("a", lifetime_s=5.0)
                await lab.until(5.0)
                with pytest.raises(KeyNotFoundError):
                    await repo.get("a")

        run_laboratory(story)

    @pytest.mark.parametrize("write_order", ["cache-first", "primary-first"])
    def test_the_bound_of_the_cache_never_costs_a_pending_key(self, write_order: str) -> None:
        """However small the cache is, what waits to be written is served."""
        policy = Policy(cache_entries_max=1, write_order=write_order)

        async def story(lab: Laboratory) -> None:
            async with lab.repository(policy) as repo:
                await lab.until(2.0)
                keys = [make_key(f"key-{number}") for number in range(10)]
                for key in keys:
                    await repo.create(key)
                assert [await repo.get(key.id) for key in keys] == keys
                await lab.until(30.0)
                assert len(lab.primary) == 10
                assert len(repo.cache) == 1

        run_laboratory(story, [refuse(1.0, 9.0)])

    def test_cache_first_does_not_call_the_primary_for_what_it_has(self) -> None:
        """A hit in memory takes no virtual time."""

        async def story(lab: Laboratory) -> None:
            async with lab.repository(Policy(read_policy="cache-first")) as repo:
                await repo.create(make_key("a"))
                calls, started = len(lab.primary.attempts_s), lab.loop.time()
                assert await repo.get("a") == make_key("a")
                assert (len(lab.primary.attempts_s), lab.loop.time()) == (calls, started)
                lab.primary.commit(make_key("other"))
                assert await repo.get("other") == make_key("other")
                assert len(lab.primary.attempts_s) == calls + 1

        run_laboratory(story)

    def test_a_malformed_id_is_not_found_and_not_asked_for(self) -> None:
        """Rubbish from a token's header never reaches the primary."""

        async def story(lab: Laboratory) -> None:
            async with lab.repository() as repo:
                calls = len(lab.primary.attempts_s)
                for rubbish in ("", "a b", "x" * 10_000, "ü"):
                    with pytest.raises(KeyNotFoundError):
                        await repo.get(rubbish)
                assert len(lab.primary.attempts_s) == calls

        run_laboratory(story)

    @pytest.mark.parametrize("read_policy", ["primary-first", "cache-first"])
    def test_staleness_is_bounded(self, read_policy: str) -> None:
        """Past the bound a cached key is unavailable, not unknown, until it is confirmed."""
        policy = Policy(read_policy=read_policy, max_staleness_s=60.0, refresh_interval_s=30.0)

        async def story(lab: Laboratory) -> None:
            async with lab.repository(policy) as repo:
                await repo.create(make_key("a"))
                await lab.until(500.0)  # refreshes have confirmed it
                assert await repo.get("a") == make_key("a")
                await lab.until(530.0)
                assert await repo.get("a") == make_key("a")
                await lab.until(590.0)
                with pytest.raises(KeyUnavailableError):
                    await repo.get("a")
                await lab.until(720.0)
                assert await repo.get("a") == make_key("a")

        run_laboratory(story, [refuse(501.0, 700.0)])

    def test_an_answer_of_the_primary_confirms(self) -> None:
        """A key that the primary has just returned may be served for the whole bound from then."""
        policy = Policy(max_staleness_s=60.0, refresh_interval_s=None)

        async def story(lab: Laboratory) -> None:
            async with lab.repository(policy) as repo:
                await repo.create(make_key("a"))
                await lab.until(50.0)
                assert await repo.get("a") == make_key("a")
                await lab.until(100.0)
                assert await repo.get("a") == make_key("a")
                await lab.until(111.0)
                with pytest.raises(KeyUnavailableError):
                    await repo.get("a")

        run_laboratory(story, [refuse(51.0, 200.0)])


class TestDeleteExpired:
    """A clean-up reaches both stores, sooner or later."""

    def test_cleans_both_stores(self) -> None:
        """And says how many the primary deleted."""

        async def story(lab: Laboratory) -> None:
            async with lab.repository() as repo:
                for name in ("a", "b"):
                    await repo.create(make_key(name, lifetime_s=5.0))
                await repo.create(make_key("c"))
                await lab.until(6.0)
                assert await repo.delete_expired() == 2
                assert (len(repo.cache), len(lab.primary)) == (1, 1)

        run_laboratory(story)

    def test_the_cache_is_cleaned_while_the_primary_is_away_and_the_primary_afterwards(
        self,
    ) -> None:
        """The clean-up that the primary missed is made up for when it returns."""

        async def story(lab: Laboratory) -> None:
            async with lab.repository() as repo:
                for name in ("a", "b"):
                    await repo.create(make_key(name, lifetime_s=5.0))
                await lab.until(601.0)  # the scheduled one has failed
                assert len(repo.cache) == 0
                assert len(lab.primary) == 2
                await lab.until(620.0)
                assert len(lab.primary) == 0
                assert lab.seen(ExpiredDeleted)[-1].from_primary == 2

        run_laboratory(story, [refuse(590.0, 610.0)])

    def test_memory_is_cleaned_on_time_in_a_long_outage(self) -> None:
        """Pending keys that expired do not pile up until the primary returns."""

        async def story(lab: Laboratory) -> None:
            async with lab.repository(Policy(expiry_interval_s=60.0)) as repo:
                await lab.until(10.0)
                for number in range(50):
                    await lab.until(10.0 + 20.0 * number)
                    await repo.create(
                        make_key(f"k-{number}", created_s=10.0 + 20.0 * number, lifetime_s=100.0)
                    )
                    assert len(repo.cache) <= (100 + 60) / 20 + 1
                    assert len(repo.pending) <= (100 + 60) / 20 + 1

        run_laboratory(story, [refuse(5.0, 2000.0)])


class TestStart:
    """The service starts with or without its primary."""

    def test_loads_every_unexpired_key_in_pages(self) -> None:
        """Also when there are more keys than a page holds."""

        async def story(lab: Laboratory) -> None:
            for number in range(25):
                lab.primary.commit(make_key(f"key-{number}"))
            lab.primary.commit(make_key("old", created_s=-10, lifetime_s=10))
            async with lab.repository(Policy(load_page_max=10)) as repo:
                assert len(repo.cache) == 25
                assert lab.seen(Refreshed)[0].loaded == 25

        run_laboratory(story)

    @pytest.mark.parametrize("outage", [refuse(0.0, 60.0), hang(0.0, 60.0)])
    def test_starts_without_the_primary_and_uses_it_when_it_appears(self, outage: Outage) -> None:
        """The one key that exists is in cache and pending; later everything is in step."""

        async def story(lab: Laboratory) -> None:
            lab.primary.commit(make_key("older"))
            async with lab.repository() as repo:
                assert lab.loop.time() <= repo.policy.load_timeout_s
                assert await repo.create(make_key("own")) is Durability.MEMORY
                assert (len(repo.cache), len(repo.pending)) == (1, 1)
                assert await repo.get("own") == make_key("own")
                await lab.until(60.0 + repo.policy.breaker_open_s + 1.0)
                assert "own" in lab.primary
                assert "older" in repo.cache
                assert repo.breaker_state is BreakerState.CLOSED

        run_laboratory(story, [outage])

    def test_a_refresh_does_not_push_out_what_is_used(self) -> None:
        """A cache smaller than the fleet keeps its keys, and takes others as they are asked for."""

        async def story(lab: Laboratory) -> None:
            policy = Policy(cache_entries_max=3, refresh_interval_s=1.0, read_policy="cache-first")
            async with lab.repository(policy) as repo:
                for name in ("a-1", "a-2", "a-3"):
                    await repo.create(make_key(name))
                for number in range(20):
                    lab.primary.commit(make_key(f"other-{number}"))
                await lab.until(10.0)
                assert all(f"a-{number}" in repo.cache for number in (1, 2, 3))
                await repo.get("other-7")
                assert "other-7" in repo.cache
                assert len(repo.cache) == 3

        run_laboratory(story)

    def test_starting_up_again_does_not_wait_for_traffic(self) -> None:
        """A service that started in an outage and is never called still catches up."""

        async def story(lab: Laboratory) -> None:
            lab.primary.commit(make_key("older"))
            async with lab.repository() as repo:
                await lab.until(70.0)
                assert "older" in repo.cache

        run_laboratory(story, [refuse(0.0, 60.0)])

    def test_it_must_be_entered_first(self) -> None:
        """Without its background tasks it would never recover, so it says so."""

        async def story(lab: Laboratory) -> None:
            repo = lab.repository()
            with pytest.raises(RuntimeError, match="async with"):
                await repo.get("a")

        run_laboratory(story)


class TestRecovery:
    """The primary fails and returns, in every way."""

    def test_a_dead_primary_is_not_called_on_every_request(self) -> None:
        """After the breaker has tripped only probes reach it, and callers wait for nothing."""

        async def story(lab: Laboratory) -> None:
            async with lab.repository() as repo:
                await repo.create(make_key("a"))
                await lab.until(1.0)
                for _ in range(5):
                    await repo.get("a")
                assert repo.breaker_state is BreakerState.OPEN
                calls = len(lab.primary.attempts_s)
                while lab.loop.time() < 50.0:
                    started = lab.loop.time()
                    await repo.get("a")
                    assert lab.loop.time() == started
                    await asyncio.sleep(0.01)
                probes = len(lab.primary.attempts_s) - calls
                assert 1 <= probes <= 50 / repo.policy.breaker_open_s

        run_laboratory(story, [hang(1.0, 100.0)])

    def test_a_key_that_is_found_in_the_primary_may_be_evicted(self) -> None:
        """It waited, and its write had arrived: memory need not keep it any longer than others."""
        policy = Policy(cache_entries_max=1, flush_interval_s=1000.0, refresh_interval_s=None)

        async def story(lab: Laboratory) -> None:
            async with lab.repository(policy) as repo:
                await lab.until(2.0)
                assert await repo.create(make_key("a")) is Durability.MEMORY
                lab.primary.commit(make_key("a"))
                await lab.until(4.0)
                assert await repo.get("a") == make_key("a")
                assert not repo.pending
                await repo.create(make_key("b"))
                assert ("a" in repo.cache, "b" in repo.cache) == (False, True)

        run_laboratory(story, [refuse(1.0, 3.0)])

    def test_recovers_without_traffic_and_in_order(self) -> None:
        """Within one open time: closed, pending flushed, expired deleted, cache refreshed."""

        async def story(lab: Laboratory) -> None:
            async with lab.repository() as repo:
                await repo.create(make_key("short", lifetime_s=20.0))
                await lab.until(10.0)
                for number in range(6):
                    await repo.create(make_key(f"key-{number}"))
                lab.events.clear()
                await lab.until(40.0 + repo.policy.breaker_open_s + 0.1)
                closed = [e for e in lab.seen(BreakerChanged) if e.new is BreakerState.CLOSED]
                assert len(closed) == 1
                assert sum(event.confirmed for event in lab.seen(Flushed)) == 6
                assert lab.seen(ExpiredDeleted)[-1].from_primary == 1
                assert lab.seen(Refreshed)

        run_laboratory(story, [refuse(9.0, 40.0)])

    def test_flapping_loses_nothing(self) -> None:
        """Ten short outages in a row, a key every second: all are in the primary in the end."""
        outages = [refuse(10.0 * n, 10.0 * n + 6.0) for n in range(1, 11)]

        async def story(lab: Laboratory) -> None:
            async with lab.repository() as repo:
                for number in range(120):
                    await lab.until(float(number))
                    await repo.create(make_key(f"key-{number}"))
                await lab.until(140.0)
                assert len(lab.primary) == 120
                assert len(repo.pending) == 0

        run_laboratory(story, outages)

    def test_a_restart_in_an_outage_forgets_what_was_only_in_memory(self) -> None:
        """That is what `Durability.MEMORY` warned of."""

        async def story(lab: Laboratory) -> None:
            before = lab.repository()
            async with before:
                await before.create(make_key("safe"))
                await lab.until(10.0)
                assert await before.create(make_key("gone")) is Durability.MEMORY
                before.kill()
            async with lab.repository() as after:
                await lab.until(60.0)
                assert await after.get("safe") == make_key("safe")
                with pytest.raises(KeyNotFoundError):
                    await after.get("gone")

        run_laboratory(story, [refuse(9.0, 40.0)])

    def test_slow_is_not_dead(self) -> None:
        """A primary within its time-outs keeps the breaker closed and the answers fresh."""

        async def story(lab: Laboratory) -> None:
            async with lab.repository() as repo:
                await lab.until(10.0)
                assert await repo.create(make_key("a")) is Durability.PRIMARY
                assert await repo.get("a") == make_key("a")
                assert repo.breaker_state is BreakerState.CLOSED

        run_laboratory(story, [Outage(5.0, 50.0, OutageMode.SLOW)], slow_factor=100.0)

    def test_a_batch_too_large_for_the_timeout_is_halved_until_it_fits(self) -> None:
        """A backlog is worked off even if the first size never gets through."""

        async def story(lab: Laboratory) -> None:
            original, sizes = lab.primary.create_many, []

            async def slower_with_size(keys: list[object]) -> object:
                sizes.append(len(keys))
                await asyncio.sleep(0.01 * len(keys))
                return await original(keys)

            lab.primary.create_many = slower_with_size
            async with lab.repository() as repo:
                for number in range(300):
                    await lab.until(10.0)
                    await repo.create(make_key(f"key-{number}"))
                await lab.until(120.0)
                assert len(repo.pending) == 0
                assert len(lab.primary) == 300
                assert max(sizes) > 50, "no batch was too large for the time-out"

        run_laboratory(story, [refuse(9.0, 40.0)])

    def test_a_key_that_can_never_be_written_delays_nobody(self) -> None:
        """The others get through, and it goes on trying."""

        async def story(lab: Laboratory) -> None:
            create_many = lab.primary.create_many

            async def refuses_poison(keys):
                if any(key.id == "poison" for key in keys):
                    raise ValueError("permanently wrong")
                return await create_many(keys)

            lab.primary.create_many = refuses_poison
            async with lab.repository(Policy(breaker=False, refresh_interval_s=None)) as repo:
                await lab.until(2.0)
                for name in ("poison", "b", "c", "d"):
                    await repo.create(make_key(name))
                await lab.until(40.0)
                assert all(name in lab.primary for name in "bcd")
                assert repo.pending.key_ids() == ["poison"]

        run_laboratory(story, [refuse(1.0, 9.0)])

    def test_a_background_task_that_fails_starts_again(self) -> None:
        """Nonsense from the primary does not end the refreshes for good."""

        async def story(lab: Laboratory) -> None:
            list_valid = lab.primary.list_valid

            async def nonsense(*, after, limit):
                return None

            async with lab.repository(Policy(refresh_interval_s=5.0)) as repo:
                lab.primary.list_valid = nonsense
                await lab.until(12.0)
                lab.primary.list_valid = list_valid
                lab.primary.commit(make_key("other"))
                await lab.until(25.0)
                assert "other" in repo.cache

        run_laboratory(story)


class TestShutdown:
    """Leaving the context drains what can be drained."""

    def test_flushes_what_waits(self) -> None:
        """Without waiting for the next beat."""
        policy = Policy(flush_interval_s=100.0, breaker=False)

        async def story(lab: Laboratory) -> None:
            async with lab.repository(policy) as repo:
                await lab.until(2.0)
                await repo.create(make_key("a"))
                await lab.until(10.0)
            assert lab.loop.time() < 11.0
            assert "a" in lab.primary

        run_laboratory(story, [refuse(1.0, 9.0)])

    @pytest.mark.parametrize("outage", [refuse(1.0, 900.0), hang(1.0, 900.0)])
    def test_says_what_it_had_to_leave(self, outage: Outage) -> None:
        """In bounded time, with an event for each key."""

        async def story(lab: Laboratory) -> None:
            async with lab.repository(Policy(drain_timeout_s=0.2)) as repo:
                await lab.until(2.0)
                await repo.create(make_key("a"))
            assert lab.loop.time() <= 2.5 + 2 * 0.2
            dropped = lab.seen(PendingDropped)
            assert [(e.key_id, e.reason) for e in dropped] == [("a", "shutdown")]

        run_laboratory(story, [outage])


def test_primary_only_is_the_service_without_fault_tolerance() -> None:
    """The primary's failure is the caller's, though never as a driver's error."""

    async def story(lab: Laboratory) -> None:
        async with lab.repository(named_policies()["primary-only"]) as repo:
            assert await repo.create(make_key("a")) is Durability.PRIMARY
            assert await repo.get("a") == make_key("a")
            await lab.until(10.0)
            with pytest.raises(KeyUnavailableError):
                await repo.get("a")
            with pytest.raises(PrimaryUnavailableError):
                await repo.create(make_key("b"))
            await lab.until(41.0)
            assert await repo.get("a") == make_key("a")
            assert (len(repo.cache), len(repo.pending)) == (0, 0)

    run_laboratory(story, [refuse(9.0, 40.0)])


def test_a_conflict_found_by_a_flush_is_reported_and_the_primary_wins() -> None:
    """Another instance was first: our key can never be stored, and must not be served either."""

    async def story(lab: Laboratory) -> None:
        ours, theirs = make_key("id", material="ours"), make_key("id", material="theirs")
        async with lab.repository() as repo:
            await lab.until(10.0)
            assert await repo.create(ours) is Durability.MEMORY
            lab.primary.commit(theirs)
            await lab.until(60.0)
            dropped = lab.seen(PendingDropped)
            assert [(e.key_id, e.reason) for e in dropped] == [("id", "conflict")]
            assert await repo.get("id") == theirs
            assert repo.cache.lookup("id") == theirs

    run_laboratory(story, [refuse(9.0, 40.0)])


def test_an_observer_that_fails_harms_nobody() -> None:
    """Its error is logged, and the call goes on."""

    async def story(lab: Laboratory) -> None:
        def broken(event: object) -> None:
            raise ZeroDivisionError

        repo = lab.repository()
        repo._observers = (broken, *repo._observers)
        async with repo:
            assert await repo.create(make_key("a")) is Durability.PRIMARY
            assert lab.events

    run_laboratory(story)


def test_cache_and_primary_that_disagree_are_reported() -> None:
    """The primary's key is returned; memory's is not overwritten, and not served any more."""

    async def story(lab: Laboratory) -> None:
        async with lab.repository() as repo:
            repo.cache.put(make_key("id", material="cached"))
            lab.primary.commit(make_key("id", material="primary"))
            assert await repo.get("id") == make_key("id", material="primary")
            assert repo.cache.lookup("id") is None
            assert [event.key_id for event in lab.seen(ConflictSeen)] == ["id"]

    run_laboratory(story)
