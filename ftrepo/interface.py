"""The small interfaces that the stores, the facade and the instruments share."""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from ftrepo.events import Event
    from ftrepo.keys import PublicKey

Clock = Callable[[], datetime]
"""Returns the calendar time, with a time zone. Injected everywhere, so it can be simulated."""

Observer = Callable[["Event"], None]
"""Is told of every event, in the order of their happening. Must not block and should not raise."""


class Durability(enum.Enum):
    """What an acknowledged `create` will survive, from the least to the most."""

    MEMORY = "memory"
    """The process. A crash before the next successful flush loses the key."""
    JOURNAL = "journal"
    """A crash of the process and a restart on the same disk."""
    PRIMARY = "primary"
    """Whatever the primary survives: it has committed the key."""


@runtime_checkable
class PublicKeyRepository(Protocol):
    """Where public keys are kept. A caller cannot tell which implementation it holds."""

    async def create(self, key: PublicKey) -> Durability:
        """Store a key and say how durable the acknowledgement is.

        A second create of the same id and material is a no-op that succeeds.

        Raises:
            KeyConflictError: the id is bound to other material; the first key is kept.
            KeyExpiredError: the key's time has passed; nothing was stored.
            PrimaryUnavailableError: from a store that depends on a server, if that cannot be asked.
                Whether the key was stored is then unknown.
        """
        ...

    async def get(self, key_id: str) -> PublicKey:
        """Return the unexpired key with this id.

        Raises:
            KeyNotFoundError: there is none. A malformed id is never found.
            PrimaryUnavailableError: from a store that depends on a server, if that cannot be asked.
        """
        ...

    async def delete_expired(self) -> int:
        """Delete every expired key and return how many there were."""
        ...


@runtime_checkable
class PrimaryStore(PublicKeyRepository, Protocol):
    """A repository that can serve as the store of record behind `FaultTolerantRepository`."""

    async def create_many(self, keys: Sequence[PublicKey]) -> Collection[str]:
        """Store a batch in one round trip and return the ids that are bound to other material.

        Every other key of the batch is stored when this returns. Expired keys are the caller's
        to leave out.

        Raises:
            PrimaryUnavailableError: the store cannot be asked; how much was stored is unknown, and
                the same batch can be sent again.
        """
        ...

    async def list_valid(self, *, after: str | None, limit: int) -> Sequence[PublicKey]:
        """Return one page of the unexpired keys, in the order of their ids.

        Args:
            after: the last id of the page before; `None` for the first page.
            limit: the most keys that a page holds, at least 1. A shorter page is the last one.
        """
        ...

    async def ping(self) -> None:
        """Return if the store would accept a write now, and raise otherwise."""
        ...
