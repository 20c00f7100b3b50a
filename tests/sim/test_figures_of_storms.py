"""Figures of retries and breakers: what they show is what the results say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ftrepo.designs import named_policies
from ftrepo.policy import Policy
from sim.overload import attempts_per_request, not_closed_s, recovery_mean_s
from sim.run import Result, run
from sim.show import (
    breaker_over_time,
    breaker_trade,
    load_by_callers,
    recovery_by_remedy,
    retry_amplification,
    storm_over_time,
    window_trade,
)
from sim.show.style import VERMILLION, WIDTH_IN
from sim.study.loads import futile_calls_bound_per_s, primary_attempts_per_s
from sim.study.results import Study, play
from sim.study.storms import called_per_s
from sim.world.outage_patterns import FixedWindows
from sim.world.outages import OutageMode
from sim.world.scenario_file import load_scenario
from sim.world.traffic import Poisson
from tests.sim.test_breaker_study import WORLD
from tests.sim.test_figures import FINDING, texts
from tests.sim.test_loads import BOUNDS, FLOODED, REFUSING, asked_by

PLAIN = named_policies()["primary-only"]
_FULL = load_scenario("retry-storm")
STORM = replace(  # at half the rate, to be quick
    _FULL,
    duration_s=140.0,
    traffic=Poisson(rate_per_s=17.5),
    primary=replace(_FULL.primary, workers=1),
    keys=replace(_FULL.keys, peers=99),
)
BUDGETED = replace(STORM, caller=replace(STORM.caller, retry_budget_ratio=0.1))
REMEDIES = {"retries, no budget": STORM, "retry budget of 10%": BUDGETED}
SHORT = replace(WORLD, duration_s=600.0)
WINDOWS = {
    f"window {window_s:g} s": Policy(
        breaker_failure_threshold=None, breaker_failure_rate=0.5, breaker_window_s=window_s
    )
    for window_s in (2.0, 10.0)
}

CALLERS = (2.0, 200.0)
LOADS = {"refused": REFUSING, "made up": FLOODED}


@dataclass(frozen=True)
class Played:
    """What the figures are drawn from."""

    storms: dict[str, list[Result]]
    failing: dict[str, dict[float, Study]]
    outages: dict[str, Study]
    noisy: Study
    loads: dict[str, dict[float, Study]]
    single: Result


@pytest.fixture(scope="module")
def played() -> Played:
    """Two replications of everything."""
    total = FixedWindows(windows=((0.0, 139.0),), mode=OutageMode.ERROR_RATE, severity=1.0)
    opened = {f"open {open_s:g} s": Policy(breaker_open_s=open_s) for open_s in (2.0, 10.0)}
    noisy = replace(SHORT, primary=replace(SHORT.primary, failing_share=0.2))
    plans = {
        **{f"storm {name}": (world, {name: PLAIN}) for name, world in REMEDIES.items()},
        "failing": (replace(BUDGETED, outages=(total,)), {"plain": PLAIN}),
        "outages": (SHORT, opened),
        "noisy": (noisy, WINDOWS),
        **{
            f"{name}, {count}": (asked_by(count, world), BOUNDS)
            for name, world in LOADS.items()
            for count in CALLERS
        },
    }
    studies = play(plans, replications=2, workers=1)
    return Played(
        storms={name: list(studies[f"storm {name}"].results[name]) for name in REMEDIES},
        failing={"budget of 10%": {1.0: studies["failing"]}},
        outages={"60 s": studies["outages"]},
        noisy=studies["noisy"],
        loads={name: {count: studies[f"{name}, {count}"] for count in CALLERS} for name in LOADS},
        single=run(SHORT, Policy(), seed=1),
    )


DRAWN: dict[str, Callable[[Played], Figure]] = {
    "storm_over_time": lambda played: storm_over_time(played.storms, finding=FINDING),
    "recovery_by_remedy": lambda played: recovery_by_remedy(
        played.storms, theory={"retry budget of 10%": 30.0}, finding=FINDING
    ),
    "retry_amplification": lambda played: retry_amplification(played.failing, finding=FINDING),
    "breaker_trade": lambda played: breaker_trade(
        played.outages,
        "breaker_open_s",
        theory={"60 s": ({2.0: 40.0, 10.0: 12.0}, {2.0: 1.0, 10.0: 5.0})},
        finding=FINDING,
    ),
    "window_trade": lambda played: window_trade(
        played.noisy, theory={2.0: 9.0, 10.0: 20.0}, finding=FINDING
    ),
    "load_by_callers": lambda played: load_by_callers(played.loads, finding=FINDING),
    "breaker_over_time": lambda played: breaker_over_time(
        {"a storm": played.storms["retries, no budget"][0], "outages": played.single},
        finding=FINDING,
    ),
}


@pytest.mark.parametrize("name", DRAWN)
def test_every_word_lies_within_the_picture_and_nothing_is_left_behind(
    name: str, played: Played
) -> None:
    """At the width of a page nothing is cut off; settings and open figures are as before."""
    before = dict(mpl.rcParams)
    figure = DRAWN[name](played)
    assert dict(mpl.rcParams) == before
    assert plt.get_fignums() == []
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawn, page = figure.get_tightbbox(canvas.get_renderer()), figure.get_size_inches()
    assert min(drawn.x0, drawn.y0) >= 0
    assert drawn.x1 <= page[0]
    assert drawn.y1 <= page[1]
    assert figure.get_figwidth() == WIDTH_IN
    words = texts(figure)
    assert FINDING in words
    assert len([each for each in words if "seed 1" in each]) == 1


def test_a_storm_is_drawn_as_high_as_it_is(played: Played) -> None:
    """The line of the calls is their mean over replications, beside the capacity."""
    calls, served = storm_over_time(played.storms).axes
    line = np.asarray(calls.lines[0].get_ydata(), dtype=float)
    rows = [called_per_s(each.history, 5.0) for each in played.storms["retries, no budget"]]
    assert line == pytest.approx(np.mean(rows, axis=0))
    capacity = next(each for each in calls.lines if "can do 25/s" in str(each.get_label()))
    assert float(np.asarray(capacity.get_ydata())[0]) == 25.0
    assert line[-1] > 25.0
    asked = next(each for each in served.lines if each.get_label() == "asked for")
    assert float(np.asarray(asked.get_ydata()).mean()) == pytest.approx(17.5, rel=0.05)


def test_what_never_recovers_is_not_given_a_number(played: Played) -> None:
    """An arrow to beyond the end says so; the others have their mean."""
    (axes,) = recovery_by_remedy(played.storms).axes
    words = [each.get_text() for each in axes.texts]
    assert "not before the end (100% of the runs)" in words
    mean_s = np.mean(
        [recovery_mean_s(each.history) for each in played.storms["retry budget of 10%"]]
    )
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [float(np.ravel(each.get_xdata())[0]) for each in dots] == pytest.approx([mean_s])
    assert f"{mean_s:.2g} s" in words


def test_amplification_is_that_of_the_runs(played: Played) -> None:
    """A dot is the mean over replications, and the line is the theory's."""
    (axes,) = retry_amplification(played.failing).axes
    (dot,) = [line for line in axes.lines if line.get_marker() == "o"]
    study = played.failing["budget of 10%"][1.0]
    found = study.interval("plain", attempts_per_request).mean
    assert float(np.ravel(dot.get_ydata())[0]) == pytest.approx(found)
    assert float(np.asarray(axes.lines[0].get_ydata())[-1]) == pytest.approx(1.1)


