"""Back-off and retry, in virtual time."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftrepo.resilience import Backoff, BackoffSettings, longest_pause_s, retry
from sim.loop import VirtualTimeLoop, run_virtual


def pauses(backoff: Backoff) -> list[float]:
    """Every pause until it gives up."""
    found = []
    while (pause_s := backoff.next_pause_s()) is not None:
        found.append(pause_s)
    return found


def test_pauses_double_up_to_the_cap() -> None:
    """The requirements: 5 attempts, 100 ms first, ×2."""
    assert pauses(Backoff()) == pytest.approx([0.1, 0.2, 0.4, 0.8])
    capped = BackoffSettings(attempts_max=10, first_s=1.0, pause_max_s=10.0)
    assert pauses(Backoff(capped)) == [1, 2, 4, 8, 10, 10, 10, 10, 10]


def test_one_attempt_never_pauses() -> None:
    """With one attempt the first failure is the last."""
    assert pauses(Backoff(BackoffSettings(attempts_max=1))) == []


def test_no_number_of_failures_overflows() -> None:
    """A job that has failed a million times pauses for the cap."""
    assert longest_pause_s(BackoffSettings(), 1_000_000) == 10.0


@given(draw=st.floats(0, 1, exclude_max=True), jitter=st.floats(0, 1))
def test_jitter_only_shortens(draw: float, jitter: float) -> None:
    """A pause lies between its share without jitter and the longest, wherever the draw falls."""
    settings = BackoffSettings(jitter=jitter)
    for failures, pause_s in enumerate(pauses(Backoff(settings, draw=lambda: draw)), start=1):
        longest_s = longest_pause_s(settings, failures)
        assert (1 - jitter) * longest_s - 1e-12 <= pause_s <= longest_s


def test_a_success_begins_anew() -> None:
    """After `reset` the next pause is the first again."""
    backoff = Backoff()
    backoff.next_pause_s()
    backoff.next_pause_s()
    backoff.reset()
    assert backoff.next_pause_s() == 0.1


@pytest.mark.parametrize(
    "wrong", [{"attempts_max": 0}, {"first_s": 0}, {"factor": 0.5}, {"jitter": 1.5}]
)
def test_impossible_settings_are_refused_by_name(wrong: dict[str, float]) -> None:
    """The error names the setting."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        BackoffSettings(**wrong)  # type: ignore[arg-type]


def test_retry_goes_on_until_success_and_tells() -> None:
    """Two failures, two pauses of 0.1 and 0.2 s, then the result."""
    told = []

    async def main(loop: VirtualTimeLoop) -> tuple[str, float]:
        failures = iter([OSError("one"), OSError("two")])

        async def attempt() -> str:
            for error in failures:
                raise error
            return "done"

        result = await retry(
            attempt,
            when=lambda _: True,
            on_retry=lambda number, error, pause_s: told.append((number, str(error), pause_s)),
        )
        return result, loop.time()

    result, took_s = run_virtual(main)
    assert (result, took_s) == ("done", pytest.approx(0.3))
    assert told == [(1, "one", 0.1), (2, "two", 0.2)]


def test_retry_gives_up_with_the_last_error() -> None:
    """After the last attempt there is no pause, and its error is raised."""

    async def main(loop: VirtualTimeLoop) -> float:
        attempts = 0

        async def attempt() -> None:
            nonlocal attempts
            attempts += 1
            raise OSError(f"attempt {attempts}")

        with pytest.raises(OSError, match="attempt 5"):
            await retry(attempt, when=lambda _: True)
        return loop.time()

    assert run_virtual(main) == pytest.approx(1.5)


def test_what_is_not_worth_it_is_not_repeated() -> None:
    """A ValueError is raised after one attempt and no time."""

    async def main(loop: VirtualTimeLoop) -> float:
        async def attempt() -> None:
            raise ValueError("wrong")

        with pytest.raises(ValueError, match="wrong"):
            await retry(attempt, when=lambda error: isinstance(error, OSError))
        return loop.time()

    assert run_virtual(main) == 0


def test_a_cancellation_ends_the_pause_at_once() -> None:
    """Neither an attempt nor the rest of a pause comes after it."""

    async def main(loop: VirtualTimeLoop) -> tuple[int, float]:
        attempts = 0

        async def attempt() -> None:
            nonlocal attempts
            attempts += 1
            raise OSError

        settings = BackoffSettings(first_s=10, pause_max_s=10)
        task = loop.create_task(retry(attempt, settings, when=lambda _: True))
        await asyncio.sleep(5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return attempts, loop.time()

    assert run_virtual(main) == (1, 5)
