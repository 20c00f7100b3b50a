"""The application: routes, and what stands around them.

It serves nothing that a browser would show: no documentation pages, which load code from elsewhere.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from ftrepo.errors import FtrepoError
from ftrepo.service.http.counts import ServiceCounts
from ftrepo.service.http.endpoints import OPENAPI
from ftrepo.service.http.envelope import Envelope, Problems
from ftrepo.service.http.health import health_routes
from ftrepo.service.http.internal import internal_routes
from ftrepo.service.http.keys import key_routes
from ftrepo.service.http.limits import (
    BodyLimit,
    HeaderLimit,
    InFlightLimit,
    RateLimit,
    TimeLimit,
)
from ftrepo.service.http.metrics import metric_routes
from ftrepo.service.http.one_reading import OneReading
from ftrepo.service.http.openapi import openapi_document
from ftrepo.service.http.resources import VERSION, LoopLag
from ftrepo.service.http.tokens import token_routes

if TYPE_CHECKING:
    from ftrepo.service.http.openapi import OpenApi
    from ftrepo.service.running import Service


def create_app(service: Service) -> FastAPI:
    """Return the application for a service that has not been started.

    Its lifespan enters the service and leaves it, so it may be started once.
    """
    lag = LoopLag()
    counts = ServiceCounts(service, lag)
    problems = Problems()
    app = _App(
        title="ftrepo token exchange",
        version=VERSION,
        openapi_url=OPENAPI,
        docs_url=None,
        redoc_url=None,
        # /keys/ is not /keys: there is one address for each thing.
        redirect_slashes=False,
        lifespan=_lifespan(service, lag),
        middleware=_middleware(service, problems, counts),
        exception_handlers=dict.fromkeys(
            (FtrepoError, HTTPException, RequestValidationError), problems.handle
        ),
        # What it records of a request may be a token; this service counts for itself.
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )
    for routes in (
        token_routes(service, counts),
        key_routes(service),
        internal_routes(service),
        health_routes(service, counts, lag),
        metric_routes(service, counts),
    ):
        app.include_router(routes)
    return app


class _App(FastAPI):
    def openapi(self) -> OpenApi:
        """Return the OpenAPI document, made once."""
        if self.openapi_schema is None:
            self.openapi_schema = openapi_document(super().openapi())
        return self.openapi_schema


def _middleware(service: Service, problems: Problems, counts: ServiceCounts) -> list[Middleware]:
    """From the outside in."""
    server = service.settings.server
    return [
        Middleware(Envelope, problems=problems, counts=counts),
        Middleware(OneReading),
        Middleware(HeaderLimit),
        Middleware(InFlightLimit, requests_in_flight_max=server.requests_in_flight_max),
        Middleware(RateLimit, limits=service.settings.limits),
        Middleware(TimeLimit, timeout_s=server.request_timeout_s),
        Middleware(BodyLimit, body_bytes_max=server.body_bytes_max),
    ]


def _lifespan(service: Service, lag: LoopLag) -> Any:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        async with service, lag.measured():
            yield

    return lifespan
