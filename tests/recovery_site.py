"""A real server whose log is archived, with a place for backups, for tests of disaster recovery."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg

from ftrepo.keys import SigningKey
from ftrepo.postgres import migrate
from ftrepo.postgres.binaries import server_user
from ftrepo.postgres.recovery.backup import take_backup
from ftrepo.postgres.recovery.backup_record import Backup
from ftrepo.postgres.recovery.checks import Check
from ftrepo.postgres.recovery.restore import Restored, Target, restore
from ftrepo.postgres.recovery.wal_archive import archive_settings
from sim.testbed.cluster import Cluster
from sim.testbed.sql import run_sql
from sim.testbed.workspace import workspace

ARCHIVED_WITHIN_S = 30.0
"""How long a test waits for a file to be archived; it takes 0.1 s."""


@dataclass
class Site:
    """A database whose log is archived, and a place for its backups."""

    cluster: Cluster
    dsn: str
    room: Path
    archive: Path

    @property
    def backups(self) -> Path:
        return self.room / "backups"

    def store(self, keys: int) -> None:
        """Put so many new keys into the table; they are valid for two days."""
        now = datetime.now(UTC)
        fresh = [SigningKey.generate(created=now, lifetime=timedelta(days=2)) for _ in range(keys)]
        values = ", ".join(
            f"('{key.public.id}', '\\x{key.public.material.hex()}', 'Ed25519', "
            f"'{key.public.created.isoformat()}', '{key.public.expires.isoformat()}')"
            for key in fresh
        )
        run_sql(
            self.dsn,
            f"INSERT INTO public_keys (id, material, algorithm, created, expires) VALUES {values}",
        )

    def moment(self) -> datetime:
        """The server's time, after all that was committed and before all that will be."""
        (row,) = run_sql(self.dsn, "SELECT pg_sleep(0.01), clock_timestamp() AS now")
        moment: datetime = row["now"]
        run_sql(self.dsn, "SELECT pg_sleep(0.01)")
        return moment

    def hand_over(self) -> None:
        """Let the server archive all that it has written, and wait for that."""
        # A commit after the last one that counts lets recovery see that it has gone far enough.
        statements = ("SELECT pg_create_restore_point('x')", "SELECT txid_current()")
        (row,) = run_sql(self.dsn, *statements, "SELECT pg_walfile_name(pg_switch_wal()) AS file")
        deadline = time.monotonic() + ARCHIVED_WITHIN_S
        while not (self.archive / f"{row['file']}.gz").exists():
            assert time.monotonic() < deadline, self.cluster.log_tail()
            time.sleep(0.02)

    def back_up(self, *, keep: int | None = None) -> Backup:
        taking = take_backup(self.dsn, self.backups, keep=keep, binaries=self.cluster.binaries)
        return asyncio.run(taking).backup

    def restore(self, target: Target | None = None) -> Restored:
        data = self.room / f"restored-{secrets.token_hex(4)}"
        restoring = restore(self.backups, data, target or Target(), binaries=self.cluster.binaries)
        return asyncio.run(restoring)

    def rows(self, data: Path | None = None) -> list[asyncpg.Record]:
        """Every row, of the server that runs or of one that was restored."""
        query = "SELECT * FROM public_keys ORDER BY id"
        if data is None:
            return list(run_sql(self.dsn, query))
        database = self.dsn.rpartition("/")[2]
        with Cluster() as other:
            other.stop()
            own, other.data = other.data, data
            try:
                other.start({"archive_mode": "off"})
                return list(run_sql(other.dsn(database), query))
            finally:
                other.stop()
                other.data = own


@contextmanager
def archiving_server() -> Iterator[tuple[Cluster, Path]]:
    """Run a server whose log is archived; give it, and the archive."""
    archive = workspace().folder / f"archive-{secrets.token_hex(4)}"
    own(archive)
    settings = archive_settings(archive)
    with Cluster(settings=settings) as cluster:
        # In its files too, where a real server has them, and a restored one finds them.
        for name, value in settings.items():
            run_sql(cluster.dsn(), f"ALTER SYSTEM SET {name} = '{value}'")
        yield cluster, archive


@contextmanager
def new_site(server: tuple[Cluster, Path]) -> Iterator[Site]:
    """Give an own database on that server, with the table, and a place for backups."""
    cluster, archive = server
    room = workspace().folder / f"room-{secrets.token_hex(4)}"
    own(room)
    dsn = cluster.create_database()
    asyncio.run(migrate.upgrade(dsn))
    try:
        yield Site(cluster, dsn, room, archive)
    finally:
        cluster.drop_database(dsn)


def own(folder: Path) -> None:
    """Make a folder of the user who runs servers."""
    folder.mkdir()
    os.chown(folder, server_user().uid, server_user().gid)


def found(restored: Restored, name: str) -> Check:
    """The answer to one question."""
    (check,) = (check for check in restored.checks if check.name == name)
    return check
