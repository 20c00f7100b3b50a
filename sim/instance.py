"""One instance of the service in a run: the code under test, from its start to its last stop."""

from __future__ import annotations

import asyncio
from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from typing import TYPE_CHECKING

from ftrepo.errors import FtrepoError
from ftrepo.events import BreakerChanged, Event, Flushed, KeyCreated
from ftrepo.fault_tolerant import FaultTolerantRepository
from ftrepo.interface import Durability
from ftrepo.keys import PublicKey
from ftrepo.policy import Policy
from ftrepo.resilience import BreakerState
from ftrepo.rotation import KeyRotation
from sim.history import CreateOutcome
from sim.recorder import Recorder
from sim.stage import RunClock, Stage
from sim.world.issuers import Issuer, KeyMint, rotation_times_s
from sim.world.journal import SimulatedDisk, SimulatedJournal, SimulatedSnapshot
from sim.world.primary import CALL_DRAW, call_draws
from sim.world.service import Stop, StopKind
from sim.world.streams import of_instance

if TYPE_CHECKING:
    from sim.world.condense import Timeline
    from sim.world.scenario import Scenario
    from sim.world.streams import Streams

KILLED = "the instance was killed"
"""Why a call was cancelled that died with the instance."""

_OUTCOMES = {
    Durability.PRIMARY: CreateOutcome.PRIMARY,
    Durability.JOURNAL: CreateOutcome.JOURNAL,
    Durability.MEMORY: CreateOutcome.MEMORY,
}


@dataclass(frozen=True, slots=True)
class SimulatedKeyPair:
    """A key pair of which there is only the public half: nobody in a simulation signs."""

    public: PublicKey


