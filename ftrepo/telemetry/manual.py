"""The table of metrics as the manual shows it. `python -m ftrepo metrics` prints it."""

from __future__ import annotations

from ftrepo.telemetry.metric import Kind, Metric
from ftrepo.telemetry.metrics import METRICS

_UNITS = {"s": "seconds", "By": "bytes", "": ""}


def metrics_table() -> str:
    """Return every metric as a row of Markdown: its names, labels, unit and meaning."""
    rows = [
        "| Prometheus | OpenTelemetry | kind | labels | unit | meaning |",
        "|---|---|---|---|---|---|",
        *map(_row, METRICS),
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
