"""The figure that draws simulation and reality over each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from sim.history import Floats, GetOutcome
from sim.run import Result
from sim.show.style import (
    BLUE,
    FAINT,
    VERMILLION,
    house_style,
    new_figure,
    shade_outages,
    spread_out,
)
from sim.study.growth import state_at

WINDOW_S = 1.0
"""Availability is drawn by windows of a second: so short a run has no room for longer ones."""

_POINTS = 400
_LATENCIES_MS = (0.1, 10, 1000)


@house_style
def simulation_against_reality(
    runs: Mapping[str, tuple[Sequence[Result], Result]],
    *,
    finding: str = "The simulation and a real PostgreSQL, on the same outages and requests",
) -> Figure:
    """Draw one row for each scenario: availability and backlog over time, latencies of `get`.

    Bands are the simulation's: from the least to the greatest of its replications, of which a real
    run is one more. The line within is the replication that has the real run's arrivals and keys.

    Args:
        runs: by the name of a row, the simulated results, the paired one first, and the real one.
        finding: what the figure shows, in one sentence.
    """
    (simulated, _), *_ = runs.values()
    note = (
        f"Lines: one run, seed {simulated[0].seed}, simulated and real. Bands: {len(simulated)} "
        f"simulated replications, least to greatest. Shaded: outages. Windows of {WINDOW_S:g} s."
    )
    figure, panels = new_figure(
        rows=len(runs),
        columns=3,
        height_in=1.7 + 1.9 * len(runs),
        finding=finding,
        note=note,
        sharex="col",
        width_ratios=[3, 3, 2],
    )
    spread_out(figure)
    for row, (name, (simulated, real)) in enumerate(runs.items()):
        availability, age, latency = panels[3 * row : 3 * row + 3]
        _draw_availability(availability, simulated, real)
        _draw_age(age, simulated, real)
        _draw_latency(latency, simulated, real)
        availability.set_title(name)
    panels[1].legend(loc="upper left")
    for column, label in enumerate(("time, seconds", "time, seconds", "get latency, ms (log)")):
        panels[len(panels) - 3 + column].set_xlabel(label)
    for column, title in enumerate(("right answers", "oldest pending, s", "calls answered")):
        for axes in panels[column::3]:
            axes.set_ylabel(title)
    return figure


def _draw_availability(axes: Axes, simulated: Sequence[Result], real: Result) -> None:
    edges_s = np.arange(0.0, real.timeline.duration_s + WINDOW_S, WINDOW_S)
    rows = np.array([_right_share(each, edges_s) for each in simulated])
    _draw(axes, edges_s[:-1], rows, _right_share(real, edges_s), steps=True)
    shade_outages(axes, real.timeline.outages, 1.0)
    axes.set_ylim(-0.04, 1.08)
    axes.set_yticks([0, 0.5, 1])
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlim(0, real.timeline.duration_s)


def _right_share(result: Result, edges_s: Floats) -> Floats:
    gets = result.history.gets
    asked, _ = np.histogram(gets.at_s[gets.eligible], edges_s)
    right, _ = np.histogram(gets.at_s[gets.eligible & (gets.outcome == GetOutcome.RIGHT)], edges_s)
    share: Floats = np.divide(right, asked, out=np.full(len(asked), np.nan), where=asked > 0)
    return share


def _draw_age(axes: Axes, simulated: Sequence[Result], real: Result) -> None:
    moments_s = np.linspace(0, real.timeline.duration_s, _POINTS)
    rows = np.array([_age(each, moments_s) for each in simulated])
    _draw(axes, moments_s, rows, _age(real, moments_s))
    shade_outages(axes, real.timeline.outages, 1.0)
    axes.set_ylim(0, 1.25 * max(1.0, float(rows.max())))
    axes.set_xlim(0, real.timeline.duration_s)


def _age(result: Result, moments_s: Floats) -> Floats:
    return state_at(result.history, "oldest_pending_age_s", moments_s)


def _draw_latency(axes: Axes, simulated: Sequence[Result], real: Result) -> None:
    grid_s = np.geomspace(1e-4, 1.2, _POINTS)
    rows = np.array([_answered(each, grid_s) for each in simulated])
    _draw(axes, 1000 * grid_s, rows, _answered(real, grid_s))
    axes.set_xscale("log")
    axes.set_xticks(_LATENCIES_MS)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.minorticks_off()
    axes.set_ylim(0, 1.04)
    axes.yaxis.set_major_formatter(PercentFormatter(1))


def _answered(result: Result, grid_s: Floats) -> Floats:
    latency_s = np.sort(result.history.gets.latency_s)
    share: Floats = np.searchsorted(latency_s, grid_s, side="right") / len(latency_s)
    return share


def _draw(axes: Axes, x: Floats, rows: Floats, real: Floats, *, steps: bool = False) -> None:
    """Draw a band from the least to the greatest row, the first row, and reality on top."""
    style = "steps-post" if steps else "default"
    step = "post" if steps else None
    # `fmin` and `fmax` pass over NaN: windows in which nobody asked.
    low, high = np.fmin.reduce(rows), np.fmax.reduce(rows)
    axes.fill_between(x, low, high, color=BLUE, alpha=0.2, linewidth=0, step=step)  # type: ignore[arg-type]
    axes.plot(x, rows[0], color=BLUE, linewidth=1.6, drawstyle=style, label="simulated")
    axes.plot(
        x, real, color=VERMILLION, linewidth=1.2, drawstyle=style, linestyle=(0, (4, 1.5)),
        label="real",
    )  # fmt: skip
    axes.grid(visible=True, color=FAINT)
