"""Every answer has an id and safe headers, whatever becomes of its request."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any

import httpx2
import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from ftrepo.service.http.errors import BrokenOffError
from ftrepo.service.http.metric_table import REQUESTS, REQUESTS_IN_FLIGHT
from tests.ftrepo.service.http.serving import SECRET, Served, serve

SECRET_TEXT = "connection to db-7 failed: password=hunter2hunter2"


class Failing:
    """A repository's `get` that fails in a way that nobody foresaw."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def __call__(self, key_id: str) -> Any:
        raise self._error


def failing(served: Served, error: Exception) -> None:
    """Let every look-up fail."""
    served.service.repository.get = Failing(error)  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("given", "is_taken"),
    [
        ("abc-123", True),
        ("a" * 64, True),
        ("a" * 65, False),
        ("", False),
        ("a b", False),
        ('a"b', False),
        ("{jndi}", False),
        (None, False),
    ],
)
def test_a_well_formed_request_id_is_taken_and_any_other_is_made(
    given: str | None, is_taken: bool
) -> None:
    """It comes back in the header and, if there is a problem, in its instance."""

    async def story(served: Served) -> httpx2.Response:
        headers = {} if given is None else {"x-request-id": given}
        return await served.client.get("/nowhere", headers=headers)

    answer = serve(story)
    (request_id,) = answer.headers.get_list("x-request-id")
    assert (request_id == given) is is_taken
    assert is_taken or re.fullmatch("[0-9a-f]{32}", request_id)
    assert answer.json()["instance"] == f"urn:ftrepo:request:{request_id}"


@pytest.mark.parametrize("path", ["/health/live", "/nowhere", "/keys/x", "/.well-known/jwks.json"])
def test_every_answer_has_each_header_once(path: str) -> None:
    """Nothing is stored by accident, and no browser guesses a type."""

    async def story(served: Served) -> httpx2.Response:
        return await served.get(path)

    headers = serve(story).headers
    for name in ("x-request-id", "x-content-type-options", "cache-control", "content-type"):
        assert len(headers.get_list(name)) == 1, name
    assert headers["x-content-type-options"] == "nosniff"
    assert "server" not in headers


@pytest.mark.parametrize("path", ["/.well-known/jwks.json", "/health", "/nowhere", "/keys/unknown"])
def test_head_is_get_without_its_body(path: str) -> None:
    """Headers are the same, the length of what a GET would send among them."""

    async def story(served: Served) -> tuple[httpx2.Response, httpx2.Response]:
        return await served.client.get(path), await served.client.head(path)

    got, headed = serve(story)
    assert headed.status_code == got.status_code
    assert headed.content == b""
    ignored = {"x-request-id", "content-length"} if path == "/health" else {"x-request-id"}
    for name in set(got.headers) - ignored:
        assert headed.headers[name] == got.headers[name], name


def test_options_says_what_may_be_done_and_allows_no_other_site_anything() -> None:
    """There are no headers of CORS: nothing here is for a browser on another site."""

    async def story(served: Served) -> list[httpx2.Response]:
        return [
            await served.client.options(path, headers={"origin": "https://evil.example"})
            for path in ("/.well-known/jwks.json", "/token/exchange")
        ]

    keys, exchange = serve(story)
    assert keys.status_code == exchange.status_code == 204
    assert keys.headers["allow"] == "GET, HEAD, OPTIONS"
    assert exchange.headers["allow"] == "OPTIONS, POST"
    assert not [name for name in keys.headers if name.startswith("access-control")]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "POST", "BREW"])
def test_another_method_is_405_and_says_which_are_allowed(method: str) -> None:
    """As RFC 9110, section 15.5.6, asks."""

    async def story(served: Served) -> httpx2.Response:
        return await served.client.request(method, "/health")

    answer = serve(story)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"
    assert answer.json()["type"] == "urn:ftrepo:problem:method-not-allowed"


