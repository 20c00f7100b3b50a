from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import numpy as np
import pytest
import simpy

from sim.loop import VirtualTimeLoop, run_virtual

Log = list[Any]


def log_of(
    program: Callable[[VirtualTimeLoop, Log], Coroutine[Any, Any, None]], seed: int | None = None
) -> Log:
    """What a program logs, first come, first served or in the order that a seed draws."""
    log: Log = []
    order = None if seed is None else np.random.default_rng(seed)
    run_virtual(lambda loop: program(loop, log), order=order)
    return log


def test_gather_returns_in_the_order_of_its_arguments() -> None:
    """`gather` waits for all, and its results are in the order of the arguments."""

    async def program(loop: VirtualTimeLoop, log: Log) -> None:
        sleeps = (asyncio.sleep(s, s) for s in (3.0, 1.0, 2.0))
        log.append(await asyncio.gather(*sleeps))
        log.append(loop.time())

    assert log_of(program) == [[3.0, 1.0, 2.0], 3.0]


def test_a_task_group_cancels_the_rest_when_one_fails() -> None:
    """The others end at the instant of the failure, oldest first."""

    async def wait(loop: VirtualTimeLoop, log: Log, name: int) -> None:
        try:
            await asyncio.sleep(100.0)
        finally:
            log.append((name, loop.time()))

    async def fail() -> None:
        await asyncio.sleep(2.0)
        raise LookupError("broken")

    async def program(loop: VirtualTimeLoop, log: Log) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for name in range(5):
                    group.create_task(wait(loop, log, name))
                group.create_task(fail())
        except* LookupError as errors:
            log.append(repr(errors.exceptions))

    assert log_of(program) == [*((i, 2.0) for i in range(5)), "(LookupError('broken'),)"]


def test_a_timeout_expires_exactly() -> None:
    """`asyncio.timeout` and `wait_for` end at their deadline, to the bit."""

    async def program(loop: VirtualTimeLoop, log: Log) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await asyncio.sleep(1e6)
        log.append(loop.time())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 0.2)
        log.append(loop.time())
        async with asyncio.timeout_at(5.0) as timeout:
            timeout.reschedule(9.0)
            await asyncio.sleep(6.0)
        log.append(timeout.expired())
        log.append(await asyncio.wait_for(asyncio.sleep(1.0, "in time"), 2.0))

    assert log_of(program) == [0.1, 0.1 + 0.2, False, "in time"]


def test_of_two_things_due_together_the_older_timer_wins() -> None:
    """A time-out that is set before the sleep inside of it, for the same instant, expires."""

    async def program(loop: VirtualTimeLoop, log: Log) -> None:
        try:
            async with asyncio.timeout(1.0):
                await asyncio.sleep(1.0)
            log.append("slept")
        except TimeoutError:
            log.append("timed out")

    assert log_of(program) == ["timed out"]


def test_wait_and_as_completed_follow_time() -> None:
    """`wait` returns at the first of its tasks; `as_completed` yields the quickest first."""

    async def program(loop: VirtualTimeLoop, log: Log) -> None:
        tasks = [asyncio.create_task(asyncio.sleep(s, s)) for s in (3.0, 1.0, 2.0)]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        log.append(([task.result() for task in done], len(pending), loop.time()))
        log.extend([await result for result in asyncio.as_completed(tasks)])
        done, pending = await asyncio.wait([loop.create_future()], timeout=4.0)
        log.append((len(done), len(pending), loop.time()))

    assert log_of(program) == [([1.0], 2, 1.0), 1.0, 2.0, 3.0, (0, 1, 7.0)]


