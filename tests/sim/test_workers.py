"""The queue of a server with a bounded number of workers."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import numpy as np
import pytest
import simpy
from hypothesis import given
from hypothesis import strategies as st

from ftrepo.errors import KeyNotFoundError
from sim.study.theory import mmc_mean_wait_s
from sim.world.durations import Deterministic
from sim.world.errors import InputError
from sim.world.faults import CallDraw, Faults
from sim.world.outages import Outage, OutageMode
from sim.world.primary_settings import PrimarySettings
from sim.world.streams import Streams
from sim.world.workers import Workers
from tests.laboratory import Laboratory, run_laboratory


def faults(*outages: Outage, timeout_s: float | None = None) -> Faults:
    """A schedule of outages."""
    return Faults(outages, slow_factor=10.0, lost_reply_share=0.5, timeout_s=timeout_s)


def draw(work_s: float, *, commit_share: float = 0.5) -> CallDraw:
    """The luck of a call that does not fail."""
    return CallDraw(work_s, 0.5, commit_share, 0.5)


def reference(calls: list[tuple[float, float]], workers: int) -> list[float]:
    """When each call is answered, by SimPy's own resource."""
    env = simpy.Environment()
    server = simpy.Resource(env, capacity=workers)
    answered = [0.0] * len(calls)

    def call(number: int, at_s: float, work_s: float):  # type: ignore[no-untyped-def]
        yield env.timeout(at_s)
        with server.request() as place:
            yield place
            yield env.timeout(work_s)
        answered[number] = env.now

    for number, (at_s, work_s) in enumerate(calls):
        env.process(call(number, at_s, work_s))
    env.run()
    return answered


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 30)), min_size=1, max_size=40),
    st.integers(1, 4),
)
def test_calls_are_answered_as_by_a_first_come_first_served_server(
    gaps: list[tuple[int, int]], workers: int
) -> None:
    """The moments are those of SimPy's resource, whatever comes when and however long it takes."""
    at_s = np.cumsum([gap for gap, _ in gaps]).astype(float).tolist()
    works = [float(work) for _, work in gaps]
    free, healthy = Workers(workers), faults()
    answered = [
        healthy.fate_in_queue(now, free, draw(work)).answered_s
        for now, work in zip(at_s, works, strict=True)
    ]
    expected = reference(list(zip(at_s, works, strict=True)), workers)
    assert answered == pytest.approx(expected)


def test_the_mean_wait_is_that_of_queueing_theory() -> None:
    """At 80% load two workers let calls wait as an M/M/2 system does (Erlang)."""
    rng = Streams(1).generator("queue")
    size = 200_000
    at_s = np.cumsum(rng.standard_exponential(size) / 40.0)
    works_s = rng.standard_exponential(size) * 0.04
    free, healthy = Workers(2), faults()
    waits = [
        healthy.fate_in_queue(now, free, draw(work)).answered_s - work - now
        for now, work in zip(at_s.tolist(), works_s.tolist(), strict=True)
    ]
    assert np.mean(waits) == pytest.approx(mmc_mean_wait_s(2, 40.0, 0.04), rel=0.1)


def test_a_hang_holds_up_everybody_who_waits() -> None:
    """What was begun goes on as it ends, and what came meanwhile is done after that, in order."""
    free, hanging = Workers(1), faults(Outage(10, 20, OutageMode.HANG))
    ends = [hanging.fate_in_queue(at_s, free, draw(1.0)).answered_s for at_s in (9.5, 12.0, 13.0)]
    assert ends == [20.5, 21.5, 22.5]


def test_a_crash_empties_the_queue() -> None:
    """Who waits is cut off then, and whoever comes after it finds the workers free."""
    free, crashing = Workers(1), faults(Outage(10, 20, OutageMode.REFUSE))
    begun, waiting = (crashing.fate_in_queue(at_s, free, draw(5.0)) for at_s in (6.0, 7.0))
    assert begun.error == waiting.error == "the connection was reset by the server"
    assert (begun.answered_s, waiting.answered_s) == (10.0, 10.0)
    assert waiting.committed_s is None
    assert crashing.fate_in_queue(20.0, free, draw(1.0)).answered_s == 21.0


