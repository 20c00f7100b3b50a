"""Places in a pool: counted, and given out in the order of asking; in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import numpy as np
import pytest

from ftrepo.errors import PoolClosedError
from ftrepo.postgres.places import Places
from sim.loop import run_virtual

T = TypeVar("T")


def play(story: Callable[[], Awaitable[T]], seed: int | None = None) -> T:
    """Play a story in virtual time; with a seed, in an order of callbacks that the seed picks."""
    order = None if seed is None else np.random.default_rng(seed)
    return run_virtual(lambda _: story(), order=order)


def test_who_asks_first_is_served_first() -> None:
    """Waiters get their places in the order in which they asked."""

    async def story() -> list[int]:
        places, served = Places(1), []
        await places.take(1)

        async def caller(number: int) -> None:
            await places.take(10)
            served.append(number)
            places.give_back()

        tasks = []
        for number in range(5):
            tasks.append(asyncio.create_task(caller(number)))
            await asyncio.sleep(0.1)
        places.give_back()
        await asyncio.gather(*tasks)
        return served

    assert play(story) == [0, 1, 2, 3, 4]


def test_nobody_overtakes_a_waiter() -> None:
    """A place that is given back belongs to the first who waits, not to who comes along."""

    async def story() -> None:
        places = Places(1)
        await places.take(1)
        waiter = asyncio.create_task(places.take(10))
        await asyncio.sleep(0.1)
        places.give_back()
        with pytest.raises(TimeoutError):
            await places.take(0)
        await waiter
        assert places.taken == 1

    play(story)


def test_a_wait_ends_at_its_time_out() -> None:
    """It raises then, takes no place, and is counted."""

    async def story() -> None:
        places = Places(1)
        await places.take(1)
        waiter = asyncio.create_task(places.take(0.4))
        await asyncio.sleep(0.3)
        assert places.waiting == 1
        assert places.oldest_wait_s(asyncio.get_running_loop().time()) == pytest.approx(0.3)
        with pytest.raises(TimeoutError):
            await waiter
        assert (places.waiting, places.taken) == (0, 1)
        assert places.wait_max_s == pytest.approx(0.4)

    play(story)


@pytest.mark.parametrize("seed", range(20))
def test_no_place_is_lost_to_those_who_give_up(seed: int) -> None:
    """A hundred callers, cancelled and timed out at the worst moments, leave every place free."""

    async def story() -> None:
        rng = np.random.default_rng(seed)
        places, most = Places(3), 0

        async def caller(start: int, hold: int, patience: int) -> None:
            nonlocal most
            await asyncio.sleep(start)
            await places.take(patience)
            most = max(most, places.taken)
            try:
                await asyncio.sleep(hold)
            finally:
                places.give_back()

        # Whole seconds, so that the giving back, the time-out and the cancellation coincide.
        tasks = [asyncio.create_task(caller(*rng.integers(0, 4, 3))) for _ in range(100)]
        for task in tasks[::3]:
            await asyncio.sleep(0 if rng.random() < 0.9 else 1)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert most == 3
        assert (places.taken, places.waiting) == (0, 0)
        await asyncio.wait_for(places.all_free(), 1)

    play(story, seed)


def test_closing_tells_everyone_who_waits() -> None:
    """Waiters fail at once, later callers as well; who has a place keeps it."""

    async def story() -> None:
        places = Places(1)
        await places.take(1)
        waiter = asyncio.create_task(places.take(10))
        await asyncio.sleep(0)
        places.close()
        for attempt in (waiter, places.take(10)):
            with pytest.raises(PoolClosedError):
                await attempt
        emptied = asyncio.create_task(places.all_free())
        await asyncio.sleep(0)
        assert not emptied.done()
        places.give_back()
        await emptied

    play(story)
