"""Other instances over HTTP, in virtual time: what they say, and what they may do to us."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

import httpx2
import pytest
from laboratory import EPOCH, Laboratory, refuse, run_laboratory

from ftrepo.errors import KeyUnavailableError
from ftrepo.fault_tolerant import FaultTolerantRepository
from ftrepo.keys import PublicKey, SigningKey
from ftrepo.service.keys import HttpPeers, to_wire
from ftrepo.service.keys.peers import KEY_BYTES_MAX, LIST_TIMEOUT_S
from ftrepo.service.settings import PeerSettings

SECRET = "s" * 32
Answer = Callable[[httpx2.Request], Awaitable[httpx2.Response]]


def real_key(name: str, *, lifetime_s: float = 1e5) -> PublicKey:
    """A key that can be read as one."""
    lifetime = timedelta(seconds=lifetime_s)
    return SigningKey.generate(created=EPOCH, lifetime=lifetime, key_id=name).public


KEY = real_key("a")


@dataclass
class Network(httpx2.AsyncBaseTransport):
    """Hosts by name, each with a way to answer."""

    hosts: dict[str, Answer]
    requests: list[httpx2.Request] = field(default_factory=list)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        if request.url.host not in self.hosts:
            raise httpx2.ConnectError("no route to the host")
        return await self.hosts[request.url.host](request)


@dataclass
class Instance:
    """One that answers as it should, for those who know the secret."""

    keys: Sequence[PublicKey] = ()
    latency_s: float = 0.001

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        await asyncio.sleep(self.latency_s)
        if request.headers["Authorization"] != f"Bearer {SECRET}":
            return httpx2.Response(401, json={"title": "who are you?"})
        told = {key.id: to_wire(key) for key in self.keys}
        if request.url.path == "/internal/keys":
            return httpx2.Response(200, json={"keys": list(told.values())})
        key_id = request.url.path.removeprefix("/internal/keys/")
        if key_id not in told:
            return httpx2.Response(404, json={"title": "unknown"})
        return httpx2.Response(200, json=told[key_id])


def saying(
    status: int = 200, *, body: bytes = b"", headers: dict[str, str] | None = None
) -> Answer:
    """A host that says the same to whatever it is asked."""

    async def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, content=body, headers=headers)

    return answer


async def never(request: httpx2.Request) -> httpx2.Response:
    """Do not answer."""
    await asyncio.sleep(1e3)
    raise AssertionError("nobody waits so long")


async def endless(request: httpx2.Request) -> httpx2.Response:
    """Answer without an end."""

    async def body() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0.0001)
            yield b" " * 65_536

    return httpx2.Response(200, content=body())


async def dripping(request: httpx2.Request) -> httpx2.Response:
    """Answer a byte at a time."""

    async def body() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0.05)
            yield b" "

    return httpx2.Response(200, content=body())


def with_json(told: object) -> Answer:
    """Say this to everything."""
    return saying(body=json.dumps(told).encode())


def both(told: object) -> Answer:
    """Say the same of one key and in a list."""

    async def answer(request: httpx2.Request) -> httpx2.Response:
        is_list = request.url.path.endswith("/keys")
        return httpx2.Response(200, json={"keys": [told]} if is_list else told)

    return answer


GOOD = to_wire(KEY)
LIARS: dict[str, Answer] = {
    "expired": both(to_wire(real_key("a", lifetime_s=15.0))),
    "no-times": both({"kid": "a", "jwk": KEY.to_jwk()}),
    "private": both(GOOD | {"jwk": KEY.to_jwk() | {"d": "AAAA"}}),
    "garbage": saying(body=b"\xff\xfe{"),
    "nested": saying(body=b"[" * 100_000),
    "empty": saying(body=b""),
    "null": with_json(None),
    "list": with_json([GOOD]),
    "html": saying(body=b"<html>"),
    "error": saying(500, body=b"Traceback: /srv/secret"),
    "not-allowed": saying(403),
    "redirect": saying(302, headers={"Location": "http://evil/internal/keys/a"}),
    "compressed": saying(
        body=gzip.compress(json.dumps(GOOD).encode()), headers={"Content-Encoding": "gzip"}
    ),
    "bomb": saying(body=gzip.compress(b" " * 10**7), headers={"Content-Encoding": "gzip"}),
    "endless": endless,
    "dripping": dripping,
    "never": never,
}


def peers(lab: Laboratory, network: Network, *names: str, secret: str = SECRET) -> HttpPeers:
    """The instances with these names."""
    settings = PeerSettings.model_validate(
        {"urls": [f"http://{name}:8080/" for name in names], "secret": secret}
    )
    return HttpPeers(settings, now=lab.now, transport=network)


def test_the_first_that_has_a_key_is_believed() -> None:
    """All are asked at once, with the secret; the slow and the dead keep nobody waiting."""

    async def story(lab: Laboratory) -> Network:
        hosts = {"slow": Instance([KEY], latency_s=0.8), "has": Instance([KEY]), "none": Instance()}
        network = Network({**hosts, "silent": never})
        async with peers(lab, network, "slow", "dead", "silent", "none", "has") as others:
            assert await others.find("a") == KEY
            assert lab.loop.time() == pytest.approx(0.001, abs=1e-6)
            assert await others.find("b") is None
            assert lab.loop.time() <= 1.1
        return network

    network = run_laboratory(story)
    assert {str(each.url) for each in network.requests[:5]} == {
        f"http://{name}:8080/internal/keys/a" for name in ("slow", "dead", "silent", "none", "has")
    }
    assert {each.headers["Authorization"] for each in network.requests} == {f"Bearer {SECRET}"}


def test_a_list_is_of_all_who_answer_in_time() -> None:
    """Those who do not are left out, and nobody waits for them longer than that."""

    async def story(lab: Laboratory) -> None:
        b = real_key("b")
        network = Network(
            {
                "one": Instance([KEY]),
                "two": Instance([b, KEY]),
                "late": Instance([real_key("c")], latency_s=LIST_TIMEOUT_S + 0.1),
            }
        )
        async with peers(lab, network, "one", "two", "late", "dead") as others:
            found = await others.list_all()
            assert sorted(key.id for key in found) == ["a", "b"]
            assert lab.loop.time() == pytest.approx(LIST_TIMEOUT_S, abs=0.01)
            errors = {each.url: each.last_error for each in others.statuses()}
            assert errors["http://one:8080"] is None
            assert errors["http://late:8080"] == "it did not answer in time"
            assert errors["http://dead:8080"] is not None

    run_laboratory(story)


@pytest.mark.parametrize("name", sorted(LIARS))
def test_a_liar_harms_nobody(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """What it says is no key; what others say is heard, and nobody waits longer for it."""

    async def story(lab: Laboratory) -> None:
        await lab.until(20.0)
        network = Network({"liar": LIARS[name], "honest": Instance([KEY], latency_s=0.2)})
        async with peers(lab, network, "liar") as alone:
            assert await alone.find("a") is None
            assert await alone.list_all() == []
            assert lab.loop.time() <= 20.0 + 1.1 + 0.6
        async with peers(lab, network, "liar", "honest") as others:
            assert await others.find("a") == KEY
            assert await others.list_all() == [KEY]
        assert all(each.url.host != "evil" for each in network.requests)

    run_laboratory(story)
    assert SECRET not in caplog.text
    assert "srv/secret" not in caplog.text


def test_another_key_is_no_answer() -> None:
    """However valid it is: it was not asked for."""

    async def story(lab: Laboratory) -> None:
        network = Network({"one": both(to_wire(real_key("z")))})
        async with peers(lab, network, "one") as others:
            assert await others.find("a") is None
            assert others.statuses()[0].last_error == "it answered with another key"

    run_laboratory(story)


def test_an_answer_has_a_longest_length() -> None:
    """At the bound it is read, beyond it it is not."""

    async def story(lab: Laboratory) -> list[PublicKey | None]:
        body = json.dumps(GOOD).encode()
        room = KEY_BYTES_MAX - len(body)
        found = []
        for spaces in (room, room + 1):
            network = Network({"one": saying(body=body + b" " * spaces)})
            async with peers(lab, network, "one") as others:
                found.append(await others.find("a"))
        return found

    assert run_laboratory(story) == [KEY, None]


def test_what_can_be_read_of_a_list_is_used() -> None:
    """An instance of a newer release may list keys that this one does not know."""

    async def story(lab: Laboratory) -> None:
        newer = {"kid": "n", "jwk": {"kty": "AKP"}, "created": "?", "expires": "?"}
        network = Network({"one": with_json({"keys": [newer, GOOD]})})
        async with peers(lab, network, "one") as others:
            assert await others.list_all() == [KEY]
            assert others.statuses()[0].failures == 1

    run_laboratory(story)


def test_with_a_wrong_secret_nobody_answers(caplog: pytest.LogCaptureFixture) -> None:
    """The log says so once, not at every question, and shows no secret."""

    async def story(lab: Laboratory) -> None:
        network = Network({"one": Instance([KEY])})
        async with peers(lab, network, "one", secret="w" * 32) as others:
            for _ in range(100):
                assert await others.find("a") is None
            status = others.statuses()[0]
            assert (status.answers, status.failures) == (0, 100)

    run_laboratory(story)
    assert caplog.text.count("401") == 1
    assert "w" * 32 not in caplog.text


def test_a_peer_that_flaps_fills_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """However often it changes, there are few lines a minute."""
    caplog.set_level("INFO", logger="ftrepo")

    async def story(lab: Laboratory) -> None:
        count = 0

        async def flapping(request: httpx2.Request) -> httpx2.Response:
            nonlocal count
            count += 1
            return httpx2.Response(404 if count % 2 else 500)

        async with peers(lab, Network({"one": flapping}), "one") as others:
            for _ in range(1000):
                await others.find("a")

    run_laboratory(story)
    lines = [each for each in caplog.records if each.name == "ftrepo.service.keys.peers"]
    assert 1 <= len(lines) <= 12


@pytest.mark.parametrize("key_id", ["", "..", "../metrics", "a/b", "a?b", "a" * 1000, "a\r\nb"])
def test_an_id_that_leads_elsewhere_is_not_asked_for(key_id: str) -> None:
    """It would be a path of its own."""

    async def story(lab: Laboratory) -> None:
        network = Network({"one": Instance([KEY])})
        async with peers(lab, network, "one") as others:
            assert await others.find(key_id) is None
        assert network.requests == []

    run_laboratory(story)


def test_a_repository_finds_what_another_instance_made() -> None:
    """While the primary is away; and what it holds itself no peer can replace."""

    async def story(lab: Laboratory) -> None:
        ours = replace(real_key("b"))
        network = Network({"one": Instance([KEY, real_key("b")])})
        async with (
            peers(lab, network, "one") as others,
            FaultTolerantRepository(
                lab.primary, now=lab.now, observers=(), peers=others, draw=lambda: 0.0
            ) as repo,
        ):
            await lab.until(20.0)
            await repo.create(ours)
            assert await repo.get("a") == KEY
            assert await repo.get("b") == ours
            with pytest.raises(KeyUnavailableError):
                await repo.get("c")

    run_laboratory(story, [refuse(10.0, 1e4)])


def test_without_others_nobody_is_asked() -> None:
    """An instance may answer others and ask nobody."""

    async def story(lab: Laboratory) -> None:
        async with peers(lab, Network({})) as others:
            assert await others.find("a") is None
            assert await others.list_all() == []
            assert others.statuses() == ()

    run_laboratory(story)
