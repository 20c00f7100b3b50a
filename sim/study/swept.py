"""What a sweep gives: the figures of every point, their intervals, and both as tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from ftrepo.policy import Policy
from sim.measures import MEASURES
from sim.study.experiment import Experiment, RunFigures
from sim.study.grid import Case, Point, label
from sim.study.intervals import Interval
from sim.world.scenario import Scenario

if TYPE_CHECKING:
    import pandas as pd

_NO_MEASURES = tuple(each.name for each in fields(RunFigures) if each.name != "measures")
_TAKEN = {"replication", "seed", *_NO_MEASURES, *(each.name for each in MEASURES)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """The figures of every replication at every point of a grid.

    Attributes:
        scenario: what happened where no setting said otherwise.
        policy: how the repository behaved where no setting said otherwise.
        settings: the swept names and their values, in the order of tables.
        seed: of the study.
        cases: the points, the last setting varying fastest.
        runs: for each point the figures of replication 0, 1, 2, …
    """

    scenario: Scenario
    policy: Policy
    settings: Mapping[str, tuple[Any, ...]]
    seed: int
    cases: tuple[Case, ...]
    runs: tuple[tuple[RunFigures, ...], ...]

    @property
    def points(self) -> list[Point]:
        """The value of every swept setting at each point, in the order of `cases`."""
        return [dict(case.point) for case in self.cases]

    @property
    def replications(self) -> int:
        """How many runs each point had."""
        return len(self.runs[0])

    def experiment(self, point: Mapping[str, Any]) -> Experiment:
        """Return what was played at one point, under one policy that is called as the point is.

        Raises:
            KeyError: there is no such point.
        """
        return self._experiment({label(point): self._place(point)})

    def values(self, point: Mapping[str, Any], measure: str) -> list[float]:
        """One figure in each replication at a point; NaN where there is none."""
        return [figures.measures[measure] for figures in self.runs[self._place(point)]]

    def interval(self, point: Mapping[str, Any], measure: str) -> Interval:
        """The mean of one figure at a point and its confidence interval."""
        study = self.experiment(point)
        return study.interval(next(iter(study.policies)), measure)

    def difference(
        self, first: Mapping[str, Any], second: Mapping[str, Any], measure: str
    ) -> Interval:
        """The paired difference of one figure: the second point's minus the first's."""
        return self._pair(first, second).difference("first", "second", measure)

    def p_value(self, first: Mapping[str, Any], second: Mapping[str, Any], measure: str) -> float:
        """The probability of a paired difference so clear by chance; see `Experiment.p_value`.

        For two points that were not chosen by their figures.
        """
        return self._pair(first, second).p_value("first", "second", measure)

    def table(self) -> pd.DataFrame:
        """Return one row for each point and replication.

        Columns: the swept settings, `replication`, `seed`, every measure (NaN where a run has
        none), and what else `RunFigures` has, such as `outages`. A setting that is unset is
        missing; one that is a list or a table is JSON; one that is called as a measure is has
        `_set` added to its name, as `pending_max_set`.
        """
        rows = [
            {
                **_cells(case.point),
                "replication": number,
                "seed": self.seed,
                **figures.measures,
                **{name: getattr(figures, name) for name in _NO_MEASURES},
            }
            for case, runs in zip(self.cases, self.runs, strict=True)
            for number, figures in enumerate(runs)
        ]
        return _frame(rows, list(self.settings))

    def summary(self, measure: str | None = None) -> pd.DataFrame:
        """Return one row for each point and measure, or for each point if a measure is named.

        Columns: the swept settings, `measure`, `mean`, `low`, `high` (a 95% interval over
        replications, for each row by itself) and `replications`, those that have the figure.
        """
        names = [each.name for each in MEASURES] if measure is None else [measure]
        rows = []
        for point in self.points:
            for name in names:
                found = self.interval(point, name)
                ends = {"mean": found.mean, "low": found.low, "high": found.high}
                row = {**_cells(point), "measure": name, **ends}
                rows.append({**row, "replications": found.replications})
        return _frame(rows, list(self.settings))

    def _pair(self, first: Mapping[str, Any], second: Mapping[str, Any]) -> Experiment:
        return self._experiment({"first": self._place(first), "second": self._place(second)})

    def _experiment(self, places: Mapping[str, int]) -> Experiment:
        """Return some points as if they were policies; the scenario is that of the first."""
        return Experiment(
            scenario=self.cases[next(iter(places.values()))].scenario,
            policies={name: self.cases[place].policy for name, place in places.items()},
            seed=self.seed,
            runs={name: self.runs[place] for name, place in places.items()},
        )

    def _place(self, point: Mapping[str, Any]) -> int:
        for place, case in enumerate(self.cases):
            if case.point == point:
                return place
        raise KeyError(f"there is no point {label(point)}")


def column_of(setting: str) -> str:
    """The name of a setting's column in a table; see `Sweep.table`."""
    return f"{setting}_set" if setting in _TAKEN else setting


def _cells(point: Mapping[str, Any]) -> Point:
    """A point as cells of a table: a list or a table is JSON."""
    return {
        column_of(name): json.dumps(value) if isinstance(value, tuple | list | dict) else value
        for name, value in point.items()
    }


def _frame(rows: Sequence[Mapping[str, Any]], settings: Sequence[str]) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415  a worker never makes a table, and starts without it

    table = pd.DataFrame(rows)
    for name in map(column_of, settings):
        values = [row[name] for row in rows]
        table[name] = pd.Series(_plain(values), dtype=_column_type(values), index=table.index)
    return table


def _plain(values: Sequence[Any]) -> list[Any]:
    """Values of one type: texts, if they have several that are not all numbers."""
    if _column_type(values) != "str":
        return list(values)
    return [each if each is None or isinstance(each, str) else json.dumps(each) for each in values]


def _column_type(values: Sequence[Any]) -> str:
    """The type of a column that holds these values, with room for missing ones where they are."""
    kinds = {type(each) for each in values} - {type(None)}
    missing = any(each is None for each in values)
    if kinds == {bool}:
        return "boolean" if missing else "bool"
    if kinds == {int}:
        return "Int64" if missing else "int64"
    if kinds and kinds <= {int, float}:
        return "Float64" if missing else "float64"
    return "str"
