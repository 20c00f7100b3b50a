"""`POST /token/exchange` and `POST /token/service`: the use cases, over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from ftrepo.service.errors import InvalidClientError, NotServedError, TokenRequestError
from ftrepo.service.http.documents import (
    EXCHANGE_FORM,
    SERVICE_FORM,
    Token,
    form_body,
    problem_answers,
    token_refusals,
)
from ftrepo.service.http.endpoints import EXCHANGE, SERVICE
from ftrepo.service.http.problems import problem_of
from ftrepo.service.tokens import Form, IssuedToken, parse_form

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ftrepo.service.http.counts import ServiceCounts, TokenKind
    from ftrepo.service.running import Service

_NEVER_STORED = {"Cache-Control": "no-store", "Pragma": "no-cache"}
"""Source: RFC 6749, section 5.1."""

_REFUSALS = token_refusals() | problem_answers(408, 413, 429, 431, 503)


class TokenAnswer(JSONResponse):
    """A token, which no cache may store."""

    def __init__(self, issued: IssuedToken, *, names_type: bool) -> None:
        document: dict[str, str | int] = {
            "access_token": issued.token,
            "token_type": "Bearer",
            "expires_in": issued.expires_in_s,
        }
        if names_type:  # RFC 8693, section 2.2.1; RFC 6749 does not know it.
            document["issued_token_type"] = str(issued.issued_token_type)
        if issued.scopes:
            document["scope"] = " ".join(issued.scopes)
        super().__init__(document, headers=_NEVER_STORED)


def token_routes(service: Service, counts: ServiceCounts) -> APIRouter:
    """Return the routes by which tokens are issued."""
    routes = APIRouter(tags=["tokens"])

    @routes.post(
        EXCHANGE,
        operation_id="exchangeToken",
        summary="Exchange the token of a provider for one of this service (RFC 8693)",
        response_model=Token,
        responses=_REFUSALS,
        openapi_extra=form_body(EXCHANGE_FORM),
    )
    async def exchange(request: Request) -> TokenAnswer:
        async def issue() -> IssuedToken:
            form, authorization = await _form(request), _authorization(request)
            return await service.exchange.exchange(form, authorization=authorization)

        return TokenAnswer(await _counted(counts, "exchange", issue), names_type=True)

    @routes.post(
        SERVICE,
        operation_id="issueServiceToken",
        summary="Issue a token for a service that proves who it is (RFC 6749, section 4.4)",
        response_model=Token,
        responses=_REFUSALS,
        openapi_extra=form_body(SERVICE_FORM),
    )
    async def issue_for_service(request: Request) -> TokenAnswer:
        async def issue() -> IssuedToken:
            form, authorization = await _form(request), _authorization(request)
            return service.service_tokens.issue(authorization, form)

        return TokenAnswer(await _counted(counts, "service", issue), names_type=False)

    return routes


async def _counted(
    counts: ServiceCounts, kind: TokenKind, issue: Callable[[], Awaitable[IssuedToken]]
) -> IssuedToken:
    try:
        issued = await issue()
    except (TokenRequestError, NotServedError) as error:
        counts.token_refused(kind, problem_of(error).reason)
        raise
    counts.token_issued(kind)
    return issued


async def _form(request: Request) -> Form:
    content_types = request.headers.getlist("content-type")
    if len(content_types) > 1:
        raise TokenRequestError("there is more than one Content-Type")
    if request.scope["query_string"]:
        # A secret in an address ends up in logs (RFC 6749, section 2.3.1).
        raise TokenRequestError("parameters belong into the body, not into the address")
    return parse_form(content_types[0] if content_types else None, await request.body())


def _authorization(request: Request) -> str | None:
    given = request.headers.getlist("authorization")
    if len(given) > 1:
        raise InvalidClientError
    return given[0] if given else None
