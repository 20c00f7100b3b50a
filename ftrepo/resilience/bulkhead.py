"""So many calls at a time: what hangs in one place does not take everything with it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from ftrepo.errors import BulkheadFullError

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkheadSettings:
    """How many calls are under way, and how many wait.

    Attributes:
        concurrency_max: the most calls under way, at least 1. The default, and that nobody waits,
            are those of Resilience4j.
        queue_max: the most callers that wait for a place, at least 0. A long queue makes every
            caller late without making any call quicker.
        queue_timeout_s: how long a caller waits for a place, above zero; `None` for as long as it
            takes. Without meaning if nobody may wait.
    """

    concurrency_max: int = 25
    queue_max: int = 0
    queue_timeout_s: float | None = 1.0

    def __post_init__(self) -> None:
        for name, least in (("concurrency_max", 1), ("queue_max", 0)):
            value = getattr(self, name)
            if not value >= least:
                raise ValueError(f"{name} is {value!r}; it must be at least {least}")
        if self.queue_timeout_s is not None and not self.queue_timeout_s > 0:
            raise ValueError(
                f"queue_timeout_s is {self.queue_timeout_s!r}; it must be above zero, or None"
            )


class Bulkhead:
    """Lets through so many calls at a time. Who asks first is served first.

    Used as a call, as a decorator of async functions, or as a context::

        async with bulkhead:
            await load()

    A call that has a place keeps it until it has ended: put a time limit inside, not around.

    Args:
        settings: how many.
        name: for errors and metrics.

    Attributes:
        admitted: how many calls had a place, since the beginning.
        refused: how many were not made, because there was neither place nor room to wait, or
            because waiting took too long.
    """

    def __init__(self, settings: BulkheadSettings | None = None, *, name: str = "bulkhead") -> None:
        self.settings = settings or BulkheadSettings()
        self.name = name
        self.admitted = 0
        self.refused = 0
        self._free = self.settings.concurrency_max
        # A dict, because whoever gives up leaves from the middle of it.
        self._queue: dict[asyncio.Future[None], None] = {}

    @property
    def under_way(self) -> int:
        """Calls that have a place."""
        return self.settings.concurrency_max - self._free

    @property
    def waiting(self) -> int:
        """Callers that wait for a place."""
        return len(self._queue)

    async def acquire(self) -> None:
        """Take a place, after waiting for it if that is allowed. Cancelled, it takes none.

        Every place that was taken is given back by one `release`.

        Raises:
            BulkheadFullError: there was none, or none in time. Its `retry_after_s` is zero: when a
                place becomes free depends on the calls that are under way, not on time.
        """
        if self._free:  # Then nobody waits: a place given back goes to the first who does.
            self._free -= 1
            self.admitted += 1
            return
        settings = self.settings
        if len(self._queue) >= settings.queue_max:
            self.refused += 1
            reason = f"{settings.concurrency_max} calls are under way"
            if settings.queue_max:
                reason += f", and {settings.queue_max} wait"
            raise BulkheadFullError(self.name, reason, 0.0)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue[turn] = None
        try:
            async with asyncio.timeout(settings.queue_timeout_s):
                await turn
        except BaseException as error:
            self._queue.pop(turn, None)
            if turn.done() and not turn.cancelled():
                self._pass_on()  # It was handed a place in the very moment of giving up.
            if isinstance(error, TimeoutError):
                self.refused += 1
                reason = f"no place became free within {settings.queue_timeout_s} s"
                raise BulkheadFullError(self.name, reason, 0.0) from None
            raise
        self.admitted += 1

    def release(self) -> None:
        """Give a place back; the first who waits has it from this moment on.

        Raises:
            RuntimeError: nobody has a place.
        """
        if not self.under_way:
            raise RuntimeError(f"{self.name}: a place was given back that nobody had")
        self._pass_on()

    async def call(
        self, action: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Return what `action(*args, **kwargs)` returns, when there is a place for it.

        Raises:
            BulkheadFullError: the call was not made; as `acquire`.
            Exception: what the call raised.
        """
        await self.acquire()
        try:
            return await action(*args, **kwargs)
        finally:
            self.release()

    def __call__(self, function: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        """Return the function, so many of whose calls are made at a time."""

        @functools.wraps(function)
        async def in_its_place(*args: P.args, **kwargs: P.kwargs) -> T:
            return await self.call(function, *args, **kwargs)

        return in_its_place

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def _pass_on(self) -> None:
        while self._queue:
            turn = next(iter(self._queue))
            del self._queue[turn]
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
