"""What the service has of PostgreSQL; the rest of it is shown where the service runs."""

from __future__ import annotations

import logging

import pytest

from ftrepo.postgres.alerts import Alert, AlertChange, AlertLevel
from ftrepo.service.database import log_alert


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
