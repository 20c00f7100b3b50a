"""The keys of one provider over time: renewed, stale, lost, unknown, revoked; in virtual time."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx2
import pytest

from ftrepo.resilience import BreakerState
from ftrepo.service.errors import InvalidTokenError, ProviderUnavailableError
from ftrepo.service.providers import (
    FetchFailed,
    KeysFetched,
    ProviderEvent,
    TokenAccepted,
    TokenUndecided,
)
from ftrepo.service.providers.provider_keys import UNKNOWN_MAX, UNKNOWN_S
from sim.world.issuers import EPOCH
from tests.ftrepo.service.providers.issuers import (
    FakeProvider,
    World,
    claims_at,
    encoded,
    jwk,
    jwks,
    play,
    private_key,
)

HANGING_S = 1e6

GOOD_CLAIMS = encoded(json.dumps(claims_at(exp=EPOCH.timestamp() + 1e6)).encode())

A, B = (private_key("EdDSA", name) for name in ("a", "b"))
ONLY_A, ONLY_B = jwks(jwk(A, "EdDSA", "a")), jwks(jwk(B, "EdDSA", "b"))
BOTH = jwks(jwk(A, "EdDSA", "a"), jwk(B, "EdDSA", "b"))


async def said(world: World, **token: Any) -> str:
    """What becomes of a token of this moment: "accepted", the reason of a refusal, or "503"."""
    return await verdict(world, world.token(**token))


async def verdict(world: World, whole: str) -> str:
    """What becomes of this token."""
    try:
        await world.providers.verify(whole)
    except InvalidTokenError as error:
        return error.reason
    except ProviderUnavailableError:
        return "503"
    return "accepted"


def made_up(number: int) -> str:
    """A token with an id that nobody has, and no signature: 10,000 of them take a while to sign."""
    header = json.dumps({"alg": "EdDSA", "kid": f"made-up-{number}"}).encode()
    return f"{encoded(header)}.{GOOD_CLAIMS}."


def provider(body: bytes = ONLY_A, **others: Any) -> FakeProvider:
    """A provider that has these keys."""
    return FakeProvider(body, **others)


def state(world: World) -> str:
    """What the only provider's keys are worth."""
    (status,) = world.providers.statuses()
    return status.state


def test_keys_are_fetched_at_the_start_and_a_token_that_is_earlier_waits() -> None:
    """Nobody has the start wait, and one fetch serves all who do."""

    async def story(world: World) -> None:
        assert (world.now_s(), state(world)) == (0.0, "never")
        assert await asyncio.gather(*(said(world, key=A) for _ in range(100))) == ["accepted"] * 100
        assert world.now_s() == 0.05
        assert world.provider.asked_s == [0.0]

    play(story, provider=provider())


def test_keys_are_renewed_ahead_of_their_time_and_nobody_waits() -> None:
    """With 300 s of fresh time a fetch begins every 240 s, whether tokens come or not."""

    async def story(world: World) -> None:
        await world.until(1000.0)
        before_s = world.now_s()
        assert await said(world, key=A) == "accepted"
        assert (world.now_s(), state(world)) == (before_s, "fresh")
        assert world.provider.asked_s == [0.0, 240.0, 480.0, 720.0, 960.0]

    play(story, provider=provider())


@pytest.mark.parametrize(("header", "second_s"), [("max-age=100", 80.0), ("no-store", 24.0)])
def test_what_the_provider_says_of_caching_is_heeded(header: str, second_s: float) -> None:
    """It may have its keys asked for more often, up to a bound."""

    async def story(world: World) -> None:
        await world.until(90.0)
        assert world.provider.asked_s[1] == second_s

    play(story, provider=provider(headers={"Cache-Control": f"public, {header}"}))


