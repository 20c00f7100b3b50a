"""`GET /metrics`: everything that is measured, as Prometheus reads it.

The registry is the service's own, so two services in one process do not mix. The figures are read
by the event loop, in between two requests; a thousand series take some milliseconds. Nobody is ever
refused them, so all who ask within a moment get the same: a flood of questions then costs no more
than one to anything else.
"""

from __future__ import annotations

import asyncio
import math
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

SHARED_S = 0.25
"""For how long all who ask get one reading: too short for anybody who scrapes to notice it, and
all of them together take some hundredths of a processor."""


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
    text, read_s = b"", -math.inf

    @routes.get(
        METRICS,
        operation_id="getMetrics",
        summary="Everything that is measured, for Prometheus",
        response_class=MetricsAnswer,
        responses=problem_answers(413, 431),
    )
    async def metrics() -> MetricsAnswer:
        nonlocal text, read_s
        now_s = asyncio.get_running_loop().time()
        if now_s - read_s >= SHARED_S:
            text, read_s = generate_latest(registry), now_s
        return MetricsAnswer(text)

    return routes
