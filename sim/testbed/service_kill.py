"""kill -9 of the service while PostgreSQL is down: which keys are lost, with a journal and without.

::

    a key has just been made ─▶ half an interval ─▶ PostgreSQL is killed ─▶ so many intervals ─▶
    the key set is read, kill -9 ─▶ started again ─▶ PostgreSQL comes back ─▶ its table is read

What the service shows in its key set it has acknowledged, and it is asked when its last key is old
enough for that. PostgreSQL is killed between two keys, and the service too: so the number of keys
that wait for it is known beforehand, and must be the number that the simulation gives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from ftrepo.policy import Policy
from ftrepo.service.http.endpoints import KEY_SET
from ftrepo.service.http.keys import COMPLETE_HEADER
from sim.measures import measure
from sim.run import run
from sim.testbed.binaries import TestbedError
from sim.testbed.cluster import Cluster
from sim.testbed.fault_site import to_the_end
from sim.testbed.service_process import FleetSettings, KeyTimes, ServiceProcess
from sim.testbed.service_site import ServiceSite, service_site
from sim.world.outage_patterns import FixedWindows
from sim.world.scenario import KeySettings, Scenario
from sim.world.service import ServiceSettings
from sim.world.traffic import Constant

SIMULATED_RUNS = 5
"""In each the rotation has another phase, and all must lose the same number of keys."""

BACK_S_MAX = 60.0
"""How long the service may take to bring the database up to date."""

_LATE_SHARE_MAX = 0.4
"""How late a step may be, as a share of the interval, so that no key is made in between."""

_LOOK_EVERY_S = 0.02
_KEY_LIFETIME_S = 3600.0
_TOKEN_LIFETIME_S = 1.0


@dataclass(frozen=True, kw_only=True)
class KillSettings:
    """How the service is killed.

    Attributes:
        rotation_interval_s: the time between two keys; more than a `create` can take.
        intervals: how many of them the outage has lasted when the service is killed.
        policy: how its repository behaves.
    """

    rotation_interval_s: float = 2.0
    intervals: int = 5
    policy: Policy = field(default_factory=Policy)

    def fleet(self, *, journal: bool) -> FleetSettings:
        """The one instance that is killed."""
        times = KeyTimes(
            rotation_interval_s=self.rotation_interval_s,
            token_lifetime_s=_TOKEN_LIFETIME_S,
            key_lifetime_s=_KEY_LIFETIME_S,
        )
        return FleetSettings(journal=journal, times=times, policy=self.policy)


@dataclass(frozen=True, kw_only=True)
class KillOutcome:
    """What kill -9 cost.

    Attributes:
        journal: whether the service had one.
        acknowledged: keys in its key set just before it was killed.
        waiting: of these, how many the database had not got before it was killed itself.
        known_again: of those that waited, how many the service knew when it had started again.
        lost: acknowledged keys that the database lacks in the end.
        simulated_lost: the same in each simulated run.
    """

    journal: bool
    acknowledged: int
    waiting: int
    known_again: int
    lost: int
    simulated_lost: Sequence[int]

    @property
    def is_as_predicted(self) -> bool:
        """Whether as many are lost as in every simulated run; with a journal none may be."""
        return set(self.simulated_lost) == {self.lost} and not (self.journal and self.lost)


async def kill_in_an_outage(
    cluster: Cluster, settings: KillSettings, *, journal: bool
) -> KillOutcome:
    """Kill PostgreSQL, then the service, and look into PostgreSQL when both are back.

    Args:
        cluster: a server with `service_site.CLUSTER_SETTINGS`; it works again when this returns.
        settings: how.
        journal: whether the service has one.

    Raises:
        TestbedError: the machine was too late for the moments to be what they must be, or the
            service did not bring the database up to date.
    """
    async with service_site(cluster, settings.fleet(journal=journal)) as site:
        try:
            return await _kill(site, settings, journal=journal)
        finally:
            await to_the_end(cluster.start)


async def _kill(site: ServiceSite, settings: KillSettings, *, journal: bool) -> KillOutcome:
    clock = asyncio.get_running_loop().time
    (service,) = site.instances
    interval_s = settings.rotation_interval_s
    made_s = await _next_key(site, service, 2 * interval_s)
    away_s = made_s + interval_s / 2
    await asyncio.sleep(away_s - clock())
    # Not sooner: a key is in the key set before the database has it.
    stored_before = set(await site.stored_keys())
    await to_the_end(site.cluster.kill)
    must_be_at(clock(), away_s, interval_s)
    killed_s = away_s + settings.intervals * interval_s
    await asyncio.sleep(killed_s - clock())
    acknowledged = (await _key_set(site, service))[0]
    await to_the_end(service.kill)
    must_be_at(clock(), killed_s, interval_s)
    await site.start(service)
    known_again = (await _key_set(site, service))[0]
    await to_the_end(site.cluster.start)
    stored = await _brought_up_to_date(site, service)
    waiting = acknowledged - stored_before
    return KillOutcome(
        journal=journal,
        acknowledged=len(acknowledged),
        waiting=len(waiting),
        known_again=len(waiting & known_again),
        lost=len(acknowledged - stored),
        simulated_lost=simulated_losses(settings, journal=journal),
    )


def simulated_losses(settings: KillSettings, *, journal: bool) -> list[int]:
    """Return how many keys the simulation of the same story loses, in each of several runs."""
    interval_s = settings.rotation_interval_s
    away_s = 10 * interval_s
    killed_s = away_s + settings.intervals * interval_s
    back_s = killed_s + 4 * interval_s
    scenario = Scenario(
        name="kill -9 in an outage",
        duration_s=back_s + 10 * interval_s,
        condense=False,
        outages=(FixedWindows(windows=((away_s, back_s),)),),
        traffic=Constant(rate_per_s=1.0),
        keys=KeySettings(
            rotation_interval_s=interval_s,
            lifetime_s=_KEY_LIFETIME_S,
            token_lifetime_s=_TOKEN_LIFETIME_S,
            peers=0,
        ),
        service=ServiceSettings(restarts_s=(killed_s,), journal=journal),
    )
    runs = [run(scenario, settings.policy, replication=number) for number in range(SIMULATED_RUNS)]
    return [int(measure(result.history)["lost_keys"]) for result in runs]


async def _key_set(site: ServiceSite, service: ServiceProcess) -> tuple[set[str], bool]:
    """The ids of the service's key set, and whether it says that there are no others."""
    answer = await site.client.get(service.url + KEY_SET)
    is_complete = answer.headers[COMPLETE_HEADER] == "?1"
    return {each["kid"] for each in answer.json()["keys"]}, is_complete


