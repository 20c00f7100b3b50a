from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader

from ftrepo.errors import BulkheadFullError
from ftrepo.events import Flushed, PendingDropped
from ftrepo.fault_tolerant import FaultTolerantRepository
from ftrepo.resilience import Bulkhead, BulkheadSettings, CircuitBreaker
from ftrepo.telemetry.metric import BUCKETS_S
from ftrepo.telemetry.metrics import METRICS, Metrics
from ftrepo.telemetry.opentelemetry import export
from sim.loop import run_virtual
from tests.laboratory import Laboratory, make_key, refuse, run_laboratory


def exported(metrics: Metrics) -> tuple[InMemoryMetricReader, MeterProvider]:
    """A reader of an SDK whose meter has the instruments."""
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
    export(metrics, provider.get_meter("test"))
    return reader, provider


def collected(reader: InMemoryMetricReader) -> dict[str, Any]:
    """What one collection finds, by name."""
    data = reader.get_metrics_data()
    if data is None:
        return {}
    return {
        metric.name: metric
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def points(metric: Any) -> dict[tuple[str, ...], float]:
    """The values of a counter or gauge, by what its attributes say."""
    return {tuple(p.attributes.values()): p.value for p in metric.data.data_points}


def test_an_outage_shows_in_a_collection() -> None:
    """Counters, gauges and histograms arrive with the names, units and attributes of the table."""

    async def story(lab: Laboratory) -> None:
        metrics = Metrics()
        reader, _ = exported(metrics)
        repository = FaultTolerantRepository(lab.primary, now=lab.now, observers=[metrics])
        async with repository:
            metrics.watch(repository)
            await lab.until(6.0)
            for number in range(7):
                await repository.create(make_key(f"k{number}"))
            during = collected(reader)
            assert points(during["circuit_breaker.state"]) == {("primary",): 2.0}
            assert points(during["ftrepo.pending.keys"]) == {(): 7.0}
            await lab.until(60.0)
            after = collected(reader)
        assert points(after["circuit_breaker.state"]) == {("primary",): 0.0}
        assert points(after["ftrepo.keys.created"])["memory",] == 7.0
        assert after["ftrepo.pending.oldest_age"].unit == "s"
        created = after["ftrepo.keys.created"]
        assert created.data.is_monotonic
        assert created.data.aggregation_temporality is AggregationTemporality.CUMULATIVE
        (flushes,) = after["ftrepo.flush.duration"].data.data_points
        assert flushes.count == points(after["ftrepo.flushes"])["confirmed",] >= 1
        assert flushes.explicit_bounds == BUCKETS_S

    run_laboratory(story, [refuse(5.0, 30.0)])


def test_limits_show_in_a_collection() -> None:
    """Their counts arrive as counters and gauges, with name and kind as attributes."""

    async def main(_: object) -> None:
        metrics = Metrics()
        bulkhead = Bulkhead(BulkheadSettings(concurrency_max=1), name="b")
        metrics.watch_limits([bulkhead])
        reader, _provider = exported(metrics)
        async with bulkhead:
            with pytest.raises(BulkheadFullError):
                await bulkhead.acquire()
            found = collected(reader)
        (under_way,) = found["call_limit.under_way"].data.data_points
        assert under_way.value == 1.0
        assert under_way.attributes == {"limit": "b", "kind": "bulkhead"}
        assert points(found["call_limit.admitted"]) == {("b", "bulkhead"): 1.0}
        assert found["call_limit.refusals"].data.is_monotonic
        assert "call_limit.left_behind" not in found

    run_virtual(main)


def test_every_instrument_is_one_of_the_table() -> None:
    """Nothing is exported under a name, unit or description of its own."""
    metrics = Metrics()
    reader, _ = exported(metrics)
    metrics(Flushed(confirmed=1, remaining=0, duration_s=0.1))
    rows = {metric.name: (metric.unit, metric.help) for metric in METRICS}
    found = collected(reader)
    assert len(found) > 10
    for name, metric in found.items():
        assert (metric.unit, metric.description) == rows[name]


def test_one_collection_is_one_reading() -> None:
    """Fifty instruments ask the loop once, and each collection asks again."""

    async def main(_: object) -> None:
        metrics = Metrics()
        iterations = 0

        class Breakers:
            def __iter__(self):  # type: ignore[no-untyped-def]
                nonlocal iterations
                iterations += 1
                return iter([CircuitBreaker(name="b")])

        metrics.watch_breakers(Breakers())
        reader, _ = exported(metrics)
        for number in range(1, 4):
            metrics(PendingDropped(key_id="k", reason="expired"))
            dropped = collected(reader)["ftrepo.keys.dropped"]
            assert points(dropped)["expired",] == number
            assert iterations == number

    run_virtual(main)


def test_without_an_sdk_nothing_happens() -> None:
    """The API alone takes the instruments and drops what they measure."""
    metrics = Metrics()
    export(metrics)
    metrics(Flushed(confirmed=1, remaining=0, duration_s=0.1))
