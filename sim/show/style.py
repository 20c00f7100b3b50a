"""The house style of figures: made to be read at the width of a page, in three seconds.

The finding stands above, the provenance below: how many replications, which seed, what was left
out. Lines carry their names where there is room; colours can be told apart by the colour-blind.
"""

from __future__ import annotations

import base64
import functools
import io
import re
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from scipy.special import stdtrit

from sim.history import Floats
from sim.run import Result
from sim.world.outages import Outage, OutageMode

P = ParamSpec("P")
T = TypeVar("T")

WIDTH_IN = 8.0
"""The width of every figure: at `DPI` that of a page's text."""

DPI = 100

INK, QUIET, FAINT = "#1b2330", "#5b6675", "#d9dee6"
THEORY = "#5b6675"
OUTAGE = "#e9b44c"
THEORY_LINE: dict[str, Any] = {
    "color": INK,
    "linestyle": (0, (4, 3)),
    "linewidth": 1.3,
    "zorder": 5,
}
"""Theory is drawn thin and on top, so that the line below it is seen to be the same."""

# Okabe and Ito's colours, without the yellow, which is too light for a line.
BLUE, ORANGE, GREEN, PINK, SKY, VERMILLION = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#d55e00",
)
_NAMED = {"default": BLUE, "primary-only": VERMILLION, "cache-first": GREEN}
_OTHERS = (BLUE, VERMILLION, GREEN, PINK, ORANGE, SKY, INK)

# `Any`, because the type of its keys differs between releases of matplotlib.
_STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": QUIET,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 11,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "figure.constrained_layout.use": True,
    "figure.dpi": DPI,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "legend.fontsize": 10.5,
    "legend.frameon": False,
    "lines.linewidth": 2.0,
    "text.color": INK,
    "xtick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.color": QUIET,
    "ytick.labelcolor": INK,
}


class PageFigure(Figure):
    """A figure that a notebook shows at the page's width, sharp on every screen.

    It belongs to no window and to no list of open figures.
    """

    def _repr_mimebundle_(self, **_: object) -> tuple[dict[str, str], dict[str, Any]]:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=2 * DPI)
        width, height = (round(inches * DPI) for inches in self.get_size_inches())
        picture = base64.b64encode(buffer.getvalue()).decode()
        return {"image/png": picture}, {"image/png": {"width": width, "height": height}}


def house_style(draw: Callable[P, T]) -> Callable[P, T]:
    """Make a function draw in the house style, whatever the caller's own settings."""

    @functools.wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> T:
        with mpl.rc_context():
            mpl.rcdefaults()
            mpl.rcParams.update(_STYLE)
            return draw(*args, **kwargs)

    return styled


def new_figure(
    rows: int = 1,
    columns: int = 1,
    *,
    height_in: float,
    finding: str,
    note: str,
    **layout: Any,
) -> tuple[Figure, list[Axes]]:
    """Return a figure and its axes, row by row.

    Args:
        rows: of axes.
        columns: of axes.
        height_in: of the whole figure, in inches.
        finding: what the figure shows, in one sentence.
        note: how its figures came about.
        **layout: more arguments of `Figure.subplots`.
    """
    figure = PageFigure(figsize=(WIDTH_IN, height_in))
    axes = figure.subplots(rows, columns, squeeze=False, **layout)
    # A number and its unit stay in one line.
    title = textwrap.fill(
        re.sub(r"(?<=\d) (?=(s|ms|min|h|days)\b)", "\N{NO-BREAK SPACE}", finding), 74
    )
    figure.suptitle(title, x=0.012, ha="left", fontsize=12.5, fontweight="bold")
    text = textwrap.fill(note, 110, break_on_hyphens=False)
    figure.supxlabel(text, x=0.012, ha="left", fontsize=9.5, color=QUIET)
    return figure, list(axes.flat)


