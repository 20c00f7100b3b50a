from __future__ import annotations

import asyncio
import contextvars
import selectors
import sys
from collections.abc import Callable, Coroutine, Generator, Iterator
from typing import Any

import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.loop import VirtualTimeLoop

Program = Callable[[list[Any]], Coroutine[Any, Any, None]]


@pytest.fixture
def loop() -> Iterator[VirtualTimeLoop]:
    """A loop in an environment of its own."""
    loop = VirtualTimeLoop(simpy.Environment())
    yield loop
    loop.close()


class JumpingSelector(selectors.SelectSelector):
    """Does not wait: the time that it was to wait for has passed at once."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        self.now_s += timeout or 0.0
        return super().select(0)


class JumpingLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop and scheduling, with a clock that jumps."""

    def __init__(self) -> None:
        self.selector = JumpingSelector()
        super().__init__(self.selector)

    def time(self) -> float:
        return self.selector.now_s


def log_of(program: Program, loop: asyncio.AbstractEventLoop) -> list[Any]:
    """What a program logs on a loop."""
    log: list[Any] = []
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(program(log))
    return log


# Time


def test_an_hour_passes_at_once(loop: VirtualTimeLoop) -> None:
    """Sleeping moves the clock of the loop and of SimPy by just that."""

    async def main() -> float:
        await asyncio.sleep(3600.0)
        return loop.time()

    assert loop.run_until_complete(main()) == 3600.0
    assert loop.env.now == 3600.0


def test_time_begins_where_the_environment_is() -> None:
    """The clock is the environment's, also if that does not begin at zero; it is a float."""
    loop = VirtualTimeLoop(simpy.Environment(initial_time=100))
    assert isinstance(loop.time(), float)
    loop.run_until_complete(asyncio.sleep(1.5))
    assert loop.time() == 101.5
    loop.close()


def test_timers_and_simpy_events_share_one_order(loop: VirtualTimeLoop) -> None:
    """Timers and events fire by time, and at the same instant by when they were made."""
    log: list[Any] = []

    def process(env: simpy.Environment) -> Generator[simpy.Event, Any, None]:
        for _ in range(3):
            yield env.timeout(2.0)
            log.append(("process", env.now))

    async def main() -> None:
        for _ in range(3):
            await asyncio.sleep(1.5)
            log.append(("task", loop.time()))
        await asyncio.sleep(2.0)

    loop.env.process(process(loop.env))
    loop.run_until_complete(main())
    assert log == [
        ("task", 1.5),
        ("process", 2.0),
        ("task", 3.0),
        ("process", 4.0),
        ("task", 4.5),
        ("process", 6.0),
    ]


def test_what_is_due_at_one_instant_fires_in_the_order_it_was_made(loop: VirtualTimeLoop) -> None:
    """At one instant, timers and events fire first come, first served."""
    log: list[str] = []
    loop.call_later(1.0, log.append, "timer 1")
    loop.env.timeout(1.0).callbacks.append(lambda _: log.append("event"))  # type: ignore[union-attr]
    loop.call_at(1.0, log.append, "timer 2")
    loop.run_until_complete(asyncio.sleep(1.0))
    assert log == ["timer 1", "event", "timer 2"]


def test_what_is_ready_runs_before_the_next_timer_of_the_same_instant(
    loop: VirtualTimeLoop,
) -> None:
    """All consequences of one timer come before the next one, even at the same instant."""
    log: list[str] = []

    def first() -> None:
        log.append("timer 1")
        loop.call_soon(log.append, "consequence")
        loop.call_later(0.0, log.append, "later, at this instant")

    loop.call_at(1.0, first)
    loop.call_at(1.0, log.append, "timer 2")
    loop.run_until_complete(asyncio.sleep(2.0))
    assert log == ["timer 1", "consequence", "timer 2", "later, at this instant"]


def test_ready_callbacks_run_first_come_first_served(loop: VirtualTimeLoop) -> None:
    """`call_soon` keeps the order of the calls, from inside and outside of the loop."""
    log: list[int] = []

    async def main() -> None:
        for i in range(3, 6):
            loop.call_soon(log.append, i)
        await asyncio.sleep(0)

    for i in range(3):
        loop.call_soon_threadsafe(log.append, i)
    loop.run_until_complete(main())
    assert log == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("late", [-5.0, 0.0, 3.0, float("-inf")])
def test_a_timer_in_the_past_fires_now(loop: VirtualTimeLoop, late: float) -> None:
    """A timer that is due already fires at this instant: time never goes backwards."""

    async def main() -> float:
        await asyncio.sleep(4.0)
        fired = loop.create_future()
        loop.call_at(late, fired.set_result, None)
        await fired
        return loop.time()

    assert loop.run_until_complete(main()) == 4.0


def test_a_timer_needs_a_number(loop: VirtualTimeLoop) -> None:
    """NaN is refused, before it can spoil the order of the queue."""
    with pytest.raises(ValueError, match="NaN"):
        loop.call_later(float("nan"), print)
    assert loop.env.peek() == float("inf")


# Cancelled timers


def test_a_cancelled_timer_does_not_move_the_clock(loop: VirtualTimeLoop) -> None:
    """Time stops for what happens, not for what was called off."""

    async def main() -> None:
        async with asyncio.timeout(30.0):
            await asyncio.sleep(1.0)

    timer = loop.call_later(20.0, print)
    timer.cancel()
    assert timer.cancelled()
    loop.run_until_complete(main())
    assert loop.time() == 1.0
    loop.env.run()
    assert loop.env.now == 1.0


