"""SqliteJournal: pending writes on the disk, so that acknowledged keys survive the process.

SQLite blocks, so it has a thread of its own: never the event loop, and never the loop's executor,
where a disk that hangs would take the place of others. The thread takes whatever waits, carries it
out in one transaction, in the order of the calls, and reports back: however many callers wait, they
share one synchronisation of the disk.

::

    loop    append ─┐  append ─┐  remove ─┐                 ┌─▶ futures
    thread          └──────────┴──────────┴─▶ one commit ───┘
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ftrepo.errors import JournalError, JournalFullError, PolicyError
from ftrepo.interface import Recovered
from ftrepo.journal.file import JournalFile, Step
from ftrepo.keys import PublicKey

GROUP_MAX = 1000
"""The most calls that share one transaction, so that the first of them does not wait for ever."""

LOCK_WAIT_S = 1.0
"""How long the opening waits for the process before this one to let the file go."""


class SqliteJournal:
    """A `Journal` in one SQLite file.

    Its bound is on keys: about 200 bytes each on the disk, if they are Ed25519. Beyond it `append`
    fails, and the key is as durable as memory.

    Args:
        path: the file, made if there is none; its folder must exist and not be open to everybody.
            Every instance needs a file of its own, on a disk that it finds again when it restarts.
        entries_max: the most keys that it holds, at least 1; `None` for no bound.
        lock_wait_s: how long `open` waits for another process to let the file go.

    Raises:
        PolicyError: `entries_max` is below 1.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        entries_max: int | None = 100_000,
        lock_wait_s: float = LOCK_WAIT_S,
    ) -> None:
        if entries_max is not None and entries_max < 1:
            raise PolicyError(f"entries_max = {entries_max} is not possible; allowed: 1 or more")
        self.path = Path(path)
        self._entries_max = entries_max
        self._rows: set[str] = set()
        # How many reasons there are to count an id: one for its row, one for each append of it
        # that is on its way. Adding them up is what keeps the bound without counting anew.
        self._reasons: Counter[str] = Counter()
        self._writer = _Writer(self.path, lock_wait_s)

    def __len__(self) -> int:
        return len(self._reasons)

    async def open(self) -> Recovered:
        """Open the file and return what it holds; see `Journal.open`."""
        recovered = await self._writer.start()
        self._rows.update(key.id for key in recovered.keys)
        self._reasons.update(self._rows)
        return recovered

    def append(self, keys: Sequence[PublicKey]) -> asyncio.Future[None]:
        """Write keys; see `Journal.append`."""
        ids = {key.id for key in keys}
        new = sum(key_id not in self._reasons for key_id in ids)
        if self._entries_max is not None and len(self) + new > self._entries_max:
            return self._writer.refuse(
                JournalFullError(
                    f"the journal holds {len(self)} keys and may hold {self._entries_max}; "
                    f"{new} more were not written to it"
                )
            )

        def ended(*, done: bool) -> None:
            rows = ids - self._rows if done else set()
            self._rows |= rows
            self._no_longer_count(ids - rows)

        self._reasons.update(ids)
        return self._writer.submit(lambda file: file.append(keys), ended)

    def remove(self, key_ids: Sequence[str]) -> asyncio.Future[None]:
        """Take keys out; see `Journal.remove`."""

        def ended(*, done: bool) -> None:
            if done:
                rows = self._rows.intersection(key_ids)
                self._rows -= rows
                self._no_longer_count(rows)

        return self._writer.submit(lambda file: file.remove(key_ids), ended)

    def _no_longer_count(self, ids: Collection[str]) -> None:
        """Take away one reason for each id."""
        for key_id in ids:
            self._reasons[key_id] -= 1
            if not self._reasons[key_id]:
                del self._reasons[key_id]

    async def close(self) -> None:
        """Write what is on its way and close the file; see `Journal.close`."""
        await self._writer.stop()

    def kill(self) -> None:
        """Write nothing more; the file is closed when the thread comes to it."""
        self._writer.kill()


class _Ended(Protocol):
    def __call__(self, *, done: bool) -> None: ...


class _Call(NamedTuple):
    """One `append` or `remove` on its way through the thread.

    `ended` keeps the books, whether or not anybody still waits for `future`.
    """

    step: Step
    ended: _Ended
    future: asyncio.Future[None]


class _Writer:
    """The thread that owns the file. Started once, stopped once."""

    def __init__(self, path: Path, lock_wait_s: float) -> None:
        self._path = path
        self._lock_wait_s = lock_wait_s
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._killed = False

    async def start(self) -> Recovered:
        if self._thread is not None:
            raise JournalError(f"the journal {self._path} was opened before; make another object")
        self._loop = asyncio.get_running_loop()
        self._stopped: asyncio.Future[None] = self._loop.create_future()
        opened: asyncio.Future[Recovered] = self._loop.create_future()
        # A daemon: a disk that hangs may not keep the interpreter from ending.
        self._thread = threading.Thread(
            target=self._run, args=(opened,), name="ftrepo journal", daemon=True
        )
        self._thread.start()
        try:
            return await opened
        except asyncio.CancelledError:
            self.kill()
            raise

    def submit(self, step: Step, ended: _Ended) -> asyncio.Future[None]:
        if self._thread is None or self._stopping:
            ended(done=False)
            return self.refuse(JournalError(f"the journal {self._path} is not open"))
        future: asyncio.Future[None] = self._loop.create_future()
        self._calls.put(_Call(step, ended, future))
        return future

    def refuse(self, error: JournalError) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_exception(error)
        return future

    async def stop(self) -> None:
        if self._thread is None:
            return
        self._stopping = True
        self._calls.put(None)
        await asyncio.shield(self._stopped)

    def kill(self) -> None:
        self._stopping = self._killed = True
        self._calls.put(None)

    def _run(self, opened: asyncio.Future[Recovered]) -> None:
        """Be the thread: open the file, carry out what comes, close it."""
        try:
            file = JournalFile.open(self._path, lock_wait_s=self._lock_wait_s)
        except BaseException as error:
            self._tell(_settle, opened, None, error)
        else:
            self._tell(_settle, opened, file.recovered, None)
            while self._carry_out(file, self._next_group()):
                pass
            file.close()
        self._tell(_settle, self._stopped, None, None)

    def _next_group(self) -> list[_Call | None]:
        """Wait for a call and take those that came meanwhile; a `None` ends it all."""
        group = [self._calls.get()]
        with suppress(queue.Empty):
            while len(group) < GROUP_MAX and group[-1] is not None:
                group.append(self._calls.get_nowait())
        return group

    def _carry_out(self, file: JournalFile, group: list[_Call | None]) -> bool:
        """Carry out one group and report it. False if it was the last one."""
        if self._killed:
            return False
        calls = [call for call in group if call is not None]
        if calls:
            error: JournalError | None = None
            try:
                file.carry_out(call.step for call in calls)
            except JournalError as failure:
                error = failure
            self._tell(_settle_all, calls, error)
        return len(calls) == len(group)

    def _tell(self, function: Callable[..., None], *arguments: object) -> None:
        # The loop may be closed already: then nobody waits.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)


def _settle_all(calls: Sequence[_Call], error: JournalError | None) -> None:
    for call in calls:
        call.ended(done=error is None)
        _settle(call.future, None, error)


def _settle(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if future.done():
        return  # Whoever waited has cancelled.
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
