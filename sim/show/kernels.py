"""Kernels that run beside everything else which opens ports on a machine."""

from __future__ import annotations

import shutil
import sys
import weakref
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from jupyter_client.manager import AsyncKernelManager


class FileSocketKernelManager(AsyncKernelManager):
    """Talks to its kernel over sockets of the file system, where there are such sockets.

    The TCP ports of a kernel are chosen before it starts, and are anybody's until it binds them.
    Beside tests that open hundreds of connections one was taken now and then, and the kernel died.
    """

    def __init__(self, **settings: Any) -> None:
        if sys.platform != "win32":
            # Absolute, because kernel and client have different working directories.
            folder = mkdtemp(prefix="ftrepo-kernel-")
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            settings.update(transport="ipc", ip=str(Path(folder) / "kernel"))
        super().__init__(**settings)
