"""Other instances as a last resort: what one of them holds, the others need not do without.

A key that was made while the primary is away is in its maker's memory and nowhere else. Whoever
is asked for it elsewhere asks the other instances, once for all who wait, and only so often.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from ftrepo.events import Event, PeersAsked
from ftrepo.failure_log import log_failure
from ftrepo.resilience.clock import RunningClock
from ftrepo.resilience.single_flight import SingleFlight
from ftrepo.resilience.token_bucket import TokenBucket

if TYPE_CHECKING:
    from ftrepo.interface import Clock, Peers
    from ftrepo.keys import PublicKey
    from ftrepo.memory import InMemoryRepository
    from ftrepo.policy import Policy

_log = logging.getLogger("ftrepo")

LEFT_S_MIN = 0.005
"""With less of a caller's time left than this, nobody is asked any more."""


class PeerLookup:
    """Asks other instances for keys that memory lacks while the primary cannot be asked.

    Args:
        peers: the other instances; `None`, as `peer_timeout_s = None` of the policy, asks nobody.
        cache: takes what they have.
        policy: the time-out. They are asked no more than `futile_calls_per_s_max` times a second,
            after a first `calls_in_flight_max`: what they do not have costs each of them an answer.
        now: the calendar time.
        observe: is told of every question.
    """

    def __init__(
        self,
        peers: Peers | None,
        *,
        cache: InMemoryRepository,
        policy: Policy,
        now: Clock,
        observe: Callable[[Event], None],
    ) -> None:
        self._peers = None if policy.peer_timeout_s is None else peers
        self._timeout_s = policy.peer_timeout_s or 0.0
        self._select_timeout_s = policy.select_timeout_s
        rate_per_s = policy.futile_calls_per_s_max
        self._budget = (
            None if rate_per_s is None else TokenBucket(rate_per_s, policy.calls_in_flight_max)
        )
        self._cache = cache
        self._now = now
        self._observe = observe
        self._clock = RunningClock()
        self._flights: SingleFlight[str, PublicKey | None] = SingleFlight()

    async def find(self, key_id: str, *, asked_s: float) -> PublicKey | None:
        """Return the key, if another instance has it and says so in time.

        Args:
            key_id: which.
            asked_s: when the caller began to wait, by the loop's clock: the primary and the peers
                together take no longer than `select_timeout_s`.
        """
        if self._peers is None:
            return None
        timeout_s = self._timeout_s
        if self._select_timeout_s is not None:
            spent_s = self._clock.time_s() - asked_s
            timeout_s = min(timeout_s, self._select_timeout_s - spent_s)
        if timeout_s < LEFT_S_MIN:
            return None
        try:
            async with asyncio.timeout(timeout_s):
                key, _ = await self._flights.run(key_id, partial(self._ask, self._peers, key_id))
        except TimeoutError:
            return None
        return key

    async def _ask(self, peers: Peers, key_id: str) -> PublicKey | None:
        if self._budget is not None and not self._budget.take(self._clock.time_s()):
            return None
        key = None
        try:
            key = await peers.find(key_id)
        except Exception as error:
            log_failure(_log, "asking other instances for key %s failed", key_id, error=error)
        if key is not None and (key.id != key_id or key.has_expired(self._now())):
            key = None
        self._observe(PeersAsked(key_id=key_id, found=key is not None))
        if key is not None:
            # That the primary ever had it nobody knows: it is as stale as it is old.
            self._cache.recall([key], at=key.created)
        return key
