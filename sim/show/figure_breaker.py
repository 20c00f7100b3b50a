"""Figures of breakers: what their settings trade, and how to recognise one that misbehaves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from sim.history import BreakerCode, Codes, Floats
from sim.overload import breaker_closes_after_s, rate_over_time, wasted_attempts_per_outage
from sim.run import Result
from sim.show.style import (
    BLUE,
    GREEN,
    INK,
    QUIET,
    THEORY_LINE,
    VERMILLION,
    band,
    cycle,
    house_style,
    new_figure,
    provenance,
    shade_outages,
    spread_out,
    time_unit,
)
from sim.study.breakers import false_trips_per_h
from sim.study.results import Figure as Measure
from sim.study.results import Study

Theory = Mapping[float, float]
"""What is expected, by the value of the setting."""

WINDOWS = 150
"""How many windows a line of rates over time has."""


@house_style
def breaker_trade(
    studies: Mapping[str, Study],
    setting: str,
    *,
    theory: Mapping[str, tuple[Theory, Theory]],
    finding: str = "Calls wasted in an outage, and time until the breaker closes after it",
) -> Figure:
    """Draw what is wasted on a failing primary, and how late its return is seen, by a setting.

    Args:
        studies: by the name of a line; in each, policies that differ in this setting.
        setting: of `Policy`, in seconds.
        theory: for each line what is expected of both figures.
        finding: what the figure shows, in one sentence.
    """
    results = next(iter(next(iter(studies.values())).results.values()))
    figure, panels = new_figure(
        columns=2,
        height_in=4.4,
        finding=finding,
        note=provenance(results, drawn="bands") + " Dashed: theory.",
    )
    spread_out(figure)
    measures = (wasted_attempts_per_outage, breaker_closes_after_s)
    for at, (axes, measure) in enumerate(zip(panels, measures, strict=True)):
        for number, (name, study) in enumerate(studies.items()):
            _by_setting(axes, study, setting, measure, hue=cycle(number), label=name)
            expected = theory[name][at]
            axes.plot(list(expected), list(expected.values()), **THEORY_LINE)
        _log_axes(axes, _values(next(iter(studies.values())), setting))
        axes.set_xlabel(f"{setting}, seconds")
    panels[0].set_ylabel("calls wasted in an outage")
    panels[1].set_ylabel("breaker closes after, seconds")
    panels[0].legend(loc="upper right", title="median outage", title_fontsize=10.5)
    return figure


@house_style
def window_trade(
    study: Study,
    *,
    theory: Theory,
    finding: str = "Calls wasted in an outage and false trips, by the window of the failure rate",
) -> Figure:
    """Draw what is wasted before a breaker trips, and how often it trips for nothing, by window.

    Args:
        study: policies that differ in `breaker_window_s`.
        theory: the calls expected to be wasted in an outage.
        finding: what the figure shows, in one sentence.
    """
    results = next(iter(study.results.values()))
    noise = study.scenario.primary.failing_share
    note = provenance(results, drawn="bands") + (
        f" {noise:.0%} of the calls fail without an outage. Theory leaves chance out."
    )
    figure, (wasted, false) = new_figure(columns=2, height_in=4.2, finding=finding, note=note)
    spread_out(figure)
    setting = "breaker_window_s"
    _by_setting(wasted, study, setting, wasted_attempts_per_outage, hue=BLUE)
    wasted.plot(list(theory), list(theory.values()), label="theory", **THEORY_LINE)
    wasted.legend(loc="upper left")
    _by_setting(false, study, setting, false_trips_per_h, hue=VERMILLION)
    for axes in (wasted, false):
        axes.set_xscale("log")
        values = _values(study, setting)
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.minorticks_off()
        axes.set_xlabel(f"{setting}, seconds")
        axes.set_ylim(bottom=0)
    wasted.set_ylabel("calls wasted in an outage")
    false.set_ylabel("false trips an hour")
    return figure


def _by_setting(
    axes: Axes, study: Study, setting: str, measure: Measure, *, hue: str, label: str | None = None
) -> None:
    by_value = sorted((getattr(policy, setting), name) for name, policy in study.policies.items())
    values = [value for value, _ in by_value]
    columns = np.array([study.values(name, measure) for _, name in by_value]).T
    mean, low, high = band(columns)
    low = np.maximum(low, np.nanmin(mean[mean > 0], initial=math.inf) / 10)
    axes.fill_between(values, low, np.maximum(low, high), color=hue, alpha=0.18, linewidth=0)
    axes.plot(values, mean, "o-", color=hue, label=label, markersize=6)


def _values(study: Study, setting: str) -> list[float]:
    return sorted({getattr(policy, setting) for policy in study.policies.values()})


def _log_axes(axes: Axes, values: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())


@house_style
def breaker_over_time(
    results: Mapping[str, Result],
    *,
    finding: str = "The breaker's state, and what is asked for and sent, over time",
) -> Figure:
    """Draw, one run below the other, when the breaker is open, and the rates beneath that.

    The strip above each run shows the breaker; the yellow ground shows the outages. What is to be
    compared: strip and ground, and the calls to the primary and the requests.

    Args:
        results: one run for each row, by what is to be recognised in it.
        finding: what the figure shows, in one sentence.
    """
    first = next(iter(results.values()))
    note = (
        f"One run each, replication {first.replication}, seed {first.seed}. Yellow: outages. "
        "The strip on top: red where the breaker is open or half-open, green where it is closed or "
        "there is none. "
        "Dashed: what the primary can do, where that is bounded."
    )
    figure, panels = new_figure(
        rows=len(results), height_in=1.2 + 1.75 * len(results), finding=finding, note=note
    )
    for axes, (name, result) in zip(panels, results.items(), strict=True):
        _row(axes, result)
        axes.set_title(name, fontsize=10.5)
    panels[0].legend(loc="upper right", ncols=2, bbox_to_anchor=(1.0, 0.9))
    return figure


def _row(axes: Axes, result: Result) -> None:
    history, span_s = result.history, result.timeline.duration_s
    unit_s, unit = time_unit(span_s)
    window_s = span_s / WINDOWS
    middle = window_s * (np.arange(WINDOWS) + 0.5) / unit_s
    calls = rate_over_time(history.attempts_s, 0.0, span_s, window_s)
    requests = rate_over_time(np.sort(history.gets.at_s), 0.0, span_s, window_s)
    axes.plot(middle[: len(calls)], calls, color=BLUE, linewidth=1.5, label="calls to the primary")
    axes.plot(
        middle[: len(requests)], requests, color=INK, linewidth=1.0, alpha=0.7,
        label="requests of callers",
    )  # fmt: skip
    highest = 1.45 * max(1.0, float(calls.max()), float(requests.max()))
    axes.set_ylim(0, highest)
    axes.set_xlim(0, span_s / unit_s)
    shade_outages(axes, result.timeline.outages, unit_s)
    _strip(axes, history.breaker.at_s, history.breaker.state, span_s, unit_s)
    capacity = result.scenario.primary.capacity_per_s
    if math.isfinite(capacity):
        axes.axhline(capacity, **THEORY_LINE)
    axes.set_ylabel("1/s")
    axes.set_xlabel(unit, labelpad=1, color=QUIET)


def _strip(axes: Axes, at_s: Floats, state: Codes, span_s: float, unit_s: float) -> None:
    """The breaker's state along the top of a panel."""
    edges_s = np.concatenate(([0.0], at_s, [span_s]))
    codes = np.concatenate(([BreakerCode.CLOSED], state))
    for code, start_s, end_s in zip(codes, edges_s[:-1], edges_s[1:], strict=True):
        closed = code == BreakerCode.CLOSED
        axes.axvspan(
            start_s / unit_s, min(end_s, span_s) / unit_s, ymin=0.93, ymax=1.0,
            facecolor=GREEN if closed else VERMILLION, linewidth=0, zorder=3,
        )  # fmt: skip
