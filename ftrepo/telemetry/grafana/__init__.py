"""A dashboard and alert rules, made for the names in the table of metrics."""

from ftrepo.telemetry.grafana.dashboard import alerts_yaml, dashboard, dashboard_json

__all__ = ["alerts_yaml", "dashboard", "dashboard_json"]
