"""Results as files: Parquet and CSV for pandas, figures for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import pandas as pd

from sim.history import Creates, Gets, History, Keys, Samples
from sim.measures import MEASURES
from sim.run import Result
from sim.show.figures import figures_of_comparison, figures_of_run
from sim.study.experiment import Experiment


def write_files(folder: Path, experiment: Experiment, results: Mapping[str, Result]) -> list[Path]:
    """Write tables and figures, and return where they are.

    * `measures`: tidy, one row for each policy, replication and measure.
    * `intervals`: one row for each policy and measure, with mean, low and high.
    * for each policy `NAME-gets`, `-creates`, `-keys`, `-samples`: the columns of one replication.
    * figures as SVG.

    Args:
        folder: made if need be; files of the same name are overwritten.
        experiment: the figures of all replications.
        results: one run for each policy, for what is drawn over time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for name, table in _tables(experiment, results).items():
        for suffix, write in ((".parquet", table.to_parquet), (".csv", table.to_csv)):
            path = folder / f"{name}{suffix}"
            write(path, index=False)
            written.append(path)
    if len(results) == 1:
        figures = figures_of_run(next(iter(results.values())))
    else:
        figures = figures_of_comparison(experiment, results)
    for name, figure in figures.items():
        path = folder / f"{name}.svg"
        figure.savefig(path, bbox_inches="tight")
        written.append(path)
    return written


def _tables(experiment: Experiment, results: Mapping[str, Result]) -> dict[str, pd.DataFrame]:
    rows = [
        (policy, replication, name, value)
        for policy, runs in experiment.runs.items()
        for replication, figures in enumerate(runs)
        for name, value in figures.measures.items()
    ]
    intervals = [
        (policy, each.name, interval.mean, interval.low, interval.high)
        for policy in experiment.policies
        for each in MEASURES
        for interval in [experiment.interval(policy, each.name)]
    ]
    tables = {
        "measures": pd.DataFrame(rows, columns=["policy", "replication", "measure", "value"]),
        "intervals": pd.DataFrame(intervals, columns=["policy", "measure", "mean", "low", "high"]),
    }
    for policy, result in results.items():
        for name, table in _history_tables(result.history).items():
            tables[f"{policy}-{name}"] = table
    return tables


def _history_tables(history: History) -> dict[str, pd.DataFrame]:
    return {
        "gets": _table(history.gets),
        "creates": _table(history.creates),
        "keys": _table(history.keys),
        "samples": _table(history.samples),
    }


def _table(part: Gets | Creates | Keys | Samples) -> pd.DataFrame:
    return pd.DataFrame({each.name: getattr(part, each.name) for each in fields(part)})
