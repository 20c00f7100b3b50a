"""Kills a service with `kill -9`, over and over, and looks for what it had acknowledged.

Usage: ``python -m benchmarks.journal_crash [--kills 50] [--keys 10000] [--seed 0]``.

The service is a process of its own: a `FaultTolerantRepository` with a journal, before a primary in
a second file. It names every key on a pipe *after* the key was acknowledged as being on the disk or
in the primary. It dies at a random moment while it opens the journal, while it creates keys with
the primary away, or while it flushes them to a primary that is back. After every death each key
that it had named must be in the journal or in the primary, once, and as it was made. In the end the
rest is flushed; a key that the primary has already must not be sent to it.

What this cannot show: a killed process leaves what it wrote to the operating system, so nothing
here depends on the disk being synchronised. That `synchronous` is FULL, and that the disk is
synchronised before an append returns, is tested apart from this, in `test_journal_file`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ftrepo.errors import KeyNotFoundError
from ftrepo.fault_tolerant import FaultTolerantRepository
from ftrepo.interface import Durability
from ftrepo.journal import SqliteJournal
from ftrepo.journal.file import JournalFile
from ftrepo.keys import Algorithm, PublicKey
from ftrepo.policy import Policy

CREATED = datetime(2026, 1, 1, tzinfo=UTC)
CREATES_AT_ONCE = 50
MORE = 2_000
"""How many keys a life creates on top of those that wait already: about as long as it lives."""

STAGE_S = {"open": 0.3, "create": 0.4, "flush": 0.3}
"""For each stage of a life, within how long after its beginning the service is killed."""


def made(key_id: str) -> PublicKey:
    """Return the key of this id: whoever finds it can tell whether it is as it was made."""
    material = hashlib.sha256(key_id.encode()).digest() + bytes(12)
    return PublicKey(key_id, material, Algorithm.ED25519, CREATED, CREATED + timedelta(days=1))


class FilePrimary:
    """A `PrimaryStore` of ids in a SQLite file, which outlives the process as a server would."""

    def __init__(self, path: Path, *, is_away: bool) -> None:
        self._is_away = is_away
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute("CREATE TABLE IF NOT EXISTS keys (id TEXT PRIMARY KEY)")
        self._connection.execute("CREATE TABLE IF NOT EXISTS sent_again (id TEXT)")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def ids(self) -> set[str]:
        """Every id that it has."""
        return {key_id for (key_id,) in self._connection.execute("SELECT id FROM keys")}

    def sent_again(self) -> list[str]:
        """Ids that were sent to it though it had them."""
        return [key_id for (key_id,) in self._connection.execute("SELECT id FROM sent_again")]

    async def create(self, key: PublicKey) -> Durability:
        """Store an id."""
        await self.create_many([key])
        return Durability.PRIMARY

    async def create_many(self, keys: Sequence[PublicKey]) -> Collection[str]:
        """Store ids, and take note of those that it had."""
        await self.ping()
        had = self.ids()
        self._connection.execute("BEGIN")
        for key in keys:
            table = "sent_again" if key.id in had else "keys"
            self._connection.execute(f"INSERT INTO {table} VALUES (?)", (key.id,))
        self._connection.execute("COMMIT")
        return ()

    async def get(self, key_id: str) -> PublicKey:
        """Return the key of an id that it has."""
        await self.ping()
        if key_id not in self.ids():
            raise KeyNotFoundError(key_id)
        return made(key_id)

    async def list_valid(self, *, after: str | None, limit: int) -> Sequence[PublicKey]:
        """Return one page."""
        await self.ping()
        rows = self._connection.execute(
            "SELECT id FROM keys WHERE id > ? ORDER BY id LIMIT ?", (after or "", limit)
        )
        return [made(key_id) for (key_id,) in rows]

    async def delete_expired(self) -> int:
        """Delete nothing: no key expires in this."""
        return 0

    async def ping(self) -> None:
        """Refuse if it is away."""
        if self._is_away:
            raise ConnectionRefusedError("away")


def repository(folder: Path, *, is_away: bool) -> tuple[FaultTolerantRepository, FilePrimary]:
    """Return the service's repository, not started yet, and its primary."""
    primary = FilePrimary(folder / "primary.sqlite", is_away=is_away)
    policy = Policy(
        breaker=False,
        flush_interval_s=0.01,
        flush_batch_max=100,
        cache_entries_max=None,
        journal_timeout_s=60.0,
        load_timeout_s=60.0,
        insert_timeout_s=60.0,
    )
    journal = SqliteJournal(folder / "journal.sqlite")
    built = FaultTolerantRepository(
        primary, policy, now=lambda: CREATED, observers=(), journal=journal
    )
    return built, primary


