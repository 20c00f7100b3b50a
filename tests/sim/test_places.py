"""Places that are given out in turn, beside a SimPy resource of the same size."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
import simpy
from hypothesis import given
from hypothesis import strategies as st

from sim.loop import VirtualTimeLoop, run_virtual
from sim.world.places import Places

Visit = tuple[int, int, int | None]
"""When somebody comes, how long they stay, and after how long they give up; in tenths of a second,
so that much happens at the same instants."""

VISITS = st.lists(
    st.tuples(st.integers(0, 8), st.integers(0, 4), st.none() | st.integers(0, 6)), max_size=12
)


def log_of_places(visits: list[Visit], count: int) -> list[tuple[float, int, str]]:
    """What happens when these come for one of so many places."""
    log: list[tuple[float, int, str]] = []

    async def main(loop: VirtualTimeLoop) -> None:
        places = Places(loop, count)

        async def visit(number: int, stay_s: float) -> None:
            place = places.take()
            try:
                if place is not None and not place.triggered:
                    await loop.as_future(place)
                log.append((loop.time(), number, "in"))
                await asyncio.sleep(stay_s)
            finally:
                places.leave(place)
                log.append((loop.time(), number, "out"))

        await _send(visits, visit)
        assert places.taken == 0

    run_virtual(main)
    return log


def log_of_simpy(visits: list[Visit], count: int) -> list[tuple[float, int, str]]:
    """What happens when the same come to a SimPy resource."""
    log: list[tuple[float, int, str]] = []

    async def main(loop: VirtualTimeLoop) -> None:
        resource = simpy.Resource(loop.env, count)

        async def visit(number: int, stay_s: float) -> None:
            try:
                with resource.request() as place:
                    if not place.triggered:
                        await loop.as_future(place)
                    log.append((loop.time(), number, "in"))
                    await asyncio.sleep(stay_s)
            finally:
                log.append((loop.time(), number, "out"))

        await _send(visits, visit)

    run_virtual(main)
    return log


async def _send(visits, visit) -> None:  # type: ignore[no-untyped-def]
    loop = asyncio.get_running_loop()

    async def come(number: int, at: int, stay: int, patience: int | None) -> None:
        await asyncio.sleep(at / 10)
        task = asyncio.create_task(visit(number, stay / 10))
        if patience is not None:
            loop.call_later(patience / 10, task.cancel)
        with suppress(asyncio.CancelledError):
            await task

    await asyncio.gather(*(come(number, *each) for number, each in enumerate(visits)))


@given(visits=VISITS, count=st.integers(1, 3))
def test_the_order_of_events_is_that_of_a_simpy_resource(visits: list[Visit], count: int) -> None:
    """Whoever comes, stays and gives up, they go in and out at the same times in the same order."""
    assert log_of_places(visits, count) == log_of_simpy(visits, count)


def test_a_place_that_is_free_puts_nothing_on_the_queue() -> None:
    """Taking and leaving it costs SimPy nothing, and the next in the line is let in by an event."""

    async def main(loop: VirtualTimeLoop) -> None:
        places = Places(loop, 1)
        free = places.take()
        assert free is None
        assert places.taken == 1
        waiting = places.take()
        assert waiting is not None
        assert not waiting.triggered
        assert not loop.env._queue
        places.leave(free)
        await loop.as_future(waiting)
        places.leave(waiting)
        assert places.taken == 0
        assert not loop.env._queue

    run_virtual(main)


@pytest.mark.parametrize("gives_up", [0, 1])
def test_whoever_gives_up_leaves_the_line(gives_up: int) -> None:
    """The place goes to the other one that waits."""

    async def main(loop: VirtualTimeLoop) -> None:
        places = Places(loop, 1)
        taken, waiting = places.take(), [places.take(), places.take()]
        places.leave(waiting.pop(gives_up))
        places.leave(taken)
        assert waiting[0] is not None
        await loop.as_future(waiting[0])
        assert places.taken == 1

    run_virtual(main)


def test_nobody_is_overtaken_by_who_comes_as_a_place_is_left() -> None:
    """Between the leaving and the event that tells of it, the line is still a line."""

    async def main(loop: VirtualTimeLoop) -> None:
        places = Places(loop, 1)
        taken, first = places.take(), places.take()
        places.leave(taken)
        second = places.take()
        assert first is not None
        assert first.triggered
        assert second is not None
        assert not second.triggered

    run_virtual(main)
