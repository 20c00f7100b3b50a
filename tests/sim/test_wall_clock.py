from __future__ import annotations

import asyncio
import cProfile
import gc
import logging
import sys
import threading
import time
from collections.abc import Callable, Generator
from datetime import UTC, date, datetime
from time import monotonic
from typing import Any

import cachetools
import numpy as np
import pytest
import simpy

from sim.loop import VirtualTimeLoop, WallClockError, forbid_wall_clock, run_virtual


class Stamp(datetime):
    """A subclass, as libraries make them."""


def with_default(clock: Callable[[], float] = monotonic) -> float:
    """Read a clock that was bound when this module was imported."""
    return clock()


READINGS: dict[str, Callable[[], object]] = {
    "time.time": time.time,
    "time.time_ns": time.time_ns,
    "time.monotonic": monotonic,
    "time.perf_counter": time.perf_counter,
    "time.process_time": time.process_time,
    "time.sleep": lambda: time.sleep(0),
    "datetime.now": lambda: datetime.now(UTC),
    "date.today": date.today,
    "Stamp.now": lambda: Stamp.now(UTC),
}


@pytest.fixture(autouse=True)
def _no_profile_is_left() -> Generator[None, None, None]:
    assert sys.getprofile() is None
    yield
    assert sys.getprofile() is None


@pytest.mark.parametrize("name", READINGS)
def test_reading_a_clock_is_an_error_that_names_the_call(name: str) -> None:
    """Every clock of `time` and `datetime`, and `sleep`, is found, with the line that calls it."""
    with (
        pytest.raises(
            WallClockError, match=rf"^wall clock: {name}\(\) was called at {__file__}:\d+ in"
        ),
        forbid_wall_clock(),
    ):
        READINGS[name]()


def test_a_clock_bound_long_before_is_found() -> None:
    """A default argument is no hiding place."""
    with pytest.raises(WallClockError, match="in with_default;"), forbid_wall_clock():
        with_default()


def test_a_clock_inside_of_a_library_is_found() -> None:
    """A `TTLCache` without a `timer` reads `time.monotonic`; with one, it does not."""
    cache: cachetools.TTLCache[str, int] = cachetools.TTLCache(10, ttl=60.0)
    virtual: cachetools.TTLCache[str, int] = cachetools.TTLCache(10, ttl=60.0, timer=lambda: 5.0)
    with forbid_wall_clock():
        virtual["key"] = 1
        assert virtual["key"] == 1
    called = r"time\.monotonic\(\) was called at .*cachetools"
    with pytest.raises(WallClockError, match=called), forbid_wall_clock():
        cache["key"] = 1


def test_time_that_is_not_read_from_a_clock_is_allowed() -> None:
    """Converting and computing times is no leak."""
    with forbid_wall_clock():
        time.gmtime(0)
        time.localtime(0)
        datetime.fromtimestamp(0, UTC)
        assert datetime(2024, 2, 29, tzinfo=UTC).isoformat()


def test_logging_is_allowed(caplog: pytest.LogCaptureFixture) -> None:
    """`logging` may stamp its records, which nobody reads back."""
    with caplog.at_level(logging.INFO), forbid_wall_clock():
        logging.getLogger("any").info("message")
    assert "message" in caplog.text


def test_callbacks_of_the_garbage_collector_are_allowed() -> None:
    """Tools that time the garbage collector do so at moments that the program does not choose."""
    calls: list[float] = []

    def measure(phase: str, info: dict[str, int]) -> None:
        calls.append(time.perf_counter())

    gc.callbacks.append(measure)
    try:
        with forbid_wall_clock():
            gc.collect()
    finally:
        gc.callbacks.remove(measure)
    assert len(calls) == 2


def test_other_threads_may_read_clocks() -> None:
    """Only the thread that runs the simulation is watched."""
    read: list[float] = []
    with forbid_wall_clock():
        thread = threading.Thread(target=lambda: read.append(time.time()))
        thread.start()
        thread.join()
    assert len(read) == 1


