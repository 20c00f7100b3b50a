"""The server that an earlier service left running when it was killed, found and stopped.

A service that ends by kill -9 stops nothing. Its server goes on, holds the data folder, and no
other can be started there. Whoever holds the lock of the folder knows that the server's owner is
gone, so it may stop it. Which process it is says `postmaster.pid`; that it really is a server on
this folder, and not a stranger with a number that was used again, says the process itself.
"""

from __future__ import annotations

import contextlib
import logging
import signal
from pathlib import Path

import psutil

from ftrepo.service.embedded.layout import EmbeddedPostgresError, remove_if_temporary

_log = logging.getLogger("ftrepo")

STOP_STEPS: tuple[tuple[signal.Signals, float], ...] = (
    (signal.SIGINT, 15.0),
    (signal.SIGQUIT, 5.0),
)
"""How a server is asked to stop, and for how many seconds: fast, which ends its sessions and writes
everything down; then immediate, after which it recovers as it starts. Then it is killed."""

KILLED_WITHIN_S = 5.0


def stop_orphan(data: Path) -> None:
    """Stop the server on a data folder, if there is one. Blocks for as long as that takes.

    Raises:
        EmbeddedPostgresError: it cannot be stopped.
    """
    server, sockets = _found(data)
    if server is not None:
        _log.warning(
            "stopping the PostgreSQL that an earlier service left running: process %s", server.pid
        )
        _stop(server)
    if sockets is not None:
        remove_if_temporary(sockets)


def kill_family(server: psutil.Process) -> list[psutil.Process]:
    """End a server and all its processes by force, and return them."""
    family = [server]
    with contextlib.suppress(psutil.NoSuchProcess):
        family += server.children(recursive=True)
    for each in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    return family


def _stop(server: psutil.Process) -> None:
    for number, patience_s in STOP_STEPS:
        try:
            server.send_signal(number)
            server.wait(patience_s)
        except psutil.NoSuchProcess:
            return
        except psutil.TimeoutExpired:
            continue
        return
    if psutil.wait_procs(kill_family(server), timeout=KILLED_WITHIN_S)[1]:
        raise EmbeddedPostgresError(
            f"the PostgreSQL with the process {server.pid} cannot be stopped, not even by force: "
            "does its disk answer?"
        )


def _found(data: Path) -> tuple[psutil.Process | None, Path | None]:
    """The server that runs on a data folder, and the folder of its socket."""
    try:
        lines = (data / "postmaster.pid").read_text(errors="replace").splitlines()
        process = psutil.Process(int(lines[0]))
    except (OSError, ValueError, IndexError):
        return None, None
    except psutil.NoSuchProcess:
        process = None
    sockets = Path(lines[4]) if len(lines) > 4 and lines[4] else None
    return (process if process is not None and _is_on(process, data) else None), sockets


def _is_on(process: psutil.Process, data: Path) -> bool:
    """Whether a process is a PostgreSQL server, and its data folder this one."""
    try:
        # A server makes its data folder the current one, and keeps it.
        return "postgres" in process.name() and Path(process.cwd()) == data.resolve()
    except psutil.Error:  # It has ended, or is somebody else's.
        return False
