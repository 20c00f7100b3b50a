"""The journal's file on the disk: that it is synchronised, who may write it, what damage does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ftrepo.errors import JournalError, JournalLockedError, PolicyError
from ftrepo.journal import SqliteJournal
from ftrepo.journal.file import FORMAT, JournalFile
from tests.laboratory import make_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ftrepo.interface import Recovered
    from ftrepo.keys import PublicKey

KEYS = [make_key(f"key-{number}") for number in range(200)]
CALLS = "trace=fsync,fdatasync,stat,newfstatat"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a journal may be."""
    return tmp_path / "journal.sqlite"


@pytest.fixture
def written(path: Path) -> Path:
    """A journal that was closed with 200 keys in it."""
    write(path, KEYS)
    return path


def write(path: Path, keys: Iterable[PublicKey]) -> None:
    """Write keys to the journal and close it."""
    file = JournalFile.open(path, lock_wait_s=0.0)
    file.carry_out([lambda file: file.append(list(keys))])
    file.close()


def read(path: Path) -> Recovered:
    """Open the journal, close it, and return what it held."""
    file = JournalFile.open(path, lock_wait_s=0.0)
    file.close()
    return file.recovered


def sql(path: Path, statement: str, *values: object) -> list[tuple[object, ...]]:
    """Do something to the file past the journal."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(statement, values).fetchall()


def mode(path: Path) -> int:
    """The permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


