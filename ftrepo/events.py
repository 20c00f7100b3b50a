"""What the repository tells its observers: one small immutable record for each thing that happened.

Logs, metrics and the simulation's recorder all read the same events. None carries key material.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ftrepo.interface import Durability
    from ftrepo.resilience.breaker import BreakerState


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCreated:
    """A `create` was acknowledged to its caller."""

    key_id: str
    durability: Durability


@dataclass(frozen=True, slots=True, kw_only=True)
class PrimaryFailed:
    """A call to the primary failed or ran out of time."""

    operation: str
    error: BaseException
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheMiss:
    """`get` did not find an unexpired key in memory, when it looked there."""

    key_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedFromMemory:
    """`get` answered from memory because the primary could not, or did not know the key."""

    key_id: str
    reason: Literal["unavailable", "unknown to the primary"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeersAsked:
    """Other instances were asked for a key that memory lacks and the primary cannot be asked for.

    Attributes:
        found: whether one of them had it.
    """

    key_id: str
    found: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Flushed:
    """A batch of pending writes was confirmed by the primary.

    Attributes:
        confirmed: keys that the primary now has.
        remaining: keys that still wait.
    """

    confirmed: int
    remaining: int
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FlushFailed:
    """A flush did not reach the primary; its keys still wait."""

    attempted: int
    remaining: int
    error: BaseException


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingDropped:
    """A pending key will never be written.

    Attributes:
        reason: `expired` before it could be written; in `conflict` with other material under the
            same id in the primary; or `shutdown` with the primary still away and no journal that
            has the key.
    """

    key_id: str
    reason: Literal["expired", "conflict", "shutdown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConflictSeen:
    """Memory and the primary hold different material under one id. The primary's is kept."""

    key_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refreshed:
    """Every unexpired key of the primary was loaded into the cache.

    Attributes:
        loaded: keys that the primary returned.
        added: how many of them the cache lacked.
    """

    loaded: int
    added: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpiredDeleted:
    """Expired keys were deleted.

    Attributes:
        from_primary: how many the primary deleted; `None` if it could not be asked.
        from_cache: how many left memory.
    """

    from_primary: int | None
    from_cache: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerChanged:
    """A breaker changed its state.

    Attributes:
        breaker: its name; that of the one in front of the primary is "primary".
    """

    breaker: str
    old: BreakerState
    new: BreakerState


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryScheduled:
    """An attempt failed and will be repeated.

    Attributes:
        operation: what is attempted.
        attempt: the number of the attempt that failed, from 1.
        pause_s: how long until the next.
    """

    operation: str
    attempt: int
    error: BaseException
    pause_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalRecovered:
    """The journal was opened. What an earlier process had left in it is pending again.

    Attributes:
        keys: how many unexpired keys it held.
        expired: how many keys had expired meanwhile; they are dropped.
        corrupted: how many rows could not be trusted and were set aside, within the journal.
        file_set_aside: where the file itself was moved, if it was no readable journal; `None` if
            it was. How many keys were lost with it is then unknown.
    """

    keys: int
    expired: int
    corrupted: int
    file_set_aside: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotLoaded:
    """The keys that an earlier process had in memory are in memory again.

    Attributes:
        keys: how many unexpired ones there were.
        age_s: how old the snapshot is.
        corrupted: how many entries could not be trusted and are left out.
    """

    keys: int
    age_s: float
    corrupted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotFailed:
    """The snapshot could not be read or written; a start in an outage may find memory empty."""

    operation: Literal["load", "save"]
    error: BaseException


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalFailed:
    """The journal did not do what it was asked to, or not in time.

    After `append`, the keys are as durable as memory; after `remove`, keys that the primary has
    are looked at once more at the next start; after `close`, what was on its way may be missing.
    """

    operation: Literal["append", "remove", "close"]
    error: BaseException


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalKept:
    """The repository stopped before the primary had these keys; the journal has them."""

    keys: int


Event = (
    KeyCreated
    | PrimaryFailed
    | CacheMiss
    | ServedFromMemory
    | PeersAsked
    | Flushed
    | FlushFailed
    | PendingDropped
    | ConflictSeen
    | Refreshed
    | ExpiredDeleted
    | BreakerChanged
    | RetryScheduled
    | JournalRecovered
    | JournalFailed
    | JournalKept
    | SnapshotLoaded
    | SnapshotFailed
)
