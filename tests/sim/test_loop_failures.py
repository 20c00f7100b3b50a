from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import re
import signal
import sys
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
import pytest
import simpy

from sim.loop import (
    DeadlockError,
    InputOutputError,
    LoopError,
    NoProgressError,
    VirtualTimeLoop,
)

Process = Generator[simpy.Event, Any, Any]


@pytest.fixture(params=["first come", "drawn"])
def loop(request: pytest.FixtureRequest) -> Iterator[VirtualTimeLoop]:
    """A loop that makes 500 callbacks at one instant at most, once in either order."""
    order = np.random.default_rng(1) if request.param == "drawn" else None
    loop = VirtualTimeLoop(simpy.Environment(), order=order, callbacks_at_one_instant_max=500)
    yield loop
    if not loop.is_closed():
        loop.run_until_complete(end_all())
        loop.close()


async def end_all() -> None:
    """Cancel and await whatever a test left behind."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)  # type: ignore[arg-type]


# Deadlock


def test_a_deadlock_names_the_tasks_and_where_they_wait(loop: VirtualTimeLoop) -> None:
    """When nothing can run any more, the error says who waits, at which line, and in what."""
    lock, queue = asyncio.Lock(), asyncio.Queue[int]()

    async def consumer() -> None:
        await queue.get()

    async def main() -> None:
        await lock.acquire()
        main.consumer = asyncio.create_task(consumer(), name="consumer")  # type: ignore[attr-defined]
        await asyncio.sleep(2.0)
        await lock.acquire()

    with pytest.raises(DeadlockError) as caught:
        loop.run_until_complete(main())
    here = re.escape(__file__)
    assert re.fullmatch(
        r"deadlock: nothing left to run; 2 tasks wait:"
        rf" Task-1 at {here}:\d+ in \S+main, in Lock.acquire;"
        rf" consumer at {here}:\d+ in \S+consumer, in Queue.get",
        str(caught.value),
    )
    assert loop.time() == 2.0


def test_a_deadlock_of_many_names_some_of_them(loop: VirtualTimeLoop) -> None:
    """The error names ten tasks, and counts the rest."""

    async def main() -> None:
        await asyncio.gather(*(asyncio.Event().wait() for _ in range(15)))

    with pytest.raises(DeadlockError, match=r"16 tasks wait: .*; and 6 more$") as caught:
        loop.run_until_complete(main())
    assert str(caught.value).count(";") == 11


def test_waiting_for_a_future_is_a_deadlock_of_no_task(loop: VirtualTimeLoop) -> None:
    """A bare future that nobody will set is a deadlock too."""
    with pytest.raises(DeadlockError, match=r"nothing left to run; 0 tasks wait$"):
        loop.run_until_complete(loop.create_future())


@pytest.mark.parametrize("seconds", [float("inf")])
def test_to_sleep_for_ever_is_a_deadlock(loop: VirtualTimeLoop, seconds: float) -> None:
    """A timer at infinity never fires, and the clock does not go there."""
    with pytest.raises(DeadlockError):
        loop.run_until_complete(asyncio.sleep(seconds))
    assert loop.time() == 0.0


def test_a_simpy_event_at_infinity_never_happens(loop: VirtualTimeLoop) -> None:
    """SimPy's idiom for never does not move the clock to infinity, and stays on the queue."""
    never = loop.env.timeout(float("inf"))
    with pytest.raises(DeadlockError):
        loop.run_until_complete(loop.as_future(never))
    assert loop.time() == 0.0
    assert [entry[3] for entry in loop.env._queue] == [never]


def test_cancelled_timers_do_not_hide_a_deadlock(loop: VirtualTimeLoop) -> None:
    """A queue of nothing but cancelled timers is an empty queue."""
    loop.call_later(5.0, print).cancel()
    with pytest.raises(DeadlockError):
        loop.run_until_complete(loop.create_future())
    assert loop.time() == 0.0


def test_to_run_for_ever_with_nothing_to_run_is_a_deadlock(loop: VirtualTimeLoop) -> None:
    """`run_forever` would hang, because nobody is left to call `stop`."""
    loop.call_later(3.0, int)
    with pytest.raises(DeadlockError):
        loop.run_forever()
    assert loop.time() == 3.0


def test_a_loop_can_run_on_after_a_deadlock(loop: VirtualTimeLoop) -> None:
    """The tasks are still there, and go on when something wakes them."""
    event = asyncio.Event()
    task = loop.create_task(event.wait())
    with pytest.raises(DeadlockError):
        loop.run_until_complete(task)
    loop.call_later(1.0, event.set)
    assert loop.run_until_complete(task) is True


