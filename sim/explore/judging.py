"""One world: drawn, played, and held against every invariant.

A play that does not come to an end by itself, or ends with an error, breaks an invariant too, the
one named `COMPLETION`; so does a second play with another history (`DETERMINISM`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from sim.explore import drawing, invariants, playing
from sim.explore.happenings import Violation
from sim.explore.processor_time import PROCESSOR_S_MAX
from sim.world.errors import InputError

if TYPE_CHECKING:
    from ftrepo.policy import Policy
    from sim.explore.happenings import Chronicle
    from sim.explore.hostile_world import HostileWorld
    from sim.world.scenario import Scenario

COMPLETION = "completion"
"""Every play comes to an end, and without an error that no caller asked for."""

DETERMINISM = "determinism"
"""The same world under the same policy has the same history, to the bit."""


@dataclass(frozen=True, slots=True)
class Case:
    """A world, and the policy under which it is played: all that decides what happens."""

    world: HostileWorld
    policy: Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is known of a case.

    Attributes:
        chronicle: its history; `None` if the play did not complete.
        violations: of the invariants, the earliest first.
    """

    chronicle: Chronicle | None
    violations: tuple[Violation, ...]

    @property
    def digest(self) -> str | None:
        """Of the history."""
        return None if self.chronicle is None else self.chronicle.digest


def drawn(seed: int, *, within: Scenario | None = None, policy: Policy | None = None) -> Case:
    """Return the case that a seed stands for.

    Args:
        seed: of everything that is drawn.
        within: where primary, instances and journal come from; `None` draws them, too.
        policy: `None` draws one.
    """
    chosen = drawing.draw_policy(seed) if policy is None else policy
    return Case(drawing.draw_world(seed, within=within, policy=chosen), chosen)


def judge(
    case: Case,
    *,
    only: str | None = None,
    twice: bool = False,
    processor_s_max: float = PROCESSOR_S_MAX,
) -> Verdict:
    """Play a case and hold its history against the invariants.

    Args:
        case: what is played.
        only: the one invariant that counts; `None` for all.
        twice: whether it is played again, for `DETERMINISM`; that takes twice as long.
        processor_s_max: how long a play may compute, in seconds.
    """
    play = partial(playing.play, case.world, case.policy, processor_s_max=processor_s_max)
    try:
        chronicle = play()
        again = play() if twice and not chronicle.failure else chronicle
    except InputError:
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        broken = (Violation(invariant=COMPLETION, at_s=0.0, said=said),)
        return Verdict(chronicle=None, violations=_wanted(broken, only))
    found = []
    if chronicle.failure:
        # First of what is seen at that moment: the rest may come of it.
        found.append(
            Violation(invariant=COMPLETION, at_s=chronicle.ended_s, said=chronicle.failure)
        )
    found += [
        violation
        for invariant in invariants.INVARIANTS
        if only in (None, invariant.name)
        for violation in invariant.check(chronicle)
    ]
    if again.digest != chronicle.digest:
        found.append(_another_history(chronicle, again))
    return Verdict(chronicle=chronicle, violations=_wanted(found, only))


def names_of_invariants() -> tuple[str, ...]:
    """Return every name that a violation may have."""
    return (*(each.name for each in invariants.INVARIANTS), COMPLETION, DETERMINISM)


def _wanted(
    violations: list[Violation] | tuple[Violation], only: str | None
) -> tuple[Violation, ...]:
    wanted = (each for each in violations if only in (None, each.invariant))
    return tuple(sorted(wanted, key=lambda each: each.at_s))


def _another_history(one: Chronicle, other: Chronicle) -> Violation:
    """Say where two plays of one case part."""
    at_s, part = one.ended_s, "in how they end"
    for left, right in zip(one.happenings, other.happenings, strict=False):
        if repr(left) != repr(right):
            at_s, part = left.at_s, f"at {left!r} and {right!r}"
            break
    return Violation(invariant=DETERMINISM, at_s=at_s, said=f"two plays of one world part {part}")
