"""Figures of a sweep: what they show is what the sweep says."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection

from ftrepo.policy import Policy
from sim.measures import MEASURES
from sim.show.figure_heat_map import sweep_heat_map
from sim.show.figure_sweep import sweep_curve, sweep_trade_off
from sim.show.sweep_files import figures_of_sweep
from sim.show.sweep_words import finding_of, mean_text, measure_label, setting_label, span_text
from sim.study.experiment import RunFigures
from sim.study.grid import expand
from sim.study.intervals import Interval
from sim.study.swept import Sweep
from tests.sim.sweeps import WORLD
from tests.sim.test_figures import texts

LAG, LOAD, AVAILABILITY = "sync_lag_p99_s", "attempts_per_request", "availability"
FLUSH = [1.0, 5.0, 30.0]
TIMEOUTS = [0.1, None]


def made_up(
    settings: Mapping[str, list[Any]],
    figure: Callable[[Mapping[str, Any], int], dict[str, float]],
    replications: int = 3,
) -> Sweep:
    """A sweep whose figures are given rather than played."""
    cases = tuple(expand(WORLD, Policy(), settings))
    none = {each.name: math.nan for each in MEASURES}
    runs = tuple(
        tuple(
            RunFigures(
                measures=none | figure(case.point, number),
                outages=1,
                harmful_outages=0,
                share_at_risk=0.1,
                played_s=900.0,
            )
            for number in range(replications)
        )
        for case in cases
    )
    held = {name: tuple(values) for name, values in settings.items()}
    return Sweep(scenario=WORLD, policy=Policy(), settings=held, seed=1, cases=cases, runs=runs)


def lags(point: Mapping[str, Any], number: int) -> dict[str, float]:
    """Lags that grow with the flush interval, loads that fall, and not one failure."""
    flush_s, timeout_s = point["flush_interval_s"], point.get("operation_timeout_s") or 2.0
    noise = 1 + 0.01 * number
    return {LAG: (flush_s + timeout_s) * noise, LOAD: 5 / flush_s * noise, AVAILABILITY: 1.0}


SWEPT = made_up({"flush_interval_s": FLUSH, "operation_timeout_s": TIMEOUTS}, lags)
ONE = made_up({"flush_interval_s": FLUSH}, lags)


def test_each_cell_of_a_heat_map_has_its_mean_and_interval() -> None:
    """In its place: the first setting along the bottom, the second one up the side."""
    figure = sweep_heat_map(SWEPT, LAG)
    axes, bar = figure.axes
    (image,) = axes.get_images()
    means = np.asarray(image.get_array())
    for row, timeout_s in enumerate(TIMEOUTS):
        for column, flush_s in enumerate(FLUSH):
            point = {"flush_interval_s": flush_s, "operation_timeout_s": timeout_s}
            assert means[row, column] == SWEPT.interval(point, LAG).mean
    shown = [each.get_text() for each in axes.texts]
    first = SWEPT.interval(SWEPT.points[0], LAG)
    assert shown[:2] == [mean_text(LAG, first), span_text(LAG, first)]
    assert len(shown) == 2 * 6
    assert [each.get_text() for each in axes.get_yticklabels()] == ["0.1", "none"]
    assert axes.get_xlabel() == "flush_interval_s, seconds"
    assert bar.get_ylabel() == "sync lag p99, s"


def test_a_heat_map_can_be_turned_and_split() -> None:
    """A third setting has a panel for each of its values, all in the same colours."""
    settings: dict[str, list[Any]] = {
        "flush_interval_s": FLUSH,
        "operation_timeout_s": TIMEOUTS,
        "breaker": [True, False],
    }
    split = made_up(settings, lags)
    first, second, _ = sweep_heat_map(split, LAG, columns="operation_timeout_s").axes
    assert first.get_xlabel() == "operation_timeout_s, seconds"
    assert first.get_ylabel() == "flush_interval_s, seconds"
    titles = [axes.get_title(loc="left") for axes in (first, second)]
    assert titles == ["breaker = true", "breaker = false"]
    (one,), (other,) = first.get_images(), second.get_images()
    assert one.norm is other.norm


def test_no_failure_is_never_shown_as_certainty() -> None:
    """A cell without a failure says what confidence leaves."""
    axes, *_ = sweep_heat_map(SWEPT, AVAILABILITY).axes
    shown = [each.get_text() for each in axes.texts]
    assert shown[0].startswith("≥ 0.")
    assert shown[1] == "no failure"
    assert not [each for each in shown if each.startswith("1")]


def test_a_curve_has_a_line_for_each_value_of_the_other_setting() -> None:
    """With the means on it and the interval around it."""
    left, right = sweep_curve(SWEPT, [LAG, LOAD]).axes
    assert [axes.get_title(loc="left") for axes in (left, right)] == [
        "sync lag p99, s",
        "attempts per request",
    ]
    assert [line.get_label() for line in left.lines] == ["0.1", "none"]
    for line, timeout_s in zip(left.lines, TIMEOUTS, strict=True):
        points = [{"flush_interval_s": f, "operation_timeout_s": timeout_s} for f in FLUSH]
        found = [SWEPT.interval(point, LAG) for point in points]
        assert np.asarray(line.get_ydata()).tolist() == [each.mean for each in found]
    bands = [each for each in left.collections if isinstance(each, PolyCollection)]
    low, high = found[0].low, found[0].high
    edges = np.asarray(bands[-1].get_paths()[0].vertices)[:, 1]
    assert {low, high} <= set(edges.tolist())
    legend = left.get_legend()
    assert legend is not None
    assert legend.get_title().get_text() == "operation_timeout_s, seconds"


def test_a_trade_off_has_both_means_and_the_values_at_its_points() -> None:
    """Joined along the first setting."""
    (axes,) = sweep_trade_off(ONE, LOAD, LAG).axes
    line = axes.lines[0]
    expected = [ONE.interval(point, name).mean for name in (LOAD, LAG) for point in ONE.points]
    drawn = [*np.asarray(line.get_xdata()).tolist(), *np.asarray(line.get_ydata()).tolist()]
    assert drawn == expected
    assert [each.get_text() for each in axes.texts] == ["1", "5", "30"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("attempts per request", "sync lag p99, s")


def test_points_in_one_place_share_a_label() -> None:
    """Where a setting changes nothing, its values do not hide each other."""
    same = made_up({"flush_interval_s": FLUSH}, lambda point, number: {LAG: 2.0, LOAD: 1.0})
    (axes,) = sweep_trade_off(same, LOAD, LAG).axes
    assert [each.get_text() for each in axes.texts] == ["1 … 30"]


def test_a_finding_is_stated_only_if_it_is_clear() -> None:
    """The extremes are chosen among all pairs, and have to be clear in spite of that."""
    assert finding_of(ONE, LAG) == (
        "sync lag p99: from 3.03 s (flush_interval_s = 1) to 32.3 s (flush_interval_s = 30)"
    )
    assert finding_of(ONE, AVAILABILITY).startswith("availability is ≥ 0.")
    assert finding_of(ONE, "goodput_per_s") == "No run has a goodput"
    rng = np.random.default_rng(11)
    noise = made_up(
        {"flush_batch_max": list(range(1, 11))},
        lambda point, number: {LAG: float(rng.exponential())},
        replications=4,
    )
    lowest, *_, highest = sorted(noise.points, key=lambda each: noise.interval(each, LAG).mean)
    assert noise.p_value(lowest, highest, LAG) < 0.05, "had they been chosen beforehand"
    assert finding_of(noise, LAG) == "sync lag p99: 4 replications show no clear difference"


def test_what_cannot_be_read_is_not_drawn() -> None:
    """Too many lines, too many panels, too many settings; the other figures are there."""
    many = made_up({"flush_interval_s": [1.0, 2.0], "flush_batch_max": list(range(1, 9))}, lags)
    with pytest.raises(ValueError, match="8 lines cannot be told apart"):
        sweep_curve(many, [LAG])
    with pytest.raises(ValueError, match="two settings or three, not 1"):
        sweep_heat_map(ONE, LAG)
    with pytest.raises(ValueError, match="breaker was not swept"):
        sweep_heat_map(SWEPT, LAG, rows="breaker")
    assert list(figures_of_sweep(many, [LAG, LOAD])) == [f"heat-map-{LAG}", f"heat-map-{LOAD}"]
    assert list(figures_of_sweep(ONE, [LAG, LOAD])) == ["curves", f"trade-off-{LOAD}"]


def test_figures_are_drawn_where_figures_are_missing() -> None:
    """A measure that no run has, and a single replication, which has no interval."""
    bare = made_up(
        {"flush_interval_s": FLUSH, "operation_timeout_s": TIMEOUTS},
        lambda point, number: {LAG: 1.0},
        replications=1,
    )
    for figure in figures_of_sweep(bare, [LAG, LOAD]).values():
        FigureCanvasAgg(figure).draw()
        assert texts(figure)


@pytest.mark.parametrize(
    ("measure", "interval", "mean", "span"),
    [
        (LAG, Interval(12.3456, 11.0, 13.5, 4), "12.3", "11 … 13.5"),
        (AVAILABILITY, Interval(0.99987, 0.9998, 0.99995, 4), "0.99987", "0.99980 … 0.99995"),
        (AVAILABILITY, Interval(1.0, 0.99912, 1.0, 4), "≥ 0.99912", ""),
        (AVAILABILITY, Interval(1.0, math.nan, math.nan, 1), "no failure", ""),
        (LAG, Interval(math.nan, math.nan, math.nan, 0), "none", ""),
    ],
)
def test_numbers_have_the_digits_that_matter(
    measure: str, interval: Interval, mean: str, span: str
) -> None:
    """Near 1, those by which a share misses it."""
    assert (mean_text(measure, interval), span_text(measure, interval)) == (mean, span)


def test_labels_have_their_units() -> None:
    """As axes show them."""
    assert measure_label("primary_attempts_during_outage_per_s") == (
        "primary attempts during outage, 1/s"
    )
    assert setting_label("operation_timeout_s") == "operation_timeout_s, seconds"
    assert setting_label("breaker") == "breaker"
