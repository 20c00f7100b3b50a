"""How long to pause before another attempt: a pure decision, told what it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BackoffSettings:
    """Exponential back-off with full jitter.

    Attributes:
        attempts_max: the most attempts, the first included, at least 1.
        first_s: the longest pause after the first failure; above zero.
        factor: by how much the longest pause grows with each further failure; at least 1.
        pause_max_s: no pause is longer; at least `first_s`.
        jitter: the share of a pause, from 0 to 1, that is drawn at random. With 1 a pause lies
            anywhere between zero and the longest, which keeps clients that failed together from
            returning together ("full jitter", Exponential Backoff And Jitter, AWS Architecture
            Blog, 2015). With 0 it is the longest.

    The defaults are the requirements of the service for connecting: 5 attempts, 100 ms, ×2, 10 s.
    """

    attempts_max: int = 5
    first_s: float = 0.1
    factor: float = 2.0
    pause_max_s: float = 10.0
    jitter: float = 1.0

    def __post_init__(self) -> None:
        for name, least in (("attempts_max", 1), ("factor", 1), ("pause_max_s", 0), ("jitter", 0)):
            value = getattr(self, name)
            if not value >= least:
                raise ValueError(f"{name} is {value!r}; it must be at least {least}")
        if not self.first_s > 0:
            raise ValueError(f"first_s is {self.first_s!r}; it must be above zero")
        if not self.jitter <= 1:
            raise ValueError(f"jitter is {self.jitter!r}; it must be at most 1")


class Backoff:
    """Counts the failures of one undertaking and says how long to pause after each.

    Args:
        settings: how often, and how long.
        draw: returns random numbers in [0, 1); without it every pause is the longest.
    """

    def __init__(
        self,
        settings: BackoffSettings | None = None,
        *,
        draw: Callable[[], float] | None = None,
    ) -> None:
        self.settings = settings or BackoffSettings()
        self.failures = 0
        self._draw = draw

    def next_pause_s(self) -> float | None:
        """Note a failure, and say how long to pause before the next attempt; `None`: no more."""
        self.failures += 1
        if self.failures >= self.settings.attempts_max:
            return None
        longest_s = longest_pause_s(self.settings, self.failures)
        if self._draw is None:
            return longest_s
        return longest_s * (1.0 - self.settings.jitter * (1.0 - self._draw()))

    def reset(self) -> None:
        """Note a success: the next failure is the first again."""
        self.failures = 0


def longest_pause_s(settings: BackoffSettings, failures: int) -> float:
    """Return the longest pause after so many failures, at least 1: first_s·factor^(failures − 1).

    No more than `pause_max_s`, however many failures there are.
    """
    try:
        grown_s = settings.first_s * settings.factor ** (failures - 1)
    except OverflowError:
        grown_s = settings.pause_max_s
    return min(settings.pause_max_s, grown_s)
