"""The grids of the forms of growth: keys in memory, and keys that wait to be written."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ftrepo.designs import named_policies
from sim.study.theory import cached_keys, cached_keys_in_outage, pending_keys
from sim.study.validation.points import Case, Form, Totals
from sim.study.validation.sums import cached_at_end, cached_entries, pending_at_end
from sim.world.durations import Deterministic, Exponential
from sim.world.outage_patterns import AlternatingRenewal
from sim.world.scenario import KeySettings, Scenario
from sim.world.service import ServiceSettings
from sim.world.traffic import Constant

KEYS = KeySettings(
    rotation_interval_s=60.0,
    lifetime_s=240.0,
    peers=0,
    token_age_mean_s=30.0,
    token_lifetime_s=120.0,
)

WORLD = Scenario(
    name="keys that come and go",
    duration_s=1500.0,
    warmup_s=300.0,
    condense=False,
    traffic=Constant(rate_per_s=0.01),
    keys=KEYS,
)

_POLICY = replace(named_policies()["breaker"], breaker_failure_threshold=1, expiry_interval_s=2.0)
_FLEETS = {"1 instance": 1, "4 instances": 4}
_DEPLOYS_S = {"no deploys": None, "a deploy every 400 s": 400.0}


def cached_by_fleet() -> Form:
    """Keys in memory by the size of the fleet, with and without deploys."""

    def case(series: str, x: float) -> Case:
        instances, deploy_s = int(x), _DEPLOYS_S[series]
        service = ServiceSettings(instances=instances)
        if deploy_s is not None:
            service = replace(service, deploy_every_s=deploy_s, deploy_step_s=deploy_s / instances)
        expected = cached_keys(
            issuers=instances,
            rotation_interval_s=KEYS.rotation_interval_s,
            lifetime_s=KEYS.lifetime_s,
            starts_per_s=0.0 if deploy_s is None else instances / deploy_s,
        )
        return Case(
            expected=expected,
            scenario=replace(WORLD, service=service),
            policy=_POLICY,
            totals=cached_entries,
        )

    return Form(
        title="keys in memory (Little's law)",
        formula="(N/R + starts a second) × lifetime",
        assumes="the primary is up, and announces new keys",
        x_label="instances",
        y_label="keys, mean",
        case=case,
        series=tuple(_DEPLOYS_S),
        xs=(1, 3, 9),
        whole=True,
        log_y=True,
    )


def pending_by_length() -> Form:
    """Keys pending at the end of an outage, by its length, of one instance and of four."""

    def case(series: str, x: float) -> Case:
        depth = pending_keys(
            np.array([x]),
            issuers=_FLEETS[series],
            rotation_interval_s=KEYS.rotation_interval_s,
            lifetime_s=KEYS.lifetime_s,
        )
        return _case(float(depth[0]), x, _FLEETS[series], pending_at_end)

    return Form(
        title="pending at the end of an outage",
        formula="min(D, lifetime) N/R",
        assumes="random rotation phases",
        x_label="length of the outage, seconds",
        y_label="keys, all instances",
        case=case,
        series=tuple(_FLEETS),
        xs=(15.0, 75.0, 200.0),
        log_y=True,
    )


def cached_by_length() -> Form:
    """Keys in the fullest instance's memory at the end of an outage, by its length."""

    def case(series: str, x: float) -> Case:
        entries = cached_keys_in_outage(
            np.array([x]),
            issuers=_FLEETS[series],
            rotation_interval_s=KEYS.rotation_interval_s,
            lifetime_s=KEYS.lifetime_s,
            cleanup_interval_s=_POLICY.expiry_interval_s,
        )
        return _case(float(entries[0]), x, _FLEETS[series], cached_at_end)

    return Form(
        title="in memory at the end of an outage",
        formula="N(W - D)/R + n + 1 - (1 - f)ᴺ, n + f = D/R",
        assumes="random rotation phases; all instances knew all keys",
        x_label="length of the outage, seconds",
        y_label="keys, fullest instance",
        case=case,
        series=tuple(_FLEETS),
        xs=(75.0, 150.0, 200.0),
    )


def _case(expected: float, down_s: float, instances: int, totals: Totals) -> Case:
    outages = AlternatingRenewal(up=Exponential(mean_s=100.0), down=Deterministic(mean_s=down_s))
    service = ServiceSettings(instances=instances)
    return Case(
        expected=expected,
        scenario=replace(WORLD, service=service, outages=(outages,)),
        policy=_POLICY,
        totals=totals,
    )
