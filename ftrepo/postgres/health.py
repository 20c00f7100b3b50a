"""Looks after a database at intervals: measures, tells whoever wants to know, replaces connections.

What is measured, and when it is an alert, is decided in `alerts`; this is the part that awaits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from ftrepo import settings
from ftrepo.failure_log import log_failure
from ftrepo.postgres.alerts import (
    Alert,
    AlertBoard,
    AlertChange,
    HealthReport,
    HealthThresholds,
    assess,
)
from ftrepo.postgres.pool import TRIAL, Pool
from ftrepo.postgres.statistics import PoolStatistics
from ftrepo.resilience.breaker import BreakerState
from ftrepo.settings import setting

QUERY = "SELECT NOT pg_is_in_recovery() AND NOT current_setting('transaction_read_only')::boolean"
"""Whether the server would accept a write: neither a standby nor read-only."""

_REQUIRED = "the requirements of the service"
_LEAST_S = 0.001
"""To the driver, a time-out of zero would be an error."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class HealthSettings:
    """How often a database is looked at, and how much it takes to raise an alert."""

    interval_s: float = setting(
        30.0,
        unit="s",
        above=0,
        doc="From the end of one check to the beginning of the next.",
        source=f"{_REQUIRED}: 30 s; 5–10 s for critical systems, 10–15 s in development",
    )
    ping_limit_s: float = setting(
        2.0,
        unit="s",
        above=0,
        doc="How long a ping may take, getting a connection included, before the check has failed.",
        source=_REQUIRED,
    )
    query_limit_s: float = setting(
        3.0,
        unit="s",
        above=0,
        doc="How long the query may take before the check has failed. The pool's "
        "statement_timeout_s may end it sooner.",
        source=_REQUIRED,
    )
    raise_after: int = setting(
        2,
        unit="checks",
        least=1,
        doc="An alert is raised once so many checks in a row call for it.",
        source="house rule: one may be chance",
    )
    clear_after: int = setting(
        2,
        unit="checks",
        least=1,
        doc="An alert is cleared once so many checks in a row do not call for it.",
        source="house rule: as raise_after",
    )
    recycle_after: int = setting(
        2,
        unit="checks",
        least=0,
        doc="After so many failed checks in a row every connection is replaced, once for each time "
        "that the database is lost; zero never replaces any.",
        source=f"{_REQUIRED} ask for it; two, so that one lost packet costs nothing",
    )

    def __post_init__(self) -> None:
        settings.check_all(self)

    @classmethod
    def production(cls) -> HealthSettings:
        """Return a check every 30 s."""
        return cls()

    @classmethod
    def critical(cls) -> HealthSettings:
        """Return a check every 5 s, for a system whose outage is noticed at once."""
        return cls(interval_s=5.0)

    @classmethod
    def development(cls) -> HealthSettings:
        """Return a check every 10 s."""
        return cls(interval_s=10.0)


@dataclass(slots=True)
class _Memory:
    """What a check must know of those before."""

    pool: PoolStatistics | None = None
    breaker_open_since_s: float | None = None
    failures: int = 0
    latest: HealthReport | None = None


class HealthMonitor:
    """Checks a database at intervals, in a task of its own, from `start` to `stop`.

    Args:
        pool: through which the database is asked. A check takes one connection, as a caller does,
            and never more than one.
        settings: how often; `HealthSettings.production()` by default.
        thresholds: from where on a measurement is an alert.
        breaker_state: returns the state of the breaker in front of this database, if there is one.
        on_alert: called with each alert that is raised, cleared, or changes its level. Must not
            block. Raising, it is logged and stops nothing.
        on_report: called with every report, in the same way.
    """

    def __init__(
        self,
        pool: Pool,
        settings: HealthSettings | None = None,
        *,
        thresholds: HealthThresholds | None = None,
        breaker_state: Callable[[], BreakerState] | None = None,
        on_alert: Callable[[AlertChange], None] | None = None,
        on_report: Callable[[HealthReport], None] | None = None,
    ) -> None:
        self.settings = settings or HealthSettings.production()
        self.thresholds = thresholds or HealthThresholds()
        self._pool = pool
        self._breaker_state = breaker_state
        self._on_alert = on_alert
        self._on_report = on_report
        self._board = AlertBoard(
            raise_after=self.settings.raise_after, clear_after=self.settings.clear_after
        )
        self._memory = _Memory()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    @property
    def latest(self) -> HealthReport | None:
        """What the last check found; `None` before the first has ended."""
        return self._memory.latest

    @property
    def alerts(self) -> tuple[Alert, ...]:
        """The alerts that stand."""
        return self._board.raised

    def start(self) -> None:
        """Begin to check, at once and then at intervals. Does nothing if it has begun already."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Check no more; one that is under way is cancelled."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def check(self) -> HealthReport:
        """Look once, now, and tell whoever wants to know. Raises nothing but cancellation."""
        memory, loop = self._memory, asyncio.get_running_loop()
        at_s = loop.time()
        ping_s, query_s, error = await self._measure()
        report = HealthReport(
            at_s=at_s,
            ping_s=ping_s,
            query_s=query_s,
            error=error,
            pool=self._pool.statistics(),
            pool_before=memory.pool,
            breaker_open_s=self._breaker_open_s(loop.time()),
        )
        memory.pool, memory.latest = report.pool, report
        memory.failures = 0 if error is None else memory.failures + 1
        if memory.failures and memory.failures == self.settings.recycle_after:
            self._pool.recycle()
        _tell(self._on_report, report)
        for change in self._board.update(assess(report, self.thresholds)):
            _tell(self._on_alert, change)
        return report

    async def _run(self) -> None:
        while True:
            await self.check()
            await asyncio.sleep(self.settings.interval_s)

    async def _measure(self) -> tuple[float | None, float | None, str | None]:
        """Return how long ping and query took, and what went wrong."""
        loop = asyncio.get_running_loop()
        ping_s = query_s = None
        limits = self.settings
        try:
            started_s = loop.time()
            # The pool and the driver keep these limits themselves, and say what was lacking.
            async with self._pool.connection(timeout_s=limits.ping_limit_s) as connection:
                left_s = started_s + limits.ping_limit_s - loop.time()
                await connection.execute(TRIAL, timeout=max(left_s, _LEAST_S))
                ping_s = loop.time() - started_s
                started_s = loop.time()
                writable = await connection.fetchval(QUERY, timeout=limits.query_limit_s)
                query_s = loop.time() - started_s
        except Exception as error:
            step = "ping" if ping_s is None else "query"
            return ping_s, query_s, f"{step}: {str(error) or 'no answer in time'}"
        return ping_s, query_s, None if writable else "query: the server accepts no writes"

    def _breaker_open_s(self, now_s: float) -> float:
        memory = self._memory
        if self._breaker_state is None or self._breaker_state() is BreakerState.CLOSED:
            memory.breaker_open_since_s = None
            return 0.0
        # Half-open counts as well: a breaker that probes in vain has not recovered.
        if memory.breaker_open_since_s is None:
            memory.breaker_open_since_s = now_s
        return now_s - memory.breaker_open_since_s


def _tell(listener: Callable[..., None] | None, news: object) -> None:
    if listener is None:
        return
    try:
        listener(news)
    except Exception as error:
        log_failure(
            _log, "a listener of the health monitor failed; the monitor goes on", error=error
        )
