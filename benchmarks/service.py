"""What a request to the service costs, in answers of a bare FastAPI route.

Both are called through ASGI in one process, without a socket: what is measured is this package and
the framework, and nothing of a server. The bare route answers as many bytes and does nothing else.
So the rest is what makes it a service: limits, request ids, counting, caching headers, the
repository, and for a token the client's secret and a signature.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import logging
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from fastapi import FastAPI
from pydantic import SecretStr
from starlette.responses import Response
from starlette.types import ASGIApp, Message

from benchmarks.memory_latency import FailingPrimary
from ftrepo.resilience import BreakerState
from ftrepo.service.http.app import create_app
from ftrepo.service.running import Service
from ftrepo.service.settings import ClientSettings, Limits, LimitSettings, ServiceSettings

CALLS = 300
PAIRS = 21

SECRET = "a-secret-of-a-benchmark"
FORM = urlencode(
    {"grant_type": "client_credentials", "client_id": "bench", "client_secret": SECRET}
).encode()
_UNLIMITED = LimitSettings(
    rate_per_s=1e6, burst=1_000_000, caller_rate_per_s=1e6, caller_burst=1_000_000
)


class _Request(NamedTuple):
    method: str
    path: str
    body: bytes = b""
    headers: Sequence[tuple[bytes, bytes]] = ()


def service_get_key() -> dict[str, Any]:
    """`GET /keys/{id}` while the primary answers at once."""
    return asyncio.run(_measure("service_get_key", lambda key_id: _Request("GET", _key(key_id))))


def service_get_key_while_down() -> dict[str, Any]:
    """`GET /keys/{id}` in an outage: the breaker is open, and memory answers."""
    name = "service_get_key_while_down"
    return asyncio.run(_measure(name, lambda key_id: _Request("GET", _key(key_id)), down=True))


def service_key_set() -> dict[str, Any]:
    """The set of keys, which most verifiers ask for."""
    request = _Request("GET", "/.well-known/jwks.json")
    return asyncio.run(_measure("service_key_set", lambda _: request))


def service_token() -> dict[str, Any]:
    """A token for a service, signed with Ed25519."""
    headers = [(b"content-type", b"application/x-www-form-urlencoded")]
    request = _Request("POST", "/token/service", FORM, headers)
    return asyncio.run(_measure("service_token", lambda _: request))


def _key(key_id: str) -> str:
    return f"/keys/{key_id}"


async def _measure(
    name: str, request_for: Callable[[str], _Request], *, down: bool = False
) -> dict[str, Any]:
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        primary = FailingPrimary()
        service = Service(_settings(Path(folder)), primary=primary)
        app = create_app(service)
        async with app.router.lifespan_context(app):
            current = service.key_life.current
            assert current is not None
            request = request_for(current.public.id)
            primary.is_down = down
            while down and service.repository.breaker_state is not BreakerState.OPEN:
                await service.repository.get(current.public.id)
            status, length = await _ask(app, request)
            assert status == 200, f"{request.path} answers {status}"
            bare, bare_request = _bare(length), _Request("GET", "/bare")
            times = [
                (await _cpu_s(app, request), await _cpu_s(bare, bare_request)) for _ in range(PAIRS)
            ]
    logging.disable(logging.NOTSET)
    ratio = statistics.median(ours_s / bare_s for ours_s, bare_s in times)
    ours_us = statistics.median(ours_s for ours_s, _ in times) / CALLS * 1e6
    return {
        "name": name,
        "value": round(ratio, 2),
        "unit": "ratio",
        "reference": f"a bare FastAPI route; {ours_us:.0f} µs of CPU a request here",
    }


def _settings(folder: Path) -> ServiceSettings:
    client = ClientSettings(
        id="bench",
        secret_sha256=SecretStr(hashlib.sha256(SECRET.encode()).hexdigest()),
        audiences=("api",),
        scopes=("read",),
    )
    limits = Limits(keys=_UNLIMITED, exchange=_UNLIMITED, service=_UNLIMITED)
    return ServiceSettings(folder=folder, audiences=("api",), clients=(client,), limits=limits)


def _bare(length: int) -> FastAPI:
    app, content = FastAPI(), b"x" * length

    @app.get("/bare")
    async def answer() -> Response:
        return Response(content, media_type="application/json")

    return app


async def _cpu_s(app: ASGIApp, request: _Request) -> float:
    gc.collect()
    start_s = time.process_time()
    for _ in range(CALLS):
        await _ask(app, request)
    return time.process_time() - start_s


async def _ask(app: ASGIApp, request: _Request) -> tuple[int, int]:
    """Make one request. Returns its status and the bytes of its body."""
    status = length = 0

    async def receive() -> Message:
        return {"type": "http.request", "body": request.body, "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status, length
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            length += len(message.get("body", b""))

    scope: dict[str, Any] = {
        "type": "http",
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": request.path,
        "raw_path": request.path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": list(request.headers),
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8080),
    }
    serving: Awaitable[None] = app(scope, receive, send)
    await serving
    return status, length
