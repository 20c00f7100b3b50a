"""An outage as Prometheus sees it: a repository, and everything beside it, watched."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ftrepo.errors import CallRefusedError, KeyNotFoundError, TimeLimitError
from ftrepo.fault_tolerant import FaultTolerantRepository
from ftrepo.policy import Policy
from ftrepo.postgres import ConnectionSettings, Pool
from ftrepo.postgres.alerts import HealthReport
from ftrepo.resilience import (
    BackoffSettings,
    BreakerSettings,
    BreakerShares,
    Bulkhead,
    BulkheadSettings,
    CircuitBreaker,
    RateLimiter,
    RateLimitSettings,
    Retry,
    RetryBudget,
    TimeLimit,
)
from ftrepo.telemetry.metrics import Metrics
from ftrepo.telemetry.prometheus import register
from tests.laboratory import Laboratory, make_key, refuse, run_laboratory

T = TypeVar("T")

OUTAGE = refuse(5.0, 25.0)

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
"""The value of each series, by its name and its labels."""


def scrape(registry: CollectorRegistry) -> Samples:
    """What a scrape says now, read back from the text that Prometheus gets."""
    samples: Samples = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            series = sample.name, frozenset(sample.labels.items())
            assert series not in samples, f"{series} twice"
            samples[series] = sample.value
    return samples


def value(samples: Samples, name: str, **labels: str) -> float:
    """One of them."""
    return samples[name, frozenset(labels.items())]


async def play(lab: Laboratory, repository: FaultTolerantRepository, until_s: float) -> None:
    """A key is created, asked for, and a made-up one too, ten times a second."""
    number = 0
    while lab.loop.time() < until_s:
        key = make_key(f"k{lab.loop.time():.1f}", lifetime_s=1_000.0)
        await repository.create(key)
        await repository.get(key.id)
        try:
            await repository.get(f"made-up-{number}")
        except KeyNotFoundError:
            number += 1
        await asyncio.sleep(0.1)


async def play_another_dependency(metrics: Metrics) -> None:
    """A breaker that trips on a rate, before something that fails, with retries on a budget."""
    breaker = CircuitBreaker(BreakerSettings(failure_rate=0.5, window_calls_min=2), name="issuer")
    breaker.add_listener(metrics.breaker_changed)
    budget = RetryBudget(name="issuer")
    pauses = BackoffSettings(attempts_max=3, first_s=0.1)
    retry = Retry(pauses, idempotent=True, operation="fetch", budget=budget, observe=metrics)
    metrics.watch_breakers([breaker])
    metrics.watch_retry_budgets([budget])

    async def fetch() -> None:
        raise ConnectionError("no route")

    for _ in range(3):
        try:
            await retry.call(breaker.call, fetch)
        except (ConnectionError, CallRefusedError):
            continue


async def play_limits(metrics: Metrics, breaker: CircuitBreaker | None) -> None:
    """One of each, all of one name: two calls have a place, one waits, and three are refused.

    A turn a second is left of ten while the breaker is open. One call has outlived its time limit.
    """
    bulkhead = Bulkhead(
        BulkheadSettings(concurrency_max=2, queue_max=1, queue_timeout_s=None), name="issuer"
    )
    limiter = RateLimiter(
        RateLimitSettings(rate_per_s=10.0, burst=4.0),
        name="issuer",
        follow=breaker,
        shares=BreakerShares(while_open=0.1),
    )
    time_limit = TimeLimit(0.1, name="issuer")
    metrics.watch_limits([bulkhead, limiter, time_limit])

    async def hang() -> None:
        try:
            await asyncio.sleep(3600.0)
        except asyncio.CancelledError:
            await asyncio.sleep(3600.0)

    for _ in range(6):
        task = asyncio.create_task(bulkhead.call(asyncio.sleep, 3600.0))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
    for _ in range(5):
        with suppress(CallRefusedError):
            await limiter.acquire()
    with suppress(TimeLimitError):
        await time_limit.call(hang)


def in_an_outage(ask: Callable[[Laboratory, CollectorRegistry], Awaitable[T]], *, at_s: float) -> T:
    """Return what is asked at one moment of a story whose primary is away from 5 s to 25 s."""

    async def story(lab: Laboratory) -> T:
        metrics, registry = Metrics(), CollectorRegistry()
        register(metrics, registry)
        repository = FaultTolerantRepository(
            lab.primary, Policy(pending_max=1_000), now=lab.now, observers=[metrics]
        )
        pool = Pool(ConnectionSettings(dsn="postgresql://nobody@127.0.0.1:1/nothing"))
        pool.open()
        report = HealthReport(
            at_s=0.0, ping_s=0.01, query_s=0.01, error=None, pool=pool.statistics()
        )
        async with repository:
            metrics.watch(repository)
            metrics.watch_pool(pool)
            metrics.watch_health(SimpleNamespace(latest=report))
            await play_another_dependency(metrics)
            await play_limits(metrics, repository.breaker)
            await play(lab, repository, at_s)
            return await ask(lab, registry)

    return run_laboratory(story, [OUTAGE])
