"""Acts a schedule of outages out on a real server, moment by moment.

The modes are those of the simulated primary. Each is acted by a fault of `real_faults`: on a server
of one's own by the server itself, where it can; on somebody else's by the line to it, by its
service's pool or by a lock in a database of one's own, and in no way that others would notice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import asyncpg

from sim.testbed import real_faults
from sim.testbed.fault_site import Site, operator
from sim.testbed.proxy import Line
from sim.world.errors import InputError
from sim.world.outages import Outage, OutageMode

if TYPE_CHECKING:
    from sim.stage import RunClock
    from sim.testbed.slowness import Slowness

Injected = AbstractAsyncContextManager[None]
Inject = Callable[[Site], Injected]

LATENESS_S_MAX = 0.25
"""How far from its planned moments an outage is acted on a machine that is not busy."""

BY_SERVER: dict[OutageMode, Inject] = {
    OutageMode.REFUSE: real_faults.fast_stop,
    OutageMode.HANG: real_faults.frozen,
    OutageMode.READ_ONLY: real_faults.read_only,
    OutageMode.STARTING: real_faults.starting_up,
}
"""Modes that a server of one's own goes through itself."""

BY_LINE: dict[OutageMode, Inject] = {
    OutageMode.REFUSE: real_faults.REAL_FAULTS["refuse"].inject,
    OutageMode.HANG: real_faults.REAL_FAULTS["pause"].inject,
    OutageMode.RESET: real_faults.REAL_FAULTS["reset"].inject,
}
"""Modes that the line to any server can have, besides `SLOW` and `ERROR_RATE`."""

_REHEARSED = (OutageMode.REFUSE, OutageMode.STARTING)
"""Modes whose mending takes so long that it must begin before the outage is to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acted:
    """One outage as it was planned and as it was.

    Attributes:
        planned: as the schedule has it.
        began_s: when the fault was complete.
        ended_s: when it was mended.
    """

    planned: Outage
    began_s: float
    ended_s: float

    @property
    def lateness_s(self) -> float:
        """How far it was from its plan, at either end."""
        begin_s = abs(self.began_s - self.planned.start_s)
        return max(begin_s, abs(self.ended_s - self.planned.end_s))

    @property
    def outage(self) -> Outage:
        """The outage as the service met it: from its plan's beginning, when it broke, to its end.

        A fault needs a moment to be complete, and the service feels it from its first effect on.
        """
        return replace(self.planned, end_s=max(self.ended_s, self.began_s))


def needs_line(outages: Sequence[Outage], *, own_server: bool) -> bool:
    """Whether the service must reach the server by way of the proxy.

    Raises:
        InputError: a mode cannot be acted on somebody else's server; names it.
    """
    modes = {outage.mode for outage in outages}
    only_by_server = {OutageMode.READ_ONLY, OutageMode.STARTING, OutageMode.CONNECTION_LIMIT}
    impossible = sorted(mode.value for mode in modes & only_by_server)
    if impossible and not own_server:
        raise InputError(
            f"an outage of mode {impossible[0]!r} would break a server that is not the testbed's "
            "own: leave out --dsn, and it starts one"
        )
    by_line = {OutageMode.SLOW, OutageMode.ERROR_RATE, OutageMode.RESET}
    if not own_server:
        by_line |= set(BY_LINE)
    return bool(modes & by_line)


class Actor:
    """Acts the outages of one run.

    Args:
        site: where they strike.
        outages: the schedule, in the time of the clock.
        clock: the time of the run.
        slowness: how slow the line is in `SLOW`, and which requests fail in `ERROR_RATE`.
        own_server: whether the server may be broken.

    Attributes:
        acted: the outages that are over.
    """

    def __init__(
        self,
        site: Site,
        outages: Sequence[Outage],
        clock: RunClock,
        *,
        slowness: Slowness,
        own_server: bool,
    ) -> None:
        self.acted: list[Acted] = []
        self._site = site
        self._outages = outages
        self._clock = clock
        self._slowness = slowness
        self._own_server = own_server
        self._mending_s: dict[OutageMode, float] = {}

    async def rehearse(self) -> None:
        """Find out how long it takes to mend what takes long, before it counts."""
        modes = {outage.mode for outage in self._outages}
        for mode in _REHEARSED:
            if mode in modes and self._own_server:
                fault = BY_SERVER[mode](self._site)
                await fault.__aenter__()
                began_s = asyncio.get_running_loop().time()
                await fault.__aexit__(None, None, None)
                self._mending_s[mode] = asyncio.get_running_loop().time() - began_s

    async def act(self) -> None:
        """Act every outage at its time. Cancelled, it mends what is broken."""
        for outage in self._outages:
            await self._until(outage.start_s)
            async with self._fault(outage):
                began_s = self._clock.time()
                await self._until(outage.end_s - self._mending_s.get(outage.mode, 0.0))
            ended_s = self._clock.time()
            self.acted.append(Acted(planned=outage, began_s=began_s, ended_s=ended_s))

    def _fault(self, outage: Outage) -> Injected:
        mode = outage.mode
        if self._own_server and mode in BY_SERVER:
            return BY_SERVER[mode](self._site)
        if mode in BY_LINE:
            return BY_LINE[mode](self._site)
        if mode is OutageMode.LOCKED:
            return real_faults.table_locked(self._site)
        if mode is OutageMode.FULL_POOL:
            return real_faults.pool_exhausted(self._site)
        if mode is OutageMode.CONNECTION_LIMIT:
            return at_the_limit(self._site)
        return self._spoiled(outage)

    @asynccontextmanager
    async def _spoiled(self, outage: Outage) -> AsyncIterator[None]:
        proxy = self._site.proxy
        if outage.mode is OutageMode.SLOW:
            proxy.change(Line(delays=self._slowness.delay_s))
        else:
            proxy.change(Line(loses=self._slowness.loses(outage.severity)))
        try:
            yield
        finally:
            proxy.change(Line())

    async def _until(self, moment_s: float) -> None:
        await asyncio.sleep(moment_s - self._clock.time())


@asynccontextmanager
async def at_the_limit(site: Site) -> AsyncIterator[None]:
    """Use up what is left of `max_connections`; the connections that are open go on."""
    async with AsyncExitStack() as held:
        while True:
            try:
                await held.enter_async_context(operator(site))
            except asyncpg.TooManyConnectionsError:
                break
        yield
