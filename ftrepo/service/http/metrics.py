"""`GET /metrics`: everything that is measured, as Prometheus reads it.

The registry is the service's own, so two services in one process do not mix. The figures are read
by the event loop, in between two requests; a thousand series take some milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from starlette.responses import Response

from ftrepo.service.http.documents import problem_answers
from ftrepo.service.http.endpoints import METRICS
from ftrepo.service.http.metric_table import SERVICE_METRICS
from ftrepo.telemetry.prometheus import MetricsCollector, register

if TYPE_CHECKING:
    from ftrepo.service.http.counts import ServiceCounts
    from ftrepo.service.running import Service

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""The text format that every Prometheus reads, whatever it asks for."""


class MetricsAnswer(Response):
    """The figures."""

    media_type = MEDIA_TYPE


def metric_routes(service: Service, counts: ServiceCounts) -> APIRouter:
    """Return the route that Prometheus scrapes."""
    routes = APIRouter(tags=["health"])
    registry = CollectorRegistry()
    register(service.metrics, registry)
    registry.register(MetricsCollector(counts, SERVICE_METRICS))
    ProcessCollector(registry=registry)

    @routes.get(
        METRICS,
        operation_id="getMetrics",
        summary="Everything that is measured, for Prometheus",
        response_class=MetricsAnswer,
        responses=problem_answers(413, 431),
    )
    async def metrics() -> MetricsAnswer:
        return MetricsAnswer(generate_latest(registry))

    return routes
