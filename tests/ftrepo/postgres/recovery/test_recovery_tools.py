"""Finding PostgreSQL's programs, choosing an account, and keeping passwords out of sight."""

from __future__ import annotations

import asyncio
import os
import pwd
from pathlib import Path

import pytest

from ftrepo.__main__ import main
from ftrepo.errors import PolicyError
from ftrepo.postgres.recovery.address import split_password
from ftrepo.postgres.recovery.tools import RecoveryError, Tools, find_tools, server_account


def program(folder: Path, name: str, *, major: int = 18, does: str = "exit 0") -> None:
    """Put a program into a folder that says it is of a version of PostgreSQL."""
    folder.mkdir(exist_ok=True)
    says = f"if test \"$1\" = --version; then echo '{name} (PostgreSQL) {major}.1'; exit; fi"
    (folder / name).write_text(f"#!/bin/sh\n{says}\n{does}\n")
    (folder / name).chmod(0o755)


def test_a_password_never_becomes_an_argument() -> None:
    """The address for a program has no password, which goes through the environment, decoded."""
    bare, environment = split_password("postgresql://me:p%40ss:w@host:5433/keys?sslmode=require")
    assert bare == "postgresql://me@host:5433/keys?sslmode=require"
    assert environment == {"PGPASSWORD": "p@ss:w"}
    bare, environment = split_password("postgres://host/keys?user=me&password=a%2Fb&sslmode=prefer")
    assert bare == "postgres://host/keys?user=me&sslmode=prefer"
    assert environment == {"PGPASSWORD": "a/b"}
    assert split_password("postgresql:///keys?host=/run") == ("postgresql:///keys?host=%2Frun", {})
    with pytest.raises(RecoveryError, match="sslpassword"):
        split_password("postgresql://host/keys?sslpassword=secret")


def test_an_address_that_cannot_be_read_is_not_repeated() -> None:
    """An error about an address does not show the password in it."""
    for wrong in ("mysql://me:hunter2@host/keys", "postgresql://me:hunter2@host:notaport/keys"):
        with pytest.raises(PolicyError) as error:
            split_password(wrong)
        assert "hunter2" not in str(error.value)


def test_programs_of_another_version_are_refused(tmp_path: Path) -> None:
    """A folder that was named is used only if its programs are of the server's version."""
    program(tmp_path, "postgres", major=17)
    with pytest.raises(RecoveryError, match=r"of PostgreSQL 17, but the data are of 18"):
        asyncio.run(find_tools(18, needs=["postgres"], binaries=tmp_path))
    with pytest.raises(RecoveryError, match="has no pg_basebackup"):
        asyncio.run(find_tools(17, needs=["pg_basebackup"], binaries=tmp_path))


def test_the_path_is_searched_for_the_right_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several versions in PATH the one that fits is found, unless the environment names one."""
    for name, major in (("old", 97), ("new", 98), ("named", 98)):
        program(tmp_path / name, "postgres", major=major)
    monkeypatch.delenv("FTREPO_POSTGRES_BIN", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path / 'old'}:{tmp_path / 'new'}:{os.environ['PATH']}")
    assert asyncio.run(find_tools(98, needs=["postgres"])).binaries == tmp_path / "new"
    with pytest.raises(RecoveryError, match="found no postgres of PostgreSQL 99 in PATH"):
        asyncio.run(find_tools(99, needs=["postgres"]))
    monkeypatch.setenv("FTREPO_POSTGRES_BIN", str(tmp_path / "named"))
    assert asyncio.run(find_tools(98, needs=["postgres"])).binaries == tmp_path / "named"


def test_an_error_ends_with_what_the_program_said(tmp_path: Path) -> None:
    """A program that fails is quoted by its last lines."""
    program(tmp_path, "pg_x", does="echo first >&2; seq 9 >&2; echo the disk is full >&2; exit 3")
    tools = Tools(binaries=tmp_path, major=18)
    with pytest.raises(RecoveryError, match=r"pg_x failed \(exit code 3\)") as error:
        asyncio.run(tools.run("pg_x"))
    assert str(error.value).endswith("the disk is full")
    assert "first" not in str(error.value)


def test_an_interrupted_command_ends_its_program(tmp_path: Path) -> None:
    """Nothing goes on behind the back of whoever gave up waiting."""
    program(
        tmp_path, "pg_x", does=f"echo $$ > {tmp_path}/pid; : > {tmp_path}/begun; exec sleep 600"
    )
    os.mkfifo(tmp_path / "begun")
    tools = Tools(binaries=tmp_path, major=18)

    async def story() -> None:
        running = asyncio.create_task(tools.run("pg_x"))
        await asyncio.to_thread(os.open, tmp_path / "begun", os.O_RDONLY)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(running, timeout=10)

    asyncio.run(story())
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root chooses another account")
def test_root_runs_a_server_as_the_owner_of_its_folder(tmp_path: Path) -> None:
    """A server refuses to be root: it is the account that was named, or the folder's owner."""
    nobody = pwd.getpwnam("nobody")
    os.chown(tmp_path, nobody.pw_uid, nobody.pw_gid)
    account = server_account(None, data=tmp_path / "data")
    assert account is not None
    assert (account.uid, account.name) == (nobody.pw_uid, "nobody")
    for refused in ("root", "no-such-user"):
        with pytest.raises(RecoveryError, match="--user"):
            server_account(refused, data=tmp_path / "data")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may become anybody")
def test_others_run_a_server_as_themselves(tmp_path: Path) -> None:
    """Who is not root starts a server as themselves, and nobody else."""
    assert server_account(None, data=tmp_path / "data") is None
    with pytest.raises(RecoveryError, match="only root"):
        server_account("nobody-else", data=tmp_path / "data")


def test_mistakes_on_the_command_line_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever cannot be done is one line that says what to do, and exit code 2."""
    monkeypatch.delenv("FTREPO_DSN", raising=False)
    unreachable = "postgresql://me:hunter2@127.0.0.1:1/keys"
    (tmp_path / "no-backup").mkdir()
    (tmp_path / "no-backup" / "backup.json").write_text("{}")
    for order, says in (
        (["backup", "--to", str(tmp_path)], "say where the database is"),
        (["backup", "--to", str(tmp_path), "--dsn", unreachable], "cannot be reached"),
        (["verify", "--dsn", unreachable], "cannot be reached"),
        (["verify", "--from", str(tmp_path / "none")], "there is no folder"),
        (["verify", "--archive", str(tmp_path / "none")], "is its disk mounted?"),
        (["backups", "--from", str(tmp_path)], "is damaged"),
        (["restore", "--from", str(tmp_path / "none"), "--data", "x"], "there is no folder"),
        (["restore", "--from", "x", "--data", "x", "--to-latest"], "name the archive"),
    ):
        assert main(["db", *order]) == 2
        error = capsys.readouterr().err
        assert says in error
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert "hunter2" not in error
