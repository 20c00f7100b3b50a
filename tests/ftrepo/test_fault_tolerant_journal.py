"""The fault-tolerant repository with a journal, in virtual time: what a crash may not take away."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ftrepo.errors import (
    JournalError,
    JournalLockedError,
    KeyConflictError,
    KeyExpiredError,
    PolicyError,
)
from ftrepo.events import (
    Flushed,
    JournalFailed,
    JournalKept,
    JournalRecovered,
    KeyCreated,
    PendingDropped,
)
from ftrepo.fault_tolerant import FaultTolerantRepository
from ftrepo.interface import Durability
from ftrepo.journal import SqliteJournal
from ftrepo.memory import InMemoryRepository
from ftrepo.policy import Policy
from sim.world.issuers import EPOCH
from sim.world.journal import COMMIT_S, SimulatedDisk, SimulatedJournal
from sim.world.outages import Outage, OutageMode
from tests.ftrepo.test_invariants import SEEDS, hostile_outages, hostile_policy
from tests.laboratory import Laboratory, hang, make_key, refuse, run_laboratory

if TYPE_CHECKING:
    from pathlib import Path

AWAY = refuse(1.0, 100.0)


class TestCreate:
    """A key that the primary misses is on the disk before its create is acknowledged."""

    @pytest.mark.parametrize("outage", [AWAY, hang(1.0, 100.0)])
    def test_is_acknowledged_as_journalled(self, outage: Outage) -> None:
        """The disk has the key when the caller hears of it, at the cost of one commit."""
        disk = SimulatedDisk()

        async def story(lab: Laboratory) -> None:
            async with lab.repository(journal=SimulatedJournal(disk)) as repo:
                await lab.until(2.0)
                assert await repo.create(make_key("a")) is Durability.JOURNAL
                assert list(disk.rows) == ["a"]
                assert lab.loop.time() <= 2.0 + repo.policy.insert_timeout_s + COMMIT_S + 1e-9
                assert lab.seen(KeyCreated)[-1].durability is Durability.JOURNAL

        run_laboratory(story, [outage])

    def test_costs_no_commit_while_the_primary_works(self) -> None:
        """The journal is not touched by a key that the primary took at once."""

        class Untouchable(SimulatedJournal):
            def append(self, keys):
                raise AssertionError("a healthy create wrote to the journal")

            remove = append

        async def story(lab: Laboratory) -> None:
            async with lab.repository(journal=Untouchable(SimulatedDisk())) as repo:
                assert await repo.create(make_key("a")) is Durability.PRIMARY

        run_laboratory(story)

    def test_the_second_create_of_a_key_waits_for_the_first_ones_commit(self) -> None:
        """Two callers, one row, and neither hears of it before it is there."""
        disk = SimulatedDisk()
        disk.hangs_until_s = 2.01

        async def story(lab: Laboratory) -> None:
            async with lab.repository(journal=SimulatedJournal(disk)) as repo:
                await lab.until(2.0)
                both = await asyncio.gather(*(repo.create(make_key("a")) for _ in range(2)))
                assert both == [Durability.JOURNAL] * 2
                assert await repo.create(make_key("a")) is Durability.JOURNAL
                assert list(disk.rows) == ["a"]

        run_laboratory(story, [AWAY])

    def test_a_full_disk_costs_durability_and_no_error(self) -> None:
        """The key is as durable as memory, which is said, and still flushed."""
        disk = SimulatedDisk()
        disk.is_full = True

        async def story(lab: Laboratory) -> None:
            async with lab.repository(journal=SimulatedJournal(disk)) as repo:
                await lab.until(2.0)
                assert await repo.create(make_key("a")) is Durability.MEMORY
                assert [e.operation for e in lab.seen(JournalFailed)] == ["append"]
                disk.is_full = False
                assert await repo.create(make_key("a")) is Durability.JOURNAL
                await lab.until(120.0)
                assert "a" in lab.primary
                assert disk.rows == {}

        run_laboratory(story, [AWAY])

    def test_the_bound_of_the_journal_costs_durability_and_no_error(self) -> None:
        """One key more than the journal may hold waits in memory."""
        journal = SimulatedJournal(SimulatedDisk(), entries_max=1)

        async def story(lab: Laboratory) -> None:
            async with lab.repository(journal=journal) as repo:
                await lab.until(2.0)
                assert await repo.create(make_key("a")) is Durability.JOURNAL
                assert await repo.create(make_key("b")) is Durability.MEMORY
                await lab.until(120.0)
                assert len(journal) == 0

        run_laboratory(story, [AWAY])

    def test_a_hanging_disk_costs_the_time_out_and_the_write_goes_on(self) -> None:
        """500 ms and the journal's 40, not more; the key is durable when the disk wakes."""
        disk = SimulatedDisk()
        disk.hangs_until_s = 50.0

        async def story(lab: Laboratory) -> None:
            disk.hangs_until_s = 0.0
            async with lab.repository(journal=SimulatedJournal(disk)) as repo:
                disk.hangs_until_s = 50.0
                await lab.until(2.0)
                assert await repo.create(make_key("a")) is Durability.MEMORY
                assert lab.loop.time() == pytest.approx(2.54)
                (failed,) = lab.seen(JournalFailed)
                assert isinstance(failed.error, TimeoutError)
                assert disk.rows == {}
                await lab.until(51.0)
                assert list(disk.rows) == ["a"]
                assert await repo.create(make_key("a")) is Durability.JOURNAL

        run_laboratory(story, [hang(1.0, 100.0)])

    def test_a_caller_who_cancels_during_the_commit_loses_nothing(self) -> None:
        """The key waits, the commit goes on, and both end as they would have."""
        disk = SimulatedDisk()

        async def story(lab: Laboratory) -> None:
            async with lab.repository(journal=SimulatedJournal(disk)) as repo:
                disk.hangs_until_s = 2.03
                await lab.until(2.0)
                create = asyncio.create_task(repo.create(make_key("a")))
                await asyncio.sleep(0.01)
                create.cancel()
                await asyncio.gather(create, return_exceptions=True)
                assert create.cancelled()
                assert (len(repo.pending), repo.pending.writing) == (1, 0)
                await lab.until(3.0)
                assert list(disk.rows) == ["a"]
                await lab.until(120.0)
                assert "a" in lab.primary
                assert disk.rows == {}

        run_laboratory(story, [AWAY])

    def test_a_key_that_is_found_in_the_primary_during_the_commit_leaves_again(self) -> None:
        """The removal comes after the append, though the append has not been carried out."""
        disk = SimulatedDisk()

        async def story(lab: Laboratory) -> None:
            async with lab.repository(journal=SimulatedJournal(disk)) as repo:
                await lab.until(2.0)
                disk.hangs_until_s = 2.03
                create = asyncio.create_task(repo.create(make_key("a")))
                await asyncio.sleep(0.01)
                repo._custody.learn([make_key("a")])  # as a refresh does
                assert await create is Durability.PRIMARY
                await lab.until(3.0)
                assert disk.rows == {}
                assert not repo.pending

        run_laboratory(story, [AWAY])

    @pytest.mark.parametrize("cancelled", [False, True])
    def test_a_key_that_expires_during_its_create_does_not_stay(self, cancelled: bool) -> None:
        """Its caller is told, or has cancelled; either way nothing of it is kept for ever."""
        disk = SimulatedDisk()
        policy = Policy(breaker=False)

        async def story(lab: Laboratory) -> None:
            async with lab.repository(policy, journal=SimulatedJournal(disk)) as repo:
                await lab.until(2.0)
                key = make_key("short", created_s=1.0, lifetime_s=1.2)
                create = asyncio.create_task(repo.create(key))
                await asyncio.sleep(0.3)
                if cancelled:
                    create.cancel()
                outcome = (await asyncio.gather(create, return_exceptions=True))[0]
                assert isinstance(outcome, asyncio.CancelledError if cancelled else KeyExpiredError)
                await lab.until(5.0)
                assert (len(repo.pending), repo.pending.writing) == (0, 0)
                assert "short" not in repo.cache
                assert disk.rows == {}

        run_laboratory(story, [hang(1.0, 100.0)])

    @pytest.mark.parametrize("cancelled", [False, True])
    def test_an_id_that_memory_has_learned_otherwise_meanwhile_is_a_conflict(
        self, cancelled: bool
    ) -> None:
        """The primary's key, which a refresh brought, is kept, and nothing stays in custody."""
        policy = Policy(write_order="primary-first")
        theirs = make_key("a", material="theirs")

        async def story(lab: Laboratory) -> None:
            journal = SimulatedJournal(SimulatedDisk())
            async with lab.repository(policy, journal=journal) as repo:
                await lab.until(2.0)
                create = asyncio.create_task(repo.create(make_key("a")))
                await asyncio.sleep(0.1)
                repo._custody.learn([theirs])
                if cancelled:
                    create.cancel()
                outcome = (await asyncio.gather(create, return_exceptions=True))[0]
                assert isinstance(
                    outcome, asyncio.CancelledError if cancelled else KeyConflictError
                )
                assert (len(repo.pending), repo.pending.writing) == (0, 0)
                assert repo.cache.lookup("a") == theirs

        run_laboratory(story, [hang(1.0, 100.0)])

    def test_it_makes_no_sense_without_pending_writes(self) -> None:
        """Nothing would ever flush what it keeps."""
        with pytest.raises(PolicyError, match="pending_writes"):
            FaultTolerantRepository(
                InMemoryRepository(now=lambda: EPOCH),
                Policy(pending_writes=False),
                journal=SimulatedJournal(SimulatedDisk()),
            )


