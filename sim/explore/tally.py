"""How often each behaviour was reached in a search, and by which seed first."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sim.explore.behaviours import BEHAVIOURS, PAIRS
from sim.explore.happenings import Asked
from sim.explore.reached import reached

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sim.explore.happenings import Chronicle
    from sim.explore.judging import Case


@dataclass(slots=True)
class Tally:
    """What some worlds were made of and what they reached.

    Attributes:
        worlds: how many were played.
        incomplete: how many of them did not end, or ended with an error; they reached nothing.
        operations: of callers; those count with which a play looks at its stores in the end.
        happenings: in all histories.
        virtual_s: how long all worlds lasted by their own clocks.
        times: for each behaviour, pair and situation, in how many worlds it was reached.
        first: and the seed that reached it first.
    """

    worlds: int = 0
    incomplete: int = 0
    operations: int = 0
    happenings: int = 0
    virtual_s: float = 0.0
    times: Counter[str] = field(default_factory=Counter)
    first: dict[str, int] = field(default_factory=dict)

    def note(self, seed: int, case: Case, chronicle: Chronicle | None) -> None:
        """Take in one world.

        Args:
            seed: that it was drawn from; not below those before it.
            case: what was played.
            chronicle: its history; `None` if the play did not complete.
        """
        self.worlds += 1
        if chronicle is None:
            self.incomplete += 1
            self.operations += len(case.world.operations)
            return
        self.operations += sum(type(each) is Asked for each in chronicle.happenings)
        self.happenings += len(chronicle.happenings)
        self.virtual_s += chronicle.ended_s
        for name in reached(chronicle):
            self.times[name] += 1
            self.first.setdefault(name, seed)

    def add(self, later: Tally) -> None:
        """Take in what was searched after this."""
        self.worlds += later.worlds
        self.incomplete += later.incomplete
        self.operations += later.operations
        self.happenings += later.happenings
        self.virtual_s += later.virtual_s
        self.times.update(later.times)
        self.first = later.first | self.first

    def never(self) -> tuple[str, ...]:
        """Return the behaviours that no world reached."""
        return tuple(each for each in BEHAVIOURS if each not in self.times)

    def pairs_never(self) -> tuple[str, ...]:
        """Return the pairs that no world reached."""
        return tuple(each for each in PAIRS if each not in self.times)

    def growth(self, names: Iterable[str]) -> list[tuple[int, int]]:
        """Return how many of some behaviours were known after each seed that reached a new one.

        Args:
            names: of behaviours, pairs or situations.
        """
        seeds = sorted(self.first[each] for each in names if each in self.first)
        return list({seed: at for at, seed in enumerate(seeds, start=1)}.items())


def new_in_the_next(tally: Tally, names: Iterable[str]) -> float:
    """Return how many of these names one world more is expected to reach for the first time.

    The estimate of Good and Turing: the number of names reached in exactly one world, by the number
    of worlds. What it means for testing is due to Böhme, "STADS: Software Testing as Species
    Discovery", ACM Transactions on Software Engineering and Methodology 27, 2018.

    Args:
        tally: of at least one world.
        names: of behaviours, pairs or situations.
    """
    return sum(tally.times[each] == 1 for each in names) / tally.worlds


def share_max(worlds: int) -> float:
    """Return the share that a behaviour can have at most which was seen in none of some worlds.

    The upper end of a one-sided 95% interval, 3/n for large n: the rule of three (Hanley and
    Lippman-Hand, Journal of the American Medical Association 249, 1983). It holds for worlds as
    they are drawn here, not for those that no seed gives.

    Args:
        worlds: how many, independent of each other; of none, nothing is known.
    """
    return 1.0 if worlds == 0 else 1 - 0.05 ** (1 / worlds)
