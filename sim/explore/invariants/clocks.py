"""What each instance took for the time."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sim.explore.happenings import ClockStepped


class Clocks:
    """The clocks of all instances, in seconds since the world began; they may be off, and jump."""

    def __init__(self, skew_s: tuple[float, ...]) -> None:
        # For each instance: since when its clock was how far ahead.
        self._since_s: dict[int, list[float]] = defaultdict(lambda: [-math.inf])
        self._ahead_s: dict[int, list[float]] = defaultdict(lambda: [0.0])
        for instance, ahead_s in enumerate(skew_s):
            self._ahead_s[instance] = [ahead_s]

    def step(self, stepped: ClockStepped) -> None:
        """Take note of a step; they come in the order of time."""
        ahead_s = self._ahead_s[stepped.instance]
        self._since_s[stepped.instance].append(stepped.at_s)
        ahead_s.append(ahead_s[-1] + stepped.by_s)

    def latest_s(self, instance: int, from_s: float, to_s: float) -> float:
        """The latest time that this clock showed in [from_s, to_s].

        At the moment of a step that is the later of the two: nobody can tell which of them was
        read.
        """
        spans = self._spans(instance, from_s, to_s)
        return max(until_s + ahead_s for _, until_s, ahead_s in spans)

    def earliest_s(self, instance: int, from_s: float, to_s: float) -> float:
        """The earliest time that this clock showed in [from_s, to_s]."""
        spans = self._spans(instance, from_s, to_s)
        return min(since_s + ahead_s for since_s, _, ahead_s in spans)

    def _spans(
        self, instance: int, from_s: float, to_s: float
    ) -> Iterator[tuple[float, float, float]]:
        since_s, ahead_s = self._since_s[instance], self._ahead_s[instance]
        first = bisect_right(since_s, from_s) - 1
        while first and since_s[first] == from_s:
            first -= 1
        for at in range(first, len(since_s)):
            if since_s[at] > to_s:
                return
            until_s = since_s[at + 1] if at + 1 < len(since_s) else math.inf
            yield max(from_s, since_s[at]), min(to_s, until_s), ahead_s[at]
