"""Keeps memory and the primary in agreement: flush, refresh, expiry, and the probe of recovery.

Each is one background task with one fixed pace, woken early when there is a reason:

=========  =========================  =========================================================
task       pace                       woken early by
=========  =========================  =========================================================
flush      `Policy.flush_interval_s`  the breaker closing; sleeps without a pace while nothing
                                      waits or the breaker is open
refresh    `refresh_interval_s`       the breaker closing, and the feed of new keys if it may have
                                      missed some; without a pace if the interval is `None`
expiry     `expiry_interval_s`        the breaker closing
probe      `breaker_open_s`           the breaker opening; sleeps while it is closed
listen     `flush_interval_s`         a key that somebody stores; the pace is that of subscribing
                                      anew, which waits for the breaker to be closed
=========  =========================  =========================================================

A refresh or a clean-up that failed is owed. It is tried again when the breaker closes, if it has
opened meanwhile; otherwise a refresh at the flush's pace, and a clean-up after a tenth of its own
interval. Memory is cleaned at its pace in any case.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Collection
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from ftrepo.errors import (
    PrimaryNotAskedError,
    PrimaryUnavailableError,
)
from ftrepo.events import (
    Event,
    ExpiredDeleted,
    Flushed,
    FlushFailed,
    Refreshed,
)
from ftrepo.failure_log import log_failure
from ftrepo.interface import ChangeFeed
from ftrepo.redact import describe, redact
from ftrepo.resilience.breaker import BreakerState
from ftrepo.resilience.call_budget import Urgency

if TYPE_CHECKING:
    from ftrepo.custody import Custody
    from ftrepo.guarded import GuardedPrimary
    from ftrepo.interface import PrimaryStore
    from ftrepo.keys import PublicKey
    from ftrepo.memory import InMemoryRepository
    from ftrepo.pending import PendingWrites
    from ftrepo.policy import Policy
    from ftrepo.warm_start import WarmStart

_log = logging.getLogger("ftrepo")


SETTLED_AT_ONCE = 500
"""How many keys are taken note of in one turn of the loop, some milliseconds long, in which no
caller gets an answer."""

STOP_TRIES_MAX = 10
"""How often a background task is cancelled before it is left behind."""

STOP_PAUSE_S = 0.2
"""How long it has, each time, to end."""

_OWED_SHARE = 0.1
"""After which share of its interval a clean-up that the primary missed is tried again."""


class _Answer(NamedTuple):
    """What the primary says of a batch: which ids are bound to other material; and how soon."""

    conflicts: Collection[str]
    duration_s: float


class Reconciler:
    """The background half of `FaultTolerantRepository`; it shares its stores with the other half.

    Args:
        primary: the store of record, called only through `guarded`.
        guarded: the way to the primary.
        custody: keeps the books of what the primary has and what it lacks.
        cache: keys in memory, the same that the custody has.
        pending: keys that the primary still has to be told of, likewise.
        policy: the paces and time-outs.
        observe: is told of what was done.
        draw: returns random numbers in [0, 1), for pauses after a recovery.
        warm_start: the snapshot of memory, which is written in the background.
    """

    def __init__(
        self,
        *,
        primary: PrimaryStore,
        guarded: GuardedPrimary,
        custody: Custody,
        cache: InMemoryRepository,
        pending: PendingWrites,
        policy: Policy,
        observe: Callable[[Event], None],
        draw: Callable[[], float],
        warm_start: WarmStart,
    ) -> None:
        self._primary = primary
        self._guarded = guarded
        self._custody = custody
        self._cache = cache
        self._pending = pending
        self._policy = policy
        self._observe = observe
        self._draw = draw
        self._warm_start = warm_start
        self._tasks: list[asyncio.Task[None]] = []
        self._flushing = asyncio.Lock()
        self._batch_max = policy.flush_batch_max
        self._breaker_tripped = asyncio.Event()
        self._wake_flush_now = asyncio.Event()
        self._wake_refresh = asyncio.Event()
        self._wake_expiry = asyncio.Event()
        self._wake_listen = asyncio.Event()
        self._calm_from_s = -math.inf

    async def start(self) -> None:
        """Load the primary's keys, if it answers in time, and start the background tasks."""
        policy = self._policy
        bodies: dict[str, Callable[[], Awaitable[None]]] = {"expiry": self._expire_forever}
        if policy.pending_writes:
            bodies["flush"] = self._flush_forever
        if policy.read_policy != "primary-only":
            loaded = await self.refresh()
            bodies["refresh"] = partial(self._refresh_forever, loaded=loaded)
            if isinstance(self._primary, ChangeFeed):
                bodies["listen"] = partial(self._listen_forever, self._primary)
        if self._warm_start.is_kept:
            bodies["snapshot"] = self._warm_start.save_forever
        if self._guarded.breaker is not None:
            bodies["probe"] = self._probe_forever
        for name, body in bodies.items():
            coroutine = self._supervise(name, body)
            self._tasks.append(asyncio.create_task(coroutine, name=f"ftrepo {name}"))

    async def stop(self) -> None:
        """Stop the background tasks. A flush that is cut off gives its keys back.

        A driver may swallow a cancellation. So a task that goes on is cancelled again, and left
        behind in the end: the service must be able to stop.
        """
        running = set(self._tasks)
        self._tasks.clear()
        for _ in range(STOP_TRIES_MAX):
            if not running:
                return
            for task in running:
                task.cancel()
            _, running = await asyncio.wait(running, timeout=STOP_PAUSE_S)
        if running:
            names = sorted(redact(str(task)) for task in running)
            _log.error("background tasks that cannot be stopped: %s", names)

    def kill(self) -> None:
        """Cancel the background tasks and wait for nothing."""
        for task in self._tasks:
            task.cancel()

    def breaker_changed(self, new: BreakerState) -> None:
        """Say that the breaker changed: closing is the moment of recovery.

        Pending writes are flushed at once, for they are what others miss, and what others have
        stored meanwhile is loaded: a primary that fails now and then may be well only for a moment.
        The clean-up can wait, each time for another random while.
        """
        if new is BreakerState.CLOSED:
            pause_s = self._draw() * self._policy.ramp_up_s
            self._calm_from_s = asyncio.get_running_loop().time() + pause_s
            self._breaker_tripped.clear()
            self._wake_flush_now.set()
            self._wake_refresh.set()
            self._wake_expiry.set()
            self._wake_listen.set()
        else:
            self._breaker_tripped.set()

    async def flush(self) -> int:
        """Send every waiting key to the primary, in batches, until none waits or a batch fails.

        One batch is under way at a time. While the primary works on it, the books are kept of the
        one before.

        Returns:
            How many keys the primary confirmed.
        """
        confirmed = 0
        following: list[PublicKey] = []
        sending = None
        async with self._flushing:
            self._custody.drop_expired()
            batch = self._custody.claim(self._batch_max)
            try:
                answer = await self._send(batch) if batch else None
                while answer is not None:
                    following = self._custody.claim(self._batch_max)
                    sending = asyncio.create_task(self._send(following)) if following else None
                    if sending is not None:
                        # Let it start: its task, and the task that the call may have of its own.
                        await asyncio.sleep(0)
                        await asyncio.sleep(0)
                    confirmed += await self._settle(batch, answer)
                    batch, following = following, []
                    answer = None if sending is None else await sending
            finally:
                # Whatever went wrong, nobody owns these keys any longer.
                self._pending.release(key.id for key in (*batch, *following))
                if sending is not None:
                    sending.cancel()
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
                    "list_valid",
                    load,
                    timeout_s=self._policy.load_timeout_s,
                    urgency=Urgency.BACKGROUND,
                )
            except PrimaryUnavailableError:
                return False
            # A cache that is smaller than the fleet keeps what is used, not what is listed last.
            added += self._custody.learn(page, evict=False)
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
                urgency=Urgency.BACKGROUND,
            )
        except PrimaryUnavailableError:
            pass  # The guard has reported it, and `_expire_forever` makes up for it.
        finally:
            self._custody.drop_expired()
            from_cache = self._cache.purge_expired()
            self._observe(ExpiredDeleted(from_primary=from_primary, from_cache=from_cache))
        return from_primary, from_cache

    async def _send(self, batch: list[PublicKey]) -> _Answer | None:
        """Send one batch. Returns what the primary says, or `None` if that failed."""
        now_s = asyncio.get_running_loop().time
        started_s = now_s()
        send = partial(self._primary.create_many, batch)
        timeout_s = self._policy.insert_timeout_s
        try:
            conflicts = await self._guarded.call(
                "create_many", send, timeout_s=timeout_s, urgency=Urgency.BACKGROUND
            )
        except PrimaryNotAskedError:
            return None
        except PrimaryUnavailableError as error:
            self._make_smaller(batch)
            waiting = len(self._pending)
            self._observe(FlushFailed(attempted=len(batch), remaining=waiting, error=error))
            return None
        self._batch_max = min(2 * self._batch_max, self._policy.flush_batch_max)
        return _Answer(conflicts, now_s() - started_s)

    async def _settle(self, batch: list[PublicKey], answer: _Answer) -> int:
        """Take note of what the primary says of a batch. Returns the number confirmed."""
        for key in batch:
            if key.id in answer.conflicts:
                self._custody.forget(key.id, "conflict")
        confirmed = [key.id for key in batch if key.id not in answer.conflicts]
        for start in range(0, len(confirmed), SETTLED_AT_ONCE):
            if start:
                await asyncio.sleep(0)
            self._custody.confirm_all(confirmed[start : start + SETTLED_AT_ONCE])
        waiting = len(self._pending)
        self._observe(
            Flushed(confirmed=len(confirmed), remaining=waiting, duration_s=answer.duration_s)
        )
        return len(confirmed)

    def _make_smaller(self, batch: list[PublicKey]) -> None:
        # A batch may fail because it is too large for the time-out, or because of one key in it.
        # Halving finds a size that gets through; a single key that fails lets the others go first.
        if len(batch) == 1:
            self._pending.release([batch[0].id], to_back=True)
        self._batch_max = max(1, len(batch) // 2)

    async def _flush_forever(self) -> None:
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        while True:
            await self._custody.something_waits.wait()
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
                self._custody.something_waits.clear()

    async def _refresh_forever(self, *, loaded: bool) -> None:
        while True:
            if loaded:
                await _sleep(self._policy.refresh_interval_s, unless=self._wake_refresh)
            else:
                await self._until_worth_a_try(self._wake_refresh)
            loaded = await self.refresh()

    async def _listen_forever(self, feed: ChangeFeed) -> None:
        while True:
            try:
                await self._listen(feed)
            except Exception as error:  # whatever a driver raises: a feed is a convenience
                if _log.isEnabledFor(logging.INFO):
                    _log.info("new keys are not announced for now: %s", describe(error))
            # However the feed fails, the primary is asked for another one at most once a beat.
            await asyncio.sleep(self._policy.flush_interval_s)
            while not self._guarded.is_closed:
                self._wake_listen.clear()
                await self._wake_listen.wait()

    async def _listen(self, feed: ChangeFeed) -> None:
        loop = asyncio.get_running_loop()
        refresh_s = loop.time()
        async with aclosing(feed.changes()) as changes:
            async for keys in changes:
                if keys is not None:
                    self._custody.learn(keys)
                    continue
                # Many large batches would ask for one refresh after another: one a beat will do.
                await asyncio.sleep(refresh_s - loop.time())
                self._wake_refresh.set()
                refresh_s = loop.time() + self._policy.flush_interval_s

    async def _expire_forever(self) -> None:
        pause_s = self._policy.expiry_interval_s
        while True:
            await _sleep(pause_s, unless=self._wake_expiry)
            await asyncio.sleep(self._calm_from_s - asyncio.get_running_loop().time())
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
                    "ping",
                    self._primary.ping,
                    timeout_s=timeout_s,
                    urgency=Urgency.BACKGROUND,
                    probe=True,
                )
            except PrimaryUnavailableError:
                if not self._guarded.retry_after_s():
                    # The probe was refused before it counted. Do not spin.
                    await asyncio.sleep(self._policy.breaker_open_s)

    async def _supervise(self, name: str, body: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await body()
            except Exception as error:
                pause_s = self._policy.flush_interval_s
                again = "background %s failed; it starts again in %s s"
                log_failure(_log, again, name, pause_s, error=error)
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
