"""`Metrics` as a collector of `prometheus_client`, which reads them when Prometheus scrapes.

::

    metrics = Metrics()
    async with FaultTolerantRepository(primary, observers=[log_event, metrics]) as keys:
        metrics.watch(keys)
        register(metrics)
        prometheus_client.start_http_server(9464)

Needs `pip install 'ftrepo[prometheus]'`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Protocol

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector

from ftrepo.telemetry.metric import BUCKETS_S, Kind, Metric
from ftrepo.telemetry.metrics import METRICS, Metrics
from ftrepo.telemetry.reading import Reading

_BOUNDS = [*map(str, BUCKETS_S), "+Inf"]


Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class Readable(Protocol):
    """Whatever has figures to show, such as a `Metrics`."""

    def read(self) -> Reading:
        """Return every series as it is now. Any thread that shows them calls this."""
        ...


class MetricsCollector(Collector):
    """Shows one `Metrics`. A registry can have one of them, because names must not repeat.

    Args:
        metrics: is read at each scrape.
        table: the rows that are shown.
    """

    def __init__(self, metrics: Readable, table: Sequence[Metric] = METRICS) -> None:
        self._metrics = metrics
        self._table = table

    def describe(self) -> Iterable[Family]:
        """Every family, empty: registering looks at the names and reads nothing."""
        return map(_family, self._table)

    def collect(self) -> Iterator[Family]:
        """Every family as it is now. May be called in any thread, and does not raise."""
        reading = self._metrics.read()
        values = reading.by_metric()
        for metric in self._table:
            family = _family(metric)
            if isinstance(family, HistogramMetricFamily):
                for (each, labels), seen in reading.distributions.items():
                    if each is metric:
                        counts = accumulate(seen.counts)
                        family.add_metric(
                            labels, list(zip(_BOUNDS, counts, strict=True)), seen.total
                        )
            else:
                for labels, value in values.get(metric, {}).items():
                    family.add_metric(labels, value)
            yield family


def register(metrics: Metrics, registry: CollectorRegistry = REGISTRY) -> MetricsCollector:
    """Let a registry of `prometheus_client` show these metrics.

    Args:
        metrics: may begin to watch things later.
        registry: by default the one that `start_http_server` shows.

    Returns:
        What `registry.unregister` takes.

    Raises:
        ValueError: the registry shows a `Metrics` already.
    """
    collector = MetricsCollector(metrics)
    registry.register(collector)
    return collector


def _family(metric: Metric) -> Family:
    name, labels = metric.prometheus_name.removesuffix("_total"), list(metric.labels)
    if metric.kind is Kind.COUNTER:
        return CounterMetricFamily(name, metric.help, labels=labels)
    if metric.kind is Kind.GAUGE:
        return GaugeMetricFamily(name, metric.help, labels=labels)
    return HistogramMetricFamily(name, metric.help, labels=labels)
