"""Health says how the service is to people, alerts and routers, and nothing that is secret."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from laboratory import hang, refuse

from ftrepo.service.http.health_reports import JOURNAL_TROUBLE_S, JournalWatch
from sim.world.issuers import EPOCH
from tests.ftrepo.service.http.serving import PEER_SECRET, SECRET, Served, serve

PATHS = ("/health/live", "/health/ready", "/health", "/health/detailed")


async def look(served: Served) -> dict[str, tuple[int, Any]]:
    """Every answer: its status and its document."""
    answers = {path: await served.get(path) for path in PATHS}
    return {path: (each.status_code, each.json()) for path, each in answers.items()}


def test_a_service_whose_primary_is_away_is_degraded_and_ready() -> None:
    """A restart would lose what it has in memory; and it recovers by itself."""

    async def story(served: Served) -> list[dict[str, tuple[int, Any]]]:
        seen = [await look(served)]
        for moment_s in (20.0, 120.0):
            await served.lab.until(moment_s)
            for number in range(10):
                await served.get(f"/keys/unknown-{number}")
            seen.append(await look(served))
        return seen

    for outage in (refuse(10.0, 100.0), hang(10.0, 100.0)):
        before, within, after = serve(story, [outage])
        for seen in (before, within, after):
            assert [status for status, _ in seen.values()] == [200] * 4
        assert [each["/health"][1]["status"] for each in (before, within, after)] == [
            "healthy",
            "degraded",
            "healthy",
        ]
        database = within["/health"][1]["dependencies"]["database"]
        assert database["state"] == "down"
        assert "breaker" in database["detail"]


def test_each_breaker_is_shown_with_its_counts_and_its_last_change() -> None:
    """The time is in ISO 8601, with a zone."""

    async def story(served: Served) -> tuple[Any, Any]:
        before = (await look(served))["/health"][1]
        await served.lab.until(11.0)
        for number in range(10):
            await served.get(f"/keys/unknown-{number}")
        return before, (await look(served))["/health"][1]

    before, within = serve(story, [refuse(10.0, 1e9)])
    assert before["breakers"][0]["name"] == "primary"
    assert before["breakers"][0]["last_change"] is None
    (breaker,) = within["breakers"]
    assert breaker["state"] == "open"
    assert breaker["counts"]["trips"] == 1
    assert breaker["retry_after_s"] > 0
    changed = breaker["last_change"]
    assert (EPOCH + timedelta(seconds=11)).isoformat()[:16] == changed[:16]
    assert changed.endswith(("Z", "+00:00"))


def test_a_service_without_a_key_that_may_sign_is_unhealthy() -> None:
    """It lives all the same: a restart is not what it lacks."""

    async def story(served: Served) -> dict[str, tuple[int, Any]]:
        await served.service.key_life.__aexit__(None, None, None)
        return await look(served)

    seen = serve(story)
    assert [seen[path][0] for path in PATHS] == [200, 503, 503, 503]
    assert seen["/health/ready"][1]["reasons"] == ["no-signing-key"]
    assert seen["/health/detailed"][1]["signing_key"] is None


def test_a_service_that_is_about_to_stop_is_not_ready() -> None:
    """So no new requests are sent to it while those under way end."""

    async def story(served: Served) -> dict[str, tuple[int, Any]]:
        served.service.stopping = True
        return await look(served)

    seen = serve(story)
    assert seen["/health/live"][0] == 200
    assert seen["/health/ready"] == (503, {"status": "not-ready", "reasons": ["stopping"]})


def test_the_details_have_what_an_operator_asks_for() -> None:
    """Cache, pending writes, the signing key, and what the process uses."""

    async def story(served: Served) -> Any:
        await served.lab.until(100.0)
        return (await look(served))["/health/detailed"][1]

    detailed = serve(story, [refuse(0.0, 1e9)])
    assert detailed["cache"]["entries"] == 1
    assert detailed["pending"]["keys"] == 1
    assert detailed["pending"]["oldest_age_s"] == pytest.approx(100.0, abs=2.0)
    assert detailed["signing_key"]["age_s"] == pytest.approx(100.0, abs=2.0)
    assert detailed["signing_key"]["may_sign_for_s"] == pytest.approx(10_400.0, abs=2.0)
    assert detailed["uptime_s"] == pytest.approx(100.0, abs=2.0)
    assert detailed["resources"]["rss_bytes"] > 1_000_000
    assert detailed["requests_in_flight"] == 1
    assert detailed["database"] is None


def test_health_shows_no_secret() -> None:
    """Nor an address, a folder or what was asked."""

    async def story(served: Served) -> list[str]:
        texts = [(await served.get(path)).text for path in (*PATHS, "/metrics", "/openapi.json")]
        return [*texts, str(served.service.settings.folder)]

    *texts, folder = serve(story)
    for text in texts:
        for secret in (SECRET, PEER_SECRET, folder, "secret_sha256"):
            assert secret not in text


def test_a_failure_of_the_journal_shows_for_a_while() -> None:
    """Each new one makes it longer."""
    watch = JournalWatch()
    assert not watch.has_failed_lately(0, 0.0)
    assert watch.has_failed_lately(1, 10.0)
    assert watch.has_failed_lately(1, 10.0 + JOURNAL_TROUBLE_S - 1)
    assert not watch.has_failed_lately(1, 10.0 + JOURNAL_TROUBLE_S)
    assert watch.has_failed_lately(2, 1000.0)
