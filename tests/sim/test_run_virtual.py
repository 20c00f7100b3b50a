from __future__ import annotations

import asyncio
import contextvars
import logging
import signal
import threading
from collections.abc import AsyncIterator, Generator
from typing import Any

import pytest
import simpy

from sim.loop import DeadlockError, LeftoverTasksError, VirtualTimeLoop, run_virtual


async def forever() -> None:
    """Wait for what never happens."""
    await asyncio.Event().wait()


def test_it_returns_what_the_coroutine_returns() -> None:
    """The coroutine function gets the loop, at time 0, and its result is returned."""

    async def main(loop: VirtualTimeLoop) -> tuple[bool, float, float]:
        start_s = loop.time()
        await asyncio.sleep(60.0)
        return asyncio.get_running_loop() is loop, start_s, loop.env.now

    assert run_virtual(main) == (True, 0.0, 60.0)


def test_it_raises_what_the_coroutine_raises_and_closes_the_loop() -> None:
    """An exception passes unchanged, and the loop is closed all the same."""
    loops: list[VirtualTimeLoop] = []

    async def main(loop: VirtualTimeLoop) -> None:
        loops.append(loop)
        raise LookupError("broken")

    with pytest.raises(LookupError, match="broken"):
        run_virtual(main)
    assert loops[0].is_closed()


def test_other_tasks_are_cancelled_oldest_first_and_may_clean_up() -> None:
    """What is left is cancelled, with virtual time to end, and also what it starts meanwhile."""
    log: list[Any] = []

    async def work(loop: VirtualTimeLoop, name: int) -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(1.0)
            log.append((name, loop.time()))
            if name == 1:
                tasks.append(asyncio.create_task(work(loop, 3)))

    tasks: list[asyncio.Task[None]] = []

    async def main(loop: VirtualTimeLoop) -> str:
        tasks.extend(asyncio.create_task(work(loop, name)) for name in range(3))
        await asyncio.sleep(5.0)
        return "result"

    assert run_virtual(main) == "result"
    assert log == [(0, 6.0), (1, 6.0), (2, 6.0), (3, 7.0)]


def test_a_task_that_ignores_its_cancellation_is_named() -> None:
    """The end is bounded in virtual time: who has not ended by then is an error."""

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(50.0)
            except asyncio.CancelledError:
                continue

    async def main(_: VirtualTimeLoop) -> None:
        main.task = asyncio.create_task(stubborn(), name="stubborn")  # type: ignore[attr-defined]
        await asyncio.sleep(1.0)

    named = (
        r"^1 task did not end within 60\.0 s of being cancelled: stubborn at .*stubborn, in sleep$"
    )
    with pytest.raises(LeftoverTasksError, match=named):
        run_virtual(main)
    main.task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_the_first_error_is_the_one_that_is_raised() -> None:
    """If the end goes wrong after the coroutine failed, that is a note on the first error."""

    async def stubborn() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(100.0)

    async def main(_: VirtualTimeLoop) -> None:
        main.task = asyncio.create_task(stubborn())  # type: ignore[attr-defined]
        await asyncio.sleep(1.0)
        raise LookupError("first")

    with pytest.raises(LookupError, match="first") as caught:
        run_virtual(main, drain_s_max=10.0)
    assert "LeftoverTasksError" in caught.value.__notes__[0]
    main.task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_after_a_deadlock_the_waiting_tasks_are_ended() -> None:
    """A deadlock is raised, and no task is destroyed while it waits."""
    log: list[str] = []

    async def main(_: VirtualTimeLoop) -> None:
        try:
            await forever()
        finally:
            log.append("ended")

    with pytest.raises(DeadlockError):
        run_virtual(main)
    assert log == ["ended"]


def test_a_task_that_fails_at_the_end_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    """Its error is logged; the result stands."""

    async def fail() -> None:
        try:
            await forever()
        finally:
            raise LookupError("at the end")

    async def main(_: VirtualTimeLoop) -> str:
        main.task = asyncio.create_task(fail())  # type: ignore[attr-defined]
        await asyncio.sleep(1.0)
        return "result"

    with caplog.at_level(logging.ERROR, "asyncio"):
        assert run_virtual(main) == "result"
    assert "LookupError: at the end" in caplog.text


