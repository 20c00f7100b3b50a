"""Heat maps of a sweep: one measure over two settings, or three."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from sim.show.figure_sweep import LOG_FROM, ordered, plain_powers
from sim.show.style import INK, house_style, new_figure
from sim.show.sweep_words import (
    finding_of,
    is_share,
    mean_text,
    measure_label,
    setting_label,
    span_text,
    study_text,
)
from sim.study.grid import label, value_text
from sim.study.intervals import Interval
from sim.study.swept import Sweep

COLOURS = "cividis"
"""Its order is seen by the colour-blind too, and in black and white (Nuñez et al., 2018)."""

PANELS_MAX = 4


@house_style
def sweep_heat_map(
    sweep: Sweep,
    measure: str,
    *,
    columns: str | None = None,
    rows: str | None = None,
    finding: str | None = None,
) -> Figure:
    """Draw one measure over two settings: a cell for each point, with its mean and interval.

    A third setting, if there is one, has a panel for each of its values.

    Args:
        sweep: of two or three settings.
        measure: which figure.
        columns: the setting along the bottom; `None` for the first one that `rows` is not.
        rows: the setting along the side; `None` for the next one.
        finding: what the figure shows, in one sentence; `None` for what `finding_of` says.

    Raises:
        ValueError: there are fewer than two settings or more than three, more than `PANELS_MAX`
            panels, or no such setting.
    """
    across, up, third = _axes_of(sweep, columns, rows)
    panels = [{third: value} for value in sweep.settings[third]] if third else [{}]
    if len(panels) > PANELS_MAX:
        raise ValueError(f"{third} has {len(panels)} values; a heat map has {PANELS_MAX} panels")
    tall = 0.62 * len(sweep.settings[up])
    figure, drawn = new_figure(
        rows=len(panels),
        height_in=1.7 + len(panels) * (0.75 + max(1.2, tall)),
        finding=finding or finding_of(sweep, measure),
        note=study_text(sweep) + ". In each cell: the mean and below it its 95% interval.",
    )
    intervals = {label(point): sweep.interval(point, measure) for point in sweep.points}
    norm = _scale([each.mean for each in intervals.values()])
    for axes, fixed in zip(drawn, panels, strict=True):
        grid = [
            [
                intervals[label(ordered(sweep, {**fixed, across: x, up: y}))]
                for x in sweep.settings[across]
            ]
            for y in sweep.settings[up]
        ]
        _draw_cells(axes, grid, measure, norm)
        _name_cells(axes, sweep, across, up)
        if third:
            axes.set_title(label(fixed), fontsize=10.5)
    if norm.vmin != norm.vmax:
        colours = mpl.cm.ScalarMappable(norm, COLOURS)
        bar = figure.colorbar(colours, ax=drawn, label=measure_label(measure), pad=0.02)
        bar.outline.set_visible(False)
        if isinstance(norm, LogNorm):
            plain_powers(bar.ax.yaxis)
    return figure


def _axes_of(sweep: Sweep, columns: str | None, rows: str | None) -> tuple[str, str, str | None]:
    names = list(sweep.settings)
    for name in (columns, rows):
        if name is not None and name not in names:
            raise ValueError(f"{name} was not swept; what was: {', '.join(names)}")
    if not 2 <= len(names) <= 3:
        raise ValueError(f"a heat map shows two settings or three, not {len(names)}")
    across = columns or next(name for name in names if name != rows)
    up = rows or next(name for name in names if name != across)
    third = next((name for name in names if name not in (across, up)), None)
    return across, up, third


def _scale(means: Sequence[float]) -> Normalize:
    known = [mean for mean in means if not math.isnan(mean)] or [0.0]
    least, most = min(known), max(known)
    if least > 0 and most > LOG_FROM * least:
        return LogNorm(least, most)
    return Normalize(least, most)


def _draw_cells(
    axes: Axes, grid: Sequence[Sequence[Interval]], measure: str, norm: Normalize
) -> None:
    means = np.array([[each.mean for each in row] for row in grid])
    axes.imshow(means, cmap=COLOURS, norm=norm, aspect="auto", origin="lower")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    for (up, across), mean in np.ndenumerate(means):
        each = grid[up][across]
        dark = not math.isnan(mean) and float(norm(mean)) < 0.55
        axes.annotate(
            mean_text(measure, each), (across, up), (0, 5), textcoords="offset points",
            ha="center", va="center", color="white" if dark else INK, fontsize=10.5,
            fontweight="bold",
        )  # fmt: skip
        axes.annotate(
            _interval_text(measure, each), (across, up), (0, -9), textcoords="offset points",
            ha="center", va="center", color="white" if dark else INK, fontsize=8.5,
        )  # fmt: skip


def _interval_text(measure: str, interval: Interval) -> str:
    if is_share(measure) and interval.mean == 1.0:
        return "no failure"
    return span_text(measure, interval)


def _name_cells(axes: Axes, sweep: Sweep, across: str, up: str) -> None:
    for name, ticks in ((across, axes.set_xticks), (up, axes.set_yticks)):
        values = sweep.settings[name]
        ticks(range(len(values)), [value_text(value) for value in values])
    axes.set_xlabel(setting_label(across))
    axes.set_ylabel(setting_label(up))
