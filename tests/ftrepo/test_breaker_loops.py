"""A call through a breaker: what it decides, what it keeps, and whose clock it reads."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftrepo.errors import CircuitOpenError
from ftrepo.resilience import BreakerSettings, BreakerState, CircuitBreaker
from ftrepo.resilience.breaker_machine import QUICK_REJECTIONS
from sim.loop import VirtualTimeLoop, run_virtual

SETTINGS = BreakerSettings(failure_threshold=3, open_s=10, half_open_max_calls=2, probe_timeout_s=5)


class DependencyError(Exception):
    """What a dead dependency answers."""


async def answer() -> int:
    """Answer at once."""
    return 7


async def die() -> None:
    """Fail at once."""
    raise DependencyError


async def trip(breaker: CircuitBreaker) -> None:
    """Let calls fail until the breaker opens."""
    for _ in range(3):
        with pytest.raises(DependencyError):
            await breaker.call(die)
    assert breaker.state is BreakerState.OPEN


steps = st.lists(
    st.tuples(
        st.sampled_from(["succeed", "fail", "cancel"]),
        st.sampled_from([0.0, 0.2, 1.0, 6.0]),
        st.sampled_from([0.0, 0.5, 10.0]),
        st.sampled_from([1, 2, 9, 300]),
    ),
    max_size=15,
)


@given(script=steps, window_s=st.sampled_from([5.0, 100.0]))
def test_a_call_decides_what_the_machine_decides(
    script: list[tuple[str, float, float, int]], window_s: float
) -> None:
    """What `call` writes out leaves the same state and counts as `acquire` and `succeed`."""
    settings = BreakerSettings(
        failure_threshold=3,
        failure_rate=0.5,
        slow_rate=0.5,
        open_s=10,
        open_factor=2,
        window_s=window_s,
    )

    async def act(end: str, duration_s: float) -> None:
        await asyncio.sleep(duration_s)
        if end == "fail":
            raise DependencyError
        if end == "cancel":
            raise asyncio.CancelledError

    async def main(loop: VirtualTimeLoop) -> None:
        by_call, by_hand = CircuitBreaker(settings), CircuitBreaker(settings)
        for end, duration_s, pause_s, times in script:
            for _ in range(times):
                began_s = loop.time()
                wait_s = None
                try:
                    permit = by_hand.acquire(began_s)
                except CircuitOpenError as rejected:
                    wait_s = rejected.retry_after_s
                try:
                    await by_call.call(act, end, duration_s)
                except CircuitOpenError as rejected:
                    heard_s = rejected.retry_after_s
                except (DependencyError, asyncio.CancelledError):
                    heard_s = None
                else:
                    heard_s = None
                assert heard_s == wait_s
                if wait_s is not None:
                    continue
                now_s = loop.time()
                if end == "cancel":
                    by_hand.release(permit)
                else:
                    getattr(by_hand, end)(permit, now_s, now_s - began_s)
                assert by_call.state is by_hand.state
            assert by_call.counts == by_hand.counts
            await asyncio.sleep(pause_s)

    run_virtual(main)


def test_a_forced_breaker_tells_every_caller_the_same() -> None:
    """To come back after `open_s`, however long ago it was opened or forced open."""

    async def main(loop: VirtualTimeLoop) -> None:
        breaker = CircuitBreaker(SETTINGS)
        await trip(breaker)
        breaker.force_open(loop.time())
        for _ in range(5):
            await asyncio.sleep(3)
            with pytest.raises(CircuitOpenError) as rejected:
                await breaker.call(answer)
            assert rejected.value.retry_after_s == SETTINGS.open_s

    run_virtual(main)


def test_rejections_retain_no_memory() -> None:
    """After a hundred thousand of them there is as much as before."""

    async def main(_: VirtualTimeLoop) -> None:
        breaker = CircuitBreaker(SETTINGS)
        await trip(breaker)

        async def reject(times: int) -> None:
            for _ in range(times):
                try:
                    await breaker.call(answer)
                except CircuitOpenError:
                    continue
                raise AssertionError("admitted")

        await reject(1000)
        gc.collect()
        gc.disable()
        try:
            before, _ = tracemalloc.get_traced_memory()
            await reject(100_000)
            after, _ = tracemalloc.get_traced_memory()
        finally:
            gc.enable()
        assert after - before < 1_000
        assert breaker.counts.rejected == 101_000

    tracemalloc.start()
    try:
        run_virtual(main)
    finally:
        tracemalloc.stop()


def test_a_breaker_serves_one_loop_after_another_and_keeps_none_alive() -> None:
    """Two of real time, through which its opening goes on, and one of virtual time at last."""
    breaker = CircuitBreaker(SETTINGS)
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    async def first() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        assert await breaker.call(answer) == 7
        await trip(breaker)

    async def second() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        for _ in range(2 * QUICK_REJECTIONS):
            with pytest.raises(CircuitOpenError) as rejected:
                await breaker.call(answer)
            assert 0 < rejected.value.retry_after_s <= 10
        breaker.reset(asyncio.get_running_loop().time())
        assert await breaker.call(answer) == 7

    async def third(_: VirtualTimeLoop) -> None:
        await trip(breaker)
        await asyncio.sleep(10)
        assert await breaker.call(answer) == 7

    asyncio.run(first())
    asyncio.run(second())
    gc.collect()
    assert [loop() for loop in loops] == [None, None]
    run_virtual(third, forbid_wall_clock=True)


def test_an_opening_of_real_time_that_is_met_in_virtual_time_ends_there() -> None:
    """At most `QUICK_REJECTIONS` calls are held against the old clock; then the new one counts."""
    breaker = CircuitBreaker(SETTINGS)
    asyncio.run(trip(breaker))

    async def main(_: VirtualTimeLoop) -> None:
        for _ in range(QUICK_REJECTIONS + 1):
            with pytest.raises(CircuitOpenError):
                await breaker.call(answer)
        await asyncio.sleep(10)
        assert await breaker.call(answer) == 7

    run_virtual(main)


@pytest.mark.parametrize("is_guarded", [False, True])
def test_a_loop_that_is_alive_and_does_not_run_is_not_followed(is_guarded: bool) -> None:
    """One of real time is between two runs; meanwhile the clock is that of the virtual one."""
    breaker = CircuitBreaker(BreakerSettings(slow_call_s=100))

    async def wait(seconds: float) -> None:
        if not is_guarded:
            await breaker.call(asyncio.sleep, seconds)
            return
        async with breaker.guard():
            await asyncio.sleep(seconds)

    real = asyncio.new_event_loop()
    try:
        real.run_until_complete(wait(0))
        run_virtual(lambda _: wait(100), forbid_wall_clock=True)
        real.run_until_complete(wait(0))
    finally:
        real.close()
    assert (breaker.counts.slow, breaker.counts.successes) == (1, 3)
