"""`GET /health` and its relatives, for people, for alerts, and for whoever routes or restarts.

::

    /health/live      the event loop answers: if not, restart it
    /health/ready     it can issue tokens: if not, send it no requests
    /health           how it is, with dependencies and breakers
    /health/detailed  all that an operator may want to know

A database that is down makes it neither dead nor unready: restarting would only lose what is in
memory. None of them shows a secret or an address; the last two are for operators all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from starlette.responses import Response

from ftrepo.service.http.documents import problem_answers
from ftrepo.service.http.endpoints import HEALTH, HEALTH_DETAILED, LIVE, READY
from ftrepo.service.http.health_documents import DetailedHealth, Health, Probe
from ftrepo.service.http.health_reports import (
    JournalWatch,
    detailed_health,
    health,
    why_not_ready,
)

if TYPE_CHECKING:
    from pydantic import BaseModel

    from ftrepo.service.http.counts import ServiceCounts
    from ftrepo.service.http.resources import LoopLag
    from ftrepo.service.running import Service

_TOO_LARGE = problem_answers(413, 431)


def health_routes(service: Service, counts: ServiceCounts, lag: LoopLag) -> APIRouter:
    """Return the routes by which the service is looked after."""
    routes = APIRouter(tags=["health"])
    journal = JournalWatch()

    @routes.get(
        LIVE,
        operation_id="isLive",
        summary="Whether the event loop answers",
        response_model=Probe,
        responses=_TOO_LARGE,
    )
    async def live() -> Response:
        return _json(Probe(status="ok"), 200)

    @routes.get(
        READY,
        operation_id="isReady",
        summary="Whether it should get requests",
        response_model=Probe,
        responses=_TOO_LARGE | _not_well(Probe, "It should get none."),
    )
    async def ready() -> Response:
        reasons = why_not_ready(service)
        status = 503 if reasons else 200
        return _json(Probe(status="not-ready" if reasons else "ok", reasons=reasons), status)

    @routes.get(
        HEALTH,
        operation_id="getHealth",
        summary="How the service is",
        response_model=Health,
        responses=_TOO_LARGE | _not_well(Health, "It can issue no token."),
    )
    async def get_health() -> Response:
        return _health(health(service, journal))

    @routes.get(
        HEALTH_DETAILED,
        operation_id="getDetailedHealth",
        summary="How the service is, and all that an operator may want to know",
        response_model=DetailedHealth,
        responses=_TOO_LARGE | _not_well(DetailedHealth, "It can issue no token."),
    )
    async def get_detailed_health() -> Response:
        in_flight = counts.in_flight
        return _health(detailed_health(service, journal, lag, requests_in_flight=in_flight))

    return routes


def _not_well(document: type[BaseModel], description: str) -> dict[int | str, Any]:
    return {503: {"model": document, "description": description}}


def _health(report: Health) -> Response:
    return _json(report, 503 if report.status == "unhealthy" else 200)


def _json(document: BaseModel, status: int) -> Response:
    return Response(document.model_dump_json(), status, media_type="application/json")
