"""Arrivals whose rate is set by events: crowds that come all at once, and steps on a schedule.

Both keep to the rules of `sim.world.traffic`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

import numpy as np

from sim.world.condense import Timeline
from sim.world.durations import Floats
from sim.world.errors import InputError
from sim.world.settings import about, check
from sim.world.traffic import DrawnOnTimelines, check_count, unit_arrivals

_SHAPE = (
    "Ari et al., Managing flash crowds on the Internet, MASCOTS 2003, and Jung et al., Flash "
    "crowds and denial of service attacks, WWW 2002: a rise within minutes, a long decline"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlashCrowd(DrawnOnTimelines):
    """Poisson arrivals to which crowds come: a linear rise to a peak, then an exponential decline.

    Each crowd is a Poisson process of its own on top of the steady one, drawn by inverting its
    expected count, which is exact; the sum of Poisson processes is one. Crowds may overlap.
    """

    kind: ClassVar[str] = "flash-crowd"
    rate_per_s: float = field(metadata=about("The rate while there is no crowd.", above=0))
    starts_s: tuple[float, ...] = field(metadata=about("When crowds begin to come."))
    peak_factor: float = field(
        default=10.0,
        metadata=about(
            "The rate at the peak of a crowd, as a multiple of the steady one.",
            source="an assumption: an order of magnitude; linked sites saw more",
            least=1,
        ),
    )
    ramp_s: float = field(
        default=60.0,
        metadata=about("How long the rate rises to the peak.", source=_SHAPE, least=0),
    )
    decay_s: float = field(
        default=600.0,
        metadata=about("After so long what came on top is down to 1/e.", source=_SHAPE, above=0),
    )

    def __post_init__(self) -> None:
        check(self)
        _check_order("starts_s", self.starts_s, least=0.0)

    @property
    def mean_rate_per_s(self) -> float:
        """The steady rate: crowds that come at set times have no part in a long-run mean."""
        return self.rate_per_s

    @property
    def _extra_per_s(self) -> float:
        return self.rate_per_s * (self.peak_factor - 1)

    def rate_at(self, real_times_s: Floats) -> Floats:
        """Return the rate at real times."""
        rate = np.full(len(real_times_s), self.rate_per_s)
        for start_s in self.starts_s:
            age_s = real_times_s - start_s
            falling = np.exp(-np.maximum(0.0, age_s - self.ramp_s) / self.decay_s)
            rising = np.clip(age_s, 0.0, self.ramp_s) / (self.ramp_s or 1.0)
            share = np.where(age_s < self.ramp_s, rising, falling)
            rate += np.where(age_s < 0, 0.0, self._extra_per_s * share)
        return rate

    def expected_count(self, until_s: float) -> float:
        """Return the mean number of arrivals in the first so many seconds of real time."""
        count = self.rate_per_s * until_s
        for start_s in self.starts_s:
            age_s = max(0.0, until_s - start_s)
            rising_s = min(age_s, self.ramp_s)
            if self.ramp_s:
                count += self._extra_per_s * rising_s**2 / (2 * self.ramp_s)
            fallen = -math.expm1(-max(0.0, age_s - self.ramp_s) / self.decay_s)
            count += self._extra_per_s * self.decay_s * fallen
        return count

    def draw_on(self, rng: np.random.Generator, timeline: Timeline) -> Floats:
        """Return sorted run times; see `ArrivalPattern`."""
        steady_rng, *crowd_rngs = rng.spawn(1 + len(self.starts_s))
        steady = unit_arrivals(steady_rng, timeline.duration_s * self.rate_per_s) / self.rate_per_s
        crowds = [
            timeline.to_run(start_s + self._ages_s(crowd_rng))
            for start_s, crowd_rng in zip(self.starts_s, crowd_rngs, strict=True)
        ]
        return np.sort(np.concatenate([steady, *crowds]))

    def _ages_s(self, rng: np.random.Generator) -> Floats:
        """The arrivals of a whole crowd, from its start: the inverse of its expected count."""
        extra, ramp_s, decay_s = self._extra_per_s, self.ramp_s, self.decay_s
        rising = extra * ramp_s / 2
        counts = unit_arrivals(rng, rising + extra * decay_s)
        up_s = np.sqrt(2 * ramp_s * counts / (extra or 1.0))
        left = 1 - np.maximum(0.0, counts - rising) / ((extra or 1.0) * decay_s)
        return np.where(counts < rising, up_s, ramp_s - decay_s * np.log(np.maximum(left, 1e-300)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps(DrawnOnTimelines):
    """Poisson arrivals whose rate is set anew at given times: a schedule, or load that is shed.

    Drawn at the highest rate and thinned, which is exact (Lewis and Shedler, 1979).
    """

    kind: ClassVar[str] = "steps"
    rates_per_s: tuple[float, ...] = field(
        metadata=about("One rate after another; each holds until the next.")
    )
    changes_s: tuple[float, ...] = field(
        default=(), metadata=about("When the rate becomes the next one: one fewer than rates.")
    )

    def __post_init__(self) -> None:
        if len(self.rates_per_s) != len(self.changes_s) + 1:
            raise InputError(
                f"changes_s must have one time fewer than there are rates "
                f"({len(self.rates_per_s)}), not {len(self.changes_s)}"
            )
        if not all(0 <= rate < math.inf for rate in self.rates_per_s) or not any(self.rates_per_s):
            raise InputError(f"rates_per_s must be 0 or more, one above, not {self.rates_per_s}")
        _check_order("changes_s", self.changes_s, least=0.0)

    @property
    def mean_rate_per_s(self) -> float:
        """The last rate: in the long run, only that counts."""
        return self.rates_per_s[-1]

    def rate_at(self, real_times_s: Floats) -> Floats:
        """Return the rate at real times."""
        at = np.searchsorted(np.array(self.changes_s), real_times_s, side="right")
        return np.array(self.rates_per_s)[at]

    def draw_on(self, rng: np.random.Generator, timeline: Timeline) -> Floats:
        """Return sorted run times; see `ArrivalPattern`."""
        arrival_rng, thinning_rng = rng.spawn(2)
        highest = max(self.rates_per_s)
        check_count(timeline.duration_s * highest)
        candidates = unit_arrivals(arrival_rng, timeline.duration_s * highest) / highest
        chance = thinning_rng.random(len(candidates)) * highest
        return candidates[chance < self.rate_at(timeline.to_real(candidates))]


def _check_order(name: str, times_s: tuple[float, ...], *, least: float) -> None:
    if not all(least <= each < math.inf for each in times_s):
        raise InputError(f"{name} must be finite times of at least {least:g}, not {times_s}")
    if any(later <= earlier for earlier, later in pairwise(times_s)):
        raise InputError(f"{name} must be in order, not {times_s}")
