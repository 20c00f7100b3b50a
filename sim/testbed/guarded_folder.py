"""A temporary folder with a guardian: it goes, and what runs in it, even after kill -9."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from sim.testbed import guardian


class GuardedFolder:
    """A folder that is removed, and the programs that were named to it ended, with this process.

    Args:
        prefix: the beginning of its name.
        uid: who owns it, and as whom the guardian runs: the user of the programs.
        gid: the group.

    Attributes:
        path: where it is.
    """

    def __init__(self, prefix: str, *, uid: int, gid: int) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=prefix))
        try:
            if uid != os.geteuid():
                os.chown(self.path, uid, gid)
            self._guardian = subprocess.Popen(
                [sys.executable, "-I", guardian.__file__, self.path, str(uid), str(gid)],
                stdin=subprocess.PIPE,
                # Ctrl-C is for the testbed; the guardian must outlive it.
                start_new_session=True,
                cwd="/",
            )
        except BaseException:
            shutil.rmtree(self.path)
            raise

    def watch(self, pid: int) -> None:
        """Tell the guardian of a program that runs."""
        self._tell(f"+{pid}\n")

    def unwatch(self, pid: int) -> None:
        """Tell the guardian that a program has ended, so that its number may be another's."""
        self._tell(f"-{pid}\n")

    def close(self) -> None:
        """Let the guardian end what still runs and remove the folder, and wait for it."""
        if self._guardian.stdin is not None and not self._guardian.stdin.closed:
            self._guardian.stdin.close()
        self._guardian.wait()
        shutil.rmtree(self.path, ignore_errors=True)

    def _tell(self, line: str) -> None:
        assert self._guardian.stdin is not None
        self._guardian.stdin.write(line.encode())
        self._guardian.stdin.flush()
