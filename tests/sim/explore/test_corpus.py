"""Worlds that once broke something, made small: none of them may break anything again.

A world gets here by `python -m sim explore`: when what it found is mended, its file moves from
`build/explore` to `corpus/`, with a sentence in `about` that says what was wrong.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.explore.judging import judge
from sim.explore.shrinking import size
from sim.explore.world_file import read_kept
from tests.mutants.imported import imported_with
from tests.mutants.mutants import mutants

CORPUS = Path(__file__).with_name("corpus")
WORLDS = sorted(CORPUS.glob("*.json"))

PUT_BACK = {
    "cancelled-while-the-buffer-is-full": "given-up-without-room-stays-in-memory",
    "clean-up-reports-the-primary": "clean-up-reports-the-primary",
    "conflict-acknowledged-to-a-third": "conflict-of-others-is-success",
    "copy-of-a-refused-key-is-served": "copy-of-a-refused-key-stays",
    "error-although-stored": "error-although-stored",
    "expired-for-one-is-a-conflict-for-another": "expiry-told-as-a-conflict",
    "expired-key-flushed": "flush-writes-expired-keys",
    "flag-cleared-by-a-failed-flush": "need-of-a-flush-cleared-after-any",
    "flush-takes-what-a-create-writes": "flush-takes-what-its-create-writes",
    "fresher-key-overwritten": "fresher-key-overwritten",
    "key-that-waits-is-unknown": "waiting-key-is-unknown",
    "later-batches-sent-expired-keys": "long-flush-writes-expired-keys",
    "pending-cleared-before-confirmed": "pending-cleared-before-confirmed",
    "restart-makes-keys-younger": "snapshot-makes-keys-younger",
    "second-key-under-one-id": "conflict-not-refused",
}
"""Which of the deliberate faults is what a world once showed. Not for those that showed a fault of
the search itself, or one that no small change puts back."""

MUTANTS = {mutant.name: mutant for mutant in mutants()}


def test_there_is_a_corpus() -> None:
    """A folder that was not found would pass for one in which all is well."""
    assert WORLDS


@pytest.mark.parametrize("path", WORLDS, ids=lambda path: path.stem)
def test_what_was_mended_stays_mended(path: Path) -> None:
    """Played twice, so that its history is seen to be the same."""
    kept = read_kept(path)
    assert kept.violation is not None
    verdict = judge(kept.case, twice=True)
    assert [f"{each.at_s:.3f} s: {each.said}" for each in verdict.violations] == []


@pytest.mark.parametrize("world", PUT_BACK)
def test_a_kept_world_shows_its_fault_again_if_that_is_put_back(world: str) -> None:
    """Otherwise it would guard nothing, as one does of which an excuse has been made meanwhile."""
    kept = read_kept(CORPUS / f"{world}.json")
    assert kept.violation is not None
    with imported_with(MUTANTS[PUT_BACK[world]]):
        broken = judge(kept.case, only=kept.violation.invariant).violations
    assert broken


@pytest.mark.parametrize("path", WORLDS, ids=lambda path: path.stem)
def test_a_kept_world_is_small_and_says_what_it_was(path: Path) -> None:
    """Whoever reads it in a year knows what was wrong."""
    kept = read_kept(path)
    assert kept.about.endswith(".")
    assert kept.violation is not None
    assert kept.about != kept.violation.said
    parts = size(kept.case)
    assert parts["operations"] + parts["restarts"] + parts["outages"] <= 15
    assert path.stat().st_size < 10_000
