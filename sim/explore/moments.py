"""The moments of a world: when things are made to meet."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ftrepo.policy import Policy
    from sim.explore.dice import Dice


class Moments:
    """The moments at which something happens, to which whatever is drawn next is drawn close.

    Attributes:
        duration_s: of the world.
        tick_s: of what every moment is a whole multiple; `None` for a tenth of a millisecond.
        timeouts_s: of writes and of reads.
        open_s: how long a breaker that trips stays open.

    Args:
        dice: draws.
        policy: its beats and time-outs are moments, too.
        duration_s: of the world.
        tick_s: of what every moment is a whole multiple; `None` for a tenth of a millisecond.
    """

    def __init__(
        self, dice: Dice, policy: Policy, *, duration_s: float, tick_s: float | None
    ) -> None:
        self.duration_s = duration_s
        self.tick_s = tick_s
        self.timeouts_s = (policy.insert_timeout_s or 0.5, policy.select_timeout_s or 0.5)
        self._dice = dice
        self._policy = policy
        self.open_s = policy.breaker_open_s
        self._noted: list[float] = []
        self._troubles: list[float] = []

    def add_trouble(self, moment_s: float) -> None:
        """Note that the primary begins to fail then."""
        self._troubles.append(moment_s)
        self.add(moment_s)

    def trouble(self) -> float | None:
        """When the primary begins to fail: one such moment, or `None` if it never does."""
        return self._dice.pick(self._troubles) if self._troubles else None

    def add(self, *moments_s: float) -> None:
        """Note that something happens then."""
        self._noted.extend(moments_s)

    def add_beats(self) -> None:
        """Add moments at which the repository acts by itself, after those that are known."""
        policy, dice = self._policy, self._dice
        for moment_s in tuple(self._noted):
            beats = dice.whole(1, 3)
            self.add(self.at(moment_s + beats * policy.flush_interval_s))
            self.add(self.at(moment_s + policy.breaker_open_s))
        self.add(self.at(dice.whole(1, 10) * policy.flush_interval_s))

    def at(self, moment_s: float) -> float:
        """A moment as it is written down: a whole number of ticks, and within the world.

        What lies beyond its end is mirrored there, so that not all of it meets at the end.
        """
        if moment_s > self.duration_s:
            moment_s = 2 * self.duration_s - moment_s
        if self.tick_s is not None:
            moment_s = round(moment_s / self.tick_s) * self.tick_s
        return min(self.duration_s, max(0.0, round(moment_s, 4)))

    def near(self, moment_s: float) -> float:
        """At a moment, a little before or after it, or some time-out before it."""
        dice = self._dice
        mean_s = dice.pick((0.0, 0.0, 0.004, 0.1, 1.0))
        away_s = dice.wait(mean_s) if mean_s else 0.0
        if dice.chance(0.2):
            return self.at(moment_s - dice.pick(self.timeouts_s) - away_s)
        return self.at(moment_s - away_s if dice.chance(0.4) else moment_s + away_s)

    def soon(self, moment_s: float) -> float:
        """At a moment, or not long after it."""
        mean_s = self._dice.pick((0.0, 0.001, 0.01, 0.2, 2.0))
        return moment_s + (self._dice.wait(mean_s) if mean_s else 0.0)

    def any(self) -> float:
        """Near some moment at which something happens, or any time at all."""
        if self._noted and self._dice.chance(0.7):
            return self.near(self._dice.pick(self._noted))
        return self.at(self._dice.between(0.0, self.duration_s))
