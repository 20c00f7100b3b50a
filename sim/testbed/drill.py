"""The drill: lose a server for real, restore it, and measure what the objectives speak of.

Two disasters strike a server that is in use, on a scratch cluster of one's own. `lost server`: it
is killed and its data directory removed; only the backup and the archive are left. `mistake`: an
operator deletes every key; the moment before is restored. The service runs all the while.

*Recovery time* is from the disaster, or from the decision to restore, to the first new key that the
restored server confirms. It holds no minute in which a person is called, thinks or copies disks.
*Recovery point* is how old the oldest commit was that the restored server lacks, when disaster
struck. Both are measured with the few keys and the short `archive_timeout` that are printed.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import asyncpg

from ftrepo.interface import Durability
from ftrepo.postgres import migrate
from ftrepo.postgres.binaries import server_user
from ftrepo.postgres.recovery.backup import take_backup
from ftrepo.postgres.recovery.restore import Restored, Target, restore
from ftrepo.postgres.recovery.wal_archive import archive_settings
from sim.testbed.binaries import TestbedError
from sim.testbed.cluster import Cluster
from sim.testbed.drill_load import DrillLoad, drill_service, now
from sim.testbed.drill_outcome import DrillOutcome, DrillSettings
from sim.testbed.workspace import workspace

DISASTER_S_MAX = 900.0
"""How long a disaster may take besides the load before it; a drill that hangs must end too."""

_FLUSH_S_MAX = 120.0
"""How long the service may take to notice that the server is back, and to bring it up to date."""

_NOTICED_AFTER_S = 2.0
"""How long a mistake goes unnoticed: in this time new keys are stored that a restore undoes."""


class _Moments(NamedTuple):
    """When things happened: by the calendar for comparing with commits, else by the loop."""

    struck: datetime
    away: datetime
    decided_s: float
    in_use_s: float
    flushed_s: float


@dataclass(kw_only=True)
class _Site:
    """A server in use whose log is archived, and what was measured so far."""

    cluster: Cluster
    dsn: str
    backups: Path
    archive: Path
    load: DrillLoad
    settings: DrillSettings
    backup_s: float = 0.0
    backup_bytes: int = 0

    async def under_load_with_a_backup(self) -> None:
        clock = asyncio.get_running_loop().time
        await asyncio.sleep(self.settings.load_s)
        began_s = clock()
        taken = await take_backup(self.dsn, self.backups, binaries=self.cluster.binaries)
        self.backup_s = clock() - began_s
        self.backup_bytes = taken.backup.size_bytes
        await asyncio.sleep(self.settings.load_s)

    async def restore(self, at: datetime | None = None) -> Restored:
        """Restore into the server's data directory, which is gone, and start the server."""
        target = Target(archive=self.archive, at=at)
        restored = await restore(
            self.backups, self.cluster.data, target, binaries=self.cluster.binaries
        )
        await asyncio.to_thread(self.cluster.start)
        return restored

    async def fetch(self, query: str) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.dsn)
        try:
            rows: list[asyncpg.Record] = await connection.fetch(query)
        finally:
            await connection.close()
        return rows


async def lose_the_server(settings: DrillSettings) -> DrillOutcome:
    """Kill a server, remove its data, and restore all that the archive has."""
    async with _site(settings) as site:
        async with site.load.running():
            await site.under_load_with_a_backup()
            struck_s = asyncio.get_running_loop().time()
            await asyncio.to_thread(site.cluster.kill)
            # Until here commits were possible, and each of them counts.
            struck = now()
            await site.load.until_settled()
            away = now()
            await asyncio.to_thread(shutil.rmtree, site.cluster.data)
            restored = await site.restore()
            moments = _Moments(struck, away, struck_s, *await _back_in_use(site))
        return await _outcome("lost server", site, restored, moments)


async def undo_a_mistake(settings: DrillSettings) -> DrillOutcome:
    """Delete every key, notice it a little later, and restore the moment before."""
    async with _site(settings) as site:
        async with site.load.running():
            await site.under_load_with_a_backup()
            (row,) = await site.fetch("SELECT clock_timestamp() AS before")
            await site.fetch("DELETE FROM public_keys")
            await asyncio.sleep(_NOTICED_AFTER_S)
            decided_s = asyncio.get_running_loop().time()
            # Shutting down archives what the log has, the mistake included.
            await asyncio.to_thread(site.cluster.stop)
            await site.load.until_settled()
            away = now()
            await asyncio.to_thread(shutil.rmtree, site.cluster.data)
            restored = await site.restore(at=row["before"])
            moments = _Moments(row["before"], away, decided_s, *await _back_in_use(site))
        return await _outcome("mistake", site, restored, moments)