class TestDurability:
    def test_every_commit_is_synchronised(self, path: Path) -> None:
        """`synchronous` is FULL on the very connection that writes; a kill -9 would not show it."""
        connection = JournalFile.open(path, lock_wait_s=0.0)._connection
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == (b"wal",)
        connection.close()

    @pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
    def test_the_disk_is_synchronised_before_an_append_returns(self, path: Path) -> None:
        """The log is written and synchronised between the call and its answer."""
        program = (
            "import os, pathlib\n"
            "from ftrepo.journal.file import JournalFile\n"
            "from tests.laboratory import make_key\n"
            f"file = JournalFile.open(pathlib.Path({str(path)!r}), lock_wait_s=0)\n"
            "os.path.exists('/begin')\n"
            "file.carry_out([lambda file: file.append([make_key('a')])])\n"
            "os.path.exists('/end')\n"
        )
        trace = subprocess.run(
            ["strace", "-f", "-e", CALLS, sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
        ).stderr
        between = trace.split('"/begin"')[1].split('"/end"')[0]
        assert "sync(" in between

    def test_many_appends_share_a_commit(self, path: Path, monkeypatch: object) -> None:
        """However many wait, they are a handful of transactions, not one each."""
        commits = []
        carry_out = JournalFile.carry_out
        monkeypatch.setattr(
            JournalFile,
            "carry_out",
            lambda file, steps: (commits.append(1), carry_out(file, steps)),
        )

        async def main() -> None:
            journal = SqliteJournal(path)
            await journal.open()
            await asyncio.gather(*(journal.append([key]) for key in KEYS))
            await journal.close()

        asyncio.run(main())
        assert len(read(path).keys) == 200
        assert len(commits) < 50

    @pytest.mark.parametrize("error", [sqlite3.OperationalError("broken"), ValueError("broken")])
    def test_a_step_that_fails_takes_the_others_back(self, path: Path, error: Exception) -> None:
        """None of a group is there, so that no caller is told the wrong thing."""

        def fail(_: JournalFile) -> None:
            raise error

        file = JournalFile.open(path, lock_wait_s=0.0)
        with pytest.raises(JournalError, match="broken"):
            file.carry_out([lambda file: file.append(KEYS), fail])
        file.carry_out([lambda file: file.remove([KEYS[0].id])])
        file.close()
        assert read(path).keys == ()

    def test_a_transaction_that_fails_leaves_nothing_behind(self, path: Path) -> None:
        """A full disk refuses the whole group, and the next one succeeds when there is room."""
        file = JournalFile.open(path, lock_wait_s=0.0)
        pages = file._connection.execute("PRAGMA page_count").fetchone()[0]
        file._connection.execute(f"PRAGMA max_page_count = {pages + 1}")
        with pytest.raises(JournalError, match="full"):
            file.carry_out([lambda file: file.append(KEYS)])
        file._connection.execute("PRAGMA max_page_count = 1000000")
        file.carry_out([lambda file: file.append(KEYS[:1])])
        file.close()
        assert read(path).keys == (KEYS[0],)


class TestWhoMayOpenIt:
    def test_only_the_owner_may_read_and_write_it(self, path: Path) -> None:
        """The file and its log have mode 600 whatever the umask, and there is no shared memory."""
        umask = os.umask(0)
        try:
            file = JournalFile.open(path, lock_wait_s=0.0)
            file.carry_out([lambda file: file.append(KEYS)])
            modes = {each.name: mode(each) for each in path.parent.iterdir()}
        finally:
            os.umask(umask)
        assert modes == {"journal.sqlite": 0o600, "journal.sqlite-wal": 0o600}
        file.close()

    def test_a_file_that_others_may_read_is_closed_to_them(self, written: Path) -> None:
        """Reading does no harm, so the start goes on, but it ends."""
        written.chmod(0o644)
        assert len(read(written).keys) == 200
        assert mode(written) == 0o600

    @pytest.mark.parametrize("permissions", [0o620, 0o602])
    def test_a_file_that_others_may_write_is_refused(self, written: Path, permissions: int) -> None:
        """Whoever writes it could have a key of their own trusted."""
        written.chmod(permissions)
        with pytest.raises(JournalError, match="others than its owner may write"):
            read(written)

    def test_a_log_that_others_may_write_is_refused(self, written: Path) -> None:
        """The log is read into the file at the opening, so it counts as much."""
        log = written.with_name("journal.sqlite-wal")
        log.touch()
        log.chmod(0o666)
        with pytest.raises(JournalError, match="journal.sqlite-wal"):
            read(written)

    def test_a_folder_that_is_open_to_everybody_is_refused(self, path: Path) -> None:
        """Even with the sticky bit: somebody else can be there first."""
        path.parent.chmod(0o1777)
        with pytest.raises(JournalError, match="anybody may write"):
            read(path)

    @pytest.mark.parametrize(
        ("make", "says"),
        [
            (lambda path: path.symlink_to(path.with_name("elsewhere")), "not a plain file"),
            (lambda path: path.mkdir(), "not a plain file"),
            (os.mkfifo, "not a plain file"),
        ],
        ids=["link", "folder", "pipe"],
    )
    def test_what_is_no_plain_file_is_refused(
        self, path: Path, make: Callable[[Path], None], says: str
    ) -> None:
        """And never opened, so that a pipe hangs nobody."""
        make(path)
        with pytest.raises(JournalError, match=says):
            read(path)

    def test_a_folder_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        """The message names the path."""
        with pytest.raises(JournalError, match=r"nowhere/journal.sqlite cannot be opened: No such"):
            read(tmp_path / "nowhere" / "journal.sqlite")

    def test_another_process_is_shut_out(self, path: Path) -> None:
        """And so is this one while another process has the journal open."""
        program = (
            "import sys; from pathlib import Path; from ftrepo.journal.file import JournalFile\n"
            "JournalFile.open(Path(sys.argv[1]), lock_wait_s=0); print(flush=True); input()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", program, str(path)], stdin=-1, stdout=-1
        ) as other:
            assert other.stdout.readline() == b"\n"
            with pytest.raises(JournalLockedError, match="every instance needs one of its own"):
                read(path)
            other.kill()
        assert read(path).keys == ()

    def test_a_database_of_something_else_is_refused_and_left_alone(self, path: Path) -> None:
        """A wrong path must not harm what is there, not even change how it is written."""
        sql(path, "CREATE TABLE theirs (x)")
        path.chmod(0o600)
        before = path.read_bytes()
        with pytest.raises(JournalError, match="not a journal"):
            read(path)
        assert path.read_bytes() == before

    def test_a_newer_journal_is_refused_and_left_alone(self, written: Path) -> None:
        """To go on with half of what it says would be to lose keys."""
        sql(written, f"PRAGMA user_version = {FORMAT + 1}")
        with pytest.raises(JournalError, match=r"newer version of ftrepo \(format 2"):
            read(written)
        assert sql(written, "SELECT count(*) FROM pending") == [(200,)]

    def test_the_bound_must_be_possible(self, path: Path) -> None:
        """No journal can hold less than one key."""
        with pytest.raises(PolicyError, match="entries_max = 0"):
            SqliteJournal(path, entries_max=0)

    def test_a_journal_is_opened_once(self, path: Path) -> None:
        """A second opening is refused, as its books are those of the first."""

        async def main() -> None:
            journal = SqliteJournal(path)
            await journal.open()
            with pytest.raises(JournalError, match="opened before"):
                await journal.open()
            await journal.close()

        asyncio.run(main())


