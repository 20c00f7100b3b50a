"""Single flight: one call for all who ask the same, in virtual time."""

from __future__ import annotations

import asyncio
import gc
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import numpy as np
import pytest

from ftrepo.resilience.single_flight import SingleFlight
from sim.loop import run_virtual

T = TypeVar("T")


def play(story: Callable[[], Awaitable[T]], seed: int | None = None) -> T:
    """Play a story in virtual time; with a seed, in an order of callbacks that the seed picks."""
    order = None if seed is None else np.random.default_rng(seed)
    return run_virtual(lambda _: story(), order=order)  # type: ignore[arg-type, return-value]


class Source:
    """Answers every question after a second, with the time at which it was asked."""

    def __init__(self, *, error: Exception | None = None) -> None:
        self.began: list[float] = []
        self.cancelled = 0
        self.error = error

    async def ask(self) -> float:
        """Take a second; then give the time of the question, or the error."""
        began_s = asyncio.get_running_loop().time()
        self.began.append(began_s)
        try:
            await asyncio.sleep(1.0)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return began_s


async def at(time_s: float, flight: SingleFlight[str, float], source: Source) -> Any:
    """Ask for "a" at this time."""
    await asyncio.sleep(time_s)
    return await flight.run("a", source.ask)


@pytest.mark.parametrize("callers", [1, 2, 10_000])
def test_who_asks_at_the_same_time_shares_one_call(callers: int) -> None:
    """However many ask, one call is made, all have its value, and one of them led."""

    async def story() -> None:
        flight, source = SingleFlight[str, float](), Source()
        answers = await asyncio.gather(
            *(flight.run("a", source.ask) for _ in range(callers)),
        )
        assert source.began == [0.0]
        assert answers == [(0.0, False)] + [(0.0, True)] * (callers - 1)
        assert (len(flight), flight.joined) == (0, callers - 1)

    play(story)


def test_different_keys_have_different_calls() -> None:
    """What is asked under one key says nothing about another."""

    async def story() -> None:
        flight, source = SingleFlight[str, float](), Source()
        tasks = [asyncio.create_task(flight.run(key, source.ask)) for key in "abab"]
        await asyncio.sleep(0.5)
        assert len(flight) == 2
        await asyncio.gather(*tasks)
        assert source.began == [0.0, 0.0]
        assert len(flight) == 0

    play(story)


def test_a_call_that_has_ended_is_not_joined() -> None:
    """The next question is a new call: nothing is remembered."""

    async def story() -> None:
        flight, source = SingleFlight[str, float](), Source()
        for second in range(3):
            assert await flight.run("a", source.ask) == (float(second), False)

    play(story)


def test_an_answer_says_whether_it_is_older_than_the_question() -> None:
    """Only who joined a call under way learns that; asking again gives an answer that is not."""

    async def story() -> None:
        flight, source = SingleFlight[str, float](), Source()
        leader = asyncio.create_task(at(0.0, flight, source))
        assert await at(0.9, flight, source) == (0.0, True)
        assert await leader == (0.0, False)
        again, other = await asyncio.gather(at(0.0, flight, source), at(0.1, flight, source))
        assert (again, other) == ((1.0, False), (1.0, True))

    play(story)


@pytest.mark.parametrize("seed", range(20))
def test_a_cancelled_leader_hands_over(seed: int) -> None:
    """Nobody else fails, one new call is made, and to those who waited before it, it is new."""

    async def story() -> None:
        flight, source = SingleFlight[str, float](), Source()
        leader = asyncio.create_task(at(0.0, flight, source))
        followers = [asyncio.create_task(at(0.1 * n, flight, source)) for n in (1, 2, 3)]
        await asyncio.sleep(0.5)
        leader.cancel()
        late = asyncio.create_task(at(0.1, flight, source))
        with pytest.raises(asyncio.CancelledError):
            await leader
        assert await asyncio.gather(*followers) == [(0.5, False)] * 3
        assert await late == (0.5, True)
        assert source.began == [0.0, 0.5]
        assert (len(flight), source.cancelled) == (0, 1)

    play(story, seed)


