"""Every key that a verifier may need, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import pairwise

import pytest
from laboratory import EPOCH, Laboratory, make_key, refuse, run_laboratory

from ftrepo.keys import PublicKey, SigningKey
from ftrepo.listing import ValidKeys
from ftrepo.service.keys import KeySet, PublishedKeys


def real_key(name: str, *, lifetime_s: float = 1e5) -> PublicKey:
    """A key that can be read as one."""
    lifetime = timedelta(seconds=lifetime_s)
    return SigningKey.generate(created=EPOCH, lifetime=lifetime, key_id=name).public


@dataclass
class Lister:
    """A repository that knows some keys."""

    keys: Sequence[PublicKey] = ()
    is_complete: bool = True
    answer: ValidKeys | None = None

    async def valid_keys(self) -> ValidKeys:
        if self.answer is None or self.answer.keys != tuple(self.keys):
            self.answer = ValidKeys(keys=tuple(self.keys), is_complete=self.is_complete)
        return self.answer


@dataclass
class Others:
    """Other instances, which take a while to say what they have."""

    keys: Sequence[PublicKey] = ()
    latency_s: float = 0.01
    asked: list[float] = field(default_factory=list)

    async def list_all(self) -> Sequence[PublicKey]:
        self.asked.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.latency_s)
        return list(self.keys)


def ids(published: PublishedKeys) -> list[str]:
    """The ids, of both forms."""
    assert [jwk["kid"] for jwk in published.jwks] == [key.id for key in published.keys]
    return [key.id for key in published.keys]


def test_nobody_else_is_asked_while_the_repository_knows_all() -> None:
    """Other instances have nothing then that the primary lacks."""

    async def story(lab: Laboratory) -> None:
        others = Others([real_key("b")])
        published = await KeySet(Lister([real_key("a")]), now=lab.now, peers=others).current()
        assert ids(published) == ["a"]
        assert published.is_complete
        assert others.asked == []

    run_laboratory(story)


def test_in_an_outage_the_others_have_more() -> None:
    """Ours comes first where two keys have one id; what has expired is nobody's."""

    async def story(lab: Laboratory) -> None:
        await lab.until(50.0)
        ours, theirs = real_key("a"), real_key("a")
        others = Others([theirs, real_key("b"), real_key("c", lifetime_s=50.0)])
        key_set = KeySet(Lister([ours], is_complete=False), now=lab.now, peers=others)
        published = await key_set.current()
        assert ids(published) == ["a", "b"]
        assert published.keys[0] == ours
        assert not published.is_complete

    run_laboratory(story)


def test_a_flood_asks_the_others_once_a_second() -> None:
    """However many callers there are, and however slow the others."""

    async def story(lab: Laboratory) -> list[float]:
        others = Others([real_key("b")], latency_s=0.3)
        key_set = KeySet(Lister(is_complete=False), now=lab.now, peers=others)
        for tenth in range(50):
            await lab.until(max(lab.loop.time(), tenth / 10))
            found = await asyncio.gather(*(key_set.current() for _ in range(100)))
            assert all(ids(each) == ["b"] for each in found)
        return others.asked

    asked = run_laboratory(story)
    assert len(asked) >= 4
    assert all(later - earlier >= 1.0 for earlier, later in pairwise(asked))


def test_who_gives_up_takes_nobody_along() -> None:
    """The caller who asks the others is cancelled: another asks them."""

    async def story(lab: Laboratory) -> None:
        others = Others([real_key("b")], latency_s=0.3)
        key_set = KeySet(Lister(is_complete=False), now=lab.now, peers=others)
        first, second = (asyncio.create_task(key_set.current()) for _ in range(2))
        await asyncio.sleep(0.1)
        first.cancel()
        assert ids(await second) == ["b"]
        assert first.cancelled()

    run_laboratory(story)


def test_what_has_not_changed_is_the_same_object() -> None:
    """So that whoever renders it need not do so again; a new key or an expiry makes another."""

    async def story(lab: Laboratory) -> None:
        lister = Lister([real_key("a"), real_key("b", lifetime_s=20.0)])
        key_set = KeySet(lister, now=lab.now)
        first = await key_set.current()
        assert await key_set.current() is first
        lister.keys = [*lister.keys, real_key("c")]
        second = await key_set.current()
        assert ids(second) == ["a", "b", "c"]
        assert second.jwks[0] is first.jwks[0]

    run_laboratory(story)


def test_a_key_of_another_instance_leaves_when_it_expires() -> None:
    """Within the second for which their answer is shared, too."""

    async def story(lab: Laboratory) -> None:
        others = Others([real_key("b", lifetime_s=10.0)])
        key_set = KeySet(Lister(is_complete=False), now=lab.now, peers=others)
        await lab.until(9.5)
        assert ids(await key_set.current()) == ["b"]
        await lab.until(10.0)
        assert ids(await key_set.current()) == []
        assert len(others.asked) == 1

    run_laboratory(story)


def test_what_is_no_key_takes_the_others_from_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """A row that somebody has edited is left out, and logged once for as long as it is there."""

    async def story(lab: Laboratory) -> None:
        broken = replace(make_key("b"), material=b"no key")
        lister = Lister([real_key("a"), broken])
        key_set = KeySet(lister, now=lab.now)
        assert ids(await key_set.current()) == ["a"]
        lister.keys = [*lister.keys, real_key("c")]
        assert ids(await key_set.current()) == ["a", "c"]

    run_laboratory(story)
    assert caplog.text.count("is left out") == 1


def test_many_keys_do_not_stop_the_loop() -> None:
    """They are read a few at a time, and two callers do not read them twice."""

    async def story(lab: Laboratory) -> int:
        key_set = KeySet(Lister([real_key(f"k{n}") for n in range(1000)]), now=lab.now)
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        first, second = await asyncio.gather(key_set.current(), key_set.current())
        counting.cancel()
        assert first is second
        assert len(first.keys) == 1000
        return turns

    assert run_laboratory(story) >= 5


def test_before_a_repository_it_has_what_the_repository_has() -> None:
    """The whole of it, in an outage: keys that the primary had, and those that wait."""

    async def story(lab: Laboratory) -> list[tuple[list[str], bool]]:
        answers = []
        async with lab.repository() as repo:
            key_set = KeySet(repo, now=lab.now)
            await repo.create(real_key("a"))
            for moment_s in (5.0, 15.0, 40.0):
                await lab.until(moment_s)
                if moment_s == 15.0:
                    await repo.create(real_key("b"))
                published = await key_set.current()
                answers.append((ids(published), published.is_complete))
        return answers

    expected = [(["a"], True), (["a", "b"], False), (["a", "b"], True)]
    assert run_laboratory(story, [refuse(10.0, 30.0)]) == expected
