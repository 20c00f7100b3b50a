"""The log line of an error that nobody else will see: where it came from, and no secret.

`logging`'s own `exception` writes what the error and its causes say as it is, on as many lines as
they like. The text of a driver's error may hold a password.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from itertools import islice

from ftrepo.redact import describe, one_line

ERRORS_MAX = 5
"""The most errors of one line: the one that is logged, then its causes or its parts."""

FRAMES_MAX = 10
"""The most places of one error: of those that it passed through, the ones nearest to its origin."""


def log_failure(logger: logging.Logger, message: str, *args: object, error: BaseException) -> None:
    """Log an error, at level error, as one line without what looks like a secret.

    After the message come the error's type, what it says, and the places in the code that it passed
    through, the nearest to its origin first; then the same of what it came from. Source lines and
    values of variables are left out. Raises nothing, whatever the error does.

    Args:
        logger: to write to.
        message: with places for `args`; it and they must hold no secret.
        args: what `logger.error` would take.
        error: why.
    """
    if logger.isEnabledFor(logging.ERROR):
        shown = failure_text(error)
        # One template for all lines of a place in the code: who collects logs groups by it.
        logger.error(f"{message}: %s", *args, shown, stacklevel=2)  # noqa: G004


def failure_text(error: BaseException) -> str:
    """Return what `log_failure` says of an error: one line, without what looks like a secret."""
    return "; from ".join(map(_shown, islice(_family(error), ERRORS_MAX)))


def _family(error: BaseException) -> Iterator[BaseException]:
    waiting, seen = [error], set()
    while waiting:
        each = waiting.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        if isinstance(each, BaseExceptionGroup):
            waiting.extend(each.exceptions)
        if each.__cause__ is not None:
            waiting.append(each.__cause__)
        elif each.__context__ is not None and not each.__suppress_context__:
            waiting.append(each.__context__)


def _shown(error: BaseException) -> str:
    frames = list(traceback.walk_tb(error.__traceback__))[-FRAMES_MAX:]
    places = ", ".join(
        f"{frame.f_code.co_filename}:{line} in {frame.f_code.co_qualname}"
        for frame, line in reversed(frames)
    )
    text = f"{type(error).__name__}: {describe(error)}"
    return f"{text} (at {one_line(places)})" if places else text
