"""What is too large, too slow or too often is refused by name, and before it costs anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from laboratory import hang

from ftrepo.service.http.endpoints import NEVER_LIMITED
from tests.ftrepo.service.http.serving import SERVICE_FORM, Served, serve

FORM_TYPE = {"content-type": "application/x-www-form-urlencoded"}
TIGHT = {"rate_per_s": 1.0, "burst": 4, "caller_rate_per_s": 0.5, "caller_burst": 2}


def slug(response: httpx2.Response) -> str:
    """The kind of problem that was answered."""
    assert response.headers["content-type"] == "application/problem+json"
    return str(response.json()["type"]).rpartition(":")[2]


async def chunks(*sizes: int, pause_s: float = 0.0) -> AsyncIterator[bytes]:
    """A body that comes bit by bit, and says nothing of its length."""
    for size in sizes:
        await asyncio.sleep(pause_s)
        yield b"a" * size


@pytest.mark.parametrize("path", ["/token/service", "/token/exchange"])
@pytest.mark.parametrize("declared", [True, False])
def test_a_body_beyond_the_limit_is_refused(path: str, declared: bool) -> None:
    """Whether it says how long it is or not; one at the limit is read."""

    async def story(served: Served) -> list[httpx2.Response]:
        answers = []
        for size in (1000, 1001):
            content: Any = b"a" * size if declared else chunks(600, size - 600)
            answers.append(await served.client.post(path, content=content, headers=FORM_TYPE))
        return answers

    at, beyond = serve(story, server={"body_bytes_max": 1000})
    assert at.status_code == 400
    assert beyond.status_code == 413
    assert beyond.headers["connection"] == "close"
    assert slug(beyond) == "body-too-large"


@pytest.mark.parametrize("length", ["70000", "0" * 5000 + "70000", "9" * 5000])
def test_a_body_that_says_that_it_is_too_long_is_not_waited_for(length: str) -> None:
    """Not even if the number is longer than Python converts."""

    async def story(served: Served) -> tuple[httpx2.Response, float]:
        headers = FORM_TYPE | {"content-length": length}
        content = chunks(1, pause_s=100.0)
        answer = await served.client.post("/token/service", content=content, headers=headers)
        return answer, served.lab.loop.time()

    answer, _ = serve(story)
    assert answer.status_code == 413


def test_a_body_that_comes_too_slowly_is_given_up() -> None:
    """After the time limit, and it is the caller's fault: 408, not 503."""

    async def story(served: Served) -> tuple[httpx2.Response, float]:
        began_s = served.lab.loop.time()
        content = chunks(*[1] * 100, pause_s=0.5)
        answer = await served.client.post("/token/service", content=content, headers=FORM_TYPE)
        return answer, served.lab.loop.time() - began_s

    answer, took_s = serve(story)
    assert answer.status_code == 408
    assert slug(answer) == "request-too-slow"
    assert took_s == pytest.approx(5.0)


def test_an_answer_that_takes_too_long_is_given_up() -> None:
    """The time limit holds whatever the repository waits for."""

    async def story(served: Served) -> tuple[httpx2.Response, float]:
        began_s = served.lab.loop.time()
        answer = await served.get("/keys/unknown")
        return answer, served.lab.loop.time() - began_s

    answer, took_s = serve(story, [hang(0.0, 1e9)], server={"request_timeout_s": 0.3})
    assert answer.status_code == 503
    assert slug(answer) == "timed-out"
    assert answer.headers["retry-after"] == "5"
    assert took_s == pytest.approx(0.3)


def test_more_requests_than_may_be_under_way_are_refused_at_once() -> None:
    """But those of whoever looks after the service never are."""

    async def story(served: Served) -> tuple[list[httpx2.Response], list[httpx2.Response]]:
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(served.get(f"/keys/k{n}")) for n in range(5)]
            await asyncio.sleep(0.1)
            looked = [await served.get(path) for path in sorted(NEVER_LIMITED)]
        return [each.result() for each in waiting], looked

    answers, looked = serve(story, [hang(0.0, 1e9)], server={"requests_in_flight_max": 2})
    assert sorted(map(slug, answers)) == ["key-unavailable"] * 2 + ["too-many-in-flight"] * 3
    assert {each.status_code for each in answers} == {503}
    assert {each.status_code for each in looked} == {200}


def test_a_place_is_free_again_once_a_request_has_ended_however_it_ended() -> None:
    """A caller who leaves, an error and a time-out give it back like an answer."""

    async def story(served: Served) -> httpx2.Response:
        for _ in range(3):
            leaving = asyncio.create_task(served.get("/keys/unknown"))
            await asyncio.sleep(0.01)
            leaving.cancel()
            await asyncio.wait([leaving])
            await served.get("/nowhere")
            await served.get("/keys/another")
        return await served.get("/keys/unknown")

    answer = serve(story, [hang(0.0, 1e9)], server={"requests_in_flight_max": 1})
    assert slug(answer) == "key-unavailable"