class Instance:
    """One instance: it starts, rotates its keys, answers callers, stops and starts again.

    Args:
        number: from 0 on. What is random about the first is drawn as if it were the only one.
        stage: where the primary is.
        clock: the true time of the run.
        scenario: what happens.
        policy: how the repository behaves.
        streams: the run's random numbers.
        timeline: when it happens.
        issuer: takes note of which key signs.
        phase: uniform in [0, 1); where in its interval the rotation stands as the run begins.
        mint: makes the keys.
        recorder: takes note of what happens.
        changed: is called whenever a key was created or flushed.
        ready: the instances that callers are sent to, by number; it enters and leaves by itself.

    Attributes:
        repository: the code under test; a new one after each stop.
        started_s: when its present process began.
        calls: of callers, under way here.
    """

    def __init__(
        self,
        number: int,
        *,
        stage: Stage,
        clock: RunClock,
        scenario: Scenario,
        policy: Policy,
        streams: Streams,
        timeline: Timeline,
        issuer: Issuer,
        phase: float,
        mint: KeyMint,
        recorder: Recorder,
        changed: Callable[[], None],
        ready: list[Instance],
    ) -> None:
        self.number = number
        self._ready = ready
        self.started_s = 0.0
        self.calls: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._store = stage.store(number)
        self._clock = clock
        self._settings = scenario.service
        self._keys = scenario.keys
        self._policy = policy
        self._issuer = issuer
        self._mint = mint
        self._recorder = recorder
        self._changed = changed
        self._duration_s = timeline.duration_s
        self._stops = scenario.service.draw_stops(streams, timeline, number)
        self._skew_s = scenario.service.draw_clock_skew_s(streams, number)
        self._beats_s = rotation_times_s(scenario.keys, phase, timeline.duration_s)
        # Attempts to create are numbered from the start, so the nth meets the same luck everywhere.
        create_rng = streams.generator(of_instance("create", number))
        self._create_draws = call_draws(scenario.primary.insert, create_rng)
        self._draw = streams.generator(of_instance("repository draws", number)).random
        self.disk = SimulatedDisk() if scenario.service.journal else None
        self.repository = self._new_repository()

    def holds(self, key_id: str) -> bool:
        """Whether this instance still has to write a key, if it lives or comes back to life."""
        on_disk = self.disk is not None and key_id in self.disk.rows
        return on_disk or key_id in self.repository.pending

    def now(self) -> datetime:
        """What this instance takes for the time."""
        now = self._clock.now()
        return now + timedelta(seconds=self._skew_s) if self._skew_s else now

    async def live(self) -> None:
        """Play the whole life of the instance, until the end of the traffic; it is up then."""
        # What came while an instance was away, or just started, has nothing left to stop.
        for stop in self._stops:
            if stop.at_s > self._clock.time():
                await self._serve_until(stop.at_s)
                await self._stop(stop)
        await self._serve_until(self._duration_s)

    async def _serve_until(self, end_s: float) -> None:
        self.started_s = self._clock.time()
        await self.repository.__aenter__()
        insort(self._ready, self, key=attrgetter("number"))
        rotation = self._loop.create_task(self._rotate())
        try:
            await asyncio.wait([rotation], timeout=end_s - self._clock.time())
            if rotation.done():
                rotation.result()  # It never ends by itself: raise what broke it.
        finally:
            rotation.cancel()  # Also if the run is given up: there is nobody to publish to then.

    async def _stop(self, stop: Stop) -> None:
        self._ready.remove(self)
        self._issuer.stop(self._clock.time())
        if stop.kind is StopKind.KILL:
            self.repository.kill()
            for call in self.calls:
                call.cancel(KILLED)
        else:
            if self.calls:
                await asyncio.wait(self.calls)
            await self.repository.__aexit__(None, None, None)
        self.repository = self._new_repository()
        if self.number == 0:
            # Its breaker is a new one.
            self._recorder.breaker.append((self._clock.time(), BreakerState.CLOSED))
        if self._settings.start_s:
            await asyncio.sleep(self._settings.start_s)

    async def _rotate(self) -> None:
        """Let the code under test make a key at once, and then at every beat of the rotation."""
        now_s = self._clock.time()
        first_s = next((beat_s for beat_s in self._beats_s if beat_s > now_s), None)
        rotation = KeyRotation(
            self,
            self._make,
            self._policy,
            interval_s=self._keys.rotation_interval_s,
            token_lifetime_s=self._keys.token_lifetime_s,
            now=self.now,
            first_in_s=None if first_s is None else first_s - now_s,
            on_use=lambda pair: self._issuer.use(pair.public, self._clock.time()),
            on_failure=lambda key, error: None,  # It is in the history.
        )
        await rotation.start()
        if rotation.current is not None:
            self._recorder.first_keys.add(rotation.current.public.id)
        await rotation.run()

    def _make(self) -> SimulatedKeyPair:
        return SimulatedKeyPair(self._mint.make(self._clock.time() + self._skew_s))

    async def create(self, key: PublicKey) -> Durability:
        """Publish a key, and take note of it: what `KeyRotation` publishes to."""
        CALL_DRAW.set(next(self._create_draws))
        started_s = self._clock.time()
        try:
            durability = await self.repository.create(key)
        except FtrepoError:
            self._note_create(started_s, CreateOutcome.FAILED)
            raise
        self._note_create(started_s, _OUTCOMES[durability])
        self._recorder.acknowledged[key.id] = (key, self._clock.time())
        return durability

    def _note_create(self, started_s: float, outcome: CreateOutcome) -> None:
        self._recorder.creates.append((started_s, self._clock.time() - started_s, outcome))

    async def until_settled(self, key_id: str) -> None:
        """Wait until a key no longer waits to be written."""
        await self.repository.until_settled(key_id)

    def _new_repository(self) -> FaultTolerantRepository:
        disk = self.disk
        return FaultTolerantRepository(
            self._store,
            self._policy,
            now=self.now,
            observers=[self._observe],
            journal=SimulatedJournal(disk) if disk and self._policy.pending_writes else None,
            snapshot=SimulatedSnapshot(disk) if disk else None,
            peers=_Others(self, self._ready, self._settings.peer_latency_s),
            draw=self._draw,
        )

    def _observe(self, event: Event) -> None:
        self._recorder.observe(event)
        if isinstance(event, BreakerChanged) and self.number == 0:
            self._recorder.breaker.append((self._clock.time(), event.new))
        if isinstance(event, KeyCreated | Flushed):
            self._changed()


class _Others:
    """The other instances, as one of them asks them: a `Peers` in virtual time."""

    def __init__(self, own: Instance, ready: list[Instance], latency_s: float) -> None:
        self._own = own
        self._ready = ready
        self._latency_s = latency_s

    async def find(self, key_id: str) -> PublicKey | None:
        """Return a key that another instance has at hand; see `Peers.find`."""
        others = [each for each in self._ready if each is not self._own]
        if not others:
            return None
        await asyncio.sleep(self._latency_s)
        answers = (each.repository.at_hand(key_id) for each in others)
        return next((key for key in answers if key is not None), None)
