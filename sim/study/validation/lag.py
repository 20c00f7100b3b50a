"""The grids of the forms of the sync lag."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ftrepo.policy import Policy
from sim.study.breakers import open_pace_s
from sim.study.theory import mean_flush_wait_s, mean_lag_s, outage_lengths_s, share_committed
from sim.study.validation.points import Case, Form
from sim.study.validation.sums import LagsWithin, lags, waits
from sim.world.durations import AnyDuration, Exponential, Lognormal
from sim.world.outage_patterns import AlternatingRenewal
from sim.world.scenario import KeySettings, Scenario
from sim.world.traffic import Constant

WORLD = Scenario(
    name="keys made in outages",
    duration_s=3600.0,
    warmup_s=60.0,
    condense=False,
    traffic=Constant(rate_per_s=0.01),
    keys=KeySettings(rotation_interval_s=20.0, lifetime_s=7200.0, peers=0),
)
"""A key's lag does not depend on other keys. So keys are made often, and sample the outages."""

_FAILOVER = Lognormal(median_s=75.0, sigma=0.6)
"""As in the scenario `default`: RDS Multi-AZ, typically 60-120 s."""

# A refresh reads every key there is, and there are many.
_QUIET = Policy(breaker_failure_threshold=1, publish_lead_s=0.0, refresh_interval_s=None)


def mean_lag() -> Form:
    """By the mean length of outages, of two distributions: what is left of one makes the lag."""

    def case(series: str, x: float) -> Case:
        down: AnyDuration = Exponential(mean_s=x)
        if series != "exponential":
            down = Lognormal(median_s=x / math.exp(0.6**2 / 2), sigma=0.6)
        return Case(
            expected=mean_lag_s(outage_lengths_s(down), longest_wait_s=open_pace_s(_QUIET)),
            scenario=_with_outages(down),
            policy=_QUIET,
            totals=lags,
        )

    return Form(
        title="mean sync lag",
        formula="E[D²] / 2E[D] + w/2",
        assumes="keys are made at moments independent of outages",
        x_label="mean outage, seconds",
        y_label="seconds",
        case=case,
        series=("exponential", "lognormal, σ 0.6"),
        xs=(20.0, 60.0, 180.0),
        log_y=True,
    )


def lag_distribution() -> Form:
    """The share of keys that the primary has after so long, on outages of two kinds."""
    downs: dict[str, AnyDuration] = {
        "failovers": _FAILOVER,
        "exponential, 30 s": Exponential(mean_s=30.0),
    }

    def case(series: str, x: float) -> Case:
        share = share_committed(
            np.array([x]), outage_lengths_s(downs[series]), longest_wait_s=open_pace_s(_QUIET)
        )
        return Case(
            expected=float(share[0]),
            scenario=_with_outages(downs[series]),
            policy=_QUIET,
            totals=LagsWithin(x),
        )

    return Form(
        title="keys in the primary after so long",
        formula="E[min(D, x - U)] / E[D], U uniform up to w",
        assumes="the same",
        x_label="time since a key was made, seconds",
        y_label="share",
        case=case,
        series=tuple(downs),
        xs=(5.0, 15.0, 45.0, 135.0),
    )


def mean_wait() -> Form:
    """The repository's own part of the lag, by the pace at which it looks for the primary."""

    def case(series: str, x: float) -> Case:
        if series == "breaker_open_s":
            policy = replace(_QUIET, breaker_open_s=x)
            longest_s = open_pace_s(policy)
        else:
            policy = replace(_QUIET, breaker=False, flush_interval_s=x)
            longest_s = x
        return Case(
            expected=mean_flush_wait_s(longest_s),
            scenario=_with_outages(_FAILOVER),
            policy=policy,
            totals=waits,
        )

    return Form(
        title="wait after an outage",
        formula="w/2",
        assumes="outages are long against the pace w",
        x_label="pace, seconds",
        y_label="seconds",
        case=case,
        series=("breaker_open_s", "flush_interval_s, no breaker"),
        xs=(1.0, 4.0, 16.0),
        log_y=True,
    )


def _with_outages(down: AnyDuration) -> Scenario:
    outages = AlternatingRenewal(up=Exponential(mean_s=150.0), down=down)
    return replace(WORLD, outages=(outages,))
