"""The archive of the log, with files that look like the server's; no server is needed."""

from __future__ import annotations

import gzip
import os
import struct
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ftrepo.__main__ import main
from ftrepo.postgres.recovery.backup_record import Backup, Facts
from ftrepo.postgres.recovery.survey import Portion, Survey
from ftrepo.postgres.recovery.tools import RecoveryError
from ftrepo.postgres.recovery.wal_archive import (
    archive_command,
    archive_settings,
    faulty_files,
    holes_in,
    missing_from,
    quoted,
    read_archive,
    restore_command,
)

SIZE = 1024 * 1024
SYSTEM = 7_710_854_502_443_834_763
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def segment(number: int, *, timeline: int = 1, system: int = SYSTEM, size: int = SIZE) -> bytes:
    """A file of the log as far as its first header tells."""
    header = struct.pack("=HHIQI4xQII", 0xD118, 2, timeline, number * size, 0, system, size, 8192)
    return header + bytes(size - len(header))


def name(number: int, *, timeline: int = 1) -> str:
    """What the server calls a file of its log."""
    return f"{timeline:08X}{0:08X}{number:08X}"


def put(folder: Path, number: int, *, timeline: int = 1) -> Path:
    """Put a file of the log into an archive."""
    path = folder / f"{name(number, timeline=timeline)}.gz"
    path.write_bytes(gzip.compress(segment(number, timeline=timeline), 1))
    return path


def backup(*, timeline: int = 1, stop: int = 2) -> Backup:
    """The record of a backup whose log is whole in the file `stop`."""
    facts = Facts(
        server_version="18.6",
        major=18,
        data_checksums=True,
        superuser="postgres",
        database="keys",
        wal_segment_bytes=SIZE,
        system_identifier=SYSTEM,
    )
    return Backup(
        folder=Path("/nowhere"),
        facts=facts,
        schema="0002",
        started=NOON,
        finished=NOON,
        timeline=timeline,
        start_lsn=f"0/{stop * SIZE + 40:X}",
        stop_lsn=f"0/{stop * SIZE + 288:X}",
        size_bytes=1,
        keys=Survey(total=Portion(0, "")),
    )


def shell(command: str, path: Path, placed: str) -> subprocess.CompletedProcess[str]:
    """Run an archive or restore command as the server does."""
    text = command.replace("%p", str(path)).replace("%f", placed)
    return subprocess.run(["/bin/sh", "-c", text], capture_output=True, text=True, check=False)


def test_what_is_archived_comes_back_the_same(tmp_path: Path) -> None:
    """A file of the log goes into the archive compressed, and comes out byte for byte."""
    source, copy, archive = tmp_path / "wal", tmp_path / "copy", tmp_path / "the archive"
    archive.mkdir()
    source.write_bytes(segment(3) + os.urandom(1000))
    assert shell(archive_command(archive), source, name(3)).returncode == 0
    assert [path.name for path in archive.iterdir()] == [f"{name(3)}.gz"]
    assert shell(restore_command(archive), copy, name(3)).returncode == 0
    assert copy.read_bytes() == source.read_bytes()


def test_archiving_the_same_again_is_a_success(tmp_path: Path) -> None:
    """A server that crashed before it heard of the success asks again, and is told yes."""
    source, archive = tmp_path / "wal", tmp_path / "archive"
    archive.mkdir()
    source.write_bytes(segment(3))
    assert shell(archive_command(archive), source, name(3)).returncode == 0
    before = (archive / f"{name(3)}.gz").stat()
    assert shell(archive_command(archive), source, name(3)).returncode == 0
    assert (archive / f"{name(3)}.gz").stat().st_mtime_ns == before.st_mtime_ns


def test_other_content_under_the_same_name_is_refused(tmp_path: Path) -> None:
    """A second server that shares the archive gets an error, and overwrites nothing."""
    source, archive = tmp_path / "wal", tmp_path / "archive"
    archive.mkdir()
    source.write_bytes(segment(3))
    shell(archive_command(archive), source, name(3))
    before = (archive / f"{name(3)}.gz").read_bytes()
    source.write_bytes(segment(3, system=1))
    refused = shell(archive_command(archive), source, name(3))
    assert refused.returncode == 1
    assert "do two servers share it?" in refused.stderr
    assert (archive / f"{name(3)}.gz").read_bytes() == before


def test_half_a_file_of_a_crashed_attempt_does_no_harm(tmp_path: Path) -> None:
    """What an interrupted attempt left behind is replaced, and is never taken for a whole file."""
    source, archive = tmp_path / "wal", tmp_path / "archive"
    archive.mkdir()
    (archive / f".{name(3)}.tmp").write_bytes(b"half")
    source.write_bytes(segment(3))
    assert not read_archive(archive, SIZE).files
    assert shell(archive_command(archive), source, name(3)).returncode == 0
    assert [path.name for path in archive.iterdir()] == [f"{name(3)}.gz"]


def test_an_archive_that_is_away_is_an_error_and_not_a_success(tmp_path: Path) -> None:
    """Without its folder nothing is archived, and a recovery stops instead of ending early."""
    source, away = tmp_path / "wal", tmp_path / "away"
    source.write_bytes(segment(3))
    assert shell(archive_command(away), source, name(3)).returncode != 0
    assert shell(restore_command(away), tmp_path / "copy", name(3)).returncode == 255


