"""A hostile world to which something is added: `sim.explore.drawing_scenes` sets scenes on it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sim.explore.hostile_world import (
    DiskFault,
    DiskFaultKind,
    HostileWorld,
    KeySpec,
    Operation,
    OperationKind,
    Restart,
    StopKind,
)
from sim.world.outages import Outage, OutageMode

if TYPE_CHECKING:
    from ftrepo.policy import Policy
    from sim.explore.dice import Dice

FOR_EVER_S = 100_000.0
"""When a key expires that is not to expire in a world."""

FAILS_AT_ONCE = (OutageMode.REFUSE, OutageMode.STARTING, OutageMode.RESET)
"""Modes in which every call fails, and soon."""

_PLACES = 4
"""To so many places after the point times are rounded."""


class Stage:
    """A world, as far as it is known while it is drawn.

    Attributes:
        drawn: the world without what was added.
        dice: draws.
        policy: of the repositories.
        is_free: whether the instances may be given a journal, a snapshot or peers.

    Args:
        drawn: see above, like the other arguments.
        dice: likewise.
        policy: likewise.
        is_free: likewise.
    """

    def __init__(self, drawn: HostileWorld, dice: Dice, policy: Policy, *, is_free: bool) -> None:
        self.drawn = drawn
        self.dice = dice
        self.policy = policy
        self.is_free = is_free
        self._changes: dict[str, Any] = {}
        self._keys = list(drawn.keys)
        self._operations = list(drawn.operations)
        self._outages = list(drawn.outages)
        self._restarts = list(drawn.restarts)
        self._disk_faults = list(drawn.disk_faults)
        skew_s = drawn.skew_s
        self._skew_s = [*skew_s, *[0.0] * (drawn.instances - len(skew_s))]

    def world(self) -> HostileWorld:
        """Return the world with all that was added."""
        changes: dict[str, Any] = {
            **self._changes,
            "keys": tuple(self._keys),
            "operations": tuple(sorted(self._operations, key=lambda each: each.at_s)),
            "outages": tuple(self._outages),
            "restarts": tuple(self._restarts),
            "disk_faults": tuple(self._disk_faults),
            "skew_s": tuple(self._skew_s) if any(self._skew_s) else self.drawn.skew_s,
        }
        ends_s = (*(each.at_s for each in self._operations), *(e.end_s for e in self._outages))
        changes["duration_s"] = max((self.drawn.duration_s, *ends_s))
        return replace(self.drawn, **changes)

    def begin(self, lasts_s: float) -> float:
        """Return when a scene may begin that lasts so long: within the world if it has room."""
        room_s = max(0.0, self.drawn.duration_s - lasts_s)
        return round(0.02 + self.dice.between(0.0, room_s), _PLACES)

    def afterwards(self, pause_s: float = 1.0) -> float:
        """Return when a scene may begin after all that is known so far, and after a pause."""
        return round(self.world().last_moment_s + pause_s, _PLACES)

    def any_instance(self) -> int:
        """Return one of the instances."""
        return self.dice.whole(0, self.drawn.instances - 1)

    def two_instances(self) -> tuple[int, int]:
        """Return two different ones; there must be two."""
        one = self.any_instance()
        other = self.dice.whole(0, self.drawn.instances - 2)
        return one, other + (other >= one)

    def use_journal(self) -> None:
        """Give every instance a journal, if that is free."""
        if self.is_free:
            self._changes["journal"] = True

    def use_snapshot(self) -> None:
        """Give every instance a snapshot and nothing else that confirms a key, if that is free."""
        if self.is_free:
            self._changes |= {"snapshot": True, "journal": False, "peers": False}

    def use_peers(self) -> None:
        """Let every instance ask the others, if that is free."""
        if self.is_free:
            self._changes["peers"] = True

    def skew_of(self, instance: int) -> float:
        """Return how far a clock is ahead as the world begins."""
        return self._skew_s[instance]

    def skew(self, instance: int, ahead_s: float) -> None:
        """Let a clock be so far ahead as the world begins."""
        self._skew_s[instance] = round(ahead_s, _PLACES)

    def new_key(
        self,
        *,
        expires_s: float = FOR_EVER_S,
        same_id_as: int | None = None,
        same_material: bool = False,
    ) -> int:
        """Let there be a key more, and return its place."""
        expires_s = max(0.01, round(expires_s, _PLACES))
        self._keys.append(
            KeySpec(expires_s=expires_s, same_id_as=same_id_as, same_material=same_material)
        )
        return len(self._keys) - 1

    def outage(self, start_s: float, lasts_s: float, mode: OutageMode) -> None:
        """Let the primary fail."""
        start_s = max(0.0, round(start_s, _PLACES))
        self._outages.append(Outage(start_s, round(start_s + lasts_s, _PLACES), mode))

    def let_all_be_well_after(self, at_s: float) -> None:
        """End every outage that was there before, by this moment."""
        self._outages = [
            each if each.end_s <= at_s else replace(each, end_s=at_s)
            for each in self._outages
            if each.start_s < at_s
        ]

    def break_disk(
        self, kind: DiskFaultKind, instance: int, start_s: float, lasts_s: float
    ) -> None:
        """Let a disk fail."""
        end_s = round(start_s + lasts_s, _PLACES)
        self._disk_faults.append(
            DiskFault(start_s=start_s, end_s=end_s, kind=kind, instance=instance)
        )

    def stop(self, kind: StopKind, instance: int, at_s: float, away_s: float) -> None:
        """Let an instance end."""
        self._restarts.append(
            Restart(at_s=round(at_s, _PLACES), kind=kind, instance=instance, away_s=away_s)
        )

    def ask(
        self,
        kind: OperationKind,
        at_s: float,
        key: int | None = None,
        instance: int = 0,
        **cancelled: Any,
    ) -> None:
        """Let somebody ask something; see `Operation` for how he gives up."""
        at_s = max(0.0, round(at_s, _PLACES))
        self._operations.append(
            Operation(at_s=at_s, kind=kind, instance=instance, key=key, **cancelled)
        )
