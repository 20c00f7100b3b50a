"""How long a breaker stays open, who may open and close it, whom it tells, and what it counts."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from ftrepo.errors import CircuitOpenError
from ftrepo.resilience import PRESETS, BreakerSettings, BreakerState, CircuitBreaker
from tests.breakers import CLOSED, HALF_OPEN, OPEN, SETTINGS, fail_probe, trip, tripped


def test_openings_grow_with_each_failed_probe_up_to_their_cap() -> None:
    """10 s, twice that, and no more than 25 s."""
    breaker = tripped(settings=replace(SETTINGS, open_factor=2, open_max_s=25))
    waits, now = [breaker.retry_after_s(0)], 0.0
    for _ in range(3):
        now += breaker.retry_after_s(now)
        fail_probe(breaker, now)
        waits.append(breaker.retry_after_s(now))
    assert waits == [10, 20, 25, 25]


def test_closing_ends_the_growth_of_openings() -> None:
    """The first opening after a recovery is as short as the first ever."""
    breaker = tripped(settings=replace(SETTINGS, open_factor=2))
    fail_probe(breaker, 10)
    assert breaker.retry_after_s(10) == 20
    for probe in (breaker.acquire(30), breaker.acquire(30)):
        breaker.succeed(probe, 30)
    trip(breaker, 31)
    assert breaker.retry_after_s(31) == 10


def test_an_opening_longer_than_the_cap_stays_as_long_as_it_is() -> None:
    """The cap is one on growth."""
    breaker = tripped(settings=replace(SETTINGS, open_s=600, open_factor=2, open_max_s=300))
    fail_probe(breaker, 600)
    assert breaker.retry_after_s(600) == 600


def test_openings_grow_without_overflow() -> None:
    """A thousand failed probes end at the cap."""
    breaker = tripped(settings=replace(SETTINGS, open_factor=10, open_max_s=3600))
    now = 0.0
    for _ in range(1000):
        now += breaker.retry_after_s(now)
        fail_probe(breaker, now)
    assert breaker.retry_after_s(now) == pytest.approx(3600)


def test_jitter_takes_a_drawn_share_off_an_opening() -> None:
    """With jitter of 0.4, draws of 0.5 and 1/4 leave 80 and 90 percent."""
    draws = iter([0.5, 0.25])
    breaker = CircuitBreaker(replace(SETTINGS, open_jitter=0.4), draw=lambda: next(draws))
    trip(breaker, 0)
    assert breaker.retry_after_s(0) == pytest.approx(8)
    fail_probe(breaker, 8)
    assert breaker.retry_after_s(8) == pytest.approx(9)


def test_forced_open_stays_open_until_reset() -> None:
    """Neither time nor an outcome ends it, and callers are told to come back after `open_s`."""
    breaker = CircuitBreaker(SETTINGS)
    under_way = breaker.acquire(0)
    breaker.force_open(0)
    breaker.succeed(under_way, 1)
    for now in (1, 10, 1e9):
        with pytest.raises(CircuitOpenError) as rejected:
            breaker.acquire(now)
        assert rejected.value.retry_after_s == breaker.retry_after_s(now) == SETTINGS.open_s
    assert breaker.is_forced_open
    breaker.reset(1e9)
    assert breaker.state is CLOSED
    assert not breaker.is_forced_open
    breaker.succeed(breaker.acquire(1e9), 1e9)


def test_an_open_breaker_can_be_forced_and_stays_so() -> None:
    """The end of its own opening then admits nobody."""
    breaker = tripped()
    breaker.force_open(5)
    with pytest.raises(CircuitOpenError):
        breaker.acquire(10)


def test_listeners_hear_of_force_and_reset_and_not_of_what_changes_nothing() -> None:
    """To force what is open, or reset what is closed, is no change of state."""
    breaker = CircuitBreaker(SETTINGS)
    heard: list[tuple[str, BreakerState, BreakerState]] = []
    breaker.add_listener(lambda told, old, new: heard.append((told.name, old, new)))
    breaker.reset(0)
    assert breaker.changed_at_s is None
    breaker.force_open(1)
    breaker.force_open(2)
    assert breaker.changed_at_s == 1
    breaker.reset(3)
    assert heard == [("breaker", CLOSED, OPEN), ("breaker", OPEN, CLOSED)]
    assert breaker.changed_at_s == 3


def test_a_reset_begins_the_row_anew_and_ignores_what_was_under_way() -> None:
    """Two failures before it and two after it are not three in a row."""
    breaker = CircuitBreaker(SETTINGS)
    earlier = breaker.acquire(0)
    breaker.fail(breaker.acquire(0), 0)
    breaker.fail(breaker.acquire(0), 0)
    breaker.reset(0)
    breaker.fail(earlier, 0)
    breaker.fail(breaker.acquire(0), 0)
    breaker.fail(breaker.acquire(0), 0)
    assert breaker.state is CLOSED
    assert breaker.counts.late == 1


def test_a_failing_listener_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged; the change is made, and the next listener hears of it."""
    breaker = CircuitBreaker(SETTINGS, name="billing")
    heard: list[BreakerState] = []

    def broken(*_: object) -> None:
        raise RuntimeError("no")

    breaker.add_listener(broken)
    breaker.add_listener(lambda _, __, new: heard.append(new))
    with caplog.at_level(logging.ERROR, logger="ftrepo"):
        trip(breaker, 0)
    assert heard == [OPEN]
    assert "'billing'" in caplog.text


