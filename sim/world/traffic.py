"""When requests arrive: patterns that draw all arrivals of a run before it begins.

A pattern draws either for a length of time (`draw`) or for a timeline (`draw_on`), which may have
cut out long healthy stretches; the result is in run time then. Arrivals are drawn from children of
the generator that is given, one for each kind of draw, so that a longer run only appends to them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np

from sim.world.condense import Timeline
from sim.world.durations import Floats
from sim.world.errors import InputError
from sim.world.settings import about, check

ARRIVALS_MAX = 50_000_000
"""The most arrivals that a run may have: 400 MB of times. A bound against a rate in wrong units."""

_DAY_S = 86400.0
_GAPS_AT_ONCE = 65_536


class ArrivalPattern(Protocol):
    """Something that draws the times of requests."""

    @property
    def mean_rate_per_s(self) -> float:
        """The long-run mean of arrivals a second."""
        ...

    def draw(self, rng: np.random.Generator, duration_s: float) -> Floats:
        """Return sorted times in [0, `duration_s`)."""
        ...

    def draw_on(self, rng: np.random.Generator, timeline: Timeline) -> Floats:
        """Return sorted run times for the real time that a timeline keeps."""
        ...


class DrawnOnTimelines:
    """Draws for a plain length of time as for a timeline that keeps everything."""

    __slots__ = ()

    def draw(self, rng: np.random.Generator, duration_s: float) -> Floats:
        """Return sorted times in [0, `duration_s`)."""
        return self.draw_on(rng, Timeline.whole((), duration_s))

    def draw_on(self, rng: np.random.Generator, timeline: Timeline) -> Floats:
        """Return sorted run times; see `ArrivalPattern`."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant(DrawnOnTimelines):
    """Evenly spaced arrivals, the first after half a space."""

    kind: ClassVar[str] = "constant"
    rate_per_s: float = field(metadata=about("Arrivals a second.", above=0))

    def __post_init__(self) -> None:
        check(self)

    @property
    def mean_rate_per_s(self) -> float:
        """The rate itself."""
        return self.rate_per_s

    def draw_on(
        self,
        rng: np.random.Generator,
        timeline: Timeline,
    ) -> Floats:
        """Return sorted run times; see `ArrivalPattern`."""
        check_count(timeline.duration_s * self.rate_per_s)
        count = math.ceil(timeline.duration_s * self.rate_per_s - 0.5)
        times_s = (np.arange(count, dtype=np.float64) + 0.5) / self.rate_per_s
        return times_s[times_s < timeline.duration_s]


