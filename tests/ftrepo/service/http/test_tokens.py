"""Tokens are issued over HTTP, and every refusal can be read by an OAuth client."""

from __future__ import annotations

import base64

import httpx2
import jwt
import pytest
from laboratory import refuse

from sim.world.issuers import EPOCH
from tests.ftrepo.service.http.serving import CLIENT, SECRET, SERVICE_FORM, Served, serve

FORM_TYPE = "application/x-www-form-urlencoded"


def basic(secret: str = SECRET) -> str:
    """Credentials in the header."""
    return "Basic " + base64.b64encode(f"{CLIENT}:{secret}".encode()).decode()


@pytest.mark.parametrize("is_away", [False, True])
def test_a_service_token_is_verified_by_the_key_set(is_away: bool) -> None:
    """By a library that knows nothing of this service, with the primary up and away."""

    async def story(served: Served) -> tuple[httpx2.Response, httpx2.Response]:
        return await served.token(), await served.get("/.well-known/jwks.json")

    answer, keys = serve(story, [refuse(0.0, 1e9)] if is_away else [])
    document = answer.json()
    assert answer.status_code == 200
    assert document.keys() == {"access_token", "token_type", "expires_in", "scope"}
    assert (document["token_type"], document["expires_in"]) == ("Bearer", 300)
    assert document["scope"] == "read"
    key = jwt.PyJWKSet.from_json(keys.text)[
        jwt.get_unverified_header(document["access_token"])["kid"]
    ]
    claims = jwt.decode(
        document["access_token"],
        key,
        audience="api",
        options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
    )
    assert claims["sub"] == CLIENT
    assert 0 <= claims["iat"] - EPOCH.timestamp() < 10


def test_no_cache_may_store_a_token() -> None:
    """RFC 6749, section 5.1."""

    async def story(served: Served) -> httpx2.Response:
        return await served.token()

    headers = serve(story).headers
    assert headers.get_list("cache-control") == ["no-store"]
    assert headers["pragma"] == "no-cache"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers.get_list("content-type") == ["application/json"]


def test_credentials_may_be_in_the_header() -> None:
    """Wrong ones there are answered with the scheme by which to bring right ones."""

    async def story(served: Served) -> list[httpx2.Response]:
        form = {"grant_type": "client_credentials"}
        return [
            await served.client.post("/token/service", data=form, headers={b"authorization": each})
            for each in (basic().encode(), basic("wrong").encode(), b"Bearer x", b"Basic \xff")
        ]

    right, *wrong = serve(story)
    assert right.status_code == 200
    for each in wrong:
        assert each.status_code == 401
        assert each.json()["error"] == "invalid_client"
        assert each.headers["www-authenticate"].startswith("Basic ")


@pytest.mark.parametrize(
    ("content", "headers", "status", "reason"),
    [
        (b"", [("content-type", FORM_TYPE)], 400, "missing-parameter"),
        (b"grant_type=a&grant_type=b", [("content-type", FORM_TYPE)], 400, "repeated-parameter"),
        (b"grant_type=%00", [("content-type", FORM_TYPE)], 400, "malformed"),
        (b"grant_type=%zz", [("content-type", FORM_TYPE)], 400, "malformed"),
        (b"\x00\xff" * 50, [("content-type", FORM_TYPE)], 400, "malformed"),
        (b"a=b&" * 40, [("content-type", FORM_TYPE)], 400, "too-many-parameters"),
        (b"grant_type=a", [("content-type", "application/json")], 415, "unsupported-media-type"),
        (b"grant_type=a", [("content-type", f"{FORM_TYPE}; charset=utf-16")], 415, None),
        (b"grant_type=a", [], 415, "unsupported-media-type"),
        (b"grant_type=a", [("content-type", FORM_TYPE)] * 2, 400, "malformed"),
        (
            b"grant_type=client_credentials",
            [("content-type", FORM_TYPE), ("authorization", "a"), ("authorization", "b")],
            401,
            "client-not-authenticated",
        ),
    ],
)
@pytest.mark.parametrize("path", ["/token/service", "/token/exchange"])
def test_a_hostile_body_is_refused_by_name(
    path: str, content: bytes, headers: list[tuple[str, str]], status: int, reason: str | None
) -> None:
    """And the answer repeats nothing of it."""

    async def story(served: Served) -> httpx2.Response:
        return await served.client.post(path, content=content, headers=headers)

    answer = serve(story)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["reason"] == (reason or "unsupported-media-type")
    assert answer.json()["error"] in ("invalid_request", "invalid_client")


def test_parameters_in_the_address_are_refused() -> None:
    """They would be in the log of every proxy in between."""

    async def story(served: Served) -> httpx2.Response:
        query = "client_id=billing&client_secret=" + SECRET
        form = {"grant_type": "client_credentials"}
        return await served.client.post(f"/token/service?{query}", data=form)

    answer = serve(story)
    assert answer.status_code == 400
    assert SECRET not in answer.text


def test_without_a_key_that_may_sign_the_answer_is_503() -> None:
    """As while the service stops; it says when to come back."""

    async def story(served: Served) -> httpx2.Response:
        await served.service.key_life.__aexit__(None, None, None)
        return await served.token()

    answer = serve(story)
    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:ftrepo:problem:no-signing-key"
    assert int(answer.headers["retry-after"]) >= 1


def test_an_exchange_names_the_type_of_the_token_and_a_service_token_does_not() -> None:
    """RFC 8693 asks for it, and RFC 6749 does not know it. A refused exchange names its reason."""

    async def story(served: Served) -> httpx2.Response:
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": "not.a.token",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        }
        return await served.client.post("/token/exchange", data=form)

    answer = serve(story)
    assert answer.status_code == 400
    assert answer.json()["error"] == "invalid_request"
    assert answer.json()["reason"] == "malformed"
    assert SERVICE_FORM["client_secret"] not in answer.text
