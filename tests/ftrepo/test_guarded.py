"""The one way to the primary, with a task of its own for each call and without."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from ftrepo.errors import (
    KeyNotFoundError,
    PrimaryNotAskedError,
    PrimaryRejectedError,
    PrimaryUnavailableError,
)
from ftrepo.guarded import GuardedPrimary
from ftrepo.resilience import BreakerSettings, CallBudget, CircuitBreaker
from sim.loop import VirtualTimeLoop, run_virtual

Story = Callable[[GuardedPrimary], Awaitable[None]]


@pytest.fixture(params=[False, True], ids=["own task", "caller's task"])
def play(request: pytest.FixtureRequest) -> Callable[[Story], list[object]]:
    """Play a story with each way of making the calls; returns what was observed."""

    def run(story: Story) -> list[object]:
        observed: list[object] = []

        async def main(_: VirtualTimeLoop) -> None:
            breaker = CircuitBreaker(BreakerSettings(failure_threshold=3))
            guarded = GuardedPrimary(
                calls_in_flight_max=2,
                observe=observed.append,
                breaker=breaker,
                cancels_at_once=request.param,
            )
            await story(guarded)
            await asyncio.sleep(100.0)
            assert guarded.calls_in_flight == 0

        run_virtual(main)
        return observed

    return run


def now_s() -> float:
    """The time of the running loop."""
    return asyncio.get_running_loop().time()


async def sleeper(seconds: float) -> str:
    """A call that takes so long."""
    await asyncio.sleep(seconds)
    return "done"


def test_a_result_is_returned(play: Callable[[Story], list[object]]) -> None:
    """A call within its time gives what it gives, and nothing is observed."""

    async def story(guarded: GuardedPrimary) -> None:
        assert await guarded.call("x", lambda: sleeper(0.4), timeout_s=0.5) == "done"
        assert await guarded.call("x", lambda: sleeper(9.0), timeout_s=None) == "done"

    assert not play(story)


def test_a_call_that_is_late_fails_on_time(play: Callable[[Story], list[object]]) -> None:
    """At the time-out the caller has an error that says so, and is itself not cancelled."""

    async def story(guarded: GuardedPrimary) -> None:
        with pytest.raises(PrimaryUnavailableError, match=r"no answer within 0\.5 s"):
            await guarded.call("x", lambda: sleeper(9.0), timeout_s=0.5)
        assert now_s() == 0.5
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()
        await asyncio.sleep(1.0)

    assert len(play(story)) == 1


def test_a_cancelled_caller_is_cancelled(play: Callable[[Story], list[object]]) -> None:
    """The cancellation goes through, counts as no failure, and does not wait for the time-out."""

    async def story(guarded: GuardedPrimary) -> None:
        call = asyncio.create_task(guarded.call("x", lambda: sleeper(9.0), timeout_s=5.0))
        await asyncio.sleep(1.0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert now_s() == 1.0
        assert guarded.breaker is not None
        assert guarded.breaker.consecutive_failures == 0

    assert not play(story)


def test_a_cancellation_is_no_success(play: Callable[[Story], list[object]]) -> None:
    """Of a call that its caller gave up the breaker learns nothing: failures stay in a row."""

    async def failing() -> None:
        raise OSError

    async def story(guarded: GuardedPrimary) -> None:
        assert guarded.breaker is not None
        with pytest.raises(PrimaryUnavailableError):
            await guarded.call("x", failing, timeout_s=0.5)
        call = asyncio.create_task(guarded.call("x", lambda: sleeper(9.0), timeout_s=5.0))
        await asyncio.sleep(1.0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert guarded.breaker.consecutive_failures == 1
        assert guarded.breaker.counts.neither == 1
        assert guarded.breaker.counts.successes == 0

    assert len(play(story)) == 1


def test_a_call_that_the_budget_refuses_holds_no_place() -> None:
    """A probe that may not be made leaves its place in the breaker to the next one."""

    async def failing() -> None:
        raise OSError

    async def main(_: VirtualTimeLoop) -> None:
        settings = BreakerSettings(
            failure_threshold=1, open_s=1.0, half_open_max_calls=1, probe_timeout_s=1000.0
        )
        guarded = GuardedPrimary(
            calls_in_flight_max=2,
            observe=lambda _: None,
            breaker=CircuitBreaker(settings),
            budget=CallBudget(rate_per_s=0.1, burst=1),
        )
        with pytest.raises(PrimaryUnavailableError):
            await guarded.call("x", failing, timeout_s=0.5)
        await asyncio.sleep(2.0)  # The breaker admits a probe, and there is a fifth of a token.
        with pytest.raises(PrimaryNotAskedError, match="held back"):
            await guarded.call("x", lambda: sleeper(0.1), timeout_s=0.5, probe=True)
        await asyncio.sleep(8.0)
        assert await guarded.call("x", lambda: sleeper(0.1), timeout_s=0.5, probe=True) == "done"

    run_virtual(main)


def test_a_caller_cancelled_at_the_deadline_is_cancelled(
    play: Callable[[Story], list[object]],
) -> None:
    """When both come in one moment, the caller's own cancellation is not lost."""

    async def story(guarded: GuardedPrimary) -> None:
        call = asyncio.create_task(guarded.call("x", lambda: sleeper(9.0), timeout_s=1.0))
        asyncio.get_running_loop().call_at(1.0, call.cancel)
        with pytest.raises(asyncio.CancelledError):
            await call

    play(story)


