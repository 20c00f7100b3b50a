"""What a proxy or the framework may read in another way than the limits is refused."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from ftrepo.service.http.endpoints import EXCHANGE, KEY_SET, METRICS, OPENAPI, PEER_KEYS, SERVICE
from tests.ftrepo.service.http.serving import Served, serve


@pytest.mark.parametrize("path", [EXCHANGE, SERVICE, KEY_SET, METRICS, OPENAPI, PEER_KEYS])
def test_a_line_break_at_the_end_of_a_path_is_another_path(path: str) -> None:
    """It would be served, and neither limited nor counted as what it is."""

    async def story(served: Served) -> list[httpx2.Response]:
        return [await served.client.request(each, f"{path}%0A") for each in ("GET", "POST")]

    for answer in serve(story):
        assert answer.status_code == 404
        assert answer.json()["type"] == "urn:ftrepo:problem:not-found"


@pytest.mark.parametrize("path", ["/token/service", "/health", "/nowhere"])
def test_two_lengths_are_refused_and_the_connection_is_closed(path: str) -> None:
    """Nothing that comes after them can then pass for a request."""

    async def story(served: Served) -> list[Any]:
        sent: list[Any] = []

        async def receive() -> dict[str, object]:
            raise AssertionError("nobody should read the body")

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"transfer-encoding", b"chunked"), (b"content-length", b"5")]
        scope = {"type": "http", "method": "POST", "path": path, "query_string": b""}
        await served.app(scope | {"headers": headers}, receive, send)
        return sent

    start, _ = serve(story)
    assert start["status"] == 400
    assert (b"connection", b"close") in start["headers"]
