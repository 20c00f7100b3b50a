"""Figures of a tuning: the Pareto front with its intervals, and which setting matters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from sim.history import Floats
from sim.show.figure_sweep import LOG_FROM
from sim.show.style import BLUE, FAINT, INK, QUIET, VERMILLION, house_style, new_figure
from sim.show.sweep_words import mean_text, measure_label
from sim.show.tables import number
from sim.study.grid import value_text
from sim.study.intervals import Interval
from sim.study.tune.search import BASE
from sim.study.tune.sensitivity import Effect
from sim.study.tune.space import value_in
from sim.study.tune.tuning import Tuning


@dataclass(frozen=True, slots=True)
class _Marker:
    """How a policy is drawn."""

    colour: str
    shape: str
    size: float
    on_top: int


_BASE = _Marker(QUIET, "s", 8, 3)
_ON_FRONT = _Marker(BLUE, "o", 7, 4)
_RECOMMENDED = _Marker(VERMILLION, "D", 10, 5)


@house_style
def pareto_front(
    tuning: Tuning, *, label_by: str | None = None, finding: str | None = None
) -> Figure:
    """Draw the first two objectives against each other: the front, and what is recommended.

    All points are on fresh seeds with both intervals; the trials of the search that were not
    stopped are faint dots behind, by their means on the seed of the search.

    Args:
        tuning: with two objectives at least.
        label_by: a searched setting whose value stands at each point; `None` for none.
        finding: what the figure shows, in one sentence; `None` for a plain one.

    Raises:
        ValueError: there is one objective, and so no front.
    """
    if len(tuning.goals.objectives) < 2:
        raise ValueError("a front needs two objectives; with one there is a best policy")
    across, up = (each.measure for each in tuning.goals.objectives[:2])
    named = f" At the points: {label_by}." if label_by else ""
    figure, (axes,) = new_figure(
        height_in=5.0,
        finding=finding or f"{measure_label(up)} against {measure_label(across)}: what can be had",
        note=f"{_study_text(tuning)}; bars: 95% intervals. Faint: the trials of the search, by "
        f"their means on seed {tuning.seed}.{named}",
    )
    trials = tuning.searched.study
    axes.plot(
        [trials.interval(name, across).mean for name in trials.policies],
        [trials.interval(name, up).mean for name in trials.policies],
        "o", color=QUIET, alpha=0.4, markersize=5, markeredgewidth=0, zorder=2, label="trials",
    )  # fmt: skip
    names = dict.fromkeys([BASE, *tuning.front, tuning.recommended])
    shown = {}
    for name in names:
        x, y = (tuning.fresh.interval(name, each) for each in (across, up))
        shown[name] = (x, y)
        _draw_point(axes, x, y, *_marker(tuning, name))
    if label_by is not None:
        _label_points(axes, tuning, shown, label_by)
    for measure, axis in ((across, "x"), (up, "y")):
        place = 0 if axis == "x" else 1
        means = [trials.interval(name, measure).mean for name in trials.policies]
        _scale(axes, axis, [*means, *(each[place].mean for each in shown.values())])
        _draw_bound(axes, axis, tuning, measure)
    axes.set_xlabel(measure_label(across))
    axes.set_ylabel(measure_label(up))
    axes.legend()
    return figure


@house_style
def sensitivity_tornado(tuning: Tuning, measure: str, *, finding: str | None = None) -> Figure:
    """Draw what moving each setting does to one measure: the settings that matter on top.

    Args:
        tuning: with the effects of the measure.
        measure: an objective, or the measure of a constraint.
        finding: what the figure shows, in one sentence; `None` to name the setting that matters
            most, if any is seen to.

    Raises:
        ValueError: the measure is not among the effects.
    """
    rows = [each for each in tuning.effects if each.measure == measure]
    if not rows:
        raise ValueError(f"{measure} is neither an objective nor in a constraint of this tuning")
    by_setting = _by_weight(rows)
    figure, (axes,) = new_figure(
        height_in=1.9 + 0.62 * len(by_setting),
        finding=finding or _tornado_finding(measure, rows),
        note=f"{_study_text(tuning)}. One setting at a time is "
        "moved from the recommended policy to either end of its range, on the same seeds; bars: "
        "95% intervals that hold together.",
    )
    for place, (_, effects) in enumerate(reversed(by_setting.items())):
        for number_of, each in enumerate(effects):
            _draw_effect(axes, place, number_of, len(effects), each)
    mean = tuning.fresh.interval(tuning.recommended, measure)
    axes.axvline(0.0, color=INK, linewidth=1.0)
    axes.set_yticks(
        range(len(by_setting)),
        [
            f"{name}\nfrom {value_text(each[0].recommended)}"
            for name, each in reversed(by_setting.items())
        ],
    )
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(
        f"change of {measure_label(measure)}, from {mean_text(measure, mean)} as recommended"
    )
    axes.margins(x=0.18)
    return figure


def _marker(tuning: Tuning, name: str) -> tuple[_Marker, str]:
    if name == tuning.recommended:
        return _RECOMMENDED, "recommended" if name != BASE else "recommended: the base policy"
    if name == BASE:
        return _BASE, "base policy"
    plain = [each for each in tuning.front if each not in (BASE, tuning.recommended)]
    return _ON_FRONT, "Pareto front of the search" if name in plain[:1] else ""


def _draw_point(axes: Axes, x: Interval, y: Interval, marker: _Marker, text: str) -> None:
    axes.errorbar(
        [x.mean], [y.mean], _bars(y), _bars(x), fmt=marker.shape, color=marker.colour,
        ecolor=marker.colour, elinewidth=1.2, alpha=0.9, markersize=marker.size,
        zorder=marker.on_top, label=text or None,
    )  # fmt: skip


def _label_points(
    axes: Axes, tuning: Tuning, shown: dict[str, tuple[Interval, Interval]], setting: str
) -> None:
    for name, (x, y) in shown.items():
        text = value_text(value_in(tuning.fresh.policies[name], setting))
        axes.annotate(
            text, (x.mean, y.mean), (7, 6), textcoords="offset points",
            color=_marker(tuning, name)[0].colour, fontsize=10,
        )  # fmt: skip


def _draw_bound(axes: Axes, axis: str, tuning: Tuning, measure: str) -> None:
    """Draw the constraint on a measure that is also an axis."""
    for each in tuning.goals.constraints:
        if each.measure == measure:
            line = axes.axvline if axis == "x" else axes.axhline
            line(each.bound, color=INK, linestyle=(0, (4, 3)), linewidth=1.2, label=str(each))


def _scale(axes: Axes, axis: str, means: Sequence[float]) -> None:
    """Powers of ten where values are far apart; plain numbers in either case."""
    known = [each for each in means if not math.isnan(each)]
    target = axes.xaxis if axis == "x" else axes.yaxis
    if known and min(known) > 0 and max(known) > LOG_FROM * min(known):
        (axes.set_xscale if axis == "x" else axes.set_yscale)("log")
        target.set_minor_locator(NullLocator())
    target.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))


def _bars(interval: Interval) -> Floats:
    below, above = interval.mean - interval.low, interval.high - interval.mean
    bars: Floats = np.maximum(0.0, np.nan_to_num(np.array([[below], [above]])))
    return bars


def _by_weight(rows: Sequence[Effect]) -> dict[str, list[Effect]]:
    """The effects by setting, the strongest first."""
    by_setting: dict[str, list[Effect]] = {}
    for each in rows:
        by_setting.setdefault(each.name, []).append(each)
    weight = {
        name: max(abs(np.nan_to_num(each.difference.mean)) for each in effects)
        for name, effects in by_setting.items()
    }
    return dict(sorted(by_setting.items(), key=lambda item: -weight[item[0]]))


def _draw_effect(axes: Axes, place: int, number_of: int, count: int, effect: Effect) -> None:
    """Draw one bar; those of a setting lie beside each other, and what is not clear is pale."""
    difference, height = effect.difference, 0.74 / count
    if math.isnan(difference.mean):
        return
    middle = place + (number_of - (count - 1) / 2) * height
    clear = difference.excludes_zero()
    axes.barh(
        middle, difference.mean, 0.86 * height, color=BLUE if clear else FAINT,
        xerr=_bars(difference), error_kw={"ecolor": INK, "elinewidth": 1.1, "capsize": 3},
    )  # fmt: skip
    right = difference.mean >= 0
    end = difference.high if right else difference.low
    axes.annotate(
        value_text(effect.value), (end, middle), (5 if right else -5, 0),
        textcoords="offset points", ha="left" if right else "right", va="center",
        color=INK if clear else QUIET, fontsize=9.5,
    )  # fmt: skip


def _tornado_finding(measure: str, rows: Sequence[Effect]) -> str:
    clear = [each for each in rows if each.difference.excludes_zero()]
    if not clear:
        return f"No setting moves {measure_label(measure)} clearly, one at a time"
    most = max(clear, key=lambda each: abs(each.difference.mean))
    change = number(most.difference.mean, signed=True)
    return (
        f"The largest clear effect on {measure_label(measure)}: {change} if {most.name} were "
        f"{value_text(most.value)}"
    )


def _study_text(tuning: Tuning) -> str:
    scenario = tuning.scenario
    return (
        f"{tuning.fresh.replications} replications on fresh seeds (seed {tuning.fresh_seed}), "
        f"scenario {scenario.name}, warm-up of {scenario.warmup_s:g} s not counted"
    )
