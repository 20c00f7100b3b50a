from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest
import structlog

from ftrepo import events
from ftrepo.errors import JournalError, PrimaryUnavailableError
from ftrepo.events import (
    BreakerChanged,
    CacheMiss,
    ConflictSeen,
    Event,
    ExpiredDeleted,
    Flushed,
    FlushFailed,
    JournalFailed,
    JournalKept,
    JournalRecovered,
    KeyCreated,
    PeersAsked,
    PendingDropped,
    PrimaryFailed,
    Refreshed,
    RetryScheduled,
    ServedFromMemory,
    SnapshotFailed,
    SnapshotLoaded,
)
from ftrepo.fault_tolerant import FaultTolerantRepository
from ftrepo.interface import Durability
from ftrepo.policy import Policy
from ftrepo.resilience import BreakerState
from ftrepo.telemetry.logs import KINDS_MAX, LEVELS, LINES_PER_S, EventLog, log_event
from sim.loop import run_virtual
from tests.laboratory import Laboratory, make_key, refuse, run_laboratory

MANUAL = (Path(__file__).parents[3] / "docs" / "telemetry.md").read_text(encoding="utf-8")

DSN = "postgresql://ftrepo:hunter2@db.example:5432/ftrepo"

EXAMPLES: list[Event] = [
    KeyCreated(key_id="k", durability=Durability.PRIMARY),
    PrimaryFailed(operation="get", error=OSError(f"cannot reach {DSN}"), duration_s=0.5),
    CacheMiss(key_id="k"),
    ServedFromMemory(key_id="k", reason="unknown to the primary"),
    PeersAsked(key_id="k", found=True),
    Flushed(confirmed=3, remaining=0, duration_s=0.1),
    FlushFailed(attempted=3, remaining=5, error=TimeoutError("late")),
    PendingDropped(key_id="k", reason="shutdown"),
    ConflictSeen(key_id="k"),
    Refreshed(loaded=5, added=1),
    ExpiredDeleted(from_primary=None, from_cache=2),
    BreakerChanged(breaker="primary", old=BreakerState.CLOSED, new=BreakerState.OPEN),
    RetryScheduled(operation="connect", attempt=2, error=OSError("refused"), pause_s=0.2),
    JournalRecovered(keys=4, expired=1, corrupted=0),
    JournalFailed(operation="append", error=OSError("disk full")),
    JournalKept(keys=2),
    SnapshotLoaded(keys=12, age_s=40.0, corrupted=0),
    SnapshotFailed(operation="save", error=JournalError("the disk is full")),
]

NAMES = {
    BreakerChanged: ["kind", "breaker", "from", "to"],
    RetryScheduled: ["kind", "operation", "attempt", "error_type", "error", "next_delay_s"],
    PrimaryFailed: ["kind", "operation", "error_type", "error", "duration_s"],
}


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Whatever is logged, from debug on."""
    caplog.set_level(logging.DEBUG, logger="ftrepo")
    return caplog


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What structlog makes of the records of `ftrepo`: a line of JSON for each."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_log_level, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logger = logging.getLogger("ftrepo")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield out
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_there_is_an_example_of_every_event() -> None:
    """What follows holds for all of them, those included that are added later."""
    assert {type(event) for event in EXAMPLES} == set(get_args(events.Event)) == set(LEVELS)


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_structlog_makes_a_line_of_json_with_every_field(event: Event, lines: io.StringIO) -> None:
    """Each field arrives by its name, and none takes the place of what the formatter adds."""
    log_event(event)
    (line,) = lines.getvalue().splitlines()
    shown = json.loads(line)
    kind = type(event).__name__
    assert shown.pop("event").startswith(f"{kind} ")
    assert shown.pop("level") in ("debug", "info", "warning", "error")
    expected = NAMES.get(type(event))
    if expected is None:
        expected = ["kind", *(field.name for field in fields(event))]
        if "error" in expected:
            expected.append("error_type")
    assert sorted(shown) == sorted(expected)
    assert shown["kind"] == kind
    assert "hunter2" not in line


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_the_manual_lists_every_field(event: Event, log: pytest.LogCaptureFixture) -> None:
    """The row of each kind in the manual has its level and its fields, in their order."""
    log_event(event)
    (record,) = log.records
    plain = vars(logging.makeLogRecord({}))
    names = [name for name in vars(record) if name not in plain and name not in ("kind", "message")]
    level = logging.getLevelName(LEVELS[type(event)]).lower()
    row = f"| `{type(event).__name__}` | {level} | {', '.join(f'`{name}`' for name in names)} |"
    assert row in MANUAL.splitlines()


def test_a_change_of_state_says_from_and_to(log: pytest.LogCaptureFixture) -> None:
    """The breaker's name and both states are in the fields and in the text."""
    log_event(BreakerChanged(breaker="primary", old=BreakerState.OPEN, new=BreakerState.HALF_OPEN))
    (record,) = log.records
    assert record.getMessage() == "BreakerChanged breaker=primary from=open to=half-open"
    assert record.__dict__["from"] == "open"
    assert record.__dict__["to"] == "half-open"


