"""A file that nobody but its owner may write, made before SQLite sees it.

SQLite would make it with the permissions that the umask leaves, which is readable by everybody; its
log, made later, takes over the permissions of the file.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from ftrepo.errors import JournalError

SUFFIXES = ("-wal", "-shm", "-journal")
"""What SQLite appends to the name of a file for those that belong to it."""

Identity = tuple[int, int]
"""Which file it is, whatever its name: device and inode."""


def make_private(path: Path) -> Identity:
    """Make the file if there is none, see that only we may write it, and say which one it is.

    An existing file is never opened here; see `journal_file`.

    Raises:
        JournalError: somebody else may write the file, or put another one in its place.
        OSError: it cannot be made.
    """
    if path.parent.stat().st_mode & stat.S_IWOTH:
        raise JournalError(
            f"anybody may write to {path.parent}, so a file there could hold anybody's keys; "
            "use a folder of the service's own"
        )
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        pass
    else:
        synchronise(path.parent)
    for suffix in SUFFIXES:
        with suppress(FileNotFoundError):
            _check(path.with_name(path.name + suffix))
    return identity_of(_check(path))


def identity_of(found: os.stat_result) -> Identity:
    """Say which file it is."""
    return found.st_dev, found.st_ino


def _check(path: Path) -> os.stat_result:
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise JournalError(f"{path} is not a plain file; give another path")
    if hasattr(os, "geteuid"):
        if found.st_uid != os.geteuid():
            raise JournalError(f"{path} belongs to user {found.st_uid}, not to this process")
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise JournalError(
                f"others than its owner may write {path}, so it could hold anybody's keys; look "
                "at it, then `chmod 600` or remove it"
            )
        if found.st_mode & (stat.S_IRGRP | stat.S_IROTH):
            path.chmod(0o600)
    return found


def synchronise(folder: Path) -> None:
    """Make the names in a folder durable, where the system can do that."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
