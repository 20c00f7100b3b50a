"""How long something takes: the distributions that scenarios are made of.

Each is given by figures that people publish (a mean, a median, a 99th percentile) and knows its
mean, so that theory and simulation read the same object.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from sim.world.errors import InputError
from sim.world.settings import about, check

Floats = NDArray[np.float64]

Z_99 = 2.3263478740408408
"""The 99th percentile of the standard normal distribution."""


class Duration(Protocol):
    """A distribution of positive times in seconds."""

    @property
    def mean_s(self) -> float:
        """The expected time."""
        ...

    def draw(self, rng: np.random.Generator, size: int) -> Floats:
        """Return `size` independent times."""
        ...

    def draw_residual(self, rng: np.random.Generator, size: int) -> Floats:
        """Return what is left of the time that is running at a random moment.

        That time is longer than most, because a random moment falls into a long one more often:
        its density is x·f(x)/mean, and the moment is uniform in it (renewal theory: the residual
        life of a stationary process).
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Deterministic:
    """Always the same time."""

    kind: ClassVar[str] = "deterministic"
    mean_s: float = field(metadata=about("The time.", above=0))

    def __post_init__(self) -> None:
        check(self)

    def draw(self, rng: np.random.Generator, size: int) -> Floats:
        """Return `size` times, without a draw."""
        return np.full(size, self.mean_s)

    def draw_residual(self, rng: np.random.Generator, size: int) -> Floats:
        """Return uniform shares of the time."""
        return rng.random(size) * self.mean_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Exponential:
    """Without memory: the rest of a time is distributed like a whole one."""

    kind: ClassVar[str] = "exponential"
    mean_s: float = field(metadata=about("The mean.", above=0))

    def __post_init__(self) -> None:
        check(self)

    def draw(self, rng: np.random.Generator, size: int) -> Floats:
        """Return `size` independent times."""
        return rng.standard_exponential(size) * self.mean_s

    def draw_residual(self, rng: np.random.Generator, size: int) -> Floats:
        """Return whole times, which is the same."""
        return self.draw(rng, size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weibull:
    """Times whose hazard falls (shape below 1: trouble comes in clusters) or rises (above 1)."""

    kind: ClassVar[str] = "weibull"
    mean_s: float = field(metadata=about("The mean.", above=0))
    shape: float = field(
        metadata=about("The shape; 1 is the exponential distribution.", least=0.1, most=100)
    )

    def __post_init__(self) -> None:
        check(self)

    @property
    def scale_s(self) -> float:
        """The scale: mean / Γ(1 + 1/shape)."""
        return self.mean_s / math.gamma(1 + 1 / self.shape)

    def draw(self, rng: np.random.Generator, size: int) -> Floats:
        """Return `size` independent times."""
        return rng.weibull(self.shape, size) * self.scale_s

    def draw_residual(self, rng: np.random.Generator, size: int) -> Floats:
        """Return residual times: the power (x/scale)^shape of a length-biased x is a gamma."""
        biased = rng.standard_gamma(1 + 1 / self.shape, size) ** (1 / self.shape) * self.scale_s
        return rng.random(size) * biased


@dataclass(frozen=True, slots=True, kw_only=True)
class Lognormal:
    """Times whose logarithm is normal: most are short, a few very long. Fits repair times."""

    kind: ClassVar[str] = "lognormal"
    median_s: float = field(metadata=about("The median.", above=0))
    sigma: float = field(
        metadata=about("The standard deviation of the logarithm.", above=0, most=10)
    )

    def __post_init__(self) -> None:
        check(self)

    @property
    def mean_s(self) -> float:
        """The expected time: median · exp(sigma² / 2)."""
        return self.median_s * math.exp(self.sigma**2 / 2)

    def draw(self, rng: np.random.Generator, size: int) -> Floats:
        """Return `size` independent times."""
        return np.exp(rng.standard_normal(size) * self.sigma) * self.median_s

    def draw_residual(self, rng: np.random.Generator, size: int) -> Floats:
        """Return residual times: a length-biased lognormal has its median times exp(sigma²)."""
        biased = self.draw(rng, size) * math.exp(self.sigma**2)
        return rng.random(size) * biased


@dataclass(frozen=True, slots=True, kw_only=True)
class LognormalLatency:
    """A lognormal distribution given as latencies are reported: by its median and its p99."""

    kind: ClassVar[str] = "lognormal"
    median_s: float = field(metadata=about("The median.", above=0))
    p99_s: float = field(metadata=about("The 99th percentile; above the median.", above=0))

    def __post_init__(self) -> None:
        check(self)
        if not self.p99_s > self.median_s:
            raise InputError(
                f"p99_s must be above median_s ({self.median_s:g}), not {self.p99_s:g}"
            )

    @property
    def lognormal(self) -> Lognormal:
        """The same distribution by median and sigma = ln(p99 / median) / z₉₉."""
        return Lognormal(median_s=self.median_s, sigma=math.log(self.p99_s / self.median_s) / Z_99)

    @property
    def mean_s(self) -> float:
        """The expected time."""
        return self.lognormal.mean_s

    def draw(self, rng: np.random.Generator, size: int) -> Floats:
        """Return `size` independent times."""
        return self.lognormal.draw(rng, size)

    def draw_residual(self, rng: np.random.Generator, size: int) -> Floats:
        """Return residual times."""
        return self.lognormal.draw_residual(rng, size)


AnyDuration = Deterministic | Exponential | Weibull | Lognormal
"""What a TOML table with these kinds can say of up and down times."""

AnyLatency = Deterministic | Exponential | LognormalLatency
"""What a TOML table with these kinds can say of a latency."""