def test_a_leak_that_is_swallowed_is_raised_at_the_end() -> None:
    """Code that falls back on any error cannot hide that the run has leaked."""

    def fall_back() -> float:
        try:
            return time.time()
        except Exception:
            return 0.0

    with pytest.raises(WallClockError, match=r"time\.time\(\)"), forbid_wall_clock():
        fall_back()


def test_a_leak_before_another_error_is_a_note_on_it() -> None:
    """The error that ends the block stays what it is."""

    def replace_error() -> None:
        try:
            time.time()
        except WallClockError:
            raise LookupError from None

    with pytest.raises(LookupError) as caught, forbid_wall_clock():
        replace_error()
    assert caught.value.__notes__[0].startswith("before that, unnoticed: wall clock: time.time()")


def test_whoever_profiled_before_goes_on() -> None:
    """A profile function that was set is put back, also after a leak."""
    seen: list[str] = []

    def profile(frame: Any, event: str, arg: Any) -> None:
        seen.append(event)

    sys.setprofile(profile)
    try:
        with forbid_wall_clock():
            pass
        assert sys.getprofile() is profile
        with pytest.raises(WallClockError), forbid_wall_clock():
            time.time()
        assert sys.getprofile() is profile
    finally:
        sys.setprofile(None)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="cProfile leaves setprofile alone")
def test_a_profiler_in_c_is_not_silently_switched_off() -> None:
    """A profiler that could not be put back is refused at the start."""
    with (
        cProfile.Profile(),
        pytest.raises(RuntimeError, match="profiles this thread"),
        forbid_wall_clock(),
    ):
        pass


# In the loop


@pytest.mark.parametrize("seed", [None, 1])
def test_a_coroutine_that_reads_a_clock_ends_the_run(seed: int | None) -> None:
    """The task gets the error at the call, and the run ends with it at once."""

    async def careless(log: list[float]) -> None:
        while True:
            await asyncio.sleep(1.0)
            log.append(asyncio.get_running_loop().time())
            try:
                time.time()
            except WallClockError:
                log.append(-1.0)

    async def main(_: VirtualTimeLoop) -> None:
        await careless(log)

    log: list[float] = []
    order = None if seed is None else np.random.default_rng(seed)
    with pytest.raises(WallClockError, match=r"time\.time\(\) was called at .* in .*careless;"):
        run_virtual(main, order=order, forbid_wall_clock=True)
    assert log == [1.0, -1.0]


def test_a_simpy_process_that_reads_a_clock_ends_the_run() -> None:
    """Processes and callbacks are watched as well as tasks."""

    def process(env: simpy.Environment) -> Generator[simpy.Event, Any, None]:
        yield env.timeout(1.0)
        datetime.now(UTC)

    async def main(loop: VirtualTimeLoop) -> None:
        loop.env.process(process(loop.env))
        await asyncio.sleep(5.0)

    with pytest.raises(WallClockError, match=r"datetime\.now\(\) .* in process;|in .*process;"):
        run_virtual(main, forbid_wall_clock=True)


def test_the_loop_itself_reads_no_clock() -> None:
    """Every part of asyncio that has to do with time passes."""

    async def main(loop: VirtualTimeLoop) -> float:
        queue = asyncio.Queue[int]()
        loop.set_debug(True)
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(1.0))
            group.create_task(asyncio.to_thread(int))
            group.create_task(queue.put(1))
            await asyncio.wait_for(queue.get(), 5.0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await loop.as_future(loop.env.timeout(5.0))
        loop.call_exception_handler({"message": "expected"})
        return loop.time()

    assert run_virtual(main, forbid_wall_clock=True) == 2.0


def test_it_is_off_unless_asked_for() -> None:
    """It is slow, so a loop does not watch by default, nor outside of its run."""

    async def main(_: VirtualTimeLoop) -> bool:
        return time.time() > 0

    assert run_virtual(main)
    loop = VirtualTimeLoop(simpy.Environment(), forbid_wall_clock=True)
    loop.run_until_complete(asyncio.sleep(1.0))
    assert time.time() > 0
    loop.close()