@asynccontextmanager
async def _site(settings: DrillSettings) -> AsyncIterator[_Site]:
    room = workspace().folder / f"drill-{secrets.token_hex(4)}"
    archive = room / "archive"
    await asyncio.to_thread(_make_folders, room, archive)
    parameters = archive_settings(archive, timeout_s=settings.archive_timeout_s)
    cluster = Cluster(settings=parameters)
    await asyncio.to_thread(cluster.__enter__)
    try:
        dsn = await asyncio.to_thread(cluster.create_database)
        await migrate.upgrade(dsn)
        async with drill_service(dsn, existing=settings.existing, settings=settings.load) as load:
            yield _Site(
                cluster=cluster,
                dsn=dsn,
                backups=room / "backups",
                archive=archive,
                load=load,
                settings=settings,
            )
    finally:
        await asyncio.to_thread(cluster.__exit__, None, None, None)
        await asyncio.to_thread(shutil.rmtree, room, ignore_errors=True)


def _make_folders(*folders: Path) -> None:
    for folder in folders:
        folder.mkdir()
        os.chown(folder, server_user().uid, server_user().gid)


async def _back_in_use(site: _Site) -> tuple[float, float]:
    """Wait for the service to use the restored server and to bring it up to date."""
    restored_s = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(_FLUSH_S_MAX):
            return await site.load.until_in_use(restored_s), await site.load.until_flushed()
    except TimeoutError:
        raise TestbedError(
            f"the service did not use the restored server within {_FLUSH_S_MAX:g} s"
        ) from None


async def _outcome(
    disaster: str, site: _Site, restored: Restored, moments: _Moments
) -> DrillOutcome:
    """Compare what was acknowledged with what the table has."""
    load = site.load
    await load.until_flushed()
    table = {row["id"] for row in await site.fetch("SELECT id FROM public_keys")}
    # A server that is up may be late: what waited for it then was committed like the others.
    waited = {one.key.id for one in load.acknowledged if one.durability is not Durability.PRIMARY}
    written = {key_id for key_id, at in load.committed.items() if at <= moments.away}
    pending = waited - written
    gone = [
        one for one in load.acknowledged if one.key.id not in table and one.key.id not in pending
    ]
    lost = [one for one in gone if load.committed[one.key.id] <= moments.struck]
    ages_s = [(moments.struck - load.committed[one.key.id]).total_seconds() for one in lost]
    served = sum(load.repository.cache.lookup(one.key.id) is not None for one in lost)
    return DrillOutcome(
        disaster=disaster,
        keys=restored.keys,
        backup_s=site.backup_s,
        backup_bytes=site.backup_bytes,
        copy_s=restored.copy_s,
        replay_s=restored.recovery_s,
        check_s=restored.check_s,
        recovery_time_s=moments.in_use_s - moments.decided_s,
        recovery_point_s=max(ages_s, default=0.0),
        lost=len(lost),
        lost_but_served=served,
        undone=len(gone) - len(lost),
        pending=len(pending),
        flushed=len(pending & table),
        flushed_s=moments.flushed_s - moments.decided_s,
        gets=load.gets,
        failed_gets=load.failed_gets,
        failed_creates=load.failed_creates,
        checks=tuple(f"{c.name}: {c.detail}" for c in restored.checks if c.passed is False),
    )


async def run_drill(settings: DrillSettings) -> list[DrillOutcome]:
    """Let both disasters strike, each a server of its own, and return what they cost.

    Raises:
        TestbedError: there is no PostgreSQL here, or the service never used the restored server.
        RecoveryError: there was nothing to restore from, or it cannot be restored.
    """
    limit_s = 2 * settings.load_s + DISASTER_S_MAX
    outcomes = []
    for disaster in (lose_the_server, undo_a_mistake):
        try:
            async with asyncio.timeout(limit_s):
                outcomes.append(await disaster(settings))
        except TimeoutError:
            raise TestbedError(f"{disaster.__name__} had not ended after {limit_s:g} s") from None
    return outcomes
