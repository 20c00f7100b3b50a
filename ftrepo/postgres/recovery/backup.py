"""Full backups: taken by `pg_basebackup`, checked by `pg_verifybackup`, listed and thinned out.

::

    DIR/20261122T043717.123Z/            one backup; there is no half one under such a name
        backup.json                      what it is of, and what the table of keys held
        data/                            the data directory, with the WAL that makes it whole
    DIR/20261122T051002.456Z.partial/    one that is being made, or was interrupted

A backup is the whole server, every database of it, since PostgreSQL can only wind forward whole
servers. Together with the archive of the write-ahead log (see `wal_archive`) it can be restored to
any moment after it was taken.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ftrepo.postgres.recovery.address import connected, split_password
from ftrepo.postgres.recovery.backup_record import (
    DATA,
    PARTIAL,
    RECORD,
    Backup,
    Facts,
    list_backups,
    to_json,
)
from ftrepo.postgres.recovery.survey import schema_of, settle, survey
from ftrepo.postgres.recovery.tools import RecoveryError, Tools, find_tools

if TYPE_CHECKING:
    import asyncpg

_PROGRAMS = ("pg_basebackup", "pg_verifybackup")

_FACTS = """
    SELECT current_setting('server_version') AS server_version,
           current_setting('server_version_num')::int / 10000 AS major,
           current_setting('data_checksums') = 'on' AS data_checksums,
           (SELECT rolname FROM pg_roles WHERE oid = 10) AS superuser,
           current_database() AS database,
           pg_size_bytes(current_setting('wal_segment_size')) AS wal_segment_bytes,
           (SELECT system_identifier FROM pg_control_system()) AS system_identifier
"""

_TABLESPACES = "SELECT count(*) FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global')"


class Taken(NamedTuple):
    """What `take_backup` has done."""

    backup: Backup
    removed: tuple[Path, ...]
    """Older backups that were removed, as `keep` asked, and what was left of interrupted ones."""


async def take_backup(
    dsn: str, folder: Path, *, keep: int | None = None, binaries: Path | None = None
) -> Taken:
    """Take a full backup of a running server, check it, and only then give it its name.

    Args:
        dsn: the database with the table of keys; its user must have the attribute REPLICATION, or
            be a superuser.
        folder: where backups are kept. Not on the disk of the server, or they die together.
        keep: how many complete backups to leave, this one included; `None` for all.
        binaries: the folder of PostgreSQL's programs; see `find_tools`.

    Raises:
        RecoveryError: it could not be taken or is not whole; nothing is left of it, and every
            older backup is still there.
    """
    if keep is not None and keep < 1:
        raise RecoveryError("at least one backup must be kept; give --keep 1 or more")
    with _alone_in(folder):
        removed = _remove_unfinished(folder)
        backup = await _taken(dsn, folder, binaries)
        if keep is not None:
            surplus = list_backups(folder)[keep:]
            removed += _remove([old.folder for old in surplus])
    return Taken(backup, removed)


async def verify_backup(backup: Backup, *, binaries: Path | None = None) -> None:
    """Read every file of a backup and compare it with the checksum taken when it was made.

    Raises:
        RecoveryError: a file is missing, changed or too many, or the log in it is not whole.
    """
    tools = await find_tools(backup.facts.major, needs=_PROGRAMS[1:], binaries=binaries)
    await verify_files(tools, backup.data)


async def verify_files(tools: Tools, data: Path) -> None:
    """Let `pg_verifybackup` read a backup's files, wherever they are."""
    await tools.run("pg_verifybackup", "--exit-on-error", "--quiet", str(data))


async def _taken(dsn: str, folder: Path, binaries: Path | None) -> Backup:
    bare, environment = split_password(dsn)
    async with connected(dsn) as connection:
        row = await connection.fetchrow(_FACTS)
        assert row is not None
        facts = Facts(**dict(row))
        if await connection.fetchval(_TABLESPACES):
            # They would be copied to the very path that they have on the server.
            raise RecoveryError("the server has tablespaces of its own, which are not supported")
        tools = await find_tools(facts.major, needs=_PROGRAMS, binaries=binaries)
        keys = await survey(connection, settled_before=await settle(connection))
        started = await _server_time(connection)
        name = f"{started:%Y%m%dT%H%M%S}.{started.microsecond // 1000:03}Z"
        partial = folder / f"{name}{PARTIAL}"
        partial.mkdir(mode=0o700)
        try:
            await tools.run(
                "pg_basebackup",
                f"--dbname={bare}",
                f"--pgdata={partial / DATA}",
                f"--label=ftrepo {name}",
                "--format=plain",
                "--wal-method=stream",
                "--checkpoint=fast",
                "--manifest-checksums=SHA256",
                "--no-password",
                environment=environment,
            )
            await verify_files(tools, partial / DATA)
            backup = Backup(
                folder=folder / name,
                facts=facts,
                schema=await schema_of(connection),
                started=started,
                finished=await _server_time(connection),
                keys=keys,
                **await asyncio.to_thread(_contents, partial / DATA),
            )
            await asyncio.to_thread(_give_its_name, partial, backup)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    return backup


async def _server_time(connection: asyncpg.Connection) -> datetime:
    moment: datetime = await connection.fetchval("SELECT clock_timestamp()")
    return moment.astimezone(UTC)


def _contents(data: Path) -> dict[str, Any]:
    """What `pg_basebackup` has written down about the log, and how large everything is."""
    manifest = json.loads((data / "backup_manifest").read_text(encoding="utf-8"))
    ranges = sorted(manifest["WAL-Ranges"], key=lambda part: int(part["Timeline"]))
    files = (Path(at) / name for at, _, names in os.walk(data) for name in names)
    return {
        "timeline": ranges[-1]["Timeline"],
        "start_lsn": ranges[0]["Start-LSN"],
        "stop_lsn": ranges[-1]["End-LSN"],
        "size_bytes": sum(file.lstat().st_size for file in files),
    }


def _give_its_name(partial: Path, backup: Backup) -> None:
    """Make the record durable, then the name. `pg_basebackup` has made the files durable."""
    with (partial / RECORD).open("w", encoding="utf-8") as record:
        json.dump(to_json(backup), record, indent=1)
        record.flush()
        os.fsync(record.fileno())
    _sync_folder(partial)
    partial.rename(backup.folder)
    _sync_folder(backup.folder.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove_unfinished(folder: Path) -> tuple[Path, ...]:
    return _remove(sorted(folder.glob(f"*{PARTIAL}")))


def _remove(folders: list[Path]) -> tuple[Path, ...]:
    for folder in folders:
        # Without its record it is no backup any more, should we be interrupted.
        (folder / RECORD).unlink(missing_ok=True)
        shutil.rmtree(folder)
    return tuple(folders)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep a second backup out; the system gives the lock back even if we are killed."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RecoveryError(f"another backup into {folder} is running; wait for it") from None
        yield
