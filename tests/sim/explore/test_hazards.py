"""The known hazards that worlds can show, put back into the code, are found by the search."""

from __future__ import annotations

import pytest

from sim.explore.judging import drawn, judge
from tests.mutants.imported import imported_with
from tests.mutants.mutants import Mutant, mutants

SEEDS_MAX = 300
"""Each is found within fewer seeds by far (`make mutants` says how many); the promise is 1,000."""

HAZARDS = [mutant for mutant in mutants() if mutant.hazard and mutant.is_explored]


def shows_it(seed: int, mutant: Mutant) -> bool:
    """Whether the world of a seed breaks an invariant, and none without the fault."""
    with imported_with(mutant):
        is_broken = bool(judge(drawn(seed)).violations)
    return is_broken and not judge(drawn(seed)).violations


@pytest.mark.parametrize("mutant", HAZARDS, ids=lambda each: f"({each.hazard}) {each.name}")
def test_a_hazard_that_comes_back_is_found(mutant: Mutant) -> None:
    """A world of the first few hundred shows it."""
    found = next((seed for seed in range(SEEDS_MAX) if shows_it(seed, mutant)), None)
    assert found is not None, f"no world of {SEEDS_MAX} shows: {mutant.wrong}"
