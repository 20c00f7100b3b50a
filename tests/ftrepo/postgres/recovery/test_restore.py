"""Restoring a backup of a real server, and winding its log forward to a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from recovery_site import Site, archiving_server, found, new_site

from ftrepo.postgres.recovery.backup import take_backup
from ftrepo.postgres.recovery.backup_record import Backup
from ftrepo.postgres.recovery.restore import Target, restore
from ftrepo.postgres.recovery.tools import RecoveryError
from sim.testbed.cluster import Cluster
from sim.testbed.sql import run_sql

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Cluster, Path]]:
    """Give a server whose log is archived, for all tests of this file."""
    with archiving_server() as server:
        yield server


@pytest.fixture
def site(server: tuple[Cluster, Path]) -> Iterator[Site]:
    """Give an own database on that server, with the table, and a place for backups."""
    with new_site(server) as site:
        yield site


def test_a_restored_backup_has_the_same_rows(site: Site) -> None:
    """A backup that is restored has every row as it was, and passes every check."""
    site.store(50)
    expected = site.rows()
    backup = site.back_up()
    site.store(5)
    restored = site.restore()
    assert restored.passed
    assert found(restored, "tables and indexes").passed
    assert found(restored, "pages").passed or not backup.facts.data_checksums
    assert backup.keys.total.keys == restored.keys == 50
    assert found(restored, "keys of the backup").detail.startswith("50 are there")
    assert site.rows(restored.data) == expected
    assert "recovery_target" not in (restored.data / "postgresql.auto.conf").read_text()
    assert not (restored.data / "recovery.signal").exists()


def test_keys_that_arrive_during_the_backup_are_no_difference(site: Site) -> None:
    """A backup of a database in use is compared by what had settled when it began."""
    site.store(20)

    async def story() -> Backup:
        stop = asyncio.Event()

        async def go_on_storing() -> int:
            stored = 0
            while not stop.is_set():
                await asyncio.to_thread(site.store, 1)
                stored += 1
            return stored

        storing = asyncio.create_task(go_on_storing())
        taking = take_backup(site.dsn, site.backups, binaries=site.cluster.binaries)
        backup = (await taking).backup
        stop.set()
        assert await storing > 2
        return backup

    backup = asyncio.run(story())
    restored = site.restore()
    assert restored.passed
    assert restored.keys > backup.keys.total.keys


def test_recovery_to_the_moment_before_a_mistake(site: Site) -> None:
    """After a DELETE of every key, the moment before it is restored, with keys that came since."""
    site.store(30)
    site.back_up()
    site.store(12)
    expected = site.rows()
    moment = site.moment()
    run_sql(site.dsn, "DELETE FROM public_keys")
    site.store(3)
    site.hand_over()
    restored = site.restore(Target(archive=site.archive, at=moment))
    assert restored.passed
    assert restored.keys == 42
    assert restored.reached is not None
    assert restored.reached <= moment
    assert site.rows(restored.data) == expected
    # The restored server is on a timeline of its own, of which the archive must know nothing yet.
    assert list(site.archive.glob("00000002*")) == []


def test_a_restore_that_repeats_a_mistake_is_noticed(site: Site) -> None:
    """Restored to a moment after keys were deleted that had not expired, the check says so."""
    site.store(30)
    site.back_up()
    run_sql(site.dsn, "DELETE FROM public_keys")
    site.store(3)
    site.hand_over()
    restored = site.restore(Target(archive=site.archive))
    assert not restored.passed
    assert "was the moment after a deletion?" in found(restored, "keys of the backup").detail


def test_nothing_is_restored_over_anything(site: Site) -> None:
    """A data directory that has anything in it is refused, and is not touched."""
    site.store(1)
    site.back_up()
    occupied = site.room / "occupied"
    occupied.mkdir()
    (occupied / "PG_VERSION").write_text("18")
    with pytest.raises(RecoveryError, match="not empty"):
        asyncio.run(restore(site.backups, occupied, Target(), binaries=site.cluster.binaries))
    assert [path.name for path in occupied.iterdir()] == ["PG_VERSION"]


def test_a_gap_in_the_archive_stops_a_restore(site: Site) -> None:
    """With a file of the log missing, restoring to the end is refused and the file is named."""
    site.store(5)
    site.back_up()
    for _ in range(3):
        site.store(1)
        site.hand_over()
    missing = sorted(path for path in site.archive.glob("*.gz") if len(path.name) == 27)[-2]
    hidden = missing.rename(site.room / missing.name)
    try:
        with pytest.raises(RecoveryError, match=missing.stem):
            site.restore(Target(archive=site.archive))
    finally:
        hidden.rename(missing)
    assert site.restore(Target(archive=site.archive)).keys == 8


def test_a_moment_beyond_the_archive_is_refused(site: Site) -> None:
    """A moment that the archive does not reach is an error that says where the archive ends."""
    site.store(5)
    site.back_up()
    site.store(5)
    site.hand_over()
    with pytest.raises(RecoveryError, match="archive ends before the moment .* with a commit at 2"):
        site.restore(Target(archive=site.archive, at=datetime.now(UTC) + timedelta(hours=1)))


def test_a_moment_before_the_backup_is_refused(site: Site) -> None:
    """A server can be wound forward and never back, so an older backup is asked for."""
    before = site.moment()
    backup = site.back_up()
    with pytest.raises(RecoveryError, match="never back"):
        site.restore(Target(archive=site.archive, at=before))
    with pytest.raises(RecoveryError, match="no time zone"):
        site.restore(Target(archive=site.archive, at=backup.finished.replace(tzinfo=None)))