def test_a_listener_that_was_removed_hears_nothing() -> None:
    """Removing it twice is an error."""
    breaker = CircuitBreaker(SETTINGS)
    heard: list[BreakerState] = []

    def listen(_: CircuitBreaker, __: BreakerState, new: BreakerState) -> None:
        heard.append(new)

    breaker.add_listener(listen)
    breaker.remove_listener(listen)
    trip(breaker, 0)
    assert heard == []
    with pytest.raises(ValueError, match="not in"):
        breaker.remove_listener(listen)


def test_a_listener_may_change_the_breaker() -> None:
    """It is told when the change is complete, and what it does holds."""
    breaker = CircuitBreaker(SETTINGS)
    breaker.add_listener(lambda told, _, new: told.force_open(0) if new is HALF_OPEN else None)
    trip(breaker, 0)
    with pytest.raises(CircuitOpenError):
        breaker.acquire(10)
    assert breaker.is_forced_open


def test_counts_add_up() -> None:
    """Each call is counted once, by what became of it."""
    breaker = CircuitBreaker(replace(SETTINGS, slow_call_s=1))
    for _ in range(5):
        breaker.succeed(breaker.acquire(0), 0)
    breaker.succeed(breaker.acquire(0), 0, 1.0)
    assert breaker.counts.consecutive_successes == 6
    breaker.release(breaker.acquire(0))
    late = breaker.acquire(0)
    for _ in range(3):
        breaker.fail(breaker.acquire(0), 0, 2.0)
    for _ in range(70):
        with pytest.raises(CircuitOpenError):
            breaker.acquire(1)
    breaker.fail(late, 1)
    breaker.succeed(breaker.acquire(10), 10)
    counts = breaker.counts
    assert (counts.successes, counts.failures, counts.slow) == (7, 3, 4)
    assert (counts.rejected, counts.neither, counts.late, counts.trips) == (70, 1, 1, 1)
    assert (counts.consecutive_successes, counts.consecutive_failures) == (1, 0)
    assert (counts.window_calls, counts.window_failures, counts.window_slow) == (0, 0, 0)


def test_without_any_rule_only_force_opens_it() -> None:
    """A hundred failures change nothing."""
    breaker = CircuitBreaker(replace(SETTINGS, failure_threshold=None))
    for _ in range(100):
        breaker.fail(breaker.acquire(0), 0)
    assert breaker.state is CLOSED


def test_presets_are_those_of_the_requirements() -> None:
    """Failures in a row, seconds open and probes; and a share of failures."""
    in_row = {
        name: (preset.failure_threshold, preset.open_s, preset.half_open_max_calls)
        for name, preset in PRESETS.items()
    }
    assert in_row == {
        "consecutive": (5, 30, 2),
        "conservative": (10, 60, 2),
        "aggressive": (3, 15, 2),
        "half-failed": (None, 30, 3),
    }
    assert {preset.count_interval_s for preset in PRESETS.values()} == {60}
    by_rate = PRESETS["half-failed"]
    assert (by_rate.failure_rate, by_rate.window_calls_min, by_rate.window_s) == (0.5, 5, 10)


def test_listeners_hear_each_change_once() -> None:
    """The changes form the expected sequence."""
    heard: list[tuple[BreakerState, BreakerState]] = []
    breaker = CircuitBreaker(SETTINGS, on_change=lambda old, new: heard.append((old, new)))
    for _ in range(3):
        breaker.fail(breaker.acquire(0), 0)
    for probe in (breaker.acquire(10), breaker.acquire(10)):
        breaker.succeed(probe, 10)
    assert heard == [(CLOSED, OPEN), (OPEN, HALF_OPEN), (HALF_OPEN, CLOSED)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"failure_threshold": 0},
        {"open_s": -1},
        {"half_open_max_calls": 0},
        {"count_interval_s": -1},
        {"probe_timeout_s": float("nan")},
        {"probe_timeout_s": 0},
        {"failure_rate": 0},
        {"failure_rate": 1.01},
        {"slow_rate": -0.1},
        {"slow_call_s": 0},
        {"window_s": 0},
        {"window_calls_min": 0},
        {"normal_rate_memory_s": 0, "failure_rate": 0.5},
        {"normal_rate_memory_s": 60},
        {"open_s": float("inf")},
        {"open_factor": 0.99},
        {"open_max_s": float("nan")},
        {"open_jitter": 1.01},
    ],
)
def test_impossible_settings_are_refused_by_name(wrong: dict[str, float]) -> None:
    """The error names the setting."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        BreakerSettings(**wrong)
