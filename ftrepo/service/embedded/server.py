"""Starting an embedded PostgreSQL, keeping it running, and stopping it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from ftrepo.postgres.binaries import server_binaries, server_user, version_of
from ftrepo.redact import one_line
from ftrepo.service.embedded.layout import PORT, EmbeddedPostgresError, Layout
from ftrepo.service.embedded.orphan import STOP_STEPS, kill_family, stop_orphan

_log = logging.getLogger("ftrepo")

READY_TIMEOUT_S = 60.0
"""How long a server may take to start, recovery after a crash included."""

RESTART_PAUSE_FIRST_S = 0.5
"""How long after its unexpected end a server is started again; each further pause is twice as long,
so that the processes of the one that ended can go away first,"""

RESTART_PAUSE_MAX_S = 30.0
"""and none is longer. It is tried for ever: meanwhile the service works without its database."""

STEADY_S = 60.0
"""After how long a server counts as running well, and its pauses begin anew."""

_LOOK_EVERY_S = 0.02

_INITDB = (
    "--username=postgres",
    "--encoding=UTF8",
    "--locale=C",
    "--data-checksums",
    # Whoever reaches the socket is root or the server's own user, who can read the files as well.
    "--auth-local=trust",
    "--auth-host=reject",
    "--no-instructions",
)

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "port": str(PORT),
    # The service knows of its own statements that fail; a line for each would fill the disk.
    "log_min_messages": "log",
    "log_checkpoints": "off",
    "logging_collector": "off",
    "log_destination": "stderr",
}
"""What must hold. All else is in `postgresql.conf` of the data folder, for operators to change."""

_KEPT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR", "HOME")
"""Of the environment. The server needs no more, and there may be secrets in the rest."""

_ADVICE = {
    "No space left on device": "make room on its disk",
    "could not create shared memory segment": "raise the limits of the system for shared memory",
    "Permission denied": "is the folder the service's own, and may its user enter those above it?",
}


class EmbeddedPostgres:
    """A server of one's own, made if there is none, running for as long as the block lasts.

    Should it end by itself, it is started again, with growing pauses. After kill -9 of this process
    it goes on; the next one to use the folder stops it and starts its own.

    Args:
        folder: where the database is and stays; made if there is none. See `layout`.
        ready_timeout_s: how long the start may take.

    Raises:
        EmbeddedPostgresError: on entering: somebody else uses the folder, the programs do not fit
            the database in it, or the server does not start; the message has the end of its log.
        BinariesError: on entering: there is no PostgreSQL.
        OSError: on entering: the folder cannot be made.
    """

    def __init__(self, folder: Path, *, ready_timeout_s: float = READY_TIMEOUT_S) -> None:
        self._folder = folder
        self._ready_timeout_s = ready_timeout_s
        self._layout: Layout | None = None
        self._binaries = Path()
        self._process: asyncio.subprocess.Process | None = None
        self._keeping: asyncio.Task[None] | None = None
        self.restarts = 0

    async def __aenter__(self) -> Self:
        self._layout = layout = await asyncio.to_thread(Layout, self._folder, server_user())
        try:
            self._binaries = await asyncio.to_thread(server_binaries)
            await asyncio.to_thread(stop_orphan, layout.data)
            await asyncio.to_thread(layout.remove_unfinished)
            if not layout.data.exists():
                await self._make_database()
            await asyncio.to_thread(_check_version, layout.data, self._binaries)
            await self._start()
        except BaseException:
            await self._end()
            raise
        self._keeping = asyncio.create_task(self._keep_running(), name="embedded PostgreSQL")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])
        await self._end()

    @property
    def dsn(self) -> str:
        """Where it can be reached: a socket, for this user and root."""
        return self._used_layout.dsn

    @property
    def pid(self) -> int | None:
        """The server's process; `None` while it does not run."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    def abandon(self) -> None:
        """Tell the server to end at once and wait for nothing; it recovers when it next starts."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGQUIT)

    @property
    def _used_layout(self) -> Layout:
        assert self._layout is not None, "the server has not been started"
        return self._layout

    async def _make_database(self) -> None:
        """Run `initdb`: a second or two, once."""
        layout = self._used_layout
        unfinished = await asyncio.to_thread(layout.new_data_folder)
        process = await self._launch(
            "initdb", f"--pgdata={unfinished}", *_INITDB, output=subprocess.PIPE
        )
        try:
            printed, _ = await process.communicate()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise
        if process.returncode:
            text = printed.decode(errors="replace")
            raise EmbeddedPostgresError(_complaint("no database could be made", text))
        await asyncio.to_thread(layout.adopt, unfinished)

    async def _start(self) -> None:
        layout = self._used_layout
        settings = {**_SETTINGS, "unix_socket_directories": str(layout.sockets())}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        layout.make_room_in_log()
        # Unbuffered, since what the server itself writes goes there too.
        with layout.log.open("ab", buffering=0) as log:
            self._process = await self._launch(
                "postgres", "-D", str(layout.data), *options, output=log.fileno()
            )
        try:
            async with asyncio.timeout(self._ready_timeout_s):
                await self._ready(self._process)
        except TimeoutError:
            text = layout.log_tail()
            what = f"PostgreSQL was not ready within {self._ready_timeout_s:g} s"
            raise EmbeddedPostgresError(_complaint(what, text)) from None

    async def _ready(self, process: asyncio.subprocess.Process) -> None:
        lock_file = self._used_layout.data / "postmaster.pid"
        while not _says_ready(lock_file, process.pid):
            if process.returncode is not None:
                raise EmbeddedPostgresError(
                    _complaint("PostgreSQL ended as it started", self._used_layout.log_tail())
                )
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _launch(
        self, program: str, *arguments: str, output: int
    ) -> asyncio.subprocess.Process:
        layout = self._used_layout
        return await asyncio.create_subprocess_exec(
            str(self._binaries / program),
            *arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for the service, which then stops the server.
            start_new_session=True,
            cwd=layout.folder,
            env={name: os.environ[name] for name in _KEPT if name in os.environ} | {"LC_ALL": "C"},
            **layout.user.popen_options(),  # type: ignore[arg-type]
        )

    async def _keep_running(self) -> None:
        """Start the server again whenever it ends by itself."""
        loop = asyncio.get_running_loop()
        pause_s = RESTART_PAUSE_FIRST_S
        while True:
            since_s = loop.time()
            if self._process is not None:
                code = await self._process.wait()
                _log.error("PostgreSQL has ended by itself (exit code %s): %s", code, self._last())
            if loop.time() - since_s >= STEADY_S:
                pause_s = RESTART_PAUSE_FIRST_S
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, RESTART_PAUSE_MAX_S)
            self.restarts += 1
            try:
                await self._start()
                _log.warning("PostgreSQL was started again: process %s", self.pid)
            except Exception as error:  # Whatever it was, nobody else would start it again.
                _log.error("PostgreSQL could not be started: %s", one_line(str(error)))
                await self._end_process()

    def _last(self) -> str:
        """The last line of the server's log, if it can be read: files may have run out."""
        try:
            return one_line(self._used_layout.log_tail(lines=1))
        except OSError as error:
            return f"its log cannot be read: {error.strerror}"

    async def _end(self) -> None:
        await self._end_process()
        if self._layout is not None:
            await asyncio.to_thread(self._layout.close)

    async def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        # A cancelled caller waits too: whoever leaves a server behind cannot start again.
        stopping = asyncio.create_task(_stopped(process))
        try:
            await asyncio.shield(stopping)
        except asyncio.CancelledError:
            await stopping
            raise


