"""Prometheus reads all that is measured, under bounded labels."""

from __future__ import annotations

import asyncio

from laboratory import refuse
from prometheus_client.parser import text_string_to_metric_families

from ftrepo.service.http.metric_table import SERVICE_METRICS
from ftrepo.service.http.metrics import SHARED_S
from ftrepo.telemetry.metrics import METRICS
from tests.ftrepo.service.http.serving import Served, serve


def samples(text: str) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every series by its name and the values of its labels."""
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_requests_and_tokens_are_counted() -> None:
    """By endpoint, method and status; tokens by kind; refusals by reason."""

    async def story(served: Served) -> str:
        await served.token()
        await served.token(client_secret="wrong")
        await served.client.post("/token/exchange", data={"a": "b"})
        await served.client.head("/health")
        return (await served.get("/metrics")).text

    seen = samples(serve(story))
    requests = "ftrepo_http_requests_total"
    assert seen[requests, ("/token/service", "POST", "200")] == 1
    assert seen[requests, ("/token/service", "POST", "401")] == 1
    assert seen[requests, ("/health", "HEAD", "200")] == 1
    assert seen["ftrepo_tokens_issued_total", ("service",)] == 1
    assert seen["ftrepo_tokens_issued_total", ("exchange",)] == 0
    refusals = "ftrepo_token_refusals_total"
    assert seen[refusals, ("service", "client-not-authenticated")] == 1
    assert seen[refusals, ("exchange", "missing-parameter")] == 1
    assert seen["ftrepo_http_request_duration_seconds_count", ("/token/service",)] == 2
    assert seen["ftrepo_http_requests_in_flight", ()] == 1
    assert seen["ftrepo_ready", ()] == 1


def test_no_caller_can_make_series() -> None:
    """Whatever paths, methods and ids it thinks of."""

    async def story(served: Served) -> set[tuple[str, tuple[str, ...]]]:
        async def ask(number: int) -> None:
            await served.get(f"/nowhere/{number}")
            await served.get(f"/keys/{number}")
            await served.client.request(f"METHOD{number}", "/health")
            await served.get("/health", x_request_id=str(number))

        async def look() -> set[tuple[str, tuple[str, ...]]]:
            await asyncio.sleep(SHARED_S)
            return set(samples((await served.get("/metrics")).text))

        await ask(0)
        await look()
        before = await look()
        for number in range(50):
            await ask(number)
        return await look() - before

    assert not serve(story)


def test_all_who_ask_within_a_moment_get_the_same_figures() -> None:
    """Nobody is refused them, so a flood of questions must not cost a reading each."""

    async def story(served: Served) -> list[str]:
        texts = []
        for pause_s in (0.0, 0.9 * SHARED_S, 0.1 * SHARED_S):
            await asyncio.sleep(pause_s)
            texts.append((await served.get("/metrics")).text)
        return texts

    first, within, after = serve(story)
    assert within == first
    assert after != first


def test_a_token_that_cannot_be_signed_now_is_counted_with_its_reason() -> None:
    """It is no refusal of the caller, but an alert may ask for it."""

    async def story(served: Served) -> str:
        await served.service.key_life.__aexit__(None, None, None)
        await served.token()
        return (await served.get("/metrics")).text

    seen = samples(serve(story))
    assert seen["ftrepo_token_refusals_total", ("service", "no-signing-key")] == 1
    assert seen["ftrepo_signing_key_remaining_seconds", ()] == 0
    assert seen["ftrepo_ready", ()] == 0


def test_what_the_repository_measures_is_there_too() -> None:
    """One address has everything: alerts join both."""

    async def story(served: Served) -> str:
        await served.lab.until(60.0)
        return (await served.get("/metrics")).text

    seen = samples(serve(story, [refuse(0.0, 1e9)]))
    assert seen["ftrepo_primary_up", ()] == 0
    assert seen["ftrepo_pending_keys", ()] == 1
    assert seen["ftrepo_event_loop_lag_seconds", ()] == 0


def test_a_providers_keys_are_measured() -> None:
    """One that cannot be asked is a gauge that an alert can read."""

    async def story(served: Served) -> str:
        await asyncio.sleep(1.0)
        return (await served.get("/metrics")).text

    provider = {"name": "p", "issuer": "i", "audience": ["a"], "jwks_file": "/nowhere/jwks.json"}
    seen = samples(serve(story, providers=[provider]))
    assert seen["ftrepo_provider_keys_state", ("p",)] == 2
    assert seen["ftrepo_provider_fetches_total", ("p", "failure")] >= 1
    assert ("ftrepo_provider_keys_age_seconds", ("p",)) not in seen


def test_every_name_is_of_the_house_and_said_once() -> None:
    """Two tables share one address, so no name may repeat."""
    names = [each.prometheus_name for each in (*METRICS, *SERVICE_METRICS)]
    assert len(names) == len(set(names))
    assert all(each.name.startswith("ftrepo.") for each in SERVICE_METRICS)
    assert all(each.help.endswith(".") for each in SERVICE_METRICS)
