"""The entries of the memory that may be evicted: expired ones go first, then the longest unused.

A dict in the order of use, and a heap in the order of leaving. What leaves the dict early stays in
the heap until its time or the next clearing, so each step costs what it costs in the two.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ftrepo.keys import PublicKey

if TYPE_CHECKING:
    from collections.abc import Iterator


class Entry:
    """A key, when it leaves the memory, and when the primary last confirmed it.

    The last is kept as POSIX seconds: a float takes 24 bytes where a datetime takes 56, and holds
    microseconds exactly until the year 2242.
    """

    __slots__ = ("confirmed_s", "key", "leaves")

    def __init__(self, key: PublicKey, confirmed: datetime) -> None:
        self.key = key
        self.leaves = key.expires
        self.confirmed_s = confirmed.timestamp()

    @property
    def nbytes(self) -> int:
        """The memory of the entry and its key."""
        return _ENTRY_BYTES + len(self.key.id) + len(self.key.material)


# An entry and its key, less the characters of the id and of the material: the sum of
# `sys.getsizeof` on CPython 3.11, and 8 bytes more than on 3.12 and 3.13. A constant, so that the
# same run gives the same figure on every Python.
_ENTRY_BYTES = 330
# The tables around one entry. Measured with tracemalloc at 1,000 to 100,000 keys, these lie between
# 95 and 155, and between 20 and 45: a table doubles when it is full.
RECENT_BYTES = 125
PINNED_BYTES = 30

_HEAP_SPARE = 64
"""How many entries the heap may have that have left, besides as many as are there."""


class RecentlyUsed:
    """Entries by the id of their key, at most so many.

    Args:
        entries_max: the most entries; `None` for no bound.
        ttl_s: how long an entry stays after it was added; `None` until its key expires.

    Attributes:
        nbytes: the memory of what is held.
        expired: how many keys were dropped at the end of their own time, to be reported and reset.
    """

    def __init__(self, entries_max: int | None, ttl_s: float | None) -> None:
        self.entries_max = math.inf if entries_max is None else entries_max
        # A time to live that rounds to nothing would drop a key on its way in.
        ttl = None if ttl_s is None else timedelta(seconds=ttl_s)
        self._ttl = None if ttl is None else max(ttl, timedelta.resolution)
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._leaving: list[tuple[datetime, str]] = []
        self.nbytes = 0
        self.expired = 0

    def __len__(self) -> int:
        """How many entries there are, those that should have left included."""
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        """Every entry, those that should have left included, the longest unused first."""
        return iter(self._entries.values())

    def use(self, key_id: str, now: datetime) -> Entry | None:
        """Return an entry that has not left, and count that as a use."""
        entry = self._entries.get(key_id)
        if entry is None or entry.leaves <= now:
            return None
        self._entries.move_to_end(key_id)
        return entry

    def peek(self, key_id: str) -> Entry | None:
        """Return an entry, even if it should have left, without counting that as a use."""
        return self._entries.get(key_id)

    def add(self, entry: Entry, now: datetime) -> None:
        """Take an entry whose id is lacking and whose key has not expired, as the last one used."""
        if self._ttl is not None:
            entry.leaves = min(entry.key.expires, now + self._ttl)
        if self._leaving and self._leaving[0][0] <= now:
            self.expire(now)
        if len(self._entries) >= self.entries_max:
            _, oldest = self._entries.popitem(last=False)
            self._forget(oldest)
        self._entries[entry.key.id] = entry
        self.nbytes += RECENT_BYTES + entry.nbytes
        if len(self._leaving) > 2 * len(self._entries) + _HEAP_SPARE:
            self._leaving = [(each.leaves, key_id) for key_id, each in self._entries.items()]
            heapq.heapify(self._leaving)
        else:
            heapq.heappush(self._leaving, (entry.leaves, entry.key.id))

    def take(self, key_id: str, now: datetime) -> Entry | None:
        """Remove and return an entry that has not left."""
        entry = self._entries.get(key_id)
        if entry is None or entry.leaves <= now:
            return None
        del self._entries[key_id]
        self._forget(entry)
        return entry

    def expire(self, now: datetime) -> None:
        """Drop every entry whose time is up."""
        while self._leaving and self._leaving[0][0] <= now:
            leaves, key_id = heapq.heappop(self._leaving)
            entry = self._entries.get(key_id)
            if entry is not None and entry.leaves == leaves:
                del self._entries[key_id]
                self._forget(entry)
                self.expired += entry.key.expires <= now

    def _forget(self, entry: Entry) -> None:
        self.nbytes -= RECENT_BYTES + entry.nbytes