class TestRestart:
    """What one instance acknowledged, the next one serves and flushes."""

    def test_a_kill_in_an_outage_loses_nothing(self) -> None:
        """Served from memory at once, flushed when the primary returns, then gone from the disk."""
        disk = SimulatedDisk()
        names = [f"key-{number}" for number in range(20)]

        async def story(lab: Laboratory) -> None:
            first = await lab.repository(journal=SimulatedJournal(disk)).__aenter__()
            await lab.until(2.0)
            for name in names:
                await first.create(make_key(name))
            first.kill()
            async with lab.repository(journal=SimulatedJournal(disk)) as repo:
                (recovered,) = lab.seen(JournalRecovered)[1:]
                assert (recovered.keys, recovered.expired, recovered.corrupted) == (20, 0, 0)
                assert len(repo.pending) == 20
                for name in names:
                    assert await repo.get(name) == make_key(name)
                await lab.until(120.0)
                assert all(name in lab.primary for name in names)
                assert disk.rows == {}
                assert sum(event.confirmed for event in lab.seen(Flushed)) == 20

        run_laboratory(story, [AWAY])

    def test_only_what_the_primary_lacks_is_flushed(self) -> None:
        """Writes that had arrived although they failed are confirmed by the load at the start."""
        disk = SimulatedDisk()

        async def story(lab: Laboratory) -> None:
            journal = SimulatedJournal(disk)
            await journal.open()
            await journal.append([make_key(f"key-{number}") for number in range(10)])
            journal.kill()
            for number in range(0, 10, 2):
                lab.primary.commit(make_key(f"key-{number}"))
            sent: list[str] = []
            create_many = lab.primary.create_many

            async def watched(keys):
                sent.extend(key.id for key in keys)
                return await create_many(keys)

            lab.primary.create_many = watched
            async with lab.repository(journal=SimulatedJournal(disk)) as repo:
                assert len(repo.pending) == 5
                await lab.until(3.0)
                assert sorted(sent) == [f"key-{number}" for number in range(1, 10, 2)]
                assert len(lab.primary) == 10
                assert disk.rows == {}

        run_laboratory(story)

    def test_a_removal_that_fails_costs_one_more_look(self) -> None:
        """The next start finds the key in the primary, sends nothing, and removes it again."""
        disk = SimulatedDisk()

        async def story(lab: Laboratory) -> None:
            async with lab.repository(journal=SimulatedJournal(disk)) as repo:
                await lab.until(2.0)
                await repo.create(make_key("a"))
                disk.is_full = True
                await lab.until(120.0)
                assert "a" in lab.primary
                assert [event.operation for event in lab.seen(JournalFailed)] == ["remove"]
            assert list(disk.rows) == ["a"]
            disk.is_full = False
            flushed = len(lab.seen(Flushed))
            async with lab.repository(journal=SimulatedJournal(disk)) as repo:
                assert not repo.pending
                await lab.until(123.0)
            assert disk.rows == {}
            assert len(lab.seen(Flushed)) == flushed

        run_laboratory(story, [AWAY])

    def test_keys_that_expired_meanwhile_are_dropped_and_counted(self) -> None:
        """They are neither served nor flushed, and leave the disk."""
        disk = SimulatedDisk()

        async def story(lab: Laboratory) -> None:
            first = await lab.repository(journal=SimulatedJournal(disk)).__aenter__()
            await lab.until(2.0)
            await first.create(make_key("short", lifetime_s=5.0))
            await first.create(make_key("long"))
            first.kill()
            await lab.until(10.0)
            async with lab.repository(journal=SimulatedJournal(disk)) as repo:
                recovered = lab.seen(JournalRecovered)[-1]
                assert (recovered.keys, recovered.expired) == (1, 1)
                dropped = lab.seen(PendingDropped)
                assert [(e.key_id, e.reason) for e in dropped] == [("short", "expired")]
                assert repo.pending.key_ids() == ["long"]
                await lab.until(11.0)
                assert list(disk.rows) == ["long"]

        run_laboratory(story, [AWAY])

    def test_a_key_that_expires_while_it_waits_leaves_the_journal(self) -> None:
        """It does not come back at the next start."""
        disk = SimulatedDisk()
        policy = Policy(breaker=False)

        async def story(lab: Laboratory) -> None:
            async with lab.repository(policy, journal=SimulatedJournal(disk)) as repo:
                await lab.until(2.0)
                await repo.create(make_key("short", lifetime_s=5.0))
                await lab.until(10.0)
                assert disk.rows == {}

        run_laboratory(story, [AWAY])

    @pytest.mark.parametrize("restart", [False, True])
    def test_a_conflict_in_the_primary_ends_it(self, restart: bool) -> None:
        """The primary's key is kept, ours leaves memory and disk, and that is reported."""
        disk = SimulatedDisk()

        async def story(lab: Laboratory) -> None:
            repo = await lab.repository(journal=SimulatedJournal(disk)).__aenter__()
            await lab.until(2.0)
            await repo.create(make_key("a"))
            theirs = make_key("a", material="theirs")
            lab.primary.commit(theirs)
            if restart:
                repo.kill()
                repo = await lab.repository(journal=SimulatedJournal(disk)).__aenter__()
            await lab.until(120.0)
            assert [event.reason for event in lab.seen(PendingDropped)] == ["conflict"]
            assert await repo.get("a") == theirs
            assert disk.rows == {}
            with pytest.raises(KeyConflictError):
                await repo.create(make_key("a"))
            repo.kill()

        run_laboratory(story, [AWAY])

    def test_more_keys_than_may_wait_are_all_taken_over(self) -> None:
        """The bound holds for new keys; those acknowledged already are never lost to it."""
        disk = SimulatedDisk()

        async def story(lab: Laboratory) -> None:
            await lab.until(2.0)
            first = await lab.repository(journal=SimulatedJournal(disk)).__aenter__()
            for number in range(5):
                await first.create(make_key(f"key-{number}"))
            first.kill()
            policy = Policy(pending_max=2, cache_entries_max=1)
            async with lab.repository(policy, journal=SimulatedJournal(disk)) as repo:
                assert len(repo.pending) == 5
                assert all([await repo.get(f"key-{number}") for number in range(5)])

        run_laboratory(story, [AWAY])

    def test_a_journal_that_cannot_be_opened_stops_the_start(self) -> None:
        """Nothing runs then, and the next start, with the journal free, succeeds."""
        disk = SimulatedDisk()

        async def story(lab: Laboratory) -> None:
            other = SimulatedJournal(disk)
            await other.open()
            with pytest.raises(JournalLockedError):
                await lab.repository(journal=SimulatedJournal(disk)).__aenter__()
            assert len(asyncio.all_tasks()) == 1
            other.kill()
            async with lab.repository(journal=SimulatedJournal(disk)) as repo:
                assert await repo.create(make_key("a")) is Durability.PRIMARY

        run_laboratory(story)

    def test_a_hanging_disk_cannot_hang_the_start(self) -> None:
        """It fails in plain words after its time-out, as what is on the disk may not be missing."""
        disk = SimulatedDisk()
        disk.hangs_until_s = 1000.0

        async def story(lab: Laboratory) -> None:
            with pytest.raises(JournalError, match=r"did not open within 10\.0 s"):
                await lab.repository(journal=SimulatedJournal(disk)).__aenter__()
            assert lab.loop.time() == 10.0

        run_laboratory(story)


