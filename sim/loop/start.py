"""Runs one coroutine function in virtual time, from nothing to nothing."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeVar

import simpy

from sim.loop.errors import LeftoverTasksError
from sim.loop.handles import tasks_in_order
from sim.loop.virtual_time import VirtualTimeLoop

if TYPE_CHECKING:
    from types import FrameType

    import numpy as np

T = TypeVar("T")
_Main = Callable[[VirtualTimeLoop], Coroutine[Any, Any, T]]


def run_virtual(
    main: Callable[[VirtualTimeLoop], Coroutine[Any, Any, T]],
    *,
    order: np.random.Generator | None = None,
    forbid_wall_clock: bool = False,
    drain_s_max: float = 60.0,
) -> T:
    """Run a coroutine function in virtual time, in an environment of its own, and end cleanly.

    When the coroutine is done, however it ends, all other tasks are cancelled, oldest first, and
    get some virtual time to end; then asynchronous generators are closed, and the loop.

    If an event loop runs in this thread already, as in a notebook, all this happens in a new
    thread, in a copy of the caller's context, while the caller waits.

    Args:
        main: is called with the loop; `loop.env` is the SimPy environment, at time 0.
        order: what picks among callbacks that could all run next; `None` is first come, first
            served. See `VirtualTimeLoop`.
        forbid_wall_clock: raise `WallClockError` if a real clock is read. Slow: see
            `sim.loop.forbid_wall_clock`.
        drain_s_max: how much virtual time the cancelled tasks have, in seconds.

    Returns:
        What the coroutine returns.

    Raises:
        LoopError: what `VirtualTimeLoop.run_until_complete` raises.
        LeftoverTasksError: a task did not end after it was cancelled. This and any other error of
            the end are only a note on the first one if the coroutine itself failed.
    """
    env = simpy.Environment()
    loop = VirtualTimeLoop(env, order=order, forbid_wall_clock=forbid_wall_clock)
    if asyncio._get_running_loop() is None:  # noqa: SLF001  made for event loops
        return _run_and_close(loop, main, drain_s_max)
    outcome: Future[T] = Future()

    def work() -> None:
        try:
            outcome.set_result(_run_and_close(loop, main, drain_s_max))
        except BaseException as error:
            outcome.set_exception(error)

    # Not an executor: Python waits for its threads at exit, even if the user has given up.
    worker = threading.Thread(target=copy_context().run, args=(work,), daemon=True)
    worker.start()
    try:
        worker.join()
    except BaseException:
        loop.halt()
        worker.join()
        raise
    return outcome.result()


def _run_and_close(loop: VirtualTimeLoop, main: _Main[T], drain_s_max: float) -> T:
    try:
        try:
            with _interrupts_halt(loop):
                result = loop.run_until_complete(main(loop))
        except BaseException as error:
            try:
                loop.run_until_complete(_drain(loop, drain_s_max))
            except Exception as second:
                error.add_note(f"then, while the other tasks were ended: {second!r}")
            raise
        loop.run_until_complete(_drain(loop, drain_s_max))
        return result
    finally:
        loop.close()


@contextmanager
def _interrupts_halt(loop: VirtualTimeLoop) -> Iterator[None]:
    """Make Ctrl-C end the run between two callbacks, and a second one wherever it is.

    In the midst of the loop `KeyboardInterrupt` could lose the callback that is about to run, and
    with it the task that waits for it. `asyncio.Runner` does likewise.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    interrupted = False

    def halt(_signal: int, _frame: FrameType | None) -> None:
        nonlocal interrupted
        if interrupted:
            raise KeyboardInterrupt
        interrupted = True
        loop.halt()

    signal.signal(signal.SIGINT, halt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if interrupted:
            raise KeyboardInterrupt from None


async def _drain(loop: VirtualTimeLoop, limit_s: float) -> None:
    """Cancel and await all other tasks, and whatever they start, until there are none."""
    deadline_s = loop.time() + limit_s
    drain = asyncio.current_task()
    while tasks := [task for task in tasks_in_order(loop) if task is not drain]:
        if loop.time() >= deadline_s:
            raise LeftoverTasksError.of(tasks, limit_s)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=deadline_s - loop.time())
        for task in tasks:
            if task.done() and not task.cancelled() and task.exception() is not None:
                message = "a task failed when it was cancelled at the end of the run"
                report = {"message": message, "exception": task.exception(), "task": task}
                loop.call_exception_handler(report)
    await asyncio.wait_for(loop.shutdown_asyncgens(), limit_s)
