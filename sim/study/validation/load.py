"""The grids of the forms of load: what outages cost the primary, during and after."""

from __future__ import annotations

from dataclasses import replace

from ftrepo.policy import Policy
from sim.study.theory import outage_lengths_s, recovery_calls, wasted_attempts
from sim.study.validation.points import Case, Form
from sim.study.validation.sums import burst_calls, wasted_calls
from sim.world.durations import Deterministic, Lognormal
from sim.world.outage_patterns import AlternatingRenewal
from sim.world.scenario import KeySettings, Scenario
from sim.world.service import ServiceSettings
from sim.world.traffic import Poisson

KEYS = KeySettings(
    rotation_interval_s=50_000.0,
    lifetime_s=60_000.0,
    peers=8,
    token_age_mean_s=300.0,
    token_lifetime_s=2400.0,
    unknown_share=0.0,
)

WORLD = Scenario(
    name="outages of a called primary",
    duration_s=1500.0,
    warmup_s=60.0,
    condense=False,
    traffic=Poisson(rate_per_s=1.0),
    keys=KEYS,
)
"""Keys are made so rarely that all calls are those of `get`."""

_QUIET = Policy(refresh_interval_s=None, expiry_interval_s=3600.0, publish_lead_s=0.0)
_FLEETS = {
    "1 instance": (1, 1.0),
    "1 instance, waits doubled": (1, 2.0),
    "4 instances": (4, 1.0),
}
_RATES_PER_S = {"a call in 2 s": 0.5, "4 calls a second": 4.0}


def wasted() -> Form:
    """Calls wasted in an outage, by how long the breaker is open: its waits equal or growing."""
    down = Lognormal(median_s=90.0, sigma=0.5)

    def case(series: str, x: float) -> Case:
        instances, factor = _FLEETS[series]
        policy = replace(_QUIET, breaker_open_s=x, breaker_open_factor=factor)
        return _wasted_case(down, policy, instances)

    return Form(
        title="calls wasted in an outage",
        formula="N(E[min(M, k)] + probes until D), M Poisson",
        assumes="each outage meets closed breakers, which trip after k failures in a row",
        x_label="breaker_open_s",
        y_label="calls, all instances",
        case=case,
        series=tuple(_FLEETS),
        xs=(3.0, 20.0),
        log_y=True,
    )


def wasted_by_length() -> Form:
    """Calls wasted in an outage, by its length: with a breaker, and without."""

    def case(series: str, x: float) -> Case:
        policy = replace(_QUIET, breaker=series == "breaker")
        return _wasted_case(Deterministic(mean_s=x), policy, 1)

    return Form(
        title="calls wasted, by length",
        formula="the same; without a breaker rate × D",
        assumes="nothing is pending",
        x_label="length of the outage, seconds",
        y_label="calls",
        case=case,
        series=("breaker", "no breaker"),
        xs=(3.0, 30.0, 300.0),
        log_y=True,
    )


def burst() -> Form:
    """Calls in the minute after an outage, by the size of the fleet."""
    down = Deterministic(mean_s=60.0)
    keys = replace(KEYS, rotation_interval_s=120.0, lifetime_s=7200.0, peers=0)
    policy = Policy(breaker_failure_threshold=1, load_page_max=100, publish_lead_s=0.0)

    def case(series: str, x: float) -> Case:
        instances = int(x)
        made_per_s = instances / keys.rotation_interval_s
        expected = recovery_calls(
            policy,
            instances=instances,
            calls_per_s=_RATES_PER_S[series] + made_per_s,
            pending_share=min(1.0, down.mean_s / keys.rotation_interval_s),
            cached_keys=made_per_s * keys.lifetime_s,
        )
        scenario = replace(
            WORLD,
            keys=keys,
            traffic=Poisson(rate_per_s=_RATES_PER_S[series]),
            service=ServiceSettings(instances=instances),
            outages=(_outages(down),),
        )
        return Case(expected=expected, scenario=scenario, policy=policy, totals=burst_calls)

    return Form(
        title="calls in the minute after an outage",
        formula="N(probes + flush + 2 × pages + clean-up) + rate × (60 s - w/2)",
        assumes="callers come slower than `futile_calls_per_s_max`",
        x_label="instances",
        y_label="calls, all instances",
        case=case,
        series=tuple(_RATES_PER_S),
        xs=(1, 3, 8),
        whole=True,
        log_y=True,
    )


def _wasted_case(down: Deterministic | Lognormal, policy: Policy, instances: int) -> Case:
    expected = wasted_attempts(
        outage_lengths_s(down, count=2_000),
        policy,
        calls_per_s=WORLD.traffic.mean_rate_per_s,
        instances=instances,
    )
    scenario = replace(
        WORLD,
        keys=replace(KEYS, peers=KEYS.peers + 1 - instances),
        outages=(_outages(down),),
        service=ServiceSettings(instances=instances),
    )
    return Case(expected=expected, scenario=scenario, policy=policy, totals=wasted_calls)


def _outages(down: Deterministic | Lognormal) -> AlternatingRenewal:
    # Up for longer than any wait of a breaker, so that each outage trips it anew.
    return AlternatingRenewal(up=Deterministic(mean_s=150.0), down=down)