async def _stopped(process: asyncio.subprocess.Process) -> None:
    for number, patience_s in STOP_STEPS:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await process.wait()
                return
    with contextlib.suppress(psutil.NoSuchProcess):
        kill_family(psutil.Process(process.pid))
    await process.wait()


def _says_ready(lock_file: Path, pid: int) -> bool:
    # Its eighth line is the state, which a server writes for whoever started it (pg_ctl).
    try:
        lines = lock_file.read_text().splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


def _check_version(data: Path, binaries: Path) -> None:
    """Refuse a database that another major version of PostgreSQL has made."""
    found = re.search(r"\(PostgreSQL\) (\d+)", version_of(binaries))
    major = found[1] if found else "(unknown)"
    try:
        made_by = (data / "PG_VERSION").read_text().strip()[:10]
    except FileNotFoundError:
        raise EmbeddedPostgresError(
            f"{data} is no database of PostgreSQL: it has no file PG_VERSION. Give the service "
            "another folder, or move this one out of the way"
        ) from None
    if made_by != major:
        raise EmbeddedPostgresError(
            f"the database in {data} was made by PostgreSQL {made_by}, and the programs in "
            f"{binaries} are of version {major}: name programs of version {made_by} in "
            "FTREPO_POSTGRES_BIN, or carry the database over with pg_upgrade or pg_dump"
        )


def _complaint(what: str, text: str) -> str:
    """Say what happened, what to do if that is known, and how the program put it."""
    advice = next((each for phrase, each in _ADVICE.items() if phrase in text), None)
    tail = "\n  ".join(text.strip().splitlines()[-20:]) or "it said nothing"
    return f"{what}{f' ({advice})' if advice else ''}:\n  {tail}"
