"""What each design loses in alternating outages is what the closed forms say."""

from __future__ import annotations

import pytest
from closed_forms import hold_against_simulation

from sim.study.validation import FORMS

FORMS_HERE = {**FORMS["availability"]}

GRIDS = {
    "primary_only": (6, 0.1),
    "without_pending_writes": (7, 0.6),
    "with_pending_writes": (7, 1.1),
    "unannounced": (7, 2.0),
}
"""Replications, and the widest interval that still says something."""


@pytest.mark.parametrize("name", GRIDS)
def test_theory_lies_within_the_simulations_intervals(name: str) -> None:
    """At every point of the grid, and the intervals are narrow enough to say something."""
    replications, widest = GRIDS[name]
    hold_against_simulation(FORMS_HERE[name](), replications=replications, widest=widest)


def test_every_form_is_held_against_simulation() -> None:
    """A form that is added without its replications would not be tested."""
    assert set(GRIDS) == set(FORMS_HERE)
