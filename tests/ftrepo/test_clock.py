"""The clock of whichever loop runs."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref

import pytest

from ftrepo.resilience.clock import RunningClock, clock_of, running_loop_time_s
from sim.loop import VirtualTimeLoop, run_virtual


def test_an_ordinary_loop_has_the_monotonic_clock_of_the_machine() -> None:
    """What `loop.time()` reads, without the way through the loop."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        clock = clock_of(loop)
        assert clock is time.monotonic
        before_s, now_s, after_s = loop.time(), clock(), loop.time()
        assert before_s <= now_s <= after_s

    asyncio.run(main())


def test_virtual_time_rules_in_a_virtual_loop() -> None:
    """An hour has passed there when it has passed for the loop, and no real clock is read."""

    async def main(loop: VirtualTimeLoop) -> None:
        clock = clock_of(loop)
        assert clock() == 0
        await asyncio.sleep(3600)
        assert clock() == 3600

    run_virtual(main, forbid_wall_clock=True)


def test_one_clock_serves_one_loop_after_another() -> None:
    """It reads the loop that runs, keeps none alive, and says so if none runs."""
    clock = RunningClock()

    async def main(loop: asyncio.AbstractEventLoop) -> None:
        for _ in range(2):
            await asyncio.sleep(0.001)
            assert clock.time_s() == pytest.approx(loop.time(), abs=1.0)

    async def real() -> weakref.ref[asyncio.AbstractEventLoop]:
        await main(asyncio.get_running_loop())
        return weakref.ref(asyncio.get_running_loop())

    run_virtual(main)
    gone = asyncio.run(real())
    gc.collect()
    assert gone() is None
    stopped = asyncio.new_event_loop()
    stopped.run_until_complete(real())
    run_virtual(main, forbid_wall_clock=True)
    stopped.close()
    with pytest.raises(RuntimeError):
        clock.time_s()


def test_a_loop_with_a_clock_of_its_own_is_asked() -> None:
    """Whether its class has the clock, or the one loop was given it."""

    class Inherits(asyncio.SelectorEventLoop):
        def time(self) -> float:
            return 7.0

    for loop in (Inherits(), asyncio.SelectorEventLoop()):
        if not isinstance(loop, Inherits):
            loop.time = lambda: 7.0  # type: ignore[method-assign]

        async def main() -> float:
            return clock_of(asyncio.get_running_loop())()

        try:
            assert loop.run_until_complete(main()) == 7.0
        finally:
            loop.close()


def test_a_clock_keeps_no_loop_alive() -> None:
    """Neither that of an ordinary loop nor that of one with a clock of its own."""

    class Own(asyncio.SelectorEventLoop):
        def time(self) -> float:
            return 7.0

    for make in (asyncio.SelectorEventLoop, Own):
        loop: asyncio.AbstractEventLoop = make()
        clock, gone = clock_of(loop), weakref.ref(loop)
        loop.close()
        del loop
        gc.collect()
        assert gone() is None
        assert callable(clock)


def test_without_a_running_loop_there_is_no_time() -> None:
    """It is asyncio's own error."""
    with pytest.raises(RuntimeError, match="no running event loop"):
        running_loop_time_s()
