"""The simulated pool: connections that are opened when they are needed, kept, tried, and lost.

A pool has so many places. A call takes one, and with it a connection: the one that was used last
of those that stand idle, or a new one. A connection is lost when an outage cuts it, when its call
fails without an answer of the server, and when its call is cancelled, for nobody knows then what
is still to come on it. So `ftrepo.postgres.pool` does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftrepo.errors import PrimaryUnavailableError
from sim.world.faults import REFUSALS
from sim.world.outages import OutageMode
from sim.world.places import Places

if TYPE_CHECKING:
    import numpy as np

    from sim.loop import VirtualTimeLoop
    from sim.world.durations import AnyLatency
    from sim.world.faults import Faults
    from sim.world.places import Place
    from sim.world.primary_settings import PrimarySettings

EXCESS_S = 1.0
"""How long a connection beyond `PrimarySettings.idle_max` may be unused."""

TRIAL_TIMEOUT_S = 0.1
"""How long the trial of an idle connection may take."""

_BUFFER = 1024

_REFUSED: dict[OutageMode, type[Exception]] = {
    OutageMode.REFUSE: ConnectionRefusedError,
    OutageMode.RESET: ConnectionResetError,
    OutageMode.STARTING: PrimaryUnavailableError,
    OutageMode.CONNECTION_LIMIT: PrimaryUnavailableError,
}


@dataclass(slots=True)
class Connection:
    """A connection: when it was opened, and when it was last used."""

    opened_s: float
    used_s: float


class SimulatedPool:
    """The pool of connections in front of a `SimulatedPrimary`.

    Args:
        loop: the loop whose SimPy environment the pool lives in.
        settings: its size, its time-outs, and how long connecting takes.
        faults: when connections are refused and cut.
        rng: for how long connecting and trying take.

    Attributes:
        places: one for each call that may have a connection at once.
    """

    def __init__(
        self,
        loop: VirtualTimeLoop,
        settings: PrimarySettings,
        faults: Faults,
        *,
        rng: np.random.Generator,
    ) -> None:
        self.places = Places(loop, settings.pool_size)
        self._loop = loop
        self._settings = settings
        self._faults = faults
        self._connect_s = None if settings.connect is None else _draws(settings.connect, rng)
        self._trial_s = _draws(settings.select, rng.spawn(1)[0])
        self._idle: deque[Connection] = deque()  # The longest unused is on the left.

    @property
    def idle(self) -> int:
        """How many connections stand and wait for a call."""
        now_s, idle = self._loop.time(), self._idle
        while idle and self._faults.is_cut(idle[0].opened_s, now_s):
            idle.popleft()
        while len(idle) > self._settings.idle_max and now_s - idle[0].used_s >= EXCESS_S:
            idle.popleft()
        return len(idle)

    async def refuse_if_none(self) -> None:
        """Raise what whoever connects now is told, if no connection stands and none is made."""
        mode = self._faults.refusal(self._loop.time())
        if mode is not None and not self.idle:
            await asyncio.sleep(self._settings.refuse_latency_s)
            raise _REFUSED[mode](REFUSALS[mode])

    async def take(self, place: Place) -> Connection:
        """Return the connection that the holder of this place can use now.

        Raises:
            ConnectionRefusedError, ConnectionResetError, PrimaryUnavailableError: there is none,
                and none can be made.
            TimeoutError: there was none in time.
        """
        if self._settings.acquire_timeout_s is None:
            return await self._take(place)
        async with asyncio.timeout(self._settings.acquire_timeout_s):
            return await self._take(place)

    def keep(self, connection: Connection) -> None:
        """Give a connection back."""
        connection.used_s = self._loop.time()
        self._idle.append(connection)

    async def _take(self, place: Place) -> Connection:
        loop, faults = self._loop, self._faults
        if place is not None and not place.triggered:
            await loop.as_future(place)
            await self.refuse_if_none()
        free_s = faults.pool_free_s(loop.time())
        if free_s > loop.time():
            await asyncio.sleep(free_s - loop.time())
            await self.refuse_if_none()
        while self.idle:
            connection = self._idle.pop()
            if await self._works(connection):
                return connection
            # What broke this one has most likely broken those that were unused for as long.
            while self._idle and self._idle[0].used_s <= connection.used_s:
                self._idle.popleft()
        await self.connect()
        return Connection(loop.time(), loop.time())

    async def _works(self, connection: Connection) -> bool:
        """Try a connection that was not used for a while."""
        now_s, unused_max_s = self._loop.time(), self._settings.check_after_idle_s
        if unused_max_s is None or now_s - connection.used_s < unused_max_s:
            return True
        # A trial touches no table: it meets the outages that connecting does.
        answered_s, answered = self._faults.connected(now_s, next(self._trial_s))
        in_time = answered_s <= now_s + TRIAL_TIMEOUT_S
        await asyncio.sleep(answered_s - now_s if in_time else TRIAL_TIMEOUT_S)
        return answered and in_time

    async def connect(self) -> None:
        """Open a connection; it is the caller's.

        Raises:
            ConnectionRefusedError, ConnectionResetError, PrimaryUnavailableError: none is made.
        """
        await self.refuse_if_none()
        if self._connect_s is None:
            return
        now_s = self._loop.time()
        moment_s, stands = self._faults.connected(now_s, next(self._connect_s))
        await asyncio.sleep(moment_s - now_s)
        if not stands:
            raise ConnectionResetError("the connection was cut while it was made")


def _draws(latency: AnyLatency, rng: np.random.Generator) -> Iterator[float]:
    while True:
        yield from latency.draw(rng, _BUFFER).tolist()
