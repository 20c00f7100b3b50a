"""Taking, checking, listing and thinning out backups of a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from recovery_site import Site, archiving_server, found, new_site

from ftrepo.__main__ import main
from ftrepo.postgres.recovery.backup import Taken, take_backup
from ftrepo.postgres.recovery.backup_record import list_backups
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


def test_a_damaged_backup_is_refused(site: Site) -> None:
    """A backup with one changed byte is restored by nobody, and leaves nothing behind."""
    site.store(5)
    backup = site.back_up()
    files = (backup.data / "base").rglob("*")
    victim = next(path for path in files if path.is_file() and path.stat().st_size > 8192)
    changed = bytearray(victim.read_bytes())
    changed[-1] ^= 1
    victim.write_bytes(changed)
    with pytest.raises(RecoveryError, match="pg_verifybackup failed"):
        site.restore()
    assert sorted(path.name for path in site.room.iterdir()) == ["backups"]
    order = ["db", "verify", "--from", str(site.backups)]
    assert main([*order, "--binaries", str(site.cluster.binaries)]) == 1


def test_a_row_that_was_damaged_before_the_backup_is_found(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row that is no valid key is reported by the check of a database and of a restore."""
    site.store(5)
    run_sql(
        site.dsn,
        "UPDATE public_keys SET material = 'x' WHERE id = (SELECT min(id) FROM public_keys)",
    )
    assert main(["db", "verify", "--dsn", site.dsn]) == 1
    assert "1 of 5 are not" in capsys.readouterr().out
    assert site.back_up().keys.faulty == 1
    assert found(site.restore(), "every row is a key").passed is False


def test_only_older_backups_are_thinned_out(site: Site) -> None:
    """Of complete backups the newest stay; what an interrupted one left is removed."""
    backups = [site.back_up() for _ in range(3)]
    rest = site.backups / "20260101T000000.000Z.partial"
    rest.mkdir()
    assert [backup.folder for backup in list_backups(site.backups)] == [
        backup.folder for backup in reversed(backups)
    ]
    newest = site.back_up(keep=2)
    assert not rest.exists()
    assert [b.folder for b in list_backups(site.backups)] == [newest.folder, backups[2].folder]
    with pytest.raises(RecoveryError, match="at least one"):
        site.back_up(keep=0)


def stand_in(site: Site, folder: Path, program: str, does: str) -> None:
    """Put a program that does something else among links to the real ones."""
    for name in ("pg_basebackup", "pg_verifybackup"):
        real = site.cluster.binaries / name
        text = does if name == program else f'exec {real} "$@"'
        version = f'if test "$1" = --version; then exec {real} --version; fi'
        (folder / name).write_text(f"#!/bin/sh\n{version}\n{text}\n")
        (folder / name).chmod(0o755)


def test_a_backup_that_fails_costs_no_older_one(site: Site, tmp_path: Path) -> None:
    """If a tool fails, the older backups are all there, and nothing is left of the new one."""
    backup = site.back_up()
    for program in ("pg_basebackup", "pg_verifybackup"):
        stand_in(site, tmp_path, program, "echo disk full >&2; exit 1")
        with pytest.raises(RecoveryError, match=f"{program} failed .*\n  disk full"):
            asyncio.run(take_backup(site.dsn, site.backups, keep=1, binaries=tmp_path))
        folders = [path.name for path in site.backups.iterdir() if path.is_dir()]
        assert folders == [backup.folder.name]


def test_no_password_is_an_argument_of_a_program(site: Site, tmp_path: Path) -> None:
    """The program that takes the backup finds the password in its environment only."""
    says = f'echo "$@" > {tmp_path}/arguments; echo "$PGPASSWORD" > {tmp_path}/password; exit 1'
    stand_in(site, tmp_path, "pg_basebackup", says)
    dsn = site.dsn.replace("postgres@", "postgres:hunter%202@")
    with pytest.raises(RecoveryError) as error:
        asyncio.run(take_backup(dsn, site.backups, binaries=tmp_path))
    assert "--dbname=postgresql://postgres@" in (tmp_path / "arguments").read_text()
    assert "hunter" not in (tmp_path / "arguments").read_text() + str(error.value)
    assert (tmp_path / "password").read_text() == "hunter 2\n"


def test_two_backups_at_once_are_one_too_many(site: Site) -> None:
    """While a backup is being taken, a second one into the same folder is refused."""

    async def story() -> list[BaseException | Taken]:
        both = (
            take_backup(site.dsn, site.backups, binaries=site.cluster.binaries) for _ in range(2)
        )
        return await asyncio.gather(*both, return_exceptions=True)

    taken, error = asyncio.run(story())
    assert isinstance(error, RecoveryError)
    assert "another backup" in str(error)
    assert isinstance(taken, Taken)
    assert [backup.folder for backup in list_backups(site.backups)] == [taken.backup.folder]
