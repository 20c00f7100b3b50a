from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterator
from typing import Any

import pytest
import simpy

from sim.loop import VirtualTimeLoop


@pytest.fixture
def loop() -> Iterator[VirtualTimeLoop]:
    """A loop in an environment of its own."""
    loop = VirtualTimeLoop(simpy.Environment())
    yield loop
    loop.close()


# Time


def test_an_hour_passes_at_once(loop: VirtualTimeLoop) -> None:
    """Sleeping moves the clock of the loop and of SimPy by just that."""

    async def main() -> float:
        await asyncio.sleep(3600.0)
        return loop.time()

    assert loop.run_until_complete(main()) == 3600.0
    assert loop.env.now == 3600.0


def test_time_begins_where_the_environment_is() -> None:
    """The clock is the environment's, also if that does not begin at zero; it is a float."""
    loop = VirtualTimeLoop(simpy.Environment(initial_time=100))
    assert isinstance(loop.time(), float)
    loop.run_until_complete(asyncio.sleep(1.5))
    assert loop.time() == 101.5
    loop.close()


def test_timers_and_simpy_events_share_one_order(loop: VirtualTimeLoop) -> None:
    """Timers and events fire by time, and at the same instant by when they were made."""
    log: list[Any] = []

    def process(env: simpy.Environment) -> Generator[simpy.Event, Any, None]:
        for _ in range(3):
            yield env.timeout(2.0)
            log.append(("process", env.now))

    async def main() -> None:
        for _ in range(3):
            await asyncio.sleep(1.5)
            log.append(("task", loop.time()))
        await asyncio.sleep(2.0)

    loop.env.process(process(loop.env))
    loop.run_until_complete(main())
    assert log == [
        ("task", 1.5),
        ("process", 2.0),
        ("task", 3.0),
        ("process", 4.0),
        ("task", 4.5),
        ("process", 6.0),
    ]


def test_what_is_due_at_one_instant_fires_in_the_order_it_was_made(loop: VirtualTimeLoop) -> None:
    """At one instant, timers and events fire first come, first served."""
    log: list[str] = []
    loop.call_later(1.0, log.append, "timer 1")
    loop.env.timeout(1.0).callbacks.append(lambda _: log.append("event"))  # type: ignore[union-attr]
    loop.call_at(1.0, log.append, "timer 2")
    loop.run_until_complete(asyncio.sleep(1.0))
    assert log == ["timer 1", "event", "timer 2"]


def test_what_is_ready_runs_before_the_next_timer_of_the_same_instant(
    loop: VirtualTimeLoop,
) -> None:
    """All consequences of one timer come before the next one, even at the same instant."""
    log: list[str] = []

    def first() -> None:
        log.append("timer 1")
        loop.call_soon(log.append, "consequence")
        loop.call_later(0.0, log.append, "later, at this instant")

    loop.call_at(1.0, first)
    loop.call_at(1.0, log.append, "timer 2")
    loop.run_until_complete(asyncio.sleep(2.0))
    assert log == ["timer 1", "consequence", "timer 2", "later, at this instant"]


def test_ready_callbacks_run_first_come_first_served(loop: VirtualTimeLoop) -> None:
    """`call_soon` keeps the order of the calls, from inside and outside of the loop."""
    log: list[int] = []

    async def main() -> None:
        for i in range(3, 6):
            loop.call_soon(log.append, i)
        await asyncio.sleep(0)

    for i in range(3):
        loop.call_soon_threadsafe(log.append, i)
    loop.run_until_complete(main())
    assert log == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("late", [-5.0, 0.0, 3.0, float("-inf")])
def test_a_timer_in_the_past_fires_now(loop: VirtualTimeLoop, late: float) -> None:
    """A timer that is due already fires at this instant: time never goes backwards."""

    async def main() -> float:
        await asyncio.sleep(4.0)
        fired = loop.create_future()
        loop.call_at(late, fired.set_result, None)
        await fired
        return loop.time()

    assert loop.run_until_complete(main()) == 4.0


def test_a_timer_needs_a_number(loop: VirtualTimeLoop) -> None:
    """NaN is refused, before it can spoil the order of the queue."""
    with pytest.raises(ValueError, match="NaN"):
        loop.call_later(float("nan"), print)
    assert loop.env.peek() == float("inf")


# Cancelled timers


def test_a_cancelled_timer_does_not_move_the_clock(loop: VirtualTimeLoop) -> None:
    """Time stops for what happens, not for what was called off."""

    async def main() -> None:
        async with asyncio.timeout(30.0):
            await asyncio.sleep(1.0)

    timer = loop.call_later(20.0, print)
    timer.cancel()
    assert timer.cancelled()
    loop.run_until_complete(main())
    assert loop.time() == 1.0
    loop.env.run()
    assert loop.env.now == 1.0


def test_a_timer_that_has_fired_can_be_cancelled(loop: VirtualTimeLoop) -> None:
    """Cancelling late does nothing, and is not counted as a timer on the queue."""
    timers = [loop.call_later(0.0, int) for _ in range(200)]
    loop.run_until_complete(asyncio.sleep(1.0))
    assert not timers[0].cancelled()
    for timer in timers:
        timer.cancel()
    assert loop._cancelled_timers == 0


def test_timeouts_that_never_expire_take_no_memory(loop: VirtualTimeLoop) -> None:
    """With a thousand 30 s time-outs each second, cancelled, the queue stays short."""
    longest = 0

    async def main() -> None:
        nonlocal longest
        for _ in range(20_000):
            async with asyncio.timeout(30.0):
                await asyncio.sleep(0.001)
            longest = max(longest, len(loop.env._queue))

    loop.run_until_complete(main())
    assert 100 <= longest < 110


def test_a_sleep_may_be_cancelled_by_its_future(loop: VirtualTimeLoop) -> None:
    """A sleep whose future was cancelled, but not yet its timer, ends in silence."""
    reports: list[Any] = []
    loop.set_exception_handler(lambda _, report: reports.append(report))

    async def main() -> None:
        sleep = asyncio.sleep(1.0)
        sleep.send(None).cancel()
        await asyncio.sleep(2.0)
        sleep.close()

    loop.run_until_complete(main())
    assert reports == []


def test_sweeping_keeps_what_is_due_in_order(loop: VirtualTimeLoop) -> None:
    """When cancelled timers are swept from the queue, live timers and events still fire in turn."""
    log: list[float] = []
    timers = [loop.call_at(float(i), log.append, float(i)) for i in range(1_000)]
    for i in range(0, 1_000, 10):
        loop.env.timeout(i + 0.5).callbacks.append(lambda _: log.append(loop.time()))  # type: ignore[union-attr]
    for i, timer in enumerate(timers):
        if i % 4:
            timer.cancel()
    assert len(loop.env._queue) < 700
    loop.run_until_complete(asyncio.sleep(1_000.0))
    assert log == sorted(
        [float(i) for i in range(0, 1_000, 4)] + [i + 0.5 for i in range(0, 1_000, 10)]
    )
