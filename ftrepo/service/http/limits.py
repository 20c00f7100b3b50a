"""Limits on requests, each a middleware that raises; `envelope` answers.

From the outside in: headers, requests in flight, rates, time, body. What is refused costs a few
microseconds, and nothing of it is read. The endpoints of `NEVER_LIMITED` have neither a rate nor a
place among the requests in flight.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ftrepo.resilience import TokenBucket
from ftrepo.service.http.callers import CallerBuckets, caller_of
from ftrepo.service.http.endpoints import (
    EXCHANGE,
    KEY,
    KEY_SET,
    NEVER_LIMITED,
    SERVICE,
    endpoint_of_scope,
)
from ftrepo.service.http.errors import (
    BodyTooLargeError,
    HeadersTooLargeError,
    RequestTimeLimitError,
    RequestTooSlowError,
    TooManyInFlightError,
    TooManyRequestsError,
)
from ftrepo.service.http.middleware import HttpMiddleware

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from ftrepo.service.settings import Limits, LimitSettings

HEADER_BYTES_MAX = 32_768
"""Of all headers together, names included: twice what a token in Authorization may have. Servers
have a limit of their own above it."""


class HeaderLimit(HttpMiddleware):
    """Refuses requests with too many bytes of headers."""

    def __init__(self, app: ASGIApp, *, header_bytes_max: int = HEADER_BYTES_MAX) -> None:
        super().__init__(app)
        self._header_bytes_max = header_bytes_max

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = sum(len(name) + len(value) for name, value in scope["headers"])
        size += len(scope.get("raw_path") or b"") + len(scope["query_string"])
        if size > self._header_bytes_max:
            raise HeadersTooLargeError(f"{size} bytes of headers")
        await self._app(scope, receive, send)


class _Places:
    """So many requests may be at something at once."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._taken = 0

    def take(self) -> None:
        if self._taken >= self._places:
            # Nobody waits: a queue would make everybody late and nobody quicker.
            raise TooManyInFlightError(f"{self._places} requests are under way", retry_after_s=1.0)
        self._taken += 1

    def leave(self) -> None:
        self._taken -= 1


class InFlightLimit(HttpMiddleware):
    """Refuses requests while as many as may be are under way.

    As many again may wait for their bodies, and hold none of the other places meanwhile. So callers
    who send theirs slowly keep each other from tokens, and nobody from keys: those who ask for keys
    send no body.

    Args:
        app: what answers.
        requests_in_flight_max: at least 1.
    """

    def __init__(self, app: ASGIApp, *, requests_in_flight_max: int) -> None:
        super().__init__(app)
        self._working = _Places(requests_in_flight_max)
        self._waiting = _Places(requests_in_flight_max)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if endpoint_of_scope(scope) in NEVER_LIMITED:
            await self._app(scope, receive, send)
            return
        self._working.take()
        held = self._working

        async def receive_elsewhere() -> Message:
            nonlocal held
            self._waiting.take()
            held.leave()
            held = self._waiting
            message = await receive()
            self._working.take()
            held.leave()
            held = self._working
            return message

        try:
            await self._app(scope, receive_elsewhere, send)
        finally:
            held.leave()


class _EndpointRate:
    """How often the endpoints of one limit may be asked."""

    def __init__(self, settings: LimitSettings) -> None:
        self._everybody = TokenBucket(settings.rate_per_s, settings.burst)
        self._callers = CallerBuckets(settings.caller_rate_per_s, settings.caller_burst)

    def take(self, caller: str, now_s: float) -> None:
        """Take a turn, or say when there will be one.

        The caller's own limit comes first: one that asks too often uses up nothing of the others.
        """
        bucket = self._callers.bucket(caller)
        if not bucket.take(now_s):
            raise TooManyRequestsError("by this caller", retry_after_s=bucket.wait_s(now_s))
        if not self._everybody.take(now_s):
            bucket.add(1.0)
            wait_s = self._everybody.wait_s(now_s)
            raise TooManyRequestsError("by all callers", retry_after_s=wait_s)


class RateLimit(HttpMiddleware):
    """Refuses requests to an endpoint that was asked too often, by the caller or by all."""

    def __init__(self, app: ASGIApp, *, limits: Limits) -> None:
        super().__init__(app)
        keys = _EndpointRate(limits.keys)
        self._rates = {
            KEY: keys,
            KEY_SET: keys,
            EXCHANGE: _EndpointRate(limits.exchange),
            SERVICE: _EndpointRate(limits.service),
        }

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        rate = self._rates.get(endpoint_of_scope(scope))
        if rate is not None:
            rate.take(caller_of(scope), asyncio.get_running_loop().time())
        await self._app(scope, receive, send)


class TimeLimit(HttpMiddleware):
    """Gives up requests that take too long: a body that does not come, or an answer.

    Args:
        app: what answers.
        timeout_s: from the arrival of the headers to the end of the answer.
    """

    def __init__(self, app: ASGIApp, *, timeout_s: float) -> None:
        super().__init__(app)
        self._timeout_s = timeout_s

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_body, waits_for_body = False, False

        async def receive_in_time() -> Message:
            nonlocal has_body, waits_for_body
            waits_for_body = not has_body
            message = await receive()
            waits_for_body = False
            has_body = not message.get("more_body", False)
            return message

        try:
            async with asyncio.timeout(self._timeout_s) as limit:
                await self._app(scope, receive_in_time, send)
        except TimeoutError as error:
            if not limit.expired():
                raise
            if waits_for_body:
                message = f"the body did not come within {self._timeout_s:g} s"
                raise RequestTooSlowError(message) from error
            raise RequestTimeLimitError(f"no answer within {self._timeout_s:g} s") from error


class BodyLimit(HttpMiddleware):
    """Refuses bodies that are too large: by what they say, or while they come.

    Args:
        app: what answers.
        body_bytes_max: the most bytes of a body.
    """

    def __init__(self, app: ASGIApp, *, body_bytes_max: int) -> None:
        super().__init__(app)
        self._max = body_bytes_max

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        for name, value in scope["headers"]:
            # One that is no number is the server's to refuse; here the bytes are counted anyway.
            if name == b"content-length" and value.isdigit() and self._is_more(value):
                raise BodyTooLargeError(f"more than {self._max} bytes")
        size = 0

        async def receive_counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._max:
                raise BodyTooLargeError(f"more than {self._max} bytes")
            return message

        await self._app(scope, receive_counted, send)

    def _is_more(self, digits: bytes) -> bool:
        # A number of thousands of digits is not worth converting, and Python refuses to.
        digits = digits.lstrip(b"0")
        return len(digits) > len(str(self._max)) or int(digits or b"0") > self._max
