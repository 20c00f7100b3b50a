"""The keys of memory on a disk, so that a service which starts in an outage is not empty.

A journal keeps what the primary *lacks*, and is written before a key is acknowledged. A snapshot
keeps what the primary *had*: it is written now and then, and losing it costs nothing but a cold
start. Keys in it are as old as it is; `max_staleness_s` holds for them as for any other.

The file is text, one key a line, each with a checksum of its own. It is replaced as a whole, so
whoever reads it sees one snapshot or the next, never half of one.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ftrepo.errors import JournalError
from ftrepo.interface import Saved
from ftrepo.journal.private_file import make_private, synchronise
from ftrepo.journal.rows import CorruptedRowError, from_row, to_row
from ftrepo.keys import PublicKey

FORMAT = "ftrepo snapshot 1"
"""The first field of the first line."""

_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_UNREADABLE = (ValueError, TypeError, OverflowError, RecursionError)
"""What reading damaged JSON may raise: brackets without end are too deep for it."""


class FileSnapshot:
    """A `Snapshot` in a file of the service's own.

    Only its owner may read or write it: whoever could write it could have keys trusted. Instances
    on one machine need a file each.

    Args:
        path: where it is, or is to be; its folder must exist, and not everybody may write there.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._writing = threading.Lock()

    async def load(self) -> Saved | None:
        """Return what was saved last; see `Snapshot.load`."""
        return await asyncio.to_thread(self._load)

    async def save(self, keys: Sequence[PublicKey], at: datetime) -> None:
        """Replace what was saved; see `Snapshot.save`."""
        await asyncio.to_thread(self._save, list(keys), at)

    def _load(self) -> Saved | None:
        try:
            make_private(self._path)
            lines = self._path.read_bytes().splitlines()
        except OSError as error:
            raise JournalError(f"the snapshot {self._path} cannot be read: {error}") from error
        if not lines:
            return None
        return _read(lines, self._path)

    def _save(self, keys: Sequence[PublicKey], at: datetime) -> None:
        # A thread cannot be cancelled: one that a slow disk holds up writes on after its time-out.
        if not self._writing.acquire(blocking=False):
            raise JournalError(
                f"the snapshot {self._path} is still being written by an earlier save"
            )
        try:
            self._replace(keys, at)
        finally:
            self._writing.release()

    def _replace(self, keys: Sequence[PublicKey], at: datetime) -> None:
        head = [FORMAT, (at - _UNIX_EPOCH) // _MICROSECOND]
        text = "\n".join(map(json.dumps, [head, *(_to_fields(key) for key in keys)])) + "\n"
        fresh = self._path.with_name(self._path.name + ".new")
        try:
            make_private(self._path)
            make_private(fresh)
            with fresh.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
            synchronise(self._path.parent)
        except OSError as error:
            raise JournalError(f"the snapshot {self._path} cannot be written: {error}") from error


def _read(lines: Sequence[bytes], path: Path) -> Saved:
    try:
        name, saved_us = json.loads(lines[0])
        if name != FORMAT:
            raise ValueError(f"it begins with {name!r}")
        at = _UNIX_EPOCH + int(saved_us) * _MICROSECOND
    except _UNREADABLE as error:
        raise JournalError(f"{path} is not a snapshot: {error}") from error
    keys, corrupted = [], []
    for number, line in enumerate(lines[1:], start=2):
        try:
            keys.append(_from_fields(line))
        except CorruptedRowError as error:
            corrupted.append(f"line {number}: {error}")
    return Saved(keys=tuple(keys), at=at, corrupted=tuple(corrupted))


def _to_fields(key: PublicKey) -> list[object]:
    return [
        base64.b64encode(field).decode() if isinstance(field, bytes) else field
        for field in to_row(key)
    ]


def _from_fields(line: bytes) -> PublicKey:
    try:
        key_id, material, algorithm, created_us, expires_us, checksum = json.loads(line)
        row = (
            key_id,
            base64.b64decode(material, validate=True),
            algorithm,
            created_us,
            expires_us,
            base64.b64decode(checksum, validate=True),
        )
    except _UNREADABLE as error:
        raise CorruptedRowError(f"it is no row: {error}") from error
    return from_row(row)
