"""Other instances as a last resort, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from dataclasses import replace as replaced

import pytest
from laboratory import Laboratory, hang, make_key, refuse, run_laboratory

from ftrepo.errors import KeyNotFoundError, KeyUnavailableError
from ftrepo.events import PeersAsked
from ftrepo.fault_tolerant import FaultTolerantRepository
from ftrepo.keys import PublicKey
from ftrepo.policy import Policy
from sim.world.outages import Outage

AWAY = (refuse(10.0, 1e4),)


@dataclass
class Others:
    """Other instances that hold some keys, and answer after a while."""

    keys: Sequence[PublicKey] = ()
    latency_s: float = 0.001
    error: Exception | None = None
    asked: list[str] = field(default_factory=list)

    async def find(self, key_id: str) -> PublicKey | None:
        self.asked.append(key_id)
        await asyncio.sleep(self.latency_s)
        if self.error is not None:
            raise self.error
        return next((key for key in self.keys if key.id == key_id), None)


def repository(
    lab: Laboratory, others: Others | None, policy: Policy | None = None
) -> FaultTolerantRepository:
    """A repository beside other instances."""
    return FaultTolerantRepository(
        lab.primary,
        policy,
        now=lab.now,
        observers=[lab.events.append],
        peers=others,
        draw=lambda: 0.0,
    )


def asking(
    others: Others,
    key_id: str = "a",
    *,
    policy: Policy | None = None,
    outages: Sequence[Outage] = AWAY,
) -> tuple[PublicKey | type[Exception], float]:
    """What a `get` in an outage gives, and how long it took."""

    async def story(lab: Laboratory) -> tuple[PublicKey | type[Exception], float]:
        async with repository(lab, others, policy) as repo:
            await lab.until(20.0)
            answer: PublicKey | type[Exception]
            try:
                answer = await repo.get(key_id)
            except (KeyNotFoundError, KeyUnavailableError) as error:
                answer = type(error)
            return answer, lab.loop.time() - 20.0

    return run_laboratory(story, outages)


def test_what_another_instance_has_is_served() -> None:
    """The primary is away and memory does not have it: the maker does."""
    others = Others([make_key("a")])
    answer, _ = asking(others)
    assert answer == make_key("a")
    assert others.asked == ["a"]


def test_what_nobody_has_is_unavailable() -> None:
    """Never unknown: the primary, which may have it, was not asked."""
    assert asking(Others([make_key("b")]))[0] is KeyUnavailableError


def test_a_policy_may_ask_nobody() -> None:
    """`peer_timeout_s = none`."""
    others = Others([make_key("a")])
    assert asking(others, policy=Policy(peer_timeout_s=None))[0] is KeyUnavailableError
    assert others.asked == []


def test_nobody_is_asked_while_the_primary_answers() -> None:
    """What it does not have is unknown."""
    others = Others([make_key("a")])
    assert asking(others, outages=())[0] is KeyNotFoundError
    assert others.asked == []


def test_those_who_do_not_answer_are_waited_for_so_long() -> None:
    """The time-out of the policy; and with a primary that hangs, both together take its own."""
    slow = Others([make_key("a")], latency_s=60.0)
    answer, took_s = asking(slow)
    assert answer is KeyUnavailableError
    assert took_s == pytest.approx(0.1, abs=0.01)
    answer, took_s = asking(slow, outages=[hang(10.0, 1e4)])
    assert answer is KeyUnavailableError
    assert took_s <= 0.5 + 0.01
    quick = Policy(select_timeout_s=0.05)
    assert asking(slow, policy=quick)[1] <= 0.05 + 0.01


def test_their_errors_reach_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """They are logged; the answer is that of nobody."""
    assert asking(Others(error=OSError("no route")))[0] is KeyUnavailableError
    assert "no route" in caplog.text


@pytest.mark.parametrize(
    "key", [make_key("b"), make_key("a", lifetime_s=15.0)], ids=["another", "expired"]
)
def test_an_answer_that_is_none_is_not_believed(key: PublicKey) -> None:
    """Another key than was asked for, or one that has expired."""

    class Liars(Others):
        async def find(self, key_id: str) -> PublicKey | None:
            return key

    assert asking(Liars())[0] is KeyUnavailableError


def test_an_answer_is_remembered() -> None:
    """And is as stale as it is old, for nobody knows whether the primary ever had it."""

    async def story(lab: Laboratory) -> None:
        others = Others([make_key("a"), make_key("b", created_s=25.0)])
        async with repository(lab, others, Policy(max_staleness_s=30.0)) as repo:
            await lab.until(28.0)
            for _ in range(3):
                await repo.get("a")
                await repo.get("b")
            assert others.asked == ["a", "b"]
            await lab.until(40.0)
            assert repo.at_hand("a") is None
            assert repo.at_hand("b") is not None
            assert repo.at_hand("c") is None

    run_laboratory(story, AWAY)


def test_all_who_wait_share_one_question() -> None:
    """A hundred callers of one key ask the others once."""

    async def story(lab: Laboratory) -> list[str]:
        others = Others([make_key("a")], latency_s=0.05)
        async with repository(lab, others) as repo:
            await lab.until(20.0)
            await asyncio.gather(*(repo.get("a") for _ in range(100)))
        return others.asked

    assert run_laboratory(story, AWAY) == ["a"]


def test_a_flood_of_made_up_ids_is_no_flood_for_the_others() -> None:
    """A minute of a hundred ids a second: the bound of the policy holds for them, too."""

    async def story(lab: Laboratory) -> int:
        others = Others()
        policy = Policy(futile_calls_per_s_max=5.0, calls_in_flight_max=10)
        async with repository(lab, others, policy) as repo:
            await lab.until(20.0)
            for second in range(60):
                calls = (repo.get(f"made-up-{second}-{n}") for n in range(100))
                answers = await asyncio.gather(*calls, return_exceptions=True)
                assert all(isinstance(each, KeyUnavailableError) for each in answers)
                await lab.until(21.0 + second)
        return len(others.asked)

    assert 250 <= run_laboratory(story, AWAY) <= 10 + 5 * 60 + 5


def test_every_question_is_told() -> None:
    """With what came of it."""

    async def story(lab: Laboratory) -> list[bool]:
        async with repository(lab, Others([make_key("a")])) as repo:
            await lab.until(20.0)
            await repo.get("a")
            with pytest.raises(KeyUnavailableError):
                await repo.get("b")
        return [each.found for each in lab.seen(PeersAsked)]  # type: ignore[attr-defined]

    assert run_laboratory(story, AWAY) == [True, False]


def test_a_key_under_another_id_stays_where_it_is() -> None:
    """An answer replaces nothing that memory holds: pending keys above all."""

    async def story(lab: Laboratory) -> bool:
        own = make_key("a", material="own")
        other = replaced(make_key("a"), material=make_key("x").material)
        async with repository(lab, Others([other])) as repo:
            await lab.until(20.0)
            await repo.create(own)
            return (await repo.get("a")).same_material(own)

    assert run_laboratory(story, AWAY)
