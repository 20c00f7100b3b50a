"""Figures of retry storms: what retries add, whether the server gets over it, and what ends it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from sim.history import Floats
from sim.overload import attempts_per_request, recoveries, recovery_mean_s
from sim.run import Result
from sim.show.style import (
    INK,
    QUIET,
    THEORY,
    THEORY_LINE,
    VERMILLION,
    band,
    cycle,
    house_style,
    new_figure,
    outage_word,
    provenance,
    shade_outages,
    spread_out,
)
from sim.study.intervals import t_interval
from sim.study.results import Study
from sim.study.storms import amplification, called_per_s, served_per_s
from sim.world.callers import CallerSettings

WINDOW_S = 5.0
"""The window of rates over time."""


@house_style
def retry_amplification(
    studies: Mapping[str, Mapping[float, Study]],
    *,
    finding: str = "Attempts at a request, by the share of attempts that fail",
) -> Figure:
    """Draw how many attempts callers make at one request against the share that fails.

    Args:
        studies: for each kind of caller, a study of one policy by the share that fails.
        finding: what the figure shows, in one sentence.
    """
    first = next(iter(next(iter(studies.values())).values()))
    results = next(iter(first.results.values()))
    figure, (axes,) = new_figure(
        height_in=4.0, finding=finding, note=provenance(results, drawn="bars")
    )
    shares = np.linspace(0, 1, 101)
    for number, (name, by_share) in enumerate(studies.items()):
        hue = cycle(number)
        caller = next(iter(by_share.values())).scenario.caller
        axes.plot(shares, _amplified(shares, caller), **THEORY_LINE)
        for share, study in by_share.items():
            policy = next(iter(study.policies))
            interval = study.interval(policy, attempts_per_request)
            ends = [interval.low, interval.high]
            axes.plot([share, share], ends, color=hue, linewidth=3, alpha=0.5)
            axes.plot(share, interval.mean, "o", color=hue, markersize=8)
        last = float(_amplified(shares, caller)[-1])
        axes.annotate(
            name, (1.0, last), (10, 0), textcoords="offset points", va="center", color=hue,
            fontsize=11, fontweight="bold", annotation_clip=False,
        )  # fmt: skip
    axes.annotate(
        "theory: 1 + p + p², and at most 1 + ratio with a budget", (0.02, 0.94),
        xycoords="axes fraction", color=THEORY, fontsize=10,
    )  # fmt: skip
    axes.set_xlim(0, 1.25)
    axes.set_xticks(np.linspace(0, 1, 5), [f"{share:.0%}" for share in np.linspace(0, 1, 5)])
    axes.set_ylim(0.9, 1.15 * max(each.scenario.caller.attempts_max for each in [first]))
    axes.set_xlabel("share of attempts that fail")
    axes.set_ylabel("attempts at one request, mean")
    return figure


def _amplified(shares: Floats, caller: CallerSettings) -> Floats:
    return np.array([amplification(float(share), caller) for share in shares])


@house_style
def storm_over_time(
    results: Mapping[str, Sequence[Result]],
    *,
    finding: str = "Calls to the primary, and requests that came out right, over time",
) -> Figure:
    """Draw the load on the primary, and below it what callers get out of it, over time.

    Dashed: what the primary can do, and what is asked for of it; where the lines ask for different
    amounts, of the first.

    Args:
        results: the replications by the name of a line; all with the same outages and arrivals.
        finding: what the figure shows, in one sentence.
    """
    first = next(iter(results.values()))[0]
    outages = first.timeline.outages
    note = provenance(*results.values(), drawn="bands")
    note += f" {outage_word(outages).capitalize()}." if outages else ""
    figure, (calls, served) = new_figure(
        rows=2, height_in=5.6, finding=finding, note=note, sharex=True
    )
    asked = np.array([_asked_per_s(each) for each in next(iter(results.values()))]).mean(axis=0)
    middle_s = WINDOW_S * (np.arange(len(asked)) + 0.5)
    highest = {calls: 0.0, served: float(asked.max())}
    for number, (name, runs) in enumerate(results.items()):
        for axes, rate in ((calls, called_per_s), (served, served_per_s)):
            rows = [rate(each.history, WINDOW_S) for each in runs]
            mean, low, high = band(np.array(rows))
            low = np.maximum(0.0, low)
            hue = cycle(number)
            axes.fill_between(middle_s, low, high, color=hue, alpha=0.2, linewidth=0)
            axes.plot(middle_s, mean, color=hue, label=name if axes is calls else None)
            highest[axes] = max(highest[axes], float(mean.max()))
    capacity = first.scenario.primary.capacity_per_s
    if math.isfinite(capacity):
        calls.axhline(capacity, label=f"the primary can do {capacity:g}/s", **THEORY_LINE)
    served.plot(middle_s, asked, label="asked for", **THEORY_LINE)
    for axes in (calls, served):
        shade_outages(axes, outages, 1.0)
        axes.set_xlim(0, first.timeline.duration_s)
        axes.set_ylim(-0.03 * highest[axes], 1.5 * highest[axes])
        axes.legend(loc="upper left", ncols=3)
    calls.set_ylabel("calls to the primary, 1/s")
    served.set_ylabel("requests right, 1/s")
    served.set_xlabel("time in the run, seconds")
    return figure


def _asked_per_s(result: Result) -> Floats:
    edges_s = np.arange(0, result.timeline.duration_s + WINDOW_S / 2, WINDOW_S)
    counts: Floats = np.histogram(result.history.gets.at_s, bins=edges_s)[0] / WINDOW_S
    return counts


@house_style
def recovery_by_remedy(
    results: Mapping[str, Sequence[Result]],
    *,
    theory: Mapping[str, float] | None = None,
    finding: str = "How long after the outage callers are served again",
) -> Figure:
    """Draw for each remedy how long after the end of an outage callers are served again.

    An arrow means that most runs ended before that, and begins where they did.

    Args:
        results: the replications by the name of a remedy.
        theory: for some of them what is expected, in seconds; infinite for never.
        finding: what the figure shows, in one sentence.
    """
    names = list(results)
    figure, (axes,) = new_figure(
        height_in=1.7 + 0.42 * len(names),
        finding=finding,
        note=provenance(*results.values(), drawn="bars") + " Small ticks: theory of a fluid.",
    )
    spread_out(figure)
    longest_s = max(
        each.timeline.duration_s - max((o.end_s for o in each.timeline.outages), default=0.0)
        for runs in results.values()
        for each in runs
    )
    for row, (name, runs) in enumerate(results.items()):
        seen = np.concatenate([recoveries(each.history).seen for each in runs])
        interval = t_interval([recovery_mean_s(each.history) for each in runs])
        hue = VERMILLION if seen.mean() < 0.5 else cycle(0)
        if seen.mean() < 0.5:
            axes.annotate(
                "", (1.12 * longest_s, row), (longest_s, row),
                arrowprops={"arrowstyle": "->", "color": hue, "lw": 2},
            )  # fmt: skip
            text, height = f"not before the end ({1 - seen.mean():.0%} of the runs)", longest_s
            axes.annotate(
                text, (height, row), (-8, 0), textcoords="offset points", ha="right",
                va="center", color=hue, fontsize=10,
            )  # fmt: skip
        else:
            low_s = max(0.0, interval.low)
            axes.plot([low_s, interval.high], [row, row], color=hue, linewidth=3, alpha=0.5)
            axes.plot(interval.mean, row, "o", color=hue, markersize=8)
            right_s = max(interval.high, (theory or {}).get(name, 0.0), interval.mean)
            axes.annotate(
                f"{interval.mean:.2g} s", (right_s, row), (10, 0), textcoords="offset points",
                va="center", color=hue, fontsize=10,
            )  # fmt: skip
        expected_s = (theory or {}).get(name, math.nan)
        if math.isfinite(expected_s):
            axes.plot(expected_s, row, "|", color=INK, markersize=16, markeredgewidth=1.6)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(-0.01 * longest_s, 1.15 * longest_s)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.grid(axis="y", color=QUIET, alpha=0.15)
    axes.set_xlabel("seconds from the end of the outage")
    return figure
