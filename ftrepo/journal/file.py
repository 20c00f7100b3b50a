"""The journal's file: SQLite, on one thread, opened with suspicion.

* **Durable**: a write-ahead log that is synchronised at every commit (`synchronous=FULL`).
* **Exclusive**: SQLite's own lock, held from the opening to the end. Therefore nothing here opens
  an existing file past SQLite: closing it again would give up the lock of the whole process
  (https://sqlite.org/howtocorrupt.html, section 2.2).
* **Private**: only the owner may read or write it. Whoever could write it could have keys trusted.
* **Checked**: SQLite's structure and every row's checksum, once, at the opening. What fails is set
  aside and reported, never thrown away, and never keeps the service from starting.

One kind of damage cannot be seen. The log is read up to the first record whose checksum does not
fit, which is how the record is found that a crash cut off; if an older one is damaged, those after
it are missing without a word. None of it can turn into another key.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

from ftrepo.errors import JournalError, JournalLockedError
from ftrepo.interface import Recovered
from ftrepo.journal.private_file import SUFFIXES, Identity, identity_of, make_private
from ftrepo.journal.rows import CorruptedRowError, Row, from_row, to_row
from ftrepo.keys import PublicKey

APPLICATION_ID = 0x66744A4C
"""Marks a SQLite file as a journal of this package, "ftJL"."""

FORMAT = 1
"""The version of the tables, in `PRAGMA user_version`."""

_FIELDS = "id, material, algorithm, created_us, expires_us, checksum"
_SCHEMA = f"""
BEGIN;
CREATE TABLE pending (
    id TEXT PRIMARY KEY NOT NULL, material BLOB NOT NULL, algorithm TEXT NOT NULL,
    created_us INTEGER NOT NULL, expires_us INTEGER NOT NULL, checksum BLOB NOT NULL);
CREATE TABLE set_aside (reason TEXT NOT NULL, {_FIELDS});
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT};
COMMIT;
"""

_ASIDE_MAX = 1000
"""How many unreadable files may lie beside the journal before the start is refused."""

_UNREADABLE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class JournalFile:
    """The open file. Every method belongs to the thread that called `open`.

    Attributes:
        recovered: what it held.
    """

    def __init__(self, connection: sqlite3.Connection, recovered: Recovered) -> None:
        self._connection = connection
        self.recovered = recovered

    @classmethod
    def open(cls, path: Path, *, lock_wait_s: float) -> JournalFile:
        """Open or make the file, check it, and set aside what cannot be trusted.

        Args:
            path: where it is, or is to be; its folder must exist.
            lock_wait_s: how long to wait for another process to let it go.

        Raises:
            JournalLockedError: another process has it open.
            JournalError: it or its folder cannot be used, or it is not ours to read.
        """
        try:
            path = path.parent.resolve(strict=True) / path.name
            identity = make_private(path)
            try:
                return cls(*_opened(path, lock_wait_s))
            except sqlite3.DatabaseError as error:
                if _code(error) not in _UNREADABLE:
                    raise
            salvaged = _salvage(path)
            aside = _set_file_aside(path, identity)
            make_private(path)
            connection, _ = _opened(path, lock_wait_s)
            opened = cls(connection, Recovered(keys=tuple(salvaged), file_set_aside=str(aside)))
            opened.carry_out([lambda file: file.append(salvaged)])
            return opened
        except OSError as error:
            reason = error.strerror or str(error)
            raise JournalError(f"the journal {path} cannot be opened: {reason}") from error
        except sqlite3.Error as error:
            if _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise JournalLockedError(
                    f"another process has the journal {path} open; every instance needs one of its "
                    "own"
                ) from error
            raise JournalError(f"the journal {path} cannot be opened: {error}") from error

    def carry_out(self, steps: Iterable[Step]) -> None:
        """Run steps in one transaction; when this returns they are on the disk, all of them.

        Raises:
            JournalError: none of them took place.
        """
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for step in steps:
                step(self)
            self._connection.execute("COMMIT")
        except Exception as error:
            # Some errors have ended the transaction already, others leave it half done.
            with suppress(sqlite3.Error):
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
            raise JournalError(f"the journal cannot be written: {error}") from error

    def append(self, keys: Sequence[PublicKey]) -> None:
        """Write keys, as a step of `carry_out`."""
        self._connection.executemany(
            f"INSERT OR REPLACE INTO pending ({_FIELDS}) VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608
            map(to_row, keys),
        )

    def remove(self, key_ids: Sequence[str]) -> None:
        """Take keys out, as a step of `carry_out`."""
        self._connection.executemany("DELETE FROM pending WHERE id = ?", ((i,) for i in key_ids))

    def close(self) -> None:
        """Close the file; its lock is free then."""
        with suppress(sqlite3.Error):
            self._connection.close()


Step = Callable[[JournalFile], None]
"""One thing to do in a transaction: an `append` or a `remove`."""


def _opened(path: Path, lock_wait_s: float) -> tuple[sqlite3.Connection, Recovered]:
    connection = _connected(path, lock_wait_s)
    try:
        _lock(connection)
        is_new = _is_new(connection, path)
        _make_durable(connection, path)
        if is_new:
            connection.executescript(_SCHEMA)
        (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if verdict != b"ok":
            raise _malformed(verdict.decode(errors="replace"))
        return connection, _recover(connection)
    except BaseException:
        connection.close()
        raise


def _connected(path: Path, lock_wait_s: float) -> sqlite3.Connection:
    # "rw": a file that vanished meanwhile is an error, not a new one with the default permissions.
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode=rw", uri=True, timeout=lock_wait_s, isolation_level=None
    )
    # A damaged row may hold text that is not UTF-8.
    connection.text_factory = bytes
    return connection


def _lock(connection: sqlite3.Connection) -> None:
    """Shut out every other connection, from before the first access until this one is closed."""
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    # Before the first access: then the index of the log is in memory, and there is no `-shm` file.
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("BEGIN EXCLUSIVE")
    connection.execute("COMMIT")


def _make_durable(connection: sqlite3.Connection, path: Path) -> None:
    """Have every commit synchronised, and look that it is so."""
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    connection.execute("PRAGMA synchronous = FULL")
    # macOS only: fsync alone leaves data in the disk's own cache there.
    connection.execute("PRAGMA fullfsync = ON")
    (level,) = connection.execute("PRAGMA synchronous").fetchone()
    if (mode, level) != (b"wal", 2):
        raise JournalError(
            f"the journal {path} cannot be made durable: journal_mode={mode!r}, "
            f"synchronous={level}; is it on a file system without locks?"
        )


def _is_new(connection: sqlite3.Connection, path: Path) -> bool:
    """Say whether the file is still empty; refuse it, unchanged, if it is not for us to use."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if (application, version, tables) == (0, 0, 0):
        return True
    if application != APPLICATION_ID:
        raise JournalError(f"{path} is a database, but not a journal; give the journal a new path")
    if version > FORMAT:
        raise JournalError(
            f"the journal {path} was written by a newer version of ftrepo (format {version}, this "
            f"one reads {FORMAT}); start that version, or let it flush before going back"
        )
    return False


