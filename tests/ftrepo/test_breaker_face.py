"""Calls through a breaker: call, decorator and guard, in virtual time."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ftrepo.errors import CircuitOpenError, RateLimitedError
from ftrepo.resilience import BreakerSettings, BreakerState, CircuitBreaker, Outcome
from sim.loop import VirtualTimeLoop, run_virtual

SETTINGS = BreakerSettings(failure_threshold=3, open_s=10, half_open_max_calls=2, probe_timeout_s=5)
Way = Callable[[CircuitBreaker, Callable[..., Any]], Awaitable[Any]]


class DependencyError(Exception):
    """What a dead dependency answers."""


async def call(breaker: CircuitBreaker, action: Callable[..., Any]) -> Any:
    """Call through the breaker."""
    return await breaker.call(action)


async def decorated(breaker: CircuitBreaker, action: Callable[..., Any]) -> Any:
    """Call a function that the breaker decorates."""

    @breaker
    async def wrapped() -> Any:
        return await action()

    return await wrapped()


async def guarded(breaker: CircuitBreaker, action: Callable[..., Any]) -> Any:
    """Call within a block that the breaker guards."""
    async with breaker.guard():
        return await action()


each_way = pytest.mark.parametrize("way", [call, decorated, guarded])


async def answer(value: int = 7, *, plus: int = 0) -> int:
    """Answer at once."""
    return value + plus


async def die() -> None:
    """Fail at once."""
    raise DependencyError


async def never_end() -> None:
    """Wait for what never comes."""
    await asyncio.Event().wait()


async def cancelled_after(seconds: float, task: asyncio.Task[Any]) -> None:
    """Cancel a task, and wait until it is."""
    await asyncio.sleep(seconds)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def trip(breaker: CircuitBreaker) -> None:
    """Let calls fail until the breaker opens."""
    for _ in range(3):
        with pytest.raises(DependencyError):
            await breaker.call(die)
    assert breaker.state is BreakerState.OPEN


@each_way
def test_a_call_passes_result_and_error_through_and_counts_them(way: Way) -> None:
    """The caller sees what it would see without a breaker."""
    error = DependencyError("as it is")

    async def fail() -> None:
        await asyncio.sleep(2)
        raise error

    async def main(_: VirtualTimeLoop) -> None:
        breaker = CircuitBreaker(SETTINGS)
        assert await way(breaker, answer) == 7
        with pytest.raises(DependencyError) as raised:
            await way(breaker, fail)
        assert raised.value is error
        assert (raised.value.__context__, raised.value.__cause__) == (None, None)
        counts = breaker.counts
        assert (counts.successes, counts.failures, counts.slow) == (1, 1, 1)

    run_virtual(main, forbid_wall_clock=True)


@each_way
def test_of_a_hundred_callers_at_half_open_two_reach_the_dependency(way: Way) -> None:
    """The dead one is called as often as configured; the recovered one as well, until it closes."""
    reached = 0

    async def slow_death() -> None:
        nonlocal reached
        reached += 1
        await asyncio.sleep(1)
        raise DependencyError

    async def slow_answer() -> int:
        nonlocal reached
        reached += 1
        await asyncio.sleep(1)
        return 7

    async def main(_: VirtualTimeLoop) -> None:
        nonlocal reached
        breaker = CircuitBreaker(SETTINGS)
        await trip(breaker)
        for action, expected, state in (
            (slow_death, DependencyError, BreakerState.OPEN),
            (slow_answer, int, BreakerState.CLOSED),
        ):
            await asyncio.sleep(10)
            reached = 0
            ends = await asyncio.gather(
                *(way(breaker, action) for _ in range(100)), return_exceptions=True
            )
            assert reached == 2
            assert sum(isinstance(end, expected) for end in ends) == 2
            assert sum(isinstance(end, CircuitOpenError) for end in ends) == 98
            assert breaker.state is state

    run_virtual(main, forbid_wall_clock=True)


@each_way
def test_a_cancelled_probe_frees_its_place_and_decides_nothing(way: Way) -> None:
    """The next caller is the probe then."""

    async def main(_: VirtualTimeLoop) -> None:
        breaker = CircuitBreaker(SETTINGS)
        await trip(breaker)
        await asyncio.sleep(10)
        probes = [asyncio.create_task(way(breaker, never_end)) for _ in range(2)]
        await asyncio.sleep(1)
        with pytest.raises(CircuitOpenError):
            await way(breaker, answer)
        await cancelled_after(0, probes[0])
        assert breaker.state is BreakerState.HALF_OPEN
        assert await way(breaker, answer) == 7
        await cancelled_after(0, probes[1])
        assert await way(breaker, answer) == 7
        assert breaker.state is BreakerState.CLOSED
        assert breaker.counts.neither == 2

    run_virtual(main)


@each_way
def test_cancelled_calls_while_closed_change_nothing(way: Way) -> None:
    """Twenty of them neither trip nor end a row of failures."""

    async def main(_: VirtualTimeLoop) -> None:
        breaker = CircuitBreaker(SETTINGS)
        for _ in range(2):
            with pytest.raises(DependencyError):
                await way(breaker, die)
        for _ in range(20):
            await cancelled_after(0.1, asyncio.create_task(way(breaker, never_end)))
        assert breaker.counts.consecutive_failures == 2
        with pytest.raises(DependencyError):
            await way(breaker, die)
        assert breaker.state is BreakerState.OPEN

    run_virtual(main)


@each_way
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_the_end_of_the_program_is_no_failure(way: Way, error: type[BaseException]) -> None:
    """Whatever is no `Exception` says nothing about the dependency, and passes through."""

    async def stop() -> None:
        raise error

    async def main(_: VirtualTimeLoop) -> None:
        breaker = CircuitBreaker(BreakerSettings(failure_threshold=1))
        with pytest.raises(error):
            await way(breaker, stop)
        assert breaker.state is BreakerState.CLOSED
        assert breaker.counts.neither == 1

    run_virtual(main)


def test_a_probe_that_never_ends_or_is_never_awaited_jams_nothing() -> None:
    """The one holds its place for its lease, the other holds none."""

    async def main(_: VirtualTimeLoop) -> None:
        breaker = CircuitBreaker(SETTINGS)
        await trip(breaker)
        await asyncio.sleep(10)
        unawaited = [breaker.call(answer) for _ in range(5)]
        lost = [asyncio.create_task(breaker.call(never_end)) for _ in range(2)]
        await asyncio.sleep(4.9)
        with pytest.raises(CircuitOpenError):
            await breaker.call(answer)
        await asyncio.sleep(0.1)
        await breaker.call(answer)
        await breaker.call(answer)
        assert breaker.state is BreakerState.CLOSED
        assert not any(task.done() for task in lost)
        for coroutine in unawaited:
            coroutine.close()
        assert breaker.counts.neither == 0

    run_virtual(main)


def test_a_call_that_began_before_the_opening_does_not_close_it() -> None:
    """Its success comes in the half-open state, and is not one of a probe."""

    async def main(_: VirtualTimeLoop) -> None:
        breaker = CircuitBreaker(BreakerSettings(failure_threshold=3, open_s=10))
        early = [asyncio.create_task(breaker.call(asyncio.sleep, 15)) for _ in range(5)]
        await asyncio.sleep(1)
        await trip(breaker)
        await asyncio.sleep(11)
        await breaker.call(answer)
        await asyncio.gather(*early)
        assert breaker.state is BreakerState.HALF_OPEN
        assert breaker.counts.late == 5

    run_virtual(main)


def test_each_rejection_is_a_fresh_error_that_says_when_to_come_back() -> None:
    """By the breaker's name, and by the time of the loop."""

    async def main(_: VirtualTimeLoop) -> None:
        breaker = CircuitBreaker(SETTINGS, name="billing")
        await trip(breaker)
        errors = []
        for _ in range(2):
            await asyncio.sleep(2.5)
            with pytest.raises(CircuitOpenError) as rejected:
                await breaker.call(answer)
            errors.append(rejected.value)
        assert errors[0] is not errors[1]
        assert [error.retry_after_s for error in errors] == [7.5, 5]
        assert errors[1].name == "billing"
        assert str(errors[1]) == "billing refuses the call: open; try again in 5 s"

    run_virtual(main, forbid_wall_clock=True)


