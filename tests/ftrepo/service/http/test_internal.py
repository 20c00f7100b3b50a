"""Other instances are told what memory holds, and nobody else is."""

from __future__ import annotations

import httpx2
import pytest
from laboratory import make_key, refuse

from ftrepo.service.keys import from_wire
from tests.ftrepo.service.http.serving import PEER_SECRET, Served, serve

PEER = f"Bearer {PEER_SECRET}"


def test_an_instance_is_told_every_key_of_memory() -> None:
    """In the form that instances read, also in an outage; what is no key is left out."""

    async def story(served: Served) -> tuple[object, list[httpx2.Response]]:
        pair = served.service.key_life.current
        assert pair is not None
        await served.service.repository.create(make_key("broken"))
        paths = (f"/internal/keys/{pair.public.id}", "/internal/keys", "/internal/keys/unknown")
        return pair.public, [await served.get(path, authorization=PEER) for path in paths]

    key, (one, every, unknown) = serve(story, [refuse(0.0, 1e9)])
    assert from_wire(one.json()) == key
    assert [from_wire(each) for each in every.json()["keys"]] == [key]
    assert unknown.status_code == 404
    assert one.headers["cache-control"] == every.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/internal/keys", "/internal/keys/unknown"])
@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("authorization", PEER[:-1])],
        [("authorization", PEER + "x")],
        [("authorization", PEER_SECRET)],
        [("authorization", "Bearer \xff")],
        [("authorization", "")],
        [("authorization", PEER), ("authorization", PEER)],
    ],
)
def test_without_the_secret_nothing_is_told(path: str, headers: list[tuple[str, str]]) -> None:
    """Not even whether there is such a key."""

    async def story(served: Served) -> httpx2.Response:
        raw = [(name, value.encode("latin-1")) for name, value in headers]
        return await served.client.get(path, headers=raw)

    answer = serve(story)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer ")
    assert PEER_SECRET not in answer.text


def test_the_secret_of_instances_is_changed_without_a_gap() -> None:
    """Those that have the next one already are told as well."""
    changing = {"secret": PEER_SECRET, "next_secret": PEER_SECRET[::-1]}

    async def story(served: Served) -> list[int]:
        offered = (PEER_SECRET, PEER_SECRET[::-1], PEER_SECRET + PEER_SECRET[::-1])
        answers = [
            await served.get("/internal/keys", authorization=f"Bearer {each}") for each in offered
        ]
        return [each.status_code for each in answers]

    assert serve(story, peers=changing) == [200, 200, 401]


def test_without_peers_there_is_nothing_here() -> None:
    """Whatever is brought."""

    async def story(served: Served) -> httpx2.Response:
        return await served.get("/internal/keys", authorization=PEER)

    assert serve(story, peers=None).status_code == 404