def _recover(connection: sqlite3.Connection) -> Recovered:
    """Read every row, and move those that cannot be trusted to the table `set_aside`."""
    keys, corrupted = [], []
    connection.execute("BEGIN IMMEDIATE")
    for rowid, *row in _rows(connection, "ASC"):
        try:
            keys.append(from_row(tuple(row)))
        except CorruptedRowError as error:
            corrupted.append((rowid, str(error)))
    for rowid, reason in corrupted:
        connection.execute(
            f"INSERT INTO set_aside SELECT ?, {_FIELDS} FROM pending WHERE rowid = ?",  # noqa: S608
            (reason, rowid),
        )
        connection.execute("DELETE FROM pending WHERE rowid = ?", (rowid,))
    connection.execute("COMMIT")
    return Recovered(keys=tuple(keys), corrupted=tuple(reason for _, reason in corrupted))


def _rows(connection: sqlite3.Connection, order: str) -> Iterator[Row]:
    yield from connection.execute(
        f"SELECT rowid, {_FIELDS} FROM pending NOT INDEXED ORDER BY rowid {order}"  # noqa: S608
    )


def _salvage(path: Path) -> list[PublicKey]:
    """Return the keys that a damaged file still gives, from both its ends to the damage.

    Each is known by its checksum to be as it was written.
    """
    ends: dict[str, dict[str, PublicKey]] = {"ASC": {}, "DESC": {}}
    with suppress(sqlite3.Error), closing(_connected(path, 0.0)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        for order, keys in ends.items():
            with suppress(sqlite3.Error):
                for _, *row in _rows(connection, order):
                    with suppress(CorruptedRowError):
                        key = from_row(tuple(row))
                        keys[key.id] = key
    first, last = ends["ASC"], list(ends["DESC"].values())
    return [*first.values(), *(key for key in reversed(last) if key.id not in first)]


def _set_file_aside(path: Path, identity: Identity) -> Path:
    """Rename a file that is no readable journal, its log with it."""
    if identity_of(path.lstat()) != identity:
        raise JournalLockedError(f"another process has just replaced the journal {path}")
    for number in range(1, _ASIDE_MAX + 1):
        aside = path.with_name(f"{path.name}.corrupt-{number}")
        if not aside.exists():
            break
    else:
        raise JournalError(f"{_ASIDE_MAX} unreadable journals lie beside {path}; remove them")
    for suffix in SUFFIXES:
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    return path.rename(aside)


def _malformed(verdict: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(verdict)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def _code(error: sqlite3.Error) -> int | None:
    """The primary result code: the low byte of the extended one."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
