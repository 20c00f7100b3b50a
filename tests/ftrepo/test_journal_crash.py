"""The short form of `python -m benchmarks.journal_crash`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.journal_crash import crash

if TYPE_CHECKING:
    from pathlib import Path


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Killed while it opens, creates and flushes, the service has every key at its next start."""
    found = crash(tmp_path, kills=6, keys=300, seed=1)
    assert found.lost == set()
    assert found.is_clean
    assert len(found.acknowledged) >= 300
