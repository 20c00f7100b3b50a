"""What an invariant is: a name, a sentence, and who breaks it in a chronicle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from sim.explore.happenings import Violation
from sim.explore.invariants.record import record_of

if TYPE_CHECKING:
    from sim.explore.happenings import Chronicle
    from sim.explore.invariants.record import Record


class Finding(NamedTuple):
    """A place at which an invariant does not hold; see `Violation` for what each says."""

    at_s: float
    said: str
    key_id: str | None = None
    instance: int | None = None


@dataclass(frozen=True, slots=True)
class Invariant:
    """Something that holds in every world.

    Attributes:
        name: a noun.
        says: what holds, in one sentence.
        find: yields where it does not.
    """

    name: str
    says: str
    find: Callable[[Record], Iterator[Finding]]

    def check(self, chronicle: Chronicle) -> Iterator[Violation]:
        """Yield every violation in a chronicle, in no order."""
        for at_s, said, key_id, instance in self.find(record_of(chronicle)):
            yield Violation(
                invariant=self.name, at_s=at_s, said=said, key_id=key_id, instance=instance
            )
