"""Every figure at one moment, for an exporter to show."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass

from ftrepo.telemetry.metric import BUCKETS_S, Metric

Labels = tuple[str, ...]
Series = tuple[Metric, Labels]


@dataclass(frozen=True, slots=True)
class Distribution:
    """The values that a histogram has seen.

    Attributes:
        counts: how many fell into each bucket of `BUCKETS_S`, and above the last.
        total: their sum.
    """

    counts: tuple[int, ...]
    total: float


@dataclass(frozen=True, slots=True)
class Reading:
    """Every series at one moment.

    Attributes:
        at_s: when, by the loop's clock; `None` if there is no loop.
        values: counters and gauges.
        distributions: histograms.
    """

    at_s: float | None
    values: Mapping[Series, float]
    distributions: Mapping[Series, Distribution]

    def by_metric(self) -> Mapping[Metric, Mapping[Labels, float]]:
        """The value for each combination of labels, for each counter and gauge."""
        found: dict[Metric, dict[Labels, float]] = {}
        for (metric, labels), value in self.values.items():
            found.setdefault(metric, {})[labels] = value
        return found


class Histogram:
    """Puts values into buckets."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Take a value in."""
        self.counts[bisect_left(BUCKETS_S, value)] += 1
        self.total += value

    def distribution(self) -> Distribution:
        """What it has seen so far."""
        return Distribution(tuple(self.counts), self.total)
