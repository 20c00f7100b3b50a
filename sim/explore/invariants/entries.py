"""What a record is made of: requests, calls of the primary, stays of keys in it, and lives.

Each has the time of what happened, and its place in the chronicle: what happened in one moment
still happened in an order. A place of `len(happenings)` stands for "not until the end".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ftrepo.keys import PublicKey
    from sim.explore.happenings import Asked, CallBegan, CallEnded, Outcome, Told
    from sim.explore.hostile_world import StopKind

Process = tuple[int, int]
"""An instance, and which of its processes."""


@dataclass(slots=True)
class Request:
    """What a caller asked, and what it was told.

    Attributes:
        told: `None` if it never was.
        key: what it offers to the fleet, of a `create` and of what others publish; else `None`.
    """

    asked: Asked
    asked_at: int
    told: Told | None
    told_at: int
    key: PublicKey | None = None

    @property
    def process(self) -> Process:
        """Who was asked."""
        return self.asked.instance, self.asked.process

    @property
    def outcome(self) -> Outcome | None:
        """What it came to; `None` if nothing was ever told."""
        return None if self.told is None else self.told.outcome

    @property
    def told_s(self) -> float:
        """When the caller was told; infinite if never."""
        return math.inf if self.told is None else self.told.at_s


@dataclass(slots=True)
class Call:
    """A call of the primary.

    Attributes:
        ended: `None` if it did not end.
    """

    began: CallBegan
    began_at: int
    ended: CallEnded | None
    ended_at: int

    @property
    def ended_s(self) -> float:
        """When it ended; infinite if it did not."""
        return math.inf if self.ended is None else self.ended.at_s


@dataclass(slots=True)
class Stay:
    """A key in the primary, from its commit until it was deleted or replaced."""

    key: PublicKey
    from_s: float
    from_at: int
    to_s: float
    to_at: int


@dataclass(slots=True)
class Life:
    """One process of an instance.

    Attributes:
        began_at: the first sign of it: a start may take a while, and call the primary meanwhile.
        started_at: when it was ready for callers; beyond the end if it never was.
        kind: how it ended; `None` if it lived on.
        was_cut_short: whether it was killed while it left.
    """

    began_s: float
    began_at: int
    started_s: float
    started_at: int
    stopped_s: float
    stopped_at: int
    kind: StopKind | None
    was_cut_short: bool = False
