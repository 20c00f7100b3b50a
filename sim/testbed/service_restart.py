"""A restart in an outage, for real: every instance is killed while PostgreSQL is away.

::

    warm-up ─▶ PostgreSQL is killed ─▶ every instance is killed and started again ─▶ it is back ─▶

Several instances sign and serve. Started again in the outage, each signs with a new key, which no
database tells the others of. So what callers of `GET /keys/{id}` get depends on the policy, and is
visibly less than everything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from ftrepo.designs import named_policies
from ftrepo.policy import Policy
from ftrepo.service.keys.life import FIRST_KEY_WAIT_S
from sim.history import Creates, Gets, History, Keys, Samples
from sim.testbed.cluster import Cluster
from sim.testbed.fault_site import to_the_end
from sim.testbed.service_load import LoadSettings, ServiceLoad
from sim.testbed.service_process import FleetSettings, KeyTimes
from sim.testbed.service_record import Asked, Noted
from sim.testbed.service_site import ServiceSite, service_site

REPLICATIONS = 39
"""The range of 39 runs holds a 40th with 95%, whatever the distribution: (n - 1) / (n + 1) (Wilks,
Annals of Mathematical Statistics 12, 1941)."""

SNAPSHOT_INTERVAL_S = 1.0
"""The defaults write memory to the disk once a minute, and a run here is hardly longer."""

ROTATION_INTERVAL_S = 3600.0
KEY_LIFETIME_S = 3 * 3600.0
"""No key is renewed in a run: what is new is new because of the restart."""


@dataclass(frozen=True, kw_only=True)
class RestartSettings:
    """What is measured.

    Attributes:
        phase_s: from the end of the warm-up to the outage, likewise from there to the restart, and
            half as long as from there to its end.
        instances: how many there are.
        token_lifetime_s: of a token; as long is the warm-up. Keys live for hours.
        load: what is asked; verifications are left out.
        replications: simulated runs.
    """

    phase_s: float = 10.0
    instances: int = 2
    token_lifetime_s: float = 12.0
    load: LoadSettings = field(
        default_factory=lambda: LoadSettings(gets_per_s=40.0, fresh_per_s=0.0, cached_per_s=0.0)
    )
    replications: int = REPLICATIONS


class Moments(NamedTuple):
    """When it happened, in seconds since the load began.

    Attributes:
        counted_s: the end of the warm-up.
        away_s: when PostgreSQL was killed.
        killed_s: when the instances were.
        started_s: when they began to look for their keys, on average.
        ready_s: when they answered.
        back_s: when PostgreSQL was back.
        ended_s: the end of the load.
    """

    counted_s: float
    away_s: float
    killed_s: float
    started_s: float
    ready_s: float
    back_s: float
    ended_s: float


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to run the service.

    Attributes:
        name: for tables.
        policy: how the repositories behave.
        peers: whether instances ask each other.
    """

    name: str
    policy: Policy
    peers: bool = False

    @property
    def simulated_policy(self) -> Policy:
        """The same for the simulation, whose instances ask each other if the policy has time."""
        return self.policy if self.peers else replace(self.policy, peer_timeout_s=None)


def variants() -> tuple[Variant, ...]:
    """Return those that are held against each other."""
    default = replace(Policy(), snapshot_interval_s=SNAPSHOT_INTERVAL_S)
    return (
        Variant(name="default, peers", policy=default, peers=True),
        Variant(name="default, no peers", policy=default),
        Variant(name="primary-only", policy=named_policies()["primary-only"]),
    )


async def measure_restart(
    cluster: Cluster, variant: Variant, settings: RestartSettings
) -> tuple[Moments, History]:
    """Play the real run of one variant.

    Args:
        cluster: a server with `service_site.CLUSTER_SETTINGS`; it works again when this returns.
        variant: how the service runs.
        settings: of the measurement.

    Raises:
        TestbedError: an instance does not start.
    """
    times = KeyTimes(
        rotation_interval_s=ROTATION_INTERVAL_S,
        token_lifetime_s=settings.token_lifetime_s,
        key_lifetime_s=KEY_LIFETIME_S,
    )
    fleet = FleetSettings(
        instances=settings.instances, peers=variant.peers, times=times, policy=variant.policy
    )
    async with service_site(cluster, fleet) as site:
        load = ServiceLoad(site, settings.load)
        try:
            async with load.running():
                moments = await _go_through(site, load, settings)
        finally:
            await to_the_end(cluster.start)
    return moments, history_of(load.noted, moments)


async def _go_through(site: ServiceSite, load: ServiceLoad, settings: RestartSettings) -> Moments:
    phase_s, cluster = settings.phase_s, site.cluster
    await asyncio.sleep(settings.token_lifetime_s)
    counted_s = load.now_s()
    await asyncio.sleep(phase_s)
    away_s = load.now_s()
    await to_the_end(cluster.kill)
    await asyncio.sleep(away_s + phase_s - load.now_s())
    killed_s = load.now_s()
    ready_s = await _restart_all(site, load)
    await asyncio.sleep(killed_s + 2 * phase_s - load.now_s())
    await to_the_end(cluster.start)
    back_s = load.now_s()
    # Until every breaker has closed, every key is flushed, and a time in which all is well.
    await asyncio.sleep(phase_s + site.settings.policy.breaker_open_s)
    # A start waits for its first key, which "primary-only" does not give without a database.
    is_refused = site.settings.policy.write_order == "primary-only"
    started_s = ready_s - (FIRST_KEY_WAIT_S if is_refused else 0.0)
    return Moments(counted_s, away_s, killed_s, started_s, ready_s, back_s, load.now_s())


async def _restart_all(site: ServiceSite, load: ServiceLoad) -> float:
    """Kill every instance and start it again; return when they answered, on average."""
    load.ready.clear()
    for instance in site.instances:
        await to_the_end(instance.kill)

    async def restart(number: int) -> float:
        instance = site.instances[number]
        instance.start()
        # It serves keys that it has, whether or not it has one to sign with.
        await instance.until_live(site.client)
        load.ready.add(number)
        return load.now_s()

    return float(np.mean(await asyncio.gather(*map(restart, range(len(site.instances))))))


def history_of(noted: Sequence[Noted], moments: Moments) -> History:
    """Return what callers of `GET /keys/{id}` saw, for the measures of the laboratory."""
    gets = [each for each in noted if each.asked is Asked.KEY]
    none, no_codes = np.zeros(0), np.zeros(0, dtype=np.uint8)
    counts = np.zeros(0, dtype=np.int64)
    return History(
        warmup_s=moments.counted_s,
        duration_s=moments.ended_s,
        gets=Gets(
            at_s=np.array([each.at_s for each in gets]),
            latency_s=np.array([each.latency_s for each in gets]),
            outcome=np.array([each.outcome for each in gets], dtype=np.uint8),
            eligible=np.array([each.counts for each in gets], dtype=np.bool_),
        ),
        creates=Creates(at_s=none, latency_s=none, outcome=no_codes),
        keys=Keys(acknowledged_s=none, settled_s=none, visible_s=none, end=no_codes),
        samples=Samples(
            at_s=none,
            cache_entries=counts,
            cache_bytes=counts,
            pending=counts,
            oldest_pending_age_s=none,
        ),
        outages=np.array([[moments.away_s, moments.back_s]]),
        attempts_s=none,
    )
