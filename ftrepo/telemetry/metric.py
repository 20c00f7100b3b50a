"""What a row of the table of metrics says. Every exporter, and the manual, are made from the rows.

A name has dots, as OpenTelemetry wants it; Prometheus gets the same name with underscores, its base
unit and `_total`, which is also what an OpenTelemetry collector makes of it. So one dashboard reads
both.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ftrepo.resilience.breaker import BreakerState

STATES = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}
"""The number of a breaker's state: the greater, the worse, so that `max` finds the worst."""

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Bounds of the histograms, in seconds: Prometheus' usual ones, up to longer than any time-out."""

_UNIT_WORDS = {"s": "_seconds", "By": "_bytes"}

Value = float | None
"""What is read; `None` if there is nothing to be read for now."""


class Kind(enum.Enum):
    """How a metric moves."""

    COUNTER = "counter"
    """Only up. It begins at zero with the process."""
    GAUGE = "gauge"
    """Up and down."""
    HISTOGRAM = "histogram"
    """A distribution, in buckets."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Metric:
    """One thing that is measured.

    Attributes:
        name: with dots.
        kind: how it moves.
        unit: in UCUM's spelling: "s", "By", or what is counted in braces; empty for a plain number.
        help: one sentence.
        labels: for each label its values, or `None` if names from outside come in. Any other value
            is reported as "other".
        read: how a metric is read that no event counts: from what is watched, and the loop's time.
        merged: what becomes of two gauges that are both reported as "other".
    """

    name: str
    kind: Kind
    unit: str
    help: str
    labels: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict)
    read: Callable[[Any, float], Value] | None = None
    merged: Callable[[float, float], float] = max

    @property
    def prometheus_name(self) -> str:
        """The name of its series in Prometheus; a histogram's end in `_bucket` and so on."""
        name = self.name.replace(".", "_") + _UNIT_WORDS.get(self.unit, "")
        return name + ("_total" if self.kind is Kind.COUNTER else "")