def test_a_retry_says_what_why_and_when(log: pytest.LogCaptureFixture) -> None:
    """Operation, attempt, error and the next delay."""
    log_event(RetryScheduled(operation="connect", attempt=2, error=OSError("no"), pause_s=0.2))
    (record,) = log.records
    assert record.getMessage() == (
        "RetryScheduled operation=connect attempt=2 error_type=OSError error=no next_delay_s=0.2"
    )


@pytest.mark.parametrize(
    ("event", "level"),
    [
        (KeyCreated(key_id="k", durability=Durability.JOURNAL), logging.INFO),
        (KeyCreated(key_id="k", durability=Durability.MEMORY), logging.WARNING),
        (
            BreakerChanged(breaker="b", old=BreakerState.HALF_OPEN, new=BreakerState.CLOSED),
            logging.INFO,
        ),
        (
            BreakerChanged(breaker="b", old=BreakerState.CLOSED, new=BreakerState.OPEN),
            logging.WARNING,
        ),
        (JournalRecovered(keys=0, expired=0, corrupted=1), logging.ERROR),
        (JournalRecovered(keys=0, expired=0, corrupted=0, file_set_aside="f"), logging.ERROR),
        (JournalRecovered(keys=9, expired=0, corrupted=0), logging.INFO),
        (SnapshotLoaded(keys=9, age_s=1.0, corrupted=1), logging.ERROR),
        (SnapshotLoaded(keys=9, age_s=1.0, corrupted=0), logging.INFO),
    ],
)
def test_the_level_says_what_to_do(event: Event, level: int, log: pytest.LogCaptureFixture) -> None:
    """A key that is only in memory is to be watched; a damaged journal, acted on."""
    log_event(event)
    assert [record.levelno for record in log.records] == [level]


def test_the_text_of_an_error_forges_nothing(log: pytest.LogCaptureFixture) -> None:
    """A line break in what a driver says does not begin a line, and quotes end where they began."""
    error = OSError('no "route"\nERROR all is lost')
    log_event(PrimaryFailed(operation="get", error=error, duration_s=0.5))
    (record,) = log.records
    assert '"no \\"route\\"\\\\nERROR all is lost" duration_s=0.5' in record.getMessage()
    assert "\n" not in record.getMessage()


def failed(operation: str = "get") -> PrimaryFailed:
    """One of a flood."""
    return PrimaryFailed(operation=operation, error=OSError("refused"), duration_s=0.001)


