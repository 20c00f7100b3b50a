"""Around everything: each request has an id, a count and an answer, whatever becomes of it.

The outermost middleware. What the layers inside raise, and nobody has answered, is answered here.
A HEAD is answered as a GET without its body (RFC 9110, section 9.3.2), so no route needs to know.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from ftrepo.service.http.counts import ServiceCounts
from ftrepo.service.http.endpoints import endpoint_of_scope
from ftrepo.service.http.errors import BrokenOffError
from ftrepo.service.http.metric_table import METHODS
from ftrepo.service.http.middleware import HttpMiddleware
from ftrepo.service.http.problems import answer, problem_of
from ftrepo.service.http.refusal_log import RefusalLog
from ftrepo.service.http.request_ids import HEADER, SCOPE_KEY, new_request_id, request_id_of

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

CALLER_LEFT = 499
"""The status under which requests are counted whose caller did not wait; nginx' number for it."""


class Problems:
    """Answers errors and logs them, whether the framework's handlers catch them or not."""

    def __init__(self) -> None:
        self._log = RefusalLog()

    async def handle(self, request: Request, error: Exception) -> Response:
        """Answer an error of a route; of the form that the framework wants."""
        if isinstance(error, HTTPException) and error.status_code == 405:
            allowed = _allowed(error)
            if request.method == "OPTIONS":
                return Response(status_code=204, headers={"Allow": allowed})
            error = HTTPException(405, headers={"Allow": allowed})
        return self.answer(request.scope, error)

    def answer(self, scope: Scope, error: BaseException) -> Response:
        """Return what is answered to an error, and log it."""
        problem, request_id = problem_of(error), scope[SCOPE_KEY]
        self._log(
            problem,
            error,
            request_id=request_id,
            endpoint=endpoint_of_scope(scope),
            method=scope["method"] if scope["method"] in METHODS else "other",
            now_s=asyncio.get_running_loop().time(),
        )
        return answer(problem, request_id)


def _allowed(error: HTTPException) -> str:
    """The methods that the framework allows, and those that the envelope adds."""
    methods = {each.strip() for each in (error.headers or {}).get("Allow", "").split(",")}
    more = {"HEAD", "OPTIONS"} if "GET" in methods else {"OPTIONS"}
    return ", ".join(sorted(methods - {""} | more))


class _Answer:
    """One request and its answer, on its way out."""

    def __init__(self, scope: Scope, send: Send, request_id: str) -> None:
        self.status: int | None = None
        self._send = send
        self._request_id = request_id.encode()
        self._is_head = scope["method"] == "HEAD"

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": self._headers(message.get("headers", ()))}
        elif self._is_head and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await self._send(message)

    def _headers(self, given: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        headers = [*given, (HEADER.encode(), self._request_id)]
        headers.append((b"x-content-type-options", b"nosniff"))
        if not any(name.lower() == b"cache-control" for name, _ in given):
            headers.append((b"cache-control", b"no-store"))
        return headers


class Envelope(HttpMiddleware):
    """The outermost middleware.

    Args:
        app: everything else.
        problems: answers what is raised.
        counts: is told of every request.
        make_id: returns an id for a request that brings none.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        problems: Problems,
        counts: ServiceCounts,
        make_id: Callable[[], str] = new_request_id,
    ) -> None:
        super().__init__(app)
        self._problems = problems
        self._counts = counts
        self._make_id = make_id

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        loop, counts = asyncio.get_running_loop(), self._counts
        started_s, method = loop.time(), scope["method"]
        request_id = scope[SCOPE_KEY] = request_id_of(scope, self._make_id)
        outgoing = _Answer(scope, send, request_id)
        if method == "HEAD":
            scope["method"] = "GET"
        counts.in_flight += 1
        try:
            await self._answered(scope, receive, outgoing)
        finally:
            counts.in_flight -= 1
            status = outgoing.status or CALLER_LEFT
            counts.answered(endpoint_of_scope(scope), method, status, loop.time() - started_s)

    async def _answered(self, scope: Scope, receive: Receive, outgoing: _Answer) -> None:
        try:
            await self._app(scope, receive, outgoing.send)
        except ClientDisconnect:
            return  # Nobody is there to read an answer.
        except Exception as error:
            response = self._problems.answer(scope, error)
            if outgoing.status is not None:
                # Only breaking the connection off says that the answer is not whole.
                raise BrokenOffError("half an answer is out") from error
            await response(scope, receive, outgoing.send)
