"""The bulkhead, in virtual time: places, a queue, and who gets what."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import numpy as np
import pytest
import simpy
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ftrepo.errors import BulkheadFullError
from ftrepo.resilience import Bulkhead, BulkheadSettings
from sim.loop import VirtualTimeLoop, run_virtual

T = TypeVar("T")


def play(story: Callable[[], Awaitable[T]], seed: int | None = None) -> T:
    """Play a story in virtual time; with a seed, in an order of callbacks that the seed picks."""
    order = None if seed is None else np.random.default_rng(seed)
    return run_virtual(lambda _: story(), order=order)  # type: ignore[arg-type, return-value]


def now_s() -> float:
    """The time of the running loop."""
    return asyncio.get_running_loop().time()


async def sleeper(seconds: float) -> float:
    """Take so long, and say when it began."""
    began_s = now_s()
    await asyncio.sleep(seconds)
    return began_s


def bulkhead(places: int, queue: int = 0, timeout_s: float | None = None) -> Bulkhead:
    """So many places, and so many who may wait."""
    settings_ = BulkheadSettings(concurrency_max=places, queue_max=queue, queue_timeout_s=timeout_s)
    return Bulkhead(settings_, name="reports")


def test_so_many_at_a_time_and_the_rest_in_order() -> None:
    """Two at a time, five callers, one second each: they begin at 0, 0, 1, 1 and 2 s."""

    async def story() -> None:
        limit = bulkhead(2, 3)
        calls = [asyncio.create_task(limit.call(sleeper, 1.0)) for _ in range(5)]
        await asyncio.sleep(0.5)
        assert (limit.under_way, limit.waiting) == (2, 3)
        assert await asyncio.gather(*calls) == [0.0, 0.0, 1.0, 1.0, 2.0]
        assert (limit.under_way, limit.waiting, limit.admitted) == (0, 0, 5)

    play(story)


def test_one_too_many_is_refused_at_once() -> None:
    """The error says how many there are, and that time alone changes nothing."""

    async def story() -> None:
        limit = bulkhead(2, 1)
        calls = [asyncio.create_task(limit.call(sleeper, 1.0)) for _ in range(3)]
        await asyncio.sleep(0.5)
        with pytest.raises(
            BulkheadFullError,
            match="reports refuses the call: 2 calls are under way, and 1 wait; "
            "try again when another call ends",
        ) as raised:
            await limit.call(sleeper, 1.0)
        assert (raised.value.retry_after_s, now_s(), limit.refused) == (0.0, 0.5, 1)
        await asyncio.gather(*calls)

    play(story)


def test_who_waits_too_long_is_refused() -> None:
    """After the time-out there is an error that says so, and nothing is left in the queue."""

    async def story() -> None:
        limit = bulkhead(1, 1, 0.3)
        call = asyncio.create_task(limit.call(sleeper, 1.0))
        await asyncio.sleep(0)
        with pytest.raises(BulkheadFullError, match=r"no place became free within 0\.3 s"):
            await limit.call(sleeper, 1.0)
        assert (now_s(), limit.waiting, limit.refused) == (0.3, 0, 1)
        await call
        assert await limit.call(sleeper, 1.0) == 1.0

    play(story)


def test_an_error_of_the_call_is_its_own() -> None:
    """Its place is given back, and its TimeoutError is not taken for the queue's."""

    async def late() -> None:
        raise TimeoutError("of the call")

    async def story() -> None:
        limit = bulkhead(1, 1, 1.0)
        call = asyncio.create_task(limit.call(sleeper, 0.5))
        await asyncio.sleep(0)
        with pytest.raises(TimeoutError, match="of the call"):
            await limit.call(late)
        assert limit.under_way == 0
        await call

    play(story)


@pytest.mark.parametrize("seed", range(30))
def test_a_place_is_never_lost(seed: int) -> None:
    """Callers are cancelled at any moment, some just when they are handed a place."""

    async def story() -> None:
        limit = bulkhead(3, 50, 2.0)
        draws = np.random.default_rng(seed)
        calls = [asyncio.create_task(limit.call(sleeper, 0.5)) for _ in range(40)]
        for number in draws.permutation(40)[:25]:
            when_s = 0.5 * int(draws.integers(5))
            asyncio.get_running_loop().call_at(when_s, calls[number].cancel)
        await asyncio.gather(*calls, return_exceptions=True)
        assert (limit.under_way, limit.waiting) == (0, 0)
        await asyncio.gather(*(limit.call(sleeper, 0.5) for _ in range(3)))

    play(story, seed)


@pytest.mark.parametrize("turns", range(4))
def test_one_cancelled_as_it_is_handed_a_place_passes_it_on(turns: int) -> None:
    """The next who waits has it in the same moment."""

    async def story() -> None:
        limit = bulkhead(1, 2)
        holder = asyncio.Event()
        first = asyncio.create_task(limit.call(holder.wait))
        await asyncio.sleep(0)
        doomed = asyncio.create_task(limit.call(asyncio.Event().wait))
        last = asyncio.create_task(limit.call(sleeper, 1.0))
        await asyncio.sleep(1.0)
        holder.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        doomed.cancel()
        assert await last == 1.0
        await first
        assert (limit.under_way, limit.waiting) == (0, 0)

    play(story)


