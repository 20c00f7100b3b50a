"""The record of a backup: what it is of, written beside its files, and how to find it again."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ftrepo.postgres.recovery.survey import Portion, Survey
from ftrepo.postgres.recovery.tools import RecoveryError

RECORD = "backup.json"
"""The file that says what a backup is of."""

DATA = "data"
"""The folder with the server's files."""

_FORMAT = 1

PARTIAL = ".partial"
"""How the folder of a backup ends that is not complete."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a backup writes down about the server.

    Attributes:
        server_version: in full, such as "18.6".
        major: the version of the file format; only the same one can read them.
        data_checksums: whether every page has a checksum.
        superuser: the account that may do anything, whatever it is called.
        database: the one with the table of keys.
        wal_segment_bytes: the size of one file of the write-ahead log.
        system_identifier: the server's own; every file of its log has it.
    """

    server_version: str
    major: int
    data_checksums: bool
    superuser: str
    database: str
    wal_segment_bytes: int
    system_identifier: int


@dataclass(frozen=True, kw_only=True)
class Backup:
    """One complete backup, as its record tells.

    Attributes:
        folder: where it is.
        facts: what it is of.
        schema: the version of the table (`db status`); `None` if it was not made by `db upgrade`.
        started: by the server's clock, before the first file was read.
        finished: by the server's clock, after the last. No earlier moment can be restored.
        timeline: the line of the write-ahead log that it ends on.
        start_lsn: where the log begins that it needs.
        stop_lsn: where it is whole.
        size_bytes: all its files.
        keys: what the table held when the backup began.
    """

    folder: Path
    facts: Facts
    schema: str | None
    started: datetime
    finished: datetime
    timeline: int
    start_lsn: str
    stop_lsn: str
    size_bytes: int
    keys: Survey

    @property
    def data(self) -> Path:
        """The folder with the server's files."""
        return self.folder / DATA


def list_backups(folder: Path) -> list[Backup]:
    """Return the complete backups in a folder, the newest first.

    Raises:
        RecoveryError: there is no such folder, or a record cannot be read.
    """
    if not folder.is_dir():
        raise RecoveryError(f"there is no folder {folder}; --from and --to name where backups are")
    records = folder.glob(f"*/{RECORD}")
    complete = [path.parent for path in records if path.parent.suffix != PARTIAL]
    return sorted((read_backup(path) for path in complete), key=_when_finished, reverse=True)


def read_backup(folder: Path) -> Backup:
    """Read the record of one backup.

    Raises:
        RecoveryError: there is none, or it cannot be understood.
    """
    try:
        written = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if written["format"] != _FORMAT:
            raise RecoveryError(
                f"{folder / RECORD} has format {written['format']}, and this release knows only "
                f"{_FORMAT}; restore it with the release that made it"
            )
        return _from_json(folder, written)
    except FileNotFoundError:
        raise RecoveryError(f"{folder} is no backup: it has no {RECORD}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise RecoveryError(f"{folder / RECORD} is damaged: {error}") from error


def _when_finished(backup: Backup) -> datetime:
    return backup.finished


def to_json(backup: Backup) -> dict[str, Any]:
    """Return a backup as its record has it."""
    written: dict[str, Any] = {"format": _FORMAT, **dataclasses.asdict(backup)}
    del written["folder"]
    keys = written["keys"]
    for name in ("started", "finished"):
        written[name] = written[name].isoformat()
    if keys["settled_before"] is not None:
        keys["settled_before"] = keys["settled_before"].isoformat()
    return written


def _from_json(folder: Path, written: dict[str, Any]) -> Backup:
    keys = written.pop("keys")
    moment = keys["settled_before"]
    return Backup(
        folder=folder,
        facts=Facts(**written.pop("facts")),
        schema=written["schema"],
        started=datetime.fromisoformat(written["started"]),
        finished=datetime.fromisoformat(written["finished"]),
        timeline=int(written["timeline"]),
        start_lsn=written["start_lsn"],
        stop_lsn=written["stop_lsn"],
        size_bytes=int(written["size_bytes"]),
        keys=Survey(
            total=Portion(*keys["total"]),
            settled_before=None if moment is None else datetime.fromisoformat(moment),
            settled={int(hour): Portion(*part) for hour, part in keys["settled"].items()},
            faulty=int(keys["faulty"]),
            problems=tuple(keys["problems"]),
        ),
    )
