"""Tables that are not there are noticed, and said once."""

from __future__ import annotations

import pytest

from ftrepo.errors import PrimaryUnavailableError
from ftrepo.events import Flushed, KeyCreated, PrimaryFailed, Refreshed
from ftrepo.interface import Durability
from ftrepo.service.schema_watch import SchemaWatch


class ServerError(Exception):
    def __init__(self, sqlstate: str) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


def failure(sqlstate: str | None) -> PrimaryFailed:
    """A failed call, as the store tells of it."""
    error = PrimaryUnavailableError("get: failed")
    if sqlstate is not None:
        error.__cause__ = ServerError(sqlstate)
    return PrimaryFailed(operation="get", error=error, duration_s=0.1)


def test_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """And again if the tables have been there meanwhile."""
    watch = SchemaWatch()
    for _ in range(3):
        watch(failure("42P01"))
    assert watch.is_outdated
    assert caplog.text.count("db upgrade") == 1
    watch(Refreshed(loaded=0, added=0))
    assert not watch.is_outdated
    watch(failure("42703"))
    assert caplog.text.count("db upgrade") == 2


@pytest.mark.parametrize("sqlstate", [None, "57P01", "42501", "3D000"])
def test_another_failure_is_not_taken_for_it(sqlstate: str | None) -> None:
    """An upgrade would mend none of them."""
    watch = SchemaWatch()
    watch(failure(sqlstate))
    assert not watch.is_outdated


@pytest.mark.parametrize(
    ("event", "is_outdated"),
    [
        (KeyCreated(key_id="a", durability=Durability.PRIMARY), False),
        (KeyCreated(key_id="a", durability=Durability.JOURNAL), True),
        (Flushed(confirmed=1, remaining=0, duration_s=0.1), False),
        (failure("57P01"), True),
        (failure(None), True),
    ],
)
def test_only_the_primary_itself_proves_otherwise(event: object, is_outdated: bool) -> None:
    """What memory does, or another failure, says nothing of the tables."""
    watch = SchemaWatch()
    watch(failure("42P01"))
    watch(event)  # type: ignore[arg-type]
    assert watch.is_outdated is is_outdated


def test_a_chain_of_causes_without_end_is_left_off() -> None:
    """Errors may name each other as their cause."""
    failed = failure(None)
    failed.error.__cause__ = failed.error
    SchemaWatch()(failed)
