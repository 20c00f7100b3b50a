"""How long it takes until everything has settled: as long as the policy says, and no longer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ftrepo.policy import Policy
from sim.explore.hostile_primary import WORK_MAX_S
from sim.explore.settling import pause_between_reads_s, settle_bound_s

PLAIN = Policy()


def bound_s(**changes: Any) -> float:
    """The bound of the default policy with some settings changed."""
    return settle_bound_s(replace(PLAIN, **changes), keys=1)


def test_the_default_policy_settles_in_well_under_a_minute() -> None:
    """Its longest parts are two openings, a lost probe and the ramp of five seconds each."""
    assert 20.0 < bound_s() < 40.0


@pytest.mark.parametrize(
    ("changes", "more_s"),
    [
        ({"ramp_up_s": 7.0}, 2.0),
        ({"absent_ttl_s": 4.0}, 3.0),
        ({"flush_interval_s": 3.0}, 4.0),
        ({"breaker_open_s": 8.0}, 6.0),
        ({"breaker_open_factor": 2.0}, 55.0),
        ({"breaker_probe_timeout_s": 6.0}, 1.0),
        ({"futile_calls_per_s_max": 1.0}, 21.0 * 0.99),
        ({"futile_calls_per_s_max": None}, -0.21),
        ({"load_timeout_s": None}, 5.0 * (WORK_MAX_S - 2.0)),
        ({"breaker": False}, -19.0),
    ],
)
def test_each_setting_counts_for_what_it_delays(changes: dict[str, Any], more_s: float) -> None:
    """A breaker that opens for longer after each failure counts with its longest opening."""
    assert bound_s(**changes) - bound_s() == pytest.approx(more_s)


def test_reads_are_let_through_at_the_pace_of_the_budget() -> None:
    """At once if there is none."""
    assert pause_between_reads_s(PLAIN) == 0.01
    assert pause_between_reads_s(replace(PLAIN, futile_calls_per_s_max=None)) == 0.0
