"""The grids of the forms of availability: what each design loses."""

from __future__ import annotations

import math
from dataclasses import replace

from ftrepo.designs import named_policies
from ftrepo.policy import Policy
from sim.study.breakers import expected_closing_delay_s, open_pace_s
from sim.study.theory import (
    KeyUse,
    grace_s,
    lost_primary_only_s,
    lost_unannounced_s,
    lost_with_pending_writes_s,
    lost_without_pending_writes_s,
    outage_lengths_s,
)
from sim.study.validation.points import Case, Form
from sim.study.validation.sums import lost_calls_of_outages
from sim.world.durations import AnyDuration, Deterministic, Exponential, Lognormal
from sim.world.outage_patterns import AlternatingRenewal, ModeShare
from sim.world.outages import OutageMode
from sim.world.primary_settings import PrimarySettings
from sim.world.scenario import KeySettings, Scenario
from sim.world.service import ServiceSettings
from sim.world.traffic import Poisson

KEYS = KeySettings(
    rotation_interval_s=240.0,
    lifetime_s=1440.0,
    peers=0,
    token_age_mean_s=60.0,
    token_lifetime_s=240.0,
    unknown_share=0.0,
)
"""Keys and tokens that turn over in minutes, so that a run of an hour sees many of them."""

WORLD = Scenario(
    name="alternating outages",
    duration_s=1500.0,
    warmup_s=480.0,
    condense=False,
    traffic=Poisson(rate_per_s=0.5),
    keys=KEYS,
)
"""The warm-up is a rotation interval and a token's lifetime: then every key asked for is made in
the run."""

SHARE_LABEL = "calls lost, share of an outage"

_MODES = {"refused": OutageMode.REFUSE, "hanging": OutageMode.HANG}
_RULES = {"at once": (0.0, False), "60 s ahead": (60.0, False), "when committed": (0.0, True)}
_RATES_PER_S = {"a call in 3 s": 0.3, "3 calls a second": 3.0}


def primary_only() -> Form:
    """Calls refused, and calls that hang, by the mean length of outages."""

    def case(series: str, x: float) -> Case:
        outages = AlternatingRenewal(
            up=Exponential(mean_s=30.0),
            down=Exponential(mean_s=x),
            modes=(ModeShare(mode=_MODES[series]),),
            stationary=True,
        )
        deadline_s = WORLD.caller.deadline_s if series == "hanging" else 0.0
        lengths_s = outage_lengths_s(outages.down)
        lost_s = lost_primary_only_s(lengths_s, hangs_deadline_s=deadline_s)
        return Case(
            expected=lost_s / float(lengths_s.mean()),
            scenario=replace(WORLD, outages=(outages,), traffic=Poisson(rate_per_s=1.0)),
            policy=named_policies()["primary-only"],
            totals=lost_calls_of_outages,
        )

    return Form(
        title="primary-only",
        formula="E[(D - d)⁺] / E[D]",
        assumes="random outages; d = 0 if calls are refused, a caller's deadline if they hang",
        x_label="mean outage, seconds",
        y_label=SHARE_LABEL,
        case=case,
        series=tuple(_MODES),
        xs=(3.0, 12.0, 60.0),
    )


def without_pending_writes() -> Form:
    """A fleet whose keys made in outages never reach the primary, by its size."""
    down = Exponential(mean_s=40.0)
    # Up for longer than mark-down's 30 s, so that each outage is marked anew.
    outages = AlternatingRenewal(up=Deterministic(mean_s=100.0), down=down, stationary=True)
    lengths_s = outage_lengths_s(down)
    # Many keys, each of which goes astray or not.
    keys = replace(
        KEYS,
        rotation_interval_s=30.0,
        lifetime_s=300.0,
        token_age_mean_s=15.0,
        token_lifetime_s=60.0,
    )

    def case(series: str, x: float) -> Case:
        policy = named_policies()[series]
        wait_s = 0.0
        if policy.breaker:
            wait_s = expected_closing_delay_s(
                lengths_s, trips_after_s=0.0, open_s=policy.breaker_open_s
            )
        use = key_use(keys, int(x), policy)
        lost_s = lost_without_pending_writes_s(use, lengths_s, mean_wait_s=wait_s)
        return Case(
            expected=lost_s / down.mean_s,
            scenario=replace(_fleet(int(x), outages), keys=keys),
            policy=policy,
            totals=lost_calls_of_outages,
        )

    return Form(
        title="memory, but nothing pending",
        formula="(1 - 1/N)(E[D] + E[W]) / E[D]",
        assumes="keys made in an outage, and in the wait W after it, never reach the primary",
        x_label="instances",
        y_label=SHARE_LABEL,
        case=case,
        series=("cache-fallback", "mark-down"),
        xs=(2, 4, 8),
        whole=True,
    )