async def _next_key(site: ServiceSite, service: ServiceProcess, within_s: float) -> float:
    """Wait until the service has made a key; return when that was."""
    known, _ = await _key_set(site, service)
    try:
        async with asyncio.timeout(within_s):
            while True:
                now, _ = await _key_set(site, service)
                if now - known:
                    return asyncio.get_running_loop().time()
                await asyncio.sleep(_LOOK_EVERY_S)
    except TimeoutError:
        raise TestbedError(f"the service made no key in {within_s:g} s") from None


async def _brought_up_to_date(site: ServiceSite, service: ServiceProcess) -> set[str]:
    """Wait until the database has every key that the service knows; return all that it has."""
    try:
        async with asyncio.timeout(BACK_S_MAX):
            while True:
                known, is_complete = await _key_set(site, service)
                stored = set(await site.stored_keys())
                if is_complete and known <= stored:
                    return stored
                await asyncio.sleep(_LOOK_EVERY_S)
    except TimeoutError:
        raise TestbedError(
            f"the service did not bring the database up to date in {BACK_S_MAX:g} s:\n"
            f"{service.log_tail()}"
        ) from None


def must_be_at(now_s: float, planned_s: float, interval_s: float) -> None:
    """Refuse to go on if a moment was missed.

    Raises:
        TestbedError: it was, by so much that a key may have been made meanwhile.
    """
    if now_s - planned_s > _LATE_SHARE_MAX * interval_s:
        raise TestbedError(
            f"this machine was {now_s - planned_s:.1f} s late, too much for keys that are made "
            f"every {interval_s:g} s: let them be made less often"
        )