def test_a_lock_is_held_by_one_and_passed_on_in_turn() -> None:
    """Waiters get a lock first come, first served."""

    async def work(loop: VirtualTimeLoop, log: Log, lock: asyncio.Lock, name: str) -> None:
        async with lock:
            log.append((name, loop.time()))
            await asyncio.sleep(1.0)

    async def program(loop: VirtualTimeLoop, log: Log) -> None:
        lock = asyncio.Lock()
        await asyncio.gather(*(work(loop, log, lock, name) for name in "abc"))

    assert log_of(program) == [("a", 0.0), ("b", 1.0), ("c", 2.0)]


def test_a_semaphore_admits_as_many_as_it_says() -> None:
    """A semaphore of two lets two in at a time."""

    async def work(loop: VirtualTimeLoop, log: Log, gate: asyncio.Semaphore, name: str) -> None:
        async with gate:
            log.append((name, loop.time()))
            await asyncio.sleep(1.0)

    async def program(loop: VirtualTimeLoop, log: Log) -> None:
        gate = asyncio.BoundedSemaphore(2)
        await asyncio.gather(*(work(loop, log, gate, name) for name in "abcd"))

    assert log_of(program) == [("a", 0.0), ("b", 0.0), ("c", 1.0), ("d", 1.0)]


def test_a_queue_holds_back_its_producer() -> None:
    """`put` waits while the queue is full; `join` until all is done."""

    async def produce(loop: VirtualTimeLoop, log: Log, queue: asyncio.Queue[int]) -> None:
        for i in range(4):
            await queue.put(i)
            log.append(("put", i, loop.time()))

    async def consume(queue: asyncio.Queue[int]) -> None:
        while True:
            await asyncio.sleep(1.0)
            await queue.get()
            queue.task_done()

    async def program(loop: VirtualTimeLoop, log: Log) -> None:
        queue = asyncio.Queue[int](maxsize=2)
        consumer = asyncio.create_task(consume(queue))
        await produce(loop, log, queue)
        await queue.join()
        log.append(loop.time())
        consumer.cancel()

    assert log_of(program) == [
        ("put", 0, 0.0),
        ("put", 1, 0.0),
        ("put", 2, 1.0),
        ("put", 3, 2.0),
        4.0,
    ]


def test_events_conditions_and_barriers_wake_their_waiters() -> None:
    """All waiters of an event, a condition and a barrier wake at the instant that lets them."""

    async def on_event(loop: VirtualTimeLoop, log: Log, event: asyncio.Event) -> None:
        await event.wait()
        log.append(("event", loop.time()))

    async def on_condition(loop: VirtualTimeLoop, log: Log, condition: asyncio.Condition) -> None:
        async with condition:
            await condition.wait_for(lambda: loop.time() >= 2.0)
            log.append(("condition", loop.time()))

    async def on_barrier(loop: VirtualTimeLoop, log: Log, barrier: asyncio.Barrier) -> None:
        await barrier.wait()
        log.append(("barrier", loop.time()))

    async def program(loop: VirtualTimeLoop, log: Log) -> None:
        event, condition, barrier = asyncio.Event(), asyncio.Condition(), asyncio.Barrier(2)
        async with asyncio.TaskGroup() as group:
            group.create_task(on_event(loop, log, event))
            group.create_task(on_condition(loop, log, condition))
            group.create_task(on_barrier(loop, log, barrier))
            await asyncio.sleep(1.0)
            event.set()
            for _ in range(2):
                async with condition:
                    condition.notify_all()
                await asyncio.sleep(1.0)
            await barrier.wait()

    assert log_of(program) == [("event", 1.0), ("condition", 2.0), ("barrier", 3.0)]


def test_cancellation_can_be_shielded_and_cleaned_up_after() -> None:
    """A cancelled task may await in its `finally`; what is shielded goes on."""

    async def inner(log: Log) -> None:
        await asyncio.sleep(5.0)
        log.append("shielded work is done")

    async def outer(loop: VirtualTimeLoop, log: Log, work: asyncio.Task[None]) -> None:
        try:
            await asyncio.shield(work)
        finally:
            await asyncio.sleep(1.0)
            log.append(("cleaned up", loop.time()))

    async def program(loop: VirtualTimeLoop, log: Log) -> None:
        work = asyncio.create_task(inner(log))
        task = asyncio.create_task(outer(loop, log, work))
        await asyncio.sleep(2.0)
        task.cancel("because")
        with pytest.raises(asyncio.CancelledError):
            await task
        await work
        log.append(loop.time())

    assert log_of(program) == [("cleaned up", 3.0), "shielded work is done", 5.0]