def test_recovery_ends_at_a_missing_file_and_stops_at_a_damaged_one(tmp_path: Path) -> None:
    """A missing file gives the code that means the end, a damaged one the code that means stop."""
    path = put(tmp_path, 3)
    path.write_bytes(path.read_bytes()[:-20])
    assert shell(restore_command(tmp_path), tmp_path / "copy", name(4)).returncode == 1
    assert shell(restore_command(tmp_path), tmp_path / "copy", name(3)).returncode == 255


def test_a_path_that_a_shell_would_read_is_refused() -> None:
    """An archive's path may have nothing in it that means something to a shell or to PostgreSQL."""
    for path in ("relative", '/a"b', "/a'b", "/a$b", "/a`b", "/a%b", "/a\\b", "/a\nb"):
        with pytest.raises(RecoveryError, match="absolute path"):
            archive_command(Path(path))


def test_settings_are_written_as_the_server_reads_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The printed lines quote what must be quoted, and hand over at least every five minutes."""
    assert quoted("it's \\") == "'it''s \\\\'"
    assert main(["db", "archive-settings", "--to", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "archive_timeout = '300s'" in printed
    assert f"archive_command = {quoted(archive_command(tmp_path))}" in printed
    assert archive_settings(tmp_path)["archive_mode"] == "on"


def test_a_gap_is_named(tmp_path: Path) -> None:
    """Every file that is missing between the backup and the newest is named, and no other."""
    for number in (1, 2, 3, 6):
        put(tmp_path, number)
    archived = read_archive(tmp_path, SIZE)
    assert missing_from(archived, backup(stop=2)) == [name(4), name(5)]
    assert missing_from(archived, backup(stop=6)) == []
    assert holes_in(archived, SIZE) == [name(4), name(5)]


def test_an_archive_that_has_not_begun_has_no_gap(tmp_path: Path) -> None:
    """What a backup needs is in it, so an archive that is still empty lacks nothing."""
    assert missing_from(read_archive(tmp_path, SIZE), backup()) == []


def test_a_gap_is_found_across_a_change_of_timeline(tmp_path: Path) -> None:
    """After a restore the log goes on under another number, from where the old one was left."""
    for number in (2, 3):
        put(tmp_path, number)
    (tmp_path / "00000002.history").write_text(f"1\t0/{4 * SIZE + 500:X}\tbefore a mistake\n")
    for number in (4, 6):
        put(tmp_path, number, timeline=2)
    archived = read_archive(tmp_path, SIZE)
    assert missing_from(archived, backup()) == [name(5, timeline=2)]
    (tmp_path / f"{name(3)}.gz").unlink()
    archived = read_archive(tmp_path, SIZE)
    assert missing_from(archived, backup()) == [name(3), name(5, timeline=2)]


def test_damaged_and_foreign_files_are_found(tmp_path: Path) -> None:
    """A file that is cut off, of another server or under another's name is reported, each alone."""
    for number in (1, 2, 3, 4, 5):
        put(tmp_path, number)
    (tmp_path / f"{name(2)}.gz").write_bytes(b"\x1f\x8bnonsense")
    (tmp_path / f"{name(3)}.gz").write_bytes(gzip.compress(segment(3, system=1)))
    (tmp_path / f"{name(4)}.gz").write_bytes(gzip.compress(segment(4)[:-1]))
    (tmp_path / f"{name(5)}.gz").write_bytes(gzip.compress(segment(6)))
    faults = list(faulty_files(read_archive(tmp_path, SIZE), backup()))
    assert [fault.partition(":")[0] for fault in faults] == [f"{name(n)}.gz" for n in (2, 3, 4, 5)]
    assert "cannot be read" in faults[0]
    assert "another server" in faults[1]
    assert "has 1048575 bytes" in faults[2]
    assert "not the file that its name says" in faults[3]


def test_an_archive_can_be_verified_without_a_backup(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`db verify --archive` alone finds holes, and its exit code says so."""
    size = 16 * SIZE
    for number in (1, 3):
        path = tmp_path / f"{name(number)}.gz"
        path.write_bytes(gzip.compress(segment(number, size=size), 1))
    assert main(["db", "verify", "--archive", str(tmp_path)]) == 1
    assert f"1 files are missing: {name(2)}" in capsys.readouterr().out


def test_a_file_can_be_archived_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`db archive-wal` does what the server's command does, whatever the file's path looks like."""
    archive = tmp_path / "archive"
    archive.mkdir()
    source = tmp_path / 'a "strange" $place' / name(3)
    source.parent.mkdir()
    source.write_bytes(segment(3))
    order = ["db", "archive-wal", str(source), "--to", str(archive)]
    assert main(order) == 0
    assert main(order) == 0
    source.write_bytes(segment(4))
    assert main(order) == 2
    assert "nothing there was changed" in capsys.readouterr().err


def test_the_command_needs_no_python() -> None:
    """The server's machine may have no Python: the command is plain shell."""
    assert "python" not in archive_command(Path("/archive"))
    assert sys.executable not in archive_command(Path("/archive"))
