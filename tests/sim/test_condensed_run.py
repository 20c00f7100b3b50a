"""Cutting the middle out of long healthy stretches biases no figure."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ftrepo.designs import named_policies
from ftrepo.policy import Policy
from sim.measures import measure
from sim.run import run
from sim.study.intervals import Interval, t_interval
from sim.world.durations import Exponential
from sim.world.outage_patterns import AlternatingRenewal, ModeShare
from sim.world.outages import OutageMode
from sim.world.scenario import KeySettings, Scenario
from sim.world.traffic import Poisson

HOUR_S = 3600.0
REPLICATIONS = 12

LONG = Scenario(
    name="long",
    duration_s=150 * HOUR_S,
    warmup_s=1 * HOUR_S,
    condense=False,
    outages=(
        AlternatingRenewal(
            up=Exponential(mean_s=24 * HOUR_S),
            down=Exponential(mean_s=600.0),
            modes=(
                ModeShare(mode=OutageMode.REFUSE, share=0.5),
                ModeShare(mode=OutageMode.HANG, share=0.5),
            ),
        ),
    ),
    traffic=Poisson(rate_per_s=0.02),
    keys=KeySettings(rotation_interval_s=600.0, lifetime_s=3000.0, token_lifetime_s=1200.0),
)

COMPARED = (
    "availability",
    "availability_time",
    "create_availability",
    "sync_lag_p99_s",
    "sync_lag_max_s",
    "cache_entries_max",
    "pending_max",
    "primary_attempts_during_outage_per_s",
    "primary_attempts_after_outage_per_s",
    "get_latency_p50_s",
    "get_latency_p99_s",
)
"""Not the longest latency: of fewer healthy calls the longest is shorter, as `condense` says."""


def differences(policy: Policy) -> tuple[dict[str, Interval], float]:
    """Condensed minus whole on the same outages, and the share of the time that was played."""
    pairs, played = [], 0.0
    for replication in range(REPLICATIONS):
        whole = run(LONG, policy, seed=9, replication=replication)
        short = run(replace(LONG, condense=True), policy, seed=9, replication=replication)
        played += short.timeline.duration_s / LONG.length_s / REPLICATIONS
        pairs.append((measure(whole.history), measure(short.history)))
    return {
        name: t_interval([short[name] - whole[name] for whole, short in pairs]) for name in COMPARED
    }, played


@pytest.mark.parametrize("name", ["default", "primary-only"])
def test_condensing_biases_no_figure(name: str) -> None:
    """Twelve pairs of a whole and a condensed run: the mean difference of each figure is nil.

    Of eleven figures at 95% one may miss by chance, so the interval is widened to 99.5% (Bonferroni
    for eleven), by the ratio of Student's quantiles with 11 degrees of freedom: 3.60 / 2.20.
    """
    found, played = differences(named_policies()[name])
    assert played < 0.5, "nothing to test unless most of the time was cut"
    for measured, interval in found.items():
        if interval.replications == 0:
            continue
        slack = interval.half_width * 3.60 / 2.20 + 1e-12
        assert abs(interval.mean) <= slack, f"{measured}: {interval}"


def test_weights_that_are_forgotten_would_be_noticed() -> None:
    """The comparison has teeth: without its weights a condensed run is far too pessimistic."""
    policy = named_policies()["primary-only"]
    moved: list[float] = []
    for replication in range(4):
        whole = run(LONG, policy, seed=9, replication=replication).history
        short = run(replace(LONG, condense=True), policy, seed=9, replication=replication).history
        unweighted = replace(short, spans=())
        moved.append(measure(unweighted)["availability"] - measure(whole)["availability"])
    assert max(moved) < -0.005
