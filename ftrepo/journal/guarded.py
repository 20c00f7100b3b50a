"""The one way to the journal: nothing that it does is raised to a caller, or makes one hang.

It decides nothing about keys, but keeps the books: which are in the journal, and which on their way
there, so that a key that never was in it costs no trip to the disk when the primary confirms it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Literal

from ftrepo.errors import JournalError
from ftrepo.events import Event, JournalFailed
from ftrepo.interface import Journal, Recovered

if TYPE_CHECKING:
    from ftrepo.keys import PublicKey


class GuardedJournal:
    """A journal, or none, behind time-outs.

    Args:
        journal: `None` keeps nothing, at no cost.
        append_timeout_s: how long a `create` waits for it.
        open_timeout_s: how long the start waits for it to open, and the end for it to close.
        observe: is told of every failure.
    """

    def __init__(
        self,
        journal: Journal | None,
        *,
        append_timeout_s: float,
        open_timeout_s: float,
        observe: Callable[[Event], None],
    ) -> None:
        self._journal = journal
        self._append_timeout_s = append_timeout_s
        self._open_timeout_s = open_timeout_s
        self._observe = observe
        self._appends: dict[str, asyncio.Future[None]] = {}
        """For each key in the journal, or on its way there, the append that brings it."""
        self._closed = False

    async def open(self) -> Recovered | None:
        """Open the journal and return what it holds; `None` if there is no journal.

        Raises:
            JournalError: it cannot be opened, or not in time. The service must not start as if
                there were no keys in it.
        """
        if self._journal is None:
            return None
        try:
            async with asyncio.timeout(self._open_timeout_s):
                recovered = await self._journal.open()
        except TimeoutError as error:
            raise JournalError(
                f"the journal did not open within {self._open_timeout_s} s; is its disk at fault?"
            ) from error
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        self._appends = dict.fromkeys((key.id for key in recovered.keys), done)
        return recovered

    async def keep(self, keys: Sequence[PublicKey]) -> Collection[str]:
        """Write keys, wait for that no longer than the time-out, and return which are durable.

        A write that takes longer goes on. A caller who cancels leaves it going on, too.
        """
        if self._journal is None or self._closed or not keys:
            return [key.id for key in keys if self.holds(key.id)]
        new = [key for key in keys if _has_failed(self._appends.get(key.id))]
        if new:
            written = self._journal.append(new)
            written.add_done_callback(self._report_append)
            self._appends.update((key.id, written) for key in new)
        waited_for = {key.id: self._appends[key.id] for key in keys}
        await asyncio.wait(set(waited_for.values()), timeout=self._append_timeout_s)
        kept = {key_id for key_id, append in waited_for.items() if _has_succeeded(append)}
        if not all(append.done() for append in waited_for.values()):
            self._failed("append", TimeoutError(f"no answer within {self._append_timeout_s} s"))
        return kept

    def holds(self, key_id: str) -> bool:
        """Whether a key is in the journal, durably."""
        return _has_succeeded(self._appends.get(key_id))

    def drop(self, key_id: str) -> None:
        """Take out a key that is not pending any longer, in the background.

        It comes after the key's own append, even if that has not been carried out yet.
        """
        self.drop_all((key_id,))

    def drop_all(self, key_ids: Iterable[str]) -> None:
        """Do `drop` for many keys, in one go."""
        if self._journal is None:
            return
        there = [each for each in key_ids if not _has_failed(self._appends.pop(each, None))]
        if there and not self._closed:
            self._journal.remove(there).add_done_callback(self._report_remove)

    async def close(self) -> None:
        """Have everything written and the journal closed, or give it up at the time-out."""
        if self._journal is None:
            return
        self._closed = True
        try:
            async with asyncio.timeout(self._open_timeout_s):
                await self._journal.close()
        except (TimeoutError, JournalError) as error:
            self._failed("close", error)
        finally:
            self._journal.kill()

    def kill(self) -> None:
        """Give the journal up at once, as a crash would."""
        self._closed = True
        if self._journal is not None:
            self._journal.kill()

    def _report_append(self, written: asyncio.Future[None]) -> None:
        if not written.cancelled() and (error := written.exception()) is not None:
            self._failed("append", error)

    def _report_remove(self, removed: asyncio.Future[None]) -> None:
        if not removed.cancelled() and (error := removed.exception()) is not None:
            self._failed("remove", error)

    def _failed(
        self, operation: Literal["append", "remove", "close"], error: BaseException
    ) -> None:
        self._observe(JournalFailed(operation=operation, error=error))


def _has_succeeded(append: asyncio.Future[None] | None) -> bool:
    return append is not None and append.done() and not _has_failed(append)


def _has_failed(append: asyncio.Future[None] | None) -> bool:
    """Whether there is no append, or one that came to nothing."""
    return append is None or (
        append.done() and (append.cancelled() or append.exception() is not None)
    )
