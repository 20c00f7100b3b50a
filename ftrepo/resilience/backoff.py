"""How long to pause before another attempt: a pure decision, told what it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

NO_JITTER = 0.0
"""Every pause is the longest. Clients that failed together return together."""
EQUAL_JITTER = 0.5
"""Half of a pause is certain and half is drawn."""
FULL_JITTER = 1.0
"""A pause lies anywhere between zero and the longest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackoffSettings:
    """Exponential back-off with jitter.

    The longest pause after the nth failure is first_s·factor^(n − 1), so the first is `first_s`: a
    sequence that grows before its first pause would begin with twice that.

    Attributes:
        attempts_max: the most attempts, the first included, at least 1.
        first_s: the longest pause after the first failure; above zero.
        factor: by how much the longest pause grows with each further failure; at least 1.
        pause_max_s: no pause is longer; at least 0.
        jitter: the share of a pause, from 0 to 1, that is drawn at random, which keeps clients
            that failed together from returning together. `NO_JITTER`, `EQUAL_JITTER` and
            `FULL_JITTER` are those of Exponential Backoff And Jitter (AWS Architecture Blog,
            2015), which finds that full jitter makes the fewest calls.
        decorrelated: draw each pause between `first_s` and `factor` times the pause before it,
            rather than below an exponential ("decorrelated jitter", same source, with a factor of
            3). Without random numbers the pauses are the same as without this.
        total_max_s: no attempt begins later than this after the first; above zero, `None` for no
            such limit. The pauses alone are counted where nobody knows how long attempts take.

    The defaults are those of `CONNECTING`.
    """

    attempts_max: int = 5
    first_s: float = 0.1
    factor: float = 2.0
    pause_max_s: float = 10.0
    jitter: float = FULL_JITTER
    decorrelated: bool = False
    total_max_s: float | None = None

    def __post_init__(self) -> None:
        for name, least in (("attempts_max", 1), ("factor", 1), ("pause_max_s", 0), ("jitter", 0)):
            value = getattr(self, name)
            if not value >= least:
                raise ValueError(f"{name} is {value!r}; it must be at least {least}")
        if not self.first_s > 0:
            raise ValueError(f"first_s is {self.first_s!r}; it must be above zero")
        if not self.jitter <= 1:
            raise ValueError(f"jitter is {self.jitter!r}; it must be at most 1")
        if self.total_max_s is not None and not self.total_max_s > 0:
            raise ValueError(f"total_max_s is {self.total_max_s!r}; it must be above zero, or None")


CONNECTING = BackoffSettings()
"""The requirements of the service for connecting: 5 attempts, 100 ms, ×2, at most 10 s."""

TRANSIENT = BackoffSettings(attempts_max=3, pause_max_s=5.0)
"""Those for any transient error: 3 attempts, 100 ms, ×2, at most 5 s."""

DATABASE_READS = BackoffSettings(attempts_max=3, first_s=1.0)
"""Those for reading from the database: 3 attempts, 1 s, ×2, at most 10 s."""


def pauses_s(
    settings: BackoffSettings = CONNECTING, *, draw: Callable[[], float] | None = None
) -> Iterator[float]:
    """Yield the pause after each failure, in seconds: one fewer than there are attempts.

    It ends early when the pauses together would exceed `total_max_s`.

    Args:
        settings: how often, and how long.
        draw: returns random numbers in [0, 1), one for each pause; without it every pause is the
            longest.
    """
    waited_s = 0.0
    pause_s = settings.first_s
    for failures in range(1, settings.attempts_max):
        shortest_s, longest_s = 0.0, longest_pause_s(settings, failures)
        if settings.decorrelated:
            # The first has no pause before it and is drawn as if that had been `first_s`.
            shortest_s = settings.first_s
            longest_s = pause_s if draw is None and failures == 1 else settings.factor * pause_s
        if draw is not None:
            longest_s -= settings.jitter * (1.0 - draw()) * (longest_s - shortest_s)
        pause_s = min(settings.pause_max_s, longest_s)
        waited_s += pause_s
        if settings.total_max_s is not None and waited_s > settings.total_max_s:
            return
        yield pause_s


def longest_pause_s(settings: BackoffSettings, failures: int) -> float:
    """Return the longest pause after so many failures, at least 1: first_s·factor^(failures − 1).

    No more than `pause_max_s`, however many failures there are.
    """
    try:
        grown_s = settings.first_s * settings.factor ** (failures - 1)
    except OverflowError:
        grown_s = settings.pause_max_s
    return min(settings.pause_max_s, grown_s)
