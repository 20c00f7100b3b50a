"""When the state of a database is worth waking somebody: pure decisions on what was measured."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ftrepo import settings
from ftrepo.errors import PolicyError
from ftrepo.postgres.statistics import PoolStatistics
from ftrepo.settings import setting

_REQUIRED = "the requirements of the service"


class AlertLevel(enum.Enum):
    """How much an alert matters."""

    WARNING = "warning"
    """Look at it in working hours."""
    CRITICAL = "critical"
    """Look at it now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One thing that is wrong.

    Attributes:
        name: what it is about; the same for as long as it lasts, also if the level changes.
        level: how much it matters.
        message: what was measured and what the threshold is.
    """

    name: str
    level: AlertLevel
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    """What one check found.

    Attributes:
        at_s: when it began, by the loop's clock.
        ping_s: how long the least statement took, getting a connection included; `None` if it
            failed.
        query_s: how long the check's query took; `None` if it failed or was not tried.
        error: why the check failed; `None` if it did not.
        pool: the pool, just after the check.
        pool_before: the pool at the check before; `None` at the first.
        breaker_open_s: for how long the breaker has not been closed; zero if it is closed.
    """

    at_s: float
    ping_s: float | None
    query_s: float | None
    error: str | None
    pool: PoolStatistics
    pool_before: PoolStatistics | None = None
    breaker_open_s: float = 0.0

    @property
    def wait_mean_s(self) -> float:
        """How long callers have waited for a connection since the check before, on average."""
        before = self.pool_before
        asked = self.pool.acquires - (before.acquires if before else 0)
        waited_s = self.pool.wait_total_s - (before.wait_total_s if before else 0.0)
        return waited_s / asked if asked else 0.0

    @property
    def exhausted(self) -> int:
        """How many callers have got no connection since the check before."""
        return self.pool.exhausted - (self.pool_before.exhausted if self.pool_before else 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class HealthThresholds:
    """From where on a measurement is an alert. All of them are exceeded only by more, not equal."""

    breaker_open_critical_s: float = setting(
        60.0,
        unit="s",
        least=0,
        doc="For how long the breaker may be open, or half-open, before that is critical.",
        source=_REQUIRED,
    )
    ping_critical_s: float = setting(
        1.0, unit="s", above=0, doc="A longer ping is critical.", source=_REQUIRED
    )
    ping_warning_s: float = setting(
        0.5, unit="s", above=0, doc="A longer ping is a warning.", source=_REQUIRED
    )
    wait_warning_s: float = setting(
        0.5,
        unit="s",
        above=0,
        doc="A longer wait for a connection is a warning: the mean since the check before, or that "
        "of a caller who still waits. It can be exceeded only if acquire_timeout_s is longer.",
        source=_REQUIRED,
    )
    idle_share_warning: float = setting(
        0.8,
        unit="of open_max",
        above=0,
        doc="A greater share of the connections that a pool may open, lying idle, is a warning: "
        "the pool is larger than its use. The share is of open_max and not of those open, because "
        "every quiet service has all of its few open connections idle.",
        source=_REQUIRED,
    )

    def __post_init__(self) -> None:
        settings.check_all(self)
        if self.ping_warning_s > self.ping_critical_s:
            raise PolicyError(
                f"ping_warning_s = {self.ping_warning_s:g} is more than "
                f"ping_critical_s = {self.ping_critical_s:g}"
            )


def assess(report: HealthReport, thresholds: HealthThresholds) -> tuple[Alert, ...]:
    """Say what is wrong, critical things first; nothing if all is well."""
    found = [*_of_server(report, thresholds), *_of_pool(report, thresholds)]
    return tuple(sorted(found, key=lambda alert: alert.level is not AlertLevel.CRITICAL))


def _of_server(report: HealthReport, thresholds: HealthThresholds) -> list[Alert]:
    found = []
    if report.error is not None:
        found.append(_critical("check", f"the health check failed: {report.error}"))
    if report.breaker_open_s > thresholds.breaker_open_critical_s:
        limit = f"more than {thresholds.breaker_open_critical_s:g} s"
        message = f"the breaker has been open for {report.breaker_open_s:.0f} s, {limit}"
        found.append(_critical("breaker", message))
    ping_s = report.ping_s or 0.0
    if ping_s > thresholds.ping_critical_s:
        limit = f"more than {thresholds.ping_critical_s:g} s"
        found.append(_critical("ping", f"a ping took {ping_s:.2f} s, {limit}"))
    elif ping_s > thresholds.ping_warning_s:
        limit = f"more than {thresholds.ping_warning_s:g} s"
        found.append(_warning("ping", f"a ping took {ping_s:.2f} s, {limit}"))
    return found


def _of_pool(report: HealthReport, thresholds: HealthThresholds) -> list[Alert]:
    found = []
    pool = report.pool
    if report.exhausted or (pool.waiting and pool.places_taken >= pool.open_max):
        message = (
            f"the pool is exhausted: {pool.places_taken} of {pool.open_max} places are taken, "
            f"{pool.waiting} callers wait, {report.exhausted} gave up since the check before"
        )
        found.append(_critical("pool", message))
    wait_s = max(report.wait_mean_s, pool.oldest_wait_s)
    if wait_s > thresholds.wait_warning_s:
        limit = f"more than {thresholds.wait_warning_s:g} s"
        found.append(_warning("wait", f"callers wait {wait_s:.2f} s for a connection, {limit}"))
    if pool.idle > thresholds.idle_share_warning * pool.open_max:
        message = f"{pool.idle} of at most {pool.open_max} connections lie idle"
        found.append(_warning("idle", message))
    return found


def _critical(name: str, message: str) -> Alert:
    return Alert(name=name, level=AlertLevel.CRITICAL, message=message)


def _warning(name: str, message: str) -> Alert:
    return Alert(name=name, level=AlertLevel.WARNING, message=message)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertChange:
    """Somebody should know: an alert began, ended, or changed its level.

    Attributes:
        alert: as last measured; when it ended, as it last was.
        raised: whether it stands now.
    """

    alert: Alert
    raised: bool


@dataclass(slots=True)
class _Standing:
    """How one name has done in the latest checks."""

    seen: int = 0
    unseen: int = 0
    raised: Alert | None = None
    latest: Alert | None = None


class AlertBoard:
    """Tells a change from a flutter: which alerts stand, after some checks in a row.

    Args:
        raise_after: an alert is raised once so many checks in a row had it, at least 1.
        clear_after: and cleared once so many in a row did not, at least 1.
    """

    def __init__(self, *, raise_after: int, clear_after: int) -> None:
        self._raise_after = raise_after
        self._clear_after = clear_after
        self._standings: dict[str, _Standing] = {}

    @property
    def raised(self) -> tuple[Alert, ...]:
        """The alerts that stand."""
        return tuple(s.raised for s in self._standings.values() if s.raised is not None)

    def update(self, found: tuple[Alert, ...]) -> tuple[AlertChange, ...]:
        """Take in what one check found; return what somebody should be told."""
        present = {alert.name: alert for alert in found}
        changes = []
        for name in [*present, *(name for name in self._standings if name not in present)]:
            standing = self._standings.setdefault(name, _Standing())
            change = self._count(standing, present.get(name))
            if change is not None:
                changes.append(change)
            if standing.raised is None and standing.seen == 0:
                del self._standings[name]
        return tuple(changes)

    def _count(self, standing: _Standing, alert: Alert | None) -> AlertChange | None:
        if alert is None:
            standing.seen, standing.unseen = 0, standing.unseen + 1
            if standing.raised is None or standing.unseen < self._clear_after:
                return None
            ended, standing.raised = standing.raised, None
            return AlertChange(alert=ended, raised=False)
        # Another level begins its count anew: one check alone must neither wake nor calm anybody.
        same = standing.latest is not None and standing.latest.level is alert.level
        standing.seen = standing.seen + 1 if same else 1
        standing.unseen, standing.latest = 0, alert
        stands = standing.raised is not None and standing.raised.level is alert.level
        if standing.seen < self._raise_after:
            return None
        standing.raised = alert
        return None if stands else AlertChange(alert=alert, raised=True)