@pytest.mark.parametrize(
    "error", [ValueError(SECRET_TEXT), OSError(SECRET_TEXT), ExceptionGroup("g", [KeyError("x")])]
)
def test_an_error_that_nobody_foresaw_is_500_and_says_nothing(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has one line, with the request's id and the cause, and no secret."""

    async def story(served: Served) -> httpx2.Response:
        failing(served, error)
        return await served.get("/keys/some-key", x_request_id="id-1")

    with caplog.at_level(logging.INFO, "ftrepo.service.http"):
        answer = serve(story)
    assert answer.status_code == 500
    assert answer.json()["type"] == "urn:ftrepo:problem:internal-error"
    assert answer.json().keys() == {"type", "title", "status", "detail", "instance"}
    assert "db-7" not in answer.text
    (line,) = [each for each in caplog.messages if "id-1" in each]
    assert type(error).__name__ in line
    assert "/keys/{key_id}" in line
    assert "hunter2" not in line


def test_a_refusal_is_logged_once_and_without_what_was_sent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Endpoint, status, reason and id are fields of the record."""

    async def story(served: Served) -> None:
        await served.client.post(
            "/token/service",
            data={"grant_type": "client_credentials", "client_id": "x", "client_secret": SECRET},
            headers={"x-request-id": "id-2"},
        )

    with caplog.at_level(logging.DEBUG, "ftrepo"):
        serve(story)
    (record,) = [each for each in caplog.records if getattr(each, "request_id", "") == "id-2"]
    assert record.__dict__["endpoint"] == "/token/service"
    assert record.__dict__["status"] == 401
    assert record.__dict__["reason"] == "client-not-authenticated"
    assert SECRET not in caplog.text


def test_a_flood_of_refusals_has_a_few_lines_and_says_how_many_it_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One for each would fill a disk."""

    async def story(served: Served) -> None:
        for _ in range(100):
            await served.get("/nowhere")
        await asyncio.sleep(10.0)
        await served.get("/nowhere")

    with caplog.at_level(logging.INFO, "ftrepo.service.http"):
        serve(story)
    lines = [each for each in caplog.records if getattr(each, "reason", "") == "not-found"]
    assert len(lines) == 11
    assert lines[-1].__dict__["suppressed"] == 90


async def call(
    served: Served, receive: Receive, send: Send, path: str = "/keys/x", method: str = "GET"
) -> None:
    """Make one request as a server would."""
    scope: Scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [],
    }
    await served.app(scope, receive, send)


def test_the_body_of_a_head_is_left_out_whatever_the_server_does() -> None:
    """A server that sent it would put the connection out of step."""

    async def story(served: Served) -> list[Any]:
        sent: list[Any] = []

        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await call(served, receive, send, "/health/live", "HEAD")
        return sent

    start, body = serve(story)
    assert start["status"] == 200
    assert body["body"] == b""


def test_a_caller_who_leaves_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """It is counted under a status of its own, and nothing is logged or left behind."""

    async def story(served: Served) -> str:
        failing(served, ClientDisconnect())

        async def unused(*_: Any) -> Any:
            raise AssertionError("nobody is there")

        await call(served, unused, unused)
        return (await served.get("/metrics")).text

    with caplog.at_level(logging.INFO, "ftrepo.service.http"):
        text = serve(story)
    assert (
        'ftrepo_http_requests_total{endpoint="/keys/{key_id}",method="GET",status="499"} 1' in text
    )
    assert not [each for each in caplog.records if each.name.startswith("ftrepo.service.http")]


def test_half_an_answer_is_broken_off() -> None:
    """Whoever reads it must not take it for the whole."""

    async def story(served: Served) -> None:
        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                raise ValueError("the connection is gone")

        with pytest.raises(BrokenOffError) as caught:
            await call(served, receive, send)
        assert str(caught.value.__cause__) == "the connection is gone"

    serve(story)


def test_requests_under_way_are_counted_down_however_they_end() -> None:
    """By an answer, an error or a caller who left."""

    async def story(served: Served) -> str:
        await served.get("/health")
        failing(served, ValueError())
        await served.get("/keys/x")
        return (await served.get("/metrics")).text

    text = serve(story)
    assert f"{REQUESTS_IN_FLIGHT.prometheus_name} 1.0" in text
    assert REQUESTS.prometheus_name in text
