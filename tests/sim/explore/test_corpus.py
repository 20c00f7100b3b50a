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

CORPUS = Path(__file__).with_name("corpus")
WORLDS = sorted(CORPUS.glob("*.json"))


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
