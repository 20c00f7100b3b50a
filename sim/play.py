"""What plays in one run: the service under test, and the world around it.

* the primary, which fails as the schedule says (`sim.stage`),
* callers of `get`, with the patience that they have (`sim.callers`),
* the instance's own rotation of keys, and its restarts,
* peers: other instances, which publish their keys straight to the primary while it works,
* a sampler of the cache and the pending writes.

Everything random was drawn before the run begins. So two policies on one seed meet the same
outages, requests, latencies and failures, and differ by nothing but what they do about them.

A play does not know whether its time is virtual, nor whether its primary is simulated.
"""

from __future__ import annotations

import asyncio

import numpy as np

from ftrepo.errors import FtrepoError
from ftrepo.events import BreakerChanged, Event, Flushed, KeyCreated
from ftrepo.fault_tolerant import FaultTolerantRepository
from ftrepo.interface import Durability
from ftrepo.keys import PublicKey
from ftrepo.policy import Policy
from ftrepo.resilience import BreakerState
from sim.callers import Callers
from sim.history import CreateOutcome, History
from sim.recorder import Recorder
from sim.stage import RunClock, Stage
from sim.world.condense import Timeline
from sim.world.issuers import OBSERVED, Issuer, KeyMint, rotation_times_s
from sim.world.journal import SimulatedDisk, SimulatedJournal
from sim.world.outages import SEVERED, Schedule
from sim.world.primary import CALL_DRAW, call_draws
from sim.world.scenario import Scenario
from sim.world.streams import Streams

SAMPLES = 2_000
"""How often the state is sampled in a run, besides at every change of pending."""

CREATE_RETRY_S = 5.0
"""How long the instance waits before it repeats a `create` that was not acknowledged."""

SETTLE_BEATS_MAX = 100
"""For how many flush and breaker intervals a run waits, at its end, for pending writes."""

_OUTCOMES = {
    Durability.PRIMARY: CreateOutcome.PRIMARY,
    Durability.JOURNAL: CreateOutcome.JOURNAL,
    Durability.MEMORY: CreateOutcome.MEMORY,
}


