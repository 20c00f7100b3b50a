"""The folder of one process for all its servers, removed at the end even if that is kill -9."""

from __future__ import annotations

import atexit
import functools
import os
import subprocess
import threading
from pathlib import Path

from ftrepo.postgres.binaries import server_user
from sim.testbed.binaries import TestbedError, server_binaries
from sim.testbed.guarded_folder import GuardedFolder

_INITDB = (
    "--username=postgres",
    "--auth=trust",
    "--encoding=UTF8",
    "--locale=C",
    "--no-sync",
    "--no-instructions",
)
"""Durability is the server's business while it runs; a folder that was just made needs none."""


class Workspace:
    """A temporary folder that belongs to the server's user, with a guardian that removes it.

    One `initdb` serves all data folders: it makes a template, which is copied.
    """

    def __init__(self) -> None:
        self.user = server_user()
        self.binaries = server_binaries()
        self._guarded = GuardedFolder("ftrepo-testbed-", uid=self.user.uid, gid=self.user.gid)
        self.folder = self._guarded.path
        self._lock = threading.Lock()
        self._made = 0

    def new_data_folder(self) -> Path:
        """Return the data folder of a new, empty cluster."""
        with self._lock:
            template = self.folder / "template"
            if not template.exists():
                # Readers must never see half a template, not even after an interrupt.
                unfinished = self.folder / "unfinished"
                self.run(self.binaries / "initdb", f"--pgdata={unfinished}", *_INITDB)
                unfinished.rename(template)
            self._made += 1
            folder = self.folder / f"data-{self._made}"
            self.run("cp", "-Rp", template, folder)
            return folder

    def run(self, *command: str | Path) -> str:
        """Run a program as the server's user, and return what it wrote.

        Raises:
            TestbedError: it failed; the message has the end of what it wrote.
        """
        done = subprocess.run(
            command,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            **self.user.popen_options(),  # type: ignore[call-overload]
        )
        if done.returncode:
            tail = "\n".join(done.stdout.splitlines()[-20:])
            raise TestbedError(f"{Path(command[0]).name} failed:\n{tail}")
        output: str = done.stdout
        return output

    def watch(self, pid: int) -> None:
        """Tell the guardian of a server that runs."""
        self._guarded.watch(pid)

    def unwatch(self, pid: int) -> None:
        """Tell the guardian that a server has ended, so that its number may be another's."""
        self._guarded.unwatch(pid)

    def close(self) -> None:
        """Let the guardian end what still runs and remove the folder, and wait for it."""
        self._guarded.close()


def workspace() -> Workspace:
    """Return this process's workspace, which is made when it is first asked for."""
    return _workspace_of(os.getpid())


@functools.cache
def _workspace_of(pid: int) -> Workspace:
    # A forked child must not take its parent's for its own: hence the argument.
    made = Workspace()
    atexit.register(lambda: made.close() if os.getpid() == pid else None)
    return made
