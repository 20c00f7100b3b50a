"""Refuses requests that somebody else may read in another way than we do.

Two lengths: a proxy that goes by one and a server that goes by the other disagree on where the next
request begins, and one caller can slip it in for another. A server may read such a request, but
must close the connection then (RFC 9112, section 6.1), which uvicorn does not.

A path that is none of the service's: the framework's routes also match one with a line break at
its end (`/token/exchange%0A`), which limits and metrics take for unknown. What is routed must be
what was counted and limited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException

from ftrepo.service.http.endpoints import UNKNOWN, endpoint_of_scope
from ftrepo.service.http.middleware import HttpMiddleware

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

_LENGTHS = frozenset({b"content-length", b"transfer-encoding"})


class OneReading(HttpMiddleware):
    """Answers 400 and closes the connection, or 404; everything else can be read in one way."""

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if {name for name, _ in scope["headers"]} >= _LENGTHS:
            raise HTTPException(400, headers={"Connection": "close"})
        if endpoint_of_scope(scope) == UNKNOWN:
            raise HTTPException(404)
        await self._app(scope, receive, send)
