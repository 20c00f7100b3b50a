"""Keeps memory and the primary in agreement: flush, refresh, expiry, and the probe of recovery.

Each is one background task with one fixed pace, woken early when there is a reason:

=========  =========================  =========================================================
task       pace                       woken early by
=========  =========================  =========================================================
flush      `Policy.flush_interval_s`  the breaker closing; sleeps without a pace while nothing
                                      waits or the breaker is open
refresh    `refresh_interval_s`       the breaker closing; without a pace if the interval is `None`
expiry     `expiry_interval_s`        the breaker closing
probe      `breaker_open_s`           the breaker opening; sleeps while it is closed
=========  =========================  =========================================================

A refresh or a clean-up that failed is owed. It is tried again when the breaker closes, if it has
opened meanwhile; otherwise a refresh at the flush's pace, and a clean-up after a tenth of its own
interval. Memory is cleaned at its pace in any case.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal

from ftrepo.errors import (
    CircuitOpenError,
    KeyConflictError,
    KeyExpiredError,
    PrimaryUnavailableError,
)
from ftrepo.events import (
    ConflictSeen,
    Event,
    ExpiredDeleted,
    Flushed,
    FlushFailed,
    PendingDropped,
    Refreshed,
)
from ftrepo.resilience.breaker import BreakerState

if TYPE_CHECKING:
    from ftrepo.guarded import GuardedPrimary
    from ftrepo.interface import Clock, PrimaryStore
    from ftrepo.keys import PublicKey
    from ftrepo.memory import InMemoryRepository
    from ftrepo.pending import PendingWrites
    from ftrepo.policy import Policy

_log = logging.getLogger("ftrepo")

_OWED_SHARE = 0.1
"""After which share of its interval a clean-up that the primary missed is tried again."""


class Reconciler:
    """The background half of `FaultTolerantRepository`; it shares its stores with the other half.

    Args:
        primary: the store of record, called only through `guarded`.
        guarded: the way to the primary.
        cache: keys in memory; every pending key is pinned in it.
        pending: keys that the primary still has to be told of.
        policy: the paces and time-outs.
        now: the calendar time.
        observe: is told of what was done.
    """

    def __init__(
        self,
        *,
        primary: PrimaryStore,
        guarded: GuardedPrimary,
        cache: InMemoryRepository,
        pending: PendingWrites,
        policy: Policy,
        now: Clock,
        observe: Callable[[Event], None],
    ) -> None:
        self._primary = primary
        self._guarded = guarded
        self._cache = cache
        self._pending = pending
        self._policy = policy
        self._now = now
        self._observe = observe
        self._tasks: list[asyncio.Task[None]] = []
        self._flushing = asyncio.Lock()
        self._batch_max = policy.flush_batch_max
        self._something_waits = asyncio.Event()
        self._breaker_tripped = asyncio.Event()
        self._wake_flush_now = asyncio.Event()
        self._wake_refresh = asyncio.Event()
        self._wake_expiry = asyncio.Event()

    async def start(self) -> None:
        """Load the primary's keys, if it answers in time, and start the background tasks."""
        policy = self._policy
        bodies: dict[str, Callable[[], Awaitable[None]]] = {"expiry": self._expire_forever}
        if policy.pending_writes:
            bodies["flush"] = self._flush_forever
        if policy.read_policy != "primary-only":
            loaded = await self.refresh()
            bodies["refresh"] = partial(self._refresh_forever, loaded=loaded)
        if self._guarded.breaker is not None:
            bodies["probe"] = self._probe_forever
        for name, body in bodies.items():
            coroutine = self._supervise(name, body)
            self._tasks.append(asyncio.create_task(coroutine, name=f"ftrepo {name}"))

    async def stop(self) -> None:
        """Stop the background tasks. A flush that is cut off gives its keys back."""
        self.kill()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    def kill(self) -> None:
        """Cancel the background tasks and wait for nothing."""
        for task in self._tasks:
            task.cancel()

    def key_waits(self) -> None:
        """Say that a key waits. The flush comes at the next beat of its interval."""
        self._something_waits.set()

    def breaker_changed(self, new: BreakerState) -> None:
        """Say that the breaker changed: closing is the moment of recovery."""
        if new is BreakerState.CLOSED:
            self._breaker_tripped.clear()
            self._wake_flush_now.set()
            self._wake_refresh.set()
            self._wake_expiry.set()
        else:
            self._breaker_tripped.set()

    async def flush(self) -> int:
        """Send every waiting key to the primary, in batches, until none waits or a batch fails.

        Returns:
            How many keys the primary confirmed.
        """
        confirmed = 0
        async with self._flushing:
            self._drop_expired()
            while batch := self._pending.claim(self._batch_max):
                try:
                    done = await self._flush_batch(batch)
                finally:
                    # Whatever went wrong, nobody owns these keys any longer.
                    self._pending.release(key.id for key in batch)
                if done is None:
                    break
                confirmed += done
        return confirmed

    async def refresh(self) -> bool:
        """Load every unexpired key of the primary into the cache. False if that failed."""
        loaded = added = 0
        after: str | None = None
        limit = self._policy.load_page_max
        while True:
            load = partial(self._primary.list_valid, after=after, limit=limit)
            try:
                page = await self._guarded.call(
                    "list_valid", load, timeout_s=self._policy.load_timeout_s
                )
            except PrimaryUnavailableError:
                return False
            # A cache that is smaller than the fleet keeps what is used, not what is listed last.
            added += self.learn(page, evict=False)
            loaded += len(page)
            if len(page) < limit:
                self._observe(Refreshed(loaded=loaded, added=added))
                return True
            after = page[-1].id

    async def delete_expired(self) -> tuple[int | None, int]:
        """Delete expired keys: the primary first, then memory; neither stops the other.

        Returns:
            How many keys the primary deleted, `None` if it could not be asked, and how many left
            memory.
        """
        from_primary: int | None = None
        from_cache = 0
        try:
            from_primary = await self._guarded.call(
                "delete_expired",
                self._primary.delete_expired,
                timeout_s=self._policy.delete_timeout_s,
            )
        except PrimaryUnavailableError:
            pass  # The guard has reported it, and `_expire_forever` makes up for it.
        finally:
            self._drop_expired()
            from_cache = self._cache.purge_expired()
            self._observe(ExpiredDeleted(from_primary=from_primary, from_cache=from_cache))
        return from_primary, from_cache

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
            held = self._pending.get(key.id)
            if held is not None and held.same_material(key):
                self.confirm(key.id)
        return added

    def confirm(self, key_id: str) -> None:
        """Take note that the primary has committed a key that memory holds."""
        if self._pending.remove(key_id):
            self._cache.unpin(key_id)
        self._cache.confirm(key_id)

    def forget(self, key_id: str, reason: Literal["expired", "conflict", "shutdown"]) -> None:
        """Take note that a key will never be in the primary."""
        self._pending.remove(key_id)
        self._cache.discard(key_id)
        self._observe(PendingDropped(key_id=key_id, reason=reason))

    async def _flush_batch(self, batch: list[PublicKey]) -> int | None:
        """Send one batch. Returns the number confirmed, or `None` if the batch failed."""
        now_s = asyncio.get_running_loop().time
        started_s = now_s()
        send = partial(self._primary.create_many, batch)
        timeout_s = self._policy.insert_timeout_s
        try:
            conflicts = await self._guarded.call("create_many", send, timeout_s=timeout_s)
        except CircuitOpenError:
            return None
        except PrimaryUnavailableError as error:
            self._make_smaller(batch)
            waiting = len(self._pending)
            self._observe(FlushFailed(attempted=len(batch), remaining=waiting, error=error))
            return None
        for key in batch:
            if key.id in conflicts:
                self.forget(key.id, "conflict")
            else:
                self.confirm(key.id)
        self._batch_max = min(2 * self._batch_max, self._policy.flush_batch_max)
        confirmed = len(batch) - len(conflicts)
        waiting, duration_s = len(self._pending), now_s() - started_s
        self._observe(Flushed(confirmed=confirmed, remaining=waiting, duration_s=duration_s))
        return confirmed

    def _make_smaller(self, batch: list[PublicKey]) -> None:
        # A batch may fail because it is too large for the time-out, or because of one key in it.
        # Halving finds a size that gets through; a single key that fails lets the others go first.
        if len(batch) == 1:
            self._pending.release([batch[0].id], to_back=True)
        self._batch_max = max(1, len(batch) // 2)

    def _drop_expired(self) -> None:
        for key in self._pending.remove_expired(self._now()):
            self.forget(key.id, "expired")

    async def _flush_forever(self) -> None:
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        while True:
            await self._something_waits.wait()
            if self._guarded.is_closed:
                self._wake_flush_now.clear()
                pause_s = _until_next_beat_s(loop.time() - start_s, self._policy.flush_interval_s)
                await _sleep(pause_s, unless=self._wake_flush_now)
            else:
                await self._wake_flush_now.wait()
            self._wake_flush_now.clear()
            if self._guarded.is_closed:
                await self.flush()
            if not self._pending:
                self._something_waits.clear()

    async def _refresh_forever(self, *, loaded: bool) -> None:
        while True:
            if loaded:
                await _sleep(self._policy.refresh_interval_s, unless=self._wake_refresh)
            else:
                await self._until_worth_a_try(self._wake_refresh)
            loaded = await self.refresh()

    async def _expire_forever(self) -> None:
        pause_s = self._policy.expiry_interval_s
        while True:
            await _sleep(pause_s, unless=self._wake_expiry)
            deleted, _ = await self.delete_expired()
            # Memory is cleaned at its pace also while the breaker is open. A primary that is worth
            # asking is asked again sooner, but not often: nothing depends on a clean-up.
            owed = deleted is None and self._guarded.is_closed
            pause_s = self._policy.expiry_interval_s * (_OWED_SHARE if owed else 1.0)

    async def _until_worth_a_try(self, wake: asyncio.Event) -> None:
        if self._guarded.is_closed:
            await _sleep(self._policy.flush_interval_s, unless=wake)
        else:
            await wake.wait()
            wake.clear()

    async def _probe_forever(self) -> None:
        while True:
            await self._breaker_tripped.wait()
            await asyncio.sleep(self._guarded.retry_after_s() or 0.0)
            timeout_s = self._policy.select_timeout_s
            try:
                await self._guarded.call(
                    "ping", self._primary.ping, timeout_s=timeout_s, probe=True
                )
            except PrimaryUnavailableError:
                if not self._guarded.retry_after_s():
                    # The probe was refused before it counted. Do not spin.
                    await asyncio.sleep(self._policy.breaker_open_s)

    async def _supervise(self, name: str, body: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await body()
            except Exception:
                pause_s = self._policy.flush_interval_s
                _log.exception("background %s failed; it starts again in %s s", name, pause_s)
                await asyncio.sleep(pause_s)


def _until_next_beat_s(elapsed_s: float, interval_s: float) -> float:
    """Seconds to the next multiple of the interval; a whole interval if this is one already.

    A timer set for a beat may fire a rounding error before it. Without the allowance for that the
    rest of the way would be too short to pass, and the caller would come back at once, for ever.
    """
    beats = math.floor(elapsed_s / interval_s + 1e-6)
    return (beats + 1) * interval_s - elapsed_s


async def _sleep(seconds: float | None, *, unless: asyncio.Event) -> None:
    """Sleep, `None` for ever, unless the event is or becomes set; it is clear afterwards."""
    try:
        async with asyncio.timeout(seconds):
            await unless.wait()
    except TimeoutError:
        pass
    unless.clear()
