"""What the service has of PostgreSQL; the rest of it is shown where the service runs."""

from __future__ import annotations

import asyncio
import logging

import pytest
from laboratory import Laboratory, run_laboratory

from ftrepo.postgres.alerts import Alert, AlertChange, AlertLevel
from ftrepo.postgres.migrate import MigrationError
from ftrepo.service.database import Migration, log_alert


@pytest.mark.parametrize(
    ("level", "raised", "logged"),
    [
        (AlertLevel.CRITICAL, True, logging.ERROR),
        (AlertLevel.WARNING, True, logging.WARNING),
        (AlertLevel.CRITICAL, False, logging.INFO),
    ],
)
def test_an_alert_is_logged_at_a_level_of_its_own(
    level: AlertLevel, raised: bool, logged: int, caplog: pytest.LogCaptureFixture
) -> None:
    """When it begins and when it ends, and without what looks like a secret."""
    caplog.set_level(logging.INFO, logger="ftrepo")
    alert = Alert(name="check", level=level, message="postgresql://u:hunter2@h/d is away")
    log_alert(AlertChange(alert=alert, raised=raised))
    assert [record.levelno for record in caplog.records] == [logged]
    assert "check" in caplog.text
    assert "hunter2" not in caplog.text


class Upgrade:
    """Fails as often as it is told to."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.tried_s: list[float] = []

    async def __call__(self, dsn: str) -> None:
        assert dsn == DSN
        self.tried_s.append(asyncio.get_running_loop().time())
        if self.failures:
            raise self.failures.pop(0)


DSN = "postgresql://h/d"

AWAY = MigrationError("the database cannot be reached: user=hunter2@h")


def test_a_migration_is_tried_until_it_succeeds(caplog: pytest.LogCaptureFixture) -> None:
    """With growing pauses that have a bound; the same reason is logged once."""
    upgrade = Upgrade(*[AWAY] * 7, TypeError("a defect"))

    async def story(lab: Laboratory) -> None:
        async with Migration(DSN, migrate=upgrade):
            assert lab.loop.time() == 0.0
            await lab.until(1000.0)

    run_laboratory(story)
    assert upgrade.tried_s == [0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 61.0, 91.0, 121.0]
    assert caplog.text.count("the database cannot be reached") == 1
    assert "a defect" in caplog.text


def test_a_start_waits_for_the_tables(caplog: pytest.LogCaptureFixture) -> None:
    """So that the first key finds them; but not for ever, and a stop ends the migration."""
    ended_s: list[float] = []

    async def story(lab: Laboratory, takes_s: float) -> float:
        async def migrate(dsn: str) -> None:
            try:
                await asyncio.sleep(takes_s)
            finally:
                ended_s.append(lab.loop.time())

        async with Migration(DSN, migrate=migrate):
            entered_s = lab.loop.time()
            await lab.until(50.0)
        return entered_s

    assert run_laboratory(lambda lab: story(lab, 3.0)) == 3.0
    assert "not up to date" not in caplog.text
    assert run_laboratory(lambda lab: story(lab, 1e6)) == 10.0
    assert "the service starts all the same" in caplog.text
    assert ended_s == [3.0, 50.0]
