"""Tables for notebooks: what is assumed, what is compared, and what came out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields

from ftrepo.policy import Policy, settings_table
from sim.study.intervals import Interval
from sim.world.scenario import Scenario


class MarkdownTable:
    """Rows under headings, shown as a table by Jupyter and as Markdown in print.

    Args:
        headings: one for each column.
        rows: cells as text.
    """

    def __init__(self, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        self.headings = tuple(headings)
        self.rows = [tuple(row) for row in rows]

    def __repr__(self) -> str:
        return self._repr_markdown_()

    def _repr_markdown_(self) -> str:
        lines = [self.headings, ("---",) * len(self.headings), *self.rows]
        return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def assumption_table(scenarios: Mapping[str, Scenario]) -> MarkdownTable:
    """One row for each setting of the scenarios: its values, what it means and its source.

    Settings that the scenarios have in common share a row. Defaults of the project without a
    source, which are plain choices, say so.
    """
    values: dict[str, dict[str, str]] = {}
    about: dict[str, tuple[str, str]] = {}
    for name, scenario in scenarios.items():
        for each in scenario.assumptions():
            values.setdefault(each.name, {})[name] = _value(each.value)
            about.setdefault(each.name, (each.doc, each.source or "a choice"))
    rows = []
    for setting, by_scenario in values.items():
        cells = [by_scenario.get(name, "") for name in scenarios]
        rows.append((f"`{setting}`", *cells, *about[setting]))
    return MarkdownTable(("setting", *scenarios, "what it is", "source"), rows)


def option_table(policies: Mapping[str, Policy]) -> MarkdownTable:
    """One row for each setting in which the policies differ, with what it does."""
    documented = {each.name: each.doc for each in settings_table()}
    rows = []
    for each in fields(Policy):
        values = [getattr(policy, each.name) for policy in policies.values()]
        if any(value != values[0] for value in values):
            cells = [_value(value) for value in values]
            rows.append((f"`{each.name}`", *cells, documented[each.name]))
    return MarkdownTable(("setting", *policies, "what it does"), rows)


def interval_table(
    columns: Mapping[str, Mapping[str, Interval]], rows: Sequence[str] | None = None
) -> MarkdownTable:
    """One row for each figure, one column for each policy: the mean and its 95% interval.

    Args:
        columns: the figures by policy.
        rows: which figures to show; `None` for all.
    """
    names = rows or list(dict.fromkeys(name for each in columns.values() for name in each))
    cells = [
        (f"`{name}`", *(_interval(column.get(name)) for column in columns.values()))
        for name in names
    ]
    return MarkdownTable(("figure", *columns), cells)


def _interval(interval: Interval | None) -> str:
    if interval is None or math.isnan(interval.mean):
        return "none"
    if math.isnan(interval.low):
        return _number(interval.mean)
    if interval.low == interval.high:
        return f"{_number(interval.mean)}, always"
    return f"{_number(interval.mean)} [{_number(interval.low)}, {_number(interval.high)}]"


def _number(value: float) -> str:
    """Three significant digits; as many more as show how far a share is from 1."""
    if 0.9 < value < 1:
        digits = max(3, 1 - math.floor(math.log10(1 - value)))
        return f"{value:.{digits}f}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}" if abs(value) < 1e6 else f"{value:,.0f}"
    return "none" if value is None else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
