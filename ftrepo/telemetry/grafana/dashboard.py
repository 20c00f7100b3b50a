"""The dashboard as the JSON that Grafana imports, and the alert rules beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.resources import files
from typing import Any

from ftrepo.telemetry.grafana.breaker_panels import BREAKERS, HEALTH, LIMITS, RETRIES
from ftrepo.telemetry.grafana.panel import Panel
from ftrepo.telemetry.grafana.repository_panels import CACHE, PENDING, PRIMARY
from ftrepo.telemetry.grafana.service_panels import SERVICE

ROWS = {
    "Is all well?": HEALTH,
    "Service": SERVICE,
    "Breakers": BREAKERS,
    "Primary": PRIMARY,
    "Pending writes": PENDING,
    "Memory": CACHE,
    "Retries": RETRIES,
    "Limits": LIMITS,
}
"""The panels in the order in which somebody looks who was woken up."""

SELECTOR = 'job=~"$job",instance=~"$instance"'
"""What `$here` stands for."""

RUNBOOKS = "docs/operations.md"
"""The operations guide, as the shipped rules name it."""

_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_COLUMNS = 24
_HEIGHTS = {"stat": 4, "states": 6, "graph": 7}
_TYPES = {"stat": "stat", "states": "state-timeline", "graph": "timeseries"}


def dashboard() -> dict[str, Any]:
    """Return the dashboard. It works from Grafana 10 on, and asks for its data source."""
    return {
        "uid": "ftrepo",
        "title": "ftrepo: service, keys, breakers and the primary",
        "description": "How to read each panel is said beside its title.",
        "tags": ["ftrepo"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "graphTooltip": 1,
        "templating": {"list": list(_variables())},
        "panels": list(_placed()),
    }


def dashboard_json() -> str:
    """Return the dashboard as text; the same every time."""
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


def alerts_yaml(runbooks: str = RUNBOOKS) -> str:
    """Return the alert rules, as the file that Prometheus reads.

    Args:
        runbooks: where the operations guide is: an address to which `#` and an alert's name are
            added, for the annotation `runbook_url`.
    """
    text = (files("ftrepo.telemetry.grafana") / "alerts.yml").read_text(encoding="utf-8")
    return text.replace(f"runbook_url: {RUNBOOKS}#", f"runbook_url: {runbooks}#")


def _variables() -> Iterable[dict[str, Any]]:
    yield {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
    for name, metric in (
        ("job", "ftrepo_readings_age_seconds"),
        ("instance", 'ftrepo_readings_age_seconds{job=~"$job"}'),
        ("breaker", f"circuit_breaker_state{{{SELECTOR}}}"),
    ):
        query = f"label_values({metric}, {name})"
        yield {
            "name": name,
            "label": name.capitalize(),
            "type": "query",
            "datasource": _DATASOURCE,
            "query": {"query": query, "refId": name},
            "definition": query,
            "refresh": 2,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": ["All"], "value": ["$__all"]},
        }


def _placed() -> Iterable[dict[str, Any]]:
    number = y = 0
    for title, panels in ROWS.items():
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "collapsed": False,
            "panels": [],
            "gridPos": {"x": 0, "y": y, "w": _COLUMNS, "h": 1},
        }
        x, y, height = 0, y + 1, 0
        for panel in panels:
            if x + panel.width > _COLUMNS:
                x, y, height = 0, y + height, 0
            number += 1
            height = max(height, _HEIGHTS[panel.form])
            place = {"x": x, "y": y, "w": panel.width, "h": _HEIGHTS[panel.form]}
            yield {"id": number, "gridPos": place} | _shown(panel)
            x += panel.width
        y += height


def _shown(panel: Panel) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "min": 0,
        "thresholds": {"mode": "absolute", "steps": _steps(panel)},
        "mappings": _mappings(panel),
        "color": {"mode": "palette-classic" if panel.form == "graph" else "thresholds"},
    }
    options: dict[str, Any] = {}
    if panel.form == "graph":
        defaults["custom"] = {"fillOpacity": 8, "showPoints": "never", "spanNulls": False}
        options = {"legend": {"displayMode": "list", "placement": "bottom"}}
    elif panel.form == "stat":
        options = {"colorMode": "background", "reduceOptions": {"calcs": ["lastNotNull"]}}
    return {
        "type": _TYPES[panel.form],
        "title": panel.title,
        "description": panel.reading,
        "datasource": _DATASOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": _DATASOURCE,
                "expr": query.replace("$here", SELECTOR),
                "legendFormat": legend or "__auto",
            }
            for number, (query, legend) in enumerate(panel.queries)
        ],
    }


def _steps(panel: Panel) -> list[dict[str, Any]]:
    colours = ["red"] if len(panel.steps) == 1 else ["yellow", "red"]
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    return steps + [
        {"color": colour, "value": value}
        for colour, value in zip(colours, panel.steps, strict=False)
    ]


def _mappings(panel: Panel) -> list[dict[str, Any]]:
    options = {
        str(value): {"text": text, "color": colour, "index": value}
        for value, text, colour in panel.names
    }
    return [{"type": "value", "options": options}] if options else []
