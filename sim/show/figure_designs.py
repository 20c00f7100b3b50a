"""Figures of a design review: where failures come from, what each design gives up, what if."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ftrepo.designs import DESIGNS
from sim.causes import FailureCause
from sim.show.style import (
    FAINT,
    INK,
    QUIET,
    colour,
    duration,
    house_style,
    new_figure,
    spread_out,
)
from sim.study.comparisons import simultaneous
from sim.study.designs import failed_by_cause
from sim.study.experiment import Experiment
from sim.study.intervals import Interval

_CAUSES = {
    FailureCause.NOT_FLUSHED: "only the maker\nhad the key",
    FailureCause.START_KEY: "likewise, a\nfirst key",
    FailureCause.NOT_LEARNED: "not learned\nfrom the primary",
    FailureCause.EMPTY_MEMORY: "started with\nempty memory",
    FailureCause.DEADLINE: "no answer\nin time",
    FailureCause.OTHER: "nobody ready,\nor an error",
}

_GIVEN_UP = {
    "lost_keys": "keys lost, a run",
    "expired_pending_keys": "keys expired before written, a run",
    "sync_lag_p99_s": "sync lag, p99, s",
    "visibility_lag_p99_s": "visibility lag, p99, s",
    "primary_attempts_during_outage_per_s": "calls/s to the primary in outages",
    "primary_attempts_after_outage_per_s": "calls/s in the minute after",
    "cache_entries_max": "keys in memory, most",
    "get_latency_p99_s": "latency of get, p99, s",
}


@house_style
def failures_by_cause(
    experiments: Mapping[str, Experiment],
    *,
    finding: str = "Where failures come from, by design",
) -> Figure:
    """Draw the share of `get` calls that failed for each cause, as a table in colours.

    Args:
        experiments: what was compared, by a name for its scenario; all with the same policies.
        finding: what the figure shows, in one sentence.
    """
    policies = list(next(iter(experiments.values())).policies)
    shares = {
        name: np.array(
            [[each.mean for each in failed_by_cause(study, policy).values()] for policy in policies]
        )
        for name, study in experiments.items()
    }
    seen = np.any([values > 0 for values in shares.values()], axis=(0, 1))
    columns = [cause for cause in FailureCause if seen[cause]] or [FailureCause.NOT_FLUSHED]
    shown = {name: values[:, columns] for name, values in shares.items()}
    positive = [float(each) for values in shown.values() for each in values.flat if each > 0]
    scale = LogNorm(min(positive, default=1e-4) / 3, max(positive, default=1e-2) * 2)
    figure, panels = new_figure(
        rows=len(experiments),
        height_in=1.7 + len(experiments) * (0.42 * len(policies) + 0.35),
        finding=finding,
        note=f"{_study_words(experiments)}; the mean share of all get calls. "
        "An empty cell: no such failure was seen.",
        sharex=True,
    )
    for axes, (name, values) in zip(panels, shown.items(), strict=True):
        _draw_table(axes, values, scale)
        axes.set_title(name)
        axes.set_yticks(range(len(policies)), policies)
    for axes in panels:
        axes.xaxis.set_tick_params(length=0)
    panels[-1].set_xticks(range(len(columns)), [_CAUSES[cause] for cause in columns], fontsize=10)
    return figure


def _draw_table(
    axes: Axes, values: np.ndarray[tuple[int, ...], np.dtype[np.float64]], scale: LogNorm
) -> None:
    masked = np.ma.masked_less_equal(values, 0)
    axes.imshow(masked, cmap="Blues", norm=scale, aspect="auto")
    for (row, column), share in np.ndenumerate(values):
        if share > 0:
            dark = scale(share) > 0.55
            axes.text(
                column, row, _percent(share), ha="center", va="center", fontsize=10,
                color="white" if dark else INK,
            )  # fmt: skip
    axes.set_xticks(np.arange(values.shape[1] + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(values.shape[0] + 1) - 0.5, minor=True)
    axes.grid(visible=False, which="major")
    axes.grid(visible=True, which="minor", color=FAINT)
    axes.tick_params(which="both", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


@house_style
def what_designs_give_up(
    experiment: Experiment,
    *,
    measures: Sequence[str] = tuple(_GIVEN_UP),
    finding: str = "What each design costs besides availability",
) -> Figure:
    """Draw several figures of each design with their intervals, in a panel for each figure.

    Args:
        experiment: every design.
        measures: their names; further left is better in each.
        finding: what the figure shows, in one sentence.
    """
    policies = list(experiment.policies)
    rows = math.ceil(len(measures) / 2)
    figure, panels = new_figure(
        rows=rows,
        columns=2,
        height_in=1.3 + rows * (0.55 + 0.24 * len(policies)),
        finding=finding,
        note=f"{_study_words({experiment.scenario.name: experiment})}; lines: 95% intervals; "
        "further left is better. Both lags leave out keys that never reached the primary.",
        sharey=True,
    )
    for axes, measure in zip(panels, measures, strict=False):
        for y, policy in enumerate(policies):
            _draw_point(axes, y, experiment.interval(policy, measure), colour(policy, policies))
        axes.set_title(_GIVEN_UP.get(measure, measure), fontsize=10.5)
        axes.set_yticks(range(len(policies)), policies)
        axes.set_ylim(len(policies) - 0.4, -0.6)
        ends = [experiment.interval(policy, measure).mean for policy in policies]
        right = axes.get_xlim()[1] if any(end > 0 for end in ends) else 1.0
        axes.set_xlim(-0.03 * right, right)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
    for axes in panels[len(measures) :]:
        axes.set_visible(False)
    spread_out(figure)
    return figure


def _draw_point(axes: Axes, y: float, interval: Interval, hue: str) -> None:
    """A mean and its interval, no further left than zero: none of these figures is negative."""
    if math.isnan(interval.mean):
        axes.text(0, y, " none", color=QUIET, fontsize=9.5, va="center")
        return
    if not math.isnan(interval.low):
        ends = [max(0.0, interval.low), interval.high]
        axes.plot(ends, [y, y], color=hue, linewidth=3, alpha=0.45, solid_capstyle="butt")
    axes.plot(interval.mean, y, "o", color=hue, markersize=6, clip_on=False, zorder=5)


@house_style
def sensitivity_of_designs(
    varied: Mapping[str, Experiment],
    recommended: str,
    *,
    finding: str = "Whether the recommendation survives other assumptions",
) -> Figure:
    """Draw how much more often other designs fail, under each assumption by itself.

    Args:
        varied: by what is assumed, in a few words; what is not varied first. All have the
            recommended design, and the same others.
        recommended: the design that the others are held against.
        finding: what the figure shows, in one sentence.
    """
    others = [name for name in next(iter(varied.values())).policies if name != recommended]
    names = list(dict.fromkeys([*DESIGNS, recommended, *others]))
    confidence = simultaneous(max(1, len(others)))
    more = {
        (words, other): study.difference(other, recommended, "availability", confidence=confidence)
        for words, study in varied.items()
        for other in others
    }
    figure, (axes,) = new_figure(
        height_in=1.6 + 0.5 * len(varied),
        finding=finding,
        note=f"{_study_words(varied)}; lines: 95% intervals of paired differences, of one row at "
        f"once. Right of zero {recommended} fails less often. Scale: linear close to zero, then "
        "logarithmic.",
    )
    sizes = [abs(end) for each in more.values() for end in (each.mean, each.low, each.high) if end]
    # Four decades at most to either side: their ticks can still be read.
    most = math.ceil(math.log10(max((each for each in sizes if each > 0), default=1e-2)))
    axes.set_xscale("symlog", linthresh=10.0 ** (most - 4))
    axes.axvline(0, color=INK, linewidth=1)
    step = 0.5 / max(1, len(others))
    for row, words in enumerate(varied):
        for place, other in enumerate(others):
            y = row + step * (place - (len(others) - 1) / 2)
            interval, hue = more[words, other], colour(other, names)
            if not math.isnan(interval.low):
                axes.plot([interval.low, interval.high], [y, y], color=hue, linewidth=3, alpha=0.45)
            axes.plot(
                interval.mean, y, "o", color=hue, markersize=6, label=other if not row else None
            )
    axes.set_yticks(range(len(varied)), list(varied))
    axes.set_ylim(len(varied) - 0.5, -0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.6g}%"))
    axes.set_xlabel(f"more get calls that failed than under {recommended}")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.0 + 0.9 / len(varied)), ncols=3)
    return figure


def _study_words(experiments: Mapping[str, Experiment]) -> str:
    first = next(iter(experiments.values()))
    counts = " and ".join(dict.fromkeys(str(each.replications) for each in experiments.values()))
    warmup = duration(max(each.scenario.warmup_s for each in experiments.values()))
    return f"{counts} replications, seed {first.seed}, warm-up of {warmup} not counted"


def _percent(share: float) -> str:
    """Two digits of a share: 2.5%, 0.0031%."""
    return f"{100 * share:.2g}%"
