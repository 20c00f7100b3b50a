"""The entries of the memory, and cachetools' cache that holds the ones which may be evicted."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cachetools import Cache, TLRUCache

from ftrepo.keys import PublicKey

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ftrepo.interface import Clock


class Entry:
    """A key, and when the primary last confirmed it.

    The time is kept as POSIX seconds: a float takes 24 bytes where a datetime takes 56, and holds
    microseconds exactly until the year 2242.
    """

    __slots__ = ("confirmed_s", "key")

    def __init__(self, key: PublicKey, confirmed: datetime) -> None:
        self.key = key
        self.confirmed_s = confirmed.timestamp()

    @property
    def nbytes(self) -> int:
        """The memory of the entry and its key."""
        return _ENTRY_BYTES + len(self.key.id) + len(self.key.material)


# An entry and its key, less the characters of the id and of the material: the sum of
# `sys.getsizeof` on CPython 3.11, and 8 bytes more than on 3.12 and 3.13. A constant, so that the
# same run gives the same figure on every Python.
_ENTRY_BYTES = 322
# The tables around one entry. Measured with tracemalloc at 1,000 to 100,000 keys, these lie between
# 150 and 210, and between 20 and 45: a table doubles when it is full.
RECENT_BYTES = 180
PINNED_BYTES = 30


class RecentlyUsed(TLRUCache[str, Entry, datetime]):
    """cachetools' cache, keeping books on what enters and leaves it.

    Attributes:
        nbytes: the memory of what it holds.
        expired: how many keys it dropped at the end of their own time, to be reported and reset.
    """

    def __init__(self, now: Clock, entries_max: int | None, ttl_s: float | None) -> None:
        maxsize = math.inf if entries_max is None else entries_max
        super().__init__(maxsize, self._until, timer=now)
        # A time to live that rounds to nothing would drop a key on its way in.
        ttl = None if ttl_s is None else timedelta(seconds=ttl_s)
        self._ttl = None if ttl is None else max(ttl, timedelta.resolution)
        self.nbytes = 0
        self.expired = 0

    @property
    def has_ttl(self) -> bool:
        """Whether entries may leave before their keys expire."""
        return self._ttl is not None

    def _until(self, _key_id: str, entry: Entry, now: datetime) -> datetime:
        expires = entry.key.expires
        return expires if self._ttl is None else min(expires, now + self._ttl)

    def add(self, entry: Entry) -> None:
        """Take an entry whose id is lacking and whose key has not expired."""
        self[entry.key.id] = entry
        self.nbytes += RECENT_BYTES + entry.nbytes

    def take(self, key_id: str) -> Entry | None:
        """Remove and return an unexpired entry."""
        entry = self.pop(key_id, None)
        if entry is not None:
            self.nbytes -= RECENT_BYTES + entry.nbytes
        return entry

    def peek(self, key_id: str) -> Entry | None:
        """Return an entry, expired or not, without counting that as a use."""
        try:
            return Cache.__getitem__(self, key_id)
        except KeyError:
            return None

    def entries(self) -> Iterator[Entry]:
        """Every entry, expired or not, without counting that as a use."""
        return (Cache.__getitem__(self, key_id) for key_id in Cache.__iter__(self))

    def entries_held(self) -> int:
        """How many entries there are, expired or not."""
        return Cache.__len__(self)

    def popitem(self) -> tuple[str, Entry]:
        """Evict the least recently used entry; cachetools calls this when it needs room."""
        key_id, entry = super().popitem()
        self.nbytes -= RECENT_BYTES + entry.nbytes
        return key_id, entry

    def expire(self, time: datetime | None = None) -> list[tuple[str, Entry]]:
        """Drop what has expired; cachetools calls this before each insertion."""
        now = self.timer() if time is None else time
        dropped = list(super().expire(now))
        for _, entry in dropped:
            self.nbytes -= RECENT_BYTES + entry.nbytes
            self.expired += now >= entry.key.expires
        return dropped
