"""Looks at the parts of the service and says how they are. Nobody is asked, nothing is awaited.

Whoever asks for health, asks often and in the worst of times; the database is looked at by its own
monitor, at intervals.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING

from ftrepo.resilience.breaker import BreakerState
from ftrepo.service.http import health_documents as documents
from ftrepo.service.http.health_documents import Dependency
from ftrepo.service.http.resources import VERSION, LoopLag, resources
from ftrepo.telemetry.counted import JOURNAL_FAILURES

if TYPE_CHECKING:
    from datetime import datetime

    from ftrepo.resilience import CircuitBreaker
    from ftrepo.service.providers import ProviderStatus
    from ftrepo.service.running import Service

JOURNAL_TROUBLE_S = 300.0
"""For how long a failure of the journal shows: longer than anybody looks the other way."""

_PROVIDER_STATES: dict[str, documents.State] = {
    "fresh": "up",
    "stale": "degraded",
    "unusable": "down",
    "never": "unknown",
}


def why_not_ready(service: Service) -> list[str]:
    """Return why the service should get no requests; nothing if it should.

    A database that is down is no reason: the service was made to go on without.
    """
    reasons = []
    if service.stopping:
        reasons.append("stopping")
    if not service.key_life.ready:
        reasons.append("no-signing-key")
    if not reasons and not service.is_ready:
        reasons.append("not-running")
    return reasons


class JournalWatch:
    """Remembers when the journal was last seen to have failed again."""

    def __init__(self) -> None:
        self._failures = 0
        self._failed_s: float | None = None

    def has_failed_lately(self, failures: int, now_s: float) -> bool:
        """Say whether there was a failure within `JOURNAL_TROUBLE_S`.

        Args:
            failures: how often it has failed, since the start.
            now_s: the loop's time.
        """
        if failures > self._failures:
            self._failures, self._failed_s = failures, now_s
        return self._failed_s is not None and now_s - self._failed_s < JOURNAL_TROUBLE_S


def health(service: Service, journal: JournalWatch) -> documents.Health:
    """Return how the service is."""
    dependencies = _dependencies(service, journal)
    if why_not_ready(service):
        status: documents.Status = "unhealthy"
    elif all(each.state in ("up", "unknown") for each in dependencies.values()):
        status = "healthy"
    else:
        status = "degraded"
    return documents.Health(status=status, dependencies=dependencies, breakers=_breakers(service))


def detailed_health(
    service: Service, journal: JournalWatch, lag: LoopLag, *, requests_in_flight: int
) -> documents.DetailedHealth:
    """Return how the service is, and all that an operator may want to know."""
    return documents.DetailedHealth(
        **dict(health(service, journal)),
        version=VERSION,
        uptime_s=0.0 if service.started_at is None else _age_s(service, service.started_at),
        requests_in_flight=requests_in_flight,
        database=_database(service),
        cache=_cache(service),
        pending=_pending(service),
        signing_key=_signing_key(service),
        providers=[
            documents.Provider.model_validate(asdict(each)) for each in service.providers.statuses()
        ],
        peers=_peers(service),
        resources=documents.Resources.model_validate(resources(lag)),
    )


def _dependencies(service: Service, journal: JournalWatch) -> dict[str, Dependency]:
    dependencies = {"database": _database_state(service)}
    if _has_journal(service):
        now_s = asyncio.get_running_loop().time()
        is_bad = journal.has_failed_lately(_journal_failures(service), now_s)
        dependencies["journal"] = (
            Dependency(state="degraded", detail="a write failed or came too late")
            if is_bad
            else Dependency(state="up")
        )
    for status in service.providers.statuses():
        dependencies[f"provider:{status.name}"] = _provider_state(status)
    return dependencies


def _database_state(service: Service) -> Dependency:
    state, monitor = service.repository.breaker_state, service.monitor
    latest = None if monitor is None else monitor.latest
    if service.schema.is_outdated:
        return Dependency(state="down", detail="its tables are not up to date: run the migrations")
    if state is not BreakerState.CLOSED:
        return Dependency(state="down", detail=f"its breaker is {state.value}")
    if latest is not None and latest.error is not None:
        return Dependency(
            state="down", detail=f"its last check failed at the {_step(latest.error)}"
        )
    if service.repository.breaker is None and latest is None:
        return Dependency(state="unknown")
    return Dependency(state="up")


def _provider_state(status: ProviderStatus) -> Dependency:
    if status.state == "never" and status.last_error is not None:
        return Dependency(state="down", detail=status.last_error)
    return Dependency(state=_PROVIDER_STATES[status.state], detail=status.last_error)


def _breakers(service: Service) -> list[documents.Breaker]:
    breakers = list(service.breakers)
    if service.repository.breaker is not None:
        breakers.insert(0, service.repository.breaker)
    now_s = asyncio.get_running_loop().time()
    return [_breaker(service, each, now_s) for each in breakers]


def _breaker(service: Service, breaker: CircuitBreaker, now_s: float) -> documents.Breaker:
    changed_s, last_change = breaker.changed_at_s, None
    if changed_s is not None:
        last_change = service.now() - timedelta(seconds=max(0.0, now_s - changed_s))
    return documents.Breaker(
        name=breaker.name,
        state=breaker.state.value,
        is_forced_open=breaker.is_forced_open,
        last_change=last_change,
        retry_after_s=breaker.retry_after_s(now_s),
        counts=breaker.counts._asdict(),
    )


def _database(service: Service) -> documents.Database | None:
    if service.pool is None:
        return None
    pool = asdict(service.pool.statistics())
    monitor = service.monitor
    if monitor is None or monitor.latest is None:
        return documents.Database(pool=pool)
    latest = monitor.latest
    return documents.Database(
        checked_s_ago=asyncio.get_running_loop().time() - latest.at_s,
        ping_s=latest.ping_s,
        query_s=latest.query_s,
        failed_step=None if latest.error is None else _step(latest.error),
        alerts=[documents.Alert(name=each.name, level=each.level.value) for each in monitor.alerts],
        pool=pool,
    )


def _step(error: str) -> str:
    """At which step a check failed. What the driver said then may name hosts, and stays here."""
    return error.partition(":")[0]


def _cache(service: Service) -> documents.Cache:
    repository = service.repository
    return documents.Cache(
        entries=len(repository.cache),
        entries_max=repository.policy.cache_entries_max,
        size_bytes=repository.cache.nbytes,
        hits=repository.lookup.hits,
        misses=repository.lookup.misses,
    )


def _pending(service: Service) -> documents.Pending:
    return documents.Pending(
        keys=len(service.repository.pending),
        oldest_age_s=service.repository.oldest_pending_age_s,
        journal=_has_journal(service),
        journal_failures=_journal_failures(service),
    )


def _has_journal(service: Service) -> bool:
    return service.settings.journal and service.policy.pending_writes


def _journal_failures(service: Service) -> int:
    values = service.metrics.read().values.items()
    return int(sum(value for (metric, _), value in values if metric is JOURNAL_FAILURES))


def _signing_key(service: Service) -> documents.SigningKey | None:
    pair = service.key_life.current
    if pair is None:
        return None
    return documents.SigningKey(
        key_id=pair.public.id,
        age_s=_age_s(service, pair.public.created),
        may_sign_for_s=service.key_life.may_sign_for_s,
    )


def _peers(service: Service) -> list[documents.Peer]:
    statuses = () if service.peers is None else service.peers.statuses()
    return [
        documents.Peer(
            number=number,
            answers=each.answers,
            failures=each.failures,
            is_failing=each.last_error is not None,
        )
        for number, each in enumerate(statuses, 1)
    ]


def _age_s(service: Service, since: datetime) -> float:
    return max(0.0, (service.now() - since).total_seconds())
