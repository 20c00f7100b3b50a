"""What is where in the folder of an embedded PostgreSQL, and the lock that only one service holds.

::

    in-use           locked by the service that runs
    data/            the database, PostgreSQL's own folder
    making-*/        one that is being made; it counts for nothing
    run/             the socket
    postgresql.log   what the server says; `.1` is the log before it

Database and socket belong to the user who runs the server, the rest to the service: where root
starts the service, it follows no path that a lesser user could have bent.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import stat
import tempfile
from pathlib import Path
from urllib.parse import urlencode

from ftrepo.errors import FtrepoError
from ftrepo.postgres.binaries import ServerUser

PORT = 5432
"""Part of the socket's name; no port is opened."""

SOCKET_PATH_BYTES_MAX = 103
"""Of a socket's address: `sun_path` has room for 104 bytes on macOS and 108 on Linux, with the zero
at the end."""

LOG_BYTES_MAX = 1_000_000
"""Of the log when a server starts; a longer one makes room. Statements that fail are not in it, so
that a server that runs adds next to nothing."""

UNFINISHED_PREFIX = "making-"
TEMPORARY_PREFIX = "ftrepo-socket-"

_PLAIN = re.compile(r"[\w./+-]+", re.ASCII)


class EmbeddedPostgresError(FtrepoError):
    """The embedded PostgreSQL cannot be used; the message says why and what to do."""


class Layout:
    """The folder, prepared for a server: made, locked, and with a place for the socket.

    Args:
        folder: where all of it is; made if there is none.
        user: who runs the server.

    Raises:
        EmbeddedPostgresError: another service uses the folder, or the server's user cannot reach
            it.
        OSError: it cannot be made.
    """

    def __init__(self, folder: Path, user: ServerUser) -> None:
        self.folder = folder.absolute()
        self.user = user
        self.data = self.folder / "data"
        self.log = self.folder / "postgresql.log"
        self._make_folder()
        self._lock = _locked(self.folder / "in-use")
        self._sockets: Path | None = None

    def close(self) -> None:
        """Remove a socket's folder that lies elsewhere, and let another service have the folder."""
        if self._sockets is not None:
            remove_if_temporary(self._sockets)
            self._sockets = None
        os.close(self._lock)

    @property
    def dsn(self) -> str:
        """Where the server can be reached, once `sockets` was asked for."""
        query = urlencode({"host": str(self.sockets()), "port": PORT})
        return f"postgresql://postgres@/postgres?{query}"

    def sockets(self) -> Path:
        """Return a private folder for the socket whose name is short and plain enough."""
        if self._sockets is None:
            wanted = self.folder / "run"
            if _can_name_a_socket(wanted):
                wanted.mkdir(mode=0o700, exist_ok=True)
            else:
                wanted = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX))
            self._give(wanted)
            self._sockets = wanted
        return self._sockets

    def make_room_in_log(self) -> None:
        """Begin a new log if the one that is there has grown too long."""
        with contextlib.suppress(FileNotFoundError):
            if self.log.stat().st_size > LOG_BYTES_MAX:
                self.log.replace(self.log.with_suffix(".log.1"))

    def log_tail(self, *, lines: int = 20, bytes_max: int = 20_000) -> str:
        """Return the last lines of the log; nothing if there is none."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - bytes_max))
                text = log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def remove_unfinished(self) -> None:
        """Remove what an interrupted `initdb` left, as far as that is possible.

        One whose service was killed may still be writing, or removing its own folder at the same
        time; what stays then goes at a later start.
        """
        for left in self.folder.glob(f"{UNFINISHED_PREFIX}*"):
            shutil.rmtree(left, ignore_errors=True)

    def new_data_folder(self) -> Path:
        """Return an empty folder for a new database."""
        # Never the same name twice: an `initdb` whose service was killed may still be writing.
        unfinished = Path(tempfile.mkdtemp(prefix=UNFINISHED_PREFIX, dir=self.folder))
        self._give(unfinished)
        return unfinished

    def adopt(self, made: Path) -> None:
        """Let a database that was made count, in one step that a crash cannot halve."""
        made.rename(self.data)
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _make_folder(self) -> None:
        # Root's server runs as somebody else, who must be able to pass through, but not to look.
        mode = 0o711 if self.user.is_another else 0o700
        self.folder.parent.mkdir(mode=mode, parents=True, exist_ok=True)
        self.folder.mkdir(mode=mode, exist_ok=True)
        self.folder.chmod(mode)
        if self.user.is_another:
            _check_reachable(self.folder)

    def _give(self, folder: Path) -> None:
        """Let the server's user own a folder that was just made, and nobody else read it."""
        if self.user.is_another:
            os.chown(folder, self.user.uid, self.user.gid)
        folder.chmod(0o700)


def remove_if_temporary(sockets: Path) -> None:
    """Remove a socket's folder that was made for one server, and no other folder."""
    is_ours = sockets.name.startswith(TEMPORARY_PREFIX)
    if is_ours and sockets.parent == Path(tempfile.gettempdir()):
        shutil.rmtree(sockets, ignore_errors=True)


def _can_name_a_socket(folder: Path) -> bool:
    name = str(folder / f".s.PGSQL.{PORT}")
    # Addresses and settings give commas, quotes and spaces a meaning of their own.
    return len(os.fsencode(name)) <= SOCKET_PATH_BYTES_MAX and bool(_PLAIN.fullmatch(name))


def _check_reachable(folder: Path) -> None:
    closed = [each for each in folder.parents if not each.stat().st_mode & stat.S_IXOTH]
    if closed:
        raise EmbeddedPostgresError(
            f"PostgreSQL refuses to run as root, and the account `nobody`, which runs it instead, "
            f"may not pass through {closed[-1]}: start the service as an ordinary user, or name a "
            "folder that others may pass through, such as /var/lib/ftrepo"
        )


def _locked(path: Path) -> int:
    """Lock a file for as long as this process lives, and return its descriptor."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    except OSError as error:
        owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        raise EmbeddedPostgresError(
            f"{path.parent} is in use by another service (process {owner}): stop that one, or give "
            "this one a folder of its own"
        ) from None
    return descriptor
