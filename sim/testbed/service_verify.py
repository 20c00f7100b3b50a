"""Public clients verify tokens while PostgreSQL is up, killed, hung and back.

::

    up ─▶ deployed (of several instances the last is replaced) ─▶ killed ─▶ back ─▶ hung ─▶ back

What may fail is decided beforehand, by the policy. One instance has every key that it signs with in
its own memory, so nothing may. Of several without peers each lacks, while it cannot reach the
database, the keys that the others have made since. With peers it asks them, but not where the
database has taken the caller's time, nor where the database has said that there is no such key: in
the moments after an outage that is its answer for a key that the maker has not flushed yet.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sim.history import GetOutcome
from sim.testbed.cluster import Cluster
from sim.testbed.fault_site import to_the_end
from sim.testbed.service_load import LoadSettings, ServiceLoad
from sim.testbed.service_process import FleetSettings
from sim.testbed.service_record import Asked, Noted, Row, failures_in_words, rows
from sim.testbed.service_site import ServiceSite, service_site

WARM_UP = "(warm-up)"
"""The phase in which tokens of every age come to be; nothing of it is reported."""

SETTLE_S = 2.0
"""How long, after the breaker may have closed, a fleet has to agree on a machine that is busy: a
flush, a refresh and a subscription."""


_WAITED_SHARE = 0.5
"""From which share of `select_timeout_s` on a call has waited for the database."""


@dataclass(frozen=True, kw_only=True)
class VerifySettings:
    """How long it is measured, and what.

    Attributes:
        phase_s: how long each phase lasts.
        fleet: the instances.
        load: what is asked of them.
    """

    phase_s: float = 20.0
    fleet: FleetSettings = field(default_factory=FleetSettings)
    load: LoadSettings = field(default_factory=LoadSettings)


class Window(NamedTuple):
    """An outage and its aftermath, in seconds since the load began."""

    start_s: float
    end_s: float

    def __contains__(self, moment_s: object) -> bool:
        return isinstance(moment_s, float) and self.start_s <= moment_s < self.end_s


@dataclass(frozen=True, kw_only=True)
class VerifyOutcome:
    """What callers saw.

    Attributes:
        settings: as given.
        noted: every request but those of the warm-up.
        rows: the same by phase and kind.
        keys: how many keys signed tokens.
        prediction: what the policy says may fail, in words.
        failures: what failed, in words.
    """

    settings: VerifySettings
    noted: Sequence[Noted]
    rows: Sequence[Row]
    keys: int
    prediction: str
    failures: Sequence[str]

    @property
    def unpredicted(self) -> int:
        """How many requests failed that should not have."""
        return sum(row.unpredicted for row in self.rows)


async def measure_verification(cluster: Cluster, settings: VerifySettings) -> VerifyOutcome:
    """Go through all phases, and return what callers saw.

    Args:
        cluster: a server with `service_site.CLUSTER_SETTINGS`; it works again when this returns.
        settings: of the measurement.

    Raises:
        TestbedError: an instance does not start.
    """
    async with service_site(cluster, settings.fleet) as site:
        load = ServiceLoad(site, settings.load)
        measurement = _Measurement(site, load, settings)
        async with load.running():
            try:
                await measurement.go_through()
            finally:
                await to_the_end(cluster.thaw)
                await to_the_end(cluster.start)
            # A token whose key is not there yet would leave nothing to look up.
            await measurement.until_settled()
        keys = await site.stored_keys()
    created_s = {key_id: (key.created - load.began).total_seconds() for key_id, key in keys.items()}
    prediction = Prediction(settings.fleet, measurement.outages, created_s)
    noted = [each for each in load.noted if each.phase != WARM_UP]
    return VerifyOutcome(
        settings=settings,
        noted=noted,
        rows=rows(noted, prediction.covers),
        keys=len({each.key_id for each in noted if each.key_id}),
        prediction=str(prediction),
        failures=failures_in_words(noted),
    )


class Prediction:
    """Which requests the policy says may fail.

    Args:
        fleet: the instances.
        outages: from the first moment at which the database was away to the one at which it was
            there again.
        created_s: when each key was made. Of one that is not known it is taken that it was made
            in the outage.
    """

    def __init__(
        self, fleet: FleetSettings, outages: Sequence[Window], created_s: Mapping[str, float]
    ) -> None:
        policy = fleet.policy
        self._fleet = fleet
        self._created_s = created_s
        before_s = policy.insert_timeout_s or 0.0
        open_s = policy.breaker_open_s if policy.breaker else 0.0
        after_s = open_s + policy.flush_interval_s + (policy.select_timeout_s or 0.0) + SETTLE_S
        self._outages = outages
        self._windows = [Window(each.start_s - before_s, each.end_s + after_s) for each in outages]
        self._waited_s = _WAITED_SHARE * (policy.select_timeout_s or math.inf)
        # A long-lived client learns of a key when its copy of the set has grown old.
        self._copies_s = fleet.times.lead_s

    def __str__(self) -> str:
        if self._fleet.instances == 1:
            return "nothing fails: the one instance has every key that it signs with"
        unknown = "a key that is made in an outage is unknown to all but its maker"
        if self._fleet.peers:
            return (
                f"{unknown} where the others are not asked: by a call for which the database has "
                "used up the time, and, when it is back, until the maker has flushed"
            )
        return f"{unknown} until the database is in use again; nothing else fails"

    def covers(self, noted: Noted) -> bool:
        """Whether this request, which failed, may have."""
        if self._fleet.instances == 1 or noted.instance == noted.maker:
            return False
        if noted.asked is Asked.TOKEN or noted.outcome is GetOutcome.WRONG:
            return False
        late_s = self._copies_s if noted.asked is Asked.CACHED else 0.0
        for outage, window in zip(self._outages, self._windows, strict=True):
            aftermath = Window(outage.end_s, window.end_s + late_s)
            asks_others = self._fleet.peers and noted.latency_s < self._waited_s
            is_then = noted.at_s in aftermath or (noted.at_s in window and not asks_others)
            if is_then and self._created_s.get(noted.key_id, window.start_s) in window:
                return True
        return False


class _Measurement:
    """The phases, one after the other, and when the database was away."""

    def __init__(self, site: ServiceSite, load: ServiceLoad, settings: VerifySettings) -> None:
        self.outages: list[Window] = []
        self._site = site
        self._load = load
        self._settings = settings

    async def go_through(self) -> None:
        cluster, times = self._site.cluster, self._site.settings.times
        self._load.phase = WARM_UP
        await asyncio.sleep(times.token_lifetime_s)
        await self._phase("up")
        if len(self._site.instances) > 1:
            await self._phase("deployed", self._replace_last)
        await self._outage("killed", cluster.kill, cluster.start)
        await self._phase("back")
        await self._outage("hung", cluster.freeze, cluster.thaw)
        await self._phase("back again")

    async def until_settled(self) -> None:
        """Wait until what was made in the last outage is in the database."""
        self._load.phase = WARM_UP
        policy = self._site.settings.policy
        await asyncio.sleep(policy.breaker_open_s + policy.flush_interval_s + SETTLE_S)

    async def _phase(
        self, name: str, happening: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        self._load.phase = name
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(self._settings.phase_s))
            if happening is not None:
                group.create_task(_as_coroutine(happening))

    async def _outage(
        self, name: str, breaks: Callable[[], None], mends: Callable[[], None]
    ) -> None:
        start_s = self._load.now_s()
        self._load.phase = name
        await to_the_end(breaks)
        await asyncio.sleep(self._settings.phase_s)
        await to_the_end(mends)
        self.outages.append(Window(start_s, self._load.now_s()))

    async def _replace_last(self) -> None:
        """Replace an instance in order, as a deploy does: out of the balancer, stop, start, in."""
        number = len(self._site.instances) - 1
        last = self._site.instances[number]
        self._load.ready.discard(number)
        await to_the_end(last.stop)
        await self._site.start(last)
        self._load.ready.add(number)


async def _as_coroutine(happening: Callable[[], Awaitable[None]]) -> None:
    await happening()
