"""What is read from a pool of connections and a health monitor, when somebody looks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ftrepo.telemetry.metric import Kind, Metric, Value

if TYPE_CHECKING:
    from ftrepo.postgres.health import HealthMonitor
    from ftrepo.postgres.statistics import PoolStatistics


def _of_pool(
    kind: Kind, name: str, unit: str, text: str, read: Callable[[PoolStatistics], Value]
) -> Metric:
    labels = {"pool": None}
    return Metric(
        name=name,
        kind=kind,
        unit=unit,
        help=text,
        labels=labels,
        read=lambda statistics, _: read(statistics),
    )


POOL = (
    _of_pool(
        Kind.GAUGE,
        "ftrepo.pool.idle_connections",
        "{connection}",
        "Open connections that nobody uses.",
        lambda p: p.idle,
    ),
    _of_pool(
        Kind.GAUGE,
        "ftrepo.pool.used_connections",
        "{connection}",
        "Connections that are lent.",
        lambda p: p.in_use,
    ),
    _of_pool(
        Kind.GAUGE,
        "ftrepo.pool.connections_max",
        "{connection}",
        "The most connections that the pool may open.",
        lambda p: p.open_max,
    ),
    _of_pool(
        Kind.GAUGE,
        "ftrepo.pool.waiting",
        "{caller}",
        "Callers who wait for a connection, because all are taken.",
        lambda p: p.waiting,
    ),
    _of_pool(
        Kind.COUNTER,
        "ftrepo.pool.acquires",
        "{call}",
        "How often a connection was asked for.",
        lambda p: p.acquires,
    ),
    _of_pool(
        Kind.COUNTER,
        "ftrepo.pool.wait_time",
        "s",
        "How long all callers have waited for a connection.",
        lambda p: p.wait_total_s,
    ),
    _of_pool(
        Kind.COUNTER,
        "ftrepo.pool.exhausted",
        "{call}",
        "How often a caller gave up, because no connection became free in time.",
        lambda p: p.exhausted,
    ),
    _of_pool(
        Kind.COUNTER,
        "ftrepo.pool.connections.opened",
        "{connection}",
        "Connections made.",
        lambda p: p.opened,
    ),
    _of_pool(
        Kind.COUNTER,
        "ftrepo.pool.connections.failed",
        "{connection}",
        "Attempts to connect that failed.",
        lambda p: p.connects_failed,
    ),
    _of_pool(
        Kind.COUNTER,
        "ftrepo.pool.connections.broken",
        "{connection}",
        "Connections lost or dropped, because something was doubtful about them.",
        lambda p: p.lost + p.terminated,
    ),
)
"""Read from the statistics of a `ftrepo.postgres.Pool`."""


def _database_up(monitor: HealthMonitor, _: float) -> float | None:
    report = monitor.latest
    return None if report is None else float(report.error is None)


HEALTH = (
    Metric(
        name="ftrepo.database.up",
        kind=Kind.GAUGE,
        unit="",
        help="1 if the last health check found a server that accepts writes; absent before it.",
        read=_database_up,
    ),
    Metric(
        name="ftrepo.database.ping_time",
        kind=Kind.GAUGE,
        unit="s",
        help="How long the ping of the last health check took; absent if it failed.",
        read=lambda monitor, _: None if monitor.latest is None else monitor.latest.ping_s,
    ),
)
"""Read from a `ftrepo.postgres.HealthMonitor`."""
