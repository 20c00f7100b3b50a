"""What the journal costs: time for each append, room on the disk, and time at the start.

The least that a durable append can cost is one write and one synchronisation of the disk, so a bare
one of those is the reference, on the same disk: that of the working folder, as `/tmp` may be in
memory.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ftrepo import PublicKey, SigningKey, SqliteJournal

ALONE = 2_000
KEYS = 10_000
CREATED = datetime(2026, 1, 1, tzinfo=UTC)


def journal_append_ms() -> dict[str, Any]:
    """One append after another, each waited for: the median, against the disk's own."""

    async def measure(journal: SqliteJournal, path: Path) -> dict[str, Any]:
        took_s = []
        for key in _keys(ALONE):
            began = time.perf_counter()
            await journal.append([key])
            took_s.append(time.perf_counter() - began)
        disk_s = _synchronisations_s(path.with_name("bare"))
        return _row(
            "journal_append_ms",
            statistics.median(took_s) * 1e3,
            "ms",
            f"p99 {_p99(took_s) * 1e3:.2f}; write and fdatasync alone "
            f"{statistics.median(disk_s) * 1e3:.2f}, p99 {_p99(disk_s) * 1e3:.2f}",
        )

    return _with_journal(measure)


def journal_appends_per_s() -> dict[str, Any]:
    """All appends at once, which share transactions."""

    async def measure(journal: SqliteJournal, path: Path) -> dict[str, Any]:
        keys = _keys(KEYS)
        began = time.perf_counter()
        await asyncio.gather(*(journal.append([key]) for key in keys))
        rate = KEYS / (time.perf_counter() - began)
        bare = 1 / statistics.median(_synchronisations_s(path.with_name("bare")))
        return _row("journal_appends_per_s", rate, "1/s", f"one fdatasync for each: {bare:,.0f}")

    return _with_journal(measure)


def journal_bytes_per_key() -> dict[str, Any]:
    """Bytes on the disk for each Ed25519 key, from 10,000 of them; the log was merged."""

    async def measure(journal: SqliteJournal, path: Path) -> dict[str, Any]:
        keys = _keys(KEYS)
        await journal.append(keys)
        await journal.close()
        content = len(keys[0].id) + len(keys[0].material)
        size = os.stat(path).st_size / KEYS  # noqa: PTH116 - the loop has nothing else to do
        return _row("journal_bytes_per_key", size, "bytes", f"id and material: {content}")

    return _with_journal(measure)


def journal_open_ms() -> dict[str, Any]:
    """Opening a journal with 10,000 keys: its structure and every checksum are looked at."""

    async def measure(journal: SqliteJournal, path: Path) -> dict[str, Any]:
        await journal.append(_keys(KEYS))
        await journal.close()
        took_s = []
        for _ in range(9):
            again = SqliteJournal(path)
            began = time.perf_counter()
            recovered = await again.open()
            took_s.append(time.perf_counter() - began)
            assert len(recovered.keys) == KEYS
            await again.close()
        return _row("journal_open_ms", statistics.median(took_s) * 1e3, "ms", f"{KEYS:,} keys")

    return _with_journal(measure)


def _with_journal(
    measure: Callable[[SqliteJournal, Path], Awaitable[dict[str, Any]]],
) -> dict[str, Any]:
    async def main(path: Path) -> dict[str, Any]:
        journal = SqliteJournal(path)
        await journal.open()
        try:
            return await measure(journal, path)
        finally:
            await journal.close()

    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".journal-") as folder:
        return asyncio.run(main(Path(folder) / "journal.sqlite"))


def _keys(count: int) -> list[PublicKey]:
    lifetime = timedelta(days=1)
    return [SigningKey.generate(created=CREATED, lifetime=lifetime).public for _ in range(count)]


def _synchronisations_s(path: Path) -> list[float]:
    """Seconds that each of many bare writes takes until the disk has it."""
    took_s = []
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        for _ in range(ALONE):
            began = time.perf_counter()
            os.write(descriptor, bytes(4096))
            os.fdatasync(descriptor)
            took_s.append(time.perf_counter() - began)
    finally:
        os.close(descriptor)
    return took_s


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


def _row(name: str, value: float, unit: str, reference: str) -> dict[str, Any]:
    return {"name": name, "value": value, "unit": unit, "reference": reference}
