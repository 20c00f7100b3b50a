"""Callers that ask the same at the same time share one call.

The first caller *leads*: it makes the call in its own task. Whoever asks for the same key meanwhile
joins, and gets what the leader gets. When the leader is cancelled, the first who still waits makes
a new call, for itself and for the rest: nobody fails because somebody else gave up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from ftrepo.resilience.clock import RunningClock

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class SingleFlight(Generic[K, T]):
    """Makes one call at a time for each key, on one event loop.

    Nothing is remembered: a key that nobody asks for takes no memory, and what is asked after a
    call has ended is a new call. Only hashing and a dict stand between a leader and its call.

    Attributes:
        joined: how many runs have waited for the call of another, since the beginning.
    """

    def __init__(self) -> None:
        # When the call began, until somebody joins: most calls end alone.
        self._crowds: dict[K, _Crowd[T] | float] = {}
        self._clock = RunningClock()
        self.joined = 0

    def __len__(self) -> int:
        """Keys that are asked for at this moment."""
        return len(self._crowds)

    def began_s(self, key: K) -> float | None:
        """When what is under way for a key began, by the loop's clock; `None`: nothing is.

        A call that takes the place of one whose leader was cancelled goes on from there: what it
        has left of a time-out is what all who wait have left.
        """
        crowd = self._crowds.get(key)
        return crowd.began_s if isinstance(crowd, _Crowd) else crowd

    async def run(self, key: K, action: Callable[[], Awaitable[T]]) -> tuple[T, bool]:
        """Return what `action()` returns, or what the call returns that is under way for this key.

        A joined call began before its caller arrived, so its answer may be a moment older than the
        question: that something was "not found" proves nothing to a caller who knows that it was
        stored in between. Run again to be sure: the next answer cannot be so old. For that, let
        `action` return such an answer as a value; with an error nothing is said about its age.

        Args:
            key: what is asked. Two runs with equal keys must mean the same.
            action: makes the call. It must not run the same key itself, which would wait for ever.
                The first caller's is used; another's only if it has to take over.

        Returns:
            The value, and whether the call that gave it had begun before this run did. A caller
            that waited for a call and then saw a new one begin in its place has False.

        Raises:
            Exception: what the call raised. All who wait get the same object, with the traceback
                of the call and of its last reader; treat it as shared, and raise another from it
                rather than change it.
            asyncio.CancelledError: this caller was cancelled, never another.
        """
        if key in self._crowds:
            return await self._join(key, action)
        self._crowds[key] = self._clock.time_s()
        return await self._lead(key, action), False

    async def _lead(self, key: K, action: Callable[[], Awaitable[T]]) -> T:
        try:
            value = await action()
        except Exception as error:
            crowd = self._crowds.pop(key)
            if isinstance(crowd, _Crowd):
                crowd.tell(_Failed(error))
            raise
        except BaseException:
            self._hand_over(key)
            raise
        crowd = self._crowds.pop(key)
        if isinstance(crowd, _Crowd):
            crowd.tell(_Returned(value, crowd.calls))
        return value

    async def _join(self, key: K, action: Callable[[], Awaitable[T]]) -> tuple[T, bool]:
        crowd = self._crowds[key]
        if not isinstance(crowd, _Crowd):
            crowd = self._crowds[key] = _Crowd(crowd)
        self.joined += 1
        under_way = crowd.calls
        waiter: _Waiter[T] = asyncio.get_running_loop().create_future()
        crowd.waiters[waiter] = None
        try:
            outcome = await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled() and waiter.result() is None:
                self._hand_over(key)  # It had just been chosen to lead.
            crowd.waiters.pop(waiter, None)
            raise
        if outcome is None:
            crowd.calls += 1
            return await self._lead(key, action), False
        if isinstance(outcome, _Failed):
            error, traceback, context = outcome.error, outcome.traceback, outcome.context
            del outcome, waiter  # The error is about to hold this frame, which must not hold it.
            try:
                raise error.with_traceback(traceback)
            finally:
                # Else it would keep what this caller happened to be handling, for all to see.
                error.__context__ = context
                del error, traceback, context
        assert isinstance(outcome, _Returned)
        return outcome.value, outcome.call == under_way

    def _hand_over(self, key: K) -> None:
        """Let the first who still waits make a new call; if nobody does, there is none."""
        crowd = self._crowds[key]
        while isinstance(crowd, _Crowd) and crowd.waiters:
            waiter = next(iter(crowd.waiters))
            del crowd.waiters[waiter]
            if not waiter.done():
                waiter.set_result(None)
                return
        del self._crowds[key]


class _Crowd(Generic[T]):
    """Those who wait for one key.

    Args:
        began_s: when the first call began.

    Attributes:
        calls: how many calls were begun for them, that of the first leader included.
        waiters: in the order of arrival.
    """

    __slots__ = ("began_s", "calls", "waiters")

    def __init__(self, began_s: float) -> None:
        self.began_s = began_s
        self.calls = 1
        self.waiters: dict[_Waiter[T], None] = {}

    def tell(self, outcome: _Returned[T] | _Failed) -> None:
        """Give everyone the outcome of the call."""
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(outcome)
        self.waiters.clear()


class _Returned(Generic[T]):
    """A call returned a value."""

    __slots__ = ("call", "value")

    def __init__(self, value: T, call: int) -> None:
        self.value = value
        self.call = call


class _Failed:
    """A call raised an error: as it was when it left the call."""

    __slots__ = ("context", "error", "traceback")

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.traceback = error.__traceback__
        self.context = error.__context__


_Waiter = asyncio.Future["_Returned[T] | _Failed | None"]
"""What a follower waits for: the outcome of the call, or `None`: make the call yourself."""
