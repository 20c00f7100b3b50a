"""How `get` finds a key: memory and the primary, in the order that the policy says.

Callers who ask for one key at the same time share one call to the primary, and what the primary
does not have is not asked for again at once. So what the primary sees depends on how many keys
there are, and hardly on how many callers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from ftrepo.errors import KeyNotFoundError, KeyUnavailableError, PrimaryUnavailableError
from ftrepo.events import CacheMiss, Event, ServedFromMemory
from ftrepo.keys import is_key_id
from ftrepo.resilience.clock import RunningClock
from ftrepo.resilience.single_flight import SingleFlight

if TYPE_CHECKING:
    from ftrepo.custody import Custody
    from ftrepo.guarded import GuardedPrimary
    from ftrepo.interface import Clock, PrimaryStore
    from ftrepo.keys import PublicKey
    from ftrepo.memory import InMemoryRepository
    from ftrepo.peers import PeerLookup
    from ftrepo.policy import Policy

    Answer = PublicKey | PrimaryUnavailableError | None
    """What the primary says: a key, `None` if it has none, or why it cannot be asked."""


_HAIR_S = 0.001
"""A time that is too short to matter."""


class Lookup:
    """The reading half of `FaultTolerantRepository`; it shares its stores with the other half.

    Args:
        primary: the store of record, called only through `guarded`.
        guarded: the way to the primary.
        custody: is told of what the primary has, and of what it does not have.
        cache: keys in memory, the same that the custody has.
        policy: the order, the time-out, and how stale memory may be.
        now: the calendar time.
        observe: is told where answers came from.
        peers: other instances, who are asked last.

    Attributes:
        hits: how many calls memory has answered.
        misses: how many it was asked for and could not answer.
        absent_hits: how often it was known that the primary does not have the key.
    """

    def __init__(
        self,
        *,
        primary: PrimaryStore,
        guarded: GuardedPrimary,
        custody: Custody,
        cache: InMemoryRepository,
        policy: Policy,
        now: Clock,
        observe: Callable[[Event], None],
        peers: PeerLookup,
    ) -> None:
        self.hits = 0
        self.misses = 0
        self.absent_hits = 0
        self._primary = primary
        self._guarded = guarded
        self._custody = custody
        self._cache = cache
        self._now = now
        self._observe = observe
        self._peers = peers
        self._read_policy = policy.read_policy
        self._timeout_s = policy.select_timeout_s
        self._staleness_max = (
            None if policy.max_staleness_s is None else timedelta(seconds=policy.max_staleness_s)
        )
        self._clock = RunningClock()
        self._flights: SingleFlight[str, Answer] = SingleFlight()

    async def get(self, key_id: str) -> PublicKey:
        """Do what `FaultTolerantRepository.get` promises."""
        if not is_key_id(key_id):
            raise KeyNotFoundError("no key has this id: it is malformed")
        if self._read_policy == "cache-first":
            key = self._recall(key_id)
            if key is not None:
                self.hits += 1
                return key
            self.misses += 1
            self._observe(CacheMiss(key_id=key_id))
        elif self._read_policy == "primary-first" and not self._guarded.is_closed:
            # The breaker would refuse the call; an answer at hand need not wait for it to say so.
            key = self._recall(key_id)
            if key is not None:
                self.hits += 1
                self._observe(ServedFromMemory(key_id=key_id, reason="unavailable"))
                return key
        asked_s = self._clock.time_s()
        answer = await self._answer(key_id, asked_s)
        if answer is None or isinstance(answer, PrimaryUnavailableError):
            return await self._without_the_primary(key_id, answer, asked_s)
        return answer

    def at_hand(self, key_id: str) -> PublicKey | None:
        """Return an unexpired key from memory, pending ones included, if it may be served."""
        return self._recall(key_id)

    def all_at_hand(self) -> list[PublicKey]:
        """Return every key for which `at_hand` has an answer. That is no use of them."""
        return [key for key in self._cache.lookup_all() if not self._is_stale(key)]

    async def _answer(self, key_id: str, asked_s: float) -> Answer:
        """What the primary says, now or a moment ago, within the time-out."""
        if self._custody.absent.has(key_id, asked_s):
            self.absent_hits += 1
            return None
        ask = partial(self._ask, key_id, asked_s)
        answer, joined = await self._flights.run(key_id, ask)
        if joined and answer is None:
            # The key may have been stored after that call had begun, and before this one came.
            until_s = None if self._timeout_s is None else asked_s + self._timeout_s + _HAIR_S
            try:
                async with asyncio.timeout_at(until_s):
                    answer, _ = await self._flights.run(key_id, ask)
            except TimeoutError:
                # It has joined a later call, which may take longer than this one can wait.
                return PrimaryUnavailableError(f"get: no answer within {self._timeout_s} s")
        return answer

    async def _ask(self, key_id: str, asked_s: float) -> Answer:
        """Call the primary; what is left of the time-out began with the first who waits."""
        select = partial(self._primary.get, key_id)
        timeout_s = self._timeout_s
        began_s = self._flights.began_s(key_id)
        assert began_s is not None
        spent_s = self._clock.time_s() - min(asked_s, began_s)
        if timeout_s is not None and spent_s > _HAIR_S:
            timeout_s = max(_HAIR_S, timeout_s - spent_s)
        absent = self._custody.absent
        as_of = absent.forgotten
        try:
            key = await self._guarded.call("get", select, timeout_s=timeout_s)
        except KeyNotFoundError:
            absent.note(key_id, self._clock.time_s(), as_of=as_of)
            return None
        except PrimaryUnavailableError as error:
            return error
        now = self._now()
        if key.has_expired(now):
            # Expired here and not there: the clocks differ. It is as good as gone.
            absent.note(key_id, self._clock.time_s(), as_of=as_of)
            return None
        if self._read_policy != "primary-only":
            self._custody.learn_one(key, now)
        return key

    async def _without_the_primary(
        self, key_id: str, error: PrimaryUnavailableError | None, asked_s: float
    ) -> PublicKey:
        """The key from memory, or from another instance, since the primary has no answer."""
        if self._read_policy != "primary-only":
            key = self._recall(key_id)
            if key is not None:
                self.hits += 1
                self._observe(
                    ServedFromMemory(
                        key_id=key_id,
                        reason="unknown to the primary" if error is None else "unavailable",
                    )
                )
                return key
            if self._read_policy == "primary-first":  # With cache-first it was counted before.
                self.misses += 1
                self._observe(CacheMiss(key_id=key_id))
            if error is not None:
                found = await self._peers.find(key_id, asked_s=asked_s)
                if found is not None:
                    return found
            elif self._custody.owes(key_id):
                raise KeyUnavailableError(
                    f"key {key_id!r} waits to be written, and memory may serve it no longer",
                    retry_after_s=self._guarded.retry_after_s(),
                )
        if error is None:
            raise KeyNotFoundError(f"no store has an unexpired key {key_id!r}")
        raise KeyUnavailableError(
            f"key {key_id!r} is not at hand, and the primary, which may have it, cannot be asked",
            retry_after_s=self._guarded.retry_after_s(),
        ) from error

    def _recall(self, key_id: str) -> PublicKey | None:
        """The key from memory, pending ones included; not if it has been unconfirmed too long."""
        key = self._cache.lookup(key_id)
        return None if key is None or self._is_stale(key) else key

    def _is_stale(self, key: PublicKey) -> bool:
        is_stale = False
        if self._staleness_max is not None:
            confirmed = self._cache.confirmed_at(key.id) or key.created
            if self._now() - confirmed > self._staleness_max:
                is_stale = True
        return is_stale
