"""Simulation against closed forms: where theory has an answer, the laboratory gives the same."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from ftrepo.policy import Policy
from sim.loop import VirtualTimeLoop, run_virtual
from sim.run import run
from sim.study.intervals import t_interval
from sim.study.theory import cached_keys, erlang_c, mean_flush_wait_s, mmc_mean_wait_s
from sim.world.durations import Exponential
from sim.world.issuers import EPOCH
from sim.world.outage_patterns import FixedWindows
from sim.world.outages import OutageMode
from sim.world.primary import SimulatedPrimary
from sim.world.primary_settings import PrimarySettings
from sim.world.scenario import KeySettings, Scenario
from sim.world.traffic import Constant, Poisson


def test_erlang_c_of_published_tables() -> None:
    """One server: C = ρ. Two: 2ρ²/(1+ρ). Ten servers at 8 Erlang: 0.4092 (Cooper's charts)."""
    assert erlang_c(1, 0.7) == pytest.approx(0.7)
    assert erlang_c(2, 1.2) == pytest.approx(2 * 0.6**2 / 1.6)
    assert erlang_c(10, 8.0) == pytest.approx(0.4092, abs=1e-4)
    with pytest.raises(ValueError, match="stable"):
        erlang_c(2, 2.0)


@pytest.mark.parametrize(("servers", "utilisation"), [(1, 0.7), (3, 0.8), (10, 0.9)])
def test_the_primarys_pool_is_an_mmc_queue(servers: int, utilisation: float) -> None:
    """Poisson calls of exponential length wait as long for a connection as Erlang says."""
    service_s = 0.010
    rate = utilisation * servers / service_s
    truth_s = mmc_mean_wait_s(servers, rate, service_s)

    def mean_wait_s(replication: int) -> float:
        rng = np.random.default_rng([7, replication])
        times_s = np.cumsum(rng.exponential(1 / rate, 15_000)).tolist()
        waits_s: list[float] = []

        async def main(loop: VirtualTimeLoop) -> None:
            def now() -> datetime:
                return EPOCH + timedelta(seconds=loop.time())

            latency = Exponential(mean_s=service_s)
            settings = PrimarySettings(pool_size=servers, select=latency)
            primary = SimulatedPrimary(loop, settings, rng=rng, now=now)

            async def call() -> None:
                arrived_s = loop.time()
                await primary.ping()
                waits_s.append(loop.time() - arrived_s)

            for moment_s in times_s:
                loop.call_at(moment_s, lambda: loop.create_task(call()))
            await asyncio.sleep(times_s[-1] + 10.0)

        run_virtual(main)
        # Time in the system less the mean service leaves the wait; the first tenth is warm-up.
        return float(np.mean(waits_s[1_500:])) - service_s

    interval = t_interval([mean_wait_s(replication) for replication in range(8)])
    assert interval.low <= truth_s <= interval.high
    assert interval.half_width < 0.35 * truth_s


@pytest.mark.parametrize(("lifetime_s", "peers"), [(600.0, 0), (1200.0, 4)])
def test_the_cache_grows_as_little_says(lifetime_s: float, peers: int) -> None:
    """Mean entries = keys made a second × time in the cache."""
    keys = KeySettings(
        rotation_interval_s=100.0, lifetime_s=lifetime_s, token_lifetime_s=300.0, peers=peers
    )
    scenario = Scenario(
        name="steady", duration_s=8_000.0, traffic=Constant(rate_per_s=0.01), keys=keys
    )
    policy = Policy(refresh_interval_s=5.0, expiry_interval_s=5.0)
    truth = cached_keys(issuers=peers + 1, rotation_interval_s=100.0, lifetime_s=lifetime_s)

    def mean_entries(replication: int) -> float:
        samples = run(scenario, policy, seed=5, replication=replication).history.samples
        paced = np.searchsorted(samples.at_s, np.arange(2_000.0, 8_000.0, 7.0), side="right") - 1
        return float(samples.cache_entries[paced].mean())

    interval = t_interval([mean_entries(replication) for replication in range(5)])
    # The instance's first key is one more than its schedule has, for the first lifetime only; a
    # refresh finds a peer's key up to 5 s late, and a clean-up drops one up to 5 s late.
    slack = (peers + 1) / 100.0 * 5.0
    assert interval.low - slack <= truth <= interval.high + slack
    assert interval.half_width < 0.05 * truth


def test_a_key_waits_half_a_flush_interval_on_average() -> None:
    """After an outage that ends at a random moment of the interval, with no breaker."""
    interval_s = 8.0
    policy = Policy(flush_interval_s=interval_s, breaker=False, refresh_interval_s=None)
    base = Scenario(
        name="one outage",
        duration_s=400.0,
        traffic=Poisson(rate_per_s=0.01),
        keys=KeySettings(rotation_interval_s=300.0, lifetime_s=4000.0, peers=0),
    )
    rng = np.random.default_rng(11)

    def wait_s(replication: int) -> float:
        end_s = float(rng.uniform(100.0, 200.0))
        outage = FixedWindows(windows=((0.0, end_s),), mode=OutageMode.REFUSE)
        scenario = replace(base, outages=(outage,), condense=False)
        keys = run(scenario, policy, seed=6, replication=replication).history.keys
        return float(keys.settled_s[0] - end_s)

    interval = t_interval([wait_s(replication) for replication in range(150)])
    assert interval.low <= mean_flush_wait_s(interval_s) <= interval.high
    assert interval.half_width < 0.5