def test_a_flood_has_so_many_lines_a_second(log: pytest.LogCaptureFixture) -> None:
    """Of 10,000 failures a second ten have a line, and the lines account for all the others."""
    write = EventLog()

    async def main(loop: object) -> None:
        for second in range(3):
            for _ in range(10_000):
                write(failed())
            assert len(log.records) == LINES_PER_S * (second + 1) + second
            await asyncio.sleep(1.0)

        write(CacheMiss(key_id="k"))

    run_virtual(main)
    left_out = [record for record in log.records if hasattr(record, "suppressed")]
    assert [record.__dict__["suppressed"] for record in left_out] == [10_000 - LINES_PER_S] * 3
    (text,) = {record.getMessage() for record in left_out}
    assert (
        text == f"PrimaryFailed operation=get error_type=OSError suppressed={10_000 - LINES_PER_S}"
    )
    assert {record.levelno for record in left_out} == {logging.WARNING}
    assert len(log.records) == 3 * (LINES_PER_S + 1) + 1


def test_a_flood_does_not_hide_another_error(log: pytest.LogCaptureFixture) -> None:
    """One refusal among a thousand time-outs has its line, be it the error or its cause."""
    write = EventLog()

    def away(cause: Exception) -> PrimaryFailed:
        error = PrimaryUnavailableError(f"get: {cause}")
        error.__cause__ = cause
        return PrimaryFailed(operation="get", error=error, duration_s=0.5)

    async def main(_: object) -> None:
        for _ in range(1_000):
            write(PrimaryFailed(operation="get", error=TimeoutError("slow"), duration_s=0.5))
            write(away(OSError("slow")))
        write(PrimaryFailed(operation="get", error=PermissionError("denied"), duration_s=0.5))
        write(away(PermissionError("denied for another")))

    run_virtual(main)
    assert len(log.records) == 2 * LINES_PER_S + 2
    texts = [record.getMessage() for record in log.records[-2:]]
    assert "error_type=PermissionError error=denied " in texts[0]
    assert "denied for another" in texts[1]


def test_what_was_suppressed_is_said_by_the_next_event_of_any_kind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not before the second is over; then once, though the event's own level is not logged."""
    caplog.set_level(logging.INFO, logger="ftrepo")
    write = EventLog(lines_per_s=1)

    def said() -> list[int]:
        return [r.__dict__["suppressed"] for r in caplog.records if hasattr(r, "suppressed")]

    async def main(_: object) -> None:
        for _ in range(5):
            write(failed("get"))
        for _ in range(3):
            write(failed("create"))
        await asyncio.sleep(0.99)
        write(CacheMiss(key_id="k"))
        assert not said()
        await asyncio.sleep(0.01)
        for _ in range(3):
            write(CacheMiss(key_id="k"))
        assert said() == [4, 2]
        write(failed("get"))
        assert said() == [4, 2]

    run_virtual(main)
    assert [record.__dict__["kind"] for record in caplog.records] == ["PrimaryFailed"] * 5


def test_any_number_of_kinds_has_bounded_lines(log: pytest.LogCaptureFixture) -> None:
    """Those beyond the bound share their lines, and are told apart again when there is room."""
    write = EventLog(lines_per_s=1)

    async def main(_: object) -> None:
        for number in range(3 * KINDS_MAX):
            write(failed(f"op{number}"))
        assert len(write._seconds) == KINDS_MAX + 1
        assert len(log.records) == KINDS_MAX + 1
        await asyncio.sleep(1.0)
        write(failed("op"))
        assert len(write._seconds) == 1
        shared = log.records[-2]
        assert shared.getMessage() == f"PrimaryFailed suppressed={2 * KINDS_MAX - 1}"

    run_virtual(main)


def test_one_kind_does_not_drown_another(log: pytest.LogCaptureFixture) -> None:
    """Another operation, another level and another event have their own lines."""
    write = EventLog(lines_per_s=1)

    async def main(_: object) -> None:
        for _ in range(100):
            write(failed("get"))
            write(KeyCreated(key_id="k", durability=Durability.PRIMARY))
        write(failed("create_many"))
        write(KeyCreated(key_id="k", durability=Durability.MEMORY))

    run_virtual(main)
    assert len(log.records) == 4


