"""What a tuning leaves behind: a policy that the service loads, tables, figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import optuna
import pandas as pd
import pytest
from optuna.storages.journal import JournalFileBackend

from ftrepo.policy import Policy
from sim.show.figure_tuning import pareto_front, sensitivity_tornado
from sim.show.tuning_files import policy_toml, trial_table, write_journal, write_tuning
from sim.show.tuning_tables import (
    change_table,
    check_table,
    constraint_table,
    difference_text,
    effect_table,
    front_table,
    gain_table,
    interval_text,
    tuning_notes,
    verdict_text,
)
from sim.study.intervals import Interval
from sim.study.tune.tuning import Tuning
from tests.sim.tunings import WORLD, Formula, formula_tuning, goals

LATENCY, LAG = "get_latency_p99_s", "sync_lag_p99_s"
LOAD = "primary_attempts_during_outage_per_s"


@pytest.fixture(scope="module")
def tuning() -> Tuning:
    """Two objectives, two constraints, another trace; the base policy is no default."""
    asked = goals(LATENCY, LAG, within=[f"{LOAD}<=2", f"{LAG}<=100"], drain_timeout_s=7.0)
    return formula_tuning(asked, others={"last year": replace(WORLD, name="last year")})


@pytest.fixture(scope="module")
def missed() -> Tuning:
    """A constraint that nothing can keep on the seed that judges."""
    return formula_tuning(
        goals(LATENCY, within=[f"{LAG}<=75"]), Formula(lag_by_seed={2: 100.0}), trials=8
    )


@pytest.fixture(scope="module")
def folder(tuning: Tuning, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything as files."""
    folder = tmp_path_factory.mktemp("tuned")
    written = write_tuning(folder, tuning, command="python -m sim tune default")
    assert all(path.stat().st_size > 0 for path in written)
    assert set(written) == set(folder.iterdir())
    return folder


def test_the_same_tuning_gives_the_same_files(tuning: Tuning, folder: Path, tmp_path: Path) -> None:
    """To the byte, but for the times of day in Optuna's own."""
    for path in write_tuning(tmp_path, tuning, command="python -m sim tune default"):
        if path.suffix != ".journal":
            assert path.read_bytes() == (folder / path.name).read_bytes(), path.name


def test_the_file_is_the_recommended_policy(tuning: Tuning, folder: Path) -> None:
    """As it is, comments and all; settings that were not searched are those of the base policy."""
    loaded = Policy.from_toml(folder / "policy.toml")
    assert loaded == tuning.policy
    assert loaded != Policy()
    assert loaded.drain_timeout_s == 7.0
    assert loaded.select_timeout_s == tuning.changed["operation_timeout_s"]


def test_the_head_of_the_file_says_where_it_comes_from(tuning: Tuning) -> None:
    """Scenario, seeds, objectives, constraints with their margins, changes, the command."""
    text = policy_toml(tuning, command="python -m sim tune default")
    head = text.partition("\n\n")[0]
    assert all(line.startswith("#") for line in head.splitlines())
    assert all(len(line) <= 100 for line in head.splitlines())
    for told in (
        "scenario default, seed 1; judged on seed 2, 8 replications",
        f"min:{LATENCY}, min:{LAG}",
        f"{LOAD} <= 2: ",
        f"margin {tuning.verdicts[0].margin:.3g}: holds",
        "on last year:",
        "operation_timeout_s = ",
        "was 0.5",
        "python -m sim tune default",
    ):
        assert told in head, told


def test_a_file_with_no_change_says_so() -> None:
    """And is the base policy."""
    found = formula_tuning(goals("availability"), trials=2)
    assert "# No setting was changed." in policy_toml(found)
    assert "keep it" in verdict_text(found)


def test_a_miss_is_told_with_its_size(missed: Tuning) -> None:
    """In the sentence, in the table and in the file: never a constraint without its margin."""
    assert f"NOT SHOWN to keep {LAG} <= 75" in verdict_text(missed)
    margin = missed.verdicts[0].margin
    assert margin < -80
    assert f"margin {margin:.3g}: broken" in policy_toml(missed)
    assert any("broken" in row for row in constraint_table(missed).rows)


