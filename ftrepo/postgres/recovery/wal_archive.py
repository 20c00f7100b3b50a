"""The archive of the write-ahead log: what to put into postgresql.conf, and whether it is whole.

The server hands every finished file of its log (16 MB as a rule) to a shell command. Ours is plain
POSIX shell with gzip, cmp, ln and sync, so that the database's machine needs no Python. It never
overwrites: the file is compressed under another name, read back and compared, made durable, and
only then linked into place, which fails if somebody was there first. A file that is there already
with the same content is a success (the server asks again after a crash); with other content it is
an error, because two servers then share one archive.

Sources: PostgreSQL's manual, chapter "Continuous Archiving and Point-in-Time Recovery", on what an
archive command must and must not do.
"""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ftrepo.postgres.recovery.tools import RecoveryError

if TYPE_CHECKING:
    from ftrepo.postgres.recovery.backup_record import Backup

ARCHIVE_TIMEOUT_S = 300
"""After how long the server hands over a file that is not full, if anything was written: a third of
the 15 minutes that may be lost, so that one failed attempt does not cost the objective."""

SEGMENT_BYTES = 16 * 1024 * 1024
"""The size of a file of the log, unless `initdb --wal-segsize` said otherwise."""

MISSING_SHOWN_MAX = 20
"""Files of the log that a report names one by one."""

_SEGMENT = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})(\.gz)?")
_HISTORY = re.compile(r"([0-9A-F]{8})\.history(\.gz)?")
_PLAIN_PATH = re.compile(r"/[\w/.+,:=@ -]*")

# XLogLongPageHeaderData of access/xlog_internal.h: magic, flags, timeline, position, length of a
# continued record, padding, system identifier, size of a segment, size of a page.
_HEADER = struct.Struct("=HHIQI4xQII")

_ARCHIVE = (
    'f="{folder}/%f.gz" t="{folder}/.%f.tmp"; '
    'if test ! -e "$f"; then '
    'gzip -1 -c "%p" > "$t" && gzip -dc "$t" | cmp -s - "%p" && sync "$t" && '
    'ln "$t" "$f" && rm -f "$t" && sync "{folder}"; '
    'elif gzip -dc "$f" | cmp -s - "%p"; then sync "$f" "{folder}"; '
    'else echo "the archive has another %f already; do two servers share it?" >&2; exit 1; fi'
)

# A code up to 125 means "there is no such file", at which recovery ends as if all had been read.
# So whatever else goes wrong has to give a higher one, at which recovery stops with an error.
_RESTORE = (
    'if test -e "{folder}/%f.gz"; then gzip -dc "{folder}/%f.gz" > "%p" || exit 255; '
    'elif test -e "{folder}/%f"; then cp "{folder}/%f" "%p" || exit 255; '
    'elif test -d "{folder}"; then exit 1; else exit 255; fi'
)


class Segment(NamedTuple):
    """One file of the log, by what its name says."""

    timeline: int
    number: int


@dataclass(frozen=True, kw_only=True)
class Archived:
    """What is in an archive, by the names of its files.

    Attributes:
        folder: where it is.
        files: each file of the log.
        histories: for each timeline but the first, its parents and where each was left (LSN).
    """

    folder: Path
    files: dict[Segment, Path]
    histories: dict[int, list[tuple[int, int]]]

    @property
    def newest(self) -> datetime | None:
        """When the last file came; `None` for an empty archive."""
        times = [path.stat().st_mtime for path in self.files.values()]
        return datetime.fromtimestamp(max(times), UTC) if times else None


def archive_command(folder: Path) -> str:
    """Return the shell command with which a server archives its log into a folder.

    Raises:
        RecoveryError: the path is not absolute or has a character that a shell would read.
    """
    return _ARCHIVE.format(folder=_plain(folder))


def restore_command(folder: Path | None) -> str:
    """Return the shell command with which a server takes its log from an archive, if there is one.

    Raises:
        RecoveryError: as of `archive_command`.
    """
    return "false" if folder is None else _RESTORE.format(folder=_plain(folder))


def archive_settings(folder: Path, *, timeout_s: int = ARCHIVE_TIMEOUT_S) -> dict[str, str]:
    """Return the parameters of a server that archives its log into a folder."""
    return {
        "wal_level": "replica",
        "archive_mode": "on",
        "archive_timeout": f"{timeout_s}s",
        "archive_command": archive_command(folder),
    }


