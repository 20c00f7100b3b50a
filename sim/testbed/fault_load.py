"""The load under which a fault strikes, and what its callers and the event loop noticed."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ftrepo.fault_tolerant import FaultTolerantRepository
from ftrepo.keys import PublicKey

GETS_PER_S = 50
CREATES_PER_S = 5

_LAG_STEP_S = 0.005

_STRIDE = 7
"""Which key comes next: neighbours were made together, so each `get` goes on by a few."""


class Load:
    """Calls `get` and `create` at a fixed rate, whether or not earlier calls have returned.

    Args:
        repository: the repository under test.
        known: keys that it can be asked for from the start.
        new_key: makes the next key to create.

    Attributes:
        acknowledged: every key that a `create` returned for, and those known from the start.
        errors: what reached a caller: the call and the error. Nothing should.
        slowest_get_s: of all calls; likewise `slowest_create_s`.
        gets: how many calls have returned or raised; likewise `creates`.
    """

    def __init__(
        self,
        repository: FaultTolerantRepository,
        *,
        known: Sequence[PublicKey],
        new_key: Callable[[], PublicKey],
    ) -> None:
        self._repository = repository
        self._new_key = new_key
        self.acknowledged = list(known)
        self.errors: list[str] = []
        self.slowest_get_s = self.slowest_create_s = 0.0
        self.gets = self.creates = 0
        self._sources: list[asyncio.Task[None]] = []
        self._calls: set[asyncio.Task[None]] = set()
        self._next = itertools.count(0, _STRIDE)

    def start(self) -> None:
        """Begin to call."""
        for call, rate in ((self._get, GETS_PER_S), (self._create, CREATES_PER_S)):
            self._sources.append(asyncio.create_task(self._repeat(call, rate)))

    async def stop(self) -> None:
        """Begin no further calls, and wait for those under way."""
        for source in self._sources:
            source.cancel()
        await asyncio.gather(*self._sources, *self._calls, return_exceptions=True)

    async def _repeat(self, call: Callable[[], Coroutine[Any, Any, None]], rate: float) -> None:
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        for number in itertools.count(1):
            task = loop.create_task(call())
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)
            await asyncio.sleep(start_s + number / rate - loop.time())

    async def _get(self) -> None:
        key = self.acknowledged[next(self._next) % len(self.acknowledged)]
        now_s = asyncio.get_running_loop().time
        start_s = now_s()
        try:
            found = await self._repository.get(key.id)
        except Exception as error:  # Whatever it is, it is counted.
            self.errors.append(f"get: {error!r}")
        else:
            if not found.same_material(key):
                self.errors.append(f"get: other material under {key.id}")
        self.gets += 1
        self.slowest_get_s = max(self.slowest_get_s, now_s() - start_s)

    async def _create(self) -> None:
        key = self._new_key()
        now_s = asyncio.get_running_loop().time
        start_s = now_s()
        try:
            await self._repository.create(key)
        except Exception as error:  # Whatever it is, it is counted.
            self.errors.append(f"create: {error!r}")
        else:
            self.acknowledged.append(key)
        self.creates += 1
        self.slowest_create_s = max(self.slowest_create_s, now_s() - start_s)


class LoopLag:
    """How late the event loop was: what a call may take longer without the repository's fault.

    Attributes:
        max_s: the latest that a short sleep has ended.
    """

    def __init__(self) -> None:
        self.max_s = 0.0

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measure as long as the block lasts."""
        task = asyncio.create_task(self._measure())
        try:
            yield
        finally:
            task.cancel()

    async def _measure(self) -> None:
        now_s = asyncio.get_running_loop().time
        while True:
            due_s = now_s() + _LAG_STEP_S
            await asyncio.sleep(_LAG_STEP_S)
            self.max_s = max(self.max_s, now_s() - due_s)


class WatchedPrimary:
    """A primary store that notes when its calls succeed; all else is the store's own.

    Args:
        store: a `PrimaryStore`.

    Attributes:
        successes_s: the loop's time at each success.
    """

    def __init__(self, store: object) -> None:
        self._store = store
        self.successes_s: list[float] = []

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._store, name)
        if not asyncio.iscoroutinefunction(attribute):
            return attribute

        async def watched(*arguments: Any, **options: Any) -> Any:
            result = await attribute(*arguments, **options)
            self.successes_s.append(asyncio.get_running_loop().time())
            return result

        return watched

    def first_success_s(self, since_s: float) -> float | None:
        """Return the time of the first success from a moment on; `None` if there was none."""
        return next((when for when in self.successes_s if when >= since_s), None)