class TestShutdown:
    """An orderly end in an outage leaves the keys where the next start finds them."""

    def test_pending_keys_stay_in_the_journal(self) -> None:
        """They are not reported as dropped, and are flushed by the next instance."""
        disk = SimulatedDisk()

        async def story(lab: Laboratory) -> None:
            async with lab.repository(journal=SimulatedJournal(disk)) as repo:
                await lab.until(2.0)
                await repo.create(make_key("a"))
            assert lab.seen(PendingDropped) == []
            assert [event.keys for event in lab.seen(JournalKept)] == [1]
            assert lab.seen(JournalFailed) == []
            async with lab.repository(journal=SimulatedJournal(disk)) as repo:
                await lab.until(120.0)
                assert "a" in lab.primary
            assert len(lab.seen(JournalKept)) == 1
            assert disk.rows == {}

        run_laboratory(story, [AWAY])

    def test_keys_that_only_memory_had_are_written_at_the_end(self) -> None:
        """A disk that was full when they came, and is not any longer, takes them."""
        disk = SimulatedDisk()

        async def story(lab: Laboratory) -> None:
            async with lab.repository(journal=SimulatedJournal(disk)) as repo:
                disk.is_full = True
                await lab.until(2.0)
                assert await repo.create(make_key("a")) is Durability.MEMORY
                disk.is_full = False
            assert list(disk.rows) == ["a"]
            assert [event.keys for event in lab.seen(JournalKept)] == [1]

        run_laboratory(story, [AWAY])

    @pytest.mark.parametrize("fault", ["full", "hanging"])
    def test_keys_that_no_store_has_are_reported_as_dropped(self, fault: str) -> None:
        """And the end comes all the same, within its time-outs."""
        disk = SimulatedDisk()

        async def story(lab: Laboratory) -> None:
            async with lab.repository(journal=SimulatedJournal(disk)) as repo:
                disk.is_full = fault == "full"
                disk.hangs_until_s = 1000.0 if fault == "hanging" else 0.0
                await lab.until(2.0)
                assert await repo.create(make_key("a")) is Durability.MEMORY
                ended_s = lab.loop.time()
            dropped = lab.seen(PendingDropped)
            assert [(event.key_id, event.reason) for event in dropped] == [("a", "shutdown")]
            assert lab.seen(JournalKept) == []
            assert lab.loop.time() - ended_s <= 5.0 + 5.0 + 10.0 + 0.1
            await asyncio.sleep(1.0)
            assert "remove" not in {event.operation for event in lab.seen(JournalFailed)}

        run_laboratory(story, [AWAY])

    def test_a_create_that_the_end_overtakes_does_not_claim_to_be_in_the_primary(self) -> None:
        """It is acknowledged as what it is: as durable as memory, or as the journal."""

        async def story(lab: Laboratory, disk: SimulatedDisk | None) -> Durability:
            journal = None if disk is None else SimulatedJournal(disk)
            policy = Policy(drain_timeout_s=0.0)
            async with lab.repository(policy, journal=journal) as repo:
                await lab.until(2.0)
                create = asyncio.create_task(repo.create(make_key("a")))
                await asyncio.sleep(0.1)
            return await create

        outage = hang(1.0, 100.0)
        assert run_laboratory(lambda lab: story(lab, None), [outage]) is Durability.MEMORY
        disk = SimulatedDisk()
        assert run_laboratory(lambda lab: story(lab, disk), [outage]) is Durability.JOURNAL
        assert list(disk.rows) == ["a"]


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_that_was_journalled_is_lost_in_a_hostile_world(seed: int) -> None:
    """Invariant 1 with a journal: random outages, and kills at random moments, lose no such key.

    After each restart every such key is in the primary, in pending writes or both; in the end all
    of them are in the primary and the disk is empty.
    """
    rng = random.Random(seed)
    policy = replace(hostile_policy(rng), breaker_open_s=2.0)
    disk = SimulatedDisk()
    acknowledged: dict[str, Durability] = {}

    async def story(lab: Laboratory) -> None:
        async def create(repo: FaultTolerantRepository, name: str, at_s: float) -> None:
            await lab.until(at_s)
            acknowledged[name] = await repo.create(make_key(name))

        for life in range(6):
            commit_s = iter(lambda: rng.choice([0.0005, 0.01, 0.1]), None)
            repo = lab.repository(policy, journal=SimulatedJournal(disk, commit_s=commit_s))
            await repo.__aenter__()
            for name, durability in acknowledged.items():
                if durability is not Durability.MEMORY:
                    assert name in lab.primary or name in repo.pending
            end_s = lab.loop.time() + rng.uniform(0.0, 15.0)
            calls = [
                asyncio.create_task(
                    create(repo, f"key-{life}-{number}", rng.uniform(end_s - 10.0, end_s))
                )
                for number in range(20)
            ]
            await lab.until(end_s)
            repo.kill()
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        async with lab.repository(policy, journal=SimulatedJournal(disk)) as repo:
            await lab.until(200.0)
            assert len(repo.pending) == 0
        durable = {n for n, durability in acknowledged.items() if durability != Durability.MEMORY}
        assert all(name in lab.primary for name in durable)
        assert Durability.JOURNAL in acknowledged.values()
        assert disk.rows == {}

    # An outage at the beginning, so that every seed has keys for the journal.
    outages = [each for each in hostile_outages(rng) if each.start_s > 10.0]
    first = Outage(0.5, 10.0, rng.choice([OutageMode.REFUSE, OutageMode.HANG]))
    run_laboratory(story, [first, *outages], seed=seed)


