# ruff: noqa: ASYNC110, ASYNC220, ASYNC240 - nobody else waits for the loop of a test
from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import psutil
import pytest

from ftrepo.postgres.binaries import OVERRIDE, BinariesError, server_user
from ftrepo.postgres.settings import ConnectionSettings
from ftrepo.service.embedded import EmbeddedPostgres, EmbeddedPostgresError, server
from ftrepo.service.embedded.layout import SOCKET_PATH_BYTES_MAX, TEMPORARY_PREFIX, Layout
from tests.ftrepo.service.embedded_folders import copied, folder_for_all, on_a_loop, template_folder

pytestmark = pytest.mark.postgres

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    """Give the folder that all others are copies of."""
    with template_folder() as folder:
        yield folder


@pytest.fixture
def folder(template: Path) -> Iterator[Path]:
    """Give the folder of a PostgreSQL that has been used before."""
    with folder_for_all() as place:
        yield copied(template, place) / "postgresql"


async def answer(dsn: str, sql: str) -> object:
    """Ask one question on a connection of its own."""
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


@on_a_loop
async def test_it_is_private_durable_and_on_no_network(folder: Path) -> None:
    """It listens on a socket in a folder that nobody else may enter, and forgets nothing."""
    async with EmbeddedPostgres(folder) as embedded:
        dsn = ConnectionSettings(dsn=embedded.dsn).dsn
        assert await answer(dsn, "SHOW listen_addresses") == ""
        for setting in ("fsync", "full_page_writes", "synchronous_commit", "data_checksums"):
            assert await answer(dsn, f"SHOW {setting}") == "on"
        sockets = Path(parse_qs(urlsplit(dsn).query)["host"][0])
        assert sockets == folder / "run"
        assert sockets.stat().st_mode & 0o777 == 0o700
        assert embedded.pid is not None
        listening = psutil.Process(embedded.pid).net_connections("inet")
        assert [each for each in listening if each.status == psutil.CONN_LISTEN] == []
        assert psutil.Process(embedded.pid).uids().real == server_user().uid != 0
    assert embedded.pid is None


@on_a_loop
async def test_the_server_sees_nothing_of_the_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Secrets of the service are not in the environment of the server's processes."""
    monkeypatch.setenv("FTREPO_PEERS__SECRET", "hunter2")
    async with EmbeddedPostgres(folder) as embedded:
        assert embedded.pid is not None
        environment = Path(f"/proc/{embedded.pid}/environ")
        if not environment.exists():
            pytest.skip("this system has no /proc")
        assert b"hunter2" not in environment.read_bytes()


@on_a_loop
async def test_what_was_committed_is_there_at_the_next_start(folder: Path) -> None:
    """A database is made once, and an orderly end and a new start lose nothing."""
    async with EmbeddedPostgres(folder) as embedded:
        await answer(embedded.dsn, "CREATE TABLE kept (id int)")
    async with EmbeddedPostgres(folder) as embedded:
        assert await answer(embedded.dsn, "SELECT count(*) FROM kept") == 0


@on_a_loop
async def test_half_a_database_counts_for_nothing(folder: Path) -> None:
    """What an interrupted `initdb` left behind is removed, and the database made anew."""
    folder.rename(folder.with_name("other"))
    unfinished = folder / "making-x"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("half")
    async with EmbeddedPostgres(folder) as embedded:
        assert await answer(embedded.dsn, "SELECT 1") == 1
    assert not unfinished.exists()


@on_a_loop
async def test_a_long_or_strange_folder_has_its_socket_elsewhere(folder: Path) -> None:
    """Where the name of the socket would not do, it is in a short private folder, then removed."""
    for name in ("x" * 100, "a, b's"):
        strange = folder.with_name(name)
        folder.rename(strange)
        async with EmbeddedPostgres(strange) as embedded:
            assert await answer(embedded.dsn, "SELECT 1") == 1
            sockets = Path(parse_qs(urlsplit(embedded.dsn).query)["host"][0])
            assert sockets.name.startswith(TEMPORARY_PREFIX)
            assert sockets.stat().st_mode & 0o777 == 0o700
        assert not sockets.exists()
        strange.rename(folder)


def test_the_bound_on_sockets_is_the_systems() -> None:
    """A socket whose name is as long as the bound can be made."""
    with tempfile.TemporaryDirectory() as place, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place + "/" + "x" * (SOCKET_PATH_BYTES_MAX - len(place) - 1))


@on_a_loop
async def test_two_services_cannot_share_a_folder(folder: Path) -> None:
    """The second is told which process has it, and the first goes on."""
    async with EmbeddedPostgres(folder) as embedded:
        with pytest.raises(EmbeddedPostgresError, match=rf"process {os.getpid()}\): stop that one"):
            await EmbeddedPostgres(folder).__aenter__()
        assert await answer(embedded.dsn, "SELECT 1") == 1


HOLD = """
    import asyncio, pathlib, sys
    from ftrepo.service.embedded import EmbeddedPostgres
    async def hold():
        async with EmbeddedPostgres(pathlib.Path(sys.argv[1])) as embedded:
            print(embedded.pid, flush=True)
            await asyncio.sleep(60)
    asyncio.run(hold())
"""


