"""The simulated primary: a server with a connection pool, latencies, and outages on a schedule.

It is the fake of `sim` for PostgreSQL: it implements `ftrepo.interface.PrimaryStore`, passes the
same contract suite as the real stores, and behaves under faults as they were seen to:

* A call first needs one of the pool's connections, and keeps it to its end (`world.connections`).
* A write is committed at a point in time of its own, on the server. A caller that gives up before
  the answer does not stop it; so a timed-out write may be committed all the same, even later.
* A server that can work on so many calls at once (`world.workers`) lets the others wait, and works
  on calls that nobody waits for any more: overload outlasts its cause.
* While the server hangs, nothing is answered; what reached it goes on when it wakes.
"""

from __future__ import annotations

import asyncio
import copy
from array import array
from collections.abc import Collection, Coroutine, Iterator, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ftrepo.errors import (
    KeyConflictError,
    KeyExpiredError,
    KeyNotFoundError,
    PrimaryUnavailableError,
)
from ftrepo.interface import Clock, Durability
from ftrepo.keys import PublicKey
from sim.world.connections import SimulatedPool
from sim.world.faults import CallDraw, CallKind, Fate, Faults
from sim.world.outages import Outage
from sim.world.workers import Workers

if TYPE_CHECKING:
    from sim.loop import VirtualTimeLoop
    from sim.world.durations import AnyLatency
    from sim.world.primary_settings import PrimarySettings

CALL_DRAW: ContextVar[CallDraw | None] = ContextVar("CALL_DRAW", default=None)
"""The random numbers for the call that the current task makes. Whoever plays traffic sets it, so
that a request meets the same luck under every policy (common random numbers). Calls without one,
those of background tasks, draw from streams of their own."""

_BUFFER = 1024

_ERRORS = {True: ConnectionResetError, False: PrimaryUnavailableError}
"""What a driver raises when it has lost the connection, or when the server refuses by an answer."""