def test_who_waits_for_bodies_keeps_nobody_from_keys() -> None:
    """They have places of their own, as many as there are, and give them back."""

    async def story(served: Served) -> tuple[list[httpx2.Response], list[httpx2.Response]]:
        def post() -> asyncio.Task[httpx2.Response]:
            content = chunks(1, pause_s=1.0)
            return asyncio.create_task(
                served.client.post("/token/service", content=content, headers=FORM_TYPE)
            )

        waiting = [post() for _ in range(3)]
        await asyncio.sleep(0.5)
        meanwhile = [await served.get("/.well-known/jwks.json") for _ in range(3)]
        answers = [await each for each in waiting]
        return [*answers, await post()], meanwhile

    answers, meanwhile = serve(story, server={"requests_in_flight_max": 2})
    assert [each.status_code for each in meanwhile] == [200] * 3
    assert [each.status_code for each in answers] == [400, 400, 503, 400]
    assert slug(answers[2]) == "too-many-in-flight"


def test_a_body_that_has_come_needs_a_place_as_every_other_request() -> None:
    """Or a flood of bodies that end together would pass the limit."""

    async def story(served: Served) -> tuple[httpx2.Response, httpx2.Response]:
        content = chunks(1, pause_s=0.05)
        posted = asyncio.create_task(
            served.client.post("/token/service", content=content, headers=FORM_TYPE)
        )
        await asyncio.sleep(0.01)
        asked = asyncio.create_task(served.get("/keys/unknown"))
        return await posted, await asked

    posted, asked = serve(story, [hang(0.0, 1e9)], server={"requests_in_flight_max": 1})
    assert slug(posted) == "too-many-in-flight"
    assert slug(asked) == "key-unavailable"


def test_a_caller_that_asks_too_often_is_told_when_to_return() -> None:
    """And may ask again when that time has passed."""

    async def story(served: Served) -> list[httpx2.Response]:
        answers = [await served.token() for _ in range(3)]
        await asyncio.sleep(int(answers[-1].headers["retry-after"]))
        return [*answers, await served.token()]

    answers = serve(story, limits={"service": TIGHT})
    assert [each.status_code for each in answers] == [200, 200, 429, 200]
    assert slug(answers[2]) == "too-many-requests"
    assert answers[2].headers["retry-after"] == "2"


def test_a_caller_that_asks_too_often_takes_nothing_from_others() -> None:
    """Its refused requests do not count against the limit on all."""

    async def story(served: Served) -> list[int]:
        for _ in range(50):
            await served.token()
        async with served.another("192.0.2.7") as other:
            answers = [await other.post("/token/service", data=SERVICE_FORM) for _ in range(2)]
        return [each.status_code for each in answers]

    assert serve(story, limits={"service": TIGHT}) == [200, 200]


def test_all_callers_together_have_a_limit() -> None:
    """However many addresses a flood comes from."""

    async def story(served: Served) -> list[int]:
        statuses = []
        for number in range(6):
            async with served.another(f"192.0.2.{number}") as other:
                answer = await other.post("/token/service", data=SERVICE_FORM)
                statuses.append(answer.status_code)
        return statuses

    assert serve(story, limits={"service": TIGHT}) == [200] * 4 + [429] * 2


def test_a_caller_refused_for_all_the_others_keeps_its_own_turns() -> None:
    """It pays for what it was given, not for what a flood has used up."""

    async def story(served: Served) -> list[int]:
        for number in range(4):
            async with served.another(f"192.0.2.{number}") as other:
                await other.post("/token/service", data=SERVICE_FORM)
        refused = [await served.token() for _ in range(10)]
        await asyncio.sleep(2.0)  # Two turns for all together; one for a caller who has none left.
        return [each.status_code for each in (*refused, await served.token(), await served.token())]

    assert serve(story, limits={"service": TIGHT}) == [429] * 10 + [200] * 2


def test_each_endpoint_has_a_limit_of_its_own() -> None:
    """Both endpoints of keys share one; the others, and health, are not touched by it."""

    async def story(served: Served) -> list[int]:
        paths = ["/keys/a", "/.well-known/jwks.json", "/keys/b", "/.well-known/jwks.json"]
        statuses = [(await served.get(path)).status_code for path in paths]
        statuses.append((await served.token()).status_code)
        return statuses + [(await served.get("/health")).status_code for _ in range(20)]

    assert serve(story, limits={"keys": TIGHT}) == [404, 200, 429, 429, 200] + [200] * 20


@pytest.mark.parametrize("where", ["header", "headers", "query"])
def test_headers_beyond_the_limit_are_refused(where: str) -> None:
    """One of a megabyte, very many, or an address as long."""

    async def story(served: Served) -> httpx2.Response:
        big = "a" * 1_000_000
        match where:
            case "header":
                return await served.get("/health", x_big=big)
            case "headers":
                return await served.get("/health", **{f"x_{n}": "a" * 100 for n in range(1000)})
        # The client refuses an address that is so long.
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/health",
            "raw_path": b"/health",
            "query_string": big.encode(),
            "headers": [],
        }
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        await served.app(scope, _no_body, send)
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return httpx2.Response(sent[0]["status"], headers=headers, content=sent[1]["body"])

    answer = serve(story)
    assert answer.status_code == 431
    assert slug(answer) == "headers-too-large"


async def _no_body() -> dict[str, object]:
    return {"type": "http.request", "body": b"", "more_body": False}
