"""The log lines of what happens to providers and tokens."""

from __future__ import annotations

import logging

import pytest

from ftrepo.service.providers import (
    FetchFailed,
    KeysFetched,
    ProviderEvent,
    TokenAccepted,
    TokenRefused,
    TokenUndecided,
    log_provider_event,
)


def fetched(*, has_changed: bool) -> KeysFetched:
    """A fetch of two keys that are usable, and one that is not."""
    return KeysFetched(provider="id", keys=2, skipped=1, has_changed=has_changed, duration_s=0.0512)


FAILED = FetchFailed(
    provider="id", reason="timed-out", message="it did not answer in time", duration_s=3.0
)


@pytest.mark.parametrize(
    ("event", "level", "line"),
    [
        (
            fetched(has_changed=True),
            logging.INFO,
            "KeysFetched provider=id keys=2 skipped=1 has_changed=True duration_s=0.051",
        ),
        (
            fetched(has_changed=False),
            logging.DEBUG,
            "KeysFetched provider=id keys=2 skipped=1 has_changed=False duration_s=0.051",
        ),
        (
            FAILED,
            logging.WARNING,
            (
                "FetchFailed provider=id reason=timed-out "
                'error="it did not answer in time" duration_s=3.000'
            ),
        ),
        (TokenAccepted(provider="id"), logging.DEBUG, "TokenAccepted provider=id"),
        (
            TokenRefused(provider=None, reason="malformed"),
            logging.DEBUG,
            "TokenRefused provider=None reason=malformed",
        ),
        (TokenUndecided(provider="id"), logging.DEBUG, "TokenUndecided provider=id"),
    ],
)
def test_each_event_has_a_line_and_a_level(
    event: ProviderEvent, level: int, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What nobody need act on is at debug: tokens are too many for a log."""
    caplog.set_level(logging.DEBUG, "ftrepo")
    log_provider_event(event)
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (level, line)
    assert record.__dict__["kind"] == type(event).__name__


def test_fields_are_attached_for_formatters(caplog: pytest.LogCaptureFixture) -> None:
    """Each by its name, but for the one that a record has already."""
    log_provider_event(FAILED)
    (record,) = caplog.records
    fields = {"provider": "id", "reason": "timed-out", "error": FAILED.message, "duration_s": 3.0}
    assert fields.items() <= record.__dict__.items()


def test_a_level_that_is_off_costs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is written."""
    caplog.set_level(logging.ERROR, "ftrepo")
    log_provider_event(FAILED)
    assert caplog.records == []
