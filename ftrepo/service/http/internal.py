"""`GET /internal/keys` and `GET /internal/keys/{key_id}`: what other instances ask in an outage.

They are answered from memory alone, so no question goes round in circles. Without peers in the
settings there is nothing here.
"""

from __future__ import annotations

import asyncio
import hmac
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from ftrepo.errors import InvalidKeyError
from ftrepo.resilience import SingleFlight
from ftrepo.service.http.documents import (
    KEY_ID_PARAMETER,
    PeerKey,
    PeerKeys,
    problem_answers,
)
from ftrepo.service.http.endpoints import PEER_KEY, PEER_KEYS
from ftrepo.service.http.errors import KeyAbsentError, PeerNotAuthenticatedError
from ftrepo.service.keys import to_wire

if TYPE_CHECKING:
    from ftrepo.service.running import Service

WRITTEN_AT_ONCE = 100
"""How many keys of a list are written in one turn of the loop: some 5 ms."""

_SECURITY: dict[str, Any] = {"security": [{"peer": []}]}
_REFUSALS = problem_answers(401, 404, 413, 431, 503)


def internal_routes(service: Service) -> APIRouter:
    """Return the routes by which instances ask each other."""
    routes = APIRouter(tags=["instances"])
    lists: SingleFlight[None, list[dict[str, object]]] = SingleFlight()

    @routes.get(
        PEER_KEY,
        operation_id="getPeerKey",
        summary="One key from this instance's memory",
        response_model=PeerKey,
        responses=_REFUSALS,
        openapi_extra=KEY_ID_PARAMETER | _SECURITY,
    )
    async def get_peer_key(request: Request) -> JSONResponse:
        _must_be_peer(service, request)
        key = service.repository.at_hand(request.path_params["key_id"])
        if key is None:
            raise KeyAbsentError(max_age_s=0)
        return JSONResponse(to_wire(key))

    @routes.get(
        PEER_KEYS,
        operation_id="getPeerKeys",
        summary="Every key of this instance's memory",
        response_model=PeerKeys,
        responses=_REFUSALS,
        openapi_extra=_SECURITY,
    )
    async def get_peer_keys(request: Request) -> JSONResponse:
        _must_be_peer(service, request)

        async def write() -> list[dict[str, object]]:
            return await _all_at_hand(service)

        keys, _ = await lists.run(None, write)
        return JSONResponse({"keys": keys})

    return routes


def _must_be_peer(service: Service, request: Request) -> None:
    peers = service.settings.peers
    if peers is None:
        raise HTTPException(404)
    given = request.headers.getlist("authorization")
    # Header values are Latin-1. The comparison takes as long wherever the two differ.
    offered = given[0].encode("latin-1") if len(given) == 1 else b""
    accepted = [each for each in (peers.secret, peers.next_secret) if each is not None]
    matches = [
        hmac.compare_digest(offered, f"Bearer {each.get_secret_value()}".encode())
        for each in accepted
    ]
    if not any(matches):
        raise PeerNotAuthenticatedError("the secret is missing or wrong")


async def _all_at_hand(service: Service) -> list[dict[str, object]]:
    """Every key of memory, written down without holding the event loop up for long."""
    told: list[dict[str, object]] = []
    for number, key in enumerate(service.repository.all_at_hand(), 1):
        try:
            told.append(to_wire(key))
        except InvalidKeyError:
            continue  # It is no key, and of no use to anybody. The key set logs it.
        if number % WRITTEN_AT_ONCE == 0:
            await asyncio.sleep(0)
    return told
