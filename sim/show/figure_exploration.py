"""Figures of a search through hostile worlds: what was reached, and what more would bring."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import FuncFormatter, NullLocator
from numpy.typing import NDArray

from ftrepo.resilience.breaker_state import BreakerState
from sim.explore.behaviours import BEHAVIOURS, MEANWHILE, PAIRS, SITUATIONS, WELL, pair, situation
from sim.explore.rarefaction import Growth, powers
from sim.explore.tally import Tally
from sim.show.figure_heat_map import COLOURS
from sim.show.figure_sweep import plain_powers
from sim.show.style import INK, VERMILLION, cycle, house_style, new_figure, spread_out
from sim.study.intervals import Interval
from sim.world.outages import OutageMode

COUNTED: Mapping[str, Collection[str]] = {
    "situations": SITUATIONS,
    "pairs": PAIRS,
    "behaviours": BEHAVIOURS,
}
"""What is counted, from the most to the plainest."""

AHEAD = 2
"""So many times the worlds that were played are looked ahead; beyond, the estimate is too low."""

MANY = 10
"""After fewer worlds nobody asks what more of them would bring."""

DARK = 0.55
"""Below this share of the scale a cell is dark, and its text white."""

PAST_ALL_INSTANCES = "publish"
"""What no instance does, so that no breaker stands anywhere as it happens."""

Worlds = NDArray[np.int64]


@house_style
def reached_in_outages(tally: Tally, *, finding: str | None = None) -> Figure:
    """Draw in how many worlds each thing happened in each kind of outage, the rarest at one corner.

    Args:
        tally: of at least one world.
        finding: what the figure shows, in one sentence; `None` for what the tally says.
    """
    modes, things = list(OutageMode), list(MEANWHILE)
    worlds = np.array([[tally.times[pair(mode, what)] for what in things] for mode in modes])
    down, right = (np.argsort(-worlds.sum(axis=axis), kind="stable") for axis in (1, 0))
    worlds = worlds[np.ix_(down, right)]
    figure, (axes,) = new_figure(
        height_in=4.9, finding=finding or pairs_finding(tally), note=_note(tally)
    )
    norm = _scale(worlds)
    _draw_worlds(axes, worlds, norm)
    for (row, column), many in np.ndenumerate(worlds):
        hue = VERMILLION if not many else "white" if float(norm(many)) < DARK else INK
        text = f"{many:,}" if many else "never"
        axes.text(column, row, text, ha="center", va="center", color=hue, fontsize=9)
    axes.set_xticks(
        range(len(things)), [_plain(things[at]) for at in right], rotation=35, ha="right"
    )
    axes.set_yticks(range(len(modes)), [_plain(modes[at].value) for at in down])
    axes.set_ylabel("how the primary fails")
    return figure


def pairs_finding(tally: Tally) -> str:
    """Say whether everything happened in every outage, and in how many worlds at least."""
    never = tally.pairs_never()
    if never:
        return (
            f"Of {len(PAIRS)} pairs of an outage and what happens meanwhile {len(never)} never met"
        )
    least = min(tally.times[each] for each in PAIRS)
    rarest = f"{least:,} of {tally.worlds:,} worlds"
    return f"Everything met every kind of outage, the rarest pair in {rarest}"


@house_style
def situations_reached(tally: Tally, *, finding: str | None = None) -> Figure:
    """Draw in how many worlds each thing happened, by outage and by where the breaker stood.

    Args:
        tally: of at least one world.
        finding: what the figure shows, in one sentence; `None` for what the tally says.
    """
    modes = [WELL, *(mode.value for mode in OutageMode)]
    things = [each for each in MEANWHILE if each != PAST_ALL_INSTANCES]
    figure, panels = new_figure(
        columns=len(BreakerState),
        height_in=4.7,
        finding=finding or situations_finding(tally),
        note=_note(tally) + " White: never seen; some of it cannot be, as a breaker that opens "
        "while it is open.",
        sharey=True,
    )
    spread_out(figure)
    grids = {
        each: np.array(
            [[tally.times[situation(mode, each, what)] for what in things] for mode in modes]
        )
        for each in BreakerState
    }
    norm = _scale(np.concatenate(list(grids.values())))
    for axes, (breaker, worlds) in zip(panels, grids.items(), strict=True):
        drawn = _draw_worlds(axes, worlds, norm)
        axes.set_title(f"breaker {breaker.value}: {np.count_nonzero(worlds)}", fontsize=10.5)
        axes.set_xticks(range(len(things)), map(_plain, things), rotation=90, fontsize=9)
    panels[0].set_yticks(range(len(modes)), map(_plain, modes))
    bar = figure.colorbar(drawn, ax=panels, label="worlds", pad=0.02, fraction=0.03)
    bar.outline.set_visible(False)
    plain_powers(bar.ax.yaxis)
    return figure


def situations_finding(tally: Tally) -> str:
    """Say how many situations were seen, and how many of them hardly."""
    seen = [tally.times[each] for each in SITUATIONS if tally.times[each]]
    return f"{len(seen)} situations were seen, {seen.count(1)} of them in a single world"


@house_style
def growth_of_coverage(tally: Tally, *, finding: str | None = None) -> Figure:
    """Draw how many names any number of worlds reaches, and how many situations more would bring.

    Args:
        tally: of at least `MANY` worlds.
        finding: what the figure shows, in one sentence; `None` for what the tally says.
    """
    note = (
        f"{_note(tally)} Bands: 95% intervals. Dashed: what {AHEAD} times as many would reach at "
        "least. Right: the estimate of Good and Turing."
    )
    figure, (reached, new) = new_figure(
        columns=2, height_in=4.2, finding=finding or growth_finding(tally), note=note
    )
    spread_out(figure)
    for number, (name, names) in enumerate(COUNTED.items()):
        growth, hue = Growth.of(tally, names), cycle(number)
        _draw_growth(reached, growth, hue)
        reached.annotate(
            f"{name}: {len(growth.times)} of {len(names)}", (0.03, 0.97 - 0.08 * number),
            xycoords="axes fraction", va="top", color=hue, fontweight="bold",
        )  # fmt: skip
    reached.set_ylim(0, 1.45 * len([each for each in SITUATIONS if tally.times[each]]))
    reached.set_title("reached", fontsize=10.5)
    situations = Growth.of(tally, SITUATIONS)
    sizes = [each for each in powers(situations.worlds) if each >= MANY]
    in_thousand = [_times(1000, situations.new_in_one(each)) for each in sizes]
    _draw_band(new, sizes, in_thousand, cycle(0))
    new.set_yscale("log")
    new.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.10g}"))
    new.set_title("new situations in 1,000 worlds more", fontsize=10.5)
    for axes in (reached, new):
        axes.set_xscale("log")
        axes.set_xlabel("worlds that were played")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
        axes.xaxis.set_minor_locator(NullLocator())
    return figure


def growth_finding(tally: Tally) -> str:
    """Say what is complete, and what more worlds would still bring."""
    complete = [name for name, names in COUNTED.items() if all(tally.times[each] for each in names)]
    new = 1000 * Growth.of(tally, SITUATIONS).new_in_one().mean
    all_reached = f"All {' and '.join(complete)} were reached; " if complete else ""
    return f"{all_reached}1,000 worlds more would show {new:.2g} new situations"


def _draw_growth(axes: Axes, growth: Growth, hue: str) -> None:
    sizes = powers(growth.worlds)
    _draw_band(axes, sizes, [growth.after(each) for each in sizes], hue)
    further = [round(each) for each in np.geomspace(growth.worlds, AHEAD * growth.worlds, 8)]
    ahead = [growth.after(each).mean for each in further]
    axes.plot(further, ahead, color=hue, linestyle=(0, (3, 2)), linewidth=1.5)


def _draw_band(axes: Axes, xs: Sequence[int], found: Sequence[Interval], hue: str) -> None:
    low, mean, high = ([getattr(each, end) for each in found] for end in ("low", "mean", "high"))
    axes.fill_between(xs, low, high, color=hue, alpha=0.18, linewidth=0)
    axes.plot(xs, mean, color=hue)


def _draw_worlds(axes: Axes, worlds: Worlds, norm: LogNorm) -> AxesImage:
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return axes.imshow(np.ma.masked_equal(worlds, 0), cmap=COLOURS, norm=norm, aspect="auto")


def _scale(worlds: Worlds) -> LogNorm:
    seen = worlds[worlds > 0]
    least, most = (int(seen.min()), int(seen.max())) if seen.size else (1, 1)
    return LogNorm(least, max(most, least + 1))


def _times(factor: float, interval: Interval) -> Interval:
    mean, low, high = (factor * each for each in (interval.mean, interval.low, interval.high))
    return Interval(mean, low, high, interval.replications)


def _note(tally: Tally) -> str:
    return f"{tally.worlds:,} worlds, each drawn from a seed of its own."


def _plain(name: str) -> str:
    return name.replace("_", " ")
