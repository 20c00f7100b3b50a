"""Figures of the sync lag: how long a key that was made during an outage is in memory only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from ftrepo.policy import Policy
from sim.history import Floats, Samples
from sim.run import Result
from sim.show.style import (
    THEORY,
    THEORY_LINE,
    band,
    colour,
    cycle,
    duration,
    house_style,
    label_time_axis,
    new_figure,
    outage_word,
    provenance,
    shade_outages,
    spread_out,
    time_unit,
)
from sim.study.lags import LAG_FIGURES, OutageLags, outage_lags
from sim.study.results import Study

_TICKS_S = (1, 10, 60, 600, 3600, 36000)


@house_style
def sync_lag_distribution(
    results: Mapping[str, Sequence[Result]],
    *,
    theory: Mapping[str, Callable[[Floats], Floats]] | None = None,
    finding: str = "How long until a key made during an outage is in the primary",
) -> Figure:
    """Draw the share of keys made during outages that the primary has after so long.

    On the left the whole lag, on the right the part of it in which there was no outage.

    Args:
        results: the replications by the name of a curve.
        theory: for some curves the expected distribution of the whole lag.
        finding: what the figure shows, in one sentence.
    """
    names = list(results)
    note = provenance(*results.values(), drawn="bands") + (
        " Keys that were acknowledged during an outage and committed later."
    )
    figure, (left, right) = new_figure(
        columns=2, height_in=4.3, finding=finding, note=note, sharey=True, width_ratios=[3, 2]
    )
    spread_out(figure)
    longest_wait_s = 1.0
    for name, runs in results.items():
        lags = [outage_lags(each.history) for each in runs]
        hue = colour(name, names)
        longest_s = max((each.lag_s.max() for each in lags if len(each.lag_s)), default=1.0)
        longest_wait_s = max([longest_wait_s, *(max(each.wait_s, default=0) for each in lags)])
        grid_s = np.geomspace(0.5, 2 * max(1.0, longest_s), 240)
        _curve(left, grid_s, lags, "lag_s", hue=hue, name=name)
        _curve(right, np.linspace(0, 1.1 * longest_wait_s, 240), lags, "wait_s", hue=hue, name=name)
        if theory and name in theory:
            expected = theory[name](grid_s)
            left.plot(grid_s, expected, label=f"{name}, theory", **THEORY_LINE)
    left.set_xscale("log")
    first_s, last_s = left.get_xlim()
    ticks = [tick for tick in _TICKS_S if first_s <= tick <= last_s]
    left.set_xticks(ticks, [duration(tick) for tick in ticks])
    left.minorticks_off()
    left.set_xlabel("time since the key was acknowledged (log scale)")
    left.set_ylabel("keys in the primary")
    left.set_ylim(0, 1.02)
    left.yaxis.set_major_formatter(PercentFormatter(1))
    handles, labels = left.get_legend_handles_labels()
    if len(labels) > 1:
        right.legend(handles, labels, loc="lower right")
    right.set_xlabel("of that, without an outage, seconds")
    right.set_xlim(0, 1.1 * longest_wait_s)
    return figure


def _curve(
    axes: Axes,
    grid_s: Floats,
    lags: Sequence[OutageLags],
    column: str,
    *,
    hue: str,
    name: str,
) -> None:
    shares = np.full((len(lags), len(grid_s)), np.nan)
    for row, each in zip(shares, lags, strict=True):
        values: Floats = np.sort(getattr(each, column))
        if len(values):
            row[:] = np.searchsorted(values, grid_s, side="right") / len(values)
    mean, low, high = band(shares)
    axes.fill_between(grid_s, np.clip(low, 0, 1), np.clip(high, 0, 1), color=hue, alpha=0.18, lw=0)
    axes.plot(grid_s, mean, color=hue, label=name)


@house_style
def lag_by_setting(
    study: Study,
    settings: Sequence[str],
    *,
    figures: Sequence[str] = ("wait_mean_s", "wait_p99_s"),
    finding: str = "The wait after the end of an outage, by setting",
) -> Figure:
    """Draw the wait after an outage against each setting, and half the setting as theory.

    In the panel of a setting, a line joins the policies that differ in nothing else.

    Args:
        study: policies that differ in these settings, in others at will.
        settings: of `Policy`, in seconds, one for each panel.
        figures: of `LAG_FIGURES`; the first is drawn solid, the others dotted.
        finding: what the figure shows, in one sentence.
    """
    note = provenance(next(iter(study.results.values())), drawn="bands") + (
        f" Solid: {_word(figures[0])}; dotted: {' and '.join(map(_word, figures[1:]))}. Only keys "
        "that were made during an outage."
    )
    figure, panels = new_figure(
        columns=len(settings), height_in=4.4, finding=finding, note=note, sharey=True
    )
    for axes, setting in zip(panels, settings, strict=True):
        lines = _lines(study, setting)
        values = sorted({x for line in lines.values() for x in line})
        half = np.array(values) / 2
        axes.plot(values, half, **THEORY_LINE)
        axes.annotate(
            "theory: half of the setting", (values[0], half[0]), (16, -6),
            textcoords="offset points", va="center", color=THEORY, fontsize=10,
        )  # fmt: skip
        for number, (label, line) in enumerate(lines.items()):
            for name in figures:
                rows = [study.values(policy, LAG_FIGURES[name]) for policy in line.values()]
                main = name == figures[0]
                _with_band(axes, list(line), rows, cycle(number), label=label if main else None)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.minorticks_off()
        axes.set_xlabel(f"{setting}: seconds, log scale")
        if len(lines) > 1:
            axes.legend(loc="upper left")
    low, high = panels[0].get_ylim()
    panels[0].set_ylim(low / 1.5, high * 3)
    panels[0].set_ylabel("wait after the outage, seconds")
    panels[0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    return figure


def _lines(study: Study, setting: str) -> dict[str, dict[float, str]]:
    """Groups of policies that differ in this setting only: label → setting → policy's name."""
    groups: dict[Policy, dict[float, str]] = {}
    for name, policy in study.policies.items():
        alike = replace(policy, **{setting: getattr(Policy(), setting)})
        groups.setdefault(alike, {})[getattr(policy, setting)] = name
    return {
        _label(alike): dict(sorted(line.items())) for alike, line in groups.items() if len(line) > 1
    }


