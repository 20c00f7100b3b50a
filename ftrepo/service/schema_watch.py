"""Notices that the database lacks the tables, which no waiting will mend, and says what will."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ftrepo.events import Flushed, KeyCreated, PrimaryFailed, Refreshed
from ftrepo.interface import Durability

if TYPE_CHECKING:
    from ftrepo.events import Event

_log = logging.getLogger(__name__)

OUTDATED = frozenset({"42P01", "42703", "42883"})
"""The codes by which PostgreSQL says that a table, a column or a function is not there (its
appendix A, "PostgreSQL Error Codes")."""

_CAUSES_MAX = 5


class SchemaWatch:
    """An observer that logs once, at level error, that migrations were not run.

    The service goes on meanwhile, as in any outage: its keys are in memory, wait to be written, and
    are written once the tables are there.

    Attributes:
        is_outdated: whether the database said so last.
    """

    def __init__(self) -> None:
        self.is_outdated = False

    def __call__(self, event: Event) -> None:
        """Look at an event."""
        if isinstance(event, PrimaryFailed):
            if not self.is_outdated and _says_so(event.error):
                self.is_outdated = True
                _log.error(
                    "the database is not up to date: run `python -m ftrepo db upgrade`. Until "
                    "then the service works as in an outage: new keys are in memory, and in the "
                    "journal if there is one"
                )
        elif self.is_outdated and _proves_otherwise(event):
            self.is_outdated = False
            _log.info("the database is up to date now")


def _says_so(error: BaseException | None) -> bool:
    for _ in range(_CAUSES_MAX):
        if error is None:
            break
        if getattr(error, "sqlstate", None) in OUTDATED:
            return True
        error = error.__cause__
    return False


def _proves_otherwise(event: Event) -> bool:
    if isinstance(event, KeyCreated):
        return event.durability is Durability.PRIMARY
    return isinstance(event, Flushed | Refreshed)
