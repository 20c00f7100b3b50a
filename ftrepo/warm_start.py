"""Keeps the snapshot of memory: read at the start, written soon after memory has learnt a key."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from ftrepo.errors import JournalError
from ftrepo.events import Event, SnapshotFailed, SnapshotLoaded

if TYPE_CHECKING:
    from ftrepo.interface import Clock, Snapshot
    from ftrepo.keys import PublicKey
    from ftrepo.memory import InMemoryRepository
    from ftrepo.policy import Policy


class WarmStart:
    """A snapshot, or none, and when it is read and written. A failure of it stops nothing.

    Args:
        snapshot: `None`, as `snapshot_interval_s = None` of the policy, neither reads nor writes.
        cache: keys in memory.
        policy: the interval and the time-out.
        now: the calendar time.
        observe: is told of what was done.

    Attributes:
        learnt: is to be set when memory has a new key.
    """

    def __init__(
        self,
        snapshot: Snapshot | None,
        *,
        cache: InMemoryRepository,
        policy: Policy,
        now: Clock,
        observe: Callable[[Event], None],
    ) -> None:
        self._snapshot = None if policy.snapshot_interval_s is None else snapshot
        self._interval_s = policy.snapshot_interval_s or 0.0
        self._timeout_s = policy.snapshot_timeout_s
        self._staleness_max = (
            None if policy.max_staleness_s is None else timedelta(seconds=policy.max_staleness_s)
        )
        self._cache = cache
        self._now = now
        self._observe = observe
        self.learnt = asyncio.Event()

    @property
    def is_kept(self) -> bool:
        """Whether there is a snapshot at all."""
        return self._snapshot is not None

    async def load(self) -> None:
        """Put into memory what an earlier process had there, as old as it is."""
        if self._snapshot is None:
            return
        try:
            async with asyncio.timeout(self._timeout_s):
                saved = await self._snapshot.load()
        except (JournalError, TimeoutError) as error:
            self._failed("load", error)
            return
        if saved is None:
            return
        # A snapshot of the future was written by a clock that was wrong, or is wrong now.
        age_s = max(0.0, (self._now() - saved.at).total_seconds())
        keys = self._cache.recall(saved.keys, at=min(saved.at, self._now()))
        self._observe(SnapshotLoaded(keys=keys, age_s=age_s, corrupted=len(saved.corrupted)))

    async def save(self) -> None:
        """Write the snapshot, if memory has learnt anything since it was written last."""
        if self._snapshot is None or not self.learnt.is_set():
            return
        self.learnt.clear()
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._snapshot.save(*self._worth_saving())
        except (JournalError, TimeoutError) as error:
            self.learnt.set()
            self._failed("save", error)

    def _worth_saving(self) -> tuple[list[PublicKey], datetime]:
        """The keys of memory, and a moment at which the primary had confirmed every one of them.

        A snapshot has one time for all its keys. Where that matters it is the oldest of theirs, so
        that a restart in an outage makes no key younger; what is too old to be served stays out.
        """
        keys, now = self._cache.valid_keys(), self._now()
        if self._staleness_max is None:
            return keys, now
        confirmed = {key.id: self._cache.confirmed_at(key.id) or key.created for key in keys}
        keys = [key for key in keys if now - confirmed[key.id] <= self._staleness_max]
        return keys, min((confirmed[key.id] for key in keys), default=now)

    async def save_forever(self) -> None:
        """Write the snapshot within an interval of whatever memory learns."""
        while True:
            await self.learnt.wait()
            await asyncio.sleep(self._interval_s)
            await self.save()

    def _failed(self, operation: Literal["load", "save"], error: BaseException) -> None:
        self._observe(SnapshotFailed(operation=operation, error=error))
