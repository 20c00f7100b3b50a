"""The snapshot of memory: one contract for the file and the simulated one; and the warm start."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from laboratory import Laboratory, make_key, refuse, run_laboratory

from ftrepo.errors import JournalError, KeyUnavailableError
from ftrepo.events import SnapshotFailed, SnapshotLoaded
from ftrepo.fault_tolerant import FaultTolerantRepository
from ftrepo.interface import Saved, Snapshot
from ftrepo.keys import PublicKey, SigningKey
from ftrepo.policy import Policy
from ftrepo.snapshot import FileSnapshot
from sim.world.issuers import EPOCH
from sim.world.journal import SimulatedDisk, SimulatedSnapshot
from tests.ftrepo.repositories import in_virtual_time

KEYS = [SigningKey.generate(created=EPOCH, lifetime=timedelta(hours=n)).public for n in (1, 2, 3)]


@dataclass(frozen=True)
class SnapshotUnderTest:
    place: Callable[[Path], Any]
    at: Callable[[Any], Snapshot]
    run: Callable[[Coroutine[Any, Any, None]], object]


SNAPSHOTS = {
    "file": SnapshotUnderTest(lambda folder: folder / "keys.snapshot", FileSnapshot, asyncio.run),
    "simulated": SnapshotUnderTest(lambda _: SimulatedDisk(), SimulatedSnapshot, in_virtual_time),
}


@pytest.fixture(params=sorted(SNAPSHOTS))
def kind(request: pytest.FixtureRequest) -> SnapshotUnderTest:
    """Each kind of snapshot."""
    return SNAPSHOTS[request.param]


def test_what_was_saved_is_loaded(kind: SnapshotUnderTest, tmp_path: Path) -> None:
    """By another process too: every key as it was, and when it was saved."""
    place = kind.place(tmp_path)

    async def main() -> None:
        assert await kind.at(place).load() is None
        await kind.at(place).save(KEYS, EPOCH)
        assert await kind.at(place).load() == Saved(keys=tuple(KEYS), at=EPOCH)

    kind.run(main())


def test_the_next_one_replaces_it(kind: SnapshotUnderTest, tmp_path: Path) -> None:
    """All of it; an empty one is one, too."""
    place = kind.place(tmp_path)

    async def main() -> None:
        snapshot = kind.at(place)
        await snapshot.save(KEYS, EPOCH)
        await snapshot.save(KEYS[:1], EPOCH + timedelta(seconds=1.5))
        saved = await snapshot.load()
        assert saved == Saved(keys=(KEYS[0],), at=EPOCH + timedelta(seconds=1.5))
        await snapshot.save([], EPOCH)
        assert await snapshot.load() == Saved(keys=(), at=EPOCH)

    kind.run(main())


class TestFile:
    def load(self, path: Path) -> Saved | None:
        return asyncio.run(FileSnapshot(path).load())

    def save(self, path: Path) -> Path:
        asyncio.run(FileSnapshot(path).save(KEYS, EPOCH))
        return path

    def test_nobody_else_may_read_or_write_it(self, tmp_path: Path) -> None:
        """Whoever could write it could have keys trusted: it is refused then."""
        path = self.save(tmp_path / "s")
        assert path.stat().st_mode & 0o777 == 0o600
        path.chmod(0o620)
        with pytest.raises(JournalError, match="others than its owner may write"):
            self.load(path)
        path.chmod(0o600)
        link = tmp_path / "link"
        link.symlink_to(path)
        with pytest.raises(JournalError, match="not a plain file"):
            self.load(link)

    def test_a_line_that_was_changed_is_left_out(self, tmp_path: Path) -> None:
        """One flipped byte costs one key, and is told; the others are loaded."""
        path = self.save(tmp_path / "s")
        lines = path.read_text(encoding="utf-8").splitlines()
        fields = json.loads(lines[2])
        fields[4] += 1
        path.write_text("\n".join([*lines[:2], json.dumps(fields), "[1", lines[3]]))
        saved = self.load(path)
        assert saved is not None
        assert saved.keys == (KEYS[0], KEYS[2])
        assert [each.split(":")[0] for each in saved.corrupted] == ["line 3", "line 4"]

    @pytest.mark.parametrize("line", ["[" * 100_000, '["k", "", "", 1e400, 2, ""]', "LARGE"])
    def test_whatever_a_line_has_become_costs_one_key(self, tmp_path: Path, line: str) -> None:
        """Brackets without end and numbers without bound are damage like any other."""
        path = self.save(tmp_path / "s")
        lines = path.read_text(encoding="utf-8").splitlines()
        fields = json.loads(lines[2])
        fields[3] = 10**30
        lines[2] = json.dumps(fields) if line == "LARGE" else line
        path.write_text("\n".join(lines))
        saved = self.load(path)
        assert saved is not None
        assert saved.keys == (KEYS[0], KEYS[2])
        assert len(saved.corrupted) == 1

    @pytest.mark.parametrize(
        "head",
        ["", "[]", '["another file", 1]', "\x00", '["ftrepo snapshot 1"]', "[" * 100_000],
        ids=["empty", "list", "another", "zero", "short", "deep"],
    )
    def test_another_file_is_refused(self, tmp_path: Path, head: str) -> None:
        """Something that is no snapshot is not read as an empty one."""
        path = tmp_path / "s"
        path.write_text(head + "\nsomething\n")
        path.chmod(0o600)
        with pytest.raises(JournalError, match="is not a snapshot"):
            self.load(path)

    def test_a_disk_that_is_full_keeps_the_earlier_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A write that fails, before or after the data, leaves what was there."""
        path = self.save(tmp_path / "s")

        def fail(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(JournalError, match="No space left"):
            asyncio.run(FileSnapshot(path).save(KEYS[:1], EPOCH))
        monkeypatch.undo()
        assert self.load(path) == Saved(keys=tuple(KEYS), at=EPOCH)

    def test_a_save_that_is_held_up_is_not_met_by_another(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its time-out leaves a thread that writes on; two at once would write into each other."""
        path = tmp_path / "s"
        snapshot = FileSnapshot(path)
        reached, go_on = threading.Event(), threading.Event()
        synchronise = os.fsync

        def wait(descriptor: int) -> None:
            reached.set()
            assert go_on.wait(timeout=30)
            synchronise(descriptor)

        async def main() -> None:
            monkeypatch.setattr(os, "fsync", wait)
            slow = asyncio.create_task(snapshot.save(KEYS, EPOCH))
            await asyncio.to_thread(reached.wait, 30)
            slow.cancel()
            with pytest.raises(JournalError, match="still being written"):
                await snapshot.save(KEYS[:1], EPOCH)
            go_on.set()

        asyncio.run(main())  # Its end waits for the thread.
        assert self.load(path) == Saved(keys=tuple(KEYS), at=EPOCH)
        asyncio.run(snapshot.save(KEYS[:1], EPOCH))
        assert self.load(path) == Saved(keys=tuple(KEYS[:1]), at=EPOCH)

    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        """It is named, and nothing is made."""
        with pytest.raises(JournalError, match="cannot be written"):
            asyncio.run(FileSnapshot(tmp_path / "absent" / "s").save(KEYS, EPOCH))
        with pytest.raises(JournalError, match="cannot be read"):
            self.load(tmp_path / "absent" / "s")


def repository(
    lab: Laboratory, disk: SimulatedDisk, policy: Policy | None = None
) -> FaultTolerantRepository:
    """A repository with a snapshot on this disk."""
    return FaultTolerantRepository(
        lab.primary,
        policy,
        now=lab.now,
        observers=[lab.events.append],
        snapshot=SimulatedSnapshot(disk),
        draw=lambda: 0.0,
    )


async def lives_and_starts_in_an_outage(
    lab: Laboratory, disk: SimulatedDisk, policy: Policy | None = None, *, killed: bool = False
) -> FaultTolerantRepository:
    """A process that knows key `a` ends before an outage, and another one starts in it."""
    first = repository(lab, disk, policy)
    await first.__aenter__()
    lab.primary.commit(make_key("a"))
    await first.get("a")
    if killed:
        await lab.until(90.0)
        first.kill()
    else:
        await first.__aexit__(None, None, None)
    await lab.until(110.0)
    second = repository(lab, disk, policy)
    await second.__aenter__()
    return second


@pytest.mark.parametrize("killed", [False, True])
def test_a_start_in_an_outage_knows_what_the_last_process_knew(*, killed: bool) -> None:
    """After an orderly end at once; after a crash, what was learnt an interval before it."""

    async def story(lab: Laboratory) -> PublicKey:
        second = await lives_and_starts_in_an_outage(lab, SimulatedDisk(), killed=killed)
        (loaded,) = lab.seen(SnapshotLoaded)
        assert isinstance(loaded, SnapshotLoaded)
        assert loaded.keys == 1
        assert loaded.age_s > 10.0
        key = await second.get("a")
        second.kill()
        return key

    assert run_laboratory(story, [refuse(100.0, 1e4)]).id == "a"


def test_without_an_interval_there_is_no_snapshot() -> None:
    """A policy may do without: the start is cold then, and the disk stays empty."""

    async def story(lab: Laboratory) -> None:
        disk = SimulatedDisk()
        policy = Policy(snapshot_interval_s=None)
        second = await lives_and_starts_in_an_outage(lab, disk, policy)
        with pytest.raises(KeyUnavailableError):
            await second.get("a")
        second.kill()
        assert disk.saved is None

    run_laboratory(story, [refuse(100.0, 1e4)])


def test_a_recalled_key_is_as_stale_as_the_snapshot() -> None:
    """Past `max_staleness_s` since it was saved it is not served, restart or not."""

    async def story(lab: Laboratory) -> None:
        policy = Policy(max_staleness_s=60.0)
        second = await lives_and_starts_in_an_outage(lab, SimulatedDisk(), policy)
        with pytest.raises(KeyUnavailableError):
            await second.get("a")
        second.kill()

    run_laboratory(story, [refuse(100.0, 1e4)])


@pytest.mark.parametrize(("at_s", "outcome"), [(20.0, "a"), (40.0, None)])
def test_a_restart_in_an_outage_makes_no_key_younger(at_s: float, outcome: str | None) -> None:
    """A snapshot that is written in it is as old as what the primary had confirmed before."""

    async def story(lab: Laboratory) -> None:
        disk, policy = SimulatedDisk(), Policy(max_staleness_s=30.0, refresh_interval_s=None)
        first = repository(lab, disk, policy)
        lab.primary.commit(make_key("a"))
        await first.__aenter__()
        await lab.until(18.0)
        await first.__aexit__(None, None, None)
        second = repository(lab, disk, policy)
        await second.__aenter__()
        await lab.until(at_s)
        if outcome is None:
            with pytest.raises(KeyUnavailableError):
                await second.get("a")
        else:
            assert (await second.get("a")).id == outcome
        second.kill()

    run_laboratory(story, [refuse(1.0, 1e4)])


def test_a_disk_that_hangs_or_is_full_stops_nothing() -> None:
    """The start waits for its time-out; a failed write is told, and tried again."""

    async def story(lab: Laboratory) -> None:
        disk = SimulatedDisk()
        disk.hangs_until_s = 10.0
        async with repository(lab, disk, Policy(snapshot_interval_s=1.0)) as repo:
            assert lab.loop.time() == pytest.approx(2.0, abs=0.01)
            disk.hangs_until_s, disk.is_full = 0.0, True
            await repo.create(make_key("a"))
            await lab.until(5.0)
            operations = [each.operation for each in lab.seen(SnapshotFailed)]  # type: ignore[attr-defined]
            assert operations[0] == "load"
            assert operations.count("save") >= 2
            disk.is_full = False
            await lab.until(7.0)
            assert disk.saved is not None
            assert [key.id for key in disk.saved.keys] == ["a"]

    run_laboratory(story)


def test_what_is_learnt_while_the_snapshot_is_written_is_in_the_next() -> None:
    """A write takes the keys as they are when it begins; those that come meanwhile are owed."""

    async def story(lab: Laboratory) -> None:
        disk = SimulatedDisk()
        async with repository(lab, disk, Policy(snapshot_interval_s=1.0)) as repo:
            await repo.create(make_key("a"))
            disk.hangs_until_s = 2.0
            await lab.until(1.5)  # the write of "a" has begun
            await repo.create(make_key("b"))
            await lab.until(10.0)
            assert disk.saved is not None
            assert {key.id for key in disk.saved.keys} == {"a", "b"}

    run_laboratory(story)


def test_a_service_that_learns_nothing_writes_nothing() -> None:
    """Reading the same keys again and again costs the disk nothing."""

    async def story(lab: Laboratory) -> None:
        disk = SimulatedDisk()
        async with repository(lab, disk) as repo:
            await repo.create(make_key("a"))
            await lab.until(100.0)
            saved = disk.saved
            assert saved is not None
            for _ in range(10):
                await repo.get("a")
                await lab.until(lab.loop.time() + 100.0)
            assert disk.saved is saved

    run_laboratory(story)


def test_a_full_memory_recalls_no_more_than_it_may_hold() -> None:
    """And an expired key not at all."""

    async def story(lab: Laboratory) -> list[str]:
        disk = SimulatedDisk()
        old = make_key("old", lifetime_s=50.0)
        keys = (old, *(make_key(name) for name in "abc"))
        disk.saved = Saved(keys=keys, at=EPOCH)
        await lab.until(60.0)
        async with repository(lab, disk, Policy(cache_entries_max=2)) as repo:
            return [key.id for key in repo.cache.valid_keys()]

    assert run_laboratory(story, [refuse(0.0, 1e4)]) == ["a", "b"]
