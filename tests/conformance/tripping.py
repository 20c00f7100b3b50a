"""Checks of a closed breaker: what trips it, what does not, and what passes through it."""

from __future__ import annotations

import asyncio
import gc
import traceback
import weakref
from contextlib import suppress

from tests.conformance.site import Site, Subject, check


@check()
async def trips_at_the_threshold_and_not_before(site: Site) -> None:
    """The third failure in a row opens a breaker with a threshold of three; the second does not."""
    subject = site.subject(failure_threshold=3)
    await subject.trip(3)
    await subject.rejection()


@check()
async def a_success_starts_the_count_again(site: Site) -> None:
    """Only failures in a row count: two, a success and two more do not open it."""
    subject = site.subject(failure_threshold=3)
    for _ in range(5):
        await subject.trip(2)
        assert await subject.is_admitted(), "two failures and a success opened it"


@check()
async def ignored_errors_do_not_trip_it(site: Site) -> None:
    """An error that is excluded from the failures never opens it, and reaches the caller."""
    subject = site.subject(failure_threshold=3)
    for _ in range(10):
        outcome = await subject.outcome(subject.refuse)
        assert isinstance(outcome, site.adapter.ignored), f"the caller got {outcome!r}"
    assert await subject.is_admitted(), "errors that are no failures opened it"


@check()
async def twenty_cancelled_calls_do_not_trip_it(site: Site) -> None:
    """A caller that goes away says nothing about the dependency."""
    subject = site.subject(failure_threshold=3)
    await _cancel(subject, 20)
    assert await subject.is_admitted(), "cancellations opened it"


@check()
async def cancelled_calls_do_not_clear_the_count(site: Site) -> None:
    """Two failures, twenty cancelled calls and a third failure open it."""
    subject = site.subject(failure_threshold=3)
    await subject.trip(2)
    await _cancel(subject, 20)
    assert await subject.is_admitted(subject.fail), "cancellations opened it"
    await subject.rejection()


@check()
async def a_cancellation_reaches_the_task(site: Site) -> None:
    """A cancelled task ends as cancelled: the breaker turns that into nothing else."""
    subject = site.subject()
    held = subject.held()
    task = asyncio.ensure_future(subject.breaker.call(held.action))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert held.waiting, "the call did not begin at once"
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled(), f"the task ended with {task.exception()!r}"


@check()
async def an_exit_of_the_program_does_not_count(site: Site) -> None:
    """KeyboardInterrupt and SystemExit pass through and are no failures of the dependency."""
    subject = site.subject(failure_threshold=3)
    for kind in (KeyboardInterrupt, SystemExit) * 5:

        async def leave(kind: type[BaseException] = kind) -> None:
            raise kind

        with suppress(kind):
            outcome = await subject.outcome(leave)
            raise AssertionError(f"at {kind.__name__} the caller got {outcome!r}")
    assert await subject.is_admitted(), "exits opened it"


@check()
async def calls_run_side_by_side(site: Site) -> None:
    """While closed, ten calls are under way at once: the breaker does not make them queue."""
    subject = site.subject()
    held = subject.held()
    tasks = [await held.begin(subject) for _ in range(10)]
    assert held.waiting == 10, f"only {held.waiting} of 10 calls began"
    held.let_go()
    assert await asyncio.gather(*tasks) == ["answer"] * 10


@check()
async def a_guarded_call_may_make_another(site: Site) -> None:
    """A call from within a call through the same breaker is not a deadlock."""
    subject = site.subject()

    async def outer() -> str:
        return await subject.breaker.call(subject.answer)

    assert await subject.outcome(outer) == "answer"


@check()
async def each_overlapping_call_counts_by_its_own_outcome(site: Site) -> None:
    """Of calls that overlap, three failures with no success in between open it."""
    subject = site.subject(failure_threshold=3)
    failing, succeeding = subject.held("fail"), subject.held("answer")
    tasks = [await failing.begin(subject) for _ in range(3)]
    tasks.append(await succeeding.begin(subject))
    succeeding.let_go()
    await tasks[-1]
    assert await subject.is_admitted(), "one success opened it"
    failing.let_go()
    await asyncio.gather(*tasks)
    await subject.rejection()


@check()
async def a_result_passes_unchanged(site: Site) -> None:
    """The caller gets the very object that the action returned, also when it is false."""
    subject = site.subject()
    for result in (object(), None, False, [], ValueError("a result"), asyncio.Event()):

        async def answer(result: object = result) -> object:
            return result

        assert await subject.breaker.call(answer) is result


@check()
async def an_error_passes_unchanged(site: Site) -> None:
    """The caller gets the very exception that the action raised, with the line that raised it."""
    subject = site.subject(failure_threshold=10)
    errors = [site.adapter.failure("down"), site.adapter.ignored("wrong request")]
    for error in errors:

        async def raise_it(error: Exception = error) -> None:
            raise error

        caught = await subject.outcome(raise_it)
        assert caught is error, f"the caller got {caught!r}"
        assert error.__cause__ is None, f"its cause became {error.__cause__!r}"
        frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        assert "raise_it" in frames, f"its traceback names {frames}"


@check()
async def the_failure_that_trips_it_passes_unchanged(site: Site) -> None:
    """Also the caller whose failure opens the breaker gets that failure: its call was made."""
    subject = site.subject(failure_threshold=3)
    for _ in range(3):
        caught = await subject.outcome(subject.fail)
        assert type(caught) is site.adapter.failure, f"the caller got {caught!r}"


@check()
async def no_error_is_kept_alive(site: Site) -> None:
    """A failure that was dealt with is let go, and with it the frames and their locals."""
    subject = site.subject(failure_threshold=3)
    kept = []

    async def fail_noted() -> None:
        subject.reached += 1
        error = site.adapter.failure("down")
        kept.append(weakref.ref(error))
        raise error

    for _ in range(3):
        assert await subject.is_admitted(fail_noted)
    await subject.rejection()
    gc.collect()
    alive = sum(reference() is not None for reference in kept)
    assert not alive, f"{alive} of 3 failures are still referred to"


@check()
async def two_breakers_are_independent(site: Site) -> None:
    """Neither the failures of one nor its opening concern the other."""
    first, second = site.subject(failure_threshold=3), site.subject(failure_threshold=3)
    await first.trip(2)
    await second.trip(2)
    await first.trip(1)
    await first.rejection()
    assert await second.is_admitted(), "the other one opened too"


async def _cancel(subject: Subject, times: int) -> None:
    """Cancel so many calls, each while it waits."""
    for _ in range(times):
        held = subject.held()
        task = asyncio.ensure_future(subject.breaker.call(held.action))
        for _ in range(5):
            await asyncio.sleep(0)
        if held.waiting:
            task.cancel()
        await asyncio.wait([task])
        assert held.waiting, f"cancellations opened it: {task.exception()!r}"
