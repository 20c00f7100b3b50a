"""What is in the table of keys: how many, their checksums, and whether every row is a key.

A backup writes down what the table held, and a restore compares. While keys come and go, both need
the same question, which has the same answer whenever it is asked:

    *settled* keys: stored before the backup began, and expiring after the moment that was restored.

Keys are never changed, only inserted, and deleted once they have expired. So no settled key may be
missing from, or different in, any database that was restored to a moment after the backup. To know
which may have expired meanwhile, settled keys are counted by the hour in which they expire.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from ftrepo.errors import InvalidKeyError
from ftrepo.keys import PublicKey

if TYPE_CHECKING:
    import asyncpg

PROBLEMS_SHOWN_MAX = 20
"""Rows that are described one by one; the rest are only counted."""

WRITERS_WAIT_S_MAX = 10.0
"""How long a survey waits for those who were writing when it began. An insert takes 0.5 s at most,
so whoever takes longer is a person, or was forgotten."""

CLOCK_SKEW_S_MAX = 300.0
"""How far the clock of a service, which deletes expired keys, may be ahead of the server's: the
five minutes that Kerberos tolerates (RFC 4120)."""

_HOUR_S = 3600
_POLL_S = 0.05
_PREFETCHED_ROWS = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Times are read as text: a damaged one can have no date in Python, and must not end the survey.
_ROWS = """
    SELECT id, material, algorithm,
           extract(epoch FROM created)::text AS created,
           extract(epoch FROM expires)::text AS expires,
           extract(epoch FROM stored)::text AS stored,
           stored <= $1 AS settled
    FROM public_keys ORDER BY id COLLATE "C"
"""

_WRITERS = """
    SELECT virtualtransaction FROM pg_locks
    WHERE relation = 'public_keys'::regclass AND mode = 'RowExclusiveLock' AND granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class Portion(NamedTuple):
    """Some rows: how many, and the SHA-256 over them in the order of their ids."""

    keys: int
    checksum: str


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What one look at the table saw.

    Attributes:
        total: every row.
        settled_before: rows stored later are not settled; `None` if nothing could be settled.
        settled: the settled rows by the hour of their expiry, in hours since 1970.
        faulty: rows that are no valid key.
        problems: what is wrong with the first of them.
    """

    total: Portion
    settled_before: datetime | None = None
    settled: dict[int, Portion] = field(default_factory=dict)
    faulty: int = 0
    problems: tuple[str, ...] = ()


class Difference(NamedTuple):
    """What comparing two surveys found."""

    compared: int
    """Settled keys that must be in both."""
    left_out: int
    """Settled keys that may have expired and been deleted meanwhile."""
    differing: int
    """Keys in those hours of which some are missing or different."""


async def settle(connection: asyncpg.Connection) -> datetime | None:
    """Return a moment before which nobody can store a key any more, or `None` if none is found.

    Whoever inserts holds a lock on the table from before the row gets its time until after the
    commit. So: look at the clock, then wait until everybody has gone who held that lock then.
    """
    moment: datetime = await connection.fetchval("SELECT clock_timestamp()")
    writers = {row[0] for row in await connection.fetch(_WRITERS)}
    try:
        async with asyncio.timeout(WRITERS_WAIT_S_MAX):
            while writers:
                await asyncio.sleep(_POLL_S)
                writers &= {row[0] for row in await connection.fetch(_WRITERS)}
    except TimeoutError:
        return None
    return moment


async def survey(
    connection: asyncpg.Connection, *, settled_before: datetime | None = None
) -> Survey:
    """Read every row once, in one snapshot, without locking anybody out.

    Args:
        connection: to the database that has the table.
        settled_before: the moment that `settle` gave, here or on the server of the backup.
    """
    counted = _Counted()
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        rows = connection.cursor(_ROWS, settled_before, prefetch=_PREFETCHED_ROWS)
        async for row in rows:
            counted.add(row)
    return Survey(
        total=counted.total.portion(),
        settled_before=settled_before,
        settled={hour: sum_.portion() for hour, sum_ in sorted(counted.settled.items())},
        faulty=counted.faulty,
        problems=tuple(counted.problems),
    )


async def schema_of(connection: asyncpg.Connection) -> str | None:
    """Return the version that the migrations have left in a database; `None` if there is none."""
    if await connection.fetchval("SELECT to_regclass('ftrepo_version')") is None:
        return None
    version: str | None = await connection.fetchval("SELECT version_num FROM ftrepo_version")
    return version


def compare(before: Survey, after: Survey, *, at: datetime) -> Difference:
    """Compare what a backup saw with what was restored to a moment `at` after it."""
    deletable_until = at + timedelta(seconds=CLOCK_SKEW_S_MAX)
    first_hour = int((deletable_until - _EPOCH).total_seconds()) // _HOUR_S + 1
    compared = left_out = differing = 0
    for hour in before.settled.keys() | after.settled.keys():
        was, now = (s.settled.get(hour, Portion(0, "")) for s in (before, after))
        if hour < first_hour:
            left_out += was.keys
            continue
        compared += was.keys
        if was != now:
            differing += max(was.keys, now.keys)
    return Difference(compared, left_out, differing)


def why_not_a_key(row: asyncpg.Record) -> str | None:
    """Say what is wrong with a row of the survey, or return `None` if it is a valid key."""
    try:
        created, expires = _time(row["created"]), _time(row["expires"])
        key = PublicKey.from_der(
            row["material"], created=created, expires=expires, key_id=row["id"]
        )
    except InvalidKeyError as error:
        return str(error)
    except (ArithmeticError, ValueError):
        return "its times have no date"
    if key.algorithm.value != row["algorithm"]:
        return f"says {row['algorithm']}, but its material is for {key.algorithm.value}"
    if key.material != row["material"]:
        return "its material is not in the one form in which this project stores keys"
    return None


def _time(seconds: str) -> datetime:
    return _EPOCH + timedelta(microseconds=int(Decimal(seconds) * 1_000_000))


class _Sum:
    """A count and a running checksum."""

    def __init__(self) -> None:
        self.keys = 0
        self._digest = hashlib.sha256()

    def add(self, canonical: bytes) -> None:
        self.keys += 1
        self._digest.update(canonical)

    def portion(self) -> Portion:
        return Portion(self.keys, self._digest.hexdigest())


class _Counted:
    def __init__(self) -> None:
        self.total = _Sum()
        self.settled: dict[int, _Sum] = {}
        self.faulty = 0
        self.problems: list[str] = []

    def add(self, row: asyncpg.Record) -> None:
        canonical = _canonical(row)
        self.total.add(canonical)
        if row["settled"]:
            self.settled.setdefault(_hour(row["expires"]), _Sum()).add(canonical)
        problem = why_not_a_key(row)
        if problem is not None:
            self.faulty += 1
            if len(self.problems) < PROBLEMS_SHOWN_MAX:
                self.problems.append(f"key {row['id']!r}: {problem}")


def _canonical(row: asyncpg.Record) -> bytes:
    """The row as bytes, each field behind its length, so that no two rows look the same."""
    texts = [row[name].encode() for name in ("id", "algorithm", "created", "expires", "stored")]
    return b"".join(len(part).to_bytes(8) + part for part in (row["material"], *texts))


def _hour(seconds: str) -> int:
    try:
        return int(Decimal(seconds)) // _HOUR_S
    except (ArithmeticError, ValueError):
        return -1
