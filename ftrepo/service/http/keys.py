"""`GET /keys/{key_id}` and `GET /.well-known/jwks.json`: what verifiers ask."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from ftrepo.errors import KeyNotFoundError, KeyUnavailableError
from ftrepo.service.http.caching import cached
from ftrepo.service.http.documents import (
    CACHE_HEADERS,
    KEY_ID_PARAMETER,
    KEY_SET_TYPE,
    KEY_TYPE,
    NOT_MODIFIED,
    Key,
    KeySet,
    problem_answers,
)
from ftrepo.service.http.endpoints import KEY, KEY_SET
from ftrepo.service.http.errors import KeyAbsentError
from ftrepo.service.http.key_documents import (
    KeySetDocument,
    key_document,
    key_max_age_s,
    key_set_max_age_s,
)

if TYPE_CHECKING:
    from ftrepo.service.running import Service

COMPLETE_HEADER = "Key-Set-Complete"
"""Whether the set has every valid key: a boolean of RFC 9651, `?1` or `?0`. `Warning`, which was
for such things, is obsolete (RFC 9111, section 5.5)."""


KEY_DOCUMENTS_MAX = 1000
"""How many keys are kept as they are sent, those asked for lately: half a megabyte. To write one
takes longer than all else of an answer."""


class KeyAnswer(JSONResponse):
    """A JWK."""

    media_type = KEY_TYPE


class KeySetAnswer(JSONResponse):
    """A JWK set."""

    media_type = KEY_SET_TYPE


def key_routes(service: Service) -> APIRouter:
    """Return the routes by which verifiers find keys."""
    routes = APIRouter(tags=["keys"])
    settings = service.settings.keys
    key_set_document = KeySetDocument()
    written = lru_cache(maxsize=KEY_DOCUMENTS_MAX)(key_document)

    @routes.get(
        KEY,
        operation_id="getKey",
        summary="One public key, as a JWK",
        response_class=KeyAnswer,
        response_model=Key,
        responses={200: {"headers": CACHE_HEADERS}}
        | NOT_MODIFIED
        | problem_answers(404, 413, 429, 431, 503),
        openapi_extra=KEY_ID_PARAMETER,
    )
    async def get_key(request: Request) -> Response:
        try:
            key = await service.repository.get(request.path_params["key_id"])
        except KeyUnavailableError:
            raise
        except KeyNotFoundError as error:
            raise KeyAbsentError(max_age_s=settings.absent_max_age_s) from error
        return cached(
            request,
            written(key),
            media_type=KEY_TYPE,
            max_age_s=key_max_age_s(key, service.now(), max_age_s=settings.max_age_s),
        )

    @routes.get(
        KEY_SET,
        operation_id="getKeySet",
        summary="Every valid public key, as a JWK set",
        response_class=KeySetAnswer,
        response_model=KeySet,
        responses={
            200: {
                "headers": CACHE_HEADERS
                | {
                    COMPLETE_HEADER: {
                        "description": "?0 if the database could not be asked, so that keys may "
                        "be lacking.",
                        "schema": {"type": "string", "enum": ["?0", "?1"]},
                    }
                },
            }
        }
        | NOT_MODIFIED
        | problem_answers(413, 429, 431, 503),
    )
    async def get_key_set(request: Request) -> Response:
        published = await service.key_set.current()
        return cached(
            request,
            key_set_document.of(published),
            media_type=KEY_SET_TYPE,
            max_age_s=key_set_max_age_s(published, service.now(), max_age_s=settings.max_age_s),
            headers={COMPLETE_HEADER: "?1" if published.is_complete else "?0"},
        )

    return routes
