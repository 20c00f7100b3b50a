from __future__ import annotations

import asyncio
import threading
from dataclasses import fields
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ftrepo import events
from ftrepo.errors import (
    CircuitOpenError,
    KeyNotFoundError,
    PoolExhaustedError,
    PrimaryRejectedError,
)
from ftrepo.events import BreakerChanged, CacheMiss, PendingDropped, PrimaryFailed, RetryScheduled
from ftrepo.fault_tolerant import FaultTolerantRepository
from ftrepo.postgres.statistics import PoolStatistics
from ftrepo.resilience import (
    BreakerSettings,
    BreakerState,
    Bulkhead,
    CircuitBreaker,
    RetryBudget,
    TimeLimit,
)
from ftrepo.telemetry import metrics as metrics_module
from ftrepo.telemetry.counted import COUNTED
from ftrepo.telemetry.label_names import OTHER
from ftrepo.telemetry.metric import BUCKETS_S, Kind
from ftrepo.telemetry.metrics import METRICS, Metrics
from ftrepo.telemetry.reading import Reading
from sim.loop import run_virtual
from tests.laboratory import Laboratory, make_key, refuse, run_laboratory

DROPPED = PendingDropped(key_id="k", reason="expired")

ROWS = {metric.name: metric for metric in METRICS}


def values_of(reading: Reading, name: str) -> dict[tuple[str, ...], float]:
    """What a reading says of one row, by its labels."""
    return dict(reading.by_metric().get(ROWS[name], {}))


def test_every_event_is_counted_but_those_that_are_read() -> None:
    """An event that is added later must be given a row, or a reason here."""
    every = set(events.Event.__args__)
    assert every - set(COUNTED) == {CacheMiss}


def test_the_rows_agree_with_the_rules_of_naming() -> None:
    """Names are unique in both spellings, none is the space of another's, units are base units."""
    assert len(ROWS) == len(METRICS)
    assert len({metric.prometheus_name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert not any(other.startswith(metric.name + ".") for other in ROWS), metric.name
        assert metric.unit in ("s", "By", "") or metric.unit[0] + metric.unit[-1] == "{}"
        assert metric.help.endswith(".")
        assert (metric.kind is Kind.COUNTER) == metric.prometheus_name.endswith("_total")
    assert ROWS["ftrepo.cache.size"].prometheus_name == "ftrepo_cache_size_bytes"
    assert ROWS["ftrepo.pool.wait_time"].prometheus_name == "ftrepo_pool_wait_time_seconds_total"


def test_a_counter_is_there_before_it_counts() -> None:
    """The first key that is dropped shows up as an increase from zero."""
    metrics = Metrics()
    assert values_of(metrics.read(), "ftrepo.keys.dropped") == {
        ("conflict",): 0.0,
        ("expired",): 0.0,
        ("shutdown",): 0.0,
    }
    for _ in range(3):
        metrics(DROPPED)
    assert values_of(metrics.read(), "ftrepo.keys.dropped")["expired",] == 3.0


@given(st.lists(st.floats(0, 10), max_size=30))
@example([*BUCKETS_S])
def test_a_histogram_is_what_was_observed(durations_s: list[float]) -> None:
    """Each value is counted in the first bucket whose bound it does not exceed, and in the sum."""
    metrics = Metrics()
    for duration_s in durations_s:
        metrics(PrimaryFailed(operation="get", error=OSError(), duration_s=duration_s))
    seen = metrics.read().distributions[ROWS["ftrepo.primary.failure.duration"], ("get",)]
    below = [sum(d <= bound for d in durations_s) for bound in (*BUCKETS_S, float("inf"))]
    assert [sum(seen.counts[: n + 1]) for n in range(len(below))] == below
    assert seen.total == pytest.approx(sum(durations_s))


def test_how_the_primary_failed_is_told_apart() -> None:
    """A time-out points to overload, a rejection to what was asked, the rest to an outage."""
    metrics = Metrics()
    for error in (TimeoutError(), PoolExhaustedError(), PrimaryRejectedError(), OSError()):
        metrics(PrimaryFailed(operation="get", error=error, duration_s=0.1))
    failures = values_of(metrics.read(), "ftrepo.primary.failures")
    of_get = {how: count for (operation, how), count in failures.items() if operation == "get"}
    assert of_get == {"timeout": 2.0, "rejected": 1.0, "error": 1.0}


def test_names_from_outside_are_bounded() -> None:
    """A flood of operations or breakers makes one series more than the bound, and no more."""
    metrics = Metrics(names_max=3)
    for number in range(50):
        metrics(RetryScheduled(operation=f"op-{number}", attempt=1, error=OSError(), pause_s=0.1))
    attempts = values_of(metrics.read(), "retry.attempts")
    assert attempts == {("op-0",): 1.0, ("op-1",): 1.0, ("op-2",): 1.0, (OTHER,): 47.0}
    metrics(PrimaryFailed(operation="made up", error=OSError(), duration_s=0.1))
    assert values_of(metrics.read(), "ftrepo.primary.failures")[OTHER, "error"] == 1.0
    with pytest.raises(ValueError, match="names_max is 0"):
        Metrics(names_max=0)


def test_the_first_change_of_a_breaker_shows_as_an_increase() -> None:
    """The changes that a breaker makes by itself are at zero as soon as it is watched."""

    async def main(_: object) -> None:
        metrics = Metrics()
        breaker = CircuitBreaker(BreakerSettings(failure_threshold=1), name="b")
        breaker.add_listener(metrics.breaker_changed)
        metrics.watch_breakers([breaker])
        before = values_of(metrics.read(), "circuit_breaker.state_changes")
        assert before["b", "closed", "open"] == before["b", "half-open", "open"] == 0.0
        breaker.fail(breaker.acquire(0.0), 0.0)
        after = values_of(metrics.read(), "circuit_breaker.state_changes")
        assert after == before | {("b", "closed", "open"): 1.0}

    run_virtual(main)


def test_of_many_breakers_the_worst_state_shows() -> None:
    """Breakers beyond the bound share a series: counters add up, the state is the worst."""

    async def main(_: object) -> None:
        metrics = Metrics(names_max=1)
        breakers = [CircuitBreaker(name=f"tenant-{number}") for number in range(4)]
        metrics.watch_breakers(breakers)
        for breaker in breakers:
            breaker.fail(breaker.acquire(0.0), 0.0)
        breakers[2].force_open(0.0)
        reading = metrics.read()
        assert values_of(reading, "circuit_breaker.state") == {("tenant-0",): 0.0, (OTHER,): 2.0}
        assert values_of(reading, "circuit_breaker.failures") == {("tenant-0",): 1.0, (OTHER,): 3.0}

    run_virtual(main)


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from(["fail", "make", "drop"])), max_size=40
    )
)
def test_counters_only_grow(steps: list[tuple[str, str]]) -> None:
    """A breaker that is dropped, and made again under its name, takes nothing away."""

    async def main(_: object) -> None:
        metrics = Metrics()
        held: dict[str, CircuitBreaker] = {}
        failures: dict[tuple[str, ...], float] = {}
        metrics.watch_breakers(held.values())
        for name, step in steps:
            if step == "make":
                held[name] = CircuitBreaker(name=name)
                failures.setdefault((name,), 0.0)
            elif step == "drop":
                held.pop(name, None)
            elif name in held:
                held[name].reset(0.0)
                held[name].fail(held[name].acquire(0.0), 0.0)
                failures[name,] += 1.0
            assert values_of(metrics.read(), "circuit_breaker.failures") == failures

    run_virtual(main)


