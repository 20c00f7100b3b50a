from __future__ import annotations

import ast
import logging
from pathlib import Path

import pytest

from ftrepo.failure_log import ERRORS_MAX, FRAMES_MAX, log_failure

PACKAGE = Path(__file__).parents[2] / "ftrepo"

DSN = "postgresql://ftrepo:hunter2@db.example/ftrepo"

_log = logging.getLogger("ftrepo")


def raised(error: BaseException, *, cause: BaseException | None = None) -> BaseException:
    """The error after it was raised here."""
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def test_a_line_says_what_and_where_and_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    """Type, text and places of an error and of its cause, on one line that is the caller's."""
    cause = raised(OSError(f"cannot reach {DSN}\nERROR all is lost"))
    log_failure(_log, "reading %r failed", "a\nb", error=raised(ValueError(DSN), cause=cause))
    (record,) = caplog.records
    text = logging.Formatter().format(record)
    assert "\n" not in text
    assert "hunter2" not in text
    assert text.startswith(
        "reading 'a\\nb' failed: ValueError: postgresql://[redacted]@db.example/ftrepo (at "
    )
    assert "; from OSError: cannot reach postgresql://[redacted]@db.example/ftrepo" in text
    assert f"{__file__}:" in text
    assert " in raised" in text
    assert (record.levelno, record.exc_info) == (logging.ERROR, None)
    assert record.funcName == "test_a_line_says_what_and_where_and_no_secret"


def test_what_an_error_interrupted_and_what_a_group_has_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its context, unless that was suppressed, and each part of a group."""
    try:
        try:
            raise KeyError("first")
        except KeyError:
            raise ExceptionGroup("some", [OSError("one"), OSError("two")]) from None
    except ExceptionGroup as error:
        log_failure(_log, "failed", error=error)
    assert "OSError: one" in caplog.text
    assert "OSError: two" in caplog.text
    assert "first" not in caplog.text
    try:
        try:
            raise KeyError("first")
        except KeyError:
            raise OSError("second")  # noqa: B904
    except OSError as error:
        log_failure(_log, "failed", error=error)
    assert "first" in caplog.text


def test_a_line_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """A deep stack, a long chain, and one that bites its tail."""

    def deep(levels: int) -> None:
        if levels:
            deep(levels - 1)
        raise OSError("deep")

    error: BaseException = OSError("tail")
    for _ in range(50):
        try:
            deep(50)
        except OSError as caught:
            caught.__cause__ = error
            error = caught
    log_failure(_log, "failed", error=error)
    (record,) = caplog.records
    assert record.getMessage().count("OSError") == ERRORS_MAX
    assert record.getMessage().count(" in ") == ERRORS_MAX * FRAMES_MAX
    loop = OSError("loop")
    loop.__cause__ = loop
    log_failure(_log, "failed", error=loop)
    assert caplog.records[-1].getMessage() == "failed: OSError: loop"


def test_nothing_in_the_package_logs_a_traceback_as_it_is() -> None:
    """No call of `exception`, and none with `exc_info`: both write what errors say as it is."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            is_exception = node.func.attr == "exception" and ast.unparse(node.func.value) in (
                "_log",
                "logging",
                "logger",
            )
            if is_exception or any(each.arg == "exc_info" for each in node.keywords):
                found.append(f"{path}:{node.lineno}")
    assert not found