def test_it_is_a_context_and_a_decorator() -> None:
    """Any number of tasks may be in the context of one bulkhead, up to its places."""

    async def story() -> None:
        limit = bulkhead(2)

        @limit
        async def load(seconds: float) -> float:
            return await sleeper(seconds)

        async with limit, limit:
            assert limit.under_way == 2
            with pytest.raises(BulkheadFullError):
                await load(1.0)
        assert await load(1.0) == 0.0
        assert load.__name__ == "load"

    play(story)


def test_a_place_that_nobody_had_is_not_given_back() -> None:
    """Else there would be one too many from then on."""
    with pytest.raises(RuntimeError, match="nobody had"):
        bulkhead(1).release()


@pytest.mark.parametrize(
    "wrong", [{"concurrency_max": 0}, {"queue_max": -1}, {"queue_timeout_s": 0.0}]
)
def test_impossible_settings_are_refused_by_name(wrong: dict[str, float]) -> None:
    """The error names the setting."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        BulkheadSettings(**wrong)  # type: ignore[arg-type]


class BulkheadAgainstModel(RuleBasedStateMachine):
    """The model is two lists: who has a place, and who waits since when."""

    PLACES, QUEUE, TIMEOUT_S = 2, 3, 5.0

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualTimeLoop(simpy.Environment())
        self.limit = bulkhead(self.PLACES, self.QUEUE, self.TIMEOUT_S)
        self.ends: dict[int, asyncio.Event] = {}
        self.tasks: dict[int, asyncio.Task[int]] = {}
        self.under_way: list[int] = []
        self.began: list[int] = []
        self.placed: list[int] = []
        self.waiting: list[tuple[int, float]] = []
        self.refused: list[int] = []

    def run_for(self, seconds: float) -> None:
        """Let time pass on the loop."""
        self.loop.run_until_complete(asyncio.sleep(seconds))

    def place(self, number: int) -> None:
        """Give a place in the model."""
        self.under_way.append(number)
        self.placed.append(number)

    def free(self, number: int) -> None:
        """Take a place away in the model; the first who waits has it."""
        self.under_way.remove(number)
        if self.waiting:
            self.place(self.waiting.pop(0)[0])

    @rule()
    def call(self) -> None:
        number = len(self.tasks)
        self.ends[number] = asyncio.Event()

        async def action() -> int:
            self.began.append(number)
            await self.ends[number].wait()
            return number

        self.tasks[number] = self.loop.create_task(self.limit.call(action))
        if len(self.under_way) < self.PLACES:
            self.place(number)
        elif len(self.waiting) < self.QUEUE:
            self.waiting.append((number, self.loop.time()))
        else:
            self.refused.append(number)
        self.run_for(0.0)

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 9))
    def a_call_ends(self, which: int) -> None:
        number = self.under_way[which % len(self.under_way)]
        self.ends[number].set()
        self.free(number)
        self.run_for(0.0)

    @precondition(lambda self: self.under_way or self.waiting)
    @rule(which=st.integers(0, 9), after_an_end=st.booleans())
    def a_caller_is_cancelled(self, which: int, after_an_end: bool) -> None:
        if after_an_end and self.under_way:
            # In the same moment a place is given back, perhaps to the one that is cancelled.
            ending = self.under_way[0]
            self.ends[ending].set()
            self.run_for(0.0)
            self.free(ending)
        those = [*self.under_way, *(number for number, _ in self.waiting)]
        if not those:
            return
        number = those[which % len(those)]
        self.tasks[number].cancel()
        if number in self.under_way:
            self.free(number)
        else:
            self.waiting = [each for each in self.waiting if each[0] != number]
        self.run_for(0.0)

    @rule(seconds=st.integers(1, 4))
    def time_passes(self, seconds: int) -> None:
        self.run_for(float(seconds))
        late = [n for n, since_s in self.waiting if since_s + self.TIMEOUT_S <= self.loop.time()]
        self.refused += late
        self.waiting = [each for each in self.waiting if each[0] not in late]

    @invariant()
    def it_agrees_with_the_model(self) -> None:
        self.run_for(0.0)
        self.run_for(0.0)
        assert self.limit.under_way == len(self.under_way) <= self.PLACES
        assert self.limit.waiting == len(self.waiting) <= self.QUEUE
        assert (self.limit.admitted, self.limit.refused) == (len(self.placed), len(self.refused))
        assert self.began == self.placed
        for number in self.refused:
            assert isinstance(self.tasks[number].exception(), BulkheadFullError)

    def teardown(self) -> None:
        for task in self.tasks.values():
            task.cancel()
        self.run_for(1.0)
        assert (self.limit.under_way, self.limit.waiting) == (0, 0)
        self.loop.close()


TestBulkheadAgainstModel = BulkheadAgainstModel.TestCase
TestBulkheadAgainstModel.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