@dataclass(frozen=True, slots=True, kw_only=True)
class Poisson(DrawnOnTimelines):
    """Independent arrivals at a constant rate."""

    kind: ClassVar[str] = "poisson"
    rate_per_s: float = field(metadata=about("Arrivals a second, in the mean.", above=0))

    def __post_init__(self) -> None:
        check(self)

    @property
    def mean_rate_per_s(self) -> float:
        """The rate itself."""
        return self.rate_per_s

    def draw_on(self, rng: np.random.Generator, timeline: Timeline) -> Floats:
        """Return sorted run times; see `ArrivalPattern`."""
        return unit_arrivals(rng, timeline.duration_s * self.rate_per_s) / self.rate_per_s


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyCycle(DrawnOnTimelines):
    """Poisson arrivals whose rate swings between a trough and a peak as a cosine.

    Drawn at the peak rate and thinned by the rate at the time of day, which is exact (Lewis and
    Shedler, 1979). A run begins at midnight.
    """

    kind: ClassVar[str] = "daily"
    peak_per_s: float = field(metadata=about("The rate at the busiest moment.", above=0))
    trough_per_s: float = field(metadata=about("The rate half a cycle away from it.", least=0))
    peak_hour: float = field(
        default=14.0, metadata=about("When the busiest moment is.", least=0, most=24)
    )
    period_s: float = field(default=_DAY_S, metadata=about("The length of a cycle.", above=0))

    def __post_init__(self) -> None:
        check(self)
        if self.trough_per_s > self.peak_per_s:
            raise InputError(
                f"trough_per_s must be at most peak_per_s ({self.peak_per_s:g}), "
                f"not {self.trough_per_s:g}"
            )

    @property
    def mean_rate_per_s(self) -> float:
        """The mean over whole cycles: half of peak and trough together."""
        return (self.peak_per_s + self.trough_per_s) / 2

    def rate_at(self, real_times_s: Floats) -> Floats:
        """Return the rate at times since midnight."""
        phase = (real_times_s - self.peak_hour * 3600) * (2 * math.pi / self.period_s)
        swing = (self.peak_per_s - self.trough_per_s) / 2
        return self.mean_rate_per_s + swing * np.cos(phase)

    def draw_on(self, rng: np.random.Generator, timeline: Timeline) -> Floats:
        """Return sorted run times; see `ArrivalPattern`."""
        arrival_rng, thinning_rng = rng.spawn(2)
        candidates = unit_arrivals(arrival_rng, timeline.duration_s * self.peak_per_s)
        candidates /= self.peak_per_s
        chance = thinning_rng.random(len(candidates)) * self.peak_per_s
        return candidates[chance < self.rate_at(timeline.to_real(candidates))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bursts(DrawnOnTimelines):
    """Poisson arrivals whose rate jumps up for a while now and then.

    A Markov-modulated Poisson process with two states; both last exponentially long, and the run
    begins in either with its long-run probability, so that the mean rate holds from the start.
    """

    kind: ClassVar[str] = "bursts"
    rate_per_s: float = field(metadata=about("The rate between bursts.", least=0))
    burst_rate_per_s: float = field(metadata=about("The rate in a burst.", above=0))
    burst_every_s: float = field(metadata=about("The mean time between bursts.", above=0))
    burst_duration_s: float = field(metadata=about("The mean length of a burst.", above=0))

    def __post_init__(self) -> None:
        check(self)
        if self.rate_per_s > self.burst_rate_per_s:
            raise InputError(
                f"rate_per_s must be at most burst_rate_per_s ({self.burst_rate_per_s:g}), "
                f"not {self.rate_per_s:g}"
            )

    @property
    def burst_share(self) -> float:
        """The share of time that lies in bursts."""
        return self.burst_duration_s / (self.burst_every_s + self.burst_duration_s)

    @property
    def mean_rate_per_s(self) -> float:
        """The mean of both rates by their shares of time."""
        return self.rate_per_s + self.burst_share * (self.burst_rate_per_s - self.rate_per_s)

    def draw_on(self, rng: np.random.Generator, timeline: Timeline) -> Floats:
        """Return sorted run times; see `ArrivalPattern`.

        A unit Poisson process, stretched by the inverse of the rate summed over time.
        """
        state_rng, arrival_rng = rng.spawn(2)
        moments_s, rates = self._states(state_rng, timeline.duration_s)
        expected = np.concatenate(([0.0], np.cumsum(np.diff(moments_s) * rates)))
        return np.interp(unit_arrivals(arrival_rng, float(expected[-1])), expected, moments_s)

    def _states(self, rng: np.random.Generator, duration_s: float) -> tuple[Floats, Floats]:
        """Return the moments at which the rate changes, first 0 and last the end, and the rates."""
        pair_s = self.burst_every_s + self.burst_duration_s
        check_count(duration_s / pair_s)
        in_burst = rng.random() < self.burst_share
        cycle = [
            (self.burst_every_s, self.rate_per_s),
            (self.burst_duration_s, self.burst_rate_per_s),
        ]
        (first_s, first_rate), (second_s, second_rate) = cycle[::-1] if in_burst else cycle
        ends_s = np.zeros(0)
        while not len(ends_s) or ends_s[-1] < duration_s:
            lengths = rng.standard_exponential((_GAPS_AT_ONCE // 64, 2)) * (first_s, second_s)
            begin_s = ends_s[-1] if len(ends_s) else 0.0
            ends_s = np.concatenate((ends_s, begin_s + np.cumsum(lengths.ravel())))
        changes_s = ends_s[ends_s < duration_s]
        rates = np.where(np.arange(len(changes_s) + 1) % 2 == 0, first_rate, second_rate)
        return np.concatenate(([0.0], changes_s, [duration_s])), rates


def unit_arrivals(rng: np.random.Generator, duration: float) -> Floats:
    """Return the times of a Poisson process of rate 1 in [0, `duration`)."""
    check_count(duration)
    pieces: list[Floats] = []
    now = 0.0
    while not pieces or now < duration:
        size = max(_GAPS_AT_ONCE, math.ceil((duration - now) * 1.01))
        pieces.append(now + np.cumsum(rng.standard_exponential(size)))
        now = float(pieces[-1][-1])
    times = np.concatenate(pieces)
    return times[: np.searchsorted(times, duration)]


def check_count(expected: float) -> None:
    """Refuse to draw more than `ARRIVALS_MAX`, with `InputError`."""
    if expected > ARRIVALS_MAX:
        raise InputError(
            f"the traffic would have about {expected:.3g} events in the run, more than "
            f"{ARRIVALS_MAX:.3g}: lower its rate or the duration"
        )
