"""A tuning as files: the policy that the service loads, tables, figures, and Optuna's own study."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import pandas as pd

from sim.show.figure_tuning import pareto_front, sensitivity_tornado
from sim.show.markdown import MarkdownTable
from sim.show.tuning_tables import (
    change_table,
    check_gain_table,
    check_table,
    constraint_table,
    effect_table,
    front_table,
    gain_table,
    interval_text,
    tuning_notes,
    verdict_text,
)
from sim.study.grid import value_text
from sim.study.tune.objectives import measures_of
from sim.study.tune.space import value_in
from sim.study.tune.tuning import Tuning
from sim.study.tune.verdict import Kept

POLICY_FILE = "policy.toml"

_WIDTH = 98


def policy_toml(tuning: Tuning, *, command: str = "") -> str:
    """The recommended policy as TOML that `Policy.from_toml` reads, under a head of comments.

    Args:
        tuning: what was found.
        command: what gives the same policy again; empty if nobody typed one.
    """
    goals = tuning.goals
    head = (
        f"A policy tuned on scenario {tuning.scenario.name}, seed {tuning.seed}; judged on seed "
        f"{tuning.fresh_seed}, {tuning.fresh.replications} replications."
    )
    lines = [
        head,
        "Objectives: " + ", ".join(map(str, goals.objectives)) + ".",
        "Found (mean, 95% interval), and the paired difference to the policy it departed from:",
        *(_gain_line(each) for each in gain_table(tuning).rows),
    ]
    if goals.constraints:
        lines.append("Constraints, with what is left to the bound from the interval's far end:")
    lines += [
        f"  {each.constraint}: {interval_text(each.constraint.measure, each.interval)}, margin "
        f"{_margin(each)}: {each.verdict}"
        for each in tuning.verdicts
    ]
    for trace in tuning.checked:
        lines += [
            f"  on {trace.name}: {each.constraint}: "
            f"{interval_text(each.constraint.measure, each.interval)}, margin {_margin(each)}: "
            f"{each.verdict}"
            for each in trace.kept
        ]
    changed = [
        f"  {name} = {value_text(value)}, was {value_text(value_in(goals.base, name))}"
        for name, value in tuning.changed.items()
    ]
    lines += ["Changed settings:", *changed] if changed else ["No setting was changed."]
    if command:
        lines.append(f"Made by: {command}")
    return _comment(lines) + "\n" + tuning.policy.to_toml()


def write_tuning(folder: Path, tuning: Tuning, *, command: str = "") -> list[Path]:
    """Write everything, and return where it is.

    * `policy.toml`: the recommended policy.
    * `tuning.md`: the tables.
    * `trials.parquet` and `.csv`: one row for each trial, with its means.
    * `pareto_front.svg`, with two objectives or more, and `sensitivity-MEASURE.svg`.
    * `optuna.journal`: the study for Optuna's own tools, such as its dashboard.

    Args:
        folder: made if need be; files of the same name are overwritten.
        tuning: what was found.
        command: what gives the same again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        POLICY_FILE: policy_toml(tuning, command=command),
        "tuning.md": _report(tuning, command),
    }
    written = [folder / name for name in texts]
    for path, text in zip(written, texts.values(), strict=True):
        # A policy of which half is written is a policy, too: of defaults in the rest.
        unfinished = path.with_name(f".{path.name}.unfinished")
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    table = trial_table(tuning)
    for suffix, write in ((".parquet", table.to_parquet), (".csv", table.to_csv)):
        written.append(folder / f"trials{suffix}")
        write(written[-1], index=False)
    figures = {
        f"sensitivity-{measure}": sensitivity_tornado(tuning, measure)
        for measure in dict.fromkeys(each.measure for each in tuning.effects)
    }
    if len(tuning.goals.objectives) > 1:
        figures["pareto_front"] = pareto_front(tuning)
    for name, figure in figures.items():
        written.append(folder / f"{name}.svg")
        # Without these two an SVG has the time of day and new names for its parts in it.
        with mpl.rc_context({"svg.hashsalt": name}):
            figure.savefig(written[-1], bbox_inches="tight", metadata={"Date": None})
    written.append(folder / "optuna.journal")
    write_journal(written[-1], tuning)
    return written


def trial_table(tuning: Tuning) -> pd.DataFrame:
    """One row for each trial.

    Columns: `trial`, `replications`, `stopped` (why; empty if it was not), every searched setting,
    and the mean of every objective and constraint on the seed of the search, missing for a trial
    that was stopped.
    """
    measures = measures_of(tuning.goals.objectives, tuning.goals.constraints)
    study = tuning.searched.study
    by_policy = {policy: name for name, policy in study.policies.items()}
    rows = []
    for each in tuning.searched.trials:
        row = {"trial": each.name, "replications": each.replications, "stopped": each.stopped}
        row |= {
            setting.name: json.dumps(value_in(each.policy, setting.name))
            for setting in tuning.goals.space
        }
        if not each.stopped:
            name = by_policy[each.policy]
            row |= {measure: study.interval(name, measure).mean for measure in measures}
        rows.append(row)
    return pd.DataFrame(rows)


def _report(tuning: Tuning, command: str) -> str:
    parts: list[tuple[str, MarkdownTable]] = [
        ("Settings", change_table(tuning)),
        ("The recommended policy", gain_table(tuning)),
        ("Constraints", constraint_table(tuning)),
        ("The Pareto front", front_table(tuning)),
        ("Which setting matters", effect_table(tuning)),
        ("On other outages: constraints", check_table(tuning)),
        ("On other outages: objectives", check_gain_table(tuning)),
    ]
    lines = [f"# {tuning.scenario.name}, tuned", "", verdict_text(tuning), ""]
    for title, table in parts:
        if table.rows:
            lines += [f"## {title}", "", str(table), ""]
    lines += [f"- {note}" for note in tuning_notes(tuning)]
    if command:
        lines += ["", f"    {command}"]
    return "\n".join(lines) + "\n"


def _margin(kept: Kept) -> str:
    return "none" if math.isnan(kept.margin) else f"{kept.margin:.3g}"


def _gain_line(cells: Sequence[str]) -> str:
    measure, _, found, difference = cells
    return f"  {measure}: {found}; {difference}"


def _comment(lines: Sequence[str]) -> str:
    """Lines as TOML comments; a long one goes on further in."""
    written = []
    for line in lines:
        indent = " " * (len(line) - len(line.lstrip()))
        written += textwrap.wrap(
            line.strip(), _WIDTH, initial_indent=f"# {indent}", subsequent_indent=f"# {indent}  ",
            break_on_hyphens=False,
        )  # fmt: skip
    return "\n".join(written) + "\n"


def write_journal(path: Path, tuning: Tuning) -> None:
    """Write Optuna's study for its own tools; a file that is there is replaced."""
    import optuna  # noqa: PLC0415  an extra
    from optuna.storages.journal import JournalFileBackend  # noqa: PLC0415

    path.unlink(missing_ok=True)
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(path)))
    study = tuning.searched.optuna
    copy = optuna.create_study(
        study_name=study.study_name, directions=study.directions, storage=storage
    )
    copy.add_trials(study.get_trials(deepcopy=False))
