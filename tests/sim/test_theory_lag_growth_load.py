"""Lags, growth and load are what the closed forms say."""

from __future__ import annotations

import pytest
from closed_forms import hold_against_simulation

from sim.study.validation import FORMS

FORMS_HERE = {**FORMS["lag"], **FORMS["growth"], **FORMS["load"]}

GRIDS = {
    "mean_lag": (7, 0.8),
    "lag_distribution": (7, 0.8),
    "mean_wait": (6, 0.6),
    "cached_by_fleet": (3, 0.05),
    "pending_by_length": (5, 0.8),
    "cached_by_length": (4, 0.2),
    "wasted": (6, 0.6),
    "wasted_by_length": (5, 0.4),
    "burst": (3, 0.5),
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
