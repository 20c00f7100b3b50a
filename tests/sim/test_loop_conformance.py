from __future__ import annotations

import asyncio
import importlib
import io
import selectors
import unittest
import warnings
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.loop import VirtualTimeLoop

Program = Callable[[list[Any]], Coroutine[Any, Any, None]]

DIFFERENT = {
    # Two time-outs for the very same instant: asyncio fires all timers of an instant before their
    # consequences, so both expire. Here the outer one does, and what it cancels ends first.
    "test_nested_timeouts",
}


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


@pytest.mark.parametrize("module", ["locks", "queues", "taskgroups", "timeouts", "waitfor"])
def test_pythons_own_tests_of_asyncio_pass(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Python promises of its primitives, it tests; on this loop those tests pass too."""
    made: list[VirtualTimeLoop] = []

    def new_event_loop() -> VirtualTimeLoop:
        made.append(VirtualTimeLoop(simpy.Environment()))
        return made[-1]

    monkeypatch.setattr(asyncio.events, "new_event_loop", new_event_loop)
    output = io.StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tests = importlib.import_module(f"test.test_asyncio.test_{module}")
        except ImportError:
            pytest.skip("this Python comes without its tests")
        suite = unittest.defaultTestLoader.loadTestsFromModule(tests)
        result = unittest.TextTestRunner(output, verbosity=0).run(suite)
    failed = {test.id().rpartition(".")[2] for test, _ in result.failures + result.errors}
    assert failed <= DIFFERENT, output.getvalue()
    assert len(made) >= 10
