"""What the service has of PostgreSQL: connections, health, and tables if it makes them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ftrepo.failure_log import log_failure
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
"""How long a start with `migrate = true` waits for its first try, which may itself wait for another
instance that migrates. It goes on in the background."""

MIGRATION_PAUSE_FIRST_S = 1.0
"""How long after a try that failed there is another one; each further pause is twice as long,"""

MIGRATION_PAUSE_MAX_S = 30.0
"""and none is longer. It is tried for as long as the service runs."""


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


class Migration:
    """Brings a database up to date, within a block: tried until it succeeds or the block ends.

    Entering waits for the first try, for `MIGRATION_WAIT_S` at most: with a database that is there,
    the first key finds its table. With one that is away the service starts all the same.

    Args:
        dsn: where the database is.
        migrate: brings the database there up to date.
    """

    def __init__(self, dsn: str, *, migrate: Callable[[str], Awaitable[object]] = upgrade) -> None:
        self._dsn = dsn
        self._migrate = migrate
        self._was_tried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._said = ""

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._until_done(), name="ftrepo migration")
        try:
            async with asyncio.timeout(MIGRATION_WAIT_S):
                await self._was_tried.wait()
        except TimeoutError:
            _log.warning("the database is not up to date yet; the service starts all the same")
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stop()

    async def _until_done(self) -> None:
        pause_s = MIGRATION_PAUSE_FIRST_S
        while not await self._succeeds():
            self._was_tried.set()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, MIGRATION_PAUSE_MAX_S)
        self._was_tried.set()

    async def _succeeds(self) -> bool:
        try:
            await self._migrate(self._dsn)
        except MigrationError as error:
            said = describe(error)
            if said != self._said:  # The same reason, every half a minute, would be noise.
                self._said = said
                _log.error("the database was not brought up to date, which is tried on: %s", said)
            return False
        except Exception as error:  # A defect: it must not keep the service from starting.
            log_failure(_log, "the database was not brought up to date", error=error)
            return False
        return True

    async def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])


def log_alert(change: AlertChange) -> None:
    """Log an alert that begins, ends or changes its level; the level is its own."""
    alert = change.alert
    if change.raised:
        level = logging.ERROR if alert.level is AlertLevel.CRITICAL else logging.WARNING
        _log.log(level, "alert %s: %s", alert.name, redact(alert.message))
    else:
        _log.info("alert %s is over", alert.name)