def test_the_predicate_says_which_errors_count() -> None:
    """A "no" is an answer, a refusal to call says nothing, and all else is a failure."""

    def classify(error: Exception) -> Outcome:
        return {KeyError: Outcome.SUCCESS, ValueError: Outcome.NEITHER}.get(
            type(error), Outcome.FAILURE
        )

    async def raises(error: Exception) -> None:
        raise error

    async def main(_: VirtualTimeLoop) -> None:
        breaker = CircuitBreaker(SETTINGS, classify=classify)
        for error in (OSError(), ValueError(), KeyError(), OSError()):
            with pytest.raises(type(error)):
                await breaker.call(raises, error)
        counts = breaker.counts
        assert (counts.failures, counts.neither, counts.successes) == (2, 1, 1)
        assert counts.consecutive_failures == 1
        ordinary = CircuitBreaker(SETTINGS)
        for _ in range(5):
            with pytest.raises(RateLimitedError):
                await ordinary.call(raises, RateLimitedError("limit", "too fast", 1.0))
        assert ordinary.counts.neither == 5

    run_virtual(main)


def test_a_predicate_that_fails_is_logged_and_the_error_counts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The caller still gets the error of the call."""

    def classify(error: Exception) -> Outcome:
        raise RuntimeError("no")

    async def main(_: VirtualTimeLoop) -> None:
        breaker = CircuitBreaker(SETTINGS, classify=classify, name="billing")
        with caplog.at_level(logging.ERROR, logger="ftrepo"):
            await trip(breaker)

    run_virtual(main)
    assert "'billing' cannot classify an error: RuntimeError: no (at " in caplog.text
    assert "; from DependencyError: " in caplog.text


def test_a_decorated_function_keeps_its_name_and_takes_arguments() -> None:
    """As a function and as a method; what is no coroutine function cannot be decorated."""
    breaker = CircuitBreaker(SETTINGS)

    class Client:
        @breaker
        async def get(self, value: int, *, plus: int = 0) -> int:
            """Get it."""
            return value + plus

    async def main(_: VirtualTimeLoop) -> None:
        assert await Client().get(1, plus=2) == 3
        assert await breaker.call(answer, 1, plus=2) == 3
        assert await breaker.call(functools.partial(answer, 5)) == 5

    run_virtual(main)
    assert Client.get.__name__ == "get"
    assert Client.get.__doc__ == "Get it."
    assert asyncio.iscoroutinefunction(Client.get)
    with pytest.raises(TypeError, match="coroutine functions"):
        breaker(lambda: None)  # type: ignore[arg-type, return-value]


def test_a_guard_is_for_one_block_at_a_time() -> None:
    """A second task that enters it is told; one after the other is fine."""

    async def main(_: VirtualTimeLoop) -> None:
        guard = CircuitBreaker(SETTINGS).guard()
        async with guard:
            with pytest.raises(RuntimeError, match="needs one of its own"):
                async with guard:
                    pass
        async with guard:
            pass

    run_virtual(main)
