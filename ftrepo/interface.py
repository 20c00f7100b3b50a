"""The small interfaces that the stores, the facade and the instruments share."""

from __future__ import annotations

import enum
from asyncio import Future
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from dataclasses import dataclass
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
    """A repository that can serve as the store of record behind `FaultTolerantRepository`.

    A store may have an attribute `cancels_at_once`. If it is true, a call that is cancelled ends
    without waiting for anything, the server least of all; it then needs no task of its own to be
    left behind in, and is cheaper by a few turns of the loop. Without it nothing is assumed.
    """

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


@runtime_checkable
class ChangeFeed(Protocol):
    """A primary that tells of new keys, so that nobody has to ask for them."""

    def changes(self) -> AsyncGenerator[Sequence[PublicKey] | None, None]:
        """Yield keys that were just stored by another instance; by this one, if it cannot tell.

        `None` means that something may have been missed, and everything is to be looked at. It
        comes first, since nobody listened before. Closing the generator ends the subscription.

        Raises:
            PrimaryUnavailableError: the feed was lost, or cannot be had. It does not end otherwise.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What a journal held when it was opened.

    Attributes:
        keys: those that can be trusted, in the order in which they were appended; expired ones
            included.
        corrupted: for each row that cannot be trusted, why not. The rows are set aside.
        file_set_aside: where the file was moved, if it could not be read as a journal; the
            journal then began anew, with those keys that could be saved from it.
    """

    keys: tuple[PublicKey, ...] = ()
    corrupted: tuple[str, ...] = ()
    file_set_aside: str | None = None


@runtime_checkable
class Journal(Protocol):
    """Where pending writes survive the process that acknowledged them.

    Used by one repository of one process, once: `open`, then any number of `append` and `remove`,
    then `close` or `kill`. It is not opened a second time. The calls to `append` and `remove` take
    their place in one order at once, so the last call decides about an id, however long each takes
    to be carried out. They return a future; cancelling it withdraws nothing.
    """

    async def open(self) -> Recovered:
        """Open the journal for this process alone and return what it holds.

        Raises:
            JournalLockedError: another process has it open.
            JournalError: it cannot be used, or was written by a newer version.
        """
        ...

    def append(self, keys: Sequence[PublicKey]) -> Future[None]:
        """Write keys; they survive the process once the future has its result.

        A key whose id the journal has already takes the place of the earlier one. If the future
        raises, none of the keys is certain to be there: `JournalFullError` for the bound,
        `JournalError` for everything else.
        """
        ...

    def remove(self, key_ids: Sequence[str]) -> Future[None]:
        """Take keys out again; ids that are not there are passed over.

        The future raises `JournalError` if that failed; the keys may then still be there.
        """
        ...

    async def close(self) -> None:
        """Carry out every call made so far, and let another process open the journal."""
        ...

    def kill(self) -> None:
        """Carry out nothing more and wait for nothing, as a crash would."""
        ...

    def __len__(self) -> int:
        """Return how many keys it holds, those on their way included."""
        ...


@runtime_checkable
class Peers(Protocol):
    """The other instances of a service. They must be authenticated: what they say is trusted."""

    async def find(self, key_id: str) -> PublicKey | None:
        """Ask the others for a key, all at once, and return the first that one of them has.

        `None` if nobody who answered has it. Each answers from `FaultTolerantRepository.at_hand`,
        and asks nobody in turn. Whoever does not answer may be waited for: the caller has a
        time-out, and cancels.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """What a snapshot held.

    Attributes:
        keys: those that can be trusted; expired ones included.
        at: when it was saved.
        corrupted: for each entry that cannot be trusted, why not.
    """

    keys: tuple[PublicKey, ...]
    at: datetime
    corrupted: tuple[str, ...] = ()


@runtime_checkable
class Snapshot(Protocol):
    """Where the keys of memory survive the process, for one that starts in an outage."""

    async def load(self) -> Saved | None:
        """Return what was saved last; `None` if nothing ever was.

        Raises:
            JournalError: it cannot be read, or is no snapshot.
        """
        ...

    async def save(self, keys: Sequence[PublicKey], at: datetime) -> None:
        """Replace what was saved, all of it or nothing.

        Args:
            keys: every key of memory.
            at: the time now.

        Raises:
            JournalError: it cannot be written; what was saved before is still there.
        """
        ...
