"""The command line of disaster recovery: `db backup`, `backups`, `restore`, `verify`, `archive-…`.

Exit codes: 0 for "all is well", 1 for "it was checked, and something is wrong", 2 for "it could not
be done".
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ftrepo.postgres.commands import add_dsn, required_dsn
from ftrepo.postgres.recovery.address import connected
from ftrepo.postgres.recovery.backup import take_backup, verify_backup
from ftrepo.postgres.recovery.backup_record import Backup, list_backups, read_backup
from ftrepo.postgres.recovery.checks import Check, check_live
from ftrepo.postgres.recovery.restore import RECOVERY_TIMEOUT_S, Restored, Target, restore
from ftrepo.postgres.recovery.tools import BINARIES_VARIABLE, RecoveryError
from ftrepo.postgres.recovery.wal_archive import (
    ARCHIVE_TIMEOUT_S,
    MISSING_SHOWN_MAX,
    SEGMENT_BYTES,
    Archived,
    archive_command,
    archive_settings,
    faulty_files,
    holes_in,
    missing_from,
    quoted,
    read_archive,
)

if TYPE_CHECKING:
    from ftrepo.postgres.commands import Commands

_MEGABYTE = 1_000_000
_ANSWERS = {True: "ok", False: "WRONG", None: "-"}


def add_recovery(commands: Commands) -> None:
    """Add the commands of disaster recovery to the parser of `db`."""
    _add_backup(commands)
    _add_restore(commands)
    _add_verify(commands)
    _add_archive(commands)


def _add_backup(commands: Commands) -> None:
    backup = commands.add_parser(
        "backup", help="take a full backup of the server, check it, and thin out older ones"
    )
    add_dsn(backup)
    backup.add_argument(
        "--to", type=Path, required=True, metavar="DIR", help="where backups are kept"
    )
    backup.add_argument(
        "--keep", type=int, metavar="N", help="how many complete backups to leave; default: all"
    )
    _add_binaries(backup)
    backup.set_defaults(command=_backup)

    backups = commands.add_parser("backups", help="list the complete backups, the newest first")
    _add_from(backups)
    backups.set_defaults(command=_backups)


def _add_restore(commands: Commands) -> None:
    restored = commands.add_parser(
        "restore", help="restore a backup into a new data directory, and check what came out"
    )
    _add_from(restored)
    restored.add_argument(
        "--data", type=Path, required=True, metavar="NEWDIR", help="the new, empty data directory"
    )
    restored.add_argument(
        "--archive", type=Path, metavar="DIR", help="the archive of the write-ahead log"
    )
    moment = restored.add_mutually_exclusive_group()
    moment.add_argument(
        "--at",
        type=datetime.fromisoformat,
        metavar="TIME",
        help="the moment to restore to, such as 2026-11-22T04:37:17Z; needs --archive",
    )
    moment.add_argument(
        "--to-latest", action="store_true", help="restore all that the archive has; needs --archive"
    )
    restored.add_argument(
        "--user", metavar="NAME", help="for root: the account that the server is to run as"
    )
    restored.add_argument(
        "--timeout",
        type=float,
        default=RECOVERY_TIMEOUT_S,
        metavar="SECONDS",
        help="how long winding forward may take; default: %(default)g",
    )
    _add_binaries(restored)
    restored.set_defaults(command=_restore)


def _add_verify(commands: Commands) -> None:
    verify = commands.add_parser(
        "verify", help="check a database in use, a backup, or an archive for gaps"
    )
    add_dsn(verify)
    _add_from(verify, required=False)
    verify.add_argument(
        "--archive", type=Path, metavar="DIR", help="an archive, to go with --from or alone"
    )
    _add_binaries(verify)
    verify.set_defaults(command=_verify)


def _add_archive(commands: Commands) -> None:
    settings = commands.add_parser(
        "archive-settings", help="print what to put into postgresql.conf, to archive the log"
    )
    settings.add_argument("--to", type=Path, required=True, metavar="DIR")
    settings.add_argument(
        "--timeout",
        type=int,
        default=ARCHIVE_TIMEOUT_S,
        metavar="SECONDS",
        help="after how long a file that is not full is archived; default: %(default)d",
    )
    settings.set_defaults(command=_archive_settings)

    one = commands.add_parser(
        "archive-wal", help="archive one file of the log by hand, as the server would"
    )
    one.add_argument("file", type=Path, metavar="FILE", help="a file in pg_wal")
    one.add_argument("--to", type=Path, required=True, metavar="DIR")
    one.set_defaults(command=_archive_wal)


def _add_from(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    parser.add_argument(
        "--from",
        type=Path,
        required=required,
        metavar="DIR",
        dest="source",
        help="one backup, or the folder of them",
    )


def _add_binaries(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--binaries",
        type=Path,
        metavar="DIR",
        help=f"PostgreSQL's programs; default: {BINARIES_VARIABLE}, else PATH",
    )


def _backup(options: argparse.Namespace) -> int:
    taking = take_backup(
        required_dsn(options), options.to, keep=options.keep, binaries=options.binaries
    )
    taken = asyncio.run(taking)
    _print_backup(taken.backup)
    for folder in taken.removed:
        print(f"removed  {folder}")
    faulty = taken.backup.keys.faulty
    if faulty:
        print(f"{faulty} rows are no valid keys; `python -m ftrepo db verify` says which")
    return 1 if faulty else 0


def _backups(options: argparse.Namespace) -> int:
    for backup in list_backups(options.source):
        _print_backup(backup)
    return 0


def _print_backup(backup: Backup) -> None:
    took_s = (backup.finished - backup.started).total_seconds()
    print(
        f"{backup.folder}  PostgreSQL {backup.facts.server_version}, version {backup.schema}, "
        f"{backup.keys.total.keys} keys, {backup.size_bytes / _MEGABYTE:.0f} MB, {took_s:.1f} s"
    )


def _restore(options: argparse.Namespace) -> int:
    if options.to_latest and options.archive is None:
        raise RecoveryError("to restore all that there is, name the archive with --archive")
    restoring = restore(
        options.source,
        options.data,
        Target(archive=options.archive, at=options.at),
        binaries=options.binaries,
        user=options.user,
        recovery_timeout_s=options.timeout,
    )
    restored = asyncio.run(restoring)
    print_restored(restored)
    return 0 if restored.passed else 1


def print_restored(restored: Restored) -> None:
    """Print what was restored and what the checks found."""
    reached = restored.reached.isoformat() if restored.reached else "the backup's own moment"
    print(f"restored {restored.backup.folder}")
    print(f"into     {restored.data}, shut down")
    print(f"up to    {reached} (last commit), {restored.keys} keys")
    print(
        f"took     {restored.copy_s:.1f} s to copy, {restored.recovery_s:.1f} s to wind "
        f"forward, {restored.check_s:.1f} s to check"
    )
    _print_checks(restored.checks)
    if restored.passed:
        print(f"next     start the server on {restored.data}, and take a new backup of it")


def _print_checks(checks: Iterable[Check]) -> None:
    for check in checks:
        print(f"{_ANSWERS[check.passed]:8} {check.name}: {check.detail}")


def _verify(options: argparse.Namespace) -> int:
    if options.source is None and options.archive is None:
        return _verify_live(required_dsn(options))
    checks: list[Check] = []
    backups: list[Backup] = []
    if options.source is not None:
        is_one = (options.source / "backup.json").exists()
        backups = [read_backup(options.source)] if is_one else list_backups(options.source)
        if not backups:
            raise RecoveryError(f"there is no complete backup in {options.source}")
        checks += [_checked(backup, options.binaries) for backup in backups]
    if options.archive is not None:
        checks += _check_archive(options.archive, backups)
    _print_checks(checks)
    return 1 if any(check.passed is False for check in checks) else 0


def _verify_live(dsn: str) -> int:
    async def ask() -> list[Check]:
        async with connected(dsn) as connection:
            return await check_live(connection)

    checks = asyncio.run(ask())
    _print_checks(checks)
    return 1 if any(check.passed is False for check in checks) else 0


def _checked(backup: Backup, binaries: Path | None) -> Check:
    try:
        asyncio.run(verify_backup(backup, binaries=binaries))
    except RecoveryError as error:
        return Check(f"backup {backup.folder.name}", False, str(error))
    return Check(f"backup {backup.folder.name}", True, "pg_verifybackup found every file whole")


def _check_archive(folder: Path, backups: list[Backup]) -> list[Check]:
    """Look for files that are missing, and for damaged ones."""
    newest = backups[0] if backups else None
    size = newest.facts.wal_segment_bytes if newest else SEGMENT_BYTES
    archived = read_archive(folder, size)
    faults = list(faulty_files(archived, newest))
    detail = "; ".join(faults[:MISSING_SHOWN_MAX]) or f"{len(archived.files)}, all of them sound"
    checks = [Check("files of the archive", not faults, detail)]
    if newest is None:
        # Nobody can say without a backup where the log must begin.
        checks.append(_check_missing("archive", archived, holes_in(archived)))
    for backup in backups:
        name = f"archive since {backup.folder.name}"
        checks.append(_check_missing(name, archived, missing_from(archived, backup)))
    return checks


def _check_missing(name: str, archived: Archived, missing: list[str]) -> Check:
    if missing:
        shown = ", ".join(missing[:MISSING_SHOWN_MAX])
        return Check(name, False, f"{len(missing)} files are missing: {shown}")
    when = archived.newest.isoformat(timespec="seconds") if archived.newest else "never"
    return Check(name, True, f"no file is missing; the newest came {when}")


def _archive_settings(options: argparse.Namespace) -> int:
    for name, value in archive_settings(options.to, timeout_s=options.timeout).items():
        print(f"{name} = {quoted(value)}")
    return 0


def _archive_wal(options: argparse.Namespace) -> int:
    command = archive_command(options.to.absolute()).replace("%p", "$1").replace("%f", "$2")
    file = options.file.absolute()
    done = subprocess.run(["/bin/sh", "-c", command, "sh", file, file.name], check=False)
    if done.returncode:
        raise RecoveryError(f"{file} was not archived in {options.to}; nothing there was changed")
    return 0
