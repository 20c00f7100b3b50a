"""The availability that theory and simulation give for a restart in an outage, beside the real one.

The real run comes first, and the simulation has its moments as they were.

What is not simulated is the key set of the service (`/.well-known/jwks.json`): a simulated instance
has no HTTP, and its callers ask for one key at a time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ftrepo.rotation import REPEAT_CREATE_S
from sim.history import History
from sim.measures import availability
from sim.study.agreement import SHARE_TOLERANCE
from sim.study.experiment import experiment
from sim.testbed.service_restart import (
    KEY_LIFETIME_S,
    ROTATION_INTERVAL_S,
    Moments,
    RestartSettings,
    Variant,
)
from sim.world.outage_patterns import FixedWindows
from sim.world.scenario import KeySettings, Scenario
from sim.world.service import ServiceSettings
from sim.world.traffic import Constant

_MOMENTS = 20_001
"""At how many moments the closed form is evaluated."""

_DRAWS = 4_000


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """One variant: what was to be expected, and what was.

    Attributes:
        name: of the variant.
        moments: of the real run.
        requests: how many counted there.
        theory: the closed form.
        simulated: the availability in each simulated run.
        real: the availability that was measured.
    """

    name: str
    moments: Moments
    requests: int
    theory: float
    simulated: Sequence[float] = field(repr=False)
    real: float

    @property
    def mean(self) -> float:
        """The mean of the simulated runs."""
        return float(np.mean(self.simulated))

    @property
    def low(self) -> float:
        """The lower end of the simulation's prediction interval."""
        return min(self.simulated)

    @property
    def high(self) -> float:
        """The upper end."""
        return max(self.simulated)

    @property
    def agrees(self) -> bool:
        """Whether reality is where the simulation says, or within a point of its mean."""
        return self.low <= self.real <= self.high or abs(self.real - self.mean) <= SHARE_TOLERANCE


def predict(
    variant: Variant,
    moments: Moments,
    history: History,
    settings: RestartSettings,
    *,
    workers: int | None = None,
) -> Predicted:
    """Simulate what was played, and put it beside theory and reality.

    Args:
        variant: how the service ran.
        moments: of the real run.
        history: of the real run.
        settings: of the measurement.
        workers: processes; `None` for one for each processor.
    """
    study = experiment(
        scenario_of(moments, settings),
        {variant.name: variant.simulated_policy},
        replications=settings.replications,
        workers=workers,
    )
    counted = history.gets.eligible & (history.gets.at_s >= history.warmup_s)
    return Predicted(
        name=variant.name,
        moments=moments,
        requests=int(np.count_nonzero(counted)),
        theory=expected_availability(variant, moments, settings),
        simulated=study.values(variant.name, "availability"),
        real=availability(history),
    )


def scenario_of(moments: Moments, settings: RestartSettings) -> Scenario:
    """Return what was played, as the laboratory's world."""
    return Scenario(
        name="a restart in an outage",
        duration_s=moments.ended_s,
        warmup_s=moments.counted_s,
        condense=False,
        outages=(FixedWindows(windows=((moments.away_s, moments.back_s),)),),
        traffic=Constant(rate_per_s=settings.load.gets_per_s),
        keys=KeySettings(
            rotation_interval_s=ROTATION_INTERVAL_S,
            lifetime_s=KEY_LIFETIME_S,
            token_lifetime_s=settings.token_lifetime_s,
            token_age_mean_s=settings.load.token_age_mean_s,
            unknown_share=0.0,
            peers=0,
        ),
        service=ServiceSettings(
            instances=settings.instances,
            restarts_s=(moments.killed_s,),
            start_s=moments.started_s - moments.killed_s,
            journal=True,
        ),
    )


def expected_availability(variant: Variant, moments: Moments, settings: RestartSettings) -> float:
    """The share of calls that succeed, by counting who lacks what, moment by moment.

    A token is of an age with the distribution function F. Nobody signs from the restart until an
    instance is ready (under "primary-only" until it can store a key, which it tries every
    `REPEAT_CREATE_S` from its start on), so nobody asks for a key of that time. Of all others:

    * "primary-only" fails from the outage's beginning to its end;
    * else all fail while no instance is ready, and without peers, of the tokens that were signed
      since then, those of another instance than the one asked, (n - 1) / n of F(t - ready): until
      the breakers of both have closed, of the maker to flush its key and of the other to ask.

    Round trips, time-outs and the moment that a flush takes are left out.
    """
    t = np.linspace(moments.counted_s, moments.ended_s, _MOMENTS)
    mean_s, lifetime_s = settings.load.token_age_mean_s, settings.token_lifetime_s

    def younger(age_s: NDArray[np.float64]) -> NDArray[np.float64]:
        cut = np.clip(age_s, 0.0, lifetime_s)
        share: NDArray[np.float64] = np.expm1(-cut / mean_s) / np.expm1(-lifetime_s / mean_s)
        return share

    is_primary_only = variant.policy.read_policy == "primary-only"
    signs_s = moments.ready_s
    if is_primary_only:
        tries = math.ceil((moments.back_s - moments.started_s) / REPEAT_CREATE_S)
        signs_s = moments.started_s + tries * REPEAT_CREATE_S
    asked = 1.0 - (younger(t - moments.killed_s) - younger(t - signs_s))
    if is_primary_only:
        failed = np.where((t >= moments.away_s) & (t < moments.back_s), asked, 0.0)
    else:
        away = (t >= moments.killed_s) & (t < moments.ready_s)
        failed = np.where(away, asked, 0.0)
        if not variant.peers:
            others = (1.0 - 1.0 / settings.instances) * younger(t - moments.ready_s)
            failed += np.where(t >= moments.ready_s, others, 0.0) * _two_lack(t, moments, variant)
    return float(1.0 - failed.mean() / asked.mean())


def _two_lack(t: NDArray[np.float64], moments: Moments, variant: Variant) -> NDArray[np.float64]:
    """The probability that the breakers of two instances have not both closed by these moments.

    Each trips at the start, probes after pauses that are even between the least that jitter leaves
    and `breaker_open_s`, and closes at its first probe when the database is back. Drawn, because a
    sum of few even numbers has no handy closed form.
    """
    policy = variant.policy
    least_s = policy.breaker_open_s * (1.0 - policy.breaker_open_jitter)
    probes = 1 + math.ceil((moments.back_s - moments.ready_s) / least_s)
    pauses_s = np.random.default_rng(0).uniform(least_s, policy.breaker_open_s, (2, _DRAWS, probes))
    probes_s = moments.ready_s + np.cumsum(pauses_s, axis=2)
    closed_s = np.where(probes_s >= moments.back_s, probes_s, np.inf).min(axis=2)
    both_s = np.sort(closed_s.max(axis=0))
    lack: NDArray[np.float64] = 1.0 - np.searchsorted(both_s, t, side="right") / _DRAWS
    return lack