def test_a_breaker_that_is_watched_twice_counts_once() -> None:
    """That of a repository may also be in a registry."""

    async def story(lab: Laboratory) -> None:
        metrics = Metrics()
        async with lab.repository() as repository:
            assert repository.breaker is not None
            metrics.watch_breakers([repository.breaker])
            metrics.watch(repository)
            await repository.create(make_key("k"))
            reading = metrics.read()
            label = (repository.breaker.name,)
            counts = repository.breaker.counts
            assert counts.successes > 0
            assert values_of(reading, "circuit_breaker.successes") == {label: counts.successes}

    run_laboratory(story)


def test_a_repository_that_is_made_anew_goes_on_counting() -> None:
    """A restart within the process takes nothing from the counters; gauges are the new one's."""

    async def story(lab: Laboratory) -> None:
        metrics = Metrics()
        for restart in range(1, 4):
            repository = FaultTolerantRepository(lab.primary, now=lab.now, observers=[metrics])
            async with repository:
                metrics.watch(repository)
                for number in range(4):
                    with pytest.raises(KeyNotFoundError):
                        await repository.get(f"made-up-{restart}-{number}")
                await repository.create(make_key(f"k{restart}"))
        reading = metrics.read()
        assert values_of(reading, "ftrepo.cache.misses")[()] == 12.0
        assert values_of(reading, "ftrepo.cache.entries")[()] == 3.0

    run_laboratory(story)