def quoted(value: str) -> str:
    """Write a value as PostgreSQL's configuration files take it."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def read_archive(folder: Path, segment_bytes: int = SEGMENT_BYTES) -> Archived:
    """List an archive.

    Raises:
        RecoveryError: there is no such folder, or a history of timelines cannot be understood.
    """
    if not folder.is_dir():
        raise RecoveryError(f"there is no archive {folder}; is its disk mounted?")
    files, histories = {}, {}
    for path in folder.iterdir():
        if segment := _SEGMENT.fullmatch(path.name):
            timeline, high, low = (int(segment[part], 16) for part in (1, 2, 3))
            number = high * (0x1_0000_0000 // segment_bytes) + low
            files[Segment(timeline, number)] = path
        elif history := _HISTORY.fullmatch(path.name):
            histories[int(history[1], 16)] = _parents(path)
    return Archived(folder=folder, files=files, histories=histories)


def missing_from(archived: Archived, backup: Backup) -> list[str]:
    """Return the names of the files without which a backup cannot be wound forward to the end.

    The end is that of the newest timeline which comes from the backup's own, as in a restore. What
    the backup needs for itself is in it.
    """
    size = backup.facts.wal_segment_bytes
    stop = _position(backup.stop_lsn)
    first = stop // size
    missing = []
    for timeline, left_at in _line(archived, backup.timeline, stop):
        present = {segment.number for segment in archived.files if segment.timeline == timeline}
        last = max(present, default=first) if left_at is None else left_at // size - 1
        wanted = range(first, last + 1)
        missing += [_name(timeline, n, size) for n in wanted if present and n not in present]
        if not present and left_at is not None:
            missing += [_name(timeline, n, size) for n in wanted]
        first = max(first, last + 1)
    return missing


def holes_in(archived: Archived, segment_bytes: int = SEGMENT_BYTES) -> list[str]:
    """Return the names of the files that are missing between the first and last of a timeline."""
    numbers: dict[int, set[int]] = {}
    for segment in archived.files:
        numbers.setdefault(segment.timeline, set()).add(segment.number)
    return [
        _name(timeline, number, segment_bytes)
        for timeline, present in sorted(numbers.items())
        for number in range(min(present), max(present))
        if number not in present
    ]


def faulty_files(archived: Archived, backup: Backup | None) -> Iterator[str]:
    """Read every file of an archive and say what is wrong with each that is."""
    for segment, path in sorted(archived.files.items()):
        problem = _why_not_sound(segment, path, backup)
        if problem is not None:
            yield f"{path.name}: {problem}"


def _plain(folder: Path) -> str:
    path = str(folder)
    if not _PLAIN_PATH.fullmatch(path):
        raise RecoveryError(
            f"the archive {path!r} must be an absolute path of letters, digits, spaces and "
            "/._+,:=@- only, since a shell will read it"
        )
    return path


def _parents(path: Path) -> list[tuple[int, int]]:
    try:
        text = _content(path).decode()
        rows = [line.split() for line in text.splitlines() if line.strip() and line[0] != "#"]
        return [(int(row[0]), _position(row[1])) for row in rows]
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise RecoveryError(f"{path} is no history of timelines: {error}") from error


def _line(archived: Archived, start: int, since_lsn: int) -> list[tuple[int, int | None]]:
    """The timelines from a start to the newest that goes on from there, and where each is left."""
    heirs = [
        timeline
        for timeline, parents in archived.histories.items()
        if any(parent == start and left_at >= since_lsn for parent, left_at in parents)
    ]
    if not heirs:
        return [(start, None)]
    newest = max(heirs)
    parents = archived.histories[newest]
    since = [parent for parent, _ in parents].index(start)
    return [*parents[since:], (newest, None)]


def _position(lsn: str) -> int:
    high, low = lsn.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def _name(timeline: int, number: int, segment_bytes: int) -> str:
    high, low = divmod(number, 0x1_0000_0000 // segment_bytes)
    return f"{timeline:08X}{high:08X}{low:08X}"


def _content(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def _why_not_sound(segment: Segment, path: Path, backup: Backup | None) -> str | None:
    try:
        content = _content(path)
        header = _HEADER.unpack_from(content)
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        return f"cannot be read: {error}"
    _, _, timeline, position, _, system, size, _ = header
    if size != len(content):
        return f"has {len(content)} bytes, and should have {size}"
    if backup is not None and system != backup.facts.system_identifier:
        return f"is of another server ({system}, not {backup.facts.system_identifier})"
    if (timeline, position) != (segment.timeline, segment.number * size):
        return "is not the file that its name says"
    return None
