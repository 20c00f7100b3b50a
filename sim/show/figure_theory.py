"""Figures of theory against simulation, of the warm-up, and of the number of replications."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullLocator,
    PercentFormatter,
)

from sim.history import Floats
from sim.show.style import (
    BLUE,
    FAINT,
    THEORY,
    THEORY_LINE,
    colour,
    cycle,
    duration,
    house_style,
    new_figure,
    spread_out,
    time_unit,
)
from sim.study.experiment import Experiment
from sim.study.validation import Form, Point
from sim.study.warmup import WarmUp, moving_average

_LINE_POINTS = 17


@house_style
def theory_against_simulation(
    forms: Mapping[str, Form],
    points: Mapping[str, Sequence[Point]],
    *,
    replications: int,
    seed: int,
    finding: str = "Closed forms and what the simulation gives",
) -> Figure:
    """Draw a panel for each form: theory as a line, simulated points with their intervals.

    Args:
        forms: by name, at least one.
        points: what `validate` returned for them.
        replications: runs of each point,
        seed: and the seed of the study, for the note.
        finding: what the figure shows, in one sentence.
    """
    rows = math.ceil(len(forms) / 2)
    figure, panels = new_figure(
        rows=rows,
        columns=2,
        height_in=0.9 + 3.0 * rows,
        finding=finding,
        note=f"Dashed: theory. Points: {replications} replications each, seed {seed}; "
        "bars: 95% intervals, hidden by the point where they are shorter.",
    )
    for axes, (name, form) in zip(panels, forms.items(), strict=False):
        _panel(axes, form, points[name])
    for axes in panels[len(forms) :]:
        axes.set_visible(False)
    return figure


def _panel(axes: Axes, form: Form, points: Sequence[Point]) -> None:
    axes.set_xscale("log")
    for number, series in enumerate(form.series):
        line = _line_xs(form)
        expected = np.array([form.case(series, x).expected for x in line.tolist()])
        axes.plot(line, np.where(expected > 0, expected, np.nan), **THEORY_LINE)
        own = [point for point in points if point.series == series]
        means = np.array([point.simulated.mean for point in own])
        ends = np.array([(point.simulated.low, point.simulated.high) for point in own])
        if form.log_y:
            # Where the axis has no room for zero, a bar ends at a tenth of its mean.
            ends[:, 0] = np.maximum(ends[:, 0], means / 10)
        bars = np.abs(ends - means[:, None]).T
        # A little apart, or the bars of one series would hide those of another.
        aside = 1.03 ** (number - (len(form.series) - 1) / 2)
        axes.errorbar(
            [point.x * aside for point in own], means, yerr=bars, fmt="o", color=cycle(number),
            markersize=5.5, elinewidth=2.2, label=series,
        )  # fmt: skip
    if form.log_y:
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        if high < 20 * low:
            axes.set_ylim(low / 1.5, high * 1.5)
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 200 * low else (1,)))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(bottom=0.0)
        axes.margins(y=0.12)
    is_share = "share" in form.y_label
    axes.yaxis.set_major_formatter(FuncFormatter(_percent if is_share else lambda y, _: f"{y:g}"))
    axes.set_xticks(form.xs, [f"{x:g}" for x in form.xs])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_title(form.title, fontsize=10.5)
    axes.set_xlabel(form.x_label)
    axes.set_ylabel(form.y_label)
    if len(form.series) > 1:
        axes.legend(loc="best", fontsize=9.5, frameon=True, framealpha=0.8, edgecolor="none")


def _percent(share: float, _: object = None) -> str:
    return f"{100 * share:.3g}%"


def _line_xs(form: Form) -> Floats:
    first, last = min(form.xs), max(form.xs)
    if form.whole:
        return np.arange(first, last + 1, dtype=float)
    return np.geomspace(first, last, _LINE_POINTS)


@house_style
def warm_up_by_state(
    series: Floats,
    verdict: WarmUp,
    *,
    bin_s: float,
    state: str,
    finding: str = "A state of the service from the start of the run on",
) -> Figure:
    """Draw a state averaged over replications, its moving average, and what is left out of it.

    Args:
        series: from `sim.study.warmup.binned`, a row for each replication.
        verdict: what MSER-5 says of it.
        bin_s: the width of the bins.
        state: what it is, with its unit, for the axis.
        finding: what the figure shows, in one sentence.
    """
    figure, (axes,) = new_figure(
        height_in=3.7,
        finding=finding,
        note=f"Mean of {len(series)} replications in bins of {duration(bin_s)}; thick: Welch's "
        "moving average. Shaded: what is left out.",
    )
    mean = series.mean(axis=0)
    unit_s, unit = time_unit(bin_s * len(mean))
    middles = (np.arange(len(mean)) + 0.5) * bin_s / unit_s
    smooth = moving_average(mean, window=min(10, len(mean) // 4))
    axes.plot(middles, mean, color=BLUE, linewidth=0.9, alpha=0.6)
    axes.plot(middles[: len(smooth)], smooth, color=BLUE, linewidth=2.2)
    axes.axvspan(0, verdict.warmup_s / unit_s, color=FAINT, alpha=0.6, linewidth=0)
    if verdict.converged:
        axes.axvline(verdict.suggested_s / unit_s, **THEORY_LINE)
        axes.annotate(
            f"MSER-5: at least {duration(verdict.suggested_s)}",
            (verdict.suggested_s / unit_s, 0.5), (8, 0), xycoords=("data", "axes fraction"),
            textcoords="offset points", color=THEORY, fontsize=10,
        )  # fmt: skip
    axes.set_xlim(0, bin_s * len(mean) / unit_s)
    axes.set_xlabel(f"time in the run, {unit}")
    axes.set_ylabel(state)
    return figure


@house_style
def replications_needed(
    study: Experiment,
    measure: str,
    coverage: Mapping[str, Mapping[int, float]],
    *,
    finding: str = "How narrow an interval is, and how often it holds, by replications",
) -> Figure:
    """Draw the half-width of intervals, and how often they cover a truth that is known.

    On the left the half-width after so many replications, and the line that falls with the root of
    their number; on the right the coverage, and the 95% that are promised.

    Args:
        study: of one or more policies, each with at least 4 replications.
        measure: by its name in `MEASURES`.
        coverage: for each kind of interval the share of studies in which it covers the truth, by
            the replications of a study.
        finding: what the figure shows, in one sentence.
    """
    figure, (left, right) = new_figure(
        columns=2, height_in=3.9, finding=finding,
        note=f"Left: {study.replications} replications, seed {study.seed}, scenario "
        f"{study.scenario.name}, and the first of them; dashed: the last width by the root law. "
        "Right: made-up studies whose truth is known; dashed: what is promised.",
    )  # fmt: skip
    spread_out(figure)
    counts = np.arange(3, study.replications + 1)
    for policy in study.policies:
        widths = [study.first(n).interval(policy, measure).half_width for n in counts.tolist()]
        left.plot(counts, widths, color=colour(policy, list(study.policies)), label=policy)
        left.plot(counts, widths[-1] * np.sqrt(counts[-1] / counts), **THEORY_LINE)
    left.set_yscale("log")
    left.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    left.yaxis.set_major_formatter(FuncFormatter(_percent))
    left.yaxis.set_minor_locator(NullLocator())
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.set_xlabel("replications")
    left.set_ylabel(f"half-width of the {measure}")
    left.legend(loc="best")
    for number, (name, shares) in enumerate(coverage.items()):
        right.plot(list(shares), list(shares.values()), "o-", color=cycle(number), label=name)
        right.set_xscale("log")
        right.set_xticks(list(shares), [f"{count}" for count in shares])
    right.axhline(0.95, **THEORY_LINE)
    right.xaxis.set_minor_locator(NullLocator())
    right.set_ylim(0.7, 1.01)
    right.yaxis.set_major_formatter(PercentFormatter(1))
    right.set_xlabel("replications")
    right.set_ylabel("intervals that cover the truth")
    right.legend(loc="lower right")
    return figure