def test_the_gauges_follow_an_outage() -> None:
    """What waits, for how long, and whether the primary is asked is read as it is."""

    async def story(lab: Laboratory) -> None:
        metrics = Metrics()
        repository = FaultTolerantRepository(lab.primary, now=lab.now, observers=[metrics])
        async with repository:
            metrics.watch(repository)
            await lab.until(5.5)
            for number in range(7):
                await repository.create(make_key(f"k{number}"))
            await lab.until(9.5)
            reading = metrics.read()
            assert values_of(reading, "ftrepo.pending.keys")[()] == 7
            assert values_of(reading, "ftrepo.pending.oldest_age")[()] == pytest.approx(
                4.0, abs=0.1
            )
            assert values_of(reading, "ftrepo.primary.up")[()] == 0.0
            await lab.until(60.0)
            reading = metrics.read()
            assert values_of(reading, "ftrepo.pending.keys")[()] == 0
            assert values_of(reading, "ftrepo.pending.oldest_age")[()] == 0.0
            assert values_of(reading, "ftrepo.primary.up")[()] == 1.0
            assert values_of(reading, "ftrepo.keys.flushed")[()] == 7

    run_laboratory(story, [refuse(5.0, 30.0)])


def test_each_row_of_a_breaker_is_its_own_count() -> None:
    """No two counts of a breaker are taken for one another."""

    async def main(_: object) -> None:
        metrics = Metrics()
        settings = BreakerSettings(
            failure_threshold=3, failure_rate=1.0, window_calls_min=50, slow_call_s=1.0
        )
        breaker = CircuitBreaker(settings, name="b")
        metrics.watch_breakers([breaker])
        for number in range(9):
            breaker.succeed(breaker.acquire(1.0), 1.0, duration_s=2.0 if number < 4 else 0.0)
        breaker.release(breaker.acquire(1.0))
        for _ in range(2):
            breaker.fail(breaker.acquire(1.0), 1.0)
        windowed = metrics.read()
        assert values_of(windowed, "circuit_breaker.window.calls") == {("b",): 11.0}
        assert values_of(windowed, "circuit_breaker.window.failures") == {("b",): 2.0}
        breaker.fail(breaker.acquire(1.0), 1.0)
        for _ in range(7):
            with pytest.raises(CircuitOpenError):
                breaker.acquire(1.0)
        await asyncio.sleep(6.0)
        reading = metrics.read()
        for row, expected in {
            "state": 2.0,
            "state_age": 5.0,
            "successes": 9.0,
            "failures": 3.0,
            "slow_calls": 4.0,
            "rejections": 7.0,
            "uncounted_calls": 1.0,
            "trips": 1.0,
        }.items():
            assert values_of(reading, f"circuit_breaker.{row}") == {("b",): expected}, row

    run_virtual(main)


def test_each_row_of_a_pool_is_its_own_figure() -> None:
    """No two figures of a pool, or of a budget, are taken for one another."""

    async def main(_: object) -> None:
        metrics = Metrics()
        names = [field.name for field in fields(PoolStatistics)]
        statistics = PoolStatistics(**{name: 2**number for number, name in enumerate(names)})
        metrics.watch_pool(SimpleNamespace(statistics=lambda: statistics), name="p")
        budget = RetryBudget(balance_max=5, name="p")
        assert [budget.withdraw(0.0) for _ in range(7)].count(False) == 2
        metrics.watch_retry_budgets([budget])
        reading = metrics.read()
        for row, expected in {
            "ftrepo.pool.idle_connections": statistics.idle,
            "ftrepo.pool.used_connections": statistics.in_use,
            "ftrepo.pool.connections_max": statistics.open_max,
            "ftrepo.pool.waiting": statistics.waiting,
            "ftrepo.pool.acquires": statistics.acquires,
            "ftrepo.pool.wait_time": statistics.wait_total_s,
            "ftrepo.pool.exhausted": statistics.exhausted,
            "ftrepo.pool.connections.opened": statistics.opened,
            "ftrepo.pool.connections.failed": statistics.connects_failed,
            "ftrepo.pool.connections.broken": statistics.lost + statistics.terminated,
            "retry.budget.balance": 0.0,
            "retry.budget.refusals": 2.0,
        }.items():
            assert values_of(reading, row) == {("p",): expected}, row

    run_virtual(main)


def test_limits_beyond_the_bound_share_a_series() -> None:
    """What many bulkheads have under way adds up; another kind of limit is kept apart."""

    async def main(_: object) -> None:
        metrics = Metrics(names_max=1)
        bulkheads = [Bulkhead(name=f"tenant-{number}") for number in range(4)]
        metrics.watch_limits([*bulkheads, TimeLimit(1.0, name="tenant-9")])
        for bulkhead in bulkheads:
            await bulkhead.acquire()
        reading = metrics.read()
        assert values_of(reading, "call_limit.under_way") == {
            ("tenant-0", "bulkhead"): 1.0,
            (OTHER, "bulkhead"): 3.0,
            (OTHER, "time limit"): 0.0,
        }
        assert values_of(reading, "call_limit.admitted")[OTHER, "bulkhead"] == 3.0

    run_virtual(main)


