"""Figures of availability: how often callers fail under each policy, and when."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator, PercentFormatter

from sim.history import Floats, GetOutcome
from sim.measures import availability
from sim.run import Result
from sim.show.style import (
    FAINT,
    INK,
    QUIET,
    colour,
    duration,
    house_style,
    label_time_axis,
    new_figure,
    outage_word,
    provenance,
    shade_outages,
    time_unit,
)
from sim.study.comparisons import simultaneous
from sim.study.experiment import Experiment
from sim.study.intervals import Interval

WINDOWS_MAX = 400
"""The most windows in a line of availability over time; more could not be told apart."""


@house_style
def availability_by_policy(
    experiments: Mapping[str, Experiment],
    *,
    against: str | None = None,
    against_best: bool = False,
    chosen_after: bool = False,
    objective: float | None = 0.999,
    finding: str = "The share of get calls that failed, by policy",
) -> Figure:
    """Draw the unavailability of each policy with its interval, on a scale of nines.

    Args:
        experiments: what was compared, by a name for its scenario; all with the same policies.
        against: the policy that the paired differences are taken to; `None` for the first.
        against_best: whether the others are expected to fail more than it, not fewer.
        chosen_after: whether that policy was chosen because of these figures; then the intervals
            are corrected for all pairs, as those of `Experiment.comparisons` are.
        objective: the availability wanted, drawn as a line; `None` for none. The default is the
            99.9% of disaster-recovery objectives in common use.
        finding: what the figure shows, in one sentence.
    """
    first = next(iter(experiments.values()))
    policies = list(first.policies)
    against = against or policies[0]
    rows = len(experiments) * (len(policies) + 1)
    warmup = duration(max(each.scenario.warmup_s for each in experiments.values()))
    counts = " and ".join(dict.fromkeys(str(each.replications) for each in experiments.values()))
    note = (
        f"{counts} replications, seed {first.seed}, warm-up of {warmup} not counted; "
        f"lines: 95% intervals; differences to {against} are paired, on the same outages and calls"
        f"{', their intervals hold all at once' if len(policies) > 2 else ''}."
    )
    looks = math.comb(len(policies), 2) if chosen_after else len(policies) - 1
    confidence = simultaneous(max(1, looks))
    figure, (axes,) = new_figure(height_in=1.75 + 0.38 * rows, finding=finding, note=note)
    left, right = _limits(experiments, objective)
    axes.set_xscale("log")
    axes.set_xlim(left, right)
    ticks: dict[int, str] = {}
    y = 0
    for name, experiment in experiments.items():
        axes.annotate(
            name, (left, y), (6, 0), textcoords="offset points", fontweight="bold", va="center"
        )
        for policy in policies:
            y += 1
            ticks[y] = policy
            interval = experiment.interval(policy, "availability")
            _draw_interval(axes, y, interval, left, colour(policy, policies))
            if policy != against:
                pair = (policy, against) if against_best else (against, policy)
                difference = experiment.difference(*pair, "availability", confidence=confidence)
                _annotate(axes, y, difference)
        y += 1
    axes.set_yticks(list(ticks), list(ticks.values()))
    axes.set_ylim(y - 0.4, -0.6)
    axes.tick_params(axis="y", length=0, pad=9)
    axes.grid(visible=False, axis="y")
    _beside(axes, 0, f"{'more' if against_best else 'fewer'} than {against}", QUIET)
    _scale_of_nines(axes, objective)
    return figure


def _limits(experiments: Mapping[str, Experiment], objective: float | None) -> tuple[float, float]:
    intervals = [
        experiment.interval(policy, "availability")
        for experiment in experiments.values()
        for policy in experiment.policies
    ]
    # A lower end may be as good as zero: what is a tenth of all means is off the scale.
    ends = [1 - end for each in intervals for end in (each.mean, each.low) if end < 1]
    ends += [] if objective is None else [1 - objective]
    return (min(ends, default=1e-3) / 10, min(1.0, max(ends, default=1e-1) * 3))


def _draw_interval(axes: Axes, y: int, interval: Interval, left: float, hue: str) -> None:
    worst, mean = 1 - interval.low, 1 - interval.mean
    best = max(1 - interval.high, left)
    if not np.isnan(interval.low):
        axes.plot([best, worst], [y, y], color=hue, linewidth=3, alpha=0.45, solid_capstyle="butt")
    if best == left:
        axes.plot(left, y, "<", color=hue, markersize=6, clip_on=False)
    if mean > 0:
        axes.plot(mean, y, "o", color=hue, markersize=8, zorder=6)
        label, at = _percent(mean), mean
    else:
        label, at = f"no failure seen; at most {_percent(worst)}", worst
    axes.annotate(
        label, (at, y), (0, 7), textcoords="offset points", ha="center", color=hue, fontsize=10,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
    )  # fmt: skip


def _annotate(axes: Axes, y: int, difference: Interval) -> None:
    text = f"{_percent(difference.mean)}"
    if not np.isnan(difference.low):
        # Few replications may leave more than there is: no share differs by more than all.
        low, high = max(-1.0, difference.low), min(1.0, difference.high)
        text += f" [{_percent(low)}, {_percent(high)}]"
    _beside(axes, y, text, INK)


def _beside(axes: Axes, y: int, text: str, hue: str) -> None:
    """Write to the right of a row."""
    place = axes.get_yaxis_transform()
    axes.text(1.02, y, text, transform=place, va="center", fontsize=10, color=hue)


def _scale_of_nines(axes: Axes, objective: float | None) -> None:
    axes.xaxis.set_major_locator(LogLocator())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.10g}%"))
    axes.set_xlabel("get calls that failed (log scale; further left is better)")
    nines = axes.secondary_xaxis("top")
    nines.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * (1 - value):.10g}%"))
    nines.xaxis.set_minor_locator(NullLocator())
    nines.set_xlabel("availability", labelpad=6)
    nines.spines["top"].set_visible(False)
    if objective is not None:
        axes.axvline(1 - objective, color=QUIET, linewidth=1.5, linestyle=(0, (4, 3)), zorder=0.8)
        axes.annotate(
            f"objective {100 * objective:g}%",
            (1 - objective, 0.01),
            (4, 0),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            color=QUIET,
            fontsize=10,
            va="bottom",
        )


def _percent(share: float) -> str:
    """Two significant digits, and no power of ten: 1.9%, 0.017%, 0.00080%."""
    if share == 0:
        return "0%"
    digits = max(0, 1 - int(np.floor(np.log10(abs(100 * share)))))
    return f"{100 * share:.{digits}f}%".replace("-", "−")


@house_style
def availability_over_time(
    results: Mapping[str, Result],
    *,
    window_s: float = 60.0,
    finding: str = "The share of get calls answered right, over time",
) -> Figure:
    """Draw one panel for each policy: the share of right answers in each window of a run.

    Args:
        results: one run of each policy, all with the same outages.
        window_s: how long a window is; a multiple of it is taken in runs of over 400 windows.
        finding: what the figure shows, in one sentence.
    """
    runs = list(results.values())
    timeline = runs[0].timeline
    window_s *= max(1, np.ceil(timeline.duration_s / window_s / WINDOWS_MAX))
    unit_s, unit = time_unit(timeline.duration_s)
    note = (
        f"{provenance(runs[:1], drawn='')} Windows of {duration(window_s)}; "
        f"{outage_word(timeline.outages)}."
    )
    figure, panels = new_figure(
        rows=len(runs), height_in=1.5 + 1.35 * len(runs), finding=finding, note=note, sharex=True
    )
    for axes, (policy, result) in zip(panels, results.items(), strict=True):
        starts_s, share = _share_by_window(result, window_s)
        hue = colour(policy, list(results))
        shade_outages(axes, timeline.outages, unit_s)
        axes.step(starts_s / unit_s, share, where="post", color=hue, linewidth=1.4)
        axes.set_ylim(-0.04, 1.08)
        axes.set_yticks([0, 0.5, 1])
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.set_title(f"{policy}: {_failures(result)}", color=hue)
        axes.grid(visible=True, color=FAINT)
    panels[-1].set_xlim(0, timeline.duration_s / unit_s)
    label_time_axis(panels[-1], runs, unit)
    return figure


def _share_by_window(result: Result, window_s: float) -> tuple[Floats, Floats]:
    """The start of each window and the share of right answers in it; NaN where nobody asked."""
    gets = result.history.gets
    edges = np.arange(0.0, result.timeline.duration_s + window_s, window_s)
    asked, _ = np.histogram(gets.at_s[gets.eligible], edges)
    right, _ = np.histogram(gets.at_s[gets.eligible & (gets.outcome == GetOutcome.RIGHT)], edges)
    share = np.divide(right, asked, out=np.full(len(asked), np.nan), where=asked > 0)
    return edges[:-1], share


def _failures(result: Result) -> str:
    """How many calls failed of those that count, in words; never just "100%"."""
    history = result.history
    counted = history.gets.eligible & (history.gets.at_s >= history.warmup_s)
    share = availability(history)
    failed = "none" if share == 1 else _percent(1 - share)
    return f"{failed} of {np.count_nonzero(counted):,} calls failed"
