from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterator
from typing import Any

import pytest
import simpy

from sim.loop import CopyError, VirtualTimeLoop

Process = Generator[simpy.Event, Any, Any]


class FullError(Exception):
    """Needs an argument by keyword, so that SimPy cannot copy it."""

    def __init__(self, message: str, *, limit: int) -> None:
        super().__init__(message)
        self.limit = limit


@pytest.fixture
def loop() -> Iterator[VirtualTimeLoop]:
    """A loop in an environment of its own."""
    loop = VirtualTimeLoop(simpy.Environment())
    yield loop
    loop.close()


# Awaiting SimPy


def test_a_process_can_be_awaited(loop: VirtualTimeLoop) -> None:
    """`as_future` of a process gives its return value, at the instant of its end."""

    def process() -> Process:
        yield loop.env.timeout(2.0)
        return "result"

    async def main() -> tuple[str, float]:
        return await loop.as_future(loop.env.process(process())), loop.time()

    assert loop.run_until_complete(main()) == ("result", 2.0)


def test_an_event_that_has_happened_can_be_awaited(loop: VirtualTimeLoop) -> None:
    """The value of an event that was processed before is there at once."""
    event = loop.env.timeout(1.0, value="early")
    loop.env.run()
    future = loop.as_future(event)
    assert future.done()
    assert future.result() == "early"


def test_a_failed_process_raises_in_the_task_that_awaits_it(loop: VirtualTimeLoop) -> None:
    """The very exception is raised, and the failure counts as defused."""
    error = FullError("no place", limit=3)

    def process() -> Process:
        yield loop.env.timeout(1.0)
        raise error

    async def main() -> None:
        with pytest.raises(FullError) as caught:
            await loop.as_future(loop.env.process(process()))
        assert caught.value is error
        await asyncio.sleep(1.0)

    loop.run_until_complete(main())


def test_a_failure_that_no_future_could_raise_is_wrapped(loop: VirtualTimeLoop) -> None:
    """`StopIteration`, which no coroutine can raise, arrives as the cause of a RuntimeError."""

    async def main() -> None:
        with pytest.raises(RuntimeError, match="StopIteration"):
            await loop.as_future(loop.env.event().fail(StopIteration()))

    loop.run_until_complete(main())


def test_a_cancelled_future_leaves_the_event_alone(loop: VirtualTimeLoop) -> None:
    """After a time-out the event happens all the same, and holds on to nobody."""
    log: list[float] = []
    event = loop.env.timeout(5.0)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await loop.as_future(event)
        await asyncio.sleep(0)
        assert event.callbacks == []
        await loop.as_future(event)
        log.append(loop.time())

    loop.run_until_complete(main())
    assert log == [5.0]


def test_a_failure_after_the_cancellation_is_nobodys(loop: VirtualTimeLoop) -> None:
    """If the only future was cancelled, a failing event ends the run, as if nobody had waited."""
    event = loop.env.event()

    async def main() -> None:
        loop.as_future(event).cancel()
        event.fail(LookupError("nobody listens"))
        await asyncio.sleep(10.0)

    with pytest.raises(LookupError, match="nobody listens"):
        loop.run_until_complete(main())


def test_a_future_cancelled_at_the_instant_of_the_event_is_left_alone(
    loop: VirtualTimeLoop,
) -> None:
    """The event finds the cancelled future still among its callbacks, and gives it nothing."""
    event = loop.env.timeout(1.0)

    async def main() -> None:
        future = loop.as_future(event)
        event.callbacks.insert(0, lambda _: future.cancel())  # type: ignore[union-attr]
        with pytest.raises(asyncio.CancelledError):
            await future

    loop.run_until_complete(main())


def test_an_event_of_another_environment_is_refused(loop: VirtualTimeLoop) -> None:
    """Its time is not this loop's time."""
    with pytest.raises(ValueError, match="another environment"):
        loop.as_future(simpy.Environment().timeout(1.0))


# Yielding asyncio


def test_a_process_can_yield_a_coroutine(loop: VirtualTimeLoop) -> None:
    """`as_event` gives a process the result of a coroutine, a task or a future."""
    log: list[Any] = []

    async def work(result: str) -> str:
        await asyncio.sleep(1.0)
        return result

    def process() -> Process:
        log.append((yield loop.as_event(work("coroutine"))))
        log.append((yield loop.as_event(loop.create_task(work("task")))))
        future = loop.create_future()
        loop.call_later(1.0, future.set_result, "future")
        log.append((yield loop.as_event(future)))
        log.append(loop.env.now)

    loop.run_until_complete(loop.as_future(loop.env.process(process())))
    assert log == ["coroutine", "task", "future", 3.0]


def test_awaitables_join_simpys_conditions(loop: VirtualTimeLoop) -> None:
    """An awaitable races a SimPy event by `|`, like any other event."""

    def process() -> Process:
        quick = loop.as_event(asyncio.sleep(1.0, "quick"))
        slow = loop.env.timeout(2.0)
        happened = yield quick | slow
        return list(happened.values())

    future = loop.as_future(loop.env.process(process()))
    assert loop.run_until_complete(future) == ["quick"]


