"""Who keeps a key while the primary lacks it: memory, pending writes and the journal.

A key comes into custody before its first write is tried, so that no failure can fall between the
two, and stays until the primary has it. It survives the process once it is in the journal: what one
instance leaves there, the next one takes over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from ftrepo.absent import AbsentIds
from ftrepo.errors import (
    KeyConflictError,
    KeyExpiredError,
    PendingFullError,
    PrimaryUnavailableError,
)
from ftrepo.events import ConflictSeen, Event, JournalKept, JournalRecovered, PendingDropped
from ftrepo.interface import Durability, Recovered

if TYPE_CHECKING:
    from ftrepo.interface import Clock
    from ftrepo.journal.guarded import GuardedJournal
    from ftrepo.keys import PublicKey
    from ftrepo.memory import InMemoryRepository
    from ftrepo.pending import PendingWrites
    from ftrepo.policy import Policy


class Custody:
    """Takes keys in, and lets them go when the primary has them or never will.

    It keeps the books and asks nobody: that is for the facade and the `Reconciler`.

    Attributes:
        something_waits: set when a key waits for the next flush; the `Reconciler` clears it.
        absent: ids that the primary said it does not have.

    Args:
        cache: keys in memory; every key that waits is pinned in it.
        pending: keys that the primary still has to be told of.
        journal: has those of them that were acknowledged as being on the disk.
        policy: whether keys wait at all.
        now: the calendar time.
        observe: is told of what was taken over, what was left, and what was lost.
    """

    def __init__(
        self,
        *,
        cache: InMemoryRepository,
        pending: PendingWrites,
        journal: GuardedJournal,
        policy: Policy,
        now: Clock,
        observe: Callable[[Event], None],
        learnt: asyncio.Event,
    ) -> None:
        self._cache = cache
        self._pending = pending
        self._journal = journal
        self._policy = policy
        self._now = now
        self._observe = observe
        self.something_waits = asyncio.Event()
        self.learnt = learnt
        self.absent = AbsentIds(ttl_s=policy.absent_ttl_s)
        self._refused: set[str] = set()
        """Keys that the primary will never have, as one `create` was told while another one, that
        took the key in, is still under way."""
        self._ended = False

    async def open(self) -> None:
        """Open the journal, and let every key wait that an earlier process had acknowledged.

        Raises:
            JournalError: the journal cannot be opened.
        """
        recovered = await self._journal.open()
        if recovered is not None:
            self._take_over(recovered)

    async def close(self) -> None:
        """Leave to the journal what the primary lacks; what the journal lacks too is lost."""
        try:
            await self._journal.keep(self._pending.keys())
            await self._journal.close()
        finally:
            self._ended = True
            self._part_with_pending()

    def reserve(self, key: PublicKey) -> bool:
        """Take a key in before its first write; the caller owns it if this is true."""
        if not self._policy.pending_writes:
            return False
        return self._pending.reserve(key, asyncio.get_running_loop().time())

    def take_back(self, key_id: str, *, owned: bool) -> None:
        """The primary will never have this key: neither may memory."""
        if owned or key_id not in self._pending:
            self._refused.discard(key_id)
            self._let_go(key_id)
            self._cache.discard(key_id)
        else:
            # Another `create` of the same key was acknowledged while the primary was away, or will
            # be told when it ends.
            if self._pending.is_writing(key_id):
                self._refused.add(key_id)
            self.forget(key_id, "conflict")

    def let_wait(self, key: PublicKey) -> None:
        """Leave a key that was taken in to the next flush."""
        if key.id in self._refused:
            self._refused.discard(key.id)
            return
        try:
            self._hold(key)
        except KeyConflictError:
            self._let_go(key.id)
            self._observe(ConflictSeen(key_id=key.id))
            return
        self._pending.release([key.id])
        self.something_waits.set()

    async def keep(
        self, key: PublicKey, error: PrimaryUnavailableError, *, reserved: bool
    ) -> Durability:
        """Keep a key that the primary did not confirm, and say how durable it is now.

        Raises:
            PendingFullError: no more keys may wait. Its cause is `error`.
            KeyExpiredError: the key's time has passed meanwhile.
            KeyConflictError: the id has turned out meanwhile to be bound to other material.
        """
        if reserved and key.id in self._refused:
            self._refused.discard(key.id)
            raise KeyConflictError(f"id {key.id!r} is bound to other key material") from error
        if key.has_expired(self._now()):
            if reserved:
                self.take_back(key.id, owned=True)
            raise KeyExpiredError(
                f"key {key.id!r} expired while the primary was asked; it is not kept"
            ) from error
        if key.id in self._pending:
            return await self._keep_pending(key)
        if reserved:
            return self._durability_of_gone()
        if self._policy.pending_writes:
            self._cache.discard(key.id)
            raise PendingFullError(
                f"the primary is away and pending_max={self._policy.pending_max} keys wait "
                f"already; key {key.id!r} was not stored"
            ) from error
        self._cache.put(key)
        return Durability.MEMORY

    def learn(self, keys: Sequence[PublicKey], *, evict: bool = True) -> int:
        """Take note that the primary has these keys, and put those into the cache that it lacks.

        What the cache already holds under an id is never overwritten: ids are bound for good, so
        it is either the same key or a conflict to report.

        Args:
            keys: as the primary returned them.
            evict: whether they may push other keys out of a full cache.

        Returns:
            How many are new in the cache.
        """
        added = 0
        for key in self._cache.confirm_all(keys):
            if not evict and self._cache.is_full and key.id not in self._cache:
                continue
            try:
                added += self._cache.put(key)
            except KeyExpiredError:
                continue
            except KeyConflictError:
                self._observe(ConflictSeen(key_id=key.id))
        for key in keys:
            self.absent.forget(key.id)
            held = self._pending.get(key.id)
            if held is not None and held.same_material(key):
                self.confirm(key.id)
        if added:
            self.learnt.set()
        return added

    def learn_one(self, key: PublicKey, now: datetime) -> None:
        """Do what `learn` does for one key, at little cost if there is nothing to learn."""
        # Most of the time memory has the key, and it does not wait: whoever waits is pinned.
        if not self._cache.confirm_same(key, now):
            self.learn((key,))

    def confirm(self, key_id: str) -> None:
        """Take note that the primary has committed a key that memory holds."""
        self.absent.forget(key_id)
        if self._pending.remove(key_id):
            self._cache.unpin(key_id)
        self._journal.drop(key_id)
        self._cache.confirm(key_id)
        self.learnt.set()

    def forget(self, key_id: str, reason: Literal["expired", "conflict", "shutdown"]) -> None:
        """Take note that a key will never be in the primary."""
        self._pending.remove(key_id)
        self._journal.drop(key_id)
        self._cache.discard(key_id)
        self._observe(PendingDropped(key_id=key_id, reason=reason))

    def free(self, key_id: str) -> None:
        """Make way for a key under this id: let go of an expired one that waits, and of a no."""
        self.absent.forget(key_id)
        if self._pending.remove_if_expired(key_id, self._now()):
            self.forget(key_id, "expired")

    def confirm_all(self, key_ids: Sequence[str]) -> None:
        """Do what `confirm` does for many keys: all that a long outage has left waiting."""
        for key_id in key_ids:
            self.absent.forget(key_id)
            self._pending.remove(key_id)
        self._journal.drop_all(key_ids)
        self._cache.unpin_all(key_ids)
        self.learnt.set()

    def drop_expired(self) -> None:
        """Let go of every expired key that waits: it will never be written."""
        for key in self._pending.remove_expired(self._now()):
            self.forget(key.id, "expired")

    def _part_with_pending(self) -> None:
        kept = 0
        for key_id in self._pending.key_ids():
            if self._journal.holds(key_id):
                kept += 1
            else:
                self.forget(key_id, "shutdown")
        if kept:
            self._observe(JournalKept(keys=kept))

    async def _keep_pending(self, key: PublicKey) -> Durability:
        # Readable at once, and pinned; but no flush takes it before the journal has answered.
        try:
            self._hold(key)
        except KeyConflictError:
            self._let_go(key.id)
            raise
        try:
            kept = await self._journal.keep([key])
        finally:
            # If the caller cancels, the key is not acknowledged, but it waits all the same.
            gone = key.id not in self._pending
            if not gone:
                self.let_wait(key)
        if gone:
            return self._durability_of_gone()
        return Durability.JOURNAL if kept else Durability.MEMORY

    def _durability_of_gone(self) -> Durability:
        """How durable a key is that left pending writes while its own `create` was under way."""
        # A refresh or another `create` has found it in the primary: the write had arrived. Only at
        # the end are keys let go of that the primary may lack.
        return Durability.MEMORY if self._ended else Durability.PRIMARY

    def _hold(self, key: PublicKey) -> None:
        with suppress(KeyExpiredError):  # then the next flush drops it
            self._cache.put(key)
            self._cache.pin(key.id)

    def _let_go(self, key_id: str) -> None:
        self._pending.remove(key_id)
        self._journal.drop(key_id)

    def _take_over(self, recovered: Recovered) -> None:
        expired = 0
        for key in recovered.keys:
            if key.has_expired(self._now()):
                expired += 1
                self.forget(key.id, "expired")
            else:
                self._pending.restore(key, asyncio.get_running_loop().time())
                self.let_wait(key)
        self._observe(
            JournalRecovered(
                keys=len(recovered.keys) - expired,
                expired=expired,
                corrupted=len(recovered.corrupted),
                file_set_aside=recovered.file_set_aside,
            )
        )
