"""Pending writes: keys that the primary has not confirmed yet. Bookkeeping, without any pace.

A key enters *before* its first write is tried and leaves only when the primary has confirmed it, so
there is no moment at which a failed `create` could slip between "failed" and "remembered". Each
entry is owned by exactly one writer at a time:

::

    reserve ──▶ WRITING ──confirm──▶ gone          (its own `create` is writing it)
                   │ release
                   ▼
                WAITING ──claim──▶ FLUSHING ──confirm──▶ gone
                   ▲ ▲                 │ release
           restore ┘ └─────────────────┘

A flush claims only what waits, so it never sends a key whose `create` is still on its way, and
two flushes never send the same key.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ftrepo.keys import PublicKey


class Owner(enum.Enum):
    """Who does what with a key that is held."""

    WRITING = enum.auto()
    """Its own `create` is under way, and nobody has been told yet that it is stored."""
    WAITING = enum.auto()
    """Nobody: the next flush may take it."""
    FLUSHING = enum.auto()
    """A flush has taken it."""


End = Literal["confirmed", "expired", "conflict", "shutdown"]
"""How a key left: the primary has it; or it was given up, for one of the other reasons."""


class Entry:
    """A key that is held, or was. Who met it can ask, later on, what has become of it.

    Attributes:
        key: the key.
        since_s: when it came, by the clock of the loop.
        owner: who has it, while it is held.
        end: how it left; `None` while it is held.
    """

    __slots__ = ("end", "key", "owner", "since_s")

    def __init__(self, key: PublicKey, since_s: float) -> None:
        self.key = key
        self.since_s = since_s
        self.end: End | None = None
        self.owner = Owner.WRITING


class PendingWrites:
    """The keys that the primary still has to be told of: oldest first, but for those sent back.

    `len()` counts the keys that a flush owes; those whose `create` is still under way are in
    `writing`, for nobody has been told yet that they are stored.

    Args:
        entries_max: the most keys held, those being written included; `None` for no bound.
    """

    def __init__(self, *, entries_max: int | None = None) -> None:
        self.entries_max = entries_max
        self._entries: dict[str, Entry] = {}  # In the order in which a flush takes them.
        self._by_age: dict[str, Entry] = {}  # The same, in the order in which they came.
        self._writing = 0
        self._gone: dict[str, asyncio.Future[None]] = {}

    def __len__(self) -> int:
        return len(self._entries) - self._writing

    def __contains__(self, key_id: object) -> bool:
        return key_id in self._entries

    @property
    def writing(self) -> int:
        """How many keys are being written by their own `create`."""
        return self._writing

    def get(self, key_id: str) -> PublicKey | None:
        """Return the key under this id, whoever owns it, or `None`. It may have expired."""
        entry = self._entries.get(key_id)
        return entry.key if entry is not None else None

    def entry(self, key_id: str) -> Entry | None:
        """Return what is held under this id, or `None`."""
        return self._entries.get(key_id)

    def keys(self) -> list[PublicKey]:
        """Every key held, in the order in which a flush takes them. Some may have expired."""
        return [entry.key for entry in self._entries.values()]

    def key_ids(self) -> list[str]:
        """The ids of every key held, in the order in which a flush takes them."""
        return list(self._entries)

    def oldest_since_s(self) -> float | None:
        """When the oldest key that a flush owes entered, or `None` if nothing waits."""
        # Only those that are being written just now can stand before it.
        owed = (e.since_s for e in self._by_age.values() if e.owner is not Owner.WRITING)
        return next(owed, None)

    def reserve(self, key: PublicKey, now_s: float) -> bool:
        """Take a key in before its first write; the caller now owns it.

        Returns:
            False if the key is held already or the bound is reached; the caller then owns nothing.
        """
        if key.id in self._entries or self.is_full():
            return False
        self._entries[key.id] = self._by_age[key.id] = Entry(key, now_s)
        self._writing += 1
        return True

    def restore(self, key: PublicKey, now_s: float) -> None:
        """Let a key wait that an earlier process had acknowledged.

        The bound is not asked: to refuse the key would be to lose it. New keys are refused until
        there is room again. Does nothing if the key is held already.
        """
        if key.id not in self._entries:
            self._entries[key.id] = self._by_age[key.id] = entry = Entry(key, now_s)
            entry.owner = Owner.WAITING

    def is_full(self) -> bool:
        """Whether the bound is reached."""
        return self.entries_max is not None and len(self._entries) >= self.entries_max

    def release(self, key_ids: Iterable[str], *, to_back: bool = False) -> None:
        """Give keys back unconfirmed: they wait for the next flush.

        Args:
            key_ids: unknown ids and ids that wait already are passed over.
            to_back: let every other key go first, so that one that never succeeds delays nobody.
        """
        for key_id in key_ids:
            entry = self._entries.get(key_id)
            if entry is None:
                continue
            if entry.owner is Owner.WRITING:
                self._writing -= 1
            entry.owner = Owner.WAITING
            if to_back:
                self._entries[key_id] = self._entries.pop(key_id)

    def claim(self, limit: int, now: datetime) -> list[PublicKey]:
        """Hand the next waiting keys to a flush, which must remove or release each.

        Expired ones are passed over, and left to `remove_expired`.
        """
        claimed: list[PublicKey] = []
        for entry in self._entries.values():
            if len(claimed) >= limit:
                break
            if entry.owner is Owner.WAITING and not entry.key.has_expired(now):
                entry.owner = Owner.FLUSHING
                claimed.append(entry.key)
        return claimed

    def remove(self, key_id: str, end: End = "confirmed") -> bool:
        """Let a key go: the primary has it, or will never take it. True if it was here."""
        entry = self._entries.pop(key_id, None)
        if entry is None:
            return False
        entry.end = end
        del self._by_age[key_id]
        if entry.owner is Owner.WRITING:
            self._writing -= 1
        if key_id in self._gone:
            self._gone.pop(key_id).set_result(None)
        return True

    async def until_gone(self, key_id: str) -> None:
        """Wait until a key is not held: the primary has it, or it was given up.

        Returns at once if it is not held now.
        """
        if key_id in self._entries:
            if key_id not in self._gone:
                self._gone[key_id] = asyncio.get_running_loop().create_future()
            # Several may wait for one key, and any of them may stop waiting.
            await asyncio.shield(self._gone[key_id])

    def remove_if_expired(self, key_id: str, now: datetime) -> bool:
        """Let go of the key under this id if it waits and has expired. True if it was let go."""
        entry = self._entries.get(key_id)
        if entry is None or entry.owner is not Owner.WAITING or not entry.key.has_expired(now):
            return False
        return self.remove(key_id, "expired")

    def remove_expired(self, now: datetime) -> list[PublicKey]:
        """Let go of every expired key that waits, and return them.

        A key that a writer owns is left to it: its write was sent while the key was valid.
        """
        expired = [
            entry.key
            for entry in self._entries.values()
            if entry.owner is Owner.WAITING and entry.key.has_expired(now)
        ]
        for key in expired:
            self.remove(key.id, "expired")
        return expired