def test_a_failed_coroutine_raises_in_the_process_that_yields_it(loop: VirtualTimeLoop) -> None:
    """The process gets SimPy's copy of the exception, whose cause is the original."""
    error = LookupError("missing")
    caught: list[BaseException | None] = []

    async def work() -> None:
        raise error

    def process() -> Process:
        try:
            yield loop.as_event(work())
        except LookupError as copy:
            caught.append(copy.__cause__)

    loop.run_until_complete(loop.as_future(loop.env.process(process())))
    assert caught == [error]


def test_a_failure_that_simpy_cannot_copy_says_so(loop: VirtualTimeLoop) -> None:
    """Instead of a confusing TypeError the process gets a CopyError that names the original."""
    caught: list[str] = []

    async def work() -> None:
        raise FullError("no place", limit=3)

    def process() -> Process:
        try:
            yield loop.as_event(work())
        except CopyError as error:
            caught.append(str(error))

    loop.run_until_complete(loop.as_future(loop.env.process(process())))
    assert caught == ["an awaitable failed with FullError('no place')"]


def test_a_failed_coroutine_that_no_process_awaits_ends_the_run(loop: VirtualTimeLoop) -> None:
    """As in SimPy, a failure is never silently ignored."""

    async def work() -> None:
        raise LookupError("missing")

    async def main() -> None:
        loop.as_event(work())
        await asyncio.sleep(10.0)

    with pytest.raises(LookupError, match="missing"):
        loop.run_until_complete(main())


def test_a_cancellation_reaches_the_process_and_ends_there(loop: VirtualTimeLoop) -> None:
    """A process whose awaitable is cancelled ends by it, which is no failure of the run."""
    log: list[Any] = []

    def process(task: asyncio.Task[None]) -> Process:
        try:
            yield loop.as_event(task)
        finally:
            log.append(loop.env.now)

    async def main() -> None:
        task = asyncio.create_task(asyncio.sleep(100.0))
        alive = loop.env.process(process(task))
        beside = loop.as_future(alive)
        await asyncio.sleep(1.0)
        task.cancel()
        await asyncio.sleep(1.0)
        log.append(alive.is_alive)
        assert beside.cancelled()
        after = loop.as_future(alive)
        assert after.cancelled()

    loop.run_until_complete(main())
    assert log == [1.0, False]


def test_round_trips_may_be_nested(loop: VirtualTimeLoop) -> None:
    """A task awaits a process that yields a coroutine that awaits a process."""

    def inner() -> Process:
        yield loop.env.timeout(1.0)
        return 1

    async def middle() -> int:
        return 1 + await loop.as_future(loop.env.process(inner()))

    def outer() -> Process:
        return 1 + (yield loop.as_event(middle()))

    assert loop.run_until_complete(loop.as_future(loop.env.process(outer()))) == 3


def test_interrupts_of_processes_work(loop: VirtualTimeLoop) -> None:
    """A task can interrupt a SimPy process, at this instant."""
    log: list[Any] = []

    def process() -> Process:
        try:
            yield loop.env.timeout(100.0)
        except simpy.Interrupt as interrupt:
            log.append((interrupt.cause, loop.env.now))

    async def main() -> None:
        running = loop.env.process(process())
        await asyncio.sleep(1.0)
        running.interrupt("enough")
        await loop.as_future(running)

    loop.run_until_complete(main())
    assert log == [("enough", 1.0)]


# SimPy's own stepping


def test_a_timer_that_simpy_takes_runs_when_the_loop_does(loop: VirtualTimeLoop) -> None:
    """`env.run` passes over our timers: it makes them ready, and runs no asyncio code."""
    log: list[Any] = []
    loop.call_later(1.0, lambda: log.append(loop.time()))
    cancelled = loop.call_later(2.0, log.append, "cancelled")
    loop.call_later(9.0, lambda: log.append(loop.time()))
    cancelled.cancel()
    loop.env.run(until=5.0)
    assert log == []
    assert loop._cancelled_timers == 0
    loop.run_until_complete(asyncio.sleep(5.0))
    assert log == [5.0, 9.0]


def test_stepping_inside_of_the_loop_is_harmless(loop: VirtualTimeLoop) -> None:
    """A task that steps SimPy by itself moves the clock on, and no timer is lost."""
    log: list[Any] = []

    async def main() -> None:
        sleeper = asyncio.create_task(asyncio.sleep(1.0))
        await asyncio.sleep(0)
        loop.env.run(until=3.0)
        await sleeper
        log.append(loop.time())
        await asyncio.sleep(1.0)
        log.append(loop.time())

    loop.run_until_complete(main())
    assert log == [3.0, 4.0]


def test_the_end_of_an_earlier_simpy_run_stops_nothing(loop: VirtualTimeLoop) -> None:
    """The `until` of an `env.run` that failed before it does not stop the loop later."""

    def process() -> Process:
        yield loop.env.timeout(1.0)
        raise LookupError("early")

    loop.env.process(process())
    with pytest.raises(LookupError):
        loop.env.run(until=3.0)
    loop.run_until_complete(asyncio.sleep(5.0))
    assert loop.time() == 6.0


def test_simpy_can_go_on_alone(loop: VirtualTimeLoop) -> None:
    """After the loop is closed the environment runs on by itself."""
    log: list[float] = []

    def process() -> Process:
        while True:
            yield loop.env.timeout(1.0)
            log.append(loop.env.now)

    loop.env.process(process())
    loop.run_until_complete(asyncio.sleep(1.5))
    loop.close()
    loop.env.run(until=3.5)
    assert log == [1.0, 2.0, 3.0]
