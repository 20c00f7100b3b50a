"""The folder of one process for all its servers, removed at the end even if that is kill -9."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from sim.testbed import guardian
from sim.testbed.binaries import TestbedError, server_binaries, server_user

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
        self.folder = Path(tempfile.mkdtemp(prefix="ftrepo-testbed-"))
        self._lock = threading.Lock()
        self._made = 0
        try:
            if self.user.is_another:
                os.chown(self.folder, self.user.uid, self.user.gid)
            self._guardian = self._start_guardian()
        except BaseException:
            shutil.rmtree(self.folder)
            raise

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
        self._tell(f"+{pid}\n")

    def unwatch(self, pid: int) -> None:
        """Tell the guardian that a server has ended, so that its number may be another's."""
        self._tell(f"-{pid}\n")

    def close(self) -> None:
        """Let the guardian end what still runs and remove the folder, and wait for it."""
        if self._guardian.stdin is not None and not self._guardian.stdin.closed:
            self._guardian.stdin.close()
        self._guardian.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start_guardian(self) -> subprocess.Popen[bytes]:
        owner = (str(self.user.uid), str(self.user.gid))
        return subprocess.Popen(
            [sys.executable, "-I", guardian.__file__, self.folder, *owner],
            stdin=subprocess.PIPE,
            # Ctrl-C is for the testbed; the guardian must outlive it.
            start_new_session=True,
            cwd="/",
        )

    def _tell(self, line: str) -> None:
        assert self._guardian.stdin is not None
        self._guardian.stdin.write(line.encode())
        self._guardian.stdin.flush()


def workspace() -> Workspace:
    """Return this process's workspace, which is made when it is first asked for."""
    return _workspace_of(os.getpid())


@functools.cache
def _workspace_of(pid: int) -> Workspace:
    # A forked child must not take its parent's for its own: hence the argument.
    made = Workspace()
    atexit.register(lambda: made.close() if os.getpid() == pid else None)
    return made
