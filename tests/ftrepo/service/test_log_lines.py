from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator

import pytest

from ftrepo.events import KeyCreated
from ftrepo.interface import Durability
from ftrepo.service.http.errors import BrokenOffError
from ftrepo.service.log_lines import JsonLines, TextLines, set_up_logging
from ftrepo.telemetry.logs import EventLog

SECRET = "hunter2hunter2"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """Give what is logged, and put logging back afterwards: it is one for the process."""
    root = logging.getLogger()
    names = ("ftrepo", "uvicorn", "alembic", "httpx2")
    levels = {name: logging.getLogger(name).level for name in ("root", *names)}
    stream = io.StringIO()
    set_up_logging("json", "info", stream=stream)
    yield stream
    logging.captureWarnings(capture=False)
    # What pytest had put there meanwhile, it takes away by itself.
    root.handlers[:] = [each for each in root.handlers if not is_ours(each)]
    for name, level in levels.items():
        logging.getLogger(None if name == "root" else name).setLevel(level)


def is_ours(handler: logging.Handler) -> bool:
    """Whether `set_up_logging` has made it."""
    return isinstance(handler.formatter, JsonLines | TextLines)


def test_an_event_is_an_object_with_its_fields(lines: io.StringIO) -> None:
    """Whoever collects logs need not take text apart."""
    EventLog()(KeyCreated(key_id="k1", durability=Durability.JOURNAL))
    line = json.loads(lines.getvalue())
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "ftrepo",
        "message": "KeyCreated key_id=k1 durability=journal",
        "kind": "KeyCreated",
        "key_id": "k1",
        "durability": "journal",
    }


def test_no_line_holds_a_secret_or_a_break(lines: io.StringIO) -> None:
    """Message, fields and errors are redacted, whoever wrote them, and are one line each."""
    log = logging.getLogger("somebody.else")
    dsn = f"postgresql://ftrepo:{SECRET}@db/ftrepo"
    log.warning("cannot connect to %s\nat all", dsn, extra={"dsn": dsn, "nested": {"url": dsn}})
    try:
        raise ValueError(f"password={SECRET}\nforged line")
    except ValueError as error:
        try:
            raise RuntimeError("it failed") from error
        except RuntimeError:
            log.exception("a request failed")
    shown = lines.getvalue()
    assert SECRET not in shown
    first, second = (json.loads(line) for line in shown.splitlines())
    assert first["dsn"] == "postgresql://[redacted]@db/ftrepo"
    assert second["error"].startswith("RuntimeError: it failed (at ")
    assert "from ValueError: password=[redacted]" in second["error"]


def test_nobody_else_fills_the_log(lines: io.StringIO) -> None:
    """Libraries are heard from their warnings on, and uvicorn from its errors on."""
    logging.getLogger("alembic.runtime").info("setting up")
    logging.getLogger("httpx2").info("GET https://login.example/?token=x")
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    logging.getLogger("ftrepo.service").debug("detail")
    assert lines.getvalue() == ""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", UserWarning, stacklevel=1)
    assert "UserWarning: old" in json.loads(lines.getvalue())["message"]


def test_a_mistake_of_whoever_logs_is_a_line_all_the_same() -> None:
    """Arguments that do not fit, and values that have no JSON, do no harm."""

    class Silent:
        def __str__(self) -> str:
            raise RuntimeError

    fields = {"msg": "%d of %d", "args": (1,), "rate": float("nan"), "what": Silent(), "time": "x"}
    line = json.loads(JsonLines().format(logging.makeLogRecord(fields)))
    assert line["message"] == "%d of %d"
    assert (line["rate"], line["what"]) == ("nan", "(Silent)")
    assert line["time"] != "x"


def test_people_get_lines(lines: io.StringIO) -> None:
    """On a terminal a line is the time of day, the level and the message."""
    stream = io.StringIO()
    set_up_logging("text", "debug", stream=stream)
    logging.getLogger("ftrepo").debug("hello")
    _, _, rest = stream.getvalue().partition(" ")
    assert rest == "debug   hello\n"
    assert lines.getvalue() == ""


def test_what_a_server_says_of_an_answer_that_was_broken_off_is_left_out(
    lines: io.StringIO,
) -> None:
    """Whoever reads slowly could fill a disk with it; its cause was logged, within a bound."""
    log = logging.getLogger("uvicorn.error")
    for error in (BrokenOffError("half"), ValueError("a defect")):
        log.error("Exception in ASGI application", exc_info=error)
    (line,) = map(json.loads, lines.getvalue().splitlines())
    assert line["error"] == "ValueError: a defect"