# No progress


def test_a_loop_that_never_sleeps_is_found(loop: VirtualTimeLoop) -> None:
    """A task that only yields never lets time pass; the error names its line."""

    async def spin() -> None:
        await asyncio.sleep(1.0)
        while True:  # noqa: ASYNC110  that is the fault
            await asyncio.sleep(0)

    with pytest.raises(NoProgressError) as caught:
        loop.run_until_complete(spin())
    assert str(caught.value).startswith(
        "no progress: more than 500 callbacks and events ran at 1.0 s"
    )
    assert re.search(
        rf"\d+ times a task at {re.escape(__file__)}:\d+ in \S+spin", str(caught.value)
    )


def test_a_sleep_too_short_for_the_clock_is_no_progress(loop: VirtualTimeLoop) -> None:
    """A pause below the resolution of the clock does not let time pass either."""

    async def spin() -> None:
        await asyncio.sleep(1e6)
        while True:  # noqa: ASYNC110  that is the fault
            await asyncio.sleep(1e-12)

    with pytest.raises(NoProgressError, match=r"ran at 1000000\.0 s .*spin, in sleep"):
        loop.run_until_complete(spin())


def test_callbacks_that_call_each_other_are_found(loop: VirtualTimeLoop) -> None:
    """The busiest callbacks are named with the line of their definition."""

    def ping() -> None:
        loop.call_soon(pong)

    def pong() -> None:
        loop.call_soon(ping)

    loop.call_soon(ping)
    with pytest.raises(NoProgressError, match=r"500 times \S+p[io]ng \(\S+\.py:\d+\); 500 times"):
        loop.run_forever()


def test_a_simpy_process_that_never_waits_is_found(loop: VirtualTimeLoop) -> None:
    """Events are counted like callbacks, and processes are named by their line."""

    def spin() -> Process:
        while True:
            yield loop.env.timeout(0)

    loop.env.process(spin())
    with pytest.raises(
        NoProgressError, match=r"1000 times a SimPy process at \S+\.py:\d+ in \S+spin"
    ):
        loop.run_until_complete(asyncio.sleep(1.0))


def test_a_burst_at_one_instant_is_not_taken_for_a_standstill(loop: VirtualTimeLoop) -> None:
    """As many callbacks as are allowed may run at one instant, and again at the next one."""

    async def main() -> None:
        for _ in range(5):
            await asyncio.gather(*(asyncio.sleep(0) for _ in range(150)))
            await asyncio.sleep(1.0)

    loop.run_until_complete(main())
    assert loop.time() == 5.0


def test_a_burst_that_ends_is_no_standstill(loop: VirtualTimeLoop) -> None:
    """Time that passes while it is noted who is busy saves the run."""

    async def main() -> None:
        for _ in range(5):
            for _ in range(900):
                await asyncio.sleep(0)
            await asyncio.sleep(1.0)

    loop.run_until_complete(main())
    assert loop.time() == 5.0


def test_the_bound_is_at_least_one() -> None:
    """A bound of zero, with which nothing could run, is refused."""
    with pytest.raises(ValueError, match="callbacks_at_one_instant_max"):
        VirtualTimeLoop(simpy.Environment(), callbacks_at_one_instant_max=0)


# Errors of the program


def test_a_failed_simpy_process_ends_the_run_with_its_exception(loop: VirtualTimeLoop) -> None:
    """What nobody defused is raised: the exception itself, not a copy of it."""
    error = LookupError("broken")

    def process() -> Process:
        yield loop.env.timeout(1.0)
        raise error

    loop.env.process(process())
    with pytest.raises(LookupError) as caught:
        loop.run_until_complete(asyncio.sleep(5.0))
    assert caught.value is error
    assert loop.time() == 1.0


def test_a_failed_callback_is_reported_and_the_loop_goes_on(loop: VirtualTimeLoop) -> None:
    """Exceptions of callbacks and timers go to the exception handler, with their handle."""
    reports: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, report: reports.append(report))

    def fail(what: str) -> None:
        raise LookupError(what)

    handles = [loop.call_soon(fail, "soon"), loop.call_later(1.0, fail, "later")]
    loop.run_until_complete(asyncio.sleep(2.0))
    assert [repr(report["exception"]) for report in reports] == [
        "LookupError('soon')",
        "LookupError('later')",
    ]
    assert [report["handle"] for report in reports] == handles
    assert "fail" in reports[0]["message"]


