"""The life of the service's own keys, in virtual time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from laboratory import EPOCH, Laboratory, hang, refuse, run_laboratory

from ftrepo.errors import PendingFullError
from ftrepo.interface import Durability
from ftrepo.keys import PublicKey
from ftrepo.policy import Policy
from ftrepo.service.keys import KeyLife, KeySet
from ftrepo.service.settings import KeySettings, TokenSettings
from ftrepo.service.tokens import TokenIssuer
from sim.world.outages import Outage, OutageMode

SHORT = KeySettings(rotation_interval_s=600.0, lifetime_s=1500.0)
"""A key may sign for 1200 s."""

TOKEN_S = 300.0


@dataclass
class Publisher:
    """Takes keys, unless it is told to raise something."""

    error: Callable[[], Exception] | None = None
    keys: list[PublicKey] = field(default_factory=list)
    tried: int = 0

    async def create(self, key: PublicKey) -> Durability:
        self.tried += 1
        if self.error is not None:
            raise self.error()
        self.keys.append(key)
        return Durability.PRIMARY

    async def until_settled(self, key_id: str) -> None:
        return


def life(lab: Laboratory, publisher: object, policy: Policy | None = None) -> KeyLife:
    """A life of short keys."""
    return KeyLife(
        publisher,  # type: ignore[arg-type]
        settings=SHORT,
        token_lifetime_s=TOKEN_S,
        policy=policy or Policy(),
        now=lab.now,
    )


@pytest.mark.parametrize("away", [[], [refuse(0.0, 100.0)], [hang(0.0, 100.0)]])
def test_a_start_makes_exactly_one_key(away: list[Outage]) -> None:
    """At once, with the primary up or away: in memory, and waiting if the primary lacks it (K6)."""

    async def story(lab: Laboratory) -> None:
        async with lab.repository() as repo:
            began_s = lab.loop.time()
            async with life(lab, repo) as keys:
                assert lab.loop.time() - began_s <= 0.55
                assert keys.ready
                assert keys.current is not None
                first = keys.current.public
                assert repo.all_at_hand() == [first]
                assert repo.pending.keys() == ([first] if away else [])
                await lab.until(120.0)
                assert len(repo.pending) == 0
                assert first.id in lab.primary
            assert keys.current is None

    run_laboratory(story, away)


def test_keys_follow_each_other() -> None:
    """Each signs from its lead on, and the one before stays published until it expires."""

    async def story(lab: Laboratory) -> list[tuple[float, str]]:
        seen: list[tuple[float, str]] = []
        async with lab.repository() as repo, life(lab, repo) as keys:
            for minute in range(60):
                await lab.until(60.0 * minute + 30.0)
                assert keys.current is not None
                name = keys.current.public.id
                if not seen or seen[-1][1] != name:
                    seen.append((lab.loop.time(), name))
                listed = await KeySet(repo, now=lab.now).current()
                assert name in [key.id for key in listed.keys]
        return seen

    seen = run_laboratory(story)
    # 600 s of lead are all that 1500 − 600 − 300 leave.
    assert [at_s for at_s, _ in seen] == [30.0, 1230.0, 1830.0, 2430.0, 3030.0]


def test_a_key_that_may_sign_no_longer_is_none() -> None:
    """A token of full lifetime would outlive it: nobody publishes a successor here.

    A successor that is a moment late leaves no gap.
    """

    async def story(lab: Laboratory) -> list[tuple[bool, float]]:
        publisher = Publisher()
        answers = []
        async with life(lab, publisher) as keys:
            publisher.error = lambda: PendingFullError("full")
            for moment_s in (10.0, 1200.0, 1200.9, 1201.1):
                await lab.until(moment_s)
                answers.append((keys.ready, keys.may_sign_for_s))
        assert not keys.ready
        return answers

    assert run_laboratory(story) == [(True, 1190.0), (True, 0.0), (True, 0.0), (False, 0.0)]


@pytest.mark.parametrize(("drawn", "second_s"), [(0.0, 600.0), (0.25, 450.0), (0.999, 0.6)])
def test_instances_that_start_together_do_not_rotate_together(
    drawn: float, second_s: float
) -> None:
    """The second key comes a drawn part of an interval sooner, and the others follow from there."""

    async def story(lab: Laboratory) -> list[float]:
        publisher = Publisher()
        keys = KeyLife(
            publisher,
            settings=SHORT,
            token_lifetime_s=TOKEN_S,
            policy=Policy(),
            now=lab.now,
            draw=lambda: drawn,
        )
        async with keys:
            await lab.until(1300.0)
        return [(key.created - EPOCH).total_seconds() for key in publisher.keys]

    made_s = run_laboratory(story)
    assert made_s[:3] == pytest.approx([0.0, second_s, second_s + 600.0])


def test_a_clock_that_is_set_forward_costs_seconds(caplog: pytest.LogCaptureFixture) -> None:
    """As after a machine has slept: the key is over, and the next beat may be an hour away."""

    async def story(lab: Laboratory) -> tuple[bool, bool, int]:
        slept = timedelta(0)

        def now() -> datetime:
            return lab.now() + slept

        publisher = Publisher()
        keys = KeyLife(
            publisher, settings=SHORT, token_lifetime_s=TOKEN_S, policy=Policy(), now=now
        )
        async with keys:
            await lab.until(20.0)
            slept = timedelta(days=1)
            before = keys.ready
            await lab.until(31.0)
            after = keys.ready
            await lab.until(599.0)
        return before, after, len(publisher.keys)

    assert run_laboratory(story) == (False, True, 2)
    assert "the clock was set forward" in caplog.text


def test_a_refused_first_key_does_not_keep_the_service_from_starting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It starts without one after a bounded wait, says so, and has one once it is taken."""

    async def story(lab: Laboratory) -> None:
        publisher = Publisher(error=lambda: PendingFullError("full"))
        async with life(lab, publisher) as keys:
            assert lab.loop.time() == 2.0
            assert not keys.ready
            assert keys.current is None
            publisher.error = None
            await lab.until(10.0)
            assert keys.ready

    run_laboratory(story)
    assert "no token is signed" in caplog.text


