"""`Metrics` as instruments of an OpenTelemetry meter.

::

    metrics = Metrics()
    async with FaultTolerantRepository(primary, observers=[log_event, metrics]) as keys:
        metrics.watch(keys)
        export(metrics)

Only the API is needed, `pip install 'ftrepo[opentelemetry]'`. Where the figures go is decided by
the SDK that the application sets up; without one they go nowhere, at no cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from opentelemetry.metrics import CallbackOptions, Meter, Observation, get_meter

from ftrepo.telemetry.metric import BUCKETS_S, Kind, Metric
from ftrepo.telemetry.metrics import METRICS, Metrics
from ftrepo.telemetry.reading import Labels


class _Collection:
    """One reading for all instruments of one collection, which ask one after the other.

    An instrument that asks twice begins another collection.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._served: set[Metric] = set()
        self._values: Mapping[Metric, Mapping[Labels, float]] = {}

    def callback(self, metric: Metric) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            if metric in self._served or not self._served:
                self._values = self._metrics.read().by_metric()
                self._served = set()
            self._served.add(metric)
            return [
                Observation(value, dict(zip(metric.labels, labels, strict=True)))
                for labels, value in self._values.get(metric, {}).items()
            ]

        return observe


def export(metrics: Metrics, meter: Meter | None = None) -> None:
    """Make an instrument for each metric.

    Counters and gauges are read when the SDK collects, in whichever thread that does; durations are
    recorded as they are measured, because there are no histograms that could be read.

    Args:
        metrics: may begin to watch things later. Exported once: there is no way to take
            instruments back.
        meter: by default the one called "ftrepo" of the global provider.
    """
    meter = meter or get_meter("ftrepo")
    collection = _Collection(metrics)
    histograms = {}
    for metric in METRICS:
        about = {"unit": metric.unit, "description": metric.help}
        if metric.kind is Kind.HISTOGRAM:
            histograms[metric] = meter.create_histogram(
                metric.name, explicit_bucket_boundaries_advisory=BUCKETS_S, **about
            )
        elif metric.kind is Kind.COUNTER:
            meter.create_observable_counter(metric.name, [collection.callback(metric)], **about)
        else:
            meter.create_observable_gauge(metric.name, [collection.callback(metric)], **about)

    def record(metric: Metric, labels: Labels, value: float) -> None:
        histograms[metric].record(value, dict(zip(metric.labels, labels, strict=True)))

    metrics.record_with(record)
