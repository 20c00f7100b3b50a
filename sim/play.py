"""What plays in one run: the service under test, and the world around it.

* the primary, which fails as the schedule says (`sim.stage`),
* the instances of the service, each of which is the code under test (`sim.instance`),
* a balancer, which sends callers to those that are ready,
* callers of `get`, with the patience that they have (`sim.callers`),
* peers: other services, which publish their keys straight to the primary while it works,
* a sampler of the caches and the pending writes.

Everything random was drawn before the run begins. So two policies on one seed meet the same
outages, requests, latencies and failures, and differ by nothing but what they do about them.

A play does not know whether its time is virtual, nor whether its primary is simulated.
"""

from __future__ import annotations

import asyncio

from ftrepo.policy import Policy
from ftrepo.rotation import lead_before_use_s
from sim.callers import Callers
from sim.history import History
from sim.instance import Instance
from sim.recorder import Recorder
from sim.stage import RunClock, Stage
from sim.world.condense import Timeline
from sim.world.issuers import Issuer, KeyMint, rotation_times_s
from sim.world.outages import SEVERED, Schedule
from sim.world.scenario import Scenario
from sim.world.streams import Streams

SAMPLES = 2_000
"""How often the state is sampled in a run, besides at every change of pending."""

SETTLE_BEATS_MAX = 100
"""For how many flush and breaker intervals a run waits, at its end, for pending writes."""


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
        self.issuers = [Issuer() for _ in range(scenario.service.instances + scenario.keys.peers)]
        self.phases = streams.generator("rotation").random(len(self.issuers)).tolist()
        self.lead_s = lead_before_use_s(
            policy,
            lifetime_s=scenario.keys.lifetime_s,
            interval_s=scenario.keys.rotation_interval_s,
            token_lifetime_s=scenario.keys.token_lifetime_s,
        )
        self.ready: list[Instance] = []
        self.instances = [
            Instance(
                number,
                stage=stage,
                clock=clock,
                scenario=scenario,
                policy=policy,
                streams=streams,
                timeline=timeline,
                issuer=self.issuers[number],
                phase=self.phases[number],
                mint=self.mint,
                recorder=self.recorder,
                changed=self._sample,
                ready=self.ready,
            )
            for number in range(scenario.service.instances)
        ]
        self.callers = Callers(
            clock,
            scenario=scenario,
            streams=streams,
            timeline=timeline,
            issuers=self.issuers,
            balance=self._instance_for,
            recorder=self.recorder,
        )

    async def play(self) -> History:
        """Play the whole run.

        Raises:
            RuntimeError: somebody in it failed.
        """
        await self._publish_earlier_keys()
        self.clock.begin()
        await self.stage.begin()
        observed = len(self.instances)
        peers = [
            self.loop.create_task(self._be_peer(number))
            for number in range(observed, len(self.issuers))
        ]
        pace_s = self.timeline.duration_s / SAMPLES
        self.loop.call_soon(self._sample_forever, pace_s)
        self.callers.begin()
        try:
            async with asyncio.TaskGroup() as lives:
                for instance in self.instances:
                    lives.create_task(instance.live())
            await self._settle()
            for peer in peers:
                if peer.done():
                    peer.result()  # Raises what kept it from publishing.
            if self.callers.under_way:
                # Each has a deadline that has long passed: their tasks have failed, and the figures
                # of the others mean nothing.
                raise RuntimeError(f"{self.callers.under_way} requests never came to an end")
            ledger = await self.stage.end()
        finally:
            self.callers.end()
            for peer in peers:
                peer.cancel()
            for instance in self.instances:
                instance.repository.kill()
        return self.recorder.history(
            warmup_s=self.scenario.warmup_s,
            timeline=self.timeline,
            ledger=ledger,
            instances=self.instances,
        )

    def _instance_for(self, balance: float) -> Instance | None:
        """The ready instance that an attempt is sent to; `None` if there is none."""
        return self.ready[int(balance * len(self.ready))] if self.ready else None

    async def _settle(self) -> None:
        """Wait, after the end of the traffic and of every outage, until nothing is pending."""
        beat_s = self.policy.flush_interval_s + self.policy.breaker_open_s
        for _ in range(SETTLE_BEATS_MAX):
            pending = any(instance.repository.pending for instance in self.instances)
            if not pending and not self.callers.under_way:
                break
            await asyncio.sleep(beat_s)

    # The rest of the world

    async def _publish_earlier_keys(self) -> None:
        """Let every issuer have made its keys on schedule before the run begins."""
        valid = []
        for number, (issuer, phase) in enumerate(zip(self.issuers, self.phases, strict=True)):
            for created_s in rotation_times_s(self.scenario.keys, phase, 0.0):
                key = self.mint.make(created_s)
                if not key.has_expired(self.clock.now()):
                    valid.append(key)
                used_s = created_s + self.lead_s
                # What an instance had ready as its earlier process ended, nobody signs with.
                if used_s <= 0 or number >= len(self.instances):
                    issuer.use(key, used_s)
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
            self.issuers[number].use(key, self.clock.time() + self.lead_s)

    def _writable_s(self, now_s: float) -> float:
        """The first moment from now on at which other instances can write to the primary."""
        while (outage := self.outages.at(now_s)) is not None and outage.mode in SEVERED:
            now_s = outage.end_s
        return now_s

    def _sample(self) -> None:
        self.recorder.sample(
            self.clock.time(), [instance.repository for instance in self.instances]
        )

    def _sample_forever(self, pace_s: float) -> None:
        self._sample()
        if self.clock.time() + pace_s < self.timeline.duration_s:
            self.loop.call_later(pace_s, self._sample_forever, pace_s)
