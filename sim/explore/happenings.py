"""What happened in a world, in the order of its happening: what the invariants are held against.

Everything here was seen from outside of the repository under test: what callers asked and were
told, what reached the simulated primary, what lies in the stores. None of it is a counter that the
repository keeps of itself; its own events are there for the timeline and for coverage alone.

Times are seconds since the world began, by the world's own clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING

from sim.explore.hostile_world import OperationKind, StopKind
from sim.world.outages import Outage

if TYPE_CHECKING:
    from ftrepo.events import Event
    from ftrepo.interface import Durability
    from ftrepo.keys import PublicKey
    from ftrepo.policy import Policy
    from sim.explore.hostile_world import HostileWorld


class Outcome(Enum):
    """What a caller was told."""

    ACKNOWLEDGED = "acknowledged"
    """Of a create, a flush and a delete_expired."""
    FOUND = "found"
    NOT_FOUND = "not found"
    UNAVAILABLE = "unavailable"
    CONFLICT = "conflict"
    EXPIRED = "expired"
    FULL = "full"
    CANCELLED = "cancelled"
    """The caller gave up by itself."""
    CUT_OFF = "cut off"
    """The instance ended under the call, or was not running when it came."""
    FAILED = "failed"
    """Any other error: always a defect."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A caller asked something of an instance."""

    at_s: float
    operation: int
    """Its place in `HostileWorld.operations`."""
    kind: OperationKind
    instance: int
    process: int
    """Which process of the instance it is: 0 for the first, and one more after each restart."""
    key_id: str | None


@dataclass(frozen=True, slots=True)
class Told:
    """A caller got an answer, an error, or gave up."""

    at_s: float
    operation: int
    outcome: Outcome
    key: PublicKey | None = None
    """What `get` returned, or what `create` was given."""
    durability: Durability | None = None
    """Of an acknowledged create."""
    error: str = ""
    """Of what failed: its type and text."""


@dataclass(frozen=True, slots=True)
class Committed:
    """The primary stored a key, in place of an expired one if it held that."""

    at_s: float
    key: PublicKey


@dataclass(frozen=True, slots=True)
class Removed:
    """The primary deleted a key."""

    at_s: float
    key: PublicKey


@dataclass(frozen=True, slots=True)
class CallBegan:
    """An instance called the primary: through its pool, whether or not it gets there."""

    at_s: float
    call: int
    """Numbered over the whole world."""
    instance: int
    process: int
    name: str
    """The method of the store."""
    key_ids: tuple[str, ...]
    """What it writes, or the one it reads; empty for what concerns no key in particular."""


@dataclass(frozen=True, slots=True)
class CallEnded:
    """And the call came to an end."""

    at_s: float
    call: int
    error: str = ""
    """The type of what it raised, "CancelledError" included; empty if it answered."""


@dataclass(frozen=True, slots=True)
class Started:
    """A process of an instance runs and is ready for callers."""

    at_s: float
    instance: int
    process: int
    took_s: float = 0.0
    """How long its start took."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """A process ended; for `LEAVE`: began to end."""

    at_s: float
    instance: int
    process: int
    kind: StopKind


@dataclass(frozen=True, slots=True)
class OutageBegan:
    """The primary began to fail."""

    at_s: float
    outage: Outage


@dataclass(frozen=True, slots=True)
class OutageEnded:
    """The primary stopped to fail in that way."""

    at_s: float
    outage: Outage


@dataclass(frozen=True, slots=True)
class ClockStepped:
    """The clock of an instance jumped."""

    at_s: float
    instance: int
    by_s: float


@dataclass(frozen=True, slots=True)
class Observed:
    """The repository told its observers of something."""

    at_s: float
    instance: int
    process: int
    event: Event


@dataclass(frozen=True, slots=True)
class Stores:
    """What lay in the stores of a process at a moment: their contents, not what they count."""

    at_s: float
    instance: int
    process: int
    cached: frozenset[str]
    pending: frozenset[str]
    on_disk: frozenset[str]
    """Committed to the journal; empty without one."""


@dataclass(frozen=True, slots=True)
class StartFailed:
    """A process could not start, and said so by a documented error; the next one follows."""

    at_s: float
    instance: int
    process: int
    error: str
    took_s: float = 0.0
    """How long it was tried."""


@dataclass(frozen=True, slots=True)
class Broke:
    """Something failed that nobody was told of: a defect.

    An error of a background task, one that nobody awaited, one that left the context manager.
    """

    at_s: float
    what: str


Happening = (
    Asked
    | Told
    | Committed
    | Removed
    | CallBegan
    | CallEnded
    | Started
    | Stopped
    | OutageBegan
    | OutageEnded
    | ClockStepped
    | Observed
    | Stores
    | StartFailed
    | Broke
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chronicle:
    """A world that was played.

    Attributes:
        world: what was played.
        policy: under which policy.
        happenings: in the order of their happening.
        began: the calendar time at which the world began.
        recovered_s: from when on the primary was well, and nothing hostile happened any more.
        ended_s: when the play was over: long enough after `recovered_s` for everything to settle.
        rows: what the primary holds in the end, by id.
        leftover_tasks: of the repository, still running after every process was left in the end;
            with `open_connections`, what was leaked.
        open_connections: connections that a call of a process which has left still held in the end.
        digest: a SHA-256 over all happenings: equal if two plays were the same to the bit.
        failure: why the play came to no end of its own; empty if it came to one.
    """

    world: HostileWorld
    policy: Policy
    happenings: tuple[Happening, ...]
    began: datetime
    recovered_s: float
    ended_s: float
    rows: dict[str, PublicKey]
    leftover_tasks: tuple[str, ...]
    open_connections: int
    digest: str
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """An invariant did not hold.

    Attributes:
        invariant: its name.
        at_s: when that was seen.
        said: what was seen, in one sentence, with the numbers.
        key_id: of the key concerned; `None` if it concerns no single one.
        instance: where it was seen; `None` if nowhere in particular.
    """

    invariant: str
    at_s: float
    said: str
    key_id: str | None = None
    instance: int | None = None