def test_a_process_that_fails_at_the_end_is_an_error() -> None:
    """A SimPy process that breaks while tasks are ended is not passed over."""

    async def slow_to_end() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(10.0)

    def process(env: simpy.Environment) -> Generator[simpy.Event, Any, None]:
        yield env.timeout(5.0)
        raise LookupError("late")

    async def main(loop: VirtualTimeLoop) -> None:
        main.task = asyncio.create_task(slow_to_end())  # type: ignore[attr-defined]
        loop.env.process(process(loop.env))
        await asyncio.sleep(1.0)

    with pytest.raises(LookupError, match="late"):
        run_virtual(main)
    main.task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_asynchronous_generators_are_closed() -> None:
    """A generator that is left half-way is closed before the loop is."""
    log: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(1.0)
            log.append("closed")

    kept = numbers()

    async def main(_: VirtualTimeLoop) -> int:
        return await anext(kept)

    assert run_virtual(main) == 1
    assert log == ["closed"]


def test_it_runs_inside_of_a_running_loop() -> None:
    """Where a loop runs already, as in Jupyter, it runs in another thread, in the same context."""
    variable = contextvars.ContextVar("variable", default="unset")

    async def main(loop: VirtualTimeLoop) -> tuple[float, str, bool]:
        await asyncio.sleep(3600.0)
        return loop.time(), variable.get(), threading.current_thread() is cell_thread

    async def cell() -> Any:
        variable.set("from the cell")
        result = run_virtual(main)
        assert asyncio.get_running_loop() is not None
        return result

    cell_thread = threading.current_thread()
    assert asyncio.run(cell()) == (3600.0, "from the cell", False)


def test_errors_cross_the_thread() -> None:
    """What is raised in the other thread is raised in the cell, with its traceback."""

    async def main(_: VirtualTimeLoop) -> None:
        raise SystemExit(3)

    async def cell() -> None:
        with pytest.raises(SystemExit) as caught:
            run_virtual(main)
        assert any(entry.name == "main" for entry in caught.traceback)

    asyncio.run(cell())


def test_control_c_ends_the_run_between_two_callbacks() -> None:
    """The callback that runs is not torn; then all tasks are cancelled and may clean up."""
    log: list[str] = []

    async def main(_: VirtualTimeLoop) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
            log.append("not torn")
            await forever()
        finally:
            log.append("cleaned up")

    with pytest.raises(KeyboardInterrupt):
        run_virtual(main)
    assert log == ["not torn", "cleaned up"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_control_c_is_not_lost_in_the_last_callback() -> None:
    """Even if the coroutine is done by then, the caller is interrupted."""

    async def main(_: VirtualTimeLoop) -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run_virtual(main)


def test_a_second_control_c_interrupts_at_once() -> None:
    """Code that never awaits can be interrupted too."""
    log: list[str] = []

    async def main(_: VirtualTimeLoop) -> None:
        signal.raise_signal(signal.SIGINT)
        log.append("first")
        signal.raise_signal(signal.SIGINT)
        log.append("second")

    with pytest.raises(KeyboardInterrupt):
        run_virtual(main)
    assert log == ["first"]


def test_an_interrupted_cell_stops_the_simulation(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the caller's wait is interrupted, the other thread's loop halts, and tasks are ended."""
    log: list[str] = []
    started, interrupt_once = threading.Event(), [KeyboardInterrupt]
    join = threading.Thread.join

    def interrupted_join(thread: threading.Thread, timeout: float | None = None) -> None:
        if interrupt_once:
            started.wait()
            raise interrupt_once.pop()
        join(thread, timeout)

    async def main(_: VirtualTimeLoop) -> None:
        started.set()
        try:
            while True:  # noqa: ASYNC110  an endless simulation
                await asyncio.sleep(1.0)
        finally:
            log.append("ended")

    async def cell() -> None:
        monkeypatch.setattr(threading.Thread, "join", interrupted_join)
        with pytest.raises(KeyboardInterrupt):
            run_virtual(main)
        monkeypatch.undo()

    asyncio.run(cell())
    assert log == ["ended"]
