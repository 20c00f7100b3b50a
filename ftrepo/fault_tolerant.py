"""The facade: one repository that keeps working while its primary does not.

::

    create ──▶ cache ──▶ primary ──fails──▶ pending writes ──flush──▶ primary
    get    ──▶ primary ──fails or lacks it──▶ cache, pending writes     (primary-first)
    get    ──▶ cache, pending writes ──lack it──▶ primary               (cache-first)
                           none of them can answer ──▶ other instances

This file awaits and decides nothing of its own: `breaker` and `call_budget` say whether the primary
is called, `lookup` where a key is looked for, `pending` who owns a key that it lacks and `custody`
where that is kept, `guarded` and `guarded_journal` keep the time-outs, and `reconcile` makes the
stores agree again.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from secrets import SystemRandom
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ftrepo.custody import Custody
from ftrepo.errors import (
    KeyConflictError,
    KeyExpiredError,
    PolicyError,
    PrimaryUnavailableError,
)
from ftrepo.events import (
    BreakerChanged,
    ConflictSeen,
    Event,
    KeyCreated,
)
from ftrepo.failure_log import log_failure
from ftrepo.guarded import GuardedPrimary
from ftrepo.interface import (
    Clock,
    Durability,
    Journal,
    Observer,
    Peers,
    PrimaryStore,
    Snapshot,
)
from ftrepo.journal.guarded import GuardedJournal
from ftrepo.listing import Listing, ValidKeys
from ftrepo.lookup import Lookup
from ftrepo.memory import InMemoryRepository
from ftrepo.peers import PeerLookup
from ftrepo.pending import PendingWrites
from ftrepo.policy import Policy
from ftrepo.reconcile import Reconciler
from ftrepo.resilience.breaker import BreakerSettings, BreakerState, CircuitBreaker
from ftrepo.resilience.call_budget import CallBudget, Urgency
from ftrepo.telemetry.logs import log_event
from ftrepo.warm_start import WarmStart

if TYPE_CHECKING:
    from ftrepo.keys import PublicKey

_log = logging.getLogger("ftrepo")

_RANDOM = SystemRandom()

RESERVED_SHARE = 0.1
"""How many calls that bring nothing are kept for writes, and as many again for probes, flushes and
what else goes on in the background, as a share of `Policy.calls_in_flight_max`."""

RAMP_JITTER = 0.5
"""Which share of `Policy.ramp_up_s` is drawn at random each time."""


def _utc_now() -> datetime:
    # The one place where the real calendar comes in, as the default of an injected clock.
    return datetime.now(UTC)  # noqa: TID251


class FaultTolerantRepository:
    """A `PublicKeyRepository` in front of a primary that may fail.

    Use it as an async context manager: entering takes over what an earlier process has left in
    the journal and the snapshot, loads the primary's keys, if it answers, and starts the background
    tasks; leaving stops them and flushes once more.

    Args:
        primary: the store of record. It may fail or hang in any way; nothing but its answers
            ever reaches a caller.
        policy: every tunable; by default `Policy()`.
        now: the calendar time, with a time zone.
        observers: are told of every event; by default each event is logged.
        journal: keeps pending writes where they survive the process, e.g. a `SqliteJournal`;
            `None` keeps them in memory only.
        snapshot: keeps the keys of memory where they survive the process, e.g. a `FileSnapshot`,
            for a start while the primary is away; `None` starts empty then.
        peers: the other instances, which are asked for a key that nobody else can give; `None` asks
            nobody.
        draw: returns random numbers in [0, 1), which keep instances that failed together from
            returning together.

    Attributes:
        policy: as given, or the default.
        cache: keys in memory.
        pending: keys that the primary still has to be told of.
        lookup: how keys are found; counts hits and misses.
        breaker: the one in front of the primary; `None` if the policy has none.
        budget: the bound on calls that bring nothing; `None` if the policy has none.

    Raises:
        PolicyError: there is a journal, but the policy has no pending writes.
        JournalError: on entering, if the journal cannot be opened; nothing was started.
    """

    def __init__(
        self,
        primary: PrimaryStore,
        policy: Policy | None = None,
        *,
        now: Clock = _utc_now,
        observers: Sequence[Observer] = (log_event,),
        journal: Journal | None = None,
        snapshot: Snapshot | None = None,
        peers: Peers | None = None,
        draw: Callable[[], float] = _RANDOM.random,
    ) -> None:
        self.policy = policy = policy or Policy()
        if journal is not None and not policy.pending_writes:
            raise PolicyError("a journal keeps pending writes, and pending_writes = false")
        self._primary = primary
        self._now = now
        self._observers = tuple(observers)
        self.cache = InMemoryRepository(
            now=now, entries_max=policy.cache_entries_max, ttl_s=policy.cache_ttl_s
        )
        self.pending = PendingWrites(entries_max=policy.pending_max)
        self._draw = draw
        self.breaker = self._make_breaker()
        self.budget = self._make_budget()
        self._guarded = GuardedPrimary(
            calls_in_flight_max=policy.calls_in_flight_max,
            observe=self._observe,
            breaker=self.breaker,
            budget=self.budget,
            cancels_at_once=getattr(primary, "cancels_at_once", False),
        )
        self._journal = GuardedJournal(
            journal,
            append_timeout_s=policy.journal_timeout_s,
            open_timeout_s=policy.journal_open_timeout_s,
            observe=self._observe,
        )
        self._warm_start = WarmStart(
            None if policy.read_policy == "primary-only" else snapshot,
            cache=self.cache,
            policy=policy,
            now=now,
            observe=self._observe,
        )
        self._custody = Custody(
            cache=self.cache,
            pending=self.pending,
            journal=self._journal,
            policy=policy,
            now=now,
            observe=self._observe,
            learnt=self._warm_start.learnt,
        )
        self.lookup = Lookup(
            primary=primary,
            guarded=self._guarded,
            custody=self._custody,
            cache=self.cache,
            policy=policy,
            now=now,
            observe=self._observe,
            peers=PeerLookup(
                peers, cache=self.cache, policy=policy, now=now, observe=self._observe
            ),
        )
        self._listing = Listing(
            primary=primary,
            guarded=self._guarded,
            custody=self._custody,
            pending=self.pending,
            lookup=self.lookup,
            policy=policy,
            now=now,
        )
        self._reconciler = Reconciler(
            primary=primary,
            guarded=self._guarded,
            custody=self._custody,
            cache=self.cache,
            pending=self.pending,
            policy=policy,
            observe=self._observe,
            draw=draw,
            warm_start=self._warm_start,
        )
        self._running = False

    async def __aenter__(self) -> Self:
        # What was recovered is pending before the refresh, which then confirms those keys that the
        # primary has already: a flush sends only what it lacks.
        await self._custody.open()
        try:
            await self._warm_start.load()
            # A primary that is down costs one time-out here; the service starts all the same.
            await self._reconciler.start()
        except BaseException:
            self._journal.kill()
            raise
        self._running = True
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._running = False
        await self._reconciler.stop()
        drain_s = self.policy.drain_timeout_s
        try:
            if self.pending and drain_s > 0:
                async with asyncio.timeout(drain_s):
                    await self._reconciler.flush()
        except TimeoutError:
            pass
        finally:
            try:
                await self._warm_start.save()
                await self._guarded.close(drain_s)
            finally:
                await self._custody.close()

    def kill(self) -> None:
        """Stop at once and flush nothing, as a crash would. For tests and simulations."""
        self._running = False
        self._reconciler.kill()
        self._guarded.kill()
        self._journal.kill()

    @property
    def calls_in_flight(self) -> int:
        """Calls to the primary under way, those included that were given up at their time-out."""
        return self._guarded.calls_in_flight

    @property
    def breaker_state(self) -> BreakerState:
        """The state of the breaker in front of the primary; closed if the policy has none."""
        return BreakerState.CLOSED if self.breaker is None else self.breaker.state

    @property
    def oldest_pending_age_s(self) -> float:
        """For how long the oldest pending write has waited, in seconds; zero if none waits."""
        since_s = self.pending.oldest_since_s()
        return 0.0 if since_s is None else asyncio.get_running_loop().time() - since_s

    async def create(self, key: PublicKey) -> Durability:
        """Store a key in memory and in the primary, and say how durable that is.

        `Durability.MEMORY` means that the primary failed or did not answer in time: the key can be
        used, and waits in pending writes (if the policy has them) for the primary to return.
        `Durability.JOURNAL` means the same of the primary, but the key is on the disk.

        If the caller cancels, the key is not acknowledged, but it may be in the primary already;
        so it is flushed all the same, and every store agrees in the end.

        Raises:
            KeyConflictError: the id is bound to other material; the first key is kept.
            KeyExpiredError: the key's time has passed.
            PendingFullError: the primary is away and no more pending writes are allowed.
            PrimaryUnavailableError: only with `write_order="primary-only"`.
        """
        self._must_run()
        if key.has_expired(self._now()):
            raise KeyExpiredError(f"key {key.id!r} expired at {key.expires}; nothing was stored")
        self._custody.free(key.id)
        order = self.policy.write_order
        if order == "primary-only":
            durability = await self._insert(key)
        else:
            self._refuse_conflict(key)
            put_at = None
            if order == "cache-first" and self.cache.put(key):
                put_at = self.cache.confirmed_at(key.id)
            durability = await self._write_through(key, put_at=put_at)
        # Whoever asked while the key was on its way may have been told that there is none.
        self._custody.absent.forget(key.id)
        self._listing.note(key, durability)
        self._observe(KeyCreated(key_id=key.id, durability=durability))
        return durability

    async def get(self, key_id: str) -> PublicKey:
        """Return the unexpired key with this id, from whichever store can give it.

        Raises:
            KeyUnavailableError: memory cannot answer and the primary cannot be asked: answer 503.
            KeyNotFoundError: nobody has the key. A malformed id is never looked for.
        """
        self._must_run()
        return await self.lookup.get(key_id)

    def at_hand(self, key_id: str) -> PublicKey | None:
        """Return the key if memory has it, and ask nobody: the answer for other instances.

        Not one that has expired, nor one that memory may not serve any more (`max_staleness_s`).
        """
        return self.lookup.at_hand(key_id)

    def all_at_hand(self) -> list[PublicKey]:
        """Return every key for which `at_hand` has an answer, and ask nobody."""
        return self.lookup.all_at_hand()

    async def valid_keys(self) -> ValidKeys:
        """Return every unexpired key that `get` would return, and whether these are all.

        The primary is asked within `select_timeout_s` for each page and `load_timeout_s` as a
        whole. Callers share one answer a second (`ftrepo.listing.LISTED_FOR_S`): it has every key
        whose `create` was acknowledged here, and those of other instances that memory has learnt
        of; others, where the primary announces nothing, may be so much younger than it. Other
        instances are not asked.

        Raises:
            KeyUnavailableError: only with `read_policy="primary-only"`, if the primary cannot be
                asked. Otherwise memory answers, and the answer is not complete.
        """
        self._must_run()
        return await self._listing.keys()

    async def until_settled(self, key_id: str) -> None:
        """Wait until a key no longer waits to be written: the primary has it, or it was given up.

        Returns at once if it does not wait.
        """
        await self.pending.until_gone(key_id)

    async def delete_expired(self) -> int:
        """Delete expired keys from the primary and from memory; a failure of one is no error.

        Returns:
            How many the primary deleted; if it could not be asked, how many left memory. The
            primary's clean-up is then made up for when it returns.
        """
        self._must_run()
        from_primary, from_cache = await self._reconciler.delete_expired()
        return from_cache if from_primary is None else from_primary

    async def flush(self) -> int:
        """Flush pending writes now instead of at the next beat; return how many were confirmed."""
        self._must_run()
        return await self._reconciler.flush()

    async def _insert(self, key: PublicKey) -> Durability:
        insert = partial(self._primary.create, key)
        return await self._guarded.call(
            "create", insert, timeout_s=self.policy.insert_timeout_s, urgency=Urgency.WRITE
        )

    async def _write_through(self, key: PublicKey, *, put_at: datetime | None) -> Durability:
        """Write a key that memory may hold already, and make sure that it is not forgotten."""
        place = self._custody.reserve(key, put_at=put_at)
        try:
            durability = await self._insert(key)
        except KeyConflictError:
            self._custody.refuse(key, place, "conflict")
            self._observe(ConflictSeen(key_id=key.id))
            raise
        except KeyExpiredError:
            self._custody.refuse(key, place, "expired")
            raise
        except PrimaryUnavailableError as error:
            return await self._custody.keep(key, error, place)
        except BaseException:
            self._custody.let_wait(key, place)
            raise
        try:
            self.cache.put(key)
        finally:
            # Also if it expired just now: nothing is owed of what the primary has.
            self._custody.confirm(key)
        return durability

    def _refuse_conflict(self, key: PublicKey) -> None:
        held = self.cache.lookup(key.id) or self.pending.get(key.id)
        if held is None or held.has_expired(self._now()):
            return
        if not held.same_material(key):
            raise KeyConflictError(f"id {key.id!r} is bound to other key material, which is kept")

    def _make_breaker(self) -> CircuitBreaker | None:
        policy = self.policy
        if not policy.breaker:
            return None
        settings = BreakerSettings(
            failure_threshold=policy.breaker_failure_threshold,
            count_interval_s=policy.breaker_count_interval_s,
            failure_rate=policy.breaker_failure_rate,
            slow_rate=policy.breaker_slow_rate,
            slow_call_s=policy.breaker_slow_call_s,
            window_s=policy.breaker_window_s,
            window_calls_min=policy.breaker_window_calls_min,
            open_s=policy.breaker_open_s,
            open_factor=policy.breaker_open_factor,
            open_max_s=policy.breaker_open_max_s,
            open_jitter=policy.breaker_open_jitter,
            half_open_max_calls=policy.breaker_half_open_max_calls,
            probe_timeout_s=policy.breaker_probe_timeout_s,
        )
        return CircuitBreaker(
            settings, name="primary", on_change=self._breaker_changed, draw=self._draw
        )

    def _make_budget(self) -> CallBudget | None:
        rate_per_s = self.policy.futile_calls_per_s_max
        if rate_per_s is None or self.policy.read_policy == "primary-only":
            return None
        burst = self.policy.calls_in_flight_max
        reserve = math.ceil(RESERVED_SHARE * burst)
        return CallBudget(rate_per_s=rate_per_s, burst=burst, reserve=reserve)

    def _breaker_changed(self, old: BreakerState, new: BreakerState) -> None:
        if new is BreakerState.CLOSED and self.budget is not None:
            ramp_s = self.policy.ramp_up_s * (1.0 - RAMP_JITTER * self._draw())
            self.budget.begin_ramp(asyncio.get_running_loop().time(), ramp_s)
        self._reconciler.breaker_changed(new)
        self._observe(BreakerChanged(breaker="primary", old=old, new=new))

    def _observe(self, event: Event) -> None:
        for observer in self._observers:
            try:
                observer(event)
            except Exception as error:
                log_failure(_log, "an observer failed on %s", type(event).__name__, error=error)

    def _must_run(self) -> None:
        if not self._running:
            raise RuntimeError(
                "the repository is not running; use it in `async with FaultTolerantRepository(...)`"
            )
