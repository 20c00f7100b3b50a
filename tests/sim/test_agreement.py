"""When a simulation and reality agree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ftrepo.policy import Policy
from sim.history import KeyEnd
from sim.run import Result, run
from sim.study.agreement import LAG_TOLERANCE_S, Check, compare
from sim.world.scenario_file import load_scenario

SCENARIO = replace(load_scenario("real-refuse"), condense=False)


@pytest.fixture(scope="module")
def simulated() -> list[Result]:
    """Three replications of a minute with two outages."""
    return [run(SCENARIO, Policy(), replication=number) for number in range(3)]


def later(result: Result, lag_s: float) -> Result:
    """The same run, in which every late key was committed later by this much."""
    keys = result.history.keys
    late = keys.settled_s > keys.acknowledged_s
    settled_s = np.where(late, keys.settled_s + lag_s, keys.settled_s)
    return replace(result, history=replace(result.history, keys=replace(keys, settled_s=settled_s)))


def failing(result: Result, share: float) -> Result:
    """The same run, in which a further share of the `get` calls came away with nothing."""
    gets = result.history.gets
    outcome = np.where(np.arange(len(gets.outcome)) % 100 < 100 * share, 1, 0).astype(np.uint8)
    return replace(result, history=replace(result.history, gets=replace(gets, outcome=outcome)))


def by_name(checks: list[Check]) -> dict[str, Check]:
    """The checks, to be looked up."""
    return {check.name: check for check in checks}


def test_a_run_agrees_with_itself(simulated: list[Result]) -> None:
    """Every figure of the paired run is the real one's."""
    checks = compare(simulated, simulated[0])
    assert all(check.agrees for check in checks)
    assert {check.real - check.paired for check in checks if check.rule} == {0.0}


def test_a_lag_may_differ_by_a_fifth_or_a_quarter_of_a_second(simulated: list[Result]) -> None:
    """Of a lag of some 15 s by 3 s; the median of all, which is short, by 250 ms."""
    longest_s = by_name(compare(simulated, simulated[0]))["sync_lag_max_s"].paired
    for lag_s, agrees in ((0.19 * longest_s, True), (0.21 * longest_s, False)):
        check = by_name(compare(simulated, later(simulated[0], lag_s)))["sync_lag_max_s"]
        assert check.agrees is agrees
    check = by_name(compare(simulated, later(simulated[0], 5.0)))["sync_lag_p50_s"]
    assert check.agrees == (check.real <= LAG_TOLERANCE_S)


def test_an_availability_may_lie_in_the_interval_or_a_point_beside_the_pair(
    simulated: list[Result],
) -> None:
    """What is further from both is a disagreement."""
    check = by_name(compare(simulated, failing(simulated[0], 0.6)))["availability"]
    assert not check.agrees
    assert check.real < check.simulated.low
    middle = failing(simulated[0], 1 - check.simulated.mean)
    assert by_name(compare(simulated, middle))["availability"].agrees


def test_what_must_never_be_is_judged_whatever_the_simulation_says(
    simulated: list[Result],
) -> None:
    """A wrong answer in both would be no agreement to be glad of."""
    gets = simulated[0].history.gets
    outcome = gets.outcome.copy()
    outcome[0] = 4
    wrong = replace(
        simulated[0],
        history=replace(simulated[0].history, gets=replace(gets, outcome=outcome)),
    )
    assert not by_name(compare([wrong, wrong], wrong))["wrong_answers"].agrees


def test_no_more_keys_may_be_lost_than_simulated(simulated: list[Result]) -> None:
    """None as a rule; where the instance is killed, those that were in its memory alone."""
    keys = simulated[0].history.keys
    end = keys.end.copy()
    end[:2] = KeyEnd.LOST
    losing = replace(
        simulated[0], history=replace(simulated[0].history, keys=replace(keys, end=end))
    )
    assert not by_name(compare(simulated, losing))["lost_keys"].agrees
    assert by_name(compare([losing, losing], losing))["lost_keys"].agrees
    assert by_name(compare([losing, losing], simulated[0]))["lost_keys"].agrees


def test_a_figure_that_only_one_of_them_has_is_a_disagreement(simulated: list[Result]) -> None:
    """And one that neither has is none."""
    keys = simulated[0].history.keys
    nowhere = replace(keys, settled_s=np.full(len(keys.settled_s), np.nan))
    without = replace(simulated[0], history=replace(simulated[0].history, keys=nowhere))
    assert not by_name(compare(simulated, without))["sync_lag_max_s"].agrees
    assert by_name(compare([without, without], without))["sync_lag_max_s"].agrees


def test_what_is_shown_of_the_simulation_is_possible(simulated: list[Result]) -> None:
    """No lag below zero, no availability above 1, and no lost key seen is not none ever."""
    for name, check in by_name(compare(simulated, simulated[0])).items():
        if not np.isnan(check.simulated.low):
            assert check.simulated.low >= 0
            assert check.simulated.high <= 1 or not name.endswith("availability")
    lost = by_name(compare(simulated, simulated[0]))["lost_keys"]
    assert lost.simulated.mean == 0 < lost.simulated.high
