"""Restoring a backup into a new data directory, and proving what came out.

The steps: copy, compare every file with the backup's checksums, wind the write-ahead log forward,
look at every key, page and index, and stop. The server that does this listens on a socket in a
private folder and nowhere else, and archives nothing, so that a rehearsal disturbs nobody. What is
left is a data directory that is shut down cleanly, for the operator to start.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ftrepo.postgres.recovery.backup import verify_files
from ftrepo.postgres.recovery.backup_record import Backup, list_backups, read_backup
from ftrepo.postgres.recovery.checks import Check, check_database, check_files
from ftrepo.postgres.recovery.scratch_server import ScratchServer
from ftrepo.postgres.recovery.tools import Account, RecoveryError, Tools, find_tools, server_account
from ftrepo.postgres.recovery.wal_archive import (
    MISSING_SHOWN_MAX,
    missing_from,
    quoted,
    read_archive,
    restore_command,
)

RECOVERY_TIMEOUT_S = 3600.0
"""How long winding forward may take: the objective for the whole recovery."""

_PROGRAMS = ("postgres", "pg_verifybackup", "pg_checksums", "pg_amcheck")
_SETTINGS = "postgresql.auto.conf"
_BEGIN, _END = "# ftrepo restore: begin\n", "# ftrepo restore: end\n"


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where to restore to.

    Attributes:
        archive: the folder of the write-ahead log; `None` for the backup's own moment.
        at: the moment, what was committed then included; `None` for the end of the archive.
    """

    archive: Path | None = None
    at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What was restored, and what was found when it was checked.

    Attributes:
        data: the data directory, whose server is shut down.
        backup: where it came from.
        reached: the time of the last commit that is in it; `None` if the log had none.
        keys: how many keys it has.
        checks: each question and its answer.
        copy_s: for copying and comparing the files.
        recovery_s: for winding the log forward.
        check_s: for the checks.
    """

    data: Path
    backup: Backup
    reached: datetime | None
    keys: int
    checks: tuple[Check, ...]
    copy_s: float
    recovery_s: float
    check_s: float

    @property
    def passed(self) -> bool:
        """Whether no check has failed."""
        return not any(check.passed is False for check in self.checks)


async def restore(
    source: Path,
    data: Path,
    target: Target,
    *,
    binaries: Path | None = None,
    user: str | None = None,
    recovery_timeout_s: float = RECOVERY_TIMEOUT_S,
) -> Restored:
    """Restore a backup and check it. A check that fails is in the result, and raises nothing.

    Args:
        source: one backup, or the folder of them, from which the newest that fits is taken.
        data: the new data directory. It must be empty or not exist.
        target: where to restore to.
        binaries: the folder of PostgreSQL's programs; see `find_tools`.
        user: whom the files will belong to, if we are root; see `server_account`.
        recovery_timeout_s: how long winding forward may take.

    Raises:
        RecoveryError: nothing usable was restored. Backup and archive are as they were.
    """
    backup = choose_backup(source, target.at)
    account = server_account(user, data=data)
    tools = await find_tools(backup.facts.major, needs=_PROGRAMS, binaries=binaries)
    _refuse_gaps(backup, target)
    _refuse_occupied(data)
    clock = asyncio.get_running_loop().time
    began_s = clock()
    try:
        await asyncio.to_thread(_copy, backup, data)
        await verify_files(tools, data)
    except BaseException:
        shutil.rmtree(data, ignore_errors=True)
        raise
    await asyncio.to_thread(_prepare, data, target, account)
    copied_s = clock()
    async with _scratch(tools, data, account) as server:
        await server.start(ready_timeout_s=recovery_timeout_s)
        recovered_s = clock()
        async with server.connected(backup) as connection:
            reached = await connection.fetchval("SELECT pg_last_xact_replay_timestamp()")
            keys, checks = await check_database(
                connection, backup, reached=reached, immediate=target.archive is None
            )
        checks.append(await server.check_pages_and_indexes(backup))
        await server.stop()
        checks.append(await check_files(tools, data, backup, account))
    _forget_settings(data)
    return Restored(
        data=data,
        backup=backup,
        reached=None if reached is None else reached.astimezone(UTC),
        keys=keys,
        checks=tuple(checks),
        copy_s=copied_s - began_s,
        recovery_s=recovered_s - copied_s,
        check_s=clock() - recovered_s,
    )


def choose_backup(source: Path, at: datetime | None) -> Backup:
    """Return the backup at `source`, or the newest one in it from which `at` can be reached.

    Raises:
        RecoveryError: there is none, or it was finished only after that moment.
    """
    if at is not None and at.utcoffset() is None:
        raise RecoveryError(f"{at.isoformat()} has no time zone; write {at.isoformat()}Z for UTC")
    is_one = (source / "backup.json").exists()
    backups = [read_backup(source)] if is_one else list_backups(source)
    if not backups:
        raise RecoveryError(f"there is no complete backup in {source}")
    for backup in backups:
        if at is None or backup.finished <= at:
            return backup
    raise RecoveryError(
        f"the oldest backup in {source} was finished at {backups[-1].finished.isoformat()}, after "
        f"{at and at.isoformat()}: a server can be wound forward, never back"
    )


def _refuse_gaps(backup: Backup, target: Target) -> None:
    if target.archive is None:
        if target.at is not None:
            raise RecoveryError("to restore to a moment, name the archive with --archive")
        return
    missing = missing_from(read_archive(target.archive, backup.facts.wal_segment_bytes), backup)
    if missing and target.at is None:
        shown = ", ".join(missing[:MISSING_SHOWN_MAX])
        raise RecoveryError(
            f"the archive {target.archive} lacks {len(missing)} files: {shown}. Everything after "
            "the first of them would be lost without a word. Find them, or give --at a moment "
            "before the gap"
        )


def _refuse_occupied(data: Path) -> None:
    if data.exists() and (not data.is_dir() or any(data.iterdir())):
        raise RecoveryError(
            f"{data} is not empty; a backup is only ever restored into a new data directory"
        )
    if not data.absolute().parent.is_dir():
        raise RecoveryError(f"there is no folder {data.absolute().parent} to restore into")


def _copy(backup: Backup, data: Path) -> None:
    # The server itself makes the copy durable when it begins to recover.
    shutil.copytree(backup.data, data, symlinks=True, dirs_exist_ok=True)


def _prepare(data: Path, target: Target, account: Account | None) -> None:
    """Write what the server is to do when it starts next, and give it its files."""
    settings = {
        "restore_command": restore_command(target.archive),
        "recovery_target_action": "promote",
    }
    if target.archive is None:
        settings["recovery_target"] = "immediate"
    elif target.at is not None:
        settings["recovery_target_time"] = target.at.astimezone(UTC).isoformat(sep=" ")
    lines = "".join(f"{name} = {quoted(value)}\n" for name, value in settings.items())
    with (data / _SETTINGS).open("a", encoding="utf-8") as file:
        file.write(f"\n{_BEGIN}{lines}{_END}")
    for name in ("postgresql.conf", "pg_hba.conf"):
        # Debian keeps these elsewhere. Without them no server starts.
        if not (data / name).exists():
            (data / name).write_text("# This backup had none: put yours here.\n", encoding="utf-8")
    (data / "recovery.signal").touch()
    data.chmod(0o700)
    if account is not None:
        for folder, _, names in os.walk(data):
            for path in (Path(folder), *(Path(folder) / name for name in names)):
                os.chown(path, account.uid, account.gid, follow_symlinks=False)


def _forget_settings(data: Path) -> None:
    """Take our settings out again, so that no later recovery stops at an old target."""
    path = data / _SETTINGS
    before, _, rest = path.read_text(encoding="utf-8").partition(f"\n{_BEGIN}")
    path.write_text(before + rest.partition(_END)[2], encoding="utf-8")


@asynccontextmanager
async def _scratch(
    tools: Tools, data: Path, account: Account | None
) -> AsyncIterator[ScratchServer]:
    """Give a server on a data directory that nobody else can reach, and stop it at the end."""
    with tempfile.TemporaryDirectory(prefix="ftrepo-restore-") as name:
        private = Path(name)
        if account is not None:
            os.chown(private, account.uid, account.gid)
        server = ScratchServer(tools=tools, data=data, private=private, account=account)
        try:
            yield server
        finally:
            await server.stop()