def with_pending_writes() -> Form:
    """A fleet of four that flushes, by the length of outages and when new keys are signed with."""
    # The older key may sign for two minutes after its turn.
    keys = replace(KEYS, lifetime_s=600.0)

    def case(series: str, x: float) -> Case:
        lead_s, committed = _RULES[series]
        policy = replace(
            named_policies()["breaker"],
            # The few calls of so small a world trip it late else.
            breaker_failure_threshold=1,
            publish_lead_s=lead_s,
            sign_when_committed=committed,
        )
        down = Deterministic(mean_s=x)
        # Never up so briefly that what is pending has to wait for a second outage.
        outages = AlternatingRenewal(
            up=Lognormal(median_s=150.0, sigma=0.3), down=down, stationary=True
        )
        lost_s = lost_with_pending_writes_s(
            key_use(keys, 4, policy), outage_lengths_s(down), longest_wait_s=open_pace_s(policy)
        )
        return Case(
            expected=lost_s / x,
            scenario=replace(_fleet(4, outages), keys=keys),
            policy=policy,
            totals=lost_calls_of_outages,
        )

    return Form(
        title="pending writes, 4 instances",
        formula="E[∫₀ᴰ p(u) du + ⅔ w p(D)] / E[D], p(u) = (1 - 1/N) P(A + V < u - grace)",
        assumes="new keys are announced; rotation phases are random, ages A exponential",
        x_label="length of outages, seconds",
        y_label=SHARE_LABEL,
        case=case,
        series=tuple(_RULES),
        xs=(150.0, 400.0),
    )


def unannounced() -> Form:
    """One instance whose peers' keys are not announced, by its refresh interval."""
    down, up_s = Deterministic(mean_s=60.0), 500.0
    keys = replace(KEYS, peers=23)

    def case(series: str, x: float) -> Case:
        policy = Policy(refresh_interval_s=x, publish_lead_s=0.0)
        # A peer signs with its older key until the primary has the new one.
        use = replace(key_use(keys, keys.peers + 1, policy), grace_s=math.inf)
        rate_per_s = _RATES_PER_S[series]
        lost_s = lost_unannounced_s(
            use,
            outage_lengths_s(down),
            refresh_interval_s=x,
            reads_per_s=rate_per_s / use.instances,
            mean_wait_s=open_pace_s(policy) / 2,
            mean_up_s=up_s,
        )
        scenario = replace(
            WORLD,
            outages=(_outages(down, up_s=up_s),),
            keys=keys,
            traffic=Poisson(rate_per_s=rate_per_s),
            primary=PrimarySettings(announces=False),
        )
        return Case(
            expected=lost_s / down.mean_s,
            scenario=scenario,
            policy=policy,
            totals=lost_calls_of_outages,
        )

    return Form(
        title="keys of 23 peers, unannounced",
        formula="(1 - 1/N) P(no refresh, no read since made), over the outage",
        assumes="exponential up times; a key is learned by a refresh or by being asked for",
        x_label="refresh_interval_s",
        y_label=SHARE_LABEL,
        case=case,
        series=tuple(_RATES_PER_S),
        xs=(20.0, 60.0, 180.0),
    )


def key_use(keys: KeySettings, instances: int, policy: Policy) -> KeyUse:
    """Which keys are asked for in a fleet, under a policy."""
    return KeyUse(
        instances=instances,
        rotation_interval_s=keys.rotation_interval_s,
        token_age_mean_s=keys.token_age_mean_s,
        token_lifetime_s=keys.token_lifetime_s,
        grace_s=grace_s(
            publish_lead_s=policy.publish_lead_s,
            sign_when_committed=policy.sign_when_committed,
            rotation_interval_s=keys.rotation_interval_s,
            lifetime_s=keys.lifetime_s,
            token_lifetime_s=keys.token_lifetime_s,
        ),
    )


def _outages(down: AnyDuration, *, up_s: float) -> AlternatingRenewal:
    return AlternatingRenewal(up=Exponential(mean_s=up_s), down=down, stationary=True)


def _fleet(instances: int, outages: AlternatingRenewal) -> Scenario:
    return replace(WORLD, outages=(outages,), service=ServiceSettings(instances=instances))
