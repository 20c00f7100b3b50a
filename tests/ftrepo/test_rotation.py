"""The rotation of signing keys, in virtual time, on a repository whose primary fails."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from laboratory import EPOCH, Laboratory, make_key, refuse, run_laboratory

from ftrepo.designs import named_policies
from ftrepo.errors import FtrepoError
from ftrepo.keys import PublicKey
from ftrepo.policy import Policy
from ftrepo.rotation import KeyRotation, lead_before_use_s
from sim.world.outages import Outage

INTERVAL_S, LIFETIME_S, TOKEN_S = 1000.0, 4000.0, 1000.0
"""So a key may sign for 3000 s."""


@dataclass(frozen=True)
class Pair:
    public: PublicKey


@dataclass
class Service:
    """A rotation in a laboratory, and what it did."""

    laboratory: Laboratory
    policy: Policy
    used: list[tuple[str, float]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    made: int = 0

    def make(self) -> Pair:
        now_s = self.laboratory.loop.time()
        self.made += 1
        return Pair(make_key(f"k{self.made}", created_s=now_s, lifetime_s=LIFETIME_S))

    async def run(self, until_s: float) -> KeyRotation[Pair]:
        laboratory = self.laboratory

        def note_use(pair: Pair) -> None:
            self.used.append((pair.public.id, laboratory.loop.time()))

        def note_failure(key: PublicKey, error: FtrepoError) -> None:
            self.failures.append(key.id)

        async with laboratory.repository(self.policy) as repository:
            rotation = KeyRotation(
                repository,
                self.make,
                self.policy,
                interval_s=INTERVAL_S,
                token_lifetime_s=TOKEN_S,
                now=laboratory.now,
                on_use=note_use,
                on_failure=note_failure,
            )
            assert rotation.current is None
            await rotation.start()
            task = asyncio.create_task(rotation.run())
            await laboratory.until(until_s)
            task.cancel()
        return rotation


def uses(
    until_s: float, outages: Sequence[Outage] = (), *, name: str = "", **settings: object
) -> list[tuple[str, int]]:
    """Which key signed from when on, to the second."""
    policy = named_policies()[name] if name else Policy(**settings)  # type: ignore[arg-type]

    async def story(laboratory: Laboratory) -> list[tuple[str, float]]:
        service = Service(laboratory, policy)
        rotation = await service.run(until_s)
        assert rotation.current is not None
        assert rotation.current.public.id == service.used[-1][0]
        return service.used

    return [(key, round(at_s)) for key, at_s in run_laboratory(story, outages)]


def test_each_key_signs_a_lead_after_it_was_published() -> None:
    """The first key signs at once, every later one `publish_lead_s` after its beat."""
    expected = [("k1", 0), ("k2", 1600), ("k3", 2600)]
    assert uses(3000, publish_lead_s=600) == expected


def test_without_a_lead_a_key_signs_at_once() -> None:
    """A lead of zero is none."""
    assert uses(2500, publish_lead_s=0) == [("k1", 0), ("k2", 1000), ("k3", 2000)]


def test_a_key_that_the_primary_lacks_waits() -> None:
    """The older key signs on, and the newer one takes over when the primary has it."""
    signing = uses(3000, [refuse(900, 1500)], publish_lead_s=0)
    assert signing[0] == ("k1", 0)
    assert signing[1][0] == "k2"
    assert 1500 <= signing[1][1] <= 1510
    assert signing[2] == ("k3", 2000)


def test_an_older_key_never_signs_longer_than_it_may() -> None:
    """After 3000 s it would expire before its last token: the next one takes over all the same."""
    signing = uses(4500, [refuse(900, 4400)], publish_lead_s=0)
    assert signing == [("k1", 0), ("k2", 3000), ("k5", 4000)]


def test_without_waiting_a_key_signs_that_nobody_can_find() -> None:
    """`sign_when_committed = false` uses it as soon as it is acknowledged."""
    signing = uses(1900, [refuse(900, 1500)], publish_lead_s=0, sign_when_committed=False)
    assert [key for key, _ in signing] == ["k1", "k2"]
    assert signing[1][1] == 1000


def test_the_start_in_an_outage_signs_at_once() -> None:
    """There is no older key to wait with; only the time-out is waited for."""
    assert uses(100, [refuse(0, 90)])[0] == ("k1", 0)


def test_a_refused_key_is_published_again_and_its_lost_beats_are_left_out() -> None:
    """With `primary-only` a create fails while the primary is away: one key is made for it all."""
    signing = uses(4900, [refuse(900, 3500)], name="primary-only")
    assert [key for key, _ in signing] == ["k1", "k2", "k3"]
    assert 3500 <= signing[1][1] <= 3505
    assert signing[2][1] == 4000


def test_a_key_that_was_late_shortens_its_lead() -> None:
    """Where a create failed for long, the older key has no time left for the whole of the lead."""
    settings = {"pending_writes": False, "write_order": "primary-only", "publish_lead_s": 600}
    signing = uses(4900, [refuse(900, 2700)], **settings)
    assert signing[:2] == [("k1", 0), ("k2", 3000)]


def test_an_id_that_is_taken_is_given_up() -> None:
    """The key would be refused again and again until it expires: another one is made."""

    async def story(laboratory: Laboratory) -> list[tuple[str, float]]:
        other = make_key("k2", created_s=1, lifetime_s=LIFETIME_S, material="another")
        laboratory.primary.commit(other)
        service = Service(laboratory, Policy(publish_lead_s=0))
        await service.run(1100)
        assert service.failures == ["k2"]
        return service.used

    assert [(key, round(at_s)) for key, at_s in run_laboratory(story)] == [("k1", 0), ("k3", 1005)]


def test_failures_are_told() -> None:
    """Whoever asked is told of each create that was not acknowledged."""

    async def story(laboratory: Laboratory) -> list[str]:
        service = Service(laboratory, named_policies()["primary-only"])
        await service.run(1100)
        return service.failures

    assert run_laboratory(story, [refuse(990, 1010)]) == ["k2", "k2"]


@pytest.mark.parametrize(
    ("lifetime_s", "lead_s"), [(4000.0, 600.0), (2300.0, 300.0), (2000.0, 0.0), (1000.0, 0.0)]
)
def test_the_lead_is_cut_to_what_the_lifetime_leaves(lifetime_s: float, lead_s: float) -> None:
    """A key has to sign for an interval and to outlive its last token, whatever the policy asks."""
    found = lead_before_use_s(
        Policy(), lifetime_s=lifetime_s, interval_s=INTERVAL_S, token_lifetime_s=TOKEN_S
    )
    assert found == lead_s


def test_a_clock_that_is_set_back_ends_no_rotation() -> None:
    """A key from a year ahead would else sign for a year, since every later key is older."""

    async def story(laboratory: Laboratory) -> list[str]:
        ahead = timedelta(days=365)
        used: list[str] = []

        def now() -> datetime:
            return laboratory.now() + ahead

        def make() -> Pair:
            created_s = (now() - EPOCH).total_seconds()
            name = f"k{round(laboratory.loop.time())}"
            return Pair(make_key(name, created_s=created_s, lifetime_s=LIFETIME_S))

        async with laboratory.repository() as repository:
            rotation = KeyRotation(
                repository,
                make,
                Policy(publish_lead_s=0),
                interval_s=INTERVAL_S,
                token_lifetime_s=TOKEN_S,
                now=now,
                on_use=lambda pair: used.append(pair.public.id),
            )
            await rotation.start()
            ahead = timedelta(0)
            task = asyncio.create_task(rotation.run())
            await laboratory.until(2500.0)
            task.cancel()
        return used

    assert run_laboratory(story) == ["k0", "k1000", "k2000"]