def test_a_miss_on_another_trace_is_told_with_its_size() -> None:
    """Whether it is broken or only not shown, and by how much the far end is past the bound."""
    found = formula_tuning(
        goals(LATENCY, within=[f"{LAG}<=66"]), others={"hard": replace(WORLD, name="hard")}
    )
    (kept,) = found.checked[0].kept
    assert kept.verdict == "not shown"
    told = f"on hard NOT SHOWN to keep {LAG} <= 66 (missed by {-kept.margin:.3g} at the interval's"
    assert told in verdict_text(found)
    assert f"margin {kept.margin:.3g}: not shown" in " ".join(policy_toml(found).split("\n#     "))
    broken = formula_tuning(
        goals(LATENCY, within=[f"{LAG}<=20"]), trials=2, others={"hard": replace(WORLD, name="h")}
    )
    assert "(broken, and missed by" in verdict_text(broken).partition("on hard")[2]


def test_the_sentence_says_whether_anything_was_gained(tuning: Tuning) -> None:
    """In which objective, or that the change is for the sake of a constraint alone."""
    assert f"clearly better than the base policy in {LATENCY}" in verdict_text(tuning)
    needed = formula_tuning(goals("availability", within=[f"{LOAD}<=0.5"]))
    assert "NOT SHOWN to be better" in verdict_text(needed)
    assert f"keeps {LOAD} <= 0.5, which the base policy is not shown to" in verdict_text(needed)
    longer = formula_tuning(
        goals(LAG, LATENCY, space=["operation_timeout_s=0.1:2:log"], insert_timeout_s=0.1,
              select_timeout_s=0.1, delete_timeout_s=0.1)
    )  # fmt: skip
    assert f"clearly better than the base policy in {LAG}" in verdict_text(longer)
    assert f"clearly worse in {LATENCY}" in verdict_text(longer)


def test_what_must_never_happen_is_said_to_be_unseen() -> None:
    """In the table, in the file, and in a note on how often it may be all the same."""
    found = formula_tuning(goals(LATENCY, within=["wrong_answers<=0"]), trials=2)
    assert found.holds
    assert "NOT SHOWN to keep" not in verdict_text(found)
    assert {row[-1] for row in constraint_table(found).rows} == {"none seen"}
    assert ": none seen" in policy_toml(found)
    (told,) = (each for each in tuning_notes(found) if each.startswith("wrong_answers <= 0"))
    assert "of 8 without, at most 31 of 100 others have one" in told


def test_a_wrong_answer_on_another_trace_is_a_defect_too(tuning: Tuning) -> None:
    """And a figure that is missing is none."""
    (checked,) = tuning.checked
    assert not any("DEFECT" in each for each in tuning_notes(tuning))

    def answered(wrong: float) -> list[str]:
        runs = {
            name: tuple(
                replace(each, measures=each.measures | {"wrong_answers": wrong}) for each in runs
            )
            for name, runs in checked.study.runs.items()
        }
        other = replace(checked, study=replace(checked.study, runs=runs))
        return tuning_notes(replace(tuning, checked=(other,)))

    assert "DEFECT: policy base gave wrong answers on last year; this must never be" in answered(1)
    assert not any("DEFECT" in each for each in answered(float("nan")))


def test_a_policy_that_was_chosen_on_the_runs_that_judge_is_said_to_be(tuning: Tuning) -> None:
    """Its differences are those of the lucky one of a few."""
    assert not any("was preferred" in each for each in tuning_notes(tuning))
    first, *_ = tuning.kept
    chosen = replace(tuning, recommended=next(name for name in tuning.kept if name != first))
    assert any(each.startswith(f"{first} was preferred") for each in tuning_notes(chosen))