def test_a_task_that_fails_unheard_is_reported(
    loop: VirtualTimeLoop, caplog: pytest.LogCaptureFixture
) -> None:
    """By default reports are logged to the logger of asyncio, with the traceback."""

    async def fail() -> None:
        raise LookupError("unheard")

    async def main() -> None:
        asyncio.create_task(fail())  # noqa: RUF006  it is to be lost
        await asyncio.sleep(1.0)

    with caplog.at_level(logging.ERROR, "asyncio"):
        loop.run_until_complete(main())
    assert "never retrieved" in caplog.text
    assert "LookupError: unheard" in caplog.text


def test_an_exception_handler_that_fails_is_reported_too(
    loop: VirtualTimeLoop, caplog: pytest.LogCaptureFixture
) -> None:
    """A broken handler does not break the loop."""

    def broken(_loop: object, _report: object) -> None:
        raise ValueError("broken handler")

    loop.set_exception_handler(broken)
    assert loop.get_exception_handler() is broken
    loop.call_exception_handler({"message": "original"})
    assert "original" in caplog.text
    assert "broken handler" in caplog.text
    with pytest.raises(TypeError, match="callable"):
        loop.set_exception_handler(5)  # type: ignore[arg-type]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="handles tell their context since 3.12")
def test_an_exception_handler_runs_in_the_context_of_what_failed(loop: VirtualTimeLoop) -> None:
    """The handler sees the context variables of the callback or the task that it is told of."""
    variable = contextvars.ContextVar("variable", default="unset")
    context = contextvars.copy_context()
    context.run(variable.set, "of the callback")
    seen: list[str] = []
    loop.set_exception_handler(lambda *_: seen.append(variable.get()))
    loop.call_soon(next, iter(()), context=context)
    loop.run_until_complete(asyncio.sleep(1.0))
    assert seen == ["of the callback"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_passes_through(
    loop: VirtualTimeLoop, caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    """KeyboardInterrupt and SystemExit leave the loop from a callback, a task and a process."""

    def interrupt(*_: object) -> None:
        raise error

    async def task() -> None:
        await asyncio.sleep(1.0)
        raise error

    def process() -> Process:
        yield loop.env.timeout(1.0)
        raise error

    loop.call_soon(interrupt)
    with pytest.raises(error):
        loop.run_until_complete(asyncio.sleep(0))
    with pytest.raises(error):
        loop.run_until_complete(task())
    waiting = loop.as_future(loop.env.process(process()))
    with pytest.raises(error):
        loop.run_until_complete(waiting)
    assert not waiting.done()
    loop.run_until_complete(asyncio.sleep(1.0))
    assert not loop.is_running()
    gc.collect()
    assert "never retrieved" not in caplog.text


def test_a_stop_that_an_interrupt_overtakes_is_forgotten(loop: VirtualTimeLoop) -> None:
    """The next run does not end early for it."""

    def stop_and_interrupt() -> None:
        loop.stop()
        raise KeyboardInterrupt

    loop.call_soon(stop_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    loop.run_until_complete(asyncio.sleep(1.0))
    assert loop.time() == 1.0


def test_control_c_ends_a_runner_as_usual() -> None:
    """SIGINT cancels the main task, which may clean up, and becomes KeyboardInterrupt."""
    log: list[str] = []

    async def main() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(10.0)
        finally:
            log.append("cleaned up")

    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with (
            pytest.raises(KeyboardInterrupt),
            asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(simpy.Environment())) as runner,
        ):
            runner.run(main())
    finally:
        signal.signal(signal.SIGINT, handler)
    assert log == ["cleaned up"]


# Input and output


@pytest.mark.parametrize(
    "name",
    sorted(
        name
        for name in vars(asyncio.AbstractEventLoop)
        if re.match(
            r"sock_|(add|remove)_|create_(conn|serv|unix|data)|connect_|subprocess|get\w+info|send",
            name,
        )
    ),
)
def test_input_and_output_are_refused(loop: VirtualTimeLoop, name: str) -> None:
    """Sockets, pipes, processes and signals raise one error, which names the method."""
    with pytest.raises(
        InputOutputError, match=rf"^no real input or output in virtual time: {name}\("
    ):
        getattr(loop, name)(1, 2, key=3)


def test_streams_and_processes_are_refused(loop: VirtualTimeLoop) -> None:
    """The functions of asyncio for them end in the same error, a LoopError."""

    async def main() -> None:
        with pytest.raises(InputOutputError):
            await asyncio.open_connection("localhost", 1)
        with pytest.raises(InputOutputError):
            await asyncio.create_subprocess_shell("true")
        with pytest.raises(LoopError):
            loop.add_signal_handler(signal.SIGINT, print)

    loop.run_until_complete(main())