class SimulatedPrimary:
    """A `PrimaryStore` in virtual time.

    Args:
        loop: the loop whose SimPy environment the pool lives in.
        settings: pool size, latencies and habits.
        outages: when and how it fails; sorted and not overlapping.
        rng: for the calls that bring no `CALL_DRAW`.
        now: the calendar time, by which keys expire.
    """

    def __init__(
        self,
        loop: VirtualTimeLoop,
        settings: PrimarySettings,
        *,
        outages: Sequence[Outage] = (),
        rng: np.random.Generator,
        now: Clock,
    ) -> None:
        self.attempts_s = array("d")
        """When each call was made, refused ones included."""
        self.committed_s: dict[str, float] = {}
        """When each key was committed, deleted ones included."""
        self._rows: dict[str, PublicKey] = {}
        self._loop = loop
        self._settings = settings
        self._now = now
        self.faults = Faults(
            outages,
            slow_factor=settings.slow_factor,
            lost_reply_share=settings.lost_reply_share,
            timeout_s=settings.command_timeout_s,
            failing_share=settings.failing_share,
        )
        self.workers = (
            None
            if settings.workers is None
            else Workers(settings.workers, queue_max=settings.queue_max)
        )
        self.open_pool(rng)

    def for_another_instance(self, rng: np.random.Generator) -> Self:
        """Return the same server as another instance of the service sees it.

        Rows, workers, outages and the notes of what happened are shared; the pool of connections
        and the luck of the calls are its own.

        Args:
            rng: for the calls of that instance that bring no `CALL_DRAW`.
        """
        other = copy.copy(self)
        other.open_pool(rng)
        return other

    def open_pool(self, rng: np.random.Generator) -> None:
        """Reach the server through new connections, with luck of their own."""
        settings = self._settings
        self._select = call_draws(settings.select, rng.spawn(1)[0])
        self._insert = call_draws(settings.insert, rng.spawn(1)[0])
        self._delete = call_draws(settings.delete, rng.spawn(1)[0])
        self.pool = SimulatedPool(self._loop, settings, self.faults, rng=rng.spawn(1)[0])

    def __contains__(self, key_id: object) -> bool:
        return key_id in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def commit(self, key: PublicKey) -> None:
        """Store a key now, without a call: what another instance has published."""
        held = self._rows.get(key.id)
        if held is None or held.has_expired(self._now()):
            self._rows[key.id] = key
            self.committed_s.setdefault(key.id, self._loop.time())

    async def create(self, key: PublicKey) -> Durability:
        """Store a key; see `PublicKeyRepository.create`."""
        if key.has_expired(self._now()):
            raise KeyExpiredError(f"key {key.id!r} expired at {key.expires}")
        await self._call(self._insert, CallKind.WRITE, writes=(key,))
        if not self._rows[key.id].same_material(key):
            raise KeyConflictError(f"id {key.id!r} is bound to other key material")
        return Durability.PRIMARY

    async def create_many(self, keys: Sequence[PublicKey]) -> Collection[str]:
        """Store a batch in one call; see `PrimaryStore.create_many`."""
        await self._call(self._insert, CallKind.WRITE, writes=keys)
        return [key.id for key in keys if not self._rows[key.id].same_material(key)]

    async def get(self, key_id: str) -> PublicKey:
        """Return an unexpired key; see `PublicKeyRepository.get`."""
        await self._call(self._select)
        key = self._rows.get(key_id)
        if key is None or key.has_expired(self._now()):
            raise KeyNotFoundError(f"no unexpired key {key_id!r}")
        return key

    async def list_valid(self, *, after: str | None, limit: int) -> Sequence[PublicKey]:
        """Return one page; see `PrimaryStore.list_valid`."""
        await self._call(self._select)
        now = self._now()
        valid = [key for key in self._rows.values() if not key.has_expired(now)]
        valid.sort(key=lambda key: key.id)
        return [key for key in valid if after is None or key.id > after][:limit]

    async def delete_expired(self) -> int:
        """Delete expired keys; see `PublicKeyRepository.delete_expired`."""
        await self._call(self._delete, CallKind.WRITE)
        now = self._now()
        expired = [key.id for key in self._rows.values() if key.has_expired(now)]
        for key_id in expired:
            del self._rows[key_id]
        return len(expired)

    async def ping(self) -> None:
        """Return if the server answers, and would accept a write."""
        await self._call(self._select, CallKind.PING)

    async def _call(
        self,
        draws: Iterator[CallDraw],
        kind: CallKind = CallKind.READ,
        *,
        writes: Sequence[PublicKey] = (),
    ) -> None:
        self.attempts_s.append(self._loop.time())
        if self._settings.driver_honours_cancellation:
            await self._serve(draws, kind, writes)
        else:
            await _regardless_of_cancellation(self._serve(draws, kind, writes))

    async def _serve(
        self,
        draws: Iterator[CallDraw],
        kind: CallKind = CallKind.READ,
        writes: Sequence[PublicKey] = (),
    ) -> None:
        loop = self._loop
        draw = CALL_DRAW.get() or next(draws)
        await self.pool.refuse_if_none()
        place = self.pool.places.take()
        try:
            connection = await self.pool.take(place)
            fate = self._fate(draw, kind)
            if writes and fate.committed_s is not None:
                loop.call_at(fate.committed_s, self._commit_all, writes)
            await asyncio.sleep(fate.answered_s - loop.time())
            if not fate.connection_lost:
                self.pool.keep(connection)
        finally:
            self.pool.places.leave(place)
        if fate.error is not None:
            raise _ERRORS[fate.connection_lost](fate.error)

    def _fate(self, draw: CallDraw, kind: CallKind) -> Fate:
        now_s = self._loop.time()
        if self.workers is None:
            return self.faults.fate(now_s, draw, kind)
        return self.faults.fate_in_queue(now_s, self.workers, draw, kind)

    def _commit_all(self, keys: Sequence[PublicKey]) -> None:
        for key in keys:
            self.commit(key)


def call_draws(latency: AnyLatency, rng: np.random.Generator) -> Iterator[CallDraw]:
    """Yield the random numbers of one call after another, for ever."""
    while True:
        work_s = latency.draw(rng, _BUFFER)
        rest = rng.random((_BUFFER, 3))
        for at in range(_BUFFER):
            # One by one: of most buffers only a few are ever asked for.
            yield CallDraw(float(work_s[at]), *rest[at].tolist())


async def _regardless_of_cancellation(call: Coroutine[Any, Any, None]) -> None:
    """Finish a call before giving way to a cancellation, as drivers do that wait for the server."""
    task = asyncio.ensure_future(call)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        task.cancelled() or task.exception()
        raise cancelled
    task.result()
