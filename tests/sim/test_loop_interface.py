from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Generator, Iterator
from typing import Any

import pytest
import simpy

from sim.loop import VirtualTimeLoop


@pytest.fixture
def loop() -> Iterator[VirtualTimeLoop]:
    """A loop in an environment of its own."""
    loop = VirtualTimeLoop(simpy.Environment())
    yield loop
    loop.close()


def test_every_public_method_of_a_loop_is_there() -> None:
    """Nothing of asyncio's interface is left to raise a bare NotImplementedError."""
    public = {name for name in dir(asyncio.AbstractEventLoop) if not name.startswith("_")}
    missing = {
        name
        for name in public
        if getattr(VirtualTimeLoop, name) is getattr(asyncio.AbstractEventLoop, name)
    }
    assert missing == set()


def test_a_runner_can_be_given_the_loop() -> None:
    """`asyncio.Runner` runs, cancels what is left, and closes."""
    log: list[str] = []

    async def background() -> None:
        try:
            await asyncio.sleep(1e9)
        finally:
            log.append("ended")

    async def main() -> int:
        main.background = asyncio.create_task(background())  # type: ignore[attr-defined]
        await asyncio.sleep(1.0)
        return 5

    env = simpy.Environment()
    with asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(env)) as runner:
        assert runner.run(main()) == 5
        loop = runner.get_loop()
    assert log == ["ended"]
    assert env.now == 1.0
    assert loop.is_closed()


def test_the_running_loop_is_known_only_while_it_runs(loop: VirtualTimeLoop) -> None:
    """`get_running_loop` finds the loop from tasks, callbacks and SimPy processes alike."""
    found: list[bool] = []

    def process(env: simpy.Environment) -> Generator[simpy.Event, Any, None]:
        found.append(asyncio.get_running_loop() is loop)
        yield env.timeout(0.5)

    async def main() -> None:
        found.append(asyncio.get_running_loop() is loop)
        found.append(loop.is_running())
        await asyncio.sleep(1.0)

    loop.env.process(process(loop.env))
    loop.run_until_complete(main())
    assert found == [True, True, True]
    assert not loop.is_running()
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()


def test_stop_lets_what_is_ready_run_and_the_rest_wait(loop: VirtualTimeLoop) -> None:
    """`stop` ends `run_forever` after what is ready by then; what comes later runs next time."""
    log: list[str] = []

    def first() -> None:
        log.append("first")
        loop.stop()
        loop.call_soon(log.append, "next time")

    loop.call_soon(first)
    loop.call_soon(log.append, "second")
    loop.run_forever()
    assert log == ["first", "second"]
    loop.stop()
    loop.run_forever()
    assert log == ["first", "second", "next time"]


def test_halt_lets_nothing_more_run(loop: VirtualTimeLoop) -> None:
    """`halt` ends the run at once; what is ready runs next time."""
    log: list[str] = []
    loop.call_soon(loop.halt)
    loop.call_soon(log.append, "next time")
    loop.run_forever()
    assert log == []
    loop.run_until_complete(asyncio.sleep(0.0))
    assert log == ["next time"]


def test_a_stopped_loop_says_that_its_future_is_not_done(loop: VirtualTimeLoop) -> None:
    """`run_until_complete` does not invent a result."""
    loop.call_soon(loop.stop)
    with pytest.raises(RuntimeError, match="stopped before Future completed"):
        loop.run_until_complete(loop.create_future())


def test_a_loop_cannot_run_inside_of_a_loop(loop: VirtualTimeLoop) -> None:
    """Running twice, or while another loop runs in this thread, is refused."""

    async def nested(other: VirtualTimeLoop) -> None:
        other.run_forever()

    with pytest.raises(RuntimeError, match="already running"):
        loop.run_until_complete(nested(loop))
    second = VirtualTimeLoop(simpy.Environment())
    with pytest.raises(RuntimeError, match="another loop is running"):
        loop.run_until_complete(nested(second))
    second.close()


def test_a_closed_loop_takes_no_orders(loop: VirtualTimeLoop) -> None:
    """After `close`, which may be repeated, every way to run something is refused."""
    loop.call_later(5.0, print)
    loop.close()
    loop.close()
    assert loop.is_closed()
    assert loop.env._queue == []
    waiting = asyncio.sleep(1.0)
    for order in (
        lambda: loop.call_soon(print),
        lambda: loop.call_later(1.0, print),
        lambda: loop.call_at(1.0, print),
        lambda: loop.create_task(waiting),
        lambda: loop.run_in_executor(None, print),
        lambda: loop.run_until_complete(waiting),
        loop.run_forever,
    ):
        with pytest.raises(RuntimeError, match="closed"):
            order()
    waiting.close()


def test_a_running_loop_cannot_be_closed(loop: VirtualTimeLoop) -> None:
    """`close` inside of the loop is refused."""

    async def main() -> None:
        loop.close()

    with pytest.raises(RuntimeError, match="running"):
        loop.run_until_complete(main())


