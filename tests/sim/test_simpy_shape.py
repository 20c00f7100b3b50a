from __future__ import annotations

import pytest
import simpy
from simpy.events import NORMAL, URGENT

ADVICE = (
    "SimPy's private shape has changed. sim/loop/ puts timers straight on Environment._queue and"
    " runs events itself: read simpy/core.py, adapt schedule.py, virtual_time.py and bridges.py,"
    " then this test; until that is done, keep SimPy below this version in pyproject.toml."
)


def test_the_queue_is_a_heap_of_time_priority_number_and_event() -> None:
    """`Environment` keeps `(time, priority, number, event)` in a plain list `_queue`."""
    env = simpy.Environment(initial_time=3.0)
    event = env.timeout(2.0)
    assert type(env._queue) is list, ADVICE
    assert env._queue == [(5.0, NORMAL, 0, event)], ADVICE
    assert next(env._eid) == 1, ADVICE
    assert URGENT < NORMAL, ADVICE


def test_the_clock_is_a_plain_attribute() -> None:
    """`Environment.now` is `_now`, which may be set."""
    env = simpy.Environment()
    env._now = 7.5
    assert env.now == 7.5, ADVICE


def test_an_event_is_run_by_its_callbacks_and_failed_by_its_flags() -> None:
    """An event has `callbacks`, or `None` once run, `_ok`, `_value`, and if defused `_defused`."""
    env = simpy.Environment()
    event = env.event().fail(ValueError())
    assert event.callbacks == [], ADVICE
    assert event._ok is False, ADVICE
    assert isinstance(event._value, ValueError), ADVICE
    assert not hasattr(event, "_defused"), ADVICE
    event.defused = True
    assert hasattr(event, "_defused"), ADVICE
    env.step()
    assert event.callbacks is None, ADVICE


class Minimal:
    """What `TimerHandle` offers to SimPy, and nothing else."""

    __slots__ = ("callbacks",)
    _ok = True


def test_a_step_asks_no_more_of_what_is_queued_than_our_timers_have() -> None:
    """`Environment.step` takes anything with settable `callbacks` and a true `_ok`."""
    env = simpy.Environment()
    queued, seen = Minimal(), []
    queued.callbacks = [seen.append]
    env._queue.append((2.0, NORMAL, next(env._eid), queued))  # type: ignore[arg-type]
    try:
        env.step()
    except AttributeError as error:
        pytest.fail(f"{ADVICE} ({error})")
    assert seen == [queued], ADVICE
    assert env.now == 2.0, ADVICE
