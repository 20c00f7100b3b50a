"""A share of the search in every run of the tests: the same worlds each time, a minute of them."""

from __future__ import annotations

import pytest

from sim.explore.report import place_text
from sim.explore.searching import Plan, search

SEEDS = 3_000
"""So many worlds take a minute on one processor. The count is fixed, not the time, so that a slow
machine searches no less."""


@pytest.mark.exploration
def test_thousands_of_worlds_break_nothing() -> None:
    """And reach everything that there is to reach, so that it means something."""
    done = search(Plan(seeds=SEEDS), workers=1)
    if done.found is not None:
        violation = done.found.verdict.violations[0]
        pytest.fail(
            f"{place_text(done.found)} breaks {violation.invariant}: {violation.said}; "
            f"for the smallest such world: python -m sim explore --from {done.found.seed}",
            pytrace=False,
        )
    assert done.tally.worlds == SEEDS
    assert done.tally.never() == ()
    assert done.tally.pairs_never() == ()
