"""Sweeps: every point as if it were played alone, and no run ever played twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ftrepo.errors import PolicyError
from ftrepo.policy import Policy
from sim.measures import MEASURES
from sim.study.experiment import experiment, figures_of
from sim.study.grid import expand
from sim.study.run_store import RunStore
from sim.study.sweep import START_S, OtherCodeError, Sweep, plan_sweep, sweep
from tests.sim.sweeps import GRID, WORLD, Counting

RUNS = 4 * 2
"""Of the grid, with two replications."""


@pytest.fixture(scope="module")
def swept() -> Sweep:
    """The grid, played in this process."""
    return sweep(WORLD, Policy(), GRID, seed=3, replications=2, workers=1)


def again(store: Path | None = None, **options: Any) -> Sweep:
    """The same sweep, in another way."""
    return sweep(WORLD, Policy(), GRID, seed=3, replications=2, store=store, **options)


def test_every_run_is_as_if_played_alone(swept: Sweep) -> None:
    """To the bit, at every point and in every replication."""
    for case, runs in zip(swept.cases, swept.runs, strict=True):
        for number, figures in enumerate(runs):
            alone = figures_of(case.scenario, case.policy, 3, number)
            assert repr(figures) == repr(alone)
    assert swept.replications == 2
    assert swept.points == [case.point for case in expand(WORLD, Policy(), GRID)]


def test_the_number_of_processes_changes_nothing(swept: Sweep, tmp_path: Path) -> None:
    """Nor does it matter that the runs were stored in between."""
    assert repr(again(tmp_path, workers=2).runs) == repr(swept.runs)
    assert repr(again(tmp_path, executor=Counting()).runs) == repr(swept.runs)


def test_a_sweep_that_is_repeated_plays_nothing(tmp_path: Path) -> None:
    """And one that overlaps it plays what is new, once."""
    first, second, third = Counting(), Counting(), Counting()
    again(tmp_path, executor=first)
    assert len(first.jobs) == RUNS
    again(tmp_path, executor=second)
    assert second.jobs == []
    wider = {"operation_timeout_s": [0.1, None, 1.0], "flush_interval_s": [1, 5]}
    sweep(WORLD, Policy(), wider, seed=3, replications=3, store=tmp_path, executor=third)
    assert len(third.jobs) == 6 * 3 - RUNS
    assert len({repr(job[2:]) for job in third.jobs}) == len(third.jobs)


def test_points_that_are_alike_share_their_runs() -> None:
    """As two names of one policy are."""
    counting = Counting()
    alike = {"policy": ["default", "cache-first"], "read_policy": ["cache-first"]}
    found = sweep(WORLD, Policy(), alike, replications=2, executor=counting)
    assert len(counting.jobs) == 2
    assert repr(found.runs[0]) == repr(found.runs[1])


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("the workers are gone")])
def test_what_was_finished_before_an_interruption_is_kept(
    error: BaseException, swept: Sweep, tmp_path: Path
) -> None:
    """The rest is played later, and the result is the one of a sweep that nothing stopped."""
    with pytest.raises(type(error)):
        again(tmp_path, executor=Counting(stop_after=3, error=error))
    rest = Counting()
    seen: list[tuple[int, int]] = []
    found = again(tmp_path, executor=rest, progress=lambda *at: seen.append(at))
    assert len(rest.jobs) == RUNS - 3
    assert seen == [(number, RUNS) for number in range(3, RUNS + 1)]
    assert repr(found.runs) == repr(swept.runs)


KILLED = """
import os, signal
from pathlib import Path
from ftrepo.policy import Policy
from sim.study.sweep import sweep
from tests.sim.sweeps import GRID, WORLD

def kill(done, total):
    if done == 3:
        os.kill(os.getpid(), signal.SIGKILL)