def _label(policy: Policy) -> str:
    """How a policy differs from the default one."""
    differing = [
        f"{each.name} = {str(getattr(policy, each.name)).lower()}"
        for each in fields(Policy)
        if getattr(policy, each.name) != getattr(Policy(), each.name)
    ]
    return ", ".join(differing) or "otherwise the default"


def _with_band(
    axes: Axes,
    values: Sequence[float],
    columns: Sequence[Sequence[float]],
    hue: str,
    *,
    label: str | None,
) -> None:
    mean, low, high = band(np.array(columns).T)
    solid = label is not None
    floor = np.nanmin(mean) / 10
    axes.fill_between(values, np.maximum(low, floor), high, color=hue, alpha=0.18, linewidth=0)
    axes.plot(
        values, mean, "o-" if solid else "o:", color=hue, label=label,
        markersize=6 if solid else 4, linewidth=2 if solid else 1.5,
    )  # fmt: skip


def _word(figure: str) -> str:
    words = {"mean": "mean", "p50": "median", "p99": "99th percentile", "max": "longest"}
    return words[figure.split("_")[-2]]


@house_style
def oldest_pending_age(
    results: Mapping[str, Result],
    *,
    between_s: tuple[float, float] | None = None,
    finding: str = "The age of the oldest pending write, over time",
) -> Figure:
    """Draw for how long the oldest pending write has waited, at each moment of a run.

    Args:
        results: one run of each policy, all with the same outages.
        between_s: the stretch of the run to show; `None` for all of it.
        finding: what the figure shows, in one sentence.
    """
    runs = list(results.values())
    timeline = runs[0].timeline
    start_s, end_s = between_s or (0.0, timeline.duration_s)
    shown = [each for each in timeline.outages if each.end_s > start_s and each.start_s < end_s]
    unit_s, unit = time_unit(end_s - start_s)
    note = f"{provenance(runs[:1], drawn='')} {outage_word(shown).capitalize()}."
    figure, (axes,) = new_figure(height_in=3.9, finding=finding, note=note)
    shade_outages(axes, shown, unit_s)
    lines = {
        name: _ages(result.history.samples, start_s, end_s) for name, result in results.items()
    }
    highest_s = max([1.0, *(float(age_s.max()) for _, age_s in lines.values())])
    age_unit_s, age_unit = time_unit(highest_s)
    for name, (at_s, age_s) in lines.items():
        axes.plot(at_s / unit_s, age_s / age_unit_s, color=colour(name, list(results)), label=name)
    axes.set_ylabel(f"oldest pending age, {age_unit}")
    axes.set_xlim(start_s / unit_s, end_s / unit_s)
    axes.set_ylim(0, 1.1 * highest_s / age_unit_s)
    label_time_axis(axes, runs, unit)
    if len(results) > 1:
        axes.legend(loc="upper left")
    return figure


def _ages(samples: Samples, start_s: float, end_s: float) -> tuple[Floats, Floats]:
    """The line of ages with its true corners: an age grows by a second a second until it drops."""
    at_s, age_s = samples.at_s, samples.oldest_pending_age_s
    before = np.where(age_s[:-1] > 0, age_s[:-1] + np.diff(at_s), 0.0)
    corners_s = np.append(at_s[:1], np.column_stack((at_s[1:], at_s[1:])).ravel())
    ages_s = np.append(age_s[:1], np.column_stack((before, age_s[1:])).ravel())
    # One corner more on either side, so that the line runs to the edges.
    inside = slice(
        max(0, int(np.searchsorted(corners_s, start_s)) - 1),
        int(np.searchsorted(corners_s, end_s, side="right")) + 1,
    )
    return corners_s[inside], ages_s[inside]
