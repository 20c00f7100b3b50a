"""Pending writes on the disk: acknowledged keys survive the process that acknowledged them."""

from ftrepo.journal.guarded import GuardedJournal
from ftrepo.journal.sqlite import SqliteJournal

__all__ = ["GuardedJournal", "SqliteJournal"]
