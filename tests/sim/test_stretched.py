"""Outages of another length: they begin when they did, and last as much longer as was said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sim.world import (
    AlternatingRenewal,
    Exponential,
    FixedWindows,
    InputError,
    Outage,
    OutageMode,
    Stretched,
    load_scenario,
)
from sim.world.scenario import Scenario
from sim.world.settings import as_table, from_table


def test_outages_begin_when_they_did() -> None:
    """The same generator gives the same beginnings, and lengths times the factor."""
    pattern = AlternatingRenewal(up=Exponential(mean_s=5000.0), down=Exponential(mean_s=10.0))
    plain = pattern.draw(np.random.default_rng(1), 100_000.0)
    longer = Stretched(pattern=pattern, factor=1.5).draw(np.random.default_rng(1), 100_000.0)
    assert [each.start_s for each in longer] == [each.start_s for each in plain]
    assert sum(each.end_s - each.start_s for each in longer) == pytest.approx(
        1.5 * sum(each.end_s - each.start_s for each in plain)
    )


def test_outages_that_meet_are_merged_and_cut_off_at_the_end() -> None:
    """One that reaches into the next goes on as that, and none reaches beyond the run."""
    pattern = FixedWindows(windows=((10.0, 20.0), (25.0, 40.0)))
    drawn = Stretched(pattern=pattern, factor=2.0).draw(np.random.default_rng(1), 50.0)
    assert drawn == (Outage(10.0, 50.0, OutageMode.REFUSE),)


def test_it_is_a_setting_of_a_scenario_like_any_other() -> None:
    """It survives the way to a table and back, and shows its factor among the assumptions."""
    default = load_scenario("default")
    (pattern, *_) = default.outages
    assert not isinstance(pattern, Stretched)
    scenario = replace(default, outages=(Stretched(pattern=pattern, factor=2.0),))
    assert from_table(Scenario, _without_none(as_table(scenario))).outages == scenario.outages
    assert "outages[0].factor" in [each.name for each in scenario.assumptions()]


def test_a_factor_of_zero_is_refused() -> None:
    """An outage has a length."""
    with pytest.raises(InputError, match="factor must be above 0"):
        Stretched(pattern=FixedWindows(windows=((1.0, 2.0),)), factor=0.0)


def _without_none(table: object) -> object:
    """What TOML can hold: a setting that is unset is left out."""
    if isinstance(table, dict):
        return {name: _without_none(each) for name, each in table.items() if each is not None}
    return [_without_none(each) for each in table] if isinstance(table, list) else table