@pytest.mark.parametrize(
    "event",
    [
        PendingDropped(key_id="k", reason="shutdown"),
        ConflictSeen(key_id="k"),
        BreakerChanged(breaker="b", old=BreakerState.CLOSED, new=BreakerState.OPEN),
        CacheMiss(key_id="k"),
    ],
    ids=["a lost key", "a conflict", "a change of state", "debug"],
)
def test_some_lines_are_never_suppressed(event: Event, log: pytest.LogCaptureFixture) -> None:
    """What is to be acted on is written down nowhere else; who turns debug on wants all of it."""
    write = EventLog(lines_per_s=1)

    async def main(_: object) -> None:
        for _ in range(50):
            write(event)

    run_virtual(main)
    assert len(log.records) == 50


def test_the_bound_can_be_taken_off(log: pytest.LogCaptureFixture) -> None:
    """Without a bound every event has its line; without a loop there is none either."""
    write = EventLog(lines_per_s=None)

    async def main(_: object) -> None:
        for _ in range(50):
            write(failed())

    run_virtual(main)
    assert len(log.records) == 50
    for _ in range(50):
        log_event(failed())
    assert len(log.records) == 100
    with pytest.raises(ValueError, match="lines_per_s is 0"):
        EventLog(lines_per_s=0)


def test_another_loop_begins_anew(log: pytest.LogCaptureFixture) -> None:
    """A clock that is behind the one before does not silence the log until it has caught up."""
    write = EventLog(lines_per_s=1)

    async def late(loop: object) -> None:
        await asyncio.sleep(1_000.0)
        write(failed())

    async def early(_: object) -> None:
        write(failed())

    run_virtual(late)
    run_virtual(early)
    assert len(log.records) == 2


def test_a_silent_level_costs_no_line(caplog: pytest.LogCaptureFixture) -> None:
    """What nobody wants to see is neither written nor counted as suppressed."""
    caplog.set_level(logging.ERROR, logger="ftrepo")
    write = EventLog(lines_per_s=1)

    async def main(_: object) -> None:
        for _ in range(5):
            write(failed())
        caplog.set_level(logging.DEBUG, logger="ftrepo")
        write(failed())

    run_virtual(main)
    (record,) = caplog.records
    assert not hasattr(record, "suppressed")


def test_an_outage_without_a_breaker_does_not_fill_the_disk(log: pytest.LogCaptureFixture) -> None:
    """A thousand calls a second that all fail leave some tens of lines a second."""
    log.set_level(logging.INFO, logger="ftrepo")
    policy = Policy(breaker=False, futile_calls_per_s_max=None)

    async def story(lab: Laboratory) -> tuple[float, list[Event]]:
        told: list[Event] = []
        observers = [told.append, EventLog()]
        async with FaultTolerantRepository(
            lab.primary, policy, now=lab.now, observers=observers
        ) as repository:
            for number in range(4_000):
                await repository.create(make_key(f"k{number}"))
        return lab.loop.time(), told

    lasted_s, told = run_laboratory(story, [refuse(0.0, 100.0)])
    assert sum(isinstance(event, PrimaryFailed) for event in told) > 4_000
    # What an earlier test left for the garbage collector may complain here, by another logger.
    ours = [record for record in log.records if record.name == "ftrepo"]
    written = [record for record in ours if record.__dict__["kind"] != "PendingDropped"]
    kinds = {(r.__dict__["kind"], r.levelno, r.__dict__.get("operation")) for r in written}
    assert {"PrimaryFailed", "KeyCreated"} <= {kind for kind, *_ in kinds}
    assert len(written) <= len(kinds) * (LINES_PER_S + 1) * (lasted_s + 1)
    assert len(written) < 400
