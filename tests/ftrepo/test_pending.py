"""Pending writes: who owns a key that the primary has not confirmed."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from ftrepo.keys import PublicKey
from ftrepo.pending import PendingWrites
from sim.loop import run_virtual
from sim.world.issuers import EPOCH
from tests.laboratory import make_key


def ids(keys: list[PublicKey]) -> list[str]:
    """Their ids, in order."""
    return [key.id for key in keys]


def waiting(*names: str) -> PendingWrites:
    """A buffer in which these keys wait, in this order."""
    pending = PendingWrites()
    for at, name in enumerate(names):
        pending.reserve(make_key(name), float(at))
        pending.release([name])
    return pending


def test_a_key_that_is_being_written_is_not_flushed() -> None:
    """A flush claims only what waits, so it never repeats a write that is on its way."""
    pending = PendingWrites()
    pending.reserve(make_key("a"), 0.0)
    assert pending.claim(10, EPOCH) == []
    assert (len(pending), pending.writing) == (0, 1)
    pending.release(["a"])
    assert ids(pending.claim(10, EPOCH)) == ["a"]
    assert (len(pending), pending.writing) == (1, 0)


def test_two_flushes_never_claim_the_same_key() -> None:
    """What one flush owns, the next passes over until it is given back."""
    pending = waiting("a", "b")
    assert ids(pending.claim(1, EPOCH)) == ["a"]
    assert ids(pending.claim(10, EPOCH)) == ["b"]
    assert pending.claim(10, EPOCH) == []
    pending.release(["a", "b"])
    assert ids(pending.claim(10, EPOCH)) == ["a", "b"]


def test_only_removal_ends_it() -> None:
    """A key stays pending through any number of failed flushes, and leaves once."""
    pending = waiting("a")
    for _ in range(5):
        pending.claim(10, EPOCH)
        pending.release(["a"])
    assert "a" in pending
    assert pending.remove("a")
    assert not pending.remove("a")
    assert len(pending) == 0


def test_a_flush_claims_no_key_that_has_expired_meanwhile() -> None:
    """Of any of its batches: what was dropped before the first one says nothing of a later one."""
    pending = PendingWrites()
    for name, lifetime_s in (("a", 10.0), ("b", 20.0)):
        pending.reserve(make_key(name, lifetime_s=lifetime_s), 0.0)
        pending.release([name])
    assert ids(pending.claim(10, EPOCH + timedelta(seconds=10.0))) == ["b"]
    assert "a" in pending


def test_expired_keys_that_wait_are_dropped_and_others_kept() -> None:
    """A key whose write was already sent is left to its writer."""
    pending = PendingWrites()
    for name in ("waits", "is-written", "lives"):
        pending.reserve(make_key(name, lifetime_s=100 if name == "lives" else 10), 0.0)
    pending.release(["waits", "lives"])
    dropped = pending.remove_expired(EPOCH + timedelta(seconds=10))
    assert ids(dropped) == ["waits"]
    assert pending.key_ids() == ["is-written", "lives"]


def test_the_bound_counts_every_key_held() -> None:
    """At the bound a key is refused, whoever owns those that are there."""
    pending = PendingWrites(entries_max=2)
    assert pending.reserve(make_key("a"), 0.0)
    assert pending.reserve(make_key("b"), 0.0)
    pending.release(["a"])
    assert pending.is_full()
    assert not pending.reserve(make_key("c"), 0.0)
    pending.remove("a")
    assert pending.reserve(make_key("c"), 0.0)


def test_the_same_key_is_held_once() -> None:
    """The second writer of a key does not own it, and cannot lose it."""
    pending = PendingWrites()
    assert pending.reserve(make_key("a"), 0.0)
    assert not pending.reserve(make_key("a"), 1.0)
    pending.release(["a"])
    assert pending.oldest_since_s() == 0.0


def test_a_key_sent_to_the_back_lets_the_others_go_first() -> None:
    """One key that can never be written delays nobody."""
    pending = waiting("poison", "b", "c")
    assert ids(pending.claim(1, EPOCH)) == ["poison"]
    pending.release(["poison"], to_back=True)
    assert ids(pending.claim(10, EPOCH)) == ["b", "c", "poison"]


def test_the_oldest_age_ignores_keys_still_being_written() -> None:
    """Nobody waits for a key whose create has not returned."""
    pending = PendingWrites()
    pending.reserve(make_key("a"), 1.0)
    assert pending.oldest_since_s() is None
    pending.reserve(make_key("b"), 2.0)
    pending.release(["b"])
    assert pending.oldest_since_s() == 2.0


def test_whoever_waits_for_a_key_is_told_as_it_leaves() -> None:
    """In the turn in which it does, however it does, and also if another one gave up waiting."""

    async def main() -> None:
        pending = waiting("a", "b")
        first, second = (asyncio.create_task(pending.until_gone("a")) for _ in range(2))
        of_another = asyncio.create_task(pending.until_gone("b"))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert not second.done()
        pending.claim(10, EPOCH)
        pending.release(["a", "b"])
        await asyncio.sleep(1.0)
        assert not second.done()
        pending.remove("a", "conflict")
        await second
        assert not of_another.done()
        pending.remove("b")
        await of_another

    run_virtual(lambda _: main())


def test_nobody_waits_for_a_key_that_is_not_held() -> None:
    """Neither one that never was here, nor one that has left; one that came again is waited for."""

    async def main() -> None:
        pending = waiting("a")
        await pending.until_gone("b")
        pending.remove("a")
        await pending.until_gone("a")
        pending.reserve(make_key("a"), 1.0)
        again = asyncio.create_task(pending.until_gone("a"))
        await asyncio.sleep(1.0)
        assert not again.done()
        pending.remove("a")
        await again

    run_virtual(lambda _: main())
