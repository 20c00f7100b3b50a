"""Chronicles written down by hand: what callers, the primary and the stores of a world did."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from ftrepo.interface import Durability
from ftrepo.keys import Algorithm, PublicKey
from ftrepo.policy import Policy
from sim.explore.happenings import (
    Asked,
    CallBegan,
    CallEnded,
    Chronicle,
    Committed,
    Happening,
    Outcome,
    Removed,
    Started,
    Stopped,
    Stores,
    Told,
)
from sim.explore.hostile_world import HostileWorld, OperationKind, StopKind
from sim.explore.invariants import INVARIANTS, violations
from tests.sim.explore.cases import BEGAN, chronicle_of

FOR_EVER_S = 100_000.0


def key_of(key_id: str = "k0", material: str = "", expires_s: float = FOR_EVER_S) -> PublicKey:
    """A key of a world; its material is that of its id if none is given."""
    return PublicKey(
        key_id,
        (material or key_id).encode(),
        Algorithm.ED25519,
        BEGAN,
        BEGAN + timedelta(seconds=expires_s),
    )


class Story:
    """A chronicle in the making: told in any order; of one moment, in the order of telling.

    Process 0 of instance 0 is ready from the beginning.
    """

    def __init__(
        self, *, policy: Policy | None = None, world: HostileWorld | None = None, **changes: Any
    ) -> None:
        self._policy = policy or Policy()
        self._world = world or HostileWorld()
        self._changes = changes
        self._happenings: list[Happening] = []
        self._operations = self._calls = 0
        self.add(Started(0.0, 0, 0))

    def add(self, *happenings: Happening) -> Story:
        """Let any things happen."""
        self._happenings += happenings
        return self

    def ask(
        self,
        kind: OperationKind,
        key_id: str | None,
        asked_s: float,
        told_s: float | None,
        outcome: Outcome,
        *,
        at: tuple[int, int] = (0, 0),
        **details: Any,
    ) -> Story:
        """Let a caller ask a process something; `told_s` of `None`: it is never answered."""
        number, self._operations = self._operations, self._operations + 1
        self.add(Asked(asked_s, number, kind, *at, key_id))
        return self if told_s is None else self.add(Told(told_s, number, outcome, **details))

    def create(
        self,
        key: PublicKey,
        asked_s: float,
        told_s: float | None = None,
        *,
        outcome: Outcome = Outcome.ACKNOWLEDGED,
        durability: Durability | None = None,
        at: tuple[int, int] = (0, 0),
    ) -> Story:
        """Let a key be created; acknowledged as durable as the primary if nothing else is said."""
        if outcome is Outcome.ACKNOWLEDGED and durability is None:
            durability = Durability.PRIMARY
        told_s = asked_s if told_s is None else told_s
        kind = OperationKind.CREATE
        return self.ask(
            kind, key.id, asked_s, told_s, outcome, at=at, key=key, durability=durability
        )

    def get(
        self,
        found: PublicKey | str,
        asked_s: float,
        told_s: float | None = None,
        *,
        outcome: Outcome = Outcome.FOUND,
        at: tuple[int, int] = (0, 0),
    ) -> Story:
        """Let a key be asked for: one that is found, or an id that is not."""
        key = found if isinstance(found, PublicKey) else None
        key_id = found if isinstance(found, str) else found.id
        told_s = asked_s if told_s is None else told_s
        return self.ask(OperationKind.GET, key_id, asked_s, told_s, outcome, at=at, key=key)

    def commit(self, key: PublicKey, at_s: float) -> Story:
        """Let the primary store a key."""
        return self.add(Committed(at_s, key))

    def remove(self, key: PublicKey, at_s: float) -> Story:
        """Let the primary delete a key."""
        return self.add(Removed(at_s, key))

    def call(
        self,
        name: str,
        began_s: float,
        ended_s: float | None,
        error: str = "",
        *,
        at: tuple[int, int] = (0, 0),
        key_ids: tuple[str, ...] = (),
    ) -> Story:
        """Let a process call the primary; `ended_s` of `None`: the call does not end."""
        number, self._calls = self._calls, self._calls + 1
        self.add(CallBegan(began_s, number, *at, name, key_ids))
        return self if ended_s is None else self.add(CallEnded(ended_s, number, error))

    def stores(
        self,
        at_s: float,
        *,
        cached: Iterable[str] = (),
        pending: Iterable[str] = (),
        on_disk: Iterable[str] = (),
        at: tuple[int, int] = (0, 0),
    ) -> Story:
        """Look into the stores of a process."""
        seen = Stores(at_s, *at, frozenset(cached), frozenset(pending), frozenset(on_disk))
        return self.add(seen)

    def stop(self, at_s: float, kind: StopKind, at: tuple[int, int] = (0, 0)) -> Story:
        """Let a process end."""
        return self.add(Stopped(at_s, *at, kind))

    def start(self, at_s: float, at: tuple[int, int]) -> Story:
        """Let a process be ready."""
        return self.add(Started(at_s, *at))

    def chronicle(self) -> Chronicle:
        """Return what happened, in order."""
        in_order = sorted(self._happenings, key=lambda each: each.at_s)
        plain = chronicle_of(*in_order, world=self._world, policy=self._policy, ended_s=1000.0)
        return replace(plain, **self._changes)

    def broken(self) -> set[str]:
        """Return the names of the invariants that this breaks."""
        return {violation.invariant for violation in violations(self.chronicle())}

    def said(self, name: str) -> list[str]:
        """Return what one invariant says of it."""
        (invariant,) = (each for each in INVARIANTS if each.name == name)
        return [violation.said for violation in invariant.check(self.chronicle())]
