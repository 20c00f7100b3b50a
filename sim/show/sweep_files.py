"""A sweep as files: two Parquet tables that say where they come from, figures, and a summary."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import pyarrow as pa
from matplotlib.figure import Figure
from pyarrow import parquet

from sim.show.figure_heat_map import PANELS_MAX, sweep_heat_map
from sim.show.figure_sweep import LINES_MAX, sweep_curve, sweep_trade_off
from sim.show.markdown import MarkdownTable
from sim.show.sweep_words import (
    finding_of,
    mean_text,
    measure_label,
    setting_label,
    span_text,
    study_text,
)
from sim.study.grid import value_text
from sim.study.run_digest import code_digest
from sim.study.swept import Sweep

METADATA_KEY = b"ftrepo.sweep"
"""Where a Parquet file's schema has, as JSON, what `provenance` returns."""

CURVES_MAX = 3

_HOW_TO_READ = (
    "In brackets: 95% intervals over replications, each for its row alone. ≥: no failure was seen, "
    "and the figure is what 95% confidence leaves. All points meet the same seeds: compare two by "
    "their paired difference, not by whether their intervals overlap."
)


def write_sweep(folder: Path, sweep: Sweep, *, command: str, measures: Sequence[str]) -> list[Path]:
    """Write everything about a sweep, and return where it is.

    * `sweep.parquet`: one row for each point and replication; see `Sweep.table`.
    * `summary.parquet`: one row for each point and measure; see `Sweep.summary`.
    * figures of the chosen measures, as SVG.
    * `summary.md`: the chosen measures at every point, and the figures.

    The same sweep gives the same bytes with the same versions of the libraries. A file is there
    whole or not at all.

    Args:
        folder: made if need be; files of the same name are replaced.
        sweep: what was played.
        command: what gives the same sweep again.
        measures: what the figures and the summary show; the tables have every measure.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    metadata = {METADATA_KEY: json.dumps(provenance(sweep, command=command)).encode()}
    for name, table in (("sweep", sweep.table()), ("summary", sweep.summary())):
        with _whole(folder / f"{name}.parquet") as unfinished:
            parquet.write_table(_with_metadata(table, metadata), unfinished)
        written.append(folder / f"{name}.parquet")
    figures = figures_of_sweep(sweep, measures)
    for name, figure in figures.items():
        path = folder / f"{name}.svg"
        # Without these two an SVG has the time of day and new names for its parts in it.
        with _whole(path) as unfinished, mpl.rc_context({"svg.hashsalt": name}):
            figure.savefig(unfinished, format="svg", metadata={"Date": None}, bbox_inches="tight")
        written.append(path)
    with _whole(folder / "summary.md") as unfinished:
        unfinished.write_text(
            summary_text(sweep, command=command, measures=measures, figures=list(figures)),
            encoding="utf-8",
        )
    return [*written, folder / "summary.md"]


def provenance(sweep: Sweep, *, command: str) -> dict[str, Any]:
    """Return where a sweep's figures come from, as plain values.

    Its keys: `command`, `version` of the package, `code` (the digest of what played it), `seed`,
    `replications`, `settings` (names and values), `policy` and `scenario` (every setting of both as
    they are where no swept setting says otherwise).
    """
    return {
        "command": command,
        "version": version("ftrepo"),
        "code": code_digest(),
        "seed": sweep.seed,
        "replications": sweep.replications,
        "settings": {name: list(values) for name, values in sweep.settings.items()},
        "policy": asdict(sweep.policy),
        "scenario": sweep.scenario.as_dict(),
    }


def figures_of_sweep(sweep: Sweep, measures: Sequence[str]) -> dict[str, Figure]:
    """Return the figures that go with a sweep, by name, without those that nobody could read.

    One setting: a curve for each measure. Two or three: heat maps, and curves as well. With two
    measures or more also what each setting trades between the first and every other one.
    """
    figures: dict[str, Figure] = {}
    first, *others = sweep.settings
    if len(others) in (1, 2) and (len(others) == 1 or _panels(sweep) <= PANELS_MAX):
        for measure in measures:
            figures[f"heat-map-{measure}"] = sweep_heat_map(sweep, measure)
    if len(sweep.cases) / len(sweep.settings[first]) <= LINES_MAX:
        figures["curves"] = sweep_curve(sweep, measures[:CURVES_MAX])
        for measure in measures[1:]:
            figures[f"trade-off-{measure}"] = sweep_trade_off(sweep, measure, measures[0])
    return figures


def summary_table(sweep: Sweep, measures: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Return headings and rows: for each point its settings, and each measure with its interval."""
    headings = [*(setting_label(name) for name in sweep.settings), *map(measure_label, measures)]
    rows = []
    for point in sweep.points:
        cells = [value_text(value) for value in point.values()]
        for measure in measures:
            interval = sweep.interval(point, measure)
            span = span_text(measure, interval)
            cells.append(mean_text(measure, interval) + (f" [{span}]" if span else ""))
        rows.append(cells)
    return headings, rows


def summary_text(
    sweep: Sweep, *, command: str, measures: Sequence[str], figures: Sequence[str] = ()
) -> str:
    """Return the summary as Markdown.

    Args:
        sweep: what was played.
        command: what gives the same sweep again.
        measures: what to show.
        figures: the names of pictures beside the text, without their suffix.
    """
    headings, rows = summary_table(sweep, measures)
    parts = [
        f"# Sweep of {' and '.join(sweep.settings)}",
        "\n".join(f"- {finding_of(sweep, measure)}" for measure in measures),
        repr(MarkdownTable(headings, rows)),
        f"{study_text(sweep)}. {_HOW_TO_READ}",
        *(f"![{name}]({name}.svg)" for name in figures),
        f"Again, and from the stored runs at once:\n\n    {command}",
    ]
    return "\n\n".join(parts) + "\n"


def _panels(sweep: Sweep) -> int:
    return len(list(sweep.settings.values())[2])


def _with_metadata(table: pd.DataFrame, metadata: dict[bytes, bytes]) -> Any:
    columns = pa.Table.from_pandas(table, preserve_index=False)
    return columns.replace_schema_metadata({**columns.schema.metadata, **metadata})


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Yield where to write a file that takes its place only once it is finished."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    os.close(handle)
    unfinished = Path(name)
    try:
        yield unfinished
        unfinished.chmod(0o644)
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
