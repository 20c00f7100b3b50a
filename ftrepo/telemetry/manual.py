"""The table of metrics as the manual shows it. `python -m ftrepo metrics` prints it."""

from __future__ import annotations

from collections.abc import Sequence

from ftrepo.telemetry.metric import Kind, Metric
from ftrepo.telemetry.metrics import METRICS

_UNITS = {"s": "seconds", "By": "bytes", "": ""}


def metrics_table(metrics: Sequence[Metric] = METRICS) -> str:
    """Return every metric as a row of Markdown: its names, labels, unit and meaning.

    Args:
        metrics: the rows; those of the repository by default.
    """
    rows = [
        "| Prometheus | OpenTelemetry | kind | labels | unit | meaning |",
        "|---|---|---|---|---|---|",
        *map(_row, metrics),
    ]
    return "\n".join(rows) + "\n"


def _row(metric: Metric) -> str:
    name = metric.prometheus_name
    if metric.kind is Kind.HISTOGRAM:
        name += "_bucket"
    labels = ", ".join(
        f"`{label}`" if values is None else f"`{label}`: {', '.join(values)}"
        for label, values in metric.labels.items()
    )
    unit = _UNITS.get(metric.unit) or metric.unit.strip("{}")
    kind = metric.kind.value
    return f"| `{name}` | `{metric.name}` | {kind} | {labels} | {unit} | {metric.help} |"
