"""A tuning in a world whose truth is known: it finds what is there, and claims no more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from ftrepo.policy import Policy
from sim.study.intervals import Interval, amount_interval
from sim.study.parallel import ThisProcess
from sim.study.run_store import RunStore
from sim.study.tune.goals import Goals
from sim.study.tune.parsimony import best_trial, simplify
from sim.study.tune.race import (
    broken,
    clearly_dominated,
    feasible,
    front,
    looks,
)
from sim.study.tune.search import BASE, CONTRADICTORY, Searched, search
from sim.study.tune.sensitivity import one_at_a_time
from sim.study.tune.space import parse_search, policy_at
from sim.study.tune.tuning import FRONT_MAX, Tuning, tune
from sim.study.tune.verdict import first_that_keeps, gains
from sim.world.errors import InputError
from sim.world.outage_trace import RecordedTrace
from sim.world.outages import Outage, OutageMode
from tests.sim.sweeps import WORLD as SMALL
from tests.sim.tunings import SPACE, WORLD, Formula, formula_runs, formula_tuning, goals

LATENCY, LAG = "get_latency_p99_s", "sync_lag_p99_s"
LOAD = "primary_attempts_during_outage_per_s"

TWO = goals(LATENCY, LAG)
KEPT = goals(LATENCY, within=[f"{LOAD}<=2"])
"""The time-out as short as can be; the flush interval has to be half a second at least."""


def searched(asked: Goals, *, trials: int = 24, replications: int = 4) -> Searched:
    """A search in the world of the formula, on seed 1."""
    return search(asked, formula_runs(), trials=trials, replications=replications)


@pytest.fixture(scope="module")
def tuning() -> Tuning:
    """The time-out as short as can be, and nothing else to gain."""
    return formula_tuning(KEPT)


def test_it_finds_what_is_there(tuning: Tuning) -> None:
    """The time-out goes to the end of its range, or near, and the constraint holds."""
    assert tuning.policy.select_timeout_s is not None
    assert tuning.policy.select_timeout_s < 0.15
    assert tuning.holds
    (gain,) = (each for each in tuning.gains if each.measure == LATENCY)
    assert gain.difference.high < -0.3


def test_what_does_not_matter_stays_as_it_is(tuning: Tuning) -> None:
    """The best trial had moved every setting; only the one that matters stays moved."""
    assert len(tuning.simplified.best.point) == 3
    assert list(tuning.changed) == ["operation_timeout_s"]
    assert tuning.policy == replace(
        Policy(),
        insert_timeout_s=tuning.changed["operation_timeout_s"],
        select_timeout_s=tuning.changed["operation_timeout_s"],
        delete_timeout_s=tuning.changed["operation_timeout_s"],
    )
    assert {each.name for each in tuning.simplified.set_back} == {
        "flush_interval_s",
        "refresh_interval_s",
    }


def test_where_nothing_is_to_be_gained_the_base_policy_is_recommended() -> None:
    """No luck of 24 trials is taken for a gain."""
    found = formula_tuning(goals("availability", space=["refresh_interval_s=30:1800:log"]))
    assert found.changed == {}
    assert found.policy == Policy()
    assert found.recommended == BASE


def test_a_base_policy_whose_parts_of_an_alias_differ_is_kept_as_it_is() -> None:
    """Its time-outs are three, and one search setting stands for them."""
    asked = goals("availability", space=SPACE[:1], insert_timeout_s=0.7)
    found = formula_tuning(asked, trials=4)
    assert found.policy == Policy(insert_timeout_s=0.7)
    assert found.changed == {}


def test_a_change_that_a_constraint_needs_is_not_set_back() -> None:
    """The base policy breaks it, so the recommendation differs where it has to."""
    asked = goals("availability", within=[f"{LOAD}<=0.5"])
    found = formula_tuning(asked)
    assert list(found.changed) == ["flush_interval_s"]
    assert found.policy.flush_interval_s >= 2
    assert found.holds


def test_the_simplified_policy_keeps_what_the_best_trial_keeps() -> None:
    """On the seed of the search, before anything is judged: no other candidate has to step in."""
    asked = goals("availability", within=[f"{LOAD}<=0.5"])
    found = searched(asked)
    simplified = simplify(found, formula_runs(), replications=4)
    assert list(simplified.point) == ["flush_interval_s"]
    assert simplified.policy.flush_interval_s >= 2


def test_nothing_that_the_search_saw_counts_in_the_verdict() -> None:
    """Every run that judges is on the next seed; a world that is worse there is seen to be."""
    worse = Formula(lag_by_seed={2: 100.0})
    found = formula_tuning(goals(LATENCY, within=[f"{LAG}<=75"]), worse)
    assert {seed for _, seed, _ in worse.jobs} == {1, 2}
    assert found.fresh.seed == 2
    assert not found.holds
    assert [each.verdict for each in found.verdicts] == ["broken"]
    assert found.verdicts[0].margin < -80


def test_what_matters_is_judged_on_fresh_seeds_too() -> None:
    """Every policy with one setting moved is played on the next seed, as often as the others."""
    executor = Formula()
    found = formula_tuning(KEPT, executor)
    assert found.effects
    for each in found.effects:
        moved = policy_at(WORLD, found.policy, {each.name: each.value})
        fresh = {number for policy, seed, number in executor.jobs if (policy, seed) == (moved, 2)}
        assert fresh == set(range(8))


def test_a_mean_within_the_bound_is_not_enough() -> None:
    """The bound lies above the mean lag and below the end of its interval."""
    found = formula_tuning(goals("availability", within=[f"{LAG}<=63.5"]), fresh_replications=4)
    (kept,) = found.kept[BASE]
    assert kept.interval.mean < 63.5 < kept.interval.high
    assert kept.verdict == "not shown"
    assert kept.margin == 63.5 - kept.interval.high


def test_a_tuning_depends_on_its_seed_alone(tuning: Tuning) -> None:
    """The same again, to the bit; other trials with another seed."""
    again = formula_tuning(KEPT)
    assert again.searched.trials == tuning.searched.trials
    assert repr(again.fresh.runs) == repr(tuning.fresh.runs)
    assert again.effects == tuning.effects
    other = formula_tuning(KEPT, seed=7)
    assert other.searched.trials != tuning.searched.trials


def test_an_interrupted_tuning_goes_on_where_it_was(tuning: Tuning, tmp_path: Path) -> None:
    """With a store, every run is played once, whenever it was interrupted; the result is the same.

    Optuna's sampler begins again from its seed, and comes by the same policies.
    """
    executors = [Formula(stop_after=count) for count in (10, 70)]
    for executor in executors:
        with pytest.raises(KeyboardInterrupt):
            formula_tuning(KEPT, executor, store=tmp_path)
    last = Formula()
    found = formula_tuning(KEPT, last, store=RunStore(tmp_path))
    assert repr(found.fresh.runs) == repr(tuning.fresh.runs)
    assert found.searched.trials == tuning.searched.trials
    assert found.policy == tuning.policy
    played = Counter(job for each in (*executors, last) for job in each.jobs)
    assert set(played.values()) == {1}
    assert found.played == len(last.jobs)
    nothing = Formula()
    formula_tuning(KEPT, nothing, store=tmp_path)
    assert nothing.jobs == []


KILLED = """
import os, signal
from pathlib import Path
from tests.sim.tunings import formula_tuning, goals