def test_limits_that_are_made_anew_go_on_counting() -> None:
    """Whoever watches other limits of the same names takes nothing from their counters."""

    async def main(_: object) -> None:
        metrics = Metrics()
        for _ in range(3):
            bulkhead = Bulkhead(name="b")
            metrics.watch_limits([bulkhead])
            await bulkhead.acquire()
        reading = metrics.read()
        assert values_of(reading, "call_limit.admitted") == {("b", "bulkhead"): 3.0}
        assert values_of(reading, "call_limit.under_way") == {("b", "bulkhead"): 1.0}

    run_virtual(main)


def test_another_thread_reads_through_the_loop() -> None:
    """The reading is done by the loop, and an exporter's thread sees what is true then."""

    async def main() -> None:
        metrics = Metrics()
        breaker = CircuitBreaker(name="b")
        threads = []

        class Watched(list[CircuitBreaker]):
            def __iter__(self):  # type: ignore[no-untyped-def]
                threads.append(threading.current_thread())
                return super().__iter__()

        metrics.watch_breakers(Watched([breaker]))
        breaker.force_open(asyncio.get_running_loop().time())
        reading = await asyncio.to_thread(metrics.read)
        assert values_of(reading, "circuit_breaker.state") == {("b",): 2.0}
        assert values_of(reading, "ftrepo.readings.age") == {(): 0.0}
        assert threads == [threading.current_thread()]

    asyncio.run(main())


def test_a_closed_loop_leaves_its_last_figures_and_their_age() -> None:
    """A scrape after the end does not fail, and does not pass old figures off as new."""
    metrics = Metrics()

    async def main(loop: asyncio.AbstractEventLoop) -> None:
        breaker = CircuitBreaker(name="b")
        metrics.watch_breakers([breaker])
        metrics.read()
        breaker.force_open(loop.time())
        await asyncio.sleep(90.0)

    run_virtual(main)
    reading = metrics.read()
    assert values_of(reading, "circuit_breaker.state") == {("b",): 0.0}
    assert values_of(reading, "ftrepo.readings.age") == {(): 90.0}


def test_a_loop_that_is_busy_keeps_no_exporter_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exporter gives up in time, and shows the figures of before with their age."""
    monkeypatch.setattr(metrics_module, "ANSWER_S_MAX", 0.05)

    async def main() -> None:
        metrics = Metrics()
        breaker = CircuitBreaker(name="b")
        metrics.watch_breakers([breaker])
        metrics.read()
        breaker.force_open(asyncio.get_running_loop().time())
        answers: list[Reading] = []
        thread = threading.Thread(target=lambda: answers.append(metrics.read()))
        thread.start()
        thread.join(30.0)  # The loop does nothing else meanwhile.
        (reading,) = answers
        assert values_of(reading, "circuit_breaker.state") == {("b",): 0.0}
        assert values_of(reading, "ftrepo.readings.age")[()] >= 0.05
        reading = await asyncio.to_thread(metrics.read)
        assert values_of(reading, "circuit_breaker.state") == {("b",): 2.0}
        assert values_of(reading, "ftrepo.readings.age")[()] == 0.0

    asyncio.run(main())


def test_a_thing_that_cannot_be_read_leaves_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    """One broken registry costs its own series, is logged, and counts nothing twice afterwards."""

    async def main(_: object) -> None:
        metrics = Metrics()
        breaker = CircuitBreaker(name="b")
        broken = [False]

        class Registry:
            def __iter__(self):  # type: ignore[no-untyped-def]
                if broken[0]:
                    raise RuntimeError("registry is broken")
                return iter([breaker])

        metrics.watch_breakers(Registry())
        breaker.fail(breaker.acquire(0.0), 0.0)
        for broken[0] in (False, True, False):
            metrics(DROPPED)
            reading = metrics.read()
        assert values_of(reading, "ftrepo.keys.dropped")["expired",] == 3.0
        assert values_of(reading, "circuit_breaker.failures") == {("b",): 1.0}

    run_virtual(main)
    assert "cannot read circuit_breaker.state" in caplog.text


def test_a_name_cannot_break_a_scrape() -> None:
    """A tenant may be called anything: its name is printable and short by the time it is shown."""
    metrics = Metrics()
    name = "a\ud800\n" + "x" * 1_000
    closed, opened = BreakerState.CLOSED, BreakerState.OPEN
    metrics(BreakerChanged(breaker=name, old=closed, new=opened))
    ((shown, *_),) = values_of(metrics.read(), "circuit_breaker.state_changes")
    assert shown.startswith("a\\ud800\\nxx")
    assert shown.isprintable()
    assert len(shown) <= 200


def test_watching_needs_a_loop() -> None:
    """Whoever watches from outside is told, instead of reading a clock that is not there."""
    with pytest.raises(RuntimeError, match="no running event loop"):
        Metrics().watch_breakers([])