def test_stale_keys_serve_while_the_provider_is_down_and_then_no_longer() -> None:
    """Not one good token waits or fails until `stale_s` is over; then nobody knows: 503."""

    async def story(world: World) -> None:
        await world.until(1.0)
        world.provider.status = 500
        seen = []
        for moment_s in (290.0, 310.0, 1290.0, 1310.0):
            await world.until(moment_s)
            seen.append((state(world), await said(world, key=A)))
        assert seen == [
            ("fresh", "accepted"),
            ("stale", "accepted"),
            ("stale", "accepted"),
            ("unusable", "503"),
        ]
        assert world.provider.asked_s[1] == 240.0
        world.provider.status = 200
        await world.until(1400.0)
        assert (state(world), await said(world, key=A)) == ("fresh", "accepted")

    play(story, provider=provider(), stale_s=1000.0)


def test_a_provider_that_hangs_keeps_nobody_waiting_for_a_key_at_hand() -> None:
    """Nor for longer than one time-out for any other."""

    async def story(world: World) -> None:
        await world.until(1.0)
        world.provider.delay_s = HANGING_S
        await world.until(241.0)  # The renewal is under way.
        assert await said(world, key=A) == "accepted"
        assert world.now_s() == 241.0
        assert await said(world, key=B, kid="b") == "503"
        assert world.now_s() == pytest.approx(243.0, abs=1e-3)

    play(story, provider=provider())


def test_a_provider_that_was_never_reached_is_unavailable_and_not_unknown() -> None:
    """The answer is 503 with a time to come back, for as long as it takes."""

    async def story(world: World) -> None:
        for _ in range(20):
            with pytest.raises(ProviderUnavailableError) as caught:
                await world.providers.verify(world.token(key=A))
            assert caught.value.retry_after_s is not None
            assert 1.0 <= caught.value.retry_after_s <= 60.0
        assert state(world) == "never"
        assert TokenUndecided(provider="id") in world.events
        world.provider.error = None
        await world.until(120.0)
        assert await said(world, key=A) == "accepted"

    play(story, provider=provider(error=httpx2.ConnectError("refused")))


def test_a_new_key_is_found_at_once_and_a_revoked_one_disappears_with_it() -> None:
    """The fetch that an unknown id causes replaces all keys."""

    async def story(world: World) -> None:
        assert await said(world, key=A) == "accepted"
        world.provider.body = ONLY_B
        assert await said(world, key=A) == "accepted"  # Still fresh: nothing was asked.
        assert await said(world, key=B, kid="b") == "accepted"
        assert await said(world, key=A) == "unknown-key"

    play(story, provider=provider())


def test_a_revoked_key_is_honoured_no_longer_than_it_is_fresh() -> None:
    """The next renewal removes it, without a token that asks for it."""

    async def story(world: World) -> None:
        assert await said(world, key=A) == "accepted"
        world.provider.body = ONLY_B
        await world.until(239.0)
        assert await said(world, key=A) == "accepted"
        await world.until(241.0)
        assert await said(world, key=A) == "unknown-key"

    play(story, provider=provider(BOTH))


def test_an_unknown_id_is_asked_for_once_and_remembered_for_a_while() -> None:
    """The same wrong id costs one fetch in `UNKNOWN_S`."""

    async def story(world: World) -> None:
        await world.until(1.0)
        for _ in range(50):
            assert await said(world, key=A, kid="x") == "unknown-key"
        assert len(world.provider.asked_s) == 2
        await world.until(1.0 + UNKNOWN_S + 1.0)
        assert await said(world, key=A, kid="x") == "unknown-key"
        assert len(world.provider.asked_s) == 3

    play(story, provider=provider())


@pytest.mark.parametrize("at_once", [10_000, 10, 1])
def test_a_flood_of_made_up_ids_asks_the_provider_no_more_than_the_budget_allows(
    at_once: int,
) -> None:
    """10,000 ids in two minutes, however they come: 6 fetches at first, then 6 a minute."""
    tokens, minutes = 10_000, 2.0

    async def story(world: World) -> None:
        assert await said(world, key=A) == "accepted"
        answers: set[str] = set()
        for first in range(0, tokens, at_once):
            ids = range(first, first + at_once)
            answers |= set(await asyncio.gather(*(verdict(world, made_up(each)) for each in ids)))
            await asyncio.sleep(60.0 * minutes * at_once / tokens)
        assert answers == {"unknown-key"}
        asked = world.provider.asked_s
        assert len(asked) <= 6 + 6 * (world.now_s() / 60.0)
        for start_s in asked:
            assert len([each for each in asked if start_s <= each < start_s + 60.0]) <= 12
        assert await said(world, key=A) == "accepted"
        (status,) = world.providers.statuses()
        assert status.state == "fresh"
        assert status.fetches == len(asked)
        (keys,) = world.providers._keys.values()
        assert len(keys._unknown) <= UNKNOWN_MAX

    play(story, provider=provider())


