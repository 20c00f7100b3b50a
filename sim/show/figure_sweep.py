"""Figures of a sweep: curves by a setting, and what one measure costs in another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from sim.history import Floats
from sim.show.style import INK, QUIET, cycle, house_style, new_figure, spread_out
from sim.show.sweep_words import (
    finding_of,
    is_share,
    measure_label,
    setting_label,
    study_text,
)
from sim.study.grid import value_text
from sim.study.intervals import Interval
from sim.study.swept import Sweep

LINES_MAX = 7
"""More lines than this cannot be told apart by their colour."""

LOG_FROM = 30.0
"""A measure whose largest value is so many times its smallest is drawn by powers of ten."""


@house_style
def sweep_curve(
    sweep: Sweep,
    measures: Sequence[str],
    *,
    along: str | None = None,
    finding: str | None = None,
) -> Figure:
    """Draw measures against one setting, with bands, a line for each combination of the others.

    Args:
        sweep: of one setting or more.
        measures: one panel for each, at most three.
        along: the setting along the bottom; `None` for the first.
        finding: what the figure shows, in one sentence; `None` for what `finding_of` says of the
            first measure.

    Raises:
        ValueError: there would be more than `LINES_MAX` lines.
    """
    along = along or next(iter(sweep.settings))
    lines = _lines(sweep, along)
    figure, panels = new_figure(
        columns=len(measures),
        height_in=4.2,
        finding=finding or finding_of(sweep, measures[0]),
        note=study_text(sweep) + "; bands: 95% intervals.",
    )
    spread_out(figure)
    places, names = _places(sweep.settings[along])
    for axes, measure in zip(panels, measures, strict=True):
        for number, fixed in enumerate(lines):
            points = [ordered(sweep, {**fixed, along: x}) for x in sweep.settings[along]]
            found = [sweep.interval(point, measure) for point in points]
            hue = cycle(number)
            low, high = ([getattr(each, end) for each in found] for end in ("low", "high"))
            axes.fill_between(places, low, high, color=hue, alpha=0.18, linewidth=0)
            mean = [each.mean for each in found]
            axes.plot(places, mean, "o-", color=hue, label=_line_name(fixed), markersize=6)
        _measure_axis(axes, measure, [sweep.interval(point, measure) for point in sweep.points])
        axes.set_xticks(places, names)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel(setting_label(along))
        axes.set_title(measure_label(measure), fontsize=10.5)
    _legend(panels[0], lines)
    return figure


@house_style
def sweep_trade_off(
    sweep: Sweep,
    across: str,
    up: str,
    *,
    along: str | None = None,
    finding: str | None = None,
) -> Figure:
    """Draw one measure against another: what a setting buys, and what it costs.

    Each point has both its intervals. Points that differ in one setting only are joined.

    Args:
        sweep: of one setting or more.
        across: the measure along the bottom.
        up: the measure along the side.
        along: the setting along a line, whose values stand at its points; `None` for the first.
        finding: what the figure shows, in one sentence; `None` for a plain name.

    Raises:
        ValueError: there would be more than `LINES_MAX` lines.
    """
    along = along or next(iter(sweep.settings))
    lines = _lines(sweep, along)
    figure, (axes,) = new_figure(
        height_in=4.8,
        finding=finding or f"{measure_label(up)} against {measure_label(across)}, by {along}",
        note=study_text(sweep) + f"; bars: 95% intervals. At the points: {along}.",
    )
    for number, fixed in enumerate(lines):
        points = [ordered(sweep, {**fixed, along: value}) for value in sweep.settings[along]]
        xs, ys = ([sweep.interval(point, name) for point in points] for name in (across, up))
        hue = cycle(number)
        axes.errorbar(
            [x.mean for x in xs], [y.mean for y in ys], _bars(ys), _bars(xs), fmt="o-",
            color=hue, ecolor=(hue, 0.4), elinewidth=3, markersize=6, linewidth=1.2,
            label=_line_name(fixed),
        )  # fmt: skip
        names = [value_text(value) for value in sweep.settings[along]]
        for (x_mean, y_mean), text in _labels(xs, ys, names):
            axes.annotate(
                text, (x_mean, y_mean), (6, 6), textcoords="offset points", color=hue, fontsize=10
            )
    for name, axis in ((across, "x"), (up, "y")):
        found = [sweep.interval(point, name) for point in sweep.points]
        _measure_axis(axes, name, found, axis=axis)
    axes.set_xlabel(measure_label(across))
    axes.set_ylabel(measure_label(up))
    _legend(axes, lines)
    return figure


def ordered(sweep: Sweep, point: Mapping[str, Any]) -> dict[str, Any]:
    """A point with its settings in the order of the sweep."""
    return {name: point[name] for name in sweep.settings}


def _lines(sweep: Sweep, along: str) -> list[dict[str, Any]]:
    """The combinations of the other settings; one empty one if there is no other."""
    others = {name: values for name, values in sweep.settings.items() if name != along}
    lines = [dict(zip(others, values, strict=True)) for values in product(*others.values())]
    if len(lines) > LINES_MAX:
        raise ValueError(f"{len(lines)} lines cannot be told apart; the most is {LINES_MAX}")
    return lines


def _line_name(fixed: Mapping[str, Any]) -> str:
    """A line by the values of the other settings; the legend's title has their names."""
    return ", ".join(value_text(value) for value in fixed.values())


