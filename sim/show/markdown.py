"""Tables for notebooks: what is assumed, what is compared, and what came out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields

from ftrepo.policy import Policy, settings_table
from sim.study.agreement import Check
from sim.study.intervals import Interval
from sim.world.scenario import Scenario
from sim.world.settings import Assumption


class MarkdownTable:
    """Rows under headings, shown as a table by Jupyter and as Markdown in print.

    Args:
        headings: one for each column.
        rows: cells as text.
        folded: more rows, shown when the reader unfolds them.
        summary: what they are, in a few words.
    """

    def __init__(
        self,
        headings: Sequence[str],
        rows: Iterable[Sequence[str]],
        *,
        folded: Iterable[Sequence[str]] = (),
        summary: str = "more",
    ) -> None:
        self.headings = tuple(headings)
        self.rows = [tuple(row) for row in rows]
        self.folded = [tuple(row) for row in folded]
        self.summary = summary

    def transposed(self) -> MarkdownTable:
        """The same with its rows as columns: for many columns and few rows."""
        headings, *rows = zip(self.headings, *self.rows, strict=True)
        return MarkdownTable(headings, rows)

    def __repr__(self) -> str:
        return self._repr_markdown_()

    def _repr_markdown_(self) -> str:
        shown = self._table(self.rows)
        if not self.folded:
            return shown
        rest = self._table(self.folded)
        summary = f"<details><summary>{self.summary}</summary>"
        return f"{shown}\n\n{summary}\n\n{rest}\n\n</details>"

    def _table(self, rows: Sequence[Sequence[str]]) -> str:
        lines = [self.headings, ("---",) * len(self.headings), *rows]
        return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def assumption_table(scenarios: Mapping[str, Scenario]) -> MarkdownTable:
    """One row for each setting of the scenarios: what it means, its values and its source.

    Where there are several scenarios, the settings that they have in common are folded away;
    settings that none of them uses are left out. A default of the project that has no source is
    plainly a choice, and says so.
    """
    values: dict[str, dict[str, str]] = {}
    about: dict[str, Assumption] = {}
    for name, scenario in scenarios.items():
        for each in scenario.assumptions():
            values.setdefault(each.name, {})[name] = _value(each.value)
            about.setdefault(each.name, each)
    topics = list(dict.fromkeys(_topic(setting) for setting in values))
    rows: dict[bool, list[tuple[str, ...]]] = {False: [], True: []}
    for setting in sorted(values, key=lambda setting: topics.index(_topic(setting))):
        cells = [values[setting].get(name, "") for name in scenarios]
        common = len(cells) > 1 and len(set(cells)) == 1
        if any(cell not in ("", "none") for cell in cells):
            what = f"{about[setting].doc} `{setting}`"
            rows[common].append((what, *cells, about[setting].source or "a choice"))
    return MarkdownTable(
        ("what is assumed", *scenarios, "source"),
        rows[False],
        folded=rows[True],
        summary=f"{len(rows[True])} more that they have in common",
    )


def option_table(policies: Mapping[str, Policy], *, described: bool = True) -> MarkdownTable:
    """One row for each setting in which the policies differ, and its values.

    Args:
        policies: what is compared, by name.
        described: whether each setting is introduced by what it does.
    """
    documented = {each.name: each.doc for each in settings_table()}
    rows = []
    for each in fields(Policy):
        values = [getattr(policy, each.name) for policy in policies.values()]
        if any(value != values[0] for value in values):
            what = f"{documented[each.name]} " if described else ""
            rows.append((f"{what}`{each.name}`", *map(_value, values)))
    return MarkdownTable(("setting", *policies), rows)


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


def agreement_table(columns: Mapping[str, Sequence[Check]]) -> MarkdownTable:
    """One row for each figure, one column for each scenario: simulated → real, same seed.

    What is judged and does not agree is in bold.
    """
    names = dict.fromkeys(check.name for checks in columns.values() for check in checks)
    found = {name: {check.name: check for check in checks} for name, checks in columns.items()}
    rows = []
    for name in names:
        checks = [each.get(name) for each in found.values()]
        rule = next((check.rule for check in checks if check is not None), "")
        rows.append((f"`{name}`", *map(_agreement, checks), rule or "not judged"))
    return MarkdownTable(("figure", *columns, "what agreement means"), rows)


def _agreement(check: Check | None) -> str:
    if check is None:
        return "none"
    paired, real = (
        "none" if math.isnan(value) else _number(value) for value in (check.paired, check.real)
    )
    text = f"{paired} → {real}"
    return text if check.agrees else f"**{text}**"


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
        return ", ".join([str(value["kind"]), *parts] if "kind" in value else parts)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "; ".join(map(_value, value)) or "none"
    return "none" if value is None else str(value)


def _topic(setting: str) -> str:
    return setting.partition(".")[0].partition("[")[0]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