def test_failures_use_up_the_budget_too() -> None:
    """A provider that is down and asked for 10,000 ids is asked no more often than one that is up.

    Whether an id exists nobody can tell then, so the answer is 503.
    """

    async def story(world: World) -> None:
        await world.until(1.0)
        world.provider.status = 500
        for each in range(10_000):
            assert await verdict(world, made_up(each)) == "503"
            await asyncio.sleep(0.012)
        assert await said(world, key=A) == "accepted"
        assert len(world.provider.asked_s) <= 6 + 6 * (world.now_s() / 60.0)

    play(story, provider=provider())


def test_with_the_budget_spent_a_fresh_set_says_unknown_and_a_renewal_finds_the_key() -> None:
    """Who uses up the budget delays the news of a key, and for no longer than a token takes."""

    async def story(world: World) -> None:
        await world.until(1.0)
        for each in range(20):
            await verdict(world, made_up(each))
        asked = len(world.provider.asked_s)
        world.provider.body = BOTH
        assert await said(world, key=B, kid="b") == "unknown-key"
        assert len(world.provider.asked_s) == asked
        await asyncio.sleep(10.0)
        assert await said(world, key=B, kid="b") == "accepted"

    play(story, provider=provider())


def test_a_waiting_caller_who_gives_up_takes_the_fetch_from_nobody() -> None:
    """Not even if it was the first, and not even if all do: the keys come all the same."""

    async def story(world: World) -> None:
        first, second = (asyncio.ensure_future(said(world, key=A)) for _ in range(2))
        await asyncio.sleep(0.01)
        first.cancel()
        assert await second == "accepted"
        world.provider.body = BOTH
        alone = asyncio.ensure_future(said(world, key=B, kid="b"))
        await asyncio.sleep(0.01)
        alone.cancel()
        await asyncio.sleep(0.1)
        assert len(world.provider.asked_s) == 2
        assert world.providers.statuses()[0].keys == 2

    play(story, provider=provider())


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (jwks(), "no-usable-keys"),
        (jwks({"kty": "oct", "k": "AAAA"}), "no-usable-keys"),
        (b"<html>maintenance</html>", "not-a-key-set"),
        (BOTH[:-7], "not-a-key-set"),
    ],
)
def test_keys_are_never_replaced_by_nothing(body: bytes, reason: str) -> None:
    """An answer without usable keys is a failure: those at hand serve until they are too old."""

    async def story(world: World) -> None:
        await world.until(1.0)
        world.provider.body = body
        await world.until(400.0)
        assert (state(world), await said(world, key=A)) == ("stale", "accepted")
        failed = [event for event in world.events if isinstance(event, FetchFailed)]
        assert {event.reason for event in failed} == {reason}
        (status,) = world.providers.statuses()
        assert (status.last_error, status.failures) == (failed[-1].message, len(failed))
        await world.until(1400.0)
        assert await said(world, key=A) == "503"

    play(story, provider=provider(), stale_s=1000.0)


def test_the_breaker_spares_a_provider_that_fails_and_is_the_providers_own() -> None:
    """It trips after five failures in a row, and the sixth attempt waits for it."""

    async def story(world: World) -> None:
        await world.until(90.0)
        breaker = world.breakers.get("provider/id")
        asked = world.provider.asked_s
        assert asked[:5] == pytest.approx([0.0, 2.05, 6.10, 14.15, 30.20])
        assert asked[5] == pytest.approx(62.25)  # 32 s later; the breaker was open for 30 s.
        assert breaker.state is BreakerState.OPEN
        assert await said(world, key=A) == "503"
        assert len(asked) == 6
        assert world.providers.statuses()[0].fetches == 6

    play(story, provider=provider(status=503))


