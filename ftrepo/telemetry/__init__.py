"""Observers that turn events into something an operator sees, and what reads the rest.

Logs need nothing else. `Metrics` counts and reads; the modules `prometheus` and `opentelemetry`
show it, each with the library of its name, which is why they are not imported here.
"""

from ftrepo.telemetry.logs import EventLog, log_event
from ftrepo.telemetry.metrics import METRICS, Metrics

__all__ = ["METRICS", "EventLog", "Metrics", "log_event"]