def test_a_timer_that_has_fired_can_be_cancelled(loop: VirtualTimeLoop) -> None:
    """Cancelling late does nothing, and is not counted as a timer on the queue."""
    timers = [loop.call_later(0.0, int) for _ in range(200)]
    loop.run_until_complete(asyncio.sleep(1.0))
    assert not timers[0].cancelled()
    for timer in timers:
        timer.cancel()
    assert loop._cancelled_timers == 0


def test_timeouts_that_never_expire_take_no_memory(loop: VirtualTimeLoop) -> None:
    """With a thousand 30 s time-outs each second, cancelled, the queue stays short."""
    longest = 0

    async def main() -> None:
        nonlocal longest
        for _ in range(20_000):
            async with asyncio.timeout(30.0):
                await asyncio.sleep(0.001)
            longest = max(longest, len(loop.env._queue))

    loop.run_until_complete(main())
    assert 100 <= longest < 110


def test_a_sleep_may_be_cancelled_by_its_future(loop: VirtualTimeLoop) -> None:
    """A sleep whose future was cancelled, but not yet its timer, ends in silence."""
    reports: list[Any] = []
    loop.set_exception_handler(lambda _, report: reports.append(report))

    async def main() -> None:
        sleep = asyncio.sleep(1.0)
        sleep.send(None).cancel()
        await asyncio.sleep(2.0)
        sleep.close()

    loop.run_until_complete(main())
    assert reports == []


def test_sweeping_keeps_what_is_due_in_order(loop: VirtualTimeLoop) -> None:
    """When cancelled timers are swept from the queue, live timers and events still fire in turn."""
    log: list[float] = []
    timers = [loop.call_at(float(i), log.append, float(i)) for i in range(1_000)]
    for i in range(0, 1_000, 10):
        loop.env.timeout(i + 0.5).callbacks.append(lambda _: log.append(loop.time()))  # type: ignore[union-attr]
    for i, timer in enumerate(timers):
        if i % 4:
            timer.cancel()
    assert len(loop.env._queue) < 700
    loop.run_until_complete(asyncio.sleep(1_000.0))
    assert log == sorted(
        [float(i) for i in range(0, 1_000, 4)] + [i + 0.5 for i in range(0, 1_000, 10)]
    )


# The same as asyncio's own loop


def test_the_event_log_is_that_of_the_real_loop() -> None:
    """A program with locks, queues, time-outs and cancellations logs what it logs on asyncio."""

    async def program(log: list[Any]) -> None:
        loop = asyncio.get_running_loop()
        lock, queue = asyncio.Lock(), asyncio.Queue[int](maxsize=2)

        def note(*what: object) -> None:
            log.append((round(loop.time(), 6), *what))

        async def producer() -> None:
            for i in range(5):
                await queue.put(i)
                note("put", i)
                await asyncio.sleep(0.3)

        async def consumer(name: str, pause_s: float) -> None:
            while True:
                item = await queue.get()
                async with lock:
                    note(name, item)
                    await asyncio.sleep(pause_s)
                queue.task_done()

        async def slow() -> None:
            try:
                async with asyncio.timeout(0.77):
                    await asyncio.sleep(50.0)
            except TimeoutError:
                note("timed out")

        consumers = [asyncio.create_task(consumer(n, p)) for n, p in (("a", 0.41), ("b", 0.53))]
        async with asyncio.TaskGroup() as group:
            group.create_task(producer())
            group.create_task(slow())
        await queue.join()
        for task in consumers:
            task.cancel()
        note(await asyncio.gather(*consumers, return_exceptions=True))

    ours, theirs = VirtualTimeLoop(simpy.Environment()), JumpingLoop()
    assert repr(log_of(program, ours)) == repr(log_of(program, theirs))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from(["sleep", "yield", "lock", "notify", "cancel"]), max_size=6),
        min_size=1,
        max_size=5,
    ),
    st.randoms(use_true_random=False),
)
def test_any_program_with_distinct_instants_runs_as_on_the_real_loop(
    tasks: list[list[str]], random: Any
) -> None:
    """Whatever tasks do, the log is asyncio's, as long as no two timers are due at one instant."""
    pauses_s = [random.sample(range(1, 1 << 20), 6) for _ in tasks]

    async def program(log: list[Any]) -> None:
        loop = asyncio.get_running_loop()
        lock, condition = asyncio.Lock(), asyncio.Condition()
        running: list[asyncio.Task[None]] = []

        async def task(number: int) -> None:
            for step, what in enumerate(tasks[number]):
                log.append((number, what, round(loop.time(), 3)))
                if what == "sleep":
                    await asyncio.sleep(pauses_s[number][step] + number / 8)
                elif what == "yield":
                    await asyncio.sleep(0)
                elif what == "lock":
                    async with lock:
                        await asyncio.sleep(pauses_s[number][step] + number / 8)
                elif what == "notify":
                    async with condition:
                        condition.notify_all()
                else:
                    running[(number + 1) % len(running)].cancel()
            log.append((number, "done", round(loop.time(), 3)))

        running.extend(asyncio.create_task(task(i)) for i in range(len(tasks)))
        log.append([repr(r) for r in await asyncio.gather(*running, return_exceptions=True)])

    assert log_of(program, VirtualTimeLoop(simpy.Environment())) == log_of(program, JumpingLoop())


# The interface of a loop


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