def test_a_server_with_a_time_out_drops_what_waited_too_long() -> None:
    """It is told so at nine tenths of the driver's time-out, and takes no worker's time."""
    free, limited = Workers(1), faults(timeout_s=1.0)
    first, late, after = (
        limited.fate_in_queue(at_s, free, draw(work_s))
        for at_s, work_s in ((0.0, 0.85), (0.1, 0.85), (0.82, 0.1))
    )
    assert (first.answered_s, first.error) == (0.85, None)
    # Begun at 0.85 and given up at 1.0, half-way: it had not come to its commit.
    assert (late.answered_s, late.committed_s) == (1.0, None)
    assert late.error == "57014: canceled due to statement timeout"
    assert after.answered_s == pytest.approx(1.1)
    # Never begun: the next call does not wait for it.
    hopeless = limited.fate_in_queue(1.1, Workers(1), draw(0.1))
    assert hopeless.error is None
    busy = Workers(1)
    limited.fate_in_queue(2.0, busy, draw(0.89))
    for at_s in (2.0, 2.0, 2.0):
        limited.fate_in_queue(at_s, busy, draw(0.89))
    assert limited.fate_in_queue(2.5, busy, draw(0.1)).answered_s == pytest.approx(3.0)


def test_a_call_that_its_driver_gave_up_is_worked_on_all_the_same() -> None:
    """A server that hangs finds it when it wakes; whoever comes then waits for it."""
    free = Workers(1)
    hanging = faults(Outage(10, 20, OutageMode.HANG), timeout_s=1.0)
    lost = hanging.fate_in_queue(11.0, free, draw(0.8))
    assert (lost.answered_s, lost.error) == (12.0, "no answer in time")
    assert lost.committed_s == pytest.approx(20.4)
    assert hanging.fate_in_queue(20.0, free, draw(0.05)).answered_s == pytest.approx(20.85)


def test_a_full_queue_refuses() -> None:
    """Exactly as many wait as the setting says, and there is room again as one is begun."""
    free, healthy = Workers(1, queue_max=2), faults()
    ends = [healthy.fate_in_queue(0.0, free, draw(1.0)) for _ in range(5)]
    assert [fate.error for fate in ends[:3]] == [None] * 3
    assert [fate.error for fate in ends[3:]] == ["53300: sorry, too many clients already"] * 2
    assert healthy.fate_in_queue(0.99, free, draw(1.0)).error is not None
    assert healthy.fate_in_queue(1.0, free, draw(1.0)).answered_s == 4.0


def test_who_will_be_cut_off_waits_until_then_and_leaves_room_after() -> None:
    """A crash to come changes nothing before it, and empties the queue as it comes."""
    free, crashing = Workers(1, queue_max=2), faults(Outage(10, 20, OutageMode.REFUSE))
    errors = [crashing.fate_in_queue(9.0, free, draw(5.0)).error for _ in range(4)]
    assert errors[:3] == ["the connection was reset by the server"] * 3
    assert errors[3] == "53300: sorry, too many clients already"
    after = [crashing.fate_in_queue(20.0, free, draw(1.0)) for _ in range(4)]
    assert [fate.error is None for fate in after] == [True, True, True, False]
    assert [fate.answered_s for fate in after[:3]] == [21.0, 22.0, 23.0]


def test_the_work_of_a_caller_who_gave_up_delays_the_others() -> None:
    """Also with a driver that ends at once when it is cancelled: the server knows nothing of it."""

    async def story(lab: Laboratory) -> float:
        async def impatient() -> None:
            async with asyncio.timeout(0.1):
                await lab.primary.get("nobody's")

        gone = await asyncio.gather(*(impatient() for _ in range(5)), return_exceptions=True)
        assert all(isinstance(each, TimeoutError) for each in gone)
        with pytest.raises(KeyNotFoundError):
            await lab.primary.get("nobody's")
        return lab.loop.time()

    waits = {
        workers: run_laboratory(story, select=Deterministic(mean_s=1.0), workers=workers)
        for workers in (None, 1, 5)
    }
    assert waits == {None: pytest.approx(1.1), 1: pytest.approx(6.0), 5: pytest.approx(2.0)}


def test_capacity_is_what_the_workers_can_do() -> None:
    """And a queue without workers is a contradiction."""
    settings = PrimarySettings(workers=2, select=Deterministic(mean_s=0.04))
    assert settings.capacity_per_s == 50.0
    assert PrimarySettings().capacity_per_s == float("inf")
    with pytest.raises(InputError, match="queue_max needs workers"):
        PrimarySettings(queue_max=10)


def test_waiting_times_never_go_back() -> None:
    """Whoever comes later is begun no earlier, which the bound of the queue relies on."""
    rng = Streams(2).generator("queue")
    free, limited = Workers(2), faults(Outage(30, 40, OutageMode.HANG), timeout_s=3.0)
    begins = []
    for now in np.sort(rng.random(300) * 100).tolist():
        begins.append(free.begin_s(now))
        limited.fate_in_queue(now, free, draw(float(rng.random())))
    assert all(later >= earlier for earlier, later in pairwise(begins))