class SwitchablePrimary(InMemoryRepository):
    """A primary in memory that refuses every call while it is away."""

    is_away = True

    def __getattribute__(self, name: str) -> object:
        if name in ("create", "create_many", "get", "list_valid", "delete_expired", "ping"):
            return self._refuse if self.is_away else super().__getattribute__(name)
        return super().__getattribute__(name)

    async def _refuse(self, *_: object, **__: object) -> None:
        raise ConnectionRefusedError


def test_a_file_does_what_the_simulated_disk_does(tmp_path: Path) -> None:
    """The real journal behind the facade: kept through a kill, and flushed by the next one."""
    path, key = tmp_path / "journal.sqlite", make_key("a")
    policy = Policy(breaker=False, journal_timeout_s=10.0)

    async def main() -> None:
        primary = SwitchablePrimary(now=lambda: EPOCH)

        def repository() -> FaultTolerantRepository:
            return FaultTolerantRepository(
                primary, policy, now=lambda: EPOCH, journal=SqliteJournal(path)
            )

        first = await repository().__aenter__()
        assert await first.create(key) is Durability.JOURNAL
        first.kill()
        async with repository() as second:
            assert await second.get("a") == key
            primary.is_away = False
            assert await second.flush() == 1
            assert await primary.get("a") == key
        third = SqliteJournal(path)
        assert (await third.open()).keys == ()
        await third.close()

    asyncio.run(main())