class TestDamage:
    @pytest.mark.parametrize(
        "damage",
        [
            "material = x'00' || material",
            "material = 'text'",
            "material = 7",
            "algorithm = 'none'",
            "algorithm = CAST(x'ff' AS TEXT)",
            "created_us = created_us + 1",
            "expires_us = expires_us * 2",
            "expires_us = 1e300",
            "expires_us = 'never'",
            "id = 'key-other'",
            "id = CAST(x'fffe' AS TEXT)",
            "checksum = x''",
            "checksum = 0",
        ],
    )
    def test_a_row_that_was_changed_is_set_aside(self, written: Path, damage: str) -> None:
        """It is reported, kept for whoever looks, and never served; the others come back."""
        sql(written, f"UPDATE pending SET {damage} WHERE id = 'key-7'")
        recovered = read(written)
        assert len(recovered.corrupted) == 1
        assert recovered.keys == tuple(key for key in KEYS if key.id != "key-7")
        assert read(written).corrupted == ()
        ((reason,),) = sql(written, "SELECT reason FROM set_aside")
        assert reason == recovered.corrupted[0]

    @pytest.mark.parametrize("content", [b"not a database" * 100, b"SQLite format 3\0" * 40])
    def test_a_file_that_is_no_database_is_set_aside(self, path: Path, content: bytes) -> None:
        """A new journal begins, and every such file is kept under a name of its own."""
        for number in (1, 2):
            path.write_bytes(content)
            path.chmod(0o600)
            recovered = read(path)
            assert recovered.keys == ()
            assert recovered.file_set_aside == f"{path}.corrupt-{number}"
            assert Path(recovered.file_set_aside).read_bytes() == content
            write(path, KEYS[:3])
            assert read(path).keys == tuple(KEYS[:3])

    def test_an_empty_file_is_a_new_journal(self, path: Path) -> None:
        """A crash right after the file was made leaves one."""
        path.touch(mode=0o600)
        assert read(path).file_set_aside is None

    def test_what_a_malformed_file_still_gives_is_saved(self, written: Path) -> None:
        """A page in the middle is lost, and the keys on both sides of it are not."""
        content = bytearray(written.read_bytes())
        middle = next(
            at for at in range(0, len(content), 4096) if KEYS[100].material in content[at:][:4096]
        )
        content[middle : middle + 4096] = bytes(4096)
        written.write_bytes(content)
        recovered = read(written)
        assert recovered.file_set_aside is not None
        assert 100 < len(recovered.keys) < 200
        assert set(recovered.keys) < set(KEYS)
        assert (recovered.keys[0], recovered.keys[-1]) == (KEYS[0], KEYS[-1])
        assert read(written).keys == recovered.keys

    @pytest.mark.parametrize("seed", range(20))
    def test_no_damage_of_the_log_makes_another_key(self, path: Path, seed: int) -> None:
        """A crash leaves the log beside the file; whatever changes in it, the start succeeds."""
        rng = random.Random(seed)
        file = JournalFile.open(path, lock_wait_s=0.0)
        for key in KEYS[:50]:
            file.carry_out([lambda file, key=key: file.append([key])])
        crashed = path.parent / "crashed"
        crashed.mkdir(mode=0o700)
        files = [path, path.with_name("journal.sqlite-wal")]
        subprocess.run(["cp", "-p", *files, crashed], check=True)
        file.close()
        log = crashed / "journal.sqlite-wal"
        content = bytearray(log.read_bytes())
        for _ in range(rng.choice([0, 1, 50])):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        log.write_bytes(content[: rng.choice([len(content), rng.randrange(len(content))])])
        recovered = read(crashed / path.name)
        assert recovered.keys == tuple(KEYS[: len(recovered.keys)])
        write(crashed / path.name, KEYS)
        assert set(read(crashed / path.name).keys) == set(KEYS)

    @pytest.mark.parametrize("seed", range(60))
    def test_no_damage_makes_another_key(self, written: Path, seed: int) -> None:
        """Wherever bytes change, what comes back is as it was written, or the start is refused."""
        rng = random.Random(seed)
        content = bytearray(written.read_bytes())
        for _ in range(rng.choice([1, 5, 100])):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        written.write_bytes(content[: rng.choice([len(content), rng.randrange(len(content))])])
        try:
            recovered = read(written)
        except JournalError:
            return
        assert set(recovered.keys) <= set(KEYS)
        assert len(set(recovered.keys)) == len(recovered.keys)
        missing = len(KEYS) - len(recovered.keys)
        assert missing == 0 or recovered.corrupted or recovered.file_set_aside
        write(written, KEYS)
        assert set(read(written).keys) == set(KEYS)
