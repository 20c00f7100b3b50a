from __future__ import annotations

import asyncio
import subprocess
import sys
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, start_http_server

from ftrepo.fault_tolerant import FaultTolerantRepository
from ftrepo.memory import InMemoryRepository
from ftrepo.telemetry.metric import Kind
from ftrepo.telemetry.metrics import METRICS, Metrics
from ftrepo.telemetry.prometheus import register
from tests.laboratory import EPOCH, Laboratory, make_key
from tests.scraped import Samples, in_an_outage, scrape, value


async def scraped(_: Laboratory, registry: CollectorRegistry) -> Samples:
    """What a scrape says at this moment."""
    return scrape(registry)


def test_an_outage_shows_in_a_scrape() -> None:
    """While the primary is away: the breaker is open, keys wait, and memory answers."""
    samples = in_an_outage(scraped, at_s=20.0)
    assert value(samples, "circuit_breaker_state", breaker="primary") == 2.0
    assert value(samples, "ftrepo_primary_up") == 0.0
    assert value(samples, "ftrepo_pending_keys") > 100
    assert 14.0 < value(samples, "ftrepo_pending_oldest_age_seconds") < 15.1
    assert value(samples, "circuit_breaker_failures_total", breaker="primary") >= 5
    assert value(samples, "ftrepo_served_from_memory_total", reason="unavailable") > 100
    assert value(samples, "ftrepo_cache_misses_total") > 100
    assert value(samples, "ftrepo_keys_created_total", durability="memory") > 100
    assert value(samples, "retry_attempts_total", operation="fetch") == 2.0
    assert value(samples, "circuit_breaker_rejections_total", breaker="issuer") > 0
    assert value(samples, "ftrepo_keys_dropped_total", reason="shutdown") == 0.0


def test_the_end_of_an_outage_shows_in_a_scrape() -> None:
    """Afterwards: the breaker is closed, nothing waits, and what waited was flushed."""
    samples = in_an_outage(scraped, at_s=60.0)
    assert value(samples, "circuit_breaker_state", breaker="primary") == 0.0
    assert value(samples, "ftrepo_primary_up") == 1.0
    assert value(samples, "ftrepo_pending_keys") == 0
    flushed = value(samples, "ftrepo_keys_flushed_total")
    assert flushed == value(samples, "ftrepo_keys_created_total", durability="memory")
    assert value(samples, "ftrepo_flush_duration_seconds_count") == value(
        samples, "ftrepo_flushes_total", outcome="confirmed"
    )


def test_limits_show_in_a_scrape() -> None:
    """A bulkhead, a rate limiter and a time limit of one name are told apart by their kind."""

    def of(kind: str, samples: Samples) -> dict[str, float]:
        labels = frozenset({("limit", "issuer"), ("kind", kind)})
        return {name: found for (name, has), found in samples.items() if has == labels}

    samples = in_an_outage(scraped, at_s=20.0)
    assert of("bulkhead", samples) == {
        "call_limit_under_way": 2.0,
        "call_limit_under_way_max": 2.0,
        "call_limit_waiting": 1.0,
        "call_limit_admitted_total": 2.0,
        "call_limit_refusals_total": 3.0,
    }
    assert of("rate limiter", samples) == {
        "call_limit_waiting": 0.0,
        "call_limit_admitted_total": 4.0,
        "call_limit_refusals_total": 1.0,
        "call_limit_calls_per_second": 1.0,
    }
    assert of("time limit", samples) == {
        "call_limit_under_way": 1.0,
        "call_limit_left_behind": 1.0,
        "call_limit_admitted_total": 1.0,
        "call_limit_refusals_total": 0.0,
        "call_limit_timeouts_total": 1.0,
    }


def test_counters_grow_through_an_outage() -> None:
    """No counter is smaller at a later scrape, and none disappears."""
    monotone = {metric.prometheus_name for metric in METRICS if metric.kind is Kind.COUNTER}

    async def both(lab: Laboratory, registry: CollectorRegistry) -> tuple[Samples, Samples]:
        first = scrape(registry)
        await lab.until(40.0)
        return first, scrape(registry)

    first, second = in_an_outage(both, at_s=10.0)
    counters = {series: count for series, count in first.items() if series[0] in monotone}
    assert len(counters) > 50
    assert all(second[series] >= count for series, count in counters.items())


def test_every_row_is_shown_in_an_outage() -> None:
    """With everything watched there is no row of the table without a series."""
    samples = in_an_outage(scraped, at_s=20.0)
    shown = {name for name, _ in samples}
    for metric in METRICS:
        suffix = "_bucket" if metric.kind is Kind.HISTOGRAM else ""
        assert metric.prometheus_name + suffix in shown, metric.name
    for name, labels in samples:
        rows = [each for each in METRICS if name.startswith(each.prometheus_name)]
        metric = max(rows, key=lambda row: len(row.prometheus_name))
        assert {label for label, _ in labels} - {"le"} == set(metric.labels), name


def test_a_registry_shows_one_of_them() -> None:
    """Names must not repeat in a scrape; who registers twice is told at once."""
    registry = CollectorRegistry()
    collector = register(Metrics(), registry)
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        register(Metrics(), registry)
    registry.unregister(collector)
    register(Metrics(), registry)


def test_a_server_in_another_thread_shows_a_running_repository() -> None:
    """`start_http_server` scrapes from its own thread, and still does when all is over."""
    registry = CollectorRegistry()

    def text_of(port: int) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            return str(answer.read().decode())

    async def main(port: int) -> str:
        def now():  # type: ignore[no-untyped-def]
            return EPOCH

        metrics = Metrics()
        register(metrics, registry)
        primary = InMemoryRepository(now=now)
        async with FaultTolerantRepository(primary, now=now, observers=[metrics]) as keys:
            metrics.watch(keys)
            await keys.create(make_key("k"))
            return await asyncio.to_thread(text_of, port)

    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    try:
        text = asyncio.run(main(server.server_port))
        assert "ftrepo_cache_entries 1.0" in text
        assert 'circuit_breaker_state{breaker="primary"} 0.0' in text
        assert "ftrepo_cache_entries 1.0" in text_of(server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_package_loads_no_metrics_library() -> None:
    """Who wants no metrics needs neither library, not even installed."""
    code = (
        "import sys, ftrepo, ftrepo.telemetry\n"
        "print([name for name in sys.modules if 'prometheus' in name or 'opentelemetry' in name])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
