"""Is this database what it should be? The questions that `db verify` and `db restore` ask."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ftrepo.postgres.recovery.survey import Survey, compare, schema_of, survey
from ftrepo.postgres.recovery.tools import Account, RecoveryError, Tools

if TYPE_CHECKING:
    import asyncpg

    from ftrepo.postgres.recovery.backup_record import Backup

ARCHIVE_AGE_S_MAX = 900.0
"""The objective for the recovery point: no more than the last 15 minutes may be lost."""

_PAGE_FAILURES = """
    SELECT current_setting('data_checksums') = 'on' AS known,
           (SELECT sum(checksum_failures)::bigint FROM pg_stat_database) AS failures
"""

# A server with nothing to write archives nothing for hours, and is well. So what counts is how long
# a key has waited. After a crash, the archiver's statistics begin anew.
_ARCHIVER = """
    SELECT current_setting('archive_mode') <> 'off' AS on, last_archived_time, last_failed_wal,
           coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false) AS failing,
           (SELECT extract(epoch FROM clock_timestamp() - min(stored))::float8 FROM public_keys
            WHERE stored > coalesce(last_archived_time, stats_reset)) AS waiting_s
    FROM pg_stat_archiver
"""


class Check(NamedTuple):
    """One question and its answer."""

    name: str
    passed: bool | None
    """`None` if it could not be asked."""
    detail: str


async def check_live(connection: asyncpg.Connection) -> list[Check]:
    """Ask a database in use: is every row a key, are pages damaged, is the archive up to date?"""
    found = await survey(connection)
    return [_every_key(found), await _pages(connection), await _archiver(connection)]


async def check_database(
    connection: asyncpg.Connection, backup: Backup, *, reached: datetime | None, immediate: bool
) -> tuple[int, list[Check]]:
    """Ask a database that was just restored; return how many keys it has, and the answers.

    Args:
        connection: to it.
        backup: where it came from.
        reached: the time of the last commit in it.
        immediate: whether it was restored to the backup's own moment, and no further.
    """
    found = await survey(connection, settled_before=backup.keys.settled_before)
    at = max(reached or backup.finished, backup.finished)
    checks = [_every_key(found), _settled(backup.keys, found, at)]
    version = await schema_of(connection)
    if immediate:
        same = version == backup.schema
        detail = f"version {version}" + ("" if same else f", and the backup had {backup.schema}")
        checks.append(Check("schema", same, detail))
    else:
        checks.append(Check("schema", version is not None or None, f"version {version or 'none'}"))
    return found.total.keys, checks


async def check_files(tools: Tools, data: Path, backup: Backup, account: Account | None) -> Check:
    """Let `pg_checksums` read every page of a server that is shut down."""
    name = "pages"
    if not backup.facts.data_checksums:
        return Check(name, None, "not checked: the server has no data checksums")
    try:
        await tools.run("pg_checksums", "--check", f"--pgdata={data}", account=account)
    except RecoveryError as error:
        return Check(name, False, str(error))
    return Check(name, True, "pg_checksums found every page as it was written")


def _every_key(found: Survey) -> Check:
    name = "every row is a key"
    if not found.faulty:
        return Check(name, True, f"{found.total.keys} rows")
    shown = "; ".join(found.problems)
    more = found.faulty - len(found.problems)
    rest = f"; and {more} more" if more else ""
    return Check(name, False, f"{found.faulty} of {found.total.keys} are not: {shown}{rest}")


def _settled(before: Survey, after: Survey, at: datetime) -> Check:
    name = "keys of the backup"
    if before.settled_before is None:
        return Check(name, None, "not compared: somebody was writing all through the backup")
    difference = compare(before, after, at=at)
    left_out = (
        f"; {difference.left_out} may have expired since and were not compared"
        if difference.left_out
        else ""
    )
    if difference.differing:
        return Check(
            name,
            False,
            f"of {difference.compared} that must be there, some are missing or changed, among the "
            f"{difference.differing} that expire in the same hours as those; was the moment after "
            f"a deletion?{left_out}",
        )
    return Check(name, True, f"{difference.compared} are there, byte for byte{left_out}")


async def _pages(connection: asyncpg.Connection) -> Check:
    row = await connection.fetchrow(_PAGE_FAILURES)
    assert row is not None
    if not row["known"]:
        return Check("pages", None, "not known: the server has no data checksums")
    return Check("pages", not row["failures"], f"{row['failures'] or 0} damaged ones were read")


async def _archiver(connection: asyncpg.Connection) -> Check:
    name = "archive"
    row = await connection.fetchrow(_ARCHIVER)
    assert row is not None
    if not row["on"]:
        return Check(name, None, "the server archives no log; see `db archive-settings`")
    if row["failing"]:
        return Check(name, False, f"{row['last_failed_wal']} could not be archived; see its log")
    if row["waiting_s"] is not None and row["waiting_s"] > ARCHIVE_AGE_S_MAX:
        minutes = row["waiting_s"] / 60
        return Check(name, False, f"a key stored {minutes:.0f} min ago is not archived yet")
    when = row["last_archived_time"]
    return Check(name, True, f"last file archived: {when.isoformat() if when else 'none yet'}")