def test_closing_leaves_simpys_events(loop: VirtualTimeLoop) -> None:
    """Only the loop's own timers leave the queue when it is closed."""
    event = loop.env.timeout(3.0)
    loop.call_later(1.0, print)
    loop.close()
    assert [entry[3] for entry in loop.env._queue] == [event]


def test_handles_are_asyncios(loop: VirtualTimeLoop) -> None:
    """Handles have the class, the methods and the manners of asyncio's."""
    ran: list[str] = []
    soon, later = loop.call_soon(ran.append, "soon"), loop.call_later(2.5, ran.append, "later")
    assert isinstance(soon, asyncio.Handle)
    assert isinstance(later, asyncio.TimerHandle)
    assert later.when() == 2.5
    assert "append" in repr(soon)
    assert "due at 2.5 s" in repr(later)
    assert len({soon, later, loop.call_later(2.5, ran.append, "later")}) == 3
    for handle in (soon, later):
        assert not handle.cancelled()
        handle.cancel()
        handle.cancel()
        assert handle.cancelled()
        assert "cancelled" in repr(handle)
    loop.run_until_complete(asyncio.sleep(5.0))
    assert ran == ["later"]


def test_callbacks_run_in_their_context(loop: VirtualTimeLoop) -> None:
    """A callback sees the context variables of its making, or of the context it is given."""
    variable = contextvars.ContextVar("variable", default="unset")
    other = contextvars.copy_context()
    other.run(variable.set, "given")
    seen: list[str] = []

    def see() -> None:
        seen.append(variable.get())
        variable.set("a callback's own")

    token = variable.set("at the call")
    loop.call_soon(see)
    loop.call_later(1.0, see)
    loop.call_soon(see, context=other)
    loop.call_at(2.0, see, context=contextvars.Context())
    variable.reset(token)
    loop.run_until_complete(asyncio.sleep(3.0))
    assert seen == ["at the call", "given", "at the call", "unset"]


def test_tasks_have_names_and_contexts(loop: VirtualTimeLoop) -> None:
    """Names are numbered in each loop, or given; a context can be given too."""
    variable = contextvars.ContextVar[int]("variable")
    context = contextvars.copy_context()

    async def work() -> None:
        variable.set(3)

    async def main() -> list[str]:
        tasks = [
            loop.create_task(work(), context=context),
            asyncio.create_task(work(), name="mine"),
            asyncio.create_task(work()),
        ]
        await asyncio.gather(*tasks)
        return [task.get_name() for task in tasks]

    assert loop.run_until_complete(main()) == ["Task-2", "mine", "Task-4"]
    assert context[variable] == 3
    with pytest.raises(TypeError, match="coroutine"):
        loop.create_task(5)  # type: ignore[arg-type]


def test_a_task_factory_makes_the_tasks(loop: VirtualTimeLoop) -> None:
    """A factory gets the coroutine and the context; the name is set for it."""
    made: list[asyncio.Task[Any]] = []

    def factory(loop: Any, coro: Any, **options: Any) -> asyncio.Task[Any]:
        made.append(asyncio.Task(coro, loop=loop, **options))
        return made[-1]

    loop.set_task_factory(factory)
    assert loop.get_task_factory() is factory
    context = contextvars.copy_context()
    task = loop.create_task(asyncio.sleep(1.0), name="made", context=context)
    loop.run_until_complete(task)
    assert made == [task]
    assert task.get_name() == "made"
    loop.set_task_factory(None)
    with pytest.raises(TypeError, match="callable"):
        loop.set_task_factory(5)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_tasks_can_start_eagerly(loop: VirtualTimeLoop) -> None:
    """An eager task runs its first step at once, by option or by factory."""
    log: list[str] = []

    async def work() -> None:
        log.append("started")
        await asyncio.sleep(1.0)

    async def main() -> None:
        tasks = [loop.create_task(work(), eager_start=True)]
        log.append("made")
        loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined, unused-ignore]
        tasks.append(asyncio.create_task(work()))
        log.append("made")
        await asyncio.gather(*tasks)

    loop.run_until_complete(main())
    assert log == ["started", "made", "started", "made"]


def test_executor_functions_run_at_this_instant(loop: VirtualTimeLoop) -> None:
    """`run_in_executor` and `to_thread` take no virtual time, and let others run meanwhile."""
    log: list[str] = []

    async def main() -> None:
        other = asyncio.create_task(asyncio.sleep(0, log.append("other")))
        log.append(await asyncio.to_thread(lambda: "function"))
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(None, lambda: 1 / 0)
        with pytest.raises(RuntimeError, match="StopIteration"):
            await loop.run_in_executor(None, next, iter(()))
        loop.run_in_executor(None, log.append, "never").cancel()
        await other
        await loop.shutdown_default_executor()

    loop.run_until_complete(main())
    assert log == ["other", "function"]
    assert loop.time() == 0.0


def test_debug_mode_remembers_where_things_were_made(loop: VirtualTimeLoop) -> None:
    """In debug mode a future knows the line that made it."""
    assert not loop.get_debug()
    loop.set_debug(True)
    assert loop.get_debug()
    assert loop.create_future()._source_traceback  # type: ignore[attr-defined]
