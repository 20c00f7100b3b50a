"""A hostile world: a short schedule of operations and of everything that may go wrong meanwhile.

A world is plain data, known whole before it is played. The same world played under the same policy
gives the same history, to the bit, in every process. It is small enough to be read, kept in a file
and made smaller; `sim.explore.drawing` draws one from a seed, `sim.explore.playing` plays it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from sim.world.errors import InputError
from sim.world.outages import Outage
from sim.world.primary_settings import PrimarySettings
from sim.world.settings import about, check


class OperationKind(Enum):
    """What a caller asks of the repository."""

    CREATE = "create"
    GET = "get"
    DELETE_EXPIRED = "delete_expired"
    FLUSH = "flush"
    PUBLISH = "publish"
    """Not a call: somebody outside of the fleet stores the key in the primary, past all faults."""


class StopKind(Enum):
    """How an instance ends."""

    KILL = "kill"
    """As kill -9 or a power cut: nothing more is done."""
    LEAVE = "leave"
    """In order: its context manager is left; calls under way are cancelled first."""


class DiskFaultKind(Enum):
    """What is wrong with the disk of an instance."""

    FULL = "full"
    HANGS = "hangs"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySpec:
    """A key that may be created, by its place in `HostileWorld.keys`.

    Its `created` is the moment of the first operation with it by the clock of that instance, or the
    beginning of the world if that is not before its `expires`; whoever comes next creates the same
    key, times included.
    """

    expires_s: float = field(metadata=about("When it expires, by the clock of the world.", above=0))
    same_id_as: int | None = field(
        default=None,
        metadata=about("The place of an earlier key whose id this one takes: a conflict.", least=0),
    )
    same_material: bool = field(
        default=False,
        metadata=about(
            "Whether it takes the material of that key as well: it is the same key then, with "
            "other times, and there is no conflict."
        ),
    )

    def __post_init__(self) -> None:
        check(self)
        if self.same_material and self.same_id_as is None:
            raise InputError("same_material needs same_id_as: the key whose material it is")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One call of one caller."""

    at_s: float = field(metadata=about("When it is made.", least=0))
    kind: OperationKind
    instance: int = field(default=0, metadata=about("Whom it is made to.", least=0))
    key: int | None = field(
        default=None, metadata=about("Which key; unset for what concerns no key.", least=0)
    )
    cancel_after_s: float | None = field(
        default=None,
        metadata=about("The caller cancels so long after it asked; unset: never.", least=0),
    )
    cancel_after_turns: int = field(
        default=0,
        metadata=about("And so many turns of the loop later: reaches every await.", least=0),
    )
    cancel_at_answer: bool = field(
        default=False,
        metadata=about(
            "Whether the turns are counted from the next moment at which a call of that instance "
            "to the primary ends: reaches what follows an answer. If none ends, nobody cancels."
        ),
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """An instance ends, and another process takes its place, with its disk if it has one."""

    at_s: float = field(metadata=about("When it ends.", least=0))
    kind: StopKind
    instance: int = field(default=0, metadata=about("Which one.", least=0))
    after_turns: int = field(
        default=0,
        metadata=about("And so many turns of the loop later: reaches every await.", least=0),
    )
    at_answer: bool = field(
        default=False,
        metadata=about(
            "Whether the turns are counted from the next moment at which a call of that instance "
            "to the primary ends. If none ends, neither does the instance."
        ),
    )
    away_s: float = field(default=1.0, metadata=about("How long until the next starts.", least=0))

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockStep:
    """The clock of an instance jumps."""

    at_s: float = field(metadata=about("When.", least=0))
    by_s: float = field(metadata=about("How far; forward above 0."))
    instance: int = field(default=0, metadata=about("Whose.", least=0))

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskFault:
    """The disk of an instance does not do what it should, for a while."""

    start_s: float = field(metadata=about("When it begins.", least=0))
    end_s: float = field(metadata=about("When it is over.", above=0))
    kind: DiskFaultKind
    instance: int = field(default=0, metadata=about("Whose.", least=0))

    def __post_init__(self) -> None:
        check(self)
        if self.end_s <= self.start_s:
            raise InputError(f"a disk fault must end after it begins at {self.start_s:g} s")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostileWorld:
    """Everything that happens to a fleet, besides what the policy makes of it."""

    seed: int = field(default=0, metadata=about("Of latencies, jitter and order.", least=0))
    shuffled: bool = field(
        default=False,
        metadata=about("Whether what is ready to run next is drawn, or first come, first served."),
    )
    duration_s: float = field(
        default=30.0, metadata=about("How long there may be faults and operations.", above=0)
    )
    instances: int = field(default=1, metadata=about("How many there are.", least=1))
    journal: bool = field(default=False, metadata=about("Whether each has one."))
    snapshot: bool = field(default=False, metadata=about("Whether each has one."))
    peers: bool = field(default=False, metadata=about("Whether each can ask the others."))
    skew_s: tuple[float, ...] = field(
        default=(),
        metadata=about("How far each instance's clock is ahead as the world begins; rest: 0."),
    )
    primary: PrimarySettings = field(default_factory=PrimarySettings)
    cancels_at_once: bool = field(
        default=False,
        metadata=about(
            "Whether the primary's store says so of itself, as that of `ftrepo.postgres` does; "
            "only if `primary.driver_honours_cancellation`."
        ),
    )
    duplicate_share: float = field(
        default=0.0,
        metadata=about(
            "The share of the writes that are carried out a second time: a proxy's retry.",
            least=0,
            most=1,
        ),
    )
    duplicate_after_max_s: float = field(
        default=1.0, metadata=about("How much later, at most; evenly between 0 and this.", least=0)
    )
    read_reply_s: float = field(
        default=0.0,
        metadata=about(
            "How long the answer to a read is on its way, after the server has read: it tells what "
            "was true then.",
            least=0,
        ),
    )
    keys: tuple[KeySpec, ...] = ()
    operations: tuple[Operation, ...] = ()
    outages: tuple[Outage, ...] = ()
    restarts: tuple[Restart, ...] = ()
    clock_steps: tuple[ClockStep, ...] = ()
    disk_faults: tuple[DiskFault, ...] = ()

    def __post_init__(self) -> None:
        check(self)
        for name in ("operations", "restarts", "clock_steps", "disk_faults"):
            for at, each in enumerate(getattr(self, name)):
                if each.instance >= self.instances:
                    raise InputError(
                        f"{name}[{at}].instance must be below instances = {self.instances}, "
                        f"not {each.instance}"
                    )
        for at, spec in enumerate(self.keys):
            if spec.same_id_as is not None and spec.same_id_as >= at:
                raise InputError(
                    f"keys[{at}].same_id_as must be the place of an earlier key, not "
                    f"{spec.same_id_as}"
                )
        for at, operation in enumerate(self.operations):
            needs = operation.kind not in (OperationKind.DELETE_EXPIRED, OperationKind.FLUSH)
            if needs != (operation.key is not None):
                wanted = "the place of a key" if needs else "left out"
                raise InputError(f"operations[{at}].key must be {wanted}, not {operation.key}")
            if operation.key is not None and operation.key >= len(self.keys):
                raise InputError(
                    f"operations[{at}].key must be below {len(self.keys)}, not {operation.key}"
                )
        if len(self.skew_s) > self.instances:
            raise InputError(f"skew_s must have at most {self.instances} values")

    @property
    def skew_max_s(self) -> float:
        """The farthest that any two clocks of this world are ever apart, the primary's included."""
        lowest = highest = 0.0
        for instance in range(self.instances):
            skew_s = self.skew_s[instance] if instance < len(self.skew_s) else 0.0
            steps = sorted(
                (each for each in self.clock_steps if each.instance == instance),
                key=lambda each: each.at_s,
            )
            for moved_s in (0.0, *(each.by_s for each in steps)):
                skew_s += moved_s
                lowest, highest = min(lowest, skew_s), max(highest, skew_s)
        return highest - lowest

    @property
    def last_moment_s(self) -> float:
        """When the last of the faults and operations is over; nothing hostile happens after."""
        return max(
            (
                *(each.at_s for each in self.operations),
                *(each.end_s for each in self.outages),
                *(each.at_s + each.away_s for each in self.restarts),
                *(each.at_s for each in self.clock_steps),
                *(each.end_s for each in self.disk_faults),
            ),
            default=0.0,
        )
