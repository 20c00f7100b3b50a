"""Holds the figures of a study against those that were stored, so that none moves unnoticed.

A baseline is a JSON file of means and intervals beside the notebook that checks it. A figure has
*moved* if it lies further from its stored mean than chance explains: further than the half-widths
of both intervals, added as independent errors are, √(old² + new²). A lost key or a wrong answer
where there was none is never chance.

When a move is intended, run the check once with `FTREPO_UPDATE_BASELINES=1`, which rewrites the
stored figures instead, and commit the file on its own with the reason why they moved:

    FTREPO_UPDATE_BASELINES=1 make notebooks                  # the full studies
    FTREPO_UPDATE_BASELINES=1 FTREPO_FAST=1 make notebooks    # the fast ones
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim.study.experiment import Experiment
from sim.study.intervals import Interval

UPDATE_VARIABLE = "FTREPO_UPDATE_BASELINES"

RELATIVE_FLOOR = 1e-3
"""The least tolerance, as a share of the stored mean: an interval without width is no claim to the
last bit, which the mathematics library of another platform may round differently."""

BYTES_FLOOR = 0.10
"""The least tolerance of a figure in bytes. The size of a Python object is the interpreter's
affair: a string of ASCII took 49 bytes and its characters up to Python 3.11, and 41 since 3.12."""

NEVER = ("lost_keys", "expired_pending_keys", "wrong_answers")
"""What has moved as soon as there is one where none was: the seeds are the same, so it is no chance
that it happens now, however wide the interval of a few events is."""

DIGITS = 6
"""Significant digits that are stored."""

SHOWN = 5
"""How many figures a notebook shows of those that changed within their tolerance."""

Figures = Experiment | Mapping[str, Mapping[str, Interval]]
"""An experiment with all its measures, or any figures: policy → name → interval."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure against its stored self.

    Attributes:
        name: the policy and the figure.
        old: the stored interval; `None` if the baseline lacks it.
        new: the interval now; `None` if the study lacks it.
        tolerance: how far the mean may lie from the stored one.
    """

    name: str
    old: Interval | None
    new: Interval | None
    tolerance: float

    @property
    def change(self) -> float:
        """The mean now minus the stored one; NaN if either is lacking."""
        if self.old is None or self.new is None:
            return math.nan
        return self.new.mean - self.old.mean

    @property
    def moved(self) -> bool:
        """Whether the figure left its tolerance, appeared or disappeared."""
        if self.old is None or self.new is None:
            return True
        if math.isnan(self.old.mean) or math.isnan(self.new.mean):
            return math.isnan(self.old.mean) != math.isnan(self.new.mean)
        return abs(self.change) > self.tolerance

    def __str__(self) -> str:
        if self.old is None:
            return f"{self.name}: is {_text(self.new)}, and the baseline does not have it"
        if self.new is None:
            return f"{self.name}: was {_text(self.old)}, and the study does not have it any more"
        return (
            f"{self.name}: was {_text(self.old)}, is {_text(self.new)}: "
            f"moved by {self.change:+.3g}, tolerance {self.tolerance:.3g}"
        )


@dataclass(frozen=True, slots=True, repr=False)
class Comparisons:
    """Every figure of a study against its baseline; shown by those that moved most.

    Attributes:
        key: the part of the baseline.
        rows: one for each figure.
    """

    key: str
    rows: tuple[Comparison, ...]

    @property
    def moved(self) -> list[Comparison]:
        """The figures that left their tolerance."""
        return [each for each in self.rows if each.moved]

    def __repr__(self) -> str:
        return self._repr_markdown_()

    def _repr_markdown_(self) -> str:
        count = len(self.rows) - len(self.moved)
        text = f"{count} of {len(self.rows)} figures are within tolerance of baseline `{self.key}`"
        shifted = [each for each in self.rows if each.tolerance > 0 and abs(each.change) > 0]
        shifted.sort(key=lambda each: abs(each.change) / each.tolerance, reverse=True)
        if not shifted:
            return f"{text}, none of them changed at all."
        lines = ["| figure | stored | now | tolerance |", "| --- | --- | --- | --- |"]
        for each in shifted[:SHOWN]:
            cells = (each.name, _text(each.old), _text(each.new), f"{each.tolerance:.3g}")
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join([f"{text}. Closest to their tolerance:", "", *lines])


def check_baseline(figures: Figures, path: str | Path, *, key: str) -> Comparisons:
    """Compare every figure with the stored one, and fail if any has moved.

    With the environment variable `FTREPO_UPDATE_BASELINES` set to 1, the stored figures under
    this key are replaced and nothing is compared.

    Args:
        figures: what the study found.
        path: the JSON file of the baseline.
        key: the part of the file that this study is held against, such as "fast/default".

    Returns:
        What was compared, none of which moved.

    Raises:
        AssertionError: a figure moved, appeared or disappeared, or there is no such baseline. Names
            each, by how much it moved, and what to do if that is intended.
    """
    path = Path(path)
    new = _flat(figures)
    if os.environ.get(UPDATE_VARIABLE) == "1":
        _store(path, key, new)
    stored = _read(path).get(key)
    if stored is None:
        raise AssertionError(f"{path} has no baseline {key!r}. {_ADVICE}")
    old = {name: _interval(row) for name, row in stored.items()}
    # Rounded alike, so that what did not change is seen not to have changed.
    new = {name: _interval(_row(each)) for name, each in new.items()}
    names = dict.fromkeys([*old, *new])
    compared = Comparisons(
        key, tuple(_compare(name, old.get(name), new.get(name)) for name in names)
    )
    if moved := compared.moved:
        told = "\n".join(f"  {each}" for each in moved)
        raise AssertionError(
            f"{len(moved)} of {len(compared.rows)} figures moved from the baseline {key!r} "
            f"in {path}:\n{told}\n{_ADVICE}"
        )
    return compared


def check_stated(stated: Sequence[tuple[str, float]]) -> None:
    """Check that numbers typed into a text are those of the study, to the digits that are typed.

    Args:
        stated: a number as it stands in the text, such as "1.9%", "0.2" or "10,000", and its value.

    Raises:
        AssertionError: a value rounds to something else. Names each.
    """
    wrong = [
        f"  stated is {text}, found is {found}"
        for text, value in stated
        if (found := _like(text, value)) != text
    ]
    if wrong:
        raise AssertionError("the text does not say what the study found:\n" + "\n".join(wrong))


def _like(text: str, value: float) -> str:
    """Write a value with as many decimals as a text has."""
    number = text.removesuffix("%")
    percent = number != text
    decimals = len(number.partition(".")[2])
    written = f"{100 * value if percent else value:,.{decimals}f}"
    return written + ("%" if percent else "")


_ADVICE = (
    f"If that is intended, run the notebooks once with {UPDATE_VARIABLE}=1, in full and with "
    "FTREPO_FAST=1, and commit the baselines on their own, saying why they moved."
)


def _flat(figures: Figures) -> dict[str, Interval]:
    if isinstance(figures, Experiment):
        figures = {policy: figures.intervals(policy) for policy in figures.policies}
    return {
        f"{policy}: {name}": interval
        for policy, intervals in figures.items()
        for name, interval in intervals.items()
    }


def _compare(name: str, old: Interval | None, new: Interval | None) -> Comparison:
    if old is None or new is None:
        return Comparison(name, old, new, 0.0)
    if old.mean == 0 and name.endswith(NEVER):
        return Comparison(name, old, new, 0.0)
    # A single replication has no interval: its half-width is NaN.
    widths = [each.half_width for each in (old, new) if not math.isnan(each.half_width)]
    share = BYTES_FLOOR if "bytes" in name else RELATIVE_FLOOR
    floor = 0.0 if math.isnan(old.mean) else share * abs(old.mean)
    return Comparison(name, old, new, max(math.hypot(*widths), floor))


def _read(path: Path) -> dict[str, dict[str, dict[str, Any]]]:
    if not path.exists():
        return {}
    content: dict[str, dict[str, dict[str, Any]]] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _store(path: Path, key: str, figures: Mapping[str, Interval]) -> None:
    """Write one line for each figure, so that a difference between versions can be read."""
    content = {**_read(path), key: {name: _row(each) for name, each in figures.items()}}
    parts = []
    for name, rows in sorted(content.items()):
        lines = [f"    {json.dumps(row)}: {json.dumps(rows[row], allow_nan=False)}" for row in rows]
        parts.append(f"  {json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n  }")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def _row(interval: Interval) -> dict[str, float | int | None]:
    ends = {"mean": interval.mean, "low": interval.low, "high": interval.high}
    rounded = {
        name: None if math.isnan(end) else float(f"{end:.{DIGITS}g}") for name, end in ends.items()
    }
    return {**rounded, "replications": interval.replications}


def _interval(row: Mapping[str, Any]) -> Interval:
    def end(name: str) -> float:
        return math.nan if row[name] is None else float(row[name])

    return Interval(end("mean"), end("low"), end("high"), int(row["replications"]))


def _text(interval: Interval | None) -> str:
    if interval is None:
        return "lacking"
    if math.isnan(interval.mean):
        return "none"
    return f"{interval.mean:.6g} ± {interval.half_width:.3g}"
