"""Verifiers find keys, and are told for how long they may keep them."""

from __future__ import annotations

import math
from datetime import timedelta

import httpx2
import pytest
from jwt import PyJWK, PyJWKSet
from laboratory import hang, make_key, refuse

from ftrepo.keys import Algorithm, PublicKey, SigningKey
from tests.ftrepo.service.http.serving import Served, serve

KEY_SET = "/.well-known/jwks.json"
AWAY = [refuse(10.0, 1e9)]


def current(served: Served) -> PublicKey:
    """The key that signs."""
    pair = served.service.key_life.current
    assert pair is not None
    return pair.public


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256", "RS256"])
def test_a_key_is_served_as_a_jwk_that_others_can_read(algorithm: str) -> None:
    """By its id, and in the set."""

    async def story(served: Served) -> tuple[PublicKey, httpx2.Response, httpx2.Response]:
        key = current(served)
        return key, await served.get(f"/keys/{key.id}"), await served.get(KEY_SET)

    key, one, every = serve(story, keys={"algorithm": algorithm})
    assert one.headers["content-type"] == "application/jwk+json"
    assert every.headers["content-type"] == "application/jwk-set+json"
    assert every.json() == {"keys": [one.json()]}
    assert PyJWK(one.json()).key_id == PyJWKSet.from_json(every.text).keys[0].key_id == key.id
    assert one.json()["iat"] == math.floor(key.created.timestamp())
    assert one.json()["exp"] == math.floor(key.expires.timestamp())
    assert every.headers["key-set-complete"] == "?1"


def test_what_the_caller_has_is_not_sent_again() -> None:
    """304 has the headers that it must have, and no body."""

    async def story(served: Served) -> list[tuple[httpx2.Response, list[httpx2.Response]]]:
        seen = []
        for path in (f"/keys/{current(served).id}", KEY_SET):
            first = await served.get(path)
            etag = first.headers["etag"]
            given = [etag, f"W/{etag}", f'"other", {etag}', "*", '"other"', "nonsense"]
            seen.append((first, [await served.get(path, if_none_match=each) for each in given]))
        return seen

    for first, again in serve(story):
        assert [each.status_code for each in again] == [304] * 4 + [200] * 2
        assert again[0].content == b""
        assert again[0].headers["etag"] == first.headers["etag"]
        assert again[0].headers["cache-control"] == first.headers["cache-control"]


def test_the_etag_changes_when_a_key_comes() -> None:
    """And not when nothing has changed."""

    async def story(served: Served) -> list[str]:
        etags = [(await served.get(KEY_SET)).headers["etag"] for _ in range(2)]
        pair = SigningKey.generate(created=served.lab.now(), lifetime=timedelta(hours=1))
        await served.service.repository.create(pair.public)
        return [*etags, (await served.get(KEY_SET)).headers["etag"]]

    first, second, third = serve(story)
    assert first == second != third


def test_nobody_may_keep_a_key_beyond_its_expiry() -> None:
    """Nor the set beyond that of the first of its keys."""

    async def story(served: Served) -> list[str]:
        ages = [(await served.get(KEY_SET)).headers["cache-control"]]
        pair = SigningKey.generate(created=served.lab.now(), lifetime=timedelta(seconds=100.5))
        await served.service.repository.create(pair.public)
        paths = (f"/keys/{pair.public.id}", KEY_SET, f"/keys/{current(served).id}")
        return ages + [(await served.get(path)).headers["cache-control"] for path in paths]

    assert serve(story) == [f"public, max-age={age}" for age in (300, 100, 100, 300)]


def test_an_operator_may_have_nobody_keep_keys() -> None:
    """A maximum age of zero has them checked each time, which an ETag makes cheap."""

    async def story(served: Served) -> str:
        return str((await served.get(KEY_SET)).headers["cache-control"])

    assert serve(story, keys={"max_age_s": 0}) == "no-cache"


@pytest.mark.parametrize(
    ("setting", "header"), [({}, "no-store"), ({"absent_max_age_s": 9}, "public, max-age=9")]
)
def test_an_unknown_key_is_404_and_not_kept_unless_the_operator_says_so(
    setting: dict[str, int], header: str
) -> None:
    """It may be on its way."""

    async def story(served: Served) -> httpx2.Response:
        return await served.get("/keys/unknown")

    answer = serve(story, keys=setting)
    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:ftrepo:problem:key-not-found"
    assert answer.headers["cache-control"] == header


@pytest.mark.parametrize(
    "key_id", ["%00", "a%20b", "%C3%A9", "a%0d%0aSet-Cookie:x", "a" * 129, "%2e%2e", "*", "'--"]
)
def test_an_id_that_no_key_can_have_is_404_and_nobody_is_asked(key_id: str) -> None:
    """Even in an outage: there is nothing to be unsure of."""

    async def story(served: Served) -> httpx2.Response:
        await served.lab.until(11.0)
        return await served.get(f"/keys/{key_id}")

    answer = serve(story, AWAY)
    assert answer.status_code == 404
    assert key_id not in answer.text


def test_in_an_outage_known_keys_are_served_and_unknown_ones_are_503() -> None:
    """Never 404: a verifier would give a good token up."""

    async def story(served: Served) -> list[httpx2.Response]:
        await served.lab.until(11.0)
        paths = (f"/keys/{current(served).id}", "/keys/unknown", KEY_SET)
        return [await served.get(path) for path in paths]

    for outage in (refuse(10.0, 1e9), hang(10.0, 1e9)):
        known, unknown, every = serve(story, [outage])
        assert known.status_code == every.status_code == 200
        assert unknown.status_code == 503
        assert unknown.json()["type"] == "urn:ftrepo:problem:key-unavailable"
        assert int(unknown.headers["retry-after"]) >= 1
        assert len(every.json()["keys"]) == 1


def test_a_set_that_may_lack_keys_says_so_and_is_kept_for_a_moment() -> None:
    """So that verifiers have all of them again soon after the outage."""

    async def story(served: Served) -> list[httpx2.Response]:
        answers = [await served.get(KEY_SET)]
        for moment_s in (11.0, 200.0):
            await served.lab.until(moment_s)
            answers.append(await served.get(KEY_SET))
        return answers

    answers = serve(story, [refuse(10.0, 100.0)])
    assert [each.headers["key-set-complete"] for each in answers] == ["?1", "?0", "?1"]
    ages = [each.headers["cache-control"] for each in answers]
    assert ages == [f"public, max-age={age}" for age in (300, 5, 300)]


def test_a_key_that_is_no_key_takes_no_other_from_the_set() -> None:
    """By its id it is 500: somebody has edited the table."""

    async def story(served: Served) -> tuple[httpx2.Response, httpx2.Response]:
        await served.service.repository.create(make_key("broken"))
        return await served.get(KEY_SET), await served.get("/keys/broken")

    every, broken = serve(story)
    assert len(every.json()["keys"]) == 1
    assert broken.status_code == 500
    assert broken.json()["type"] == "urn:ftrepo:problem:internal-error"


def test_the_algorithm_of_a_key_is_in_its_jwk() -> None:
    """A verifier must not take the token's word for it."""

    async def story(served: Served) -> str:
        return str((await served.get(f"/keys/{current(served).id}")).json()["alg"])

    assert serve(story) == Algorithm.ED25519.jwa_name