def test_a_breaker_that_is_forced_open_leaves_the_keys_at_hand() -> None:
    """An operator can stop the calls: known keys serve, and of others nobody knows."""

    async def story(world: World) -> None:
        await world.until(1.0)
        world.breakers.get("provider/id").force_open(world.now_s())
        assert await said(world, key=A) == "accepted"
        assert await said(world, key=B, kid="b") == "503"
        await world.until(1000.0)
        assert world.provider.asked_s == [0.0]

    play(story, provider=provider())


def test_leaving_ends_the_tasks_and_tells_who_waits() -> None:
    """A fetch that hangs is cancelled, its callers get 503, and keys at hand serve on."""
    kept: list[World] = []

    async def hanging(world: World) -> asyncio.Task[str]:
        kept.append(world)
        waiting = asyncio.create_task(said(world, key=A))
        await asyncio.sleep(0.1)
        return waiting

    async def story(world: World) -> None:
        waiting = await hanging(world)
        await world.providers.__aexit__(None, None, None)
        assert await waiting == "503"
        assert world.now_s() == 0.1
        assert len(asyncio.all_tasks()) == 1
        assert await said(world, key=A) == "503"

    play(story, provider=provider(delay_s=HANGING_S))

    async def closed(world: World) -> None:
        await world.until(1.0)
        await world.providers.__aexit__(None, None, None)
        assert await said(world, key=A) == "accepted"
        assert await said(world, key=B, kid="b") == "unknown-key"

    play(closed, provider=provider())


def test_the_events_tell_what_happened() -> None:
    """A fetch that changes the keys, one that does not, one that fails, and a token."""

    async def story(world: World) -> None:
        await said(world, key=A)
        await world.until(300.0)
        world.provider.status = 404
        await world.until(481.0)
        fetched = KeysFetched(
            provider="id", keys=1, skipped=1, has_changed=True, duration_s=pytest.approx(0.05)
        )
        again = KeysFetched(
            provider="id", keys=1, skipped=1, has_changed=False, duration_s=pytest.approx(0.05)
        )
        failed = FetchFailed(
            provider="id",
            reason="unexpected-status",
            message="it answers with status 404",
            duration_s=pytest.approx(0.05),
        )
        assert world.events == [fetched, TokenAccepted(provider="id"), again, failed]

    play(story, provider=provider(jwks(jwk(A, "EdDSA", "a"), {})))


def test_an_observer_that_fails_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Its error is logged; the keys come, and the tokens are verified."""

    def observe(event: ProviderEvent) -> None:
        raise OSError("disk full")

    async def story(world: World) -> None:
        assert await said(world, key=A) == "accepted"

    play(story, provider=provider(), observe=observe)
    assert "an observer failed on KeysFetched" in caplog.text


def test_a_defect_in_a_fetch_is_logged_and_does_not_end_the_renewals(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever is raised, the next fetch comes."""

    async def story(world: World) -> None:
        await world.until(1.0)
        assert world.providers.statuses()[0].last_error == "a defect of this service; see its log"
        world.provider.error = None
        await world.until(5.0)
        assert await said(world, key=A) == "accepted"

    play(story, provider=provider(error=ZeroDivisionError("oh")))
    assert "ZeroDivisionError: oh" in caplog.text


@pytest.mark.parametrize("seed", range(10))
def test_any_order_of_callbacks_gives_the_same_answers(seed: int) -> None:
    """Tokens, renewals and cancellations at the same moments, in ten orders."""

    async def story(world: World) -> None:
        tasks = [asyncio.ensure_future(said(world, key=A)) for _ in range(5)]
        tasks += [asyncio.ensure_future(said(world, key=B, kid="b")) for _ in range(5)]
        await asyncio.sleep(0.0)
        tasks.pop(0).cancel()
        tasks.pop(-1).cancel()
        answers = await asyncio.gather(*tasks)
        assert answers == ["accepted"] * 4 + ["unknown-key"] * 4
        assert len(world.provider.asked_s) == 1

    play(story, provider=provider(), seed=seed)
