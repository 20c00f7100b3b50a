"""The simulated primary that announces new keys, as PostgreSQL does by LISTEN and NOTIFY.

Whoever listens has a connection of his own for it, past the pool. It is lost when an outage cuts
it, and when a frozen server does not answer the question that is asked now and then to find out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from ftrepo.errors import PrimaryUnavailableError
from ftrepo.keys import PublicKey
from sim.world.primary import SimulatedPrimary

CHECK_INTERVAL_S = 5.0
"""How often whoever listens asks whether the server is there; as `ftrepo.postgres` does."""

CHECK_TIMEOUT_S = 2.0
"""How long the answer may take."""

CONNECT_TIMEOUT_S = 0.45
"""How long it may take to connect."""

IDS_MAX = 1000
"""The most ids that wait to be read. More than that, and everything is to be looked at."""


class AnnouncingPrimary(SimulatedPrimary):
    """A `SimulatedPrimary` that is a `ChangeFeed`: it tells of what other instances publish."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # By the instance that listens; shared by all of them, as the rows are.
        self._inboxes: dict[_Inbox, AnnouncingPrimary] = {}

    def commit(self, key: PublicKey) -> None:
        """Store a key now, without a call, and announce it: what another instance has published."""
        self._store_and_announce(key, by=None)

    async def changes(self) -> AsyncGenerator[Sequence[PublicKey] | None, None]:
        """Yield keys as others publish them; see `ChangeFeed.changes`."""
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await self.pool.connect()
        loop = asyncio.get_running_loop()
        lost_s = self.faults.listening_until_s(loop.time(), CHECK_INTERVAL_S, CHECK_TIMEOUT_S)
        inbox = _Inbox()
        timer = None if lost_s is None else loop.call_at(lost_s, inbox.fail)
        self._inboxes[inbox] = self
        try:
            yield None
            while True:
                ids = await inbox.take()
                yield None if ids is None else await self._read(ids)
        finally:
            del self._inboxes[inbox]
            if timer is not None:
                timer.cancel()

    def _commit_all(self, keys: Sequence[PublicKey]) -> None:
        for key in keys:
            self._store_and_announce(key, by=self)

    def _store_and_announce(self, key: PublicKey, *, by: AnnouncingPrimary | None) -> None:
        is_new = key.id not in self
        super().commit(key)
        if is_new:
            for inbox, listener in self._inboxes.items():
                # An instance is not told of its own.
                if listener is not by:
                    inbox.put(key.id)

    async def _read(self, ids: Sequence[str]) -> Sequence[PublicKey]:
        await self._serve(self._select)
        now = self._now()
        found = (self._rows.get(key_id) for key_id in ids)
        return [key for key in found if key is not None and not key.has_expired(now)]


class _Inbox:
    """The ids that were announced and not yet taken, a bounded number of them."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._missed = self._lost = False
        self._something = asyncio.Event()

    def put(self, key_id: str) -> None:
        self._ids.append(key_id)
        if len(self._ids) > IDS_MAX:
            self._ids.clear()
            self._missed = True
        self._something.set()

    def fail(self) -> None:
        self._lost = True
        self._something.set()

    async def take(self) -> Sequence[str] | None:
        await self._something.wait()
        if self._lost:
            raise PrimaryUnavailableError("the connection that listened for new keys was lost")
        self._something.clear()
        ids, missed = self._ids, self._missed
        self._ids, self._missed = [], False
        return None if missed else ids
