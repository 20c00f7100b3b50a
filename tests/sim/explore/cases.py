"""Worlds made by hand, and plays and verdicts that cost nothing, for what is around them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from ftrepo.policy import Policy
from sim.explore.happenings import Chronicle, Happening, Violation
from sim.explore.hostile_world import (
    ClockStep,
    HostileWorld,
    KeySpec,
    Operation,
    OperationKind,
    Restart,
    StopKind,
)
from sim.explore.judging import Case, Verdict
from sim.explore.searching import Grounds, Plan
from sim.world.outages import Outage, OutageMode
from sim.world.primary_settings import PrimarySettings

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def chronicle_of(
    *happenings: Happening, world: HostileWorld | None = None, **changes: Any
) -> Chronicle:
    """A history of these happenings alone."""
    plain = Chronicle(
        world=world or HostileWorld(),
        policy=Policy(),
        happenings=happenings,
        began=BEGAN,
        recovered_s=30.0,
        ended_s=60.0,
        rows={},
        leftover_tasks=(),
        open_connections=0,
        digest="0",
    )
    return replace(plain, **changes)


def crowded_world(operations: int = 40) -> HostileWorld:
    """A world with something of everything, in three instances."""
    kinds = (OperationKind.CREATE, OperationKind.GET, OperationKind.FLUSH)
    return HostileWorld(
        seed=77,
        duration_s=60.0,
        instances=3,
        journal=True,
        peers=True,
        skew_s=(0.5, -3.25),
        primary=PrimarySettings(pool_size=2, workers=1),
        keys=tuple(KeySpec(expires_s=40.123 + at) for at in range(5)),
        operations=tuple(
            Operation(
                at_s=1.0371 * at,
                kind=kinds[at % 3],
                instance=at % 3,
                key=None if at % 3 == 2 else at % 5,
                cancel_after_s=0.2 if at % 7 == 0 else None,
                cancel_after_turns=at % 4,
            )
            for at in range(operations)
        ),
        outages=tuple(
            Outage(10.5 * at + 1.25, 10.5 * at + 6.5, mode)
            for at, mode in enumerate((OutageMode.HANG, OutageMode.LOCKED, OutageMode.REFUSE))
        ),
        restarts=tuple(
            Restart(at_s=7.7 * at + 2, kind=StopKind.KILL, instance=at % 3, after_turns=at)
            for at in range(4)
        ),
        clock_steps=(ClockStep(at_s=12.0, by_s=30.0, instance=2),),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted(Plan):
    """A plan whose worlds cost nothing, and some of which break something.

    Attributes:
        broken: the seeds that do, in the last of the grounds.
        interrupted: the seed at which Ctrl-C is pressed.
    """

    broken: frozenset[int] = frozenset()
    interrupted: int | None = None

    def case(self, seed: int, grounds: Grounds) -> Case:
        """A world that says by its seed and its length where it was drawn."""
        place = self.grounds.index(grounds)
        return Case(HostileWorld(seed=seed, duration_s=place + 1.0), Policy())

    def judged(self, seed: int, case: Case) -> Verdict:
        """What is planned."""
        if seed == self.interrupted:
            raise KeyboardInterrupt
        last = case.world.duration_s == len(self.grounds)
        broken = last and seed in self.broken
        violation = Violation(invariant="planted", at_s=1.0, said=f"seed {seed}")
        return Verdict(
            chronicle=chronicle_of(world=case.world), violations=(violation,) if broken else ()
        )