@pytest.mark.parametrize("seed", range(20))
def test_whoever_is_cancelled_only_they_fail(seed: int) -> None:
    """Leaders and followers give up in any order, some in the moment of taking over."""

    async def story() -> None:
        flight, source = SingleFlight[str, float](), Source()
        draws = np.random.default_rng(seed)
        tasks = [asyncio.create_task(at(0.01 * n, flight, source)) for n in range(40)]
        doomed = {int(n) for n in draws.choice(40, size=30, replace=False)}
        for number in sorted(doomed):
            # Several at each moment, so that one is cancelled just when another hands over.
            when_s = 0.5 + 0.25 * int(draws.integers(4))
            asyncio.get_running_loop().call_at(when_s, tasks[number].cancel)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for number, outcome in enumerate(outcomes):
            if number not in doomed:
                assert isinstance(outcome, tuple)
        assert len(flight) == 0
        assert len(source.began) <= 1 + source.cancelled
        assert await flight.run("a", source.ask)

    play(story, seed)


@pytest.mark.parametrize("turns", range(5))
def test_one_cancelled_while_taking_over_passes_it_on(turns: int) -> None:
    """The leader gives up, and a moment later so does the follower that was chosen."""

    async def story() -> None:
        flight, source = SingleFlight[str, float](), Source()
        leader, first, second = (asyncio.create_task(at(0.1 * n, flight, source)) for n in range(3))
        await asyncio.sleep(0.5)
        leader.cancel()
        for _ in range(turns):
            await asyncio.sleep(0)
        first.cancel()
        assert await second == (0.5, False)
        assert leader.cancelled()
        assert first.cancelled()
        assert len(flight) == 0

    play(story)


def test_cancelled_followers_leave_nothing() -> None:
    """Callers with short time-outs come and go while one call hangs; none of them is kept."""

    async def story() -> None:
        flight = SingleFlight[str, None]()
        hung = asyncio.create_task(flight.run("a", asyncio.Event().wait))  # type: ignore[arg-type]
        for _ in range(100):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await flight.run("a", asyncio.Event().wait)  # type: ignore[arg-type]
        crowd = flight._crowds["a"]
        assert crowd is not None
        assert not crowd.waiters
        hung.cancel()
        await asyncio.wait([hung])
        assert len(flight) == 0

    play(story)


def test_everyone_gets_the_one_error() -> None:
    """The same object, with the frames of the call, and nothing of what a caller was handling."""

    async def story() -> None:
        mishap = OSError("down")
        flight, source = SingleFlight[str, float](), Source(error=mishap)

        async def while_handling(number: int) -> tuple[Exception, list[str]]:
            try:
                raise ValueError(f"of caller {number}")
            except ValueError:
                try:
                    await flight.run("a", source.ask)
                except OSError as error:
                    frames = traceback.extract_tb(error.__traceback__)
                    return error, [frame.name for frame in frames]
            raise AssertionError("no error")

        leader = asyncio.create_task(at(0.0, flight, source))
        await asyncio.sleep(0)
        got = await asyncio.gather(*(while_handling(number) for number in range(100)))
        with pytest.raises(OSError, match="down"):
            await leader
        assert source.began == [0.0]
        assert all(error is mishap for error, _ in got)
        assert all("ask" in frames for _, frames in got)
        assert {len(frames) for _, frames in got} == {5}  # They do not pile up.
        assert mishap.__context__ is None

    play(story)


def test_a_shared_error_keeps_nobody_in_memory() -> None:
    """Once its readers have dropped it, it is gone at once: it is in no circle of references."""

    class DownError(Exception):
        pass

    async def failing() -> None:
        await asyncio.sleep(1.0)
        raise DownError

    async def reader(flight: SingleFlight[str, None]) -> bool:
        try:
            await flight.run("a", failing)
        except DownError:
            return True
        return False

    async def story() -> None:
        flight = SingleFlight[str, None]()
        assert all(await asyncio.gather(*(reader(flight) for _ in range(10))))
        assert not [each for each in gc.get_objects() if isinstance(each, DownError)]

    gc.collect()
    gc.disable()
    try:
        play(story)
    finally:
        gc.enable()


def test_an_error_before_the_first_wait_ends_the_flight() -> None:
    """A call that fails at once is forgotten at once."""

    async def story() -> None:
        flight = SingleFlight[str, None]()

        def wrong() -> Awaitable[None]:
            raise ValueError("wrong")

        with pytest.raises(ValueError, match="wrong"):
            await flight.run("a", wrong)
        assert len(flight) == 0

    play(story)
