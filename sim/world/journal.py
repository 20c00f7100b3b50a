"""The simulated journal and snapshot: a disk that outlives the instance, in virtual time.

They are the fakes of `sim` for `ftrepo.SqliteJournal` and `ftrepo.FileSnapshot`, and pass the same
contract suites. What matters
about a disk is here: a commit takes time and carries whatever waits for it, a crash loses what was
not committed, a full disk refuses and a hanging one does not answer.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from ftrepo.errors import JournalError, JournalFullError, JournalLockedError
from ftrepo.interface import Recovered, Saved
from ftrepo.keys import PublicKey

COMMIT_S = 0.001
"""How long a commit takes: an assumption, a solid-state disk that keeps its promise."""


class SimulatedDisk:
    """What is left when an instance dies.

    Attributes:
        rows: the committed keys, by id, in the order of their appending.
        holder: the journal that has it open.
        is_full: whether every commit fails.
        hangs_until_s: no commit ends before this moment.
        saved: the snapshot.
    """

    def __init__(self) -> None:
        self.rows: dict[str, PublicKey] = {}
        self.holder: SimulatedJournal | None = None
        self.is_full = False
        self.hangs_until_s = 0.0
        self.saved: Saved | None = None


class _Call(NamedTuple):
    """One `append` or `remove` on its way to the disk."""

    write: Callable[[], None]
    appended: Collection[str]
    future: asyncio.Future[None]


class SimulatedJournal:
    """A `Journal` on a simulated disk; every instance needs one of its own.

    Args:
        disk: the disk.
        commit_s: yields how long one commit after another takes.
        entries_max: the most keys that it holds; `None` for no bound.
    """

    def __init__(
        self,
        disk: SimulatedDisk,
        *,
        commit_s: Iterator[float] | None = None,
        entries_max: int | None = None,
    ) -> None:
        self._disk = disk
        self._commit_s = itertools.repeat(COMMIT_S) if commit_s is None else commit_s
        self._entries_max = entries_max
        self._calls: list[_Call] = []
        self._under_way: list[_Call] = []
        self._is_open = False

    def __len__(self) -> int:
        return len(self._ids())

    async def open(self) -> Recovered:
        """Take the disk and return what is on it; see `Journal.open`."""
        if self._disk.holder is not None:
            raise JournalLockedError("another instance has the simulated journal open")
        self._disk.holder = self
        self._is_open = True
        await asyncio.sleep(self._pause_s())
        return Recovered(keys=tuple(self._disk.rows.values()))

    def append(self, keys: Sequence[PublicKey]) -> asyncio.Future[None]:
        """Write keys; see `Journal.append`."""
        ids = {key.id for key in keys}
        if self._entries_max is not None and len(self._ids() | ids) > self._entries_max:
            return _refused(JournalFullError(f"it may hold {self._entries_max} keys"))

        def write() -> None:
            for key in keys:
                self._disk.rows.pop(key.id, None)
                self._disk.rows[key.id] = key

        return self._submit(write, ids)

    def remove(self, key_ids: Sequence[str]) -> asyncio.Future[None]:
        """Take keys out; see `Journal.remove`."""

        def write() -> None:
            for key_id in key_ids:
                self._disk.rows.pop(key_id, None)

        return self._submit(write)

    async def close(self) -> None:
        """Commit what waits and free the disk; see `Journal.close`."""
        while self._calls or self._under_way:
            await asyncio.wait([call.future for call in self._calls + self._under_way])
        self.kill()

    def kill(self) -> None:
        """Lose what is not committed and free the disk, as the end of a process does."""
        self._is_open = False
        if self._disk.holder is self:
            self._disk.holder = None

    def _ids(self) -> set[str]:
        on_their_way = (call.appended for call in self._calls + self._under_way)
        return set(self._disk.rows).union(*on_their_way)

    def _submit(
        self, write: Callable[[], None], appended: Collection[str] = ()
    ) -> asyncio.Future[None]:
        if not self._is_open:
            return _refused(JournalError("the simulated journal is not open"))
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._calls.append(_Call(write, appended, future))
        if not self._under_way:
            self._begin()
        # The caller may cancel what it waits for; the call itself goes on.
        return asyncio.shield(future)

    def _begin(self) -> None:
        self._under_way, self._calls = self._calls, []
        asyncio.get_running_loop().call_later(self._pause_s(), self._commit)

    def _pause_s(self) -> float:
        hangs_s = self._disk.hangs_until_s - asyncio.get_running_loop().time()
        return max(next(self._commit_s), hangs_s)

    def _commit(self) -> None:
        if not self._is_open:
            return
        for call in self._under_way:
            if self._disk.is_full:
                call.future.set_exception(JournalError("the simulated disk is full"))
            else:
                call.write()
                call.future.set_result(None)
        self._under_way = []
        if self._calls:
            self._begin()


class SimulatedSnapshot:
    """A `Snapshot` on a simulated disk.

    Args:
        disk: the disk.
    """

    def __init__(self, disk: SimulatedDisk) -> None:
        self._disk = disk

    async def load(self) -> Saved | None:
        """Return what was saved last; see `Snapshot.load`."""
        await self._wait()
        return self._disk.saved

    async def save(self, keys: Sequence[PublicKey], at: datetime) -> None:
        """Replace what was saved; see `Snapshot.save`."""
        saved = Saved(keys=tuple(keys), at=at)
        await self._wait()
        if self._disk.is_full:
            raise JournalError("the simulated disk is full")
        self._disk.saved = saved

    async def _wait(self) -> None:
        hangs_s = self._disk.hangs_until_s - asyncio.get_running_loop().time()
        await asyncio.sleep(max(COMMIT_S, hangs_s))


def _refused(error: JournalError) -> asyncio.Future[None]:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.set_exception(error)
    return future
