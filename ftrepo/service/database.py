"""What the service has of PostgreSQL: connections, health, and tables if it makes them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ftrepo.postgres import ConnectionSettings, Pool, PoolSettings
from ftrepo.postgres.alerts import AlertLevel
from ftrepo.postgres.health import HealthMonitor, HealthSettings
from ftrepo.postgres.migrate import MigrationError, upgrade
from ftrepo.redact import describe, redact
from ftrepo.service.errors import ServiceSettingsError
from ftrepo.settings import values_from_mapping

if TYPE_CHECKING:
    from ftrepo.postgres.alerts import AlertChange
    from ftrepo.resilience import BreakerState
    from ftrepo.service.settings import ServiceSettings

_log = logging.getLogger(__name__)

MIGRATION_WAIT_S = 10.0
"""How long a start with `migrate = true` waits for another instance that migrates."""


def make_pool(settings: ServiceSettings, draw: Callable[[], float]) -> Pool:
    """Return a pool that is not open yet.

    Raises:
        ServiceSettingsError: there is no address.
        PolicyError: `dsn` and `connection` contradict each other.
    """
    if settings.dsn is None:
        raise ServiceSettingsError("dsn is not set: there is no database to connect to")
    given: dict[str, Any] = {**settings.connection, "dsn": settings.dsn.get_secret_value()}
    return Pool(
        ConnectionSettings.from_mapping(given, source="connection"),
        PoolSettings.from_mapping(settings.pool, source="pool"),
        draw=draw,
    )


def make_monitor(
    pool: Pool, settings: ServiceSettings, breaker_state: Callable[[], BreakerState]
) -> HealthMonitor:
    """Return a monitor that has not begun, and whose alerts are logged."""
    values = values_from_mapping(HealthSettings, settings.health, source="health")
    return HealthMonitor(
        pool, HealthSettings(**values), breaker_state=breaker_state, on_alert=log_alert
    )


async def migrate_if_wanted(settings: ServiceSettings) -> None:
    """Make the tables, if `migrate` says so; a failure is logged, and the service starts.

    With a database that hangs it takes as long as a migration waits for a connection.
    """
    if not settings.migrate or settings.dsn is None:
        return
    try:
        await upgrade(settings.dsn.get_secret_value(), lock_timeout_s=MIGRATION_WAIT_S)
    except MigrationError as error:
        _log.error(
            "the database was not brought up to date, and the service starts all the same: %s",
            describe(error),
        )


def log_alert(change: AlertChange) -> None:
    """Log an alert that begins, ends or changes its level; the level is its own."""
    alert = change.alert
    if change.raised:
        level = logging.ERROR if alert.level is AlertLevel.CRITICAL else logging.WARNING
        _log.log(level, "alert %s: %s", alert.name, redact(alert.message))
    else:
        _log.info("alert %s is over", alert.name)
