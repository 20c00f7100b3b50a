"""How the service's log looks: one JSON object a line for machines, or lines for people.

Whatever was logged, by whomever, goes through `redact` once more here: no line has a break in it,
is longer than some kilobytes, or holds what looks like a secret. The fields that an event carries
(see `telemetry.logs`) are fields of the object, by the same names.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal, TextIO

from ftrepo.failure_log import failure_text
from ftrepo.redact import redact
from ftrepo.service.http.errors import BrokenOffError

Format = Literal["json", "text"]

QUIET = {"uvicorn": logging.ERROR, "alembic": logging.WARNING, "httpx2": logging.WARNING}
"""Loggers of others and their least level. Whoever sends uvicorn nonsense gets a line at level
warning, as often as he likes."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}
"""What every record has; the rest is what `extra` brought."""

_TEXT_MAX = 2_000


def set_up_logging(format_: Format, level: str, *, stream: TextIO | None = None) -> None:
    """Let everything that is logged in this process go to one place, in one form.

    Args:
        format_: of the lines.
        level: the least that `ftrepo` logs, such as "info". Of others it is "warning" at least.
        stream: where to; `None` for standard error.
    """
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonLines() if format_ == "json" else TextLines())
    handler.addFilter(_is_news)
    root = logging.getLogger()
    for before in root.handlers[:]:
        root.removeHandler(before)
    root.addHandler(handler)
    least = logging.getLevelNamesMapping()[level.upper()]
    root.setLevel(max(least, logging.WARNING))
    logging.getLogger("ftrepo").setLevel(least)
    for name, quiet in QUIET.items():
        logging.getLogger(name).setLevel(max(least, quiet))
    logging.captureWarnings(capture=True)


class JsonLines(logging.Formatter):
    """A JSON object for each record: time, level, logger, message, its fields, and the error."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "time": _time(record).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        for name, value in vars(record).items():
            if name not in _STANDARD and name not in line:
                line[name] = _plain(value)
        if record.exc_info and record.exc_info[1]:
            line["error"] = failure_text(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False, allow_nan=False)


class TextLines(logging.Formatter):
    """Time of day, level and message, for a person at a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = f"{_time(record).astimezone():%H:%M:%S} {record.levelname.lower():<8}"
        line += _message(record)
        if record.exc_info and record.exc_info[1]:
            line += f": {failure_text(record.exc_info[1])}"
        return line


def _is_news(record: logging.LogRecord) -> bool:
    """Whether it is more than what the server says of an answer that was broken off."""
    return not (record.exc_info and isinstance(record.exc_info[1], BrokenOffError))


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _message(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
    except Exception:
        # Its arguments do not fit its message: a mistake of whoever logged, and no reason to fail.
        text = str(record.msg)
    return redact(text, length_max=_TEXT_MAX)


def _plain(value: object) -> object:
    """A value as JSON has it; text without secrets."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and value - value == 0:  # Neither infinite nor "not a number".
        return value
    try:
        return redact(str(value), length_max=_TEXT_MAX)
    except Exception:
        return f"({type(value).__name__})"
