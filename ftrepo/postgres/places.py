"""A counted set of places, given out in the order of asking."""

from __future__ import annotations

import asyncio
from collections import deque

from ftrepo.errors import PoolClosedError


class Places:
    """So many places and no more; who asked first is served first.

    Args:
        count: how many there are, at least 1.

    Attributes:
        takes: how often a place was asked for, whatever became of it.
        wait_total_s: how long all who asked have waited.
        wait_max_s: how long one of them has waited, at most.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._count = count
        self._queue: deque[tuple[asyncio.Future[None], float]] = deque()
        self._emptied = asyncio.Event()
        self._emptied.set()
        self.is_closed = False
        self.takes = 0
        self.wait_total_s = 0.0
        self.wait_max_s = 0.0

    @property
    def taken(self) -> int:
        """Places that somebody has."""
        return self._count - self._free

    @property
    def waiting(self) -> int:
        """Callers who wait for a place."""
        return sum(1 for turn, _ in self._queue if not turn.done())

    def oldest_wait_s(self, now_s: float) -> float:
        """How long the caller has waited so far who has waited longest; zero if none waits."""
        return max((now_s - since_s for turn, since_s in self._queue if not turn.done()), default=0)

    async def take(self, timeout_s: float) -> None:
        """Wait for a place, in the order of asking. Cancelled or timed out, it takes none.

        Raises:
            TimeoutError: none became free.
            PoolClosedError: the places were closed, before or while waiting.
        """
        self._refuse_if_closed()
        self.takes += 1
        if self._free:  # Then nobody waits: a place given back goes to the first who does.
            self._occupy()
            return
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        entry = (turn, loop.time())
        self._queue.append(entry)
        try:
            async with asyncio.timeout(timeout_s):
                await turn
        except BaseException:
            # A place may have been handed over in the very moment of giving up: pass it on.
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.give_back()
            raise
        finally:
            if entry in self._queue:
                self._queue.remove(entry)
            waited_s = loop.time() - entry[1]
            self.wait_total_s += waited_s
            self.wait_max_s = max(self.wait_max_s, waited_s)

    def give_back(self) -> None:
        """Return a place; the first who waits has it from this moment on."""
        self._free += 1
        while self._queue:
            turn, _ = self._queue.popleft()
            if not turn.done():
                self._occupy()
                turn.set_result(None)
                return
        if self._free == self._count:
            self._emptied.set()

    def close(self) -> None:
        """Give out no more places, and tell everyone who waits."""
        self.is_closed = True
        while self._queue:
            turn, _ = self._queue.popleft()
            if not turn.done():
                turn.set_exception(PoolClosedError("the pool of connections was closed"))

    async def all_free(self) -> None:
        """Wait until nobody has a place."""
        await self._emptied.wait()

    def _occupy(self) -> None:
        self._free -= 1
        self._emptied.clear()

    def _refuse_if_closed(self) -> None:
        if self.is_closed:
            raise PoolClosedError("the pool of connections is closed")