def test_an_outer_timeout_is_told_apart(play: Callable[[Story], list[object]]) -> None:
    """A shorter time-out around the call raises its own error; a longer one never fires."""

    async def story(guarded: GuardedPrimary) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await guarded.call("x", lambda: sleeper(9.0), timeout_s=0.5)
        assert now_s() == 0.2
        async with asyncio.timeout(0.9):
            with pytest.raises(PrimaryUnavailableError):
                await guarded.call("x", lambda: sleeper(9.0), timeout_s=0.5)
            await asyncio.sleep(0.1)
        assert now_s() == pytest.approx(0.8)

    play(story)


def test_a_driver_that_cancels_itself_has_failed(play: Callable[[Story], list[object]]) -> None:
    """A cancellation that nobody asked for is a failure of the call, not of the caller."""

    async def odd() -> None:
        raise asyncio.CancelledError

    async def story(guarded: GuardedPrimary) -> None:
        with pytest.raises(PrimaryUnavailableError, match="the driver cancelled the call"):
            await guarded.call("x", odd, timeout_s=0.5)

    assert len(play(story)) == 1


def test_a_late_error_of_another_kind_leaves_no_cancellation(
    play: Callable[[Story], list[object]],
) -> None:
    """A driver that answers the time-out with an error of its own has failed, and that is all."""

    async def translating() -> None:
        try:
            await asyncio.sleep(9.0)
        except asyncio.CancelledError:
            raise OSError("gave up") from None

    async def story(guarded: GuardedPrimary) -> None:
        with pytest.raises(PrimaryUnavailableError):
            await guarded.call("x", translating, timeout_s=0.5)
        assert now_s() == 0.5
        await asyncio.sleep(1.0)  # would raise if a cancellation were left over

    play(story)


def test_calls_under_way_are_bounded(play: Callable[[Story], list[object]]) -> None:
    """One more than the bound is refused at once, and the place is free when a call ends."""

    async def story(guarded: GuardedPrimary) -> None:
        calls = [
            asyncio.create_task(guarded.call("x", lambda: sleeper(1.0), timeout_s=5.0))
            for _ in range(2)
        ]
        await asyncio.sleep(0.5)
        assert guarded.calls_in_flight == 2
        with pytest.raises(PrimaryUnavailableError, match="2 calls to the primary are under way"):
            await guarded.call("x", lambda: sleeper(1.0), timeout_s=5.0)
        assert now_s() == 0.5
        assert await asyncio.gather(*calls) == ["done", "done"]
        assert await guarded.call("x", lambda: sleeper(1.0), timeout_s=5.0) == "done"

    play(story)


def test_an_answer_of_no_is_a_success(play: Callable[[Story], list[object]]) -> None:
    """A primary that says "there is none" is well: failures in a row start again from zero."""

    async def failing() -> None:
        raise OSError

    async def lacking() -> None:
        raise KeyNotFoundError

    async def story(guarded: GuardedPrimary) -> None:
        assert guarded.breaker is not None
        for _ in range(2):
            with pytest.raises(PrimaryUnavailableError):
                await guarded.call("x", failing, timeout_s=0.5)
        assert guarded.breaker.consecutive_failures == 2
        with pytest.raises(KeyNotFoundError):
            await guarded.call("x", lacking, timeout_s=0.5)
        assert guarded.breaker.consecutive_failures == 0

    assert len(play(story)) == 2


def test_a_refused_row_says_nothing_about_the_server(
    play: Callable[[Story], list[object]],
) -> None:
    """Data that the primary refuses neither trip the breaker nor clear its count."""

    async def refusing() -> None:
        raise PrimaryRejectedError("a value is too long")

    async def failing() -> None:
        raise OSError

    async def story(guarded: GuardedPrimary) -> None:
        assert guarded.breaker is not None
        with pytest.raises(PrimaryUnavailableError):
            await guarded.call("x", failing, timeout_s=0.5)
        for _ in range(10):
            with pytest.raises(PrimaryRejectedError):
                await guarded.call("x", refusing, timeout_s=0.5)
        assert guarded.is_closed
        assert guarded.breaker.consecutive_failures == 1

    assert len(play(story)) == 11