def test_tables_have_a_row_for_everything(tuning: Tuning) -> None:
    """Settings, measures, candidates by constraints, traces by constraints, moves."""
    assert [row[0] for row in change_table(tuning).rows] == [
        "operation_timeout_s",
        "flush_interval_s",
        "refresh_interval_s",
    ]
    assert [row[0] for row in gain_table(tuning).rows] == [LATENCY, LAG, LOAD]
    assert len(constraint_table(tuning).rows) == 2 * len(tuning.kept)
    assert len(check_table(tuning).rows) == 2
    assert len(effect_table(tuning).rows) == 6
    roles = [row[0] for row in front_table(tuning).rows]
    assert roles[-1] == "base"
    assert sum("(recommended)" in role for role in roles) == 1
    for table in (change_table(tuning), front_table(tuning), effect_table(tuning)):
        assert {len(row) for row in table.rows} == {len(table.headings)}


def test_notes_say_what_the_figures_rest_on(tuning: Tuning) -> None:
    """Trials, seeds, and that one trace is one history."""
    text = " ".join(tuning_notes(tuning))
    for told in ("24 trials of 4 replications on seed 1", "on seed 2", "one history", LATENCY):
        assert told in text
    assert "DEFECT" not in text


def test_a_difference_is_shown_with_its_interval() -> None:
    """None at all is said in words: it is not a small one."""
    assert difference_text(Interval(0.5, 0.25, 0.75, 4)) == "+0.5 [+0.25, +0.75]"
    assert difference_text(Interval(0.0, 0.0, 0.0, 4)) == "no difference"
    assert difference_text(Interval(float("nan"), float("nan"), float("nan"), 0)) == "none"


def test_a_figure_that_is_alike_in_all_runs_is_no_interval() -> None:
    """Without width it would look like certainty."""
    assert interval_text("cache_entries_max", Interval(7.0, 7.0, 7.0, 6)) == "7 in all 6 runs"
    assert interval_text("lost_keys", Interval(0.0, 0.0, 0.61, 6)) == "0 [0, 0.61]"


def test_every_trial_is_in_the_table(tuning: Tuning, folder: Path) -> None:
    """Those that were stopped, too, with the reason and without means."""
    table = pd.read_parquet(folder / "trials.parquet")
    assert len(table) == 25
    assert table.columns.tolist() == trial_table(tuning).columns.tolist()
    stopped = table["stopped"] != ""
    assert stopped.any()
    assert table.loc[stopped, LAG].isna().all()
    assert table.loc[~stopped, LAG].notna().all()


def test_optuna_reads_the_study(tuning: Tuning, tmp_path: Path) -> None:
    """With values and constraints; written twice, it is not there twice."""
    for _ in range(2):
        write_journal(tmp_path / "optuna.journal", tuning)
    journal = JournalFileBackend(str(tmp_path / "optuna.journal"))
    study = optuna.load_study(study_name=None, storage=optuna.storages.JournalStorage(journal))
    mine = tuning.searched.optuna
    assert [each.values for each in study.trials] == [each.values for each in mine.trials]
    assert [each.constraints for each in study.trials] == [each.constraints for each in mine.trials]


def test_the_front_is_drawn_with_base_and_recommendation(tuning: Tuning) -> None:
    """Named in the legend, with the bound of a constraint where it is on an axis."""
    figure = pareto_front(tuning, label_by="operation_timeout_s")
    legend = figure.axes[0].get_legend()
    assert legend is not None
    names = [text.get_text() for text in legend.get_texts()]
    assert {"trials", "base policy", "recommended", f"{LAG} <= 100"} <= set(names)
    assert figure.axes[0].get_xlabel() == "get latency p99, s"
    with pytest.raises(ValueError, match="two objectives"):
        pareto_front(formula_tuning(goals(LAG), trials=2))


def test_the_tornado_names_the_setting_that_matters_most(tuning: Tuning) -> None:
    """On top, and in the finding; a measure that was not asked for is refused."""
    figure = sensitivity_tornado(tuning, LAG)
    assert "if flush_interval_s were 30" in figure.get_suptitle().replace("\n", " ")
    labels = [text.get_text().split("\n")[0] for text in figure.axes[0].get_yticklabels()]
    assert labels[-1] == "flush_interval_s"
    assert labels[0] == "refresh_interval_s"
    with pytest.raises(ValueError, match="lost_keys"):
        sensitivity_tornado(tuning, "lost_keys")