def _legend(axes: Axes, lines: Sequence[Mapping[str, Any]]) -> None:
    if len(lines) > 1:
        axes.legend(
            title=",\n".join(setting_label(name) for name in lines[0]), title_fontsize=9.5,
            frameon=True, framealpha=0.85, edgecolor="none",
        )  # fmt: skip


def _places(values: Sequence[Any]) -> tuple[Floats, list[str]]:
    """Where the values of a setting lie along an axis: at equal steps, and what they are called.

    Values of a sweep are chosen, by powers as a rule; equal steps show each as well as the others,
    and `none` and words have a place too.
    """
    return np.arange(len(values), dtype=float), [value_text(value) for value in values]


def _labels(
    xs: Sequence[Interval], ys: Sequence[Interval], names: Sequence[str]
) -> list[tuple[tuple[float, float], str]]:
    """What stands at the points of a line; neighbours in the same place share one label."""
    runs: list[tuple[tuple[float, float], list[str]]] = []
    for x, y, name in zip(xs, ys, names, strict=True):
        place = (x.mean, y.mean)
        if runs and np.allclose(runs[-1][0], place, rtol=0.02):
            runs[-1][1].append(name)
        else:
            runs.append((place, [name]))
    return [(place, f"{n[0]} … {n[-1]}" if len(n) > 1 else n[0]) for place, n in runs]


def _bars(intervals: Sequence[Interval]) -> Floats:
    """The lengths of error bars below and above the means, as two rows; zero for no interval."""
    below = [each.mean - each.low for each in intervals]
    above = [each.high - each.mean for each in intervals]
    bars: Floats = np.maximum(0.0, np.nan_to_num(np.array([below, above])))
    return bars


def _measure_axis(
    axes: Axes, measure: str, intervals: Sequence[Interval], *, axis: str = "y"
) -> None:
    """Choose powers of ten where values are far apart; plain numbers in either case."""
    means = [each.mean for each in intervals if not math.isnan(each.mean)]
    target = axes.yaxis if axis == "y" else axes.xaxis
    if means and min(means) > 0 and max(means) > LOG_FROM * min(means):
        (axes.set_yscale if axis == "y" else axes.set_xscale)("log")
        plain_powers(target)
    elif is_share(measure):
        target.get_major_formatter().set_useOffset(False)  # type: ignore[attr-defined]
        target.set_tick_params(labelcolor=INK, color=QUIET)


def plain_powers(axis: Axis) -> None:
    """Number an axis of powers of ten with plain numbers, several for each power."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