sweep(
    WORLD, Policy(), GRID, seed=3, replications=2, workers=1, store=Path("STORE"), progress=kill
)
"""


def test_a_kill_loses_no_finished_run(swept: Sweep, tmp_path: Path) -> None:
    """By -9 in the middle of a sweep: what was told as done is there."""
    program = KILLED.replace("STORE", str(tmp_path))
    path = os.pathsep.join(each for each in sys.path if each)
    killed = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": path}, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    rest = Counting()
    assert repr(again(tmp_path, executor=rest).runs) == repr(swept.runs)
    assert len(rest.jobs) == RUNS - 3


def test_a_damaged_run_is_played_again(swept: Sweep, tmp_path: Path) -> None:
    """It, and no other."""
    again(tmp_path, executor=Counting())
    path = min(tmp_path.rglob("*.json"))
    path.write_bytes(path.read_bytes()[:100])
    rest = Counting()
    assert repr(again(tmp_path, executor=rest).runs) == repr(swept.runs)
    assert len(rest.jobs) == 1


def test_a_worker_with_other_code_is_refused(tmp_path: Path) -> None:
    """Its figures could not be told from ours."""
    store = RunStore(tmp_path, code="another")
    plan = plan_sweep(WORLD, Policy(), GRID, store=store)
    with pytest.raises(OtherCodeError, match="other code of ftrepo and sim"):
        plan.play(Counting(), store=store)
    assert len(store) == 0


def test_an_impossible_point_is_refused_before_anything_is_played(tmp_path: Path) -> None:
    """Though it is the last."""
    counting = Counting()
    settings = {"flush_interval_s": [1, 2, -1]}
    with pytest.raises(PolicyError, match="at flush_interval_s = -1"):
        sweep(WORLD, Policy(), settings, store=tmp_path, executor=counting)
    with pytest.raises(ValueError, match="replications must be at least 1"):
        sweep(WORLD, Policy(), GRID, replications=0, executor=counting)
    assert counting.jobs == counting.shared == []


def test_long_runs_are_begun_first_and_a_scenario_travels_once() -> None:
    """So that no worker begins one when the others are about to end."""
    counting = Counting()
    settings = {"duration_s": [450.0, 900.0], "flush_interval_s": [1, 5]}
    sweep(WORLD, Policy(), settings, replications=2, executor=counting)
    lengths = [job[1].duration_s for job in counting.jobs]
    assert lengths == sorted(lengths, reverse=True)
    assert counting.shared == [
        replace(WORLD, duration_s=900.0),
        replace(WORLD, duration_s=450.0),
    ]


def test_large_fleets_are_begun_first() -> None:
    """They have the same requests as small ones, and more to do beside them."""
    plan = plan_sweep(WORLD, Policy(), {"service.instances": [1, 32, 4]}, replications=1)
    order = [case.scenario.service.instances for case, _ in plan.to_play.values()]
    assert order == [32, 4, 1]


def test_the_expected_time_is_that_of_what_is_missing(tmp_path: Path) -> None:
    """Shared by the workers, who need a moment to begin, and never less than the longest run."""
    plan = plan_sweep(WORLD, Policy(), GRID, seed=3, replications=2)
    alone_s, shared_s, least_s = (plan.expected_s(workers) - START_S for workers in (1, 2, 1000))
    assert alone_s == pytest.approx(2 * shared_s)
    assert least_s == pytest.approx(max(case.expected_s for case in plan.cases))
    again(tmp_path, executor=Counting())
    stored = plan_sweep(WORLD, Policy(), GRID, seed=3, replications=2, store=RunStore(tmp_path))
    assert (stored.expected_s(1), len(stored.known), stored.to_play) == (0.0, RUNS, {})


def test_the_table_has_a_row_for_each_run(swept: Sweep) -> None:
    """Settings in front, missing where they are unset; then what was measured."""
    table = swept.table()
    assert len(table) == RUNS
    assert list(table.columns[:4]) == [*GRID, "replication", "seed"]
    assert {each.name for each in MEASURES} | {"outages", "share_at_risk"} < set(table.columns)
    assert table["flush_interval_s"].tolist() == [1.0, 1.0, 1.0, 1.0, 5.0, 5.0, 5.0, 5.0]
    assert table["operation_timeout_s"].isna().tolist() == 2 * [False, False, True, True]
    assert table["replication"].tolist() == 4 * [0, 1]
    assert set(table["seed"]) == {3}
    row = table.iloc[5]
    assert row["get_latency_p99_s"] == swept.runs[2][1].measures["get_latency_p99_s"]


def test_columns_have_the_type_of_their_values() -> None:
    """Lists are written as JSON, words as texts."""
    settings = {
        "service.restarts_s": [[], [100.0]],
        "breaker": [True],
        "pending_max": [None, 5],
        "read_policy": ["cache-first"],
    }
    table = sweep(WORLD, Policy(), settings, replications=1, workers=1).table()
    assert table["service.restarts_s"].tolist() == 2 * ["[]"] + 2 * ["[100.0]"]
    assert str(table["breaker"].dtype) == "bool"
    assert str(table["pending_max_set"].dtype) == "Int64", "beside the measure `pending_max`"
    assert table["pending_max"].max() > 0
    assert pd.api.types.is_string_dtype(table["read_policy"])


def test_the_summary_has_the_intervals_of_an_experiment(swept: Sweep) -> None:
    """One row for each point and measure; the pairs are those of the seeds."""
    first, *_, last = swept.points
    policies = {"first": swept.cases[0].policy, "last": swept.cases[-1].policy}
    study = experiment(WORLD, policies, seed=3, replications=2, workers=1)
    for name in ("availability", "get_latency_p99_s"):
        assert swept.interval(last, name) == study.interval("last", name)
        assert swept.difference(first, last, name) == study.difference("first", "last", name)
        assert swept.p_value(first, last, name) == study.p_value("first", "last", name)
        row = swept.summary(name).iloc[-1]
        expected = study.interval("last", name)
        assert (row["mean"], row["low"], row["high"]) == (
            expected.mean,
            expected.low,
            expected.high,
        )
    assert swept.difference(first, first, "get_latency_p99_s").mean == 0.0
    assert len(swept.summary()) == 4 * len(MEASURES)
    (name,) = swept.experiment(last).policies
    assert name == "flush_interval_s = 5, operation_timeout_s = none"
    with pytest.raises(KeyError, match="no point flush_interval_s = 7"):
        swept.experiment({"flush_interval_s": 7.0})