def test_the_strip_is_red_as_long_as_the_breaker_is_not_closed(played: Played) -> None:
    """And all of the run is either red or green."""
    (axes,) = breaker_over_time({"outages": played.single}).axes
    red = mpl.colors.to_rgba(VERMILLION)
    spans = [each for each in axes.patches if isinstance(each, Rectangle)]
    strip = [each for each in spans if each.get_y() > 0.9]
    unit_s = 60.0
    shown_s = sum(each.get_width() for each in strip if each.get_facecolor() == red) * unit_s
    history = played.single.history
    stretches = not_closed_s(history)
    assert shown_s == pytest.approx(float((stretches[:, 1] - stretches[:, 0]).sum()))
    assert sum(each.get_width() for each in strip) * unit_s == pytest.approx(600.0)


def test_a_line_joins_the_policies_in_the_order_of_the_setting(played: Played) -> None:
    """With the theory on top of it."""
    wasted, closes = DRAWN["breaker_trade"](played).axes
    for axes in (wasted, closes):
        line, theory = (np.asarray(each.get_xdata()).tolist() for each in axes.lines[:2])
        assert line == theory == [2.0, 10.0]
    assert wasted.get_xscale() == "log"


def test_a_load_is_drawn_below_the_bound_that_the_policy_states(played: Played) -> None:
    """In each panel a line for each policy, the means by the number of callers; and the bound."""
    panels = load_by_callers(played.loads).axes
    assert [axes.get_title(loc="left") for axes in panels] == list(played.loads)
    for axes, studies in zip(panels, played.loads.values(), strict=True):
        lines = {str(each.get_label()): each for each in axes.lines}
        (bound,) = (line for label, line in lines.items() if label.startswith("the bound"))
        bound_per_s = futile_calls_bound_per_s(BOUNDS["default"], span_s=5.0)
        assert np.asarray(bound.get_ydata()).tolist() == [bound_per_s] * 2
        for policy in BOUNDS:
            means = [
                study.interval(policy, primary_attempts_per_s).mean for study in studies.values()
            ]
            assert np.asarray(lines[policy].get_xdata()).tolist() == list(CALLERS)
            assert np.asarray(lines[policy].get_ydata()).tolist() == pytest.approx(means)
    (legend,) = (axes.get_legend() for axes in panels if axes.get_legend() is not None)
    assert [each.get_text() for each in legend.get_texts()] == [*BOUNDS, "the bound: 124"]