def test_a_defect_ends_no_rotation(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever is raised is logged, and it goes on, at a bounded pace."""

    def defect() -> Exception:
        return TypeError("a defect")

    async def story(lab: Laboratory) -> None:
        publisher = Publisher(error=defect)
        async with life(lab, publisher) as keys:
            await lab.until(20.0)
            assert publisher.tried <= 5
            publisher.error = None
            await lab.until(30.0)
            assert keys.ready
            publisher.error = defect
            await lab.until(700.0)
            publisher.error = None
            await lab.until(2500.0)
            assert keys.ready
            assert len(publisher.keys) >= 3

    run_laboratory(story)
    assert "a defect" in caplog.text


def test_who_gives_up_starting_leaves_nothing_behind() -> None:
    """A cancelled start has no task left that makes keys."""

    async def story(lab: Laboratory) -> int:
        publisher = Publisher(error=lambda: PendingFullError("full"))
        starting = asyncio.create_task(life(lab, publisher).__aenter__())
        await asyncio.sleep(1.0)
        starting.cancel()
        await asyncio.wait([starting])
        await lab.until(100.0)
        return publisher.tried

    assert run_laboratory(story) == 1


def test_the_private_half_is_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """Nor in what the objects show of themselves."""
    caplog.set_level(logging.DEBUG)

    async def story(lab: Laboratory) -> tuple[bytes, str]:
        async with lab.repository() as repo, life(lab, repo) as keys:
            await lab.until(2000.0)
            assert keys.current is not None
            return keys.current._private.private_bytes_raw(), repr(keys.current)  # type: ignore[union-attr]

    private, shown = run_laboratory(story)
    for text in (private.hex(), repr(private)):
        assert text not in caplog.text + shown
    assert "signs from now on" in caplog.text


FAST = (Phase.explicit, Phase.generate)
"""What is drawn is short enough to be read as it is: nothing is gained by shrinking it."""

WINDOWS = st.lists(
    st.tuples(st.floats(0.0, 3000.0), st.floats(1.0, 2500.0), st.sampled_from(["hang", "refuse"])),
    max_size=3,
)


def outages_of(windows: list[tuple[float, float, str]]) -> list[Outage]:
    """Windows in order, and none within another."""
    outages: list[Outage] = []
    for start_s, length_s, mode in sorted(windows):
        if not outages or start_s > outages[-1].end_s:
            outages.append(Outage(start_s, start_s + length_s, OutageMode(mode)))
    return outages


@settings(max_examples=8, phases=FAST)
@given(windows=WINDOWS, sign_when_committed=st.booleans())
def test_every_token_can_be_verified_until_it_expires(
    windows: list[tuple[float, float, str]], sign_when_committed: bool
) -> None:
    """Whenever it was issued, and whatever the primary did: at the instance that issued it."""
    import jwt

    async def story(lab: Laboratory) -> int:
        policy = Policy(sign_when_committed=sign_when_committed)
        verified = 0
        async with lab.repository(policy) as repo, life(lab, repo, policy) as keys:
            key_set = KeySet(repo, now=lab.now)
            issuer = TokenIssuer(
                lambda: keys.current,
                issuer="https://tokens.example",
                settings=TokenSettings(lifetime_s=TOKEN_S),
                now=lab.now,
            )
            issued: list[tuple[float, str]] = []
            while lab.loop.time() < 4000.0:
                await asyncio.sleep(37.0)
                token = issuer.issue(subject="a", audiences=["b"], scopes=())
                issued.append((lab.loop.time() + token.expires_in_s, token.token))
                while issued and issued[0][0] <= lab.loop.time() + 37.0:
                    _, oldest = issued.pop(0)
                    published = await key_set.current()
                    jwks = {each["kid"]: each for each in published.jwks}
                    kid = jwt.get_unverified_header(oldest)["kid"]
                    options = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
                    jwt.decode(
                        oldest,
                        jwt.PyJWK(jwks[kid]),
                        algorithms=["EdDSA"],
                        audience="b",
                        options=options,  # type: ignore[arg-type]
                    )
                    verified += 1
        return verified

    assert run_laboratory(story, outages_of(windows)) > 90