class Play:
    """Everything that plays in one run, on the loop that it plays on. See the module.

    Args:
        stage: the primary.
        clock: the time of the run, which begins when the play does.
        scenario: what happens.
        policy: how the repository behaves.
        streams: the run's random numbers.
        timeline: when it happens.
    """

    def __init__(
        self,
        stage: Stage,
        clock: RunClock,
        *,
        scenario: Scenario,
        policy: Policy,
        streams: Streams,
        timeline: Timeline,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.stage = stage
        self.clock = clock
        self.scenario = scenario
        self.policy = policy
        self.timeline = timeline
        self.outages = Schedule(timeline.outages)
        self.recorder = Recorder()
        self.mint = KeyMint(streams, scenario.keys.lifetime_s)
        self.issuers = [Issuer() for _ in range(scenario.keys.peers + 1)]
        self.phases = streams.generator("rotation").random(len(self.issuers)).tolist()
        # Attempts to create are numbered from the start, so the nth meets the same luck everywhere.
        self.create_draws = call_draws(scenario.primary.insert, streams.generator("create"))
        has_disk = scenario.service.journal and policy.pending_writes
        self.repository_draw = streams.generator("repository draws").random
        self.disk = SimulatedDisk() if has_disk else None
        self.repository = self._new_repository()
        self.serving: FaultTolerantRepository | None = None
        self.callers = Callers(
            clock,
            scenario=scenario,
            streams=streams,
            timeline=timeline,
            issuers=self.issuers,
            repository=lambda: self.serving,
            recorder=self.recorder,
        )

    async def play(self) -> History:
        """Play the whole run."""
        await self._publish_earlier_keys()
        self.clock.begin()
        await self.stage.begin()
        peers = [
            self.loop.create_task(self._be_peer(number)) for number in range(1, len(self.issuers))
        ]
        pace_s = self.timeline.duration_s / SAMPLES
        self.loop.call_soon(self._sample_forever, pace_s)
        self.callers.begin()
        try:
            await self._live()
            await self._settle()
            ledger = await self.stage.end()
        finally:
            self.callers.end()
            for peer in peers:
                peer.cancel()
            self.repository.kill()
        return self.recorder.history(
            warmup_s=self.scenario.warmup_s,
            timeline=self.timeline,
            ledger=ledger,
            repository=self.repository,
        )

    # The observed instance

    def _new_repository(self) -> FaultTolerantRepository:
        return FaultTolerantRepository(
            self.stage.store,
            self.policy,
            now=self.clock.now,
            observers=[self._observe],
            journal=None if self.disk is None else SimulatedJournal(self.disk),
            draw=self.repository_draw,
        )

    async def _live(self) -> None:
        """Be the instance: start, rotate keys, and be killed and started again on schedule."""
        restarts = np.array(self.scenario.service.restarts_s)
        restarts_s = self.timeline.to_run(restarts).tolist()
        for end_s in [*restarts_s, self.timeline.duration_s]:
            await self.repository.__aenter__()
            self.serving = self.repository
            rotation = self.loop.create_task(self._rotate())
            await asyncio.sleep(end_s - self.clock.time())
            rotation.cancel()
            if end_s < self.timeline.duration_s:
                self.repository.kill()
                self.serving = None
                self.callers.die_with_the_instance()
                self.repository = self._new_repository()
                # Its breaker is a new one.
                self.recorder.breaker.append((self.clock.time(), BreakerState.CLOSED))

    async def _rotate(self) -> None:
        """Make a key at once and then at every beat of the rotation."""
        times_s = rotation_times_s(
            self.scenario.keys, self.phases[OBSERVED], self.timeline.duration_s
        )
        await self._publish_new_key()
        for moment_s in times_s:
            if moment_s > self.clock.time():
                await asyncio.sleep(moment_s - self.clock.time())
                await self._publish_new_key()

    async def _publish_new_key(self) -> None:
        key = self.mint.make(self.clock.time())
        while not await self._create(key):
            await asyncio.sleep(CREATE_RETRY_S)
            if key.has_expired(self.clock.now()):
                key = self.mint.make(self.clock.time())

    async def _create(self, key: PublicKey) -> bool:
        CALL_DRAW.set(next(self.create_draws))
        started_s = self.clock.time()
        try:
            outcome = _OUTCOMES[await self.repository.create(key)]
        except FtrepoError:
            outcome = CreateOutcome.FAILED
        now_s = self.clock.time()
        self.recorder.creates.append((started_s, now_s - started_s, outcome))
        if outcome is CreateOutcome.FAILED:
            return False
        self.recorder.acknowledged[key.id] = (key, now_s)
        self.issuers[OBSERVED].use(key, now_s)
        return True

    async def _settle(self) -> None:
        """Wait, after the end of the traffic and of every outage, until nothing is pending."""
        beat_s = self.policy.flush_interval_s + self.policy.breaker_open_s
        for _ in range(SETTLE_BEATS_MAX):
            if not self.repository.pending and not self.callers.under_way:
                break
            await asyncio.sleep(beat_s)

    # The rest of the world

    async def _publish_earlier_keys(self) -> None:
        """Let every issuer have made its keys on schedule before the run begins."""
        valid = []
        for issuer, phase in zip(self.issuers, self.phases, strict=True):
            for created_s in rotation_times_s(self.scenario.keys, phase, 0.0):
                key = self.mint.make(created_s)
                if not key.has_expired(self.clock.now()):
                    valid.append(key)
                issuer.use(key, created_s)
        await self.stage.publish(valid)

    async def _be_peer(self, number: int) -> None:
        """Publish the keys of another instance on schedule, or when the primary can take them."""
        times_s = rotation_times_s(
            self.scenario.keys, self.phases[number], self.timeline.duration_s
        )
        for moment_s in times_s:
            if moment_s <= self.clock.time():
                continue
            await asyncio.sleep(moment_s - self.clock.time())
            writable_s = self._writable_s(self.clock.time())
            if writable_s > self.clock.time():
                await asyncio.sleep(writable_s - self.clock.time())
            key = self.mint.make(self.clock.time())
            await self.stage.publish([key])
            self.issuers[number].use(key, self.clock.time())

    def _writable_s(self, now_s: float) -> float:
        """The first moment from now on at which other instances can write to the primary."""
        while (outage := self.outages.at(now_s)) is not None and outage.mode in SEVERED:
            now_s = outage.end_s
        return now_s

    def _observe(self, event: Event) -> None:
        self.recorder.observe(event)
        if isinstance(event, BreakerChanged):
            self.recorder.breaker.append((self.clock.time(), event.new))
        if isinstance(event, KeyCreated | Flushed):
            self.recorder.sample(self.clock.time(), self.repository)

    def _sample_forever(self, pace_s: float) -> None:
        self.recorder.sample(self.clock.time(), self.repository)
        if self.clock.time() + pace_s < self.timeline.duration_s:
            self.loop.call_later(pace_s, self._sample_forever, pace_s)