def kill(done, total):
    if done == 50:
        os.kill(os.getpid(), signal.SIGKILL)

kept = goals("get_latency_p99_s", within=["primary_attempts_during_outage_per_s<=2"])
formula_tuning(kept, store=Path("STORE"), progress=kill)
"""


def test_a_kill_loses_no_finished_run_and_changes_no_result(tuning: Tuning, tmp_path: Path) -> None:
    """By -9 in the midst of a search: its 50 runs are there, and the rest is played once."""
    path = os.pathsep.join(each for each in sys.path if each)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED.replace("STORE", str(tmp_path))],
        env=os.environ | {"PYTHONPATH": path},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(RunStore(tmp_path)) == 50
    rest = Formula()
    found = formula_tuning(KEPT, rest, store=tmp_path)
    assert found.searched.trials == tuning.searched.trials
    assert repr(found.fresh.runs) == repr(tuning.fresh.runs)
    assert found.policy == tuning.policy
    assert len(rest.jobs) == len(set(rest.jobs)) == found.played == tuning.played - 50


def test_progress_never_goes_back() -> None:
    """One run at a time, and the total is never less than what is done."""
    seen: list[tuple[int, int]] = []
    formula_tuning(KEPT, progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == list(range(1, len(seen) + 1))
    assert all(done <= total for done, total in seen)


def test_a_trial_is_looked_at_after_three_six_and_twelve() -> None:
    """And after all; two replications tell nothing."""
    assert looks(2) == [2]
    assert looks(3) == [3]
    assert looks(8) == [3, 6, 8]
    assert looks(12) == [3, 6, 12]


def test_a_hopeless_trial_is_stopped_early() -> None:
    """One that clearly breaks a constraint, and one that another beats clearly, play three runs."""
    asked = goals(LATENCY, LAG, within=[f"{LOAD}<=2"])
    found = searched(asked, replications=6)
    stopped = [each for each in found.trials if each.stopped]
    assert {each.stopped.split()[0] for each in stopped} == {"breaks", "worse"}
    assert {each.replications for each in stopped} == {3}
    for each in stopped:
        if each.stopped.startswith("breaks"):
            assert each.policy.flush_interval_s < 0.5
    assert {each.replications for each in found.trials if not each.stopped} == {6}
    assert not {each.name for each in stopped} & set(found.study.policies), "nor played further"


def test_a_trial_that_breaks_less_is_not_stopped_for_being_worse_in_an_objective() -> None:
    """The base policy breaks the bound and has the least lag; what keeps the bound may go on."""
    asked = goals(LAG, within=[f"{LOAD}<=0.5"], space=SPACE[1:2])
    found = searched(asked, trials=8, replications=6)
    keeping = [each for each in found.trials if each.policy.flush_interval_s >= 2]
    assert keeping
    assert not any(each.stopped for each in keeping)
    assert set(found.feasible) == {each.name for each in keeping}


def test_what_is_told_of_a_stopped_trial_has_not_the_luck_of_its_outages() -> None:
    """It is what the trial would have had over all replications, exactly so in this world."""
    asked = goals(LAG, within=[f"{LATENCY}<=0.4"])
    found = searched(asked, replications=6)
    base = found.study.interval(BASE, LAG).mean
    told = {each.user_attrs["name"]: each.values[0] for each in found.optuna.trials if each.values}
    stopped = [each for each in found.trials if each.stopped]
    assert stopped
    for each in stopped:
        policy = each.policy
        assert policy.select_timeout_s is not None
        gap = policy.flush_interval_s - 1.0 + 0.1 / policy.select_timeout_s - 0.2
        assert told[each.name] == pytest.approx(base + gap)


def test_a_trial_that_was_stopped_for_a_constraint_is_infeasible_to_the_sampler() -> None:
    """And one that was not stopped has the excess of its mean."""
    found = searched(KEPT, replications=6)
    by_name = {each.user_attrs["name"]: each for each in found.optuna.trials}
    for trial in found.trials[1:]:
        (excess,) = by_name[trial.name].constraints.values()
        assert (excess > 0) == (trial.policy.flush_interval_s < 0.5)


def test_the_base_policy_is_the_first_that_the_sampler_hears_of() -> None:
    """As far as it lies in the space."""
    found = searched(KEPT, trials=8)
    assert found.trials[0].name == BASE
    assert found.optuna.trials[0].params["flush_interval_s"] == 1.0
    outside = goals(LATENCY, space=["flush_interval_s=5:30", "refresh_interval_s=30:1800"])
    params = searched(outside, trials=1).optuna.trials[0].params
    assert params["refresh_interval_s"] == 300.0
    assert params["flush_interval_s"] >= 5


def test_settings_that_contradict_one_another_are_a_failed_trial() -> None:
    """They play nothing, and the search goes on."""
    space = ["breaker_open_s=0.1:20:log", "futile_calls_per_s_max=0.1:20:log"]
    executor = Formula()
    found = search(goals(LAG, space=space), formula_runs(executor), trials=16, replications=2)
    failed = [each for each in found.trials if each.stopped == CONTRADICTORY]
    assert 0 < len(failed) < 16
    assert len(found.trials) == 17
    assert all(each.replications == 0 for each in failed)
    assert len(executor.jobs) == 2 * len({each.policy for each in found.trials})


def test_a_front_is_what_nothing_beats() -> None:
    """With one objective it is the best; what has the same means as another is left out."""
    found = searched(TWO, trials=32)
    means = {
        name: tuple(found.study.interval(name, each).mean for each in (LATENCY, LAG))
        for name in found.study.policies
    }
    kept = [means[name] for name in found.front]
    assert kept == sorted(kept)
    for mine in kept:
        assert not any(
            other != mine and other[0] <= mine[0] and other[1] <= mine[1]
            for other in means.values()
        )
    assert len(front(found.study, list(means), TWO.objectives[:1])) == 1


def test_a_policy_is_dominated_only_where_that_is_clear() -> None:
    """Equal policies do not dominate each other; a lag of noise alone does not decide."""
    runs = formula_runs()
    slow, same = replace(Policy(), select_timeout_s=1.0), Policy(refresh_interval_s=30.0)
    study = runs.experiment({"base": Policy(), "slow": slow, "same": same}, 4)
    assert clearly_dominated(study, "slow", "base", goals(LATENCY).objectives)
    assert not clearly_dominated(study, "base", "slow", goals(LATENCY).objectives)
    assert not clearly_dominated(study, "same", "base", TWO.objectives)
    # Slower, but with less lag: neither beats the other.
    assert not clearly_dominated(study, "slow", "base", TWO.objectives)


def test_feasible_is_by_the_mean_and_broken_by_the_interval() -> None:
    """Between both lies what a search keeps looking at."""
    study = formula_runs().experiment({BASE: Policy()}, 4)
    mean = study.interval(BASE, LAG).mean
    below, above = (goals(LAG, within=[f"{LAG}<={mean + by}"]).constraints for by in (-0.1, 0.1))
    assert feasible(study, BASE, above)
    assert not feasible(study, BASE, below)
    assert broken(study, BASE, below) is None
    (hard,) = goals(LAG, within=[f"{LAG}<=20"]).constraints
    assert broken(study, BASE, [hard]) == hard


def test_the_first_objective_decides_and_the_next_where_it_leaves_a_choice() -> None:
    """Latency is the time-out alone; among trials of the same one, the lag decides."""
    space = ["operation_timeout_s=0.2,0.5", "flush_interval_s=0.25:30:log"]
    found = searched(goals(LATENCY, LAG, space=space))
    best = best_trial(found)
    assert best.policy.select_timeout_s == 0.2
    flushes = [
        each.policy.flush_interval_s
        for each in found.finished.values()
        if each.policy.select_timeout_s == 0.2
    ]
    assert best.policy.flush_interval_s == min(flushes)


def test_if_nothing_keeps_the_constraints_the_least_miss_is_taken() -> None:
    """And it is not shown to hold."""
    found = formula_tuning(goals("availability", within=[f"{LOAD}<=0.01"]))
    assert not found.holds
    assert found.policy.flush_interval_s == max(
        each.policy.flush_interval_s for each in found.searched.trials
    )


def test_steps_that_are_each_too_small_to_see_do_not_add_up() -> None:
    """Every simplification is compared with the best trial itself."""
    found = searched(TWO, trials=32)
    simplified = simplify(found, formula_runs(), replications=4)
    runs = formula_runs()
    study = runs.experiment({"full": simplified.best.policy, "kept": simplified.policy}, 4)
    for each in TWO.objectives:
        assert not each.clearly_worse(study.difference("full", "kept", each.measure))


def test_the_first_candidate_that_keeps_everything_is_chosen() -> None:
    """In the order that was fixed before, not the one that looks best now."""
    policies = {
        "first": Policy(flush_interval_s=0.4),
        "second": Policy(flush_interval_s=2.0),
        "third": Policy(flush_interval_s=10.0),
    }
    study = formula_runs().experiment(policies, 4)
    constraints = goals(LAG, within=[f"{LOAD}<=1", f"{LAG}<=100"]).constraints
    name, kept = first_that_keeps(study, list(policies), constraints)
    assert name == "second"
    assert [each.verdict for each in kept["first"]] == ["broken", "holds"]


def test_if_no_candidate_keeps_everything_it_is_the_one_that_keeps_most() -> None:
    """A policy that breaks one bound more is no better for missing the other by less."""
    policies = {"two": Policy(flush_interval_s=0.4), "one": Policy(flush_interval_s=20.0)}
    study = formula_runs().experiment(policies, 4)
    constraints = goals(LAG, within=[f"{LOAD}<=1", f"{LAG}<=40"]).constraints
    name, kept = first_that_keeps(study, list(policies), constraints)
    assert [each.verdict for each in kept["two"]] == ["broken", "broken"]
    assert [each.verdict for each in kept["one"]] == ["holds", "broken"]
    assert name == "one"


def test_verdicts_are_wider_the_more_of_them_there_are() -> None:
    """What is judged together is corrected for together."""
    policies = {name: Policy(refresh_interval_s=100.0 + at) for at, name in enumerate("abc")}
    study = formula_runs().experiment(policies, 4)
    constraints = goals(LAG, within=[f"{LAG}<=100"]).constraints
    _, alone = first_that_keeps(study, ["a"], constraints)
    _, together = first_that_keeps(study, list(policies), constraints)
    assert alone["a"][0].interval == study.interval("a", LAG)
    assert together["a"][0].interval.half_width > 1.3 * alone["a"][0].interval.half_width


def test_gains_are_wider_the_more_of_them_there_are() -> None:
    """The differences of one list hold together (Bonferroni)."""
    study = formula_runs().experiment({BASE: Policy(), "new": Policy(flush_interval_s=3.0)}, 4)
    noisy = replace(study, runs=study.runs | {"new": study.runs["new"][::-1]})
    (alone,) = gains(noisy, BASE, "new", [LAG])
    (lag, latency) = gains(noisy, BASE, "new", [LAG, LATENCY])
    assert alone.difference == noisy.difference(BASE, "new", LAG)
    assert lag.difference == noisy.difference(BASE, "new", LAG, confidence=0.975)
    assert lag.difference.half_width > alone.difference.half_width
    assert latency.difference.mean == 0


def test_moving_one_setting_does_what_the_formula_says() -> None:
    """The effect is a paired difference; a setting without an effect has exactly none."""
    effects = one_at_a_time(
        formula_runs(), Policy(), TWO.space, (LATENCY, LAG), replications=4
    )  # fmt: skip
    found = {(each.name, each.value, each.measure): each.difference for each in effects}
    assert len(found) == 12
    assert found["flush_interval_s", 30.0, LAG].mean == pytest.approx(29.0)
    assert found["operation_timeout_s", 2.0, LATENCY].mean == pytest.approx(1.5)
    assert found["operation_timeout_s", 2.0, LAG].mean == pytest.approx(-0.15)
    assert found["refresh_interval_s", 30.0, LAG].mean == 0
    assert not found["refresh_interval_s", 30.0, LAG].excludes_zero()


def test_the_setting_that_matters_most_in_the_search_is_named_first(tuning: Tuning) -> None:
    """PED-ANOVA; with few trials it is not asked."""
    assert next(iter(tuning.importances)) == "operation_timeout_s"
    assert sum(tuning.importances.values()) == pytest.approx(1.0)
    assert formula_tuning(KEPT, trials=8).importances == {}


def test_other_traces_are_judged_together() -> None:
    """On each the base policy too; a constraint that is missed there is said to be."""
    others = {name: replace(WORLD, name=name) for name in ("one", "two")}
    found = formula_tuning(goals(LATENCY, within=[f"{LOAD}<=2", f"{LAG}<=66"]), others=others)
    assert [each.name for each in found.checked] == ["one", "two"]
    for each in found.checked:
        assert [kept.constraint.measure for kept in each.kept] == [LOAD, LAG]
        assert each.kept[0].verdict == "holds"
        assert each.base_kept[0].verdict == "holds"
        # Eight runs, four verdicts together: an interval too wide for this bound.
        assert each.kept[1].verdict == "not shown"
        alone = each.study.interval("recommended", LAG, confidence=1 - 0.05 / 4)
        assert each.kept[1].interval == alone
    assert not found.holds


def test_a_tuning_holds_only_if_it_does_on_every_other_trace() -> None:
    """Its exit code rests on that, though the constraint holds on the runs that judged."""
    found = formula_tuning(KEPT, trials=2, others={"one": replace(WORLD, name="one")})
    assert found.holds
    (checked,) = found.checked
    (kept,) = checked.kept
    missed = replace(kept, interval=Interval(1.9, 1.7, 2.1, 8))
    assert not replace(found, checked=(replace(checked, kept=(missed,)),)).holds


def test_a_policy_is_not_checked_on_the_recording_that_it_is_tuned_on() -> None:
    """Under whatever name: that it does well there is why it was chosen."""
    outages = (Outage(100.0, 200.0, OutageMode.REFUSE),)
    trace = RecordedTrace(outages=outages, duration_s=900.0)
    executor = Formula()

    def tuned(**others: RecordedTrace) -> Tuning:
        worlds = {name: WORLD.with_trace(each) for name, each in others.items()}
        return tune(
            WORLD.with_trace(trace), KEPT, others=worlds, executor=executor, trials=1,
            replications=2,
        )  # fmt: skip

    with pytest.raises(InputError, match="copy has the recorded outages"):
        tuned(copy=replace(trace, file="copy.csv"))
    assert executor.jobs == []
    later = (Outage(300.0, 400.0, OutageMode.REFUSE),)
    assert len(tuned(other=replace(trace, outages=later)).checked) == 1


def test_what_must_never_happen_is_kept_if_none_was_seen_and_said_to_be_no_more() -> None:
    """A bound above zero holds by the far end; one event breaks what must never be."""
    study = formula_runs().experiment({BASE: Policy()}, 12)
    (never,) = goals(LAG, within=["wrong_answers<=0"]).constraints
    few, too_few = (replace(never, bound=bound) for bound in (0.5, 0.1))
    _, kept = first_that_keeps(study, [BASE], [never, few, too_few])
    assert [each.verdict for each in kept[BASE]] == ["none seen", "holds", "not shown"]
    assert [each.holds for each in kept[BASE]] == [True, True, False]
    assert kept[BASE][0].margin < 0
    assert not never.holds(amount_interval([0.0] * 11 + [1.0], counts=True))
    assert not never.holds(amount_interval([0.0], counts=True)), "one run shows nothing"


def test_a_front_is_thinned_and_keeps_its_ends() -> None:
    """At most so many points are played again, the best in either objective among them."""
    found = formula_tuning(TWO, trials=48)
    assert len(found.searched.front) > FRONT_MAX
    assert len(found.front) == FRONT_MAX
    assert found.front[0] == found.searched.front[0]
    assert found.front[-1] == found.searched.front[-1]


def test_impossible_tunings_are_refused_before_anything_is_played() -> None:
    """By what is wrong."""
    executor = Formula()
    with pytest.raises(InputError, match="at least 2 replications"):
        formula_tuning(KEPT, executor, replications=1)
    with pytest.raises(InputError, match="at least one trial"):
        formula_tuning(KEPT, executor, trials=0)
    with pytest.raises(InputError, match="at least one --objective"):
        formula_tuning(goals(), executor)
    assert executor.jobs == []
    with pytest.raises(InputError, match="lost_keys has no value"):
        formula_tuning(goals("lost_keys"), executor)
    assert len(executor.jobs) == 4


def test_a_real_world_is_tuned_alike_by_one_process_and_by_two() -> None:
    """To the bit: the trials, and the figures that judge."""
    asked = Goals(
        base=Policy(),
        space=parse_search(["breaker_open_s=1:60:log"]),
        objectives=goals(LOAD).objectives,
    )
    options = {"seed": 3, "trials": 3, "replications": 2}
    with ThisProcess() as alone:
        first = tune(SMALL, asked, executor=alone, **options)
    second = tune(SMALL, asked, workers=2, **options)
    assert first.searched.trials == second.searched.trials
    assert repr(first.fresh.runs) == repr(second.fresh.runs)
