"""The simulated primary of a hostile world, seen from outside: whatever reaches it is noted.

It adds to `sim.world.primary` what a fault injector has and a scenario does not need: writes that
are carried out twice, the second time late, and a moment from which on the primary is well.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ftrepo.errors import KeyNotFoundError
from ftrepo.interface import ChangeFeed, Durability
from ftrepo.keys import PublicKey
from sim.explore.chronicler import Chronicler
from sim.explore.happenings import CallBegan, CallEnded, Committed, Removed
from sim.world.announcements import AnnouncingPrimary
from sim.world.connections import SimulatedPool
from sim.world.faults import CallDraw, CallKind, Fate
from sim.world.outages import SEVERED, merge
from sim.world.primary import SimulatedPrimary, call_draws

if TYPE_CHECKING:
    import numpy as np

    from ftrepo.interface import Clock
    from sim.explore.hostile_world import HostileWorld
    from sim.loop import VirtualTimeLoop
    from sim.world.faults import Faults
    from sim.world.primary_settings import PrimarySettings

T = TypeVar("T")

WORK_MAX_S = 5.0
"""The longest that a server in which nothing is wrong works on one call: a latency's tail has no
end, and a play must have one."""

WORK_WELL_MAX_S = 0.01
"""The same once the primary is well again."""


class NotedRows(dict[str, PublicKey]):
    """The rows of the primary; each commit and each deletion is noted, however it came about."""

    def __init__(self, chronicler: Chronicler) -> None:
        super().__init__()
        self._chronicler = chronicler

    def __setitem__(self, key_id: str, key: PublicKey) -> None:
        super().__setitem__(key_id, key)
        self._chronicler.note(Committed(self._chronicler.now_s(), key))

    def __delitem__(self, key_id: str) -> None:
        key = self[key_id]
        super().__delitem__(key_id)
        self._chronicler.note(Removed(self._chronicler.now_s(), key))


@dataclass(slots=True)
class Ailment:
    """What is wrong with the primary besides its outages; shared by all who reach it.

    Attributes:
        is_over: whether it is well from now on.
        duplicates_until_s: when the last of the repeated writes is carried out.
    """

    is_over: bool = False
    duplicates_until_s: float = 0.0

    @property
    def work_max_s(self) -> float:
        """The longest that the server works on anything."""
        return WORK_WELL_MAX_S if self.is_over else WORK_MAX_S


class HostilePool(SimulatedPool):
    """A `SimulatedPool` to a primary that is well in the end: then nothing there takes long either.

    Args:
        loop: see `SimulatedPool`, like the other arguments.
        settings: likewise.
        faults: likewise.
        rng: likewise.
        ailment: says whether the primary is well.
    """

    def __init__(
        self,
        loop: VirtualTimeLoop,
        settings: PrimarySettings,
        faults: Faults,
        *,
        rng: np.random.Generator,
        ailment: Ailment,
    ) -> None:
        super().__init__(loop, settings, faults, rng=rng)
        self._trial_s = _bounded(self._trial_s, ailment)
        if self._connect_s is not None:
            self._connect_s = _bounded(self._connect_s, ailment)


def _bounded(draws: Iterator[float], ailment: Ailment) -> Iterator[float]:
    return (min(work_s, ailment.work_max_s) for work_s in draws)


class HostilePrimary(SimulatedPrimary):
    """A `SimulatedPrimary` whose rows are noted, and in front of which a proxy may repeat writes.

    Args:
        loop: the loop whose SimPy environment it lives in.
        world: its settings, outages (which may overlap: the worst wins) and repeated writes.
        chronicler: is told of every commit and deletion.
        rng: for latencies and repeated writes.
        now: the calendar time, by which keys expire.

    Attributes:
        rows: what it holds, by id.
        ailment: whether it is well yet.
    """

    def __init__(
        self,
        loop: VirtualTimeLoop,
        world: HostileWorld,
        *,
        chronicler: Chronicler,
        rng: np.random.Generator,
        now: Clock,
    ) -> None:
        self._duplicates = rng.spawn(1)[0]
        self.ailment = Ailment()
        super().__init__(loop, world.primary, outages=merge(world.outages), rng=rng, now=now)
        self.rows = self._rows = NotedRows(chronicler)
        self._read_reply_s = world.read_reply_s
        self._duplicate_share = world.duplicate_share
        self._duplicate_after_max_s = world.duplicate_after_max_s

    @property
    def is_calm(self) -> bool:
        """Whether nothing is on its way any more that an ailing primary has left."""
        now_s = self._loop.time()
        is_idle = self.workers is None or self.workers.begin_s(now_s) <= now_s
        return is_idle and self.ailment.duplicates_until_s <= now_s

    def open_pool(self, rng: np.random.Generator) -> None:
        """Reach the server through new connections, with luck from one stream.

        Nothing is compared between policies here, and a stream for each kind of call would take
        longer to make than the calls themselves.
        """
        settings = self._settings
        self._select = call_draws(settings.select, rng)
        self._insert = call_draws(settings.insert, rng)
        self._delete = call_draws(settings.delete, rng)
        self.pool = HostilePool(self._loop, settings, self.faults, rng=rng, ailment=self.ailment)

    async def get(self, key_id: str) -> PublicKey:
        """Return an unexpired key, as it was when the server read it."""
        try:
            key = await super().get(key_id)
        except KeyNotFoundError:
            await self._reply()
            raise
        await self._reply()
        return key

    async def list_valid(self, *, after: str | None, limit: int) -> Sequence[PublicKey]:
        """Return one page, as it was when the server read it."""
        page = await super().list_valid(after=after, limit=limit)
        await self._reply()
        return page

    async def _reply(self) -> None:
        """Let an answer be on its way, while the primary is ailing, to who can give it up."""
        can_give_up = self._settings.driver_honours_cancellation
        if self._read_reply_s and can_give_up and not self.ailment.is_over:
            await asyncio.sleep(self._read_reply_s)

    def _fate(self, draw: CallDraw, kind: CallKind) -> Fate:
        if draw.work_s > self.ailment.work_max_s:
            draw = draw._replace(work_s=self.ailment.work_max_s)
        return super()._fate(draw, kind)

    def _commit_all(self, keys: Sequence[PublicKey]) -> None:
        super()._commit_all(keys)
        if (
            self._duplicate_share
            and not self.ailment.is_over
            and self._duplicates.random() < self._duplicate_share
        ):
            after_s = self._duplicates.random() * self._duplicate_after_max_s
            at_s = self._writable_s(self._loop.time() + after_s)
            self.ailment.duplicates_until_s = max(self.ailment.duplicates_until_s, at_s)
            self._loop.call_at(at_s, super()._commit_all, keys)

    def _writable_s(self, at_s: float) -> float:
        """When a repeated write gets through that is sent then."""
        while (outage := self.faults.at(at_s)) is not None and outage.mode in SEVERED:
            at_s = outage.end_s
        return at_s


class HostileAnnouncingPrimary(HostilePrimary, AnnouncingPrimary):
    """The same, announcing new keys."""


class NotedStore:
    """The primary as one process of an instance sees it: a `PrimaryStore` whose calls are noted.

    The feed of new keys has a connection of its own and is not noted: it makes no calls.

    Args:
        primary: with a pool of this process's own.
        chronicler: is told of every call.
        instance: whose calls they are.
        process: likewise.
        cancels_at_once: see `PrimaryStore`.
        answered: is called as each call ends, by an answer or otherwise.

    Attributes:
        is_gone: whether the process has ended. It reaches nothing any more then.
    """

    def __init__(
        self,
        primary: HostilePrimary,
        chronicler: Chronicler,
        *,
        instance: int,
        process: int,
        cancels_at_once: bool,
        answered: Callable[[], None],
    ) -> None:
        self.cancels_at_once = cancels_at_once
        self.is_gone = False
        self._primary = primary
        self._chronicler = chronicler
        self._instance = instance
        self._process = process
        self._answered = answered

    @property
    def open_connections(self) -> int:
        """How many connections calls of the process hold."""
        return self._primary.pool.places.taken

    async def create(self, key: PublicKey) -> Durability:
        """Store a key; see `PublicKeyRepository.create`."""
        return await self._noted("create", self._primary.create(key), (key.id,))

    async def create_many(self, keys: Sequence[PublicKey]) -> Collection[str]:
        """Store a batch in one call; see `PrimaryStore.create_many`."""
        key_ids = tuple(key.id for key in keys)
        return await self._noted("create_many", self._primary.create_many(keys), key_ids)

    async def get(self, key_id: str) -> PublicKey:
        """Return an unexpired key; see `PublicKeyRepository.get`."""
        return await self._noted("get", self._primary.get(key_id), (key_id,))

    async def list_valid(self, *, after: str | None, limit: int) -> Sequence[PublicKey]:
        """Return one page; see `PrimaryStore.list_valid`."""
        page = self._primary.list_valid(after=after, limit=limit)
        return await self._noted("list_valid", page)

    async def delete_expired(self) -> int:
        """Delete expired keys; see `PublicKeyRepository.delete_expired`."""
        return await self._noted("delete_expired", self._primary.delete_expired())

    async def ping(self) -> None:
        """Return if the server answers, and would accept a write."""
        await self._noted("ping", self._primary.ping())

    async def _noted(
        self, name: str, call: Coroutine[Any, Any, T], key_ids: tuple[str, ...] = ()
    ) -> T:
        if self.is_gone:
            call.close()
            raise ConnectionAbortedError("the process has ended, and its connections with it")
        chronicler = self._chronicler
        number = chronicler.next_call()
        began = CallBegan(chronicler.now_s(), number, self._instance, self._process, name, key_ids)
        chronicler.note(began)
        error = ""
        try:
            return await call
        except BaseException as failure:
            error = type(failure).__name__
            raise
        finally:
            chronicler.note(CallEnded(chronicler.now_s(), number, error))
            if not self.is_gone:
                self._answered()


class NotedFeed(NotedStore, ChangeFeed):
    """A `NotedStore` in front of a primary that announces new keys."""

    _primary: HostileAnnouncingPrimary

    def changes(self) -> AsyncGenerator[Sequence[PublicKey] | None, None]:
        """Yield keys as others publish them; see `ChangeFeed.changes`."""
        return self._primary.changes()