def test_async_generators_are_closed_at_the_end_oldest_first() -> None:
    """A generator that is left half-way gets its `finally`, in which it may await."""

    async def count(log: Log, name: str) -> AsyncIterator[int]:
        try:
            for i in range(10):
                yield i
                await asyncio.sleep(1.0)
        finally:
            await asyncio.sleep(0.5)
            log.append(name)

    generators: list[AsyncIterator[int]] = []

    async def program(loop: VirtualTimeLoop, log: Log) -> None:
        async for i in count(log, "dropped"):
            log.append(i)
            if i == 2:
                break
        await asyncio.sleep(1.0)
        generators.extend(count(log, f"kept {i}") for i in range(3))
        for generator in generators:
            await anext(generator)

    assert log_of(program) == [0, 1, 2, "dropped", "kept 0", "kept 1", "kept 2"]


def test_a_generator_that_fails_when_it_is_closed_is_reported() -> None:
    """The error goes to the exception handler, and does not stop the others from closing."""
    reports: list[dict[str, Any]] = []

    async def stubborn() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            raise LookupError("no")

    kept = stubborn()

    async def main(loop: VirtualTimeLoop) -> None:
        loop.set_exception_handler(lambda _, report: reports.append(report))
        await anext(kept)

    run_virtual(main)
    assert [repr(report["exception"]) for report in reports] == ["LookupError('no')"]
    assert reports[0]["asyncgen"] is kept


@pytest.mark.parametrize("seed", range(15))
def test_primitives_keep_their_promises_in_any_order(seed: int) -> None:
    """Whatever order a seed draws, a lock excludes, a queue delivers, a group awaits everything."""

    async def work(log: Log, lock: asyncio.Lock, queue: asyncio.Queue[int], name: int) -> None:
        async with lock:
            log.append(("in", name))
            await asyncio.sleep(0)
            await asyncio.sleep(name % 2)
            log.append(("out", name))
        async with asyncio.timeout(5.0):
            await queue.put(name)

    async def program(loop: VirtualTimeLoop, log: Log) -> None:
        lock, queue = asyncio.Lock(), asyncio.Queue[int](maxsize=2)
        async with asyncio.TaskGroup() as group:
            for name in range(6):
                group.create_task(work(log, lock, queue, name))
            log.append(sorted([await queue.get() for _ in range(6)]))

    *held, received = (entry for entry in log_of(program, seed))
    visits = [entry for entry in held if isinstance(entry, tuple)]
    assert [(a[0], b[0]) for a, b in zip(visits[::2], visits[1::2], strict=True)] == [
        ("in", "out")
    ] * 6
    assert all(a[1] == b[1] for a, b in zip(visits[::2], visits[1::2], strict=True))
    assert received == [0, 1, 2, 3, 4, 5]


def test_simpy_resources_serve_asyncio_code() -> None:
    """A task can queue for a SimPy resource with an ordinary `with`."""

    async def customer(loop: VirtualTimeLoop, log: Log, desk: simpy.Resource, name: str) -> None:
        with desk.request() as request:
            await loop.as_future(request)
            log.append((name, loop.time()))
            await asyncio.sleep(2.0)

    async def program(loop: VirtualTimeLoop, log: Log) -> None:
        desk = simpy.Resource(loop.env, capacity=1)
        await asyncio.gather(*(customer(loop, log, desk, name) for name in "abc"))

    assert log_of(program) == [("a", 0.0), ("b", 2.0), ("c", 4.0)]
