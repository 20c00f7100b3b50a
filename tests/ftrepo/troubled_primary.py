"""A store in memory that fails in several ways, one after another, as a test tells it."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import TypeVar

from ftrepo.errors import PrimaryUnavailableError
from ftrepo.interface import Durability
from ftrepo.keys import PublicKey
from ftrepo.memory import InMemoryRepository
from tests.laboratory import LATENCY_S, Laboratory

T = TypeVar("T")


class Mode(enum.Enum):
    """How the primary is."""

    WELL = enum.auto()
    SLOW = enum.auto()
    REFUSES = enum.auto()
    HANGS = enum.auto()
    READ_ONLY = enum.auto()
    LOSES_ANSWERS = enum.auto()
    """To writes, which are carried out."""
    ONE_PAGE = enum.auto()
    """Every page of a list fails but the first."""


SLOW_S = 0.3
"""Long enough for something to happen meanwhile, and within every time-out."""


class TroubledPrimary(InMemoryRepository):
    """A store that fails as it is told.

    Attributes:
        came_s: when each key was first seen in it.
        seen_s: when there was last a valid key under each id.
    """

    def __init__(self, lab: Laboratory) -> None:
        super().__init__(now=lab.now, entries_max=None)
        self.mode = Mode.WELL
        self.changed = asyncio.Event()
        self.came_s: dict[PublicKey, float] = {}
        self.seen_s: dict[str, float] = {}

    def become(self, mode: Mode) -> None:
        self.mode = mode
        self.changed.set()
        self.changed.clear()

    async def create(self, key: PublicKey) -> Durability:
        return await self._call(super().create, key, writes=True)

    async def create_many(self, keys: Sequence[PublicKey]) -> Collection[str]:
        return await self._call(super().create_many, keys, writes=True)

    async def get(self, key_id: str) -> PublicKey:
        return await self._call(super().get, key_id)

    async def list_valid(self, *, after: str | None, limit: int) -> Sequence[PublicKey]:
        page = await self._call(partial(super().list_valid, after=after, limit=limit))
        if self.mode is Mode.ONE_PAGE and after is not None:
            raise PrimaryUnavailableError("one page is enough")
        return page

    async def delete_expired(self) -> int:
        return await self._call(super().delete_expired, writes=True)

    async def ping(self) -> None:
        return await self._call(super().ping)

    async def _call(
        self, act: Callable[..., Awaitable[T]], *what: object, writes: bool = False
    ) -> T:
        while self.mode is Mode.HANGS:
            await self.changed.wait()
        await asyncio.sleep(SLOW_S if self.mode is Mode.SLOW else LATENCY_S)
        if self.mode is Mode.REFUSES or (writes and self.mode is Mode.READ_ONLY):
            raise PrimaryUnavailableError(self.mode.name)
        told = await act(*what)
        now_s = asyncio.get_running_loop().time()
        for key in self.lookup_all():
            self.came_s.setdefault(key, now_s)
            self.seen_s[key.id] = now_s
        if writes and self.mode is Mode.LOSES_ANSWERS:
            raise PrimaryUnavailableError(self.mode.name)
        return told


class AnnouncingPrimary(TroubledPrimary):
    """It tells of what others store, whatever else it does."""

    def __init__(self, lab: Laboratory) -> None:
        super().__init__(lab)
        self.announced: asyncio.Queue[Sequence[PublicKey]] = asyncio.Queue()

    async def changes(self) -> AsyncGenerator[Sequence[PublicKey] | None, None]:
        yield None
        while True:
            yield await self.announced.get()