@on_a_loop
async def test_the_server_of_a_service_that_was_killed_is_taken_from_it(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """After kill -9 its server runs on; the next service stops that and starts its own."""
    command = [sys.executable, "-c", textwrap.dedent(HOLD), str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        orphan = int(killed.stdout.readline())
        killed.kill()
    assert psutil.pid_exists(orphan)
    async with EmbeddedPostgres(folder) as embedded:
        assert await answer(embedded.dsn, "SELECT 1") == 1
        assert embedded.pid != orphan
    assert f"an earlier service left running: process {orphan}" in caplog.text
    assert not psutil.pid_exists(orphan) or psutil.Process(orphan).status() == "zombie"


@on_a_loop
async def test_a_stale_lock_file_names_a_stranger_who_is_left_alone(folder: Path) -> None:
    """A number that another program has by now is not taken for the server."""
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        lock_file = folder / "data" / "postmaster.pid"
        lock_file.write_text(f"{stranger.pid}\n{folder / 'data'}\n1\n5432\n/nowhere\n\n  0 0\n")
        user = server_user()
        os.chown(lock_file, user.uid, user.gid)
        async with EmbeddedPostgres(folder) as embedded:
            assert await answer(embedded.dsn, "SELECT 1") == 1
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@on_a_loop
async def test_a_server_that_ends_by_itself_is_started_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Killed with -9, it is back on its socket after a pause, and the log says so."""
    monkeypatch.setattr(server, "RESTART_PAUSE_FIRST_S", 0.05)
    caplog.set_level(logging.WARNING)
    async with EmbeddedPostgres(folder) as embedded:
        first = embedded.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        async with asyncio.timeout(20):
            while "PostgreSQL was started again" not in caplog.text:
                await asyncio.sleep(0.02)
        assert await answer(embedded.dsn, "SELECT 1") == 1
        assert embedded.pid != first
        assert embedded.restarts >= 1


@on_a_loop
async def test_a_database_of_another_version_is_refused(folder: Path) -> None:
    """The error names both versions and what to do, and nothing was started."""
    (folder / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedPostgresError, match=r"made by PostgreSQL 9, .* pg_upgrade"):
        await EmbeddedPostgres(folder).__aenter__()
    (folder / "data" / "PG_VERSION").unlink()
    with pytest.raises(EmbeddedPostgresError, match="is no database of PostgreSQL"):
        await EmbeddedPostgres(folder).__aenter__()


@on_a_loop
async def test_a_server_that_cannot_start_says_why(folder: Path) -> None:
    """The error has the end of the log, and the folder is free for the next try."""
    settings = folder / "data" / "postgresql.conf"
    right = settings.read_text()
    settings.write_text(f"{right}\nmax_connections = none\n")
    with pytest.raises(EmbeddedPostgresError, match='"max_connections": "none"'):
        await EmbeddedPostgres(folder).__aenter__()
    settings.write_text(right)
    async with EmbeddedPostgres(folder) as embedded:
        assert await answer(embedded.dsn, "SELECT 1") == 1


@on_a_loop
async def test_a_full_disk_is_named_as_such(
    monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path
) -> None:
    """The error of `initdb` is shown with what to do about it."""
    with folder_for_all() as programs:
        for name in ("initdb", "postgres"):
            program = programs / name
            program.write_text("#!/bin/sh\necho 'could not write: No space left on device'; exit 1")
            program.chmod(0o755)
        monkeypatch.setenv(OVERRIDE, str(programs))
        with pytest.raises(EmbeddedPostgresError, match="make room on its disk"):
            await EmbeddedPostgres(folder.with_name("new")).__aenter__()
    monkeypatch.setenv(OVERRIDE, str(tmp_path))
    with pytest.raises(BinariesError, match="there is no initdb"):
        await EmbeddedPostgres(folder).__aenter__()


@on_a_loop
async def test_a_server_that_is_not_ready_in_time_is_stopped(folder: Path) -> None:
    """The start has a bound, and nothing is left running after it."""
    with pytest.raises(EmbeddedPostgresError, match="not ready within 1e-06 s"):
        await EmbeddedPostgres(folder, ready_timeout_s=1e-6).__aenter__()
    assert not (folder / "data" / "postmaster.pid").exists()


def test_an_initdb_that_outlived_its_service_is_in_nobodys_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While it still writes, its folder cannot be removed; the next service makes another one."""

    def not_empty(path: object, **_: object) -> None:
        raise OSError(errno.ENOTEMPTY, "Directory not empty", str(path))

    with folder_for_all() as place:
        (place / "making-x" / "base").mkdir(parents=True)
        layout = Layout(place, server_user())
        with monkeypatch.context() as patched:
            patched.setattr(os, "rmdir", not_empty)
            layout.remove_unfinished()
        assert layout.new_data_folder().name != "making-x"
        layout.remove_unfinished()
        assert not list(place.glob("making-*"))
        layout.close()


@on_a_loop
async def test_a_log_that_cannot_be_written_delays_a_restart_and_no_more(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor one that cannot be read, as when files run out: it is tried until it works."""
    monkeypatch.setattr(server, "RESTART_PAUSE_FIRST_S", 0.05)
    caplog.set_level(logging.WARNING)
    log = folder / "postgresql.log"
    async with EmbeddedPostgres(folder) as embedded:
        assert embedded.pid is not None
        log.unlink()
        log.mkdir()
        os.kill(embedded.pid, signal.SIGKILL)
        async with asyncio.timeout(20):
            while "PostgreSQL could not be started" not in caplog.text:
                await asyncio.sleep(0.02)
            log.rmdir()
            while "PostgreSQL was started again" not in caplog.text:
                await asyncio.sleep(0.02)
        assert await answer(embedded.dsn, "SELECT 1") == 1
    assert "its log cannot be read: Is a directory" in caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's server runs as somebody else")
@on_a_loop
async def test_root_is_told_of_a_folder_that_the_server_cannot_reach() -> None:
    """`nobody` cannot enter a private home; the error names it and a place that will do."""
    with folder_for_all() as place:
        (place / "home").mkdir(mode=0o700)
        with pytest.raises(EmbeddedPostgresError, match=r"may not pass through .*/home: .*var/lib"):
            await EmbeddedPostgres(place / "home" / "data" / "postgresql").__aenter__()
