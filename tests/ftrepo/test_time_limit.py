"""Time limits that are kept whatever is called, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from ftrepo.errors import BulkheadFullError, TimeLimitError
from ftrepo.resilience.bulkhead import Bulkhead, BulkheadSettings
from ftrepo.resilience.time_limit import TIMEOUTS_KEPT, TimedCalls, TimeLimit
from sim.loop import VirtualTimeLoop, run_virtual

Story = Callable[[], Awaitable[None]]


def play(story: Story) -> None:
    """Play a story in virtual time."""

    async def main(_: VirtualTimeLoop) -> None:
        await story()

    run_virtual(main)


def now_s() -> float:
    """The time of the running loop."""
    return asyncio.get_running_loop().time()


async def sleeper(seconds: float) -> str:
    """A call that takes so long, and ends at once when it is cancelled."""
    await asyncio.sleep(seconds)
    return "done"


async def stubborn(seconds: float) -> str:
    """A call that answers a cancellation only when its time has come."""
    end_s = now_s() + seconds
    while now_s() < end_s:
        try:
            await asyncio.sleep(end_s - now_s())
        except asyncio.CancelledError:
            continue
    return "done"


@pytest.mark.parametrize("cancels_at_once", [False, True])
def test_a_call_in_time_gives_its_value(cancels_at_once: bool) -> None:
    """Arguments go in, the value comes out, and nothing is under way afterwards."""

    async def story() -> None:
        limit = TimeLimit(0.5, cancels_at_once=cancels_at_once)
        assert await limit.call(sleeper, 0.4) == "done"
        assert await limit.call(sleeper, seconds=0.4) == "done"
        assert now_s() == pytest.approx(0.8)
        assert (limit.under_way, limit.left_behind) == (0, 0)
        assert (limit.admitted, limit.timed_out) == (2, 0)

    play(story)


@pytest.mark.parametrize("cancels_at_once", [False, True])
def test_a_late_call_raises_in_time(cancels_at_once: bool) -> None:
    """The error is ours, a TimeoutError too, and says how long was waited."""

    async def story() -> None:
        limit = TimeLimit(0.5, cancels_at_once=cancels_at_once)
        with pytest.raises(TimeLimitError, match=r"no answer within 0\.5 s") as raised:
            await limit.call(sleeper, 9.0)
        assert isinstance(raised.value, TimeoutError)
        assert now_s() == 0.5
        assert (limit.admitted, limit.refused, limit.timed_out) == (1, 0, 1)

    play(story)


def test_a_call_that_does_not_end_is_left_behind() -> None:
    """500 ms are 500 ms also when the call takes 9 s to answer its cancellation."""

    async def story() -> None:
        limit = TimeLimit(0.5)
        with pytest.raises(TimeLimitError):
            await limit.call(stubborn, 9.0)
        assert now_s() == 0.5
        assert (limit.under_way, limit.left_behind) == (1, 1)
        await asyncio.sleep(9.0)
        assert (limit.under_way, limit.left_behind) == (0, 0)

    play(story)


def test_a_call_of_a_cancelled_caller_is_left_behind() -> None:
    """The caller goes at once; the call counts until it ends."""

    async def story() -> None:
        limit = TimeLimit(5.0)
        caller = asyncio.create_task(limit.call(stubborn, 9.0))
        await asyncio.sleep(1.0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert now_s() == 1.0
        assert limit.left_behind == 1
        await asyncio.sleep(9.0)
        assert limit.left_behind == 0

    play(story)


def test_calls_are_refused_once_so_many_are_left_behind() -> None:
    """At that number a call is refused at once and not begun; it is made when one has ended."""

    async def story() -> None:
        limit = TimeLimit(0.5, name="feed", refuse_at_left_behind=2)
        began = 0

        async def hung() -> None:
            nonlocal began
            began += 1
            await stubborn(10.0)

        for _ in range(2):
            with pytest.raises(TimeLimitError):
                await limit.call(hung)
        with pytest.raises(BulkheadFullError, match="feed refuses the call: 2 calls that took too"):
            await limit.call(hung)
        assert (began, now_s()) == (2, 1.0)
        await asyncio.sleep(10.0)
        assert await limit.call(sleeper, 0.1) == "done"

    play(story)


def test_only_a_bulkhead_bounds_how_many_are_left_behind() -> None:
    """Refused at 3: yet all of 50 at once; 3 - 1 + 5 with one of 5 around; 5 with it inside."""

    async def most_left_behind(
        *, around: Bulkhead | None = None, inside: Bulkhead | None = None
    ) -> int:
        limit = TimeLimit(0.5, refuse_at_left_behind=3)
        action = inside(stubborn) if inside else stubborn
        made = around(limit(action)) if around else limit(action)
        # Two that leave room for one more, and then as many as there may be at once.
        for at_once in (1, 1, 50, 50):
            calls = [made(10.0) for _ in range(at_once)]
            await asyncio.gather(*calls, return_exceptions=True)
        most = limit.left_behind
        # A call that a bulkhead inside refuses was made in time.
        assert limit.timed_out == most
        refused = limit.refused
        with pytest.raises(BulkheadFullError):
            await limit.call(sleeper, 0.1)
        assert limit.refused == refused + 1
        assert (limit.admitted == limit.timed_out) is (inside is None)
        await asyncio.sleep(10.0)
        assert limit.left_behind == 0
        return most

    async def story() -> None:
        five = BulkheadSettings(concurrency_max=5)
        assert await most_left_behind() == 2 + 50
        assert await most_left_behind(around=Bulkhead(five)) == 3 - 1 + 5
        assert await most_left_behind(inside=Bulkhead(five)) == 5

    play(story)


def test_what_a_call_left_behind_raises_bothers_nobody() -> None:
    """Its error comes when nobody waits: the loop is not told of an error never looked at."""

    async def fails_late() -> None:
        await stubborn(2.0)
        raise OSError("too late")

    async def story() -> None:
        told: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        with pytest.raises(TimeLimitError):
            await TimeLimit(0.5).call(fails_late)
        await asyncio.sleep(5.0)
        assert not told

    play(story)


def test_close_waits_no_longer_than_it_may() -> None:
    """What ends in time has ended; what does not is not waited for."""

    async def story() -> None:
        limit = TimeLimit(0.5)
        with pytest.raises(TimeLimitError):
            await limit.call(stubborn, 3.0)
        await limit.close(1.0)
        assert (now_s(), limit.left_behind) == (1.5, 1)
        await limit.close(60.0)
        assert (now_s(), limit.left_behind) == (3.0, 0)

    play(story)


def test_it_decorates() -> None:
    """A function keeps its name and its arguments, and gets a limit."""

    async def story() -> None:
        @TimeLimit(0.5)
        async def lookup(seconds: float, *, suffix: str = "") -> str:
            return await sleeper(seconds) + suffix

        assert lookup.__name__ == "lookup"
        assert await lookup(0.1, suffix="!") == "done!"
        with pytest.raises(TimeLimitError):
            await lookup(1.0)

    play(story)


def test_a_decorator_serves_one_loop_after_another() -> None:
    """A limit made at import keeps time on a second loop, with a timer left from the first."""
    limit = TimeLimit(0.5)

    async def story() -> None:
        assert await limit.call(sleeper, 0.1) == "done"

    async def late() -> None:
        with pytest.raises(TimeLimitError):
            await limit.call(sleeper, 9.0)
        assert now_s() == 0.5

    play(story)
    play(late)


def test_any_number_of_timeouts_takes_bounded_memory() -> None:
    """A time-out computed for each call works, and is not kept for ever."""

    async def story() -> None:
        calls = TimedCalls()
        for number in range(3 * TIMEOUTS_KEPT):
            before_s, timeout_s = now_s(), 0.5 + number / 1000
            with pytest.raises(TimeLimitError):
                await calls.run(sleeper(9.0), timeout_s)
            assert now_s() - before_s == pytest.approx(timeout_s)
        assert len(calls._deadlines) == TIMEOUTS_KEPT
        assert await calls.run(sleeper(99.0), None) == "done"

    play(story)


@pytest.mark.parametrize(
    "wrong", [{"timeout_s": 0.0}, {"timeout_s": 1.0, "refuse_at_left_behind": 0}]
)
def test_impossible_settings_are_refused_by_name(wrong: dict[str, float]) -> None:
    """The error names the setting."""
    with pytest.raises(ValueError, match=list(wrong)[-1]):
        TimeLimit(**wrong)  # type: ignore[arg-type]
