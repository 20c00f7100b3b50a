"""The figure of what the primary is asked for nothing, however many ask."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from sim.show.style import (
    THEORY_LINE,
    band,
    colour,
    house_style,
    new_figure,
    provenance,
    spread_out,
)
from sim.study.loads import futile_calls_bound_per_s, measured_s, primary_attempts_per_s
from sim.study.results import Study


@house_style
def load_by_callers(
    studies: Mapping[str, Mapping[float, Study]],
    *,
    finding: str = "Calls a second that bring nothing, by the number of callers",
) -> Figure:
    """Draw how many calls the primary gets that bring nothing, against how many callers ask.

    Dashed: the bound that holds for the policies that set one.

    Args:
        studies: for each panel, by what makes calls bring nothing, a study of the same policies by
            the number of callers. All that is measured in it must be calls that bring nothing.
        finding: what the figure shows, in one sentence.
    """
    ladders = list(studies.values())
    groups = [next(iter(study.results.values())) for each in ladders for study in each.values()]
    figure, panels = new_figure(
        columns=len(studies),
        height_in=4.3,
        finding=finding,
        note=provenance(*groups, drawn="bars") + " Each caller asks about once a second.",
        sharey=True,
    )
    spread_out(figure)
    for axes, (name, by_callers) in zip(panels, studies.items(), strict=True):
        _by_callers(axes, by_callers)
        axes.set_title(name, fontsize=10.5)
    panels[0].set_ylabel("calls for nothing, 1/s")
    panels[-1].legend(loc="lower right")
    return figure


def _by_callers(axes: Axes, studies: Mapping[float, Study]) -> None:
    callers = sorted(studies)
    first = studies[callers[0]]
    names = list(first.policies)
    for row, name in enumerate(names):
        values = [studies[count].values(name, primary_attempts_per_s) for count in callers]
        mean, low, high = band(np.array(values).T)
        low = np.maximum(low, mean / 10)  # An axis of powers has no zero.
        size = 1.5 * (len(names) - row)  # Lines on one another are all seen.
        hue = colour(name, names)
        axes.vlines(callers, low, high, color=hue, linewidth=3, alpha=0.5)
        axes.plot(
            callers, mean, "o-", color=hue, label=name, markersize=4 + size, linewidth=0.5 + size
        )
    history = next(iter(first.results.values()))[0].history
    for bound in {
        futile_calls_bound_per_s(policy, measured_s(history)) for policy in first.policies.values()
    }:
        if math.isfinite(bound):
            axes.axhline(bound, label=f"the bound: {bound:,.0f}", **THEORY_LINE)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(callers, [f"{count:,g}" for count in callers])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.minorticks_off()
    axes.set_xlabel("callers")