def colour(name: str, others: Sequence[str] = ()) -> str:
    """The colour of a policy: its own if it is a named one, else one that no other of them has."""
    if name in _NAMED:
        return _NAMED[name]
    taken = {_NAMED[other] for other in others if other in _NAMED}
    free = [each for each in _OTHERS if each not in taken]
    unnamed = [other for other in others if other not in _NAMED]
    return free[(unnamed.index(name) if name in unnamed else 0) % len(free)]


def cycle(number: int) -> str:
    """The colour of the line with this number, from 0, where lines are no policies."""
    return _OTHERS[number % len(_OTHERS)]


def spread_out(figure: Figure) -> None:
    """Leave more room between columns, where labels of axes would meet."""
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)
    engine.set(wspace=0.06)


def duration(seconds: float) -> str:
    """A length of time in words of the size that it has: 0.5 s, 90 s, 12 min, 6 h, 30 days."""
    units = {"days": 86400.0, "h": 3600.0, "min": 60.0, "s": 1.0}
    fitting = [name for name, size in units.items() if seconds >= 2 * size or seconds == size]
    unit = fitting[0] if fitting else "s"
    amount = seconds / units[unit]
    text = f"{amount:.0f}" if amount >= 10 else f"{amount:.1f}".removesuffix(".0")
    return f"{text} {'day' if (text, unit) == ('1', 'days') else unit}"


def time_unit(span_s: float) -> tuple[float, str]:
    """The unit in which a span of time makes good ticks: its length in seconds, and its name."""
    for size, name in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if span_s >= 3 * size:
            return size, name
    return 1.0, "seconds"


def label_time_axis(axes: Axes, results: Sequence[Result], unit: str) -> None:
    """Name the axis of time, and say so if the run is shorter than what it stands for."""
    condensed = any(each.timeline.real_duration_s > each.timeline.duration_s for each in results)
    text = f"time in the run, {unit}"
    axes.set_xlabel(text + (", the middles of healthy stretches cut out" if condensed else ""))


def shade_outages(axes: Axes, outages: Sequence[Outage], unit_s: float) -> None:
    """Shade every outage, the deeper the larger the share of calls that fail in it."""
    for outage in outages:
        # Thinner than a line, a span would vanish; its edge keeps a short outage visible.
        axes.axvspan(
            outage.start_s / unit_s,
            outage.end_s / unit_s,
            facecolor=OUTAGE,
            alpha=0.15 + 0.30 * outage.severity,
            edgecolor=OUTAGE,
            linewidth=0.6,
            zorder=0.5,
        )


def outage_word(outages: Sequence[Outage]) -> str:
    """What the shading means."""
    partial = any(each.mode in (OutageMode.ERROR_RATE, OutageMode.SLOW) for each in outages)
    return "shaded: outages" + (", paler where only a part of the calls fails" if partial else "")


def band(values: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean and 95% interval over replications at each point, as three rows.

    Args:
        values: one row for each replication; NaN where it has no value. A point that fewer than
            two replications have gets no interval.
    """
    count = np.sum(~np.isnan(values), axis=0)
    mean, half = np.full(count.shape, np.nan), np.full(count.shape, np.nan)
    some, several = count > 0, count > 1
    mean[some] = np.nanmean(values[:, some], axis=0)
    error = np.nanstd(values[:, several], axis=0, ddof=1) / np.sqrt(count[several])
    half[several] = stdtrit(count[several] - 1, 0.975) * error
    return mean, mean - half, mean + half


def provenance(*groups: Sequence[Result], drawn: str) -> str:
    """How a figure came about, for its last line.

    Args:
        *groups: for each line of the figure the results it was drawn from, one a replication.
        drawn: what the intervals are drawn as, such as "bands".
    """
    first, count = groups[0][0], len(groups[0])
    scenarios = list(dict.fromkeys(group[0].scenario.name for group in groups))
    runs = f"{count} replications" if count > 1 else f"One run, replication {first.replication}"
    text = f"{runs}, seed {first.seed}, scenario {' and '.join(scenarios)}"
    if count == 1:
        return text + "."
    warmup_s = max(group[0].scenario.warmup_s for group in groups)
    return f"{text}, warm-up of {duration(warmup_s)} not counted; {drawn}: 95% intervals."
