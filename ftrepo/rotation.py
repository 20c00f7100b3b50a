"""Which key a service signs with: made on schedule, published ahead, used when others find it.

::

    start ──▶ make, publish ──▶ sign with it at once
    every interval_s: make, publish ──lead──▶ wait for the primary ──▶ sign with it
                                                    │ the older key may sign no longer
                                                    └───────────────▶ sign with it all the same

A verifier may ask any instance for the key of a token. A key that only its maker knows is of no use
there, so a new key waits until it has spread, while the older one goes on signing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from ftrepo.errors import FtrepoError, InvalidKeyError, KeyConflictError
from ftrepo.failure_log import log_failure
from ftrepo.policy import Policy

if TYPE_CHECKING:
    from ftrepo.interface import Clock, Durability
    from ftrepo.keys import PublicKey

_log = logging.getLogger("ftrepo")

REPEAT_CREATE_S = 5.0
"""How long a rotation waits before it repeats a `create` that was not acknowledged."""

_HOPELESS = (KeyConflictError, InvalidKeyError)
"""Errors for which there is another key to make: this one will never be stored."""


class KeyPair(Protocol):
    """Whatever signs, such as a `SigningKey`."""

    @property
    def public(self) -> PublicKey:
        """The half that verifiers need."""
        ...


class Publisher(Protocol):
    """Where public keys are published: a `FaultTolerantRepository`."""

    async def create(self, key: PublicKey) -> Durability:
        """Store a key; see `PublicKeyRepository.create`."""
        ...

    async def until_settled(self, key_id: str) -> None:
        """Wait until a key no longer waits to be written."""
        ...


K = TypeVar("K", bound=KeyPair)


class KeyRotation(Generic[K]):
    """Makes keys on a schedule, publishes them, and says which one to sign with now.

    Args:
        publisher: where public keys go.
        make: returns a new key pair, valid from now on.
        policy: `publish_lead_s` and `sign_when_committed`.
        interval_s: the time between two keys.
        token_lifetime_s: the longest that a token is valid; a key may sign until so long before it
            expires.
        now: the calendar time, by which keys expire.
        first_in_s: when the second key is due, from the start on; `None` for `interval_s`. Later
            ones follow every `interval_s`. For a fleet whose instances should not rotate at once.
        on_use: is told when a key begins to sign.
        on_failure: is told why a key was not published; by default the log is.

    Attributes:
        current: the key to sign with; `None` before the start has returned.
    """

    def __init__(
        self,
        publisher: Publisher,
        make: Callable[[], K],
        policy: Policy,
        *,
        interval_s: float,
        token_lifetime_s: float,
        now: Clock,
        first_in_s: float | None = None,
        on_use: Callable[[K], None] = lambda key: None,
        on_failure: Callable[[PublicKey, FtrepoError], None] | None = None,
    ) -> None:
        self.current: K | None = None
        self._publisher = publisher
        self._make = make
        self._policy = policy
        self._interval_s = interval_s
        self._token_lifetime_s = token_lifetime_s
        self._now = now
        self._first_in_s = interval_s if first_in_s is None else first_in_s
        self._on_use = on_use
        self._on_failure = on_failure or _log_failure
        self._started_s = 0.0

    async def start(self) -> None:
        """Publish a first key, and sign with it at once: there is no older one to sign with.

        Returns as soon as the key is acknowledged, with the primary away after one time-out. A
        publisher that does not acknowledge it is asked again every `REPEAT_CREATE_S`, with another
        key if it says that the id is taken.
        """
        self._started_s = asyncio.get_running_loop().time()
        self._use(await self._publish())

    async def run(self) -> None:
        """Renew the key on schedule, for ever: cancel it to stop. Call `start` before."""
        loop = asyncio.get_running_loop()
        beat = 0
        async with asyncio.TaskGroup() as group:
            while True:
                beat_s = self._started_s + self._first_in_s + beat * self._interval_s
                beat += 1
                # Beats that passed while a key could not be published are left out.
                if beat_s >= loop.time():
                    await asyncio.sleep(beat_s - loop.time())
                    group.create_task(self._bring_into_use(await self._publish()))

    async def _publish(self) -> K:
        while True:
            pair = self._make()
            while not pair.public.has_expired(self._now()):
                try:
                    await self._publisher.create(pair.public)
                except FtrepoError as error:
                    self._on_failure(pair.public, error)
                    failed = error
                else:
                    return pair
                await asyncio.sleep(REPEAT_CREATE_S)
                if isinstance(failed, _HOPELESS):
                    break  # The same key would be refused again, until it expires.

    async def _bring_into_use(self, pair: K) -> None:
        lead_s = lead_before_use_s(
            self._policy,
            lifetime_s=(pair.public.expires - pair.public.created).total_seconds(),
            interval_s=self._interval_s,
            token_lifetime_s=self._token_lifetime_s,
        )
        loop = asyncio.get_running_loop()
        spread_s = loop.time() + lead_s
        # The older key may have less left than the lead, if this one was late to be acknowledged.
        while True:
            wait_s = min(spread_s - loop.time(), self._may_sign_for_s())
            if wait_s <= 0:
                break
            await asyncio.sleep(wait_s)
        while self._policy.sign_when_committed and (left_s := self._may_sign_for_s()) > 0:
            try:
                async with asyncio.timeout(left_s):
                    await self._publisher.until_settled(pair.public.id)
                break
            except TimeoutError:
                continue  # Another key may have come into use meanwhile, and may sign for longer.
        self._use(pair)

    def _may_sign_for_s(self) -> float:
        """How long the current key may go on signing; zero or less if no longer."""
        if self.current is None:
            return 0.0
        left = self.current.public.expires - self._now()
        return left.total_seconds() - self._token_lifetime_s

    def _use(self, pair: K) -> None:
        current, now = self.current, self._now()
        # A key from the future is no newer one: the clock was wrong when it was made, and has been
        # set back since. It would sign until the time from which it is.
        is_newer = current is None or not (pair.public.created <= current.public.created <= now)
        if is_newer and not pair.public.has_expired(now):
            self.current = pair
            self._on_use(pair)


def lead_before_use_s(
    policy: Policy, *, lifetime_s: float, interval_s: float, token_lifetime_s: float
) -> float:
    """How long a new key waits before it signs: `publish_lead_s`, or what its lifetime leaves.

    Args:
        policy: asks for it.
        lifetime_s: of a key, which has to sign for an interval, and to outlive its last token.
        interval_s: the time between two keys.
        token_lifetime_s: the longest that a token is valid.
    """
    return min(policy.publish_lead_s, max(0.0, lifetime_s - interval_s - token_lifetime_s))


def _log_failure(key: PublicKey, error: FtrepoError) -> None:
    again = "key %s was not published; again in %s s"
    log_failure(_log, again, key.id, REPEAT_CREATE_S, error=error)
