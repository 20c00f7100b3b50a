"""Figures of growth: how full memory is, and how deep the backlog gets while an outage lasts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from sim.run import Result
from sim.show.style import (
    BLUE,
    FAINT,
    THEORY,
    THEORY_LINE,
    VERMILLION,
    band,
    duration,
    house_style,
    label_time_axis,
    new_figure,
    outage_word,
    provenance,
    shade_outages,
    time_unit,
)
from sim.study.growth import (
    bytes_per_key,
    expected_entries,
    longest_full_outage,
    mean_entries,
    pending_after_start,
    state_at,
)
from sim.study.results import Study

POINTS = 400
"""How many moments a line over time has."""


@house_style
def cache_growth(
    results: Sequence[Result],
    *,
    finding: str = "Keys in memory over time, and the memory that they take",
) -> Figure:
    """Draw the entries of the cache over time with Little's law, and below them their bytes.

    Args:
        results: the replications of one policy; outages are shaded if there is only one, for
            each has outages of its own.
        finding: what the figure shows, in one sentence.
    """
    timeline = results[0].timeline
    span_s = min(each.timeline.duration_s for each in results)
    unit_s, unit = time_unit(span_s)
    # The first moment is past the load at the start, which takes some milliseconds.
    moments_s = np.linspace(0, span_s, POINTS + 1)[1:]
    note = provenance(results, drawn="bands") + (
        f" {outage_word(timeline.outages).capitalize()}."
        if len(results) == 1
        else " Shaded: warm-up."
    )
    figure, panels = new_figure(
        rows=2, height_in=4.8, finding=finding, note=note, sharex=True, height_ratios=[2, 1]
    )
    columns = {"cache_entries": 1, "cache_bytes": 1000}
    for axes, (column, scale) in zip(panels, columns.items(), strict=True):
        rows = [state_at(each.history, column, moments_s) / scale for each in results]
        mean, low, high = band(np.array(rows))
        if len(results) == 1:
            shade_outages(axes, timeline.outages, unit_s)
        elif results[0].scenario.warmup_s > span_s / 50:
            axes.axvspan(0, results[0].scenario.warmup_s / unit_s, color=FAINT, alpha=0.5, lw=0)
        axes.fill_between(moments_s / unit_s, low, high, color=BLUE, alpha=0.22, linewidth=0)
        axes.plot(moments_s / unit_s, mean, color=BLUE, linewidth=1.8)
        axes.set_ylim(0, 1.3 * max(1.0, float(np.nanmax(mean))))
    entries, kilobytes = panels
    expected = expected_entries(results[0].scenario)
    entries.axhline(expected, **THEORY_LINE)
    entries.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    entries.set_ylim(0, max(entries.get_ylim()[1], 1.3 * expected))
    # Beside the dashed line, on the side where the other one does not end.
    above = float(np.asarray(entries.lines[0].get_ydata())[-1]) <= 1.005 * expected
    entries.annotate(
        f"theory (Little's law): {expected:.3g} keys", (0.995, expected), (0, 6 if above else -15),
        xycoords=("axes fraction", "data"), textcoords="offset points",
        ha="right", color=THEORY, fontsize=10,
    )  # fmt: skip
    entries.set_ylabel("keys in memory")
    kilobytes.set_ylabel("kB, estimated")
    kilobytes.set_xlim(0, span_s / unit_s)
    label_time_axis(kilobytes, results, unit)
    return figure


@house_style
def cache_by_fleet(
    studies: Sequence[Study],
    *,
    finding: str = "Keys in memory by the size of the fleet",
) -> Figure:
    """Draw the mean entries of the cache against the number of instances, with Little's law.

    The bound of the cache is a line, and the right axis gives the memory that entries take.

    Args:
        studies: of one policy each, with fleets of different sizes and otherwise alike.
        finding: what the figure shows, in one sentence.
    """
    keys = studies[0].scenario.keys
    (policy, results), *_ = studies[0].results.items()
    note = provenance(results, drawn="bars") + (
        f" A key every {duration(keys.rotation_interval_s)} from each instance, valid for "
        f"{duration(keys.lifetime_s)}."
    )
    figure, (axes,) = new_figure(height_in=4.3, finding=finding, note=note)
    sizes = np.array([each.scenario.keys.peers + 1 for each in studies])
    intervals = [each.interval(policy, mean_entries) for each in studies]
    bound = results[0].policy.cache_entries_max
    per_instance = keys.lifetime_s / keys.rotation_interval_s
    line = np.array([sizes.min() / 1.5, (bound or sizes.max() * per_instance) * 2 / per_instance])
    axes.plot(line, line * per_instance, **THEORY_LINE)
    middle = float(np.sqrt(line[0] * line[1]))
    axes.annotate(
        f"theory (Little's law):\n{per_instance:.3g} keys for each instance",
        (middle, middle * per_instance), (14, -12), textcoords="offset points",
        va="top", color=THEORY, fontsize=10,
    )  # fmt: skip
    for size, interval in zip(sizes, intervals, strict=True):
        axes.plot([size, size], [interval.low, interval.high], color=BLUE, linewidth=3, alpha=0.5)
        axes.plot(size, interval.mean, "o", color=BLUE, markersize=8)
        axes.annotate(
            f"{interval.mean:,.0f}", (size, interval.mean), (-9, 3), textcoords="offset points",
            ha="right", color=BLUE, fontsize=10,
        )  # fmt: skip
    if bound is not None:
        axes.axhline(bound, color=VERMILLION, linewidth=1.6)
        axes.annotate(
            f"cache_entries_max: {bound:,}", (line[0], bound), (6, 5),
            textcoords="offset points", color=VERMILLION, fontsize=10,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(line[0], line[1])
    axes.set_ylim(line[0] * per_instance / 1.5, line[1] * per_instance)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axis.set_minor_locator(NullLocator())
    axes.set_xlabel("instances that make keys")
    axes.set_ylabel("keys in memory, mean")
    _memory_axis(axes, bytes_per_key(results[0].history))
    return figure


def _memory_axis(axes: Axes, size_bytes: float) -> None:
    def size_of(keys: Any) -> Any:
        return keys * size_bytes

    def keys_in(size: Any) -> Any:
        return size / size_bytes

    memory = axes.secondary_yaxis("right", functions=(size_of, keys_in))
    memory.set_ylabel("memory, estimated")
    memory.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _bytes(value)))
    memory.yaxis.set_minor_locator(NullLocator())
    memory.spines["right"].set_visible(False)


def _bytes(size: float) -> str:
    unit, scale = ("MB", 1e6) if size >= 1e6 else ("kB", 1e3)
    return f"{size / scale:g} {unit}"


@house_style
def pending_depth(
    results: Sequence[Result],
    *,
    finding: str = "Pending writes while a full outage lasts",
) -> Figure:
    """Draw the depth of the backlog against the time since an outage began.

    Of each run its longest full outage is taken; the line ends where fewer than half of the
    outages, or fewer than three, still last. Theory: one key for each rotation interval, until
    the first of them expire.

    Args:
        results: the replications of one policy.
        finding: what the figure shows, in one sentence.

    Raises:
        ValueError: no run has a full outage.
    """
    keys = results[0].scenario.keys
    outages = [(each.history, longest_full_outage(each.timeline.outages)) for each in results]
    found = [(history, outage) for history, outage in outages if outage is not None]
    if not found:
        raise ValueError("no run has an outage in which every call fails")
    lengths_s = sorted((outage.duration_s for _, outage in found), reverse=True)
    span_s = lengths_s[max(len(lengths_s) // 2, min(3, len(lengths_s))) - 1]
    unit_s, unit = time_unit(span_s)
    elapsed_s = np.linspace(0, span_s, POINTS)
    rows = [pending_after_start(history, outage, elapsed_s) for history, outage in found]
    mean, low, high = band(np.array(rows))
    expected = np.minimum(elapsed_s, keys.lifetime_s) / keys.rotation_interval_s
    figure, (axes,) = new_figure(
        height_in=4.0, finding=finding, note=provenance(results, drawn="band")
    )
    axes.fill_between(elapsed_s / unit_s, low, high, color=BLUE, alpha=0.22, linewidth=0)
    axes.plot(elapsed_s / unit_s, mean, color=BLUE, label="simulated")
    axes.plot(
        elapsed_s / unit_s,
        expected,
        label="theory: rate × time, at most rate × lifetime",
        **THEORY_LINE,
    )
    if span_s > keys.lifetime_s:
        axes.axvline(keys.lifetime_s / unit_s, color=THEORY, linewidth=1, linestyle=":")
        axes.annotate(
            "the first pending keys expire", (keys.lifetime_s / unit_s, 0.04), (6, 0),
            xycoords=("data", "axes fraction"), textcoords="offset points",
            color=THEORY, fontsize=10,
        )  # fmt: skip
    axes.set_xlim(0, span_s / unit_s)
    axes.set_ylim(0, 1.35 * max(1.0, float(np.nanmax(mean)), float(expected.max())))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(f"time since the outage began, {unit}")
    axes.set_ylabel("keys pending")
    axes.legend(loc="upper left")
    return figure