async def live(folder: Path, stage: str, life: str, keys: int) -> None:
    """Be the service, until somebody kills it."""
    repo, _ = repository(folder, is_away=stage != "flush")
    say("open")
    async with repo:
        numbers = iter(range(1_000_000))

        async def create_until(enough: int) -> None:
            while len(repo.pending) < enough:
                key = made(f"{life}-{next(numbers)}")
                if await repo.create(key) is not Durability.MEMORY:
                    say(f"+{key.id}")

        if stage == "flush":
            say("flush")
        else:
            say("create")
            keys = max(keys, len(repo.pending) + MORE)
            await asyncio.gather(*(create_until(keys) for _ in range(CREATES_AT_ONCE)))
        say("done")
        await asyncio.sleep(3600)


def say(line: str) -> None:
    """Write a line to the parent, past every buffer."""
    os.write(1, f"{line}\n".encode())


@dataclass
class Finding:
    """What was found after so many deaths.

    Attributes:
        acknowledged: ids that the service had named.
        killed_in: how often it died in which stage.
        journal_rows: for each death, how many keys the journal then held.
    """

    acknowledged: set[str] = field(default_factory=set)
    killed_in: dict[str, int] = field(default_factory=dict)
    journal_rows: list[int] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)
    corrupted: int = 0
    doubled: int = 0
    sent_again: int = 0

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost, corrupted, doubled or sent again."""
        return not (self.lost or self.corrupted or self.doubled or self.sent_again)


def crash(folder: Path, *, kills: int, keys: int, seed: int) -> Finding:
    """Let the service live and die in this folder, and look after each death."""
    rng, finding = random.Random(seed), Finding()
    # The first life is undisturbed: it leaves as many pending keys as were asked for.
    one_life(folder, finding, "create", "first", keys, after_s=None)
    for number in range(kills):
        stage = ("create", "flush", "open")[number % 3]
        after_s = rng.uniform(0.0, STAGE_S[stage])
        one_life(folder, finding, stage, f"life{number}", keys, after_s=after_s)
        finding.killed_in[stage] = finding.killed_in.get(stage, 0) + 1
        look(folder, finding)
        if stage == "flush":
            one_life(folder, finding, "create", f"refill{number}", keys, after_s=None)
    asyncio.run(flush_the_rest(folder, finding))
    return finding


def one_life(
    folder: Path, finding: Finding, stage: str, life: str, keys: int, *, after_s: float | None
) -> None:
    """Start the service and kill it: so long after a stage began, or, `None`, when it is done."""
    command = [sys.executable, "-m", "benchmarks.journal_crash", "--live", stage, life]
    command += ["--keys", str(keys), "--folder", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        awaited = "done" if after_s is None else stage
        said = []
        for line in service.stdout:
            said.append(line)
            if line == f"{awaited}\n":
                break
        time.sleep(after_s or 0.0)
        service.kill()
        said += service.stdout.readlines()
    # The last line may have been cut off by the death.
    finding.acknowledged |= {
        line[1:-1] for line in said if line.startswith("+") and line.endswith("\n")
    }


def look(folder: Path, finding: Finding) -> None:
    """Open the journal as the next life will, and compare it with what was acknowledged."""
    file = JournalFile.open(folder / "journal.sqlite", lock_wait_s=1.0)
    file.close()
    recovered = file.recovered
    ids = [key.id for key in recovered.keys]
    finding.journal_rows.append(len(ids))
    finding.lost |= finding.acknowledged - set(ids) - in_primary(folder)
    finding.corrupted += len(recovered.corrupted) + bool(recovered.file_set_aside)
    finding.corrupted += sum(key != made(key.id) for key in recovered.keys)
    finding.doubled += len(ids) - len(set(ids))


def in_primary(folder: Path) -> set[str]:
    """Every id that the primary has."""
    primary = FilePrimary(folder / "primary.sqlite", is_away=False)
    with contextlib.closing(primary):
        return primary.ids()


async def flush_the_rest(folder: Path, finding: Finding) -> None:
    """Let one more life end in order; the primary then has everything, and the journal nothing."""
    repo, primary = repository(folder, is_away=False)
    async with repo:
        await repo.flush()
    finding.lost |= finding.acknowledged - primary.ids()
    finding.sent_again = len(primary.sent_again())
    primary.close()
    file = JournalFile.open(folder / "journal.sqlite", lock_wait_s=1.0)
    file.close()
    assert not file.recovered.keys, "the journal kept keys that the primary has"


def main() -> None:
    """Run it, print what was found, and fail if anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.journal_crash")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--keys", type=int, default=10_000, help="pending keys in each life")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--live", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.live:
        stage, life = options.live
        asyncio.run(live(options.folder, stage, life, options.keys))
        return
    with tempfile.TemporaryDirectory() as folder:
        found = crash(Path(folder), kills=options.kills, keys=options.keys, seed=options.seed)
    print(f"killed {found.killed_in}, seed {options.seed}")
    rows = sorted(found.journal_rows)
    print(f"keys in the journal at a death: {rows[0]} to {rows[-1]}, median {rows[len(rows) // 2]}")
    print(
        f"{len(found.acknowledged)} keys acknowledged: {len(found.lost)} lost, "
        f"{found.corrupted} corrupted, {found.doubled} doubled, {found.sent_again} sent again"
    )
    sys.exit(not found.is_clean)


if __name__ == "__main__":
    main()
