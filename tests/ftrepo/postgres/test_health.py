"""The health monitor: what it measures, what is an alert, and whom it tells when."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ftrepo.errors import PolicyError
from ftrepo.postgres.alerts import (
    Alert,
    AlertBoard,
    AlertChange,
    AlertLevel,
    HealthReport,
    HealthThresholds,
    assess,
)
from ftrepo.postgres.health import HealthMonitor, HealthSettings
from ftrepo.postgres.pool import Pool
from ftrepo.postgres.settings import ConnectionSettings, PoolSettings
from ftrepo.postgres.statistics import PoolStatistics
from ftrepo.resilience import BreakerState

if TYPE_CHECKING:
    from sim.testbed.cluster import Cluster

WARNING, CRITICAL = AlertLevel.WARNING, AlertLevel.CRITICAL

QUIET = PoolStatistics(
    open_max=10, open=2, idle=2, in_use=0, places_taken=0, waiting=0, oldest_wait_s=0, acquires=10,
    acquired=10, exhausted=0, wait_total_s=0, wait_max_s=0, opened=2, closed=0, lost=0,
    terminated=0, connects_failed=0, connects_spared=0,
    checks_failed=0,
)  # fmt: skip

WELL = HealthReport(at_s=0, ping_s=0.001, query_s=0.001, error=None, pool=QUIET)


def found(report: HealthReport) -> list[tuple[str, AlertLevel]]:
    """What a report calls for, with the thresholds of the defaults."""
    return [(alert.name, alert.level) for alert in assess(report, HealthThresholds())]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"ping_s": 0.5}, []),
        ({"ping_s": 0.51}, [("ping", WARNING)]),
        ({"ping_s": 1.0}, [("ping", WARNING)]),
        ({"ping_s": 1.01}, [("ping", CRITICAL)]),
        ({"ping_s": None, "query_s": None, "error": "ping: no"}, [("check", CRITICAL)]),
        ({"breaker_open_s": 60.0}, []),
        ({"breaker_open_s": 60.1}, [("breaker", CRITICAL)]),
        ({"ping_s": 0.6, "breaker_open_s": 61}, [("breaker", CRITICAL), ("ping", WARNING)]),
    ],
)
def test_the_thresholds_of_the_server(changes: dict[str, Any], expected: list[Any]) -> None:
    """Each from just above its threshold, and not at it; the critical ones first."""
    assert found(replace(WELL, **changes)) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"idle": 8, "open": 8}, []),
        ({"idle": 9, "open": 9}, [("idle", WARNING)]),
        ({"places_taken": 10, "in_use": 10}, []),
        ({"places_taken": 10, "in_use": 10, "waiting": 1}, [("pool", CRITICAL)]),
        ({"exhausted": 1}, [("pool", CRITICAL)]),
        ({"wait_total_s": 5.0}, []),
        ({"wait_total_s": 5.1}, [("wait", WARNING)]),
        ({"oldest_wait_s": 0.6}, [("wait", WARNING)]),
    ],
)
def test_the_thresholds_of_the_pool(changes: dict[str, Any], expected: list[Any]) -> None:
    """Exhausted is critical; more than 80% idle, or waits over 500 ms, are a warning."""
    assert found(replace(WELL, pool=replace(QUIET, **changes))) == expected


def test_what_happened_before_the_last_check_is_no_alert() -> None:
    """Waits and refusals are counted since the check before."""
    then = replace(QUIET, exhausted=7, wait_total_s=100.0)
    assert found(replace(WELL, pool=then, pool_before=then)) == []
    now = replace(then, acquires=12, wait_total_s=102.0)
    assert found(replace(WELL, pool=now, pool_before=then)) == [("wait", WARNING)]


def test_thresholds_that_contradict_each_other_are_refused() -> None:
    """A warning must not come after the critical alert."""
    with pytest.raises(PolicyError, match="ping_warning_s"):
        HealthThresholds(ping_warning_s=2.0)


def test_the_presets_are_those_required() -> None:
    """30 s in production, 5 s for critical systems, 10 s in development."""
    presets = HealthSettings.production(), HealthSettings.critical(), HealthSettings.development()
    assert [preset.interval_s for preset in presets] == [30, 5, 10]


def played(pattern: str, **bounds: int) -> list[str]:
    """What a board tells, for checks that find `w`, `c` or nothing: `+w`, `+c` or `-`."""
    board, told = AlertBoard(**bounds), []
    levels = {"w": WARNING, "c": CRITICAL}
    for number, letter in enumerate(pattern):
        present = (
            (Alert(name="ping", level=levels[letter], message=""),) if letter in levels else ()
        )
        for change in board.update(present):
            mark = "+" + change.alert.level.value[0] if change.raised else "-"
            told.append(f"{number}{mark}")
    return told


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("..w..", []),
        (".ww..", ["2+w", "4-"]),
        ("wwwwww", ["1+w"]),
        ("w.w.w.w.w.", []),
        ("ww.w.w.w..", ["1+w", "9-"]),
        ("wwcc", ["1+w", "3+c"]),
        ("ccwwcc", ["1+c", "3+w", "5+c"]),
        ("ccwcwcw", ["1+c"]),
        ("cwcwcw", []),
        ("ww..ww", ["1+w", "3-", "5+w"]),
    ],
)
def test_flapping_is_no_storm(pattern: str, told: list[str]) -> None:
    """Only two checks in a row raise, clear or change the level of an alert."""
    assert played(pattern, raise_after=2, clear_after=2) == told


def test_a_board_can_be_told_to_react_at_once() -> None:
    """With bounds of one, every change is told."""
    assert played("w.w", raise_after=1, clear_after=1) == ["0+w", "1-", "2+w"]


def test_a_board_forgets_what_has_passed() -> None:
    """It keeps nothing of a name that is neither raised nor seen."""
    board = AlertBoard(raise_after=2, clear_after=2)
    for number in range(100):
        board.update((Alert(name=str(number), level=WARNING, message=""),))
    board.update(())
    assert not board._standings


def with_pool(dsn: str, story: Callable[[Pool], Awaitable[None]], **pool: Any) -> None:
    """Play a story on a loop of its own."""

    async def main() -> None:
        async with Pool(ConnectionSettings(dsn=dsn), PoolSettings(**pool)) as opened:
            await story(opened)

    asyncio.run(main())


@pytest.mark.postgres
def test_a_check_measures(database: str) -> None:
    """Ping and query are timed, and a healthy server is no alert."""

    async def story(pool: Pool) -> None:
        monitor = HealthMonitor(pool)
        report = await monitor.check()
        assert report.error is None
        assert 0 < (report.ping_s or 0) < 1
        assert 0 < (report.query_s or 0) < 1
        assert monitor.latest is report
        assert monitor.alerts == ()

    with_pool(database, story)


@pytest.mark.postgres
def test_a_server_that_takes_no_writes_is_not_well(own_cluster: Cluster) -> None:
    """Read-only sessions answer, and fail the check all the same."""
    with_pool(own_cluster.dsn(), _read_only)


async def _read_only(pool: Pool) -> None:
    async with pool.connection() as connection:
        await connection.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        await connection.execute("SELECT pg_reload_conf()")
    await asyncio.sleep(0.3)
    report = await HealthMonitor(pool).check()
    assert report.ping_s is not None
    assert report.error == "query: the server accepts no writes"


@pytest.mark.postgres
def test_an_outage_is_told_once_and_its_end_once(own_cluster: Cluster) -> None:
    """A monitor through a freeze: raised, connections replaced, cleared, and no caller held."""
    told: list[AlertChange] = []
    reports: list[HealthReport] = []

    async def story(pool: Pool) -> None:
        def listener(change: AlertChange) -> None:
            told.append(change)
            raise RuntimeError("a listener's own mistake")

        async def until(condition: Callable[[], bool]) -> None:
            async with asyncio.timeout(10):
                while not condition():  # noqa: ASYNC110  whatever the condition is
                    await asyncio.sleep(0.01)

        monitor = HealthMonitor(
            pool,
            HealthSettings(interval_s=0.05),
            on_alert=listener,
            on_report=reports.append,
        )
        async with monitor:
            await until(lambda: len(reports) >= 3)
            assert not told
            own_cluster.freeze()
            await until(lambda: bool(monitor.alerts))
            own_cluster.thaw()
            await until(lambda: not monitor.alerts)
        count = len(reports)
        await asyncio.sleep(0.2)
        assert len(reports) == count
        assert pool.statistics().places_taken == 0

    with_pool(own_cluster.dsn(), story)
    checks = [(change.alert.name, change.raised) for change in told if change.alert.name == "check"]
    assert checks == [("check", True), ("check", False)]


@pytest.mark.postgres
def test_a_check_never_takes_longer_than_its_limits(own_cluster: Cluster) -> None:
    """With the server frozen and the pool used up it fails in time."""

    async def story(pool: Pool) -> None:
        monitor = HealthMonitor(pool, HealthSettings(ping_limit_s=0.3, query_limit_s=0.3))
        async with pool.connection():
            own_cluster.freeze()
            loop = asyncio.get_running_loop()
            started_s = loop.time()
            report = await monitor.check()
            own_cluster.thaw()
            assert loop.time() - started_s < 0.3 + 0.3
        assert (report.error or "").startswith("ping: no connection became free")
        assert ("pool", CRITICAL) in found(report)

    with_pool(own_cluster.dsn(), story, open_max=1, idle_max=1)


@pytest.mark.postgres
def test_failed_checks_replace_the_connections_once(database: str) -> None:
    """At the second failure in a row, and not again before a success."""

    async def story(pool: Pool) -> None:
        monitor = HealthMonitor(pool, HealthSettings(ping_limit_s=1e-6))
        generations = []
        for _ in range(5):
            await monitor.check()
            generations.append(pool._generation)
        assert generations == [0, 1, 1, 1, 1]

    with_pool(database, story)


@pytest.mark.postgres
def test_an_open_breaker_is_timed(database: str) -> None:
    """From the first check that finds it not closed, half-open included, until it is closed."""

    async def story(pool: Pool) -> None:
        states = iter([BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED])
        monitor = HealthMonitor(pool, breaker_state=lambda: next(states))
        opened = []
        for _ in range(3):
            opened.append((await monitor.check()).breaker_open_s)
            await asyncio.sleep(0.05)
        assert opened[0] == 0
        assert opened[1] > 0.04
        assert opened[2] == 0

    with_pool(database, story)
