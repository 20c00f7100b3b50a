"""Every key that a verifier may need: the repository's, and in an outage those of other instances.

How often the stores are asked is bounded where they are asked: callers share one answer of the
repository a second, and one of the other instances.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ftrepo.errors import InvalidKeyError
from ftrepo.failure_log import log_failure
from ftrepo.keys import PublicKey
from ftrepo.resilience.clock import RunningClock
from ftrepo.resilience.single_flight import SingleFlight

if TYPE_CHECKING:
    from ftrepo.interface import Clock
    from ftrepo.listing import ValidKeys

_log = logging.getLogger(__name__)

PEERS_SHARED_S = 1.0
"""How long callers share what other instances said, from when they were asked."""

READ_AT_ONCE = 200
"""How many keys are read in one turn of the loop, some milliseconds long, in which no caller gets
an answer."""


class KeyLister(Protocol):
    """Whoever knows every valid key, such as a `FaultTolerantRepository`."""

    async def valid_keys(self) -> ValidKeys:
        """Return every unexpired key, and whether these are all."""
        ...


class PeerList(Protocol):
    """Other instances, asked for all that they have."""

    async def list_all(self) -> Sequence[PublicKey]:
        """Return the keys of those who answer in time. Raises nothing but cancellation."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedKeys:
    """The keys that are published. The same object as before, if nothing has changed.

    Attributes:
        keys: unexpired ones that can be read, in the order of their ids.
        jwks: the same as JWKs, in the same order, fit for the member `keys` of a JWK set.
        is_complete: whether there are no others. If not, a verifier should come again soon.
    """

    keys: tuple[PublicKey, ...]
    jwks: tuple[Mapping[str, str], ...]
    is_complete: bool


class KeySet:
    """Puts together the set of keys.

    A key that cannot be read as one is left out and logged once: whoever edits a table must not
    take the other keys from every verifier.

    Args:
        repository: knows the keys; how long it takes to say so is its matter.
        now: the calendar time.
        peers: other instances, asked when the repository does not know all; `None` asks nobody.
    """

    def __init__(self, repository: KeyLister, *, now: Clock, peers: PeerList | None = None) -> None:
        self._repository = repository
        self._now = now
        self._peers = peers
        self._clock = RunningClock()
        self._making: SingleFlight[int, PublishedKeys] = SingleFlight()
        self._asking: SingleFlight[None, _Others] = SingleFlight()
        self._others = _Others((), None)
        self._jwks: dict[PublicKey, Mapping[str, str] | None] = {}
        self._made: _Made | None = None

    async def current(self) -> PublishedKeys:
        """Return the keys that are valid now.

        Raises:
            KeyUnavailableError: the repository's policy is to answer nothing in an outage.
        """
        found = await self._repository.valid_keys()
        others = _NOBODY
        if not found.is_complete and self._peers is not None:
            others = await self._from_peers(self._peers)
        made = self._made
        if made is not None and made.is_of(found, others, self._now()):
            return made.published
        # Who brings the same shares the making; `found` lives as long, so its identity is its own.
        published, _ = await self._making.run(id(found), partial(self._make, found, others))
        return published

    async def _from_peers(self, peers: PeerList) -> _Others:
        at_s = self._others.at_s
        if at_s is None or self._clock.time_s() - at_s >= PEERS_SHARED_S:
            self._others, _ = await self._asking.run(None, partial(self._ask, peers))
        return self._others

    async def _ask(self, peers: PeerList) -> _Others:
        at_s = self._clock.time_s()
        return _Others(tuple(await peers.list_all()), at_s)

    async def _make(self, found: ValidKeys, others: _Others) -> PublishedKeys:
        now = self._now()
        by_id = {key.id: key for key in others.keys if not key.has_expired(now)}
        by_id.update((key.id, key) for key in found.keys)  # Ours, whatever others say of an id.
        jwks: dict[PublicKey, Mapping[str, str] | None] = {}
        for number, key in enumerate(by_id[key_id] for key_id in sorted(by_id)):
            if number % READ_AT_ONCE == READ_AT_ONCE - 1:
                await asyncio.sleep(0)
            jwks[key] = self._jwks[key] if key in self._jwks else _jwk(key)
        self._jwks = jwks
        readable = {key: jwk for key, jwk in jwks.items() if jwk is not None}
        published = PublishedKeys(
            keys=tuple(readable), jwks=tuple(readable.values()), is_complete=found.is_complete
        )
        expires = min((key.expires for key in readable), default=None)
        self._made = _Made(found, others, expires, published)
        return published


class _Others(NamedTuple):
    """What other instances said, and when they were asked."""

    keys: tuple[PublicKey, ...]
    at_s: float | None


_NOBODY = _Others((), None)


class _Made(NamedTuple):
    """What the keys were put together from, and until when that holds."""

    found: ValidKeys
    others: _Others
    expires: datetime | None
    published: PublishedKeys

    def is_of(self, found: ValidKeys, others: _Others, now: datetime) -> bool:
        is_same = self.found is found and self.others is others
        return is_same and (self.expires is None or now < self.expires)


def _jwk(key: PublicKey) -> Mapping[str, str] | None:
    try:
        return key.to_jwk()
    except InvalidKeyError as error:
        log_failure(_log, "key %s is left out of the key set: it is no key", key.id, error=error)
        return None
