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

    def transposed(self) -> MarkdownTable:
        """The same with its rows as columns: for many columns and few rows."""
        headings, *rows = zip(self.headings, *self.rows, strict=True)
        return MarkdownTable(headings, rows)

    def __repr__(self) -> str:
        return self._repr_markdown_()

    def _repr_markdown_(self) -> str:
        lines = [self.headings, ("---",) * len(self.headings), *self.rows]
        return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def assumption_table(scenarios: Mapping[str, Scenario]) -> MarkdownTable:
    """One row for each setting of the scenarios: its values, what it means and its source.

    Settings that the scenarios have in common share a row; those that none of them sets are left
    out. Defaults of the project without a source, which are plain choices, say so.
    """
    values: dict[str, dict[str, str]] = {}
    about: dict[str, tuple[str, str]] = {}
    for name, scenario in scenarios.items():
        for each in scenario.assumptions():
            values.setdefault(each.name, {})[name] = _value(each.value)
            about.setdefault(each.name, (each.doc, each.source or "a choice"))
    topics = list(dict.fromkeys(_topic(setting) for setting in values))
    rows = []
    for setting in sorted(values, key=lambda setting: topics.index(_topic(setting))):
        cells = [values[setting].get(name, "") for name in scenarios]
        if any(cell not in ("", "none") for cell in cells):
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
        (f"`{name}`", *(_interval(name, column.get(name)) for column in columns.values()))
        for name in names
    ]
    return MarkdownTable(("figure", *columns), cells)


def _interval(name: str, interval: Interval | None) -> str:
    if interval is None or math.isnan(interval.mean):
        return "none"
    number = _availability if "availability" in name else _number
    if math.isnan(interval.low):
        return number(interval.mean)
    if interval.low == interval.high:
        return f"{number(interval.mean)}, always"
    return f"{number(interval.mean)} [{number(interval.low)}, {number(interval.high)}]"


def _availability(share: float) -> str:
    """As many digits as show how far it is from 1; never a bare 1 for what is less."""
    if not 0.9 < share < 1:
        return _number(share)
    return f"{share:.{max(3, 1 - math.floor(math.log10(1 - share)))}f}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:g}"
    if isinstance(value, Mapping):
        parts = [f"{name} {_value(part)}" for name, part in value.items() if name != "kind"]
        return " ".join([str(value["kind"]), *parts] if "kind" in value else parts)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "; ".join(map(_value, value)) or "none"
    return "none" if value is None else str(value)


def _topic(setting: str) -> str:
    return setting.partition(".")[0].partition("[")[0]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
