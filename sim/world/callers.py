"""Who calls `get` and `create`: their patience, their retries, and how they come.

Callers either arrive on their own account (`sim.world.traffic`), however the service is, or they
are a closed population: so many clients, each of whom asks again only when it has been answered or
has given up. What every request meets is drawn from streams of its own, so that the same request
of the same client meets the same luck under every policy, whenever it is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from ftrepo.resilience import BackoffSettings
from sim.world.errors import InputError
from sim.world.settings import about, check

if TYPE_CHECKING:
    from sim.world.streams import Streams

ATTEMPTS_MAX = 20
"""The most attempts at one request: the luck of each is drawn beforehand."""

_AT_ONCE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerSettings:
    """Who calls `get` and `create`, and what they do when it fails.

    A caller repeats what failed, ran out of time, or was told to come back later; an answer, also
    that there is no such key, is an answer.
    """

    deadline_s: float = field(
        default=1.0,
        metadata=about("The caller gives up after so long; a later answer is a failure.", above=0),
    )
    attempts_max: int = field(
        default=1,
        metadata=about(
            "The most attempts of a caller at one request; the deadline is that of each.",
            least=1,
            most=ATTEMPTS_MAX,
        ),
    )
    patience_s: float | None = field(
        default=None,
        metadata=about(
            "How long a caller has for a request, all attempts and pauses together; unset: until "
            "the last attempt.",
            above=0,
        ),
    )
    pause_first_s: float = field(
        default=0.1,
        metadata=about(
            "The longest pause before a caller's second attempt.",
            source="the requirements of the service: 100 ms",
            above=0,
        ),
    )
    pause_factor: float = field(
        default=2.0,
        metadata=about("How many times longer each further pause may be.", least=1),
    )
    pause_max_s: float = field(
        default=10.0, metadata=about("No pause of a caller is longer.", above=0)
    )
    jitter: float = field(
        default=1.0,
        metadata=about(
            "The share of a caller's pause that is drawn at random.",
            source="Exponential Backoff And Jitter, AWS Architecture Blog, 2015",
            least=0,
            most=1,
        ),
    )
    retry_budget_ratio: float | None = field(
        default=None,
        metadata=about(
            "The share of retries that all callers together are allowed: each request adds so "
            "much to a common budget, which holds 100 at most and at the start, and a retry takes "
            "1 from it. Unset: no budget.",
            source="Brooker, Fixing retries with token buckets and circuit breakers, 2022: 0.1",
            least=0,
            most=1,
        ),
    )

    def __post_init__(self) -> None:
        check(self)
        if self.pause_max_s < self.pause_first_s:
            raise InputError(
                f"pause_max_s must be at least pause_first_s ({self.pause_first_s:g}), "
                f"not {self.pause_max_s:g}"
            )

    @property
    def backoff(self) -> BackoffSettings:
        """The pauses between attempts."""
        return BackoffSettings(
            attempts_max=self.attempts_max,
            first_s=self.pause_first_s,
            factor=self.pause_factor,
            pause_max_s=self.pause_max_s,
            jitter=self.jitter,
            total_max_s=self.patience_s,
        )

    @property
    def longest_s(self) -> float:
        """The longest that a request can take."""
        pauses_s = [
            min(self.pause_max_s, self.pause_first_s * self.pause_factor**number)
            for number in range(self.attempts_max - 1)
        ]
        all_s = self.attempts_max * self.deadline_s + sum(pauses_s)
        return all_s if self.patience_s is None else min(all_s, self.patience_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """A closed population: each client thinks, asks, has an answer or gives up, and thinks again.

    Times to think are exponential. A slow service therefore slows its callers down, as an open
    stream of arrivals does not (Schroeder et al., Open versus closed, NSDI 2006).
    """

    kind: ClassVar[str] = "closed"
    clients: int = field(metadata=about("How many clients there are.", least=1, most=100_000))
    think_mean_s: float = field(
        metadata=about("The mean time from a client's answer to its next request.", above=0)
    )

    def __post_init__(self) -> None:
        check(self)

    @property
    def mean_rate_per_s(self) -> float:
        """The most that the long-run rate can be: that of a service that answers at once."""
        return self.clients / self.think_mean_s

    def thinks_s(self, streams: Streams, client: int) -> Iterator[float]:
        """Yield the times that a client thinks before each of its requests."""
        rng = streams.generator(f"client {client}, thinking")
        while True:
            yield from (rng.standard_exponential(_AT_ONCE) * self.think_mean_s).tolist()
