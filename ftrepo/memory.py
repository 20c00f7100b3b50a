"""InMemoryRepository: keys in one process's memory, bounded, least recently used out first.

Keys that may be evicted are in `RecentlyUsed`; pinned ones, which must not be, sit in a dict beside
it. Nothing here awaits, so no other task can come in between: the
asynchronous methods are the synchronous ones in the form that the interface asks for.
"""

from __future__ import annotations

import heapq
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ftrepo.errors import KeyConflictError, KeyExpiredError, KeyNotFoundError, PolicyError
from ftrepo.interface import Durability
from ftrepo.recently_used import PINNED_BYTES, Entry, RecentlyUsed
from ftrepo.settings import SECONDS_MAX

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from ftrepo.interface import Clock
    from ftrepo.keys import PublicKey


class InMemoryRepository:
    """Public keys in memory. Implements `PrimaryStore`, over a faster synchronous core.

    A pinned key waits to be written to the primary, so neither the bound nor `ttl_s` takes it
    away. It is not counted against the bound either: memory holds at most `entries_max` keys and,
    on top, the pinned ones, which `Policy.pending_max` bounds. It still expires at its own time.

    An expired key is never returned. It leaves memory when the next key is put, or at
    `purge_expired`.

    Args:
        now: the calendar time, with a time zone.
        entries_max: the most keys that are not pinned, at least 1; `None` is unbounded. A full
            memory forgets expired keys first, then the least recently used one.
        ttl_s: seconds that a key stays after it was put or unpinned; `None` keeps it until it
            expires or is evicted.

    Raises:
        PolicyError: `entries_max` or `ttl_s` is out of bounds.
    """

    def __init__(
        self, *, now: Clock, entries_max: int | None = 10_000, ttl_s: float | None = None
    ) -> None:
        if entries_max is not None and entries_max < 1:
            raise PolicyError(f"entries_max = {entries_max} is not possible; allowed: 1 or more")
        if ttl_s is not None and not 0 < ttl_s <= SECONDS_MAX:
            raise PolicyError(
                f"ttl_s = {ttl_s} is not possible; allowed: seconds above 0, up to {SECONDS_MAX:g}"
            )
        self._now = now
        self._recent = RecentlyUsed(entries_max, ttl_s)
        self._pinned: dict[str, Entry] = {}
        self._pinned_bytes = 0

    def lookup(self, key_id: str) -> PublicKey | None:
        """Return the unexpired key with this id and count it as used; `None` if there is none."""
        if self._pinned and (entry := self._pinned.get(key_id)) is not None:
            return entry.key if self._now() < entry.key.expires else None
        entry = self._recent.use(key_id, self._now())
        return None if entry is None else entry.key

    def put(self, key: PublicKey) -> bool:
        """Take a key, confirmed now, as the most recently used. Returns whether it was lacking.

        A key that is there already stays as it is, its times and its confirmation included: what
        comes second may be the older one. That does not count as a use.

        Raises:
            KeyExpiredError: the key's time has passed.
            KeyConflictError: the id is bound to other material, which is kept.
        """
        now = self._now()
        if now >= key.expires:
            raise KeyExpiredError(f"key {key.id!r} expired at {key.expires.isoformat()}")
        self._recent.expire(now)
        held = self._held(key.id)
        if held is not None and now < held.key.expires:
            if not held.key.same_material(key):
                raise KeyConflictError(
                    f"id {key.id!r} is bound to other key material, which is kept"
                )
            return False
        entry = Entry(key, now)
        if held is None:
            self._recent.add(entry, now)
        else:  # an expired key that is still pinned: the pin goes over to its successor
            self._unhold(held)
            self._recent.expired += 1
            self._hold(entry)
        return True

    def recall(self, keys: Iterable[PublicKey], *, at: datetime) -> int:
        """Take keys that an earlier process held, confirmed then and not now.

        Those that have expired are left out, and what memory has already stays as it is. They may
        fill memory, and evict nothing.

        Args:
            keys: as they were saved.
            at: when.

        Returns:
            How many were taken.
        """
        taken = 0
        for key in keys:
            if self.is_full:
                break
            if key.has_expired(self._now()) or self._held(key.id) is not None:
                continue
            self._recent.add(Entry(key, at), self._now())
            taken += 1
        return taken

    def valid_keys(self) -> list[PublicKey]:
        """Every unexpired key. That is no use of them."""
        now = self._now()
        return [entry.key for entry in self._entries() if now < entry.key.expires]

    def lookup_all(self) -> list[PublicKey]:
        """Return what `lookup` would for every id; without those that `ttl_s` has taken away.

        That is no use of them.
        """
        now = self._now()
        keys = [entry.key for entry in self._recent if now < entry.leaves]
        keys += [entry.key for entry in self._pinned.values() if now < entry.key.expires]
        return keys

    def discard(self, key_id: str) -> bool:
        """Forget a key, pinned or not. Returns whether memory held it."""
        entry = self._pinned.get(key_id)
        if entry is None:
            return self._recent.take(key_id, self._now()) is not None
        self._unhold(entry)
        return True

    def pin(self, key_id: str) -> bool:
        """Keep a key from being evicted until `unpin`. Returns whether memory holds it, pinned."""
        if key_id in self._pinned:
            return True
        entry = self._recent.take(key_id, self._now())
        if entry is None:
            return False
        self._hold(entry)
        return True

    def unpin(self, key_id: str) -> None:
        """Let a pinned key be evicted again; it counts as the most recently used.

        Does nothing if the key is not pinned.
        """
        entry = self._pinned.get(key_id)
        if entry is not None:
            self._let_go(entry, self._now())

    def unpin_all(self, key_ids: Iterable[str]) -> None:
        """Do `unpin` and `confirm` for many keys; a flush has thousands at a time."""
        now = self._now()
        confirmed_s = now.timestamp()
        for key_id in key_ids:
            entry = self._pinned.get(key_id)
            if entry is not None:
                entry.confirmed_s = max(entry.confirmed_s, confirmed_s)
                self._let_go(entry, now)

    def _let_go(self, pinned: Entry, now: datetime) -> None:
        self._unhold(pinned)
        if now < pinned.key.expires:
            self._recent.add(pinned, now)
        else:
            self._recent.expired += 1

    def confirm(self, key_id: str, *, at: datetime | None = None) -> None:
        """Note that the primary has the key. Does nothing if memory does not hold it.

        Args:
            key_id: the key that was confirmed.
            at: when; `None` is now. An earlier time than the one known changes nothing.
        """
        entry = self._held(key_id)
        if entry is not None:
            time = self._now() if at is None else at
            entry.confirmed_s = max(entry.confirmed_s, time.timestamp())

    def confirm_same(self, key: PublicKey, now: datetime) -> bool:
        """Note that the primary has this very key. False if memory has not, or has it otherwise.

        Args:
            key: as the primary returned it.
            now: the calendar time, which whoever asks has read already.
        """
        held = self._recent.peek(key.id)
        if held is None or now >= held.leaves or not held.key.same_material(key):
            return False
        held.confirmed_s = now.timestamp()
        return True

    def confirm_all(self, keys: Iterable[PublicKey]) -> list[PublicKey]:
        """Note that the primary has these very keys; a refresh asks for thousands at a time.

        Returns:
            Those that were not confirmed, because memory has no unexpired key under the id, or
            one of other material.
        """
        now = self._now()
        confirmed_s = now.timestamp()
        others = []
        for key in keys:
            held = self._held(key.id)
            if (
                held is None
                or now >= held.key.expires
                or not (held.key is key or held.key.same_material(key))
                or (now >= held.leaves and key.id not in self._pinned)
            ):
                others.append(key)
            else:
                held.confirmed_s = confirmed_s
        return others

    def confirmed_at(self, key_id: str) -> datetime | None:
        """Return when the primary last confirmed a key, or when it was put if that is later.

        `None` if memory does not hold it. That does not count as a use.
        """
        entry = self._held(key_id)
        return None if entry is None else datetime.fromtimestamp(entry.confirmed_s, UTC)

    def purge_expired(self) -> int:
        """Free the memory of every expired key, pinned ones included.

        Returns:
            How many expired keys have left memory since this was last called: `put` clears
            expired keys away too.
        """
        now = self._now()
        self._recent.expire(now)
        for entry in [e for e in self._pinned.values() if now >= e.key.expires]:
            self._unhold(entry)
            self._recent.expired += 1
        purged, self._recent.expired = self._recent.expired, 0
        return purged

    def __contains__(self, key_id: object) -> bool:
        """Say whether there is an unexpired key with this id. That does not count as a use."""
        pinned = self._pinned.get(key_id)  # type: ignore[call-overload]
        if pinned is not None:
            return bool(self._now() < pinned.key.expires)
        entry = self._recent.peek(key_id)  # type: ignore[arg-type]
        return bool(entry is not None and self._now() < entry.leaves)

    def __len__(self) -> int:
        """Return how many keys memory holds, expired ones that are not yet purged included."""
        return len(self._recent) + len(self._pinned)

    @property
    def is_full(self) -> bool:
        """Whether the next key would evict another one, unless that has expired."""
        return len(self._recent) >= self._recent.entries_max

    @property
    def nbytes(self) -> int:
        """An estimate of the memory in use, keys included; within 15% from 1,000 keys on.

        A full memory that evicts in another order than that of expiry takes up to a quarter more:
        the heap is cleared of evicted entries only when they outnumber the others.
        """
        return self._recent.nbytes + self._pinned_bytes

    async def create(self, key: PublicKey) -> Durability:
        """Store a key, as `put` does."""
        self.put(key)
        return Durability.MEMORY

    async def create_many(self, keys: Sequence[PublicKey]) -> Collection[str]:
        """Store a batch and return the ids that are bound to other material."""
        conflicts = set()
        for key in keys:
            try:
                self.put(key)
            except KeyConflictError:
                conflicts.add(key.id)
            except KeyExpiredError:
                continue  # the caller's to leave out; it may have expired on the way
        return conflicts

    async def get(self, key_id: str) -> PublicKey:
        """Return the unexpired key with this id.

        Raises:
            KeyNotFoundError: there is none.
        """
        key = self.lookup(key_id)
        if key is None:
            raise KeyNotFoundError(f"memory has no unexpired key {key_id[:200]!r}")
        return key

    async def delete_expired(self) -> int:
        """Delete every expired key and return how many, as `purge_expired` does."""
        return self.purge_expired()

    async def list_valid(self, *, after: str | None, limit: int) -> Sequence[PublicKey]:
        """Return one page of the unexpired keys, in the order of their ids; that is no use.

        Raises:
            ValueError: `limit` is below 1.
        """
        if limit < 1:
            raise ValueError(f"limit = {limit} is not possible; allowed: 1 or more")
        now = self._now()
        self._recent.expire(now)
        valid = (e.key for e in self._entries() if now < e.key.expires)
        if after is not None:
            valid = (key for key in valid if key.id > after)
        return heapq.nsmallest(limit, valid, key=lambda key: key.id)

    async def ping(self) -> None:
        """Return: memory always takes a write."""

    def _entries(self) -> Iterator[Entry]:
        yield from self._recent
        yield from self._pinned.values()

    def _held(self, key_id: str) -> Entry | None:
        return self._pinned.get(key_id) or self._recent.peek(key_id)

    def _hold(self, entry: Entry) -> None:
        self._pinned[entry.key.id] = entry
        self._pinned_bytes += PINNED_BYTES + entry.nbytes

    def _unhold(self, entry: Entry) -> None:
        del self._pinned[entry.key.id]
        self._pinned_bytes -= PINNED_BYTES + entry.nbytes
