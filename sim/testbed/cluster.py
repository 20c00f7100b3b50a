"""A PostgreSQL server of one's own, to be stopped, frozen, killed and started again.

::

    with Cluster(settings={"max_connections": "40"}) as cluster:
        dsn = cluster.create_database()
        cluster.freeze()
        ...

The server is a child of this process, listens on 127.0.0.1 alone, and runs as the present user or,
for root, as `nobody`. Its folder is removed at the end, whatever the end is (see `guardian`).
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

import asyncpg

from sim.testbed.binaries import TestbedError
from sim.testbed.guardian import family, family_stopped, runs, send
from sim.testbed.sql import run_sql
from sim.testbed.workspace import Workspace, workspace

READY_TIMEOUT_S = 30.0
"""How long a server may take to start, crash recovery included."""

STOP_TIMEOUT_S = 30.0

PORTS = range(20_000, 32_000)
"""Below those that systems give to outgoing connections, which could take the port of a server
that is just being restarted."""

_PORT_TRIES = 20
_TAIL_LINES = 20
_LOOK_EVERY_S = 0.01

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "32MB",
    "timezone": "UTC",
}


class Server(Protocol):
    """A server on which databases can be made."""

    def dsn(self, database: str = "postgres") -> str:
        """Return the address of a database."""
        ...

    def create_database(self) -> str:
        """Make an empty database and return its address."""
        ...

    def drop_database(self, dsn: str) -> None:
        """Remove a database that `create_database` made, and end its connections."""
        ...


class Cluster:
    """A server that is started on entering and removed on leaving. See the module.

    Everything here blocks, for milliseconds as a rule; where a loop must not be held up, use
    `asyncio.to_thread`.

    Args:
        settings: parameters of the server, over those of the testbed; durability is as shipped.

    Attributes:
        port: where it listens; the same after a restart.
        data: its data folder.
        binaries: the folder with PostgreSQL's programs.
        log: what it writes.
    """

    host = "127.0.0.1"

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        self.settings = {**_SETTINGS, **(settings or {})}
        self._workspace: Workspace = workspace()
        self.binaries = self._workspace.binaries
        self.data: Path = self._workspace.new_data_folder()
        self.log = self.data.with_suffix(".log")
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        for _ in range(_PORT_TRIES):
            self.port = secrets.choice(PORTS)
            try:
                self.start()
            except PortTakenError:
                continue
            return self
        raise TestbedError(f"none of {_PORT_TRIES} ports could be had; see {self.log}")

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop("immediate")
        self._workspace.run("rm", "-rf", self.data, self.log)

    @property
    def pid(self) -> int | None:
        """The server's process; `None` while it does not run."""
        if self._process is None or self._process.poll() is not None:
            return None
        return self._process.pid

    def dsn(self, database: str = "postgres") -> str:
        """Return the address of a database."""
        return f"postgresql://postgres@{self.host}:{self.port}/{database}"

    def start(self, settings: Mapping[str, str] | None = None, *, wait: bool = True) -> None:
        """Start the server, if it does not run.

        Args:
            settings: parameters for this time only.
            wait: whether to return only when it takes connections.

        Raises:
            TestbedError: it ended or was not ready in time; the message has the end of its log.
        """
        if self.pid is not None:
            return
        options = {**self.settings, **(settings or {}), "port": str(self.port)}
        command: list[str | Path] = [self.binaries / "postgres", "-D", self.data]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C is for the testbed, which then stops the server.
                start_new_session=True,
                cwd=self.data,
                **self._workspace.user.popen_options(),  # type: ignore[call-overload]
            )
        self._workspace.watch(self._process.pid)
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Return as soon as the server takes connections.

        Raises:
            TestbedError: it ended or was not ready in time; the message has the end of its log.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                self._ended()
                text = self.log_tail()
                raise (PortTakenError if "could not bind" in text else TestbedError)(
                    f"the server on port {self.port} ended instead of starting:\n{text}"
                )
            # Its own file first: on the port somebody else's server might answer.
            if self._says_ready() and self._answers():
                return
            time.sleep(_LOOK_EVERY_S)
        raise TestbedError(f"no server on port {self.port} in {timeout_s} s:\n{self.log_tail()}")

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Shut the server down and wait for that; one that is frozen is thawed first."""
        if self._process is None or self.pid is None:
            return self._ended()
        self.thaw()
        numbers = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
        self._process.send_signal(numbers[mode])
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise TestbedError(
                f"{mode} shutdown took over {STOP_TIMEOUT_S} s; killed:\n{self.log_tail()}"
            ) from None
        return self._ended()

    def kill(self) -> None:
        """End the server and all its processes with SIGKILL, as a crash of the machine would."""
        if self._process is None or self.pid is None:
            return
        members = family_stopped(self._process.pid)
        send(members, signal.SIGKILL)
        self._process.wait()
        # Those left hold the shared memory, and while they do no server starts on this folder.
        while any(runs(member) for member in members):
            time.sleep(_LOOK_EVERY_S)
        self._ended()

    def freeze(self) -> None:
        """Stop the server and all its processes with SIGSTOP: connections stay, nothing answers."""
        if self.pid is not None:
            family_stopped(self.pid)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        if self.pid is not None:
            send(family(self.pid), signal.SIGCONT)

    def create_database(self) -> str:
        """Make an empty database and return its address."""
        return _create_database(self)

    def drop_database(self, dsn: str) -> None:
        """Remove a database that `create_database` made, and end its connections."""
        _drop_database(self, dsn)

    def write(self, name: str, text: str = "") -> Path:
        """Write a file into the data folder, as the server's own, and return its path."""
        path = self.data / name
        path.write_text(text)
        if self._workspace.user.is_another:
            os.chown(path, self._workspace.user.uid, self._workspace.user.gid)
        return path

    def log_tail(self, lines: int = _TAIL_LINES) -> str:
        """Return the last lines of the server's log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _says_ready(self) -> bool:
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

    def _answers(self) -> bool:
        try:
            run_sql(self.dsn(), "SELECT 1")
        except (OSError, asyncpg.PostgresError):
            return False
        return True

    def _ended(self) -> None:
        if self._process is not None:
            self._process.wait()
            self._workspace.unwatch(self._process.pid)
            self._process = None


class ExistingServer:
    """Somebody else's server, by its address: databases are made on it, nothing is broken.

    Args:
        dsn: the address of a database whose user may create others.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    def dsn(self, database: str = "") -> str:
        """Return the address of a database; by default the one that was given."""
        if not database:
            return self._dsn
        before, _, options = self._dsn.partition("?")
        return f"{before.rpartition('/')[0]}/{database}" + (f"?{options}" if options else "")

    def create_database(self) -> str:
        """Make an empty database and return its address."""
        return _create_database(self)

    def drop_database(self, dsn: str) -> None:
        """Remove a database that `create_database` made, and end its connections."""
        _drop_database(self, dsn)


class PortTakenError(TestbedError):
    """Somebody else listens on the port."""


def _create_database(server: Cluster | ExistingServer) -> str:
    name = f"testbed_{secrets.token_hex(6)}"
    run_sql(server.dsn(), f"CREATE DATABASE {name}")
    return server.dsn(name)


def _drop_database(server: Cluster | ExistingServer, dsn: str) -> None:
    name = dsn.partition("?")[0].rpartition("/")[2]
    run_sql(server.dsn(), f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
