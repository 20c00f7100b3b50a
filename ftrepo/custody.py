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
from typing import TYPE_CHECKING, Literal, NamedTuple

from ftrepo.absent import AbsentIds
from ftrepo.errors import (
    KeyConflictError,
    KeyExpiredError,
    PendingFullError,
    PrimaryUnavailableError,
)
from ftrepo.events import ConflictSeen, Event, JournalKept, JournalRecovered, PendingDropped
from ftrepo.interface import Durability, Recovered
from ftrepo.pending import End, Entry, Owner

if TYPE_CHECKING:
    from ftrepo.interface import Clock
    from ftrepo.journal.guarded import GuardedJournal
    from ftrepo.keys import PublicKey
    from ftrepo.memory import InMemoryRepository
    from ftrepo.pending import PendingWrites
    from ftrepo.policy import Policy


class Place(NamedTuple):
    """What one `create` found in pending writes, or has put there.

    Attributes:
        entry: of the key; `None` if there was no room, or the policy has no pending writes.
        owned: whether this `create` has taken the key in.
        put_at: when it put the key into memory; `None` if it did not, or memory had it.
    """

    entry: Entry | None
    owned: bool
    put_at: datetime | None


class Custody:
    """Takes keys in, and lets them go when the primary has them or never will.

    It keeps the books and asks nobody: that is for the facade and the `Reconciler`.

    Attributes:
        something_waits: set when a key waits for the next flush; the `Reconciler` clears it.
        keys_learnt: how many keys memory has learnt of the primary so far.
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
        self.keys_learnt = 0
        self.absent = AbsentIds(ttl_s=policy.absent_ttl_s)

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
            self._part_with_pending()

    def reserve(self, key: PublicKey, *, put_at: datetime | None) -> Place:
        """Take a key in before its first write, unless it is held already or there is no room.

        Args:
            key: to be written.
            put_at: when the caller put it into memory; `None` if it did not, or memory had it.
        """
        if not self._policy.pending_writes:
            return Place(None, owned=False, put_at=put_at)
        owned = self._pending.reserve(key, asyncio.get_running_loop().time())
        return Place(self._pending.entry(key.id), owned=owned, put_at=put_at)

    def refuse(self, key: PublicKey, place: Place, reason: Literal["expired", "conflict"]) -> None:
        """Take note that the primary will never have this key: neither may memory."""
        entry = self._pending.entry(key.id)
        if entry is not None and entry.key.same_material(key):
            # Another `create` of the same key may have been acknowledged while the primary was
            # away. One that is still under way finds out how it ended.
            acknowledged = entry is not place.entry or not (
                place.owned and entry.owner is Owner.WRITING
            )
            self._let_go(key.id, reason)
            if acknowledged:
                self._observe(PendingDropped(key_id=key.id, reason=reason))
        self._discard(key)

    def let_wait(self, key: PublicKey, place: Place) -> None:
        """Leave a key to the next flush, whose `create` was given up before the primary answered.

        It was not acknowledged, but the primary may have it: so every store is to have it.
        """
        entry = place.entry
        if not self._policy.pending_writes:
            return  # What the primary missed stays in memory only.
        if entry is None or entry.end in ("expired", "shutdown"):
            self._discard_unless_confirmed(key, place)
        elif place.owned and entry.end is None:
            with suppress(KeyConflictError):
                self._wait(key)

    async def keep(
        self, key: PublicKey, error: PrimaryUnavailableError, place: Place
    ) -> Durability:
        """Keep a key that the primary did not confirm, and say how durable it is now.

        Raises:
            PendingFullError: no more keys may wait. Its cause is `error`.
            KeyExpiredError: the key's time has passed meanwhile.
            KeyConflictError: the id has turned out meanwhile to be bound to other material.
        """
        if key.has_expired(self._now()):
            if place.owned:
                self.refuse(key, place, "expired")
            raise KeyExpiredError(
                f"key {key.id!r} expired while the primary was asked; it is not kept"
            ) from error
        if not self._policy.pending_writes:
            self._cache.put(key)
            return Durability.MEMORY
        entry = place.entry
        if entry is not None and entry.end is not None and entry.key.same_material(key):
            return self._durability_of_gone(entry)
        return await self._keep_pending(key, self._entry_for(key, place, error))

    def learn(self, keys: Sequence[PublicKey], *, evict: bool = True) -> int:
        """Take note that the primary has these keys, and put those into the cache that it lacks.

        What the cache already holds under an id is never overwritten: ids are bound for good, so
        it is either the same key or a conflict to report, after which memory has neither.

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
                # A copy of a key that its maker was refused; or this is older news than memory has.
                # Neither is served before the primary was asked again. What waits, a flush settles.
                if key.id not in self._pending:
                    self._cache.discard(key.id)
        for key in keys:
            self.absent.forget(key.id)
            held = self._pending.get(key.id)
            if held is not None and held.same_material(key):
                self.confirm(key)
        if added:
            self.keys_learnt += added
            self.learnt.set()
        return added

    def learn_one(self, key: PublicKey, now: datetime) -> None:
        """Do what `learn` does for one key, at little cost if there is nothing to learn."""
        # Most of the time memory has the key, and it does not wait: whoever waits is pinned.
        if not self._cache.confirm_same(key, now):
            self.learn((key,))

    def confirm(self, key: PublicKey) -> None:
        """Take note that the primary has committed a key, whether or not memory holds it."""
        self.absent.forget(key.id)
        held = self._pending.get(key.id)
        if held is None or held.same_material(key):
            if self._pending.remove(key.id):
                self._cache.unpin(key.id)
            self._journal.drop(key.id)
        self._cache.confirm(key.id)
        self.learnt.set()

    def forget(self, key_id: str, reason: Literal["expired", "conflict", "shutdown"]) -> None:
        """Take note that a key will never be in the primary."""
        self._let_go(key_id, reason)
        self._cache.discard(key_id)
        self._observe(PendingDropped(key_id=key_id, reason=reason))

    def owes(self, key_id: str) -> bool:
        """Whether a key waits under this id that is valid, and that no `create` still writes."""
        entry = self._pending.entry(key_id)
        return (
            entry is not None
            and entry.owner is not Owner.WRITING
            and not entry.key.has_expired(self._now())
        )

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

    def claim(self, limit: int) -> list[PublicKey]:
        """Hand the next keys that wait, and have not expired, to a flush."""
        return self._pending.claim(limit, self._now())

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

    def _entry_for(self, key: PublicKey, place: Place, error: PrimaryUnavailableError) -> Entry:
        """Return what is held of a key, which is taken in now if it was not before."""
        entry = self._pending.entry(key.id)
        if entry is not None and not entry.key.same_material(key):
            if not entry.key.has_expired(self._now()):
                self._discard_unless_confirmed(key, place)
                raise KeyConflictError(f"id {key.id!r} is bound to other key material") from error
            # Its own `create` is under way still, and will find that it came too late.
            self._let_go(key.id, "expired")
        self._pending.reserve(key, asyncio.get_running_loop().time())
        entry = self._pending.entry(key.id)
        if entry is None:
            self._discard_unless_confirmed(key, place)
            raise PendingFullError(
                f"the primary is away and pending_max={self._policy.pending_max} keys wait "
                f"already; key {key.id!r} was not stored"
            ) from error
        return entry

    async def _keep_pending(self, key: PublicKey, entry: Entry) -> Durability:
        # Readable at once, and pinned; but no flush takes it before the journal has answered.
        self._hold(key)
        try:
            kept = await self._journal.keep([key])
        finally:
            # If the caller cancels, the key is not acknowledged, but it waits all the same.
            if entry.end is None:
                self._wait(key)
        if entry.end is not None:
            return self._durability_of_gone(entry)
        return Durability.JOURNAL if kept else Durability.MEMORY

    def _durability_of_gone(self, entry: Entry) -> Durability:
        """How durable a key is that left pending writes while a `create` of it was under way.

        Raises:
            KeyConflictError: another `create` or a flush was told that the primary has other
                material.
            KeyExpiredError: its time has passed.
        """
        if entry.end == "confirmed":
            # A refresh, a flush or another `create` has found it in the primary.
            return Durability.PRIMARY
        if entry.end == "conflict":
            raise KeyConflictError(f"id {entry.key.id!r} is bound to other key material")
        if entry.end == "expired":
            raise KeyExpiredError(f"key {entry.key.id!r} expired while the primary was asked")
        return Durability.MEMORY

    def _wait(self, key: PublicKey) -> None:
        """Let a key that was taken in wait for the next flush.

        Raises:
            KeyConflictError: memory has other material under its id; it does not wait then.
        """
        self._hold(key)
        entry = self._pending.entry(key.id)
        # A flush that has taken it gives it back by itself, and must not meet it twice.
        if entry is not None and entry.owner is not Owner.FLUSHING:
            self._pending.release([key.id])
        self.something_waits.set()

    def _hold(self, key: PublicKey) -> None:
        """Put a key that was taken in into memory, where nothing evicts it.

        Raises:
            KeyConflictError: memory has other material under its id; the key is let go.
        """
        try:
            self._cache.put(key)
        except KeyExpiredError:
            return  # The next flush drops it.
        except KeyConflictError:
            self._let_go(key.id, "conflict")
            self._observe(ConflictSeen(key_id=key.id))
            raise
        self._cache.pin(key.id)

    def _let_go(self, key_id: str, end: End) -> None:
        self._pending.remove(key_id, end)
        self._journal.drop(key_id)

    def _discard(self, key: PublicKey) -> None:
        """Forget a key in memory, but no other valid one under its id."""
        held = self._cache.lookup(key.id)
        if held is None or held.same_material(key):
            self._cache.discard(key.id)

    def _discard_unless_confirmed(self, key: PublicKey, place: Place) -> None:
        """Take a key out of memory again that is not kept, unless it is known to be stored."""
        confirmed_at = self._cache.confirmed_at(key.id)
        if place.put_at is not None and confirmed_at is not None and confirmed_at <= place.put_at:
            self._discard(key)

    def _take_over(self, recovered: Recovered) -> None:
        expired = 0
        for key in recovered.keys:
            if key.has_expired(self._now()):
                expired += 1
                self.forget(key.id, "expired")
            else:
                self._pending.restore(key, asyncio.get_running_loop().time())
                self._wait(key)
        self._observe(
            JournalRecovered(
                keys=len(recovered.keys) - expired,
                expired=expired,
                corrupted=len(recovered.corrupted),
                file_set_aside=recovered.file_set_aside,
            )
        )
