"""Deadlines: one timer, many calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ftrepo.resilience.deadlines import Deadlines
from sim.loop import VirtualTimeLoop, run_virtual


def play(story: Callable[[VirtualTimeLoop], Awaitable[None]]) -> None:
    """Play a story in virtual time."""
    run_virtual(story)  # type: ignore[arg-type]


def test_each_is_met_at_its_own_time() -> None:
    """Calls that began at different times reach their deadlines so far apart, and in order."""
    log: list[tuple[str, float]] = []

    async def story(loop: VirtualTimeLoop) -> None:
        deadlines = Deadlines(10.0)
        for name in "abc":
            deadlines.begin(lambda name=name: log.append((name, loop.time())))
            await asyncio.sleep(0.1)
        await asyncio.sleep(20.0)

    play(story)
    assert log == [("a", 10.0), ("b", 10.1), ("c", 10.2)]


def test_a_lifted_one_is_not_met() -> None:
    """What has ended in time is left alone, and does not hold up those after it."""
    log: list[tuple[str, float]] = []

    async def story(loop: VirtualTimeLoop) -> None:
        deadlines = Deadlines(10.0)
        first, second = (
            deadlines.begin(lambda name=name: log.append((name, loop.time()))) for name in "ab"
        )
        await asyncio.sleep(1.0)
        deadlines.begin(lambda: log.append(("c", loop.time())))
        first.lift()
        await asyncio.sleep(20.0)
        assert (first.has_passed, second.has_passed) == (False, True)

    play(story)
    assert log == [("b", 10.0), ("c", 11.0)]


def test_the_queue_is_as_long_as_one_timeout() -> None:
    """A thousand quick calls a time-out, for ever, leave a thousand entries and not more."""

    async def story(loop: VirtualTimeLoop) -> None:
        deadlines = Deadlines(1.0)
        for _ in range(10_000):
            deadlines.begin(lambda: None).lift()
            await asyncio.sleep(0.001)
            assert len(deadlines) <= 1_001
        await asyncio.sleep(2.0)
        assert not len(deadlines)

    play(story)


def test_one_begun_while_another_is_met_is_met_too() -> None:
    """An action may begin the next call."""
    log: list[float] = []

    async def story(loop: VirtualTimeLoop) -> None:
        deadlines = Deadlines(1.0)

        def again() -> None:
            log.append(loop.time())
            if len(log) < 3:
                deadlines.begin(again)

        deadlines.begin(again)
        await asyncio.sleep(5.0)

    play(story)
    assert log == [1.0, 2.0, 3.0]


def test_it_runs_on_a_real_loop() -> None:
    """On the loop of production a deadline passes too, not before its time."""

    async def story() -> float:
        loop, passed = asyncio.get_running_loop(), asyncio.Event()
        start_s = loop.time()
        deadline = Deadlines(0.02).begin(passed.set)
        await passed.wait()
        assert deadline.has_passed
        return loop.time() - start_s

    assert asyncio.run(story()) >= 0.0199
