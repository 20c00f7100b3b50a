"""How a closed form is held against the laboratory, and how that is shown."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from ftrepo.designs import named_policies
from sim.history import GetOutcome, History
from sim.show.figure_theory import (
    replications_needed,
    theory_against_simulation,
    warm_up_by_state,
)
from sim.show.table_theory import form_table, theory_table
from sim.study.experiment import experiment
from sim.study.intervals import Interval
from sim.study.validation import FORMS, Case, Form, Point, forms, ratio_interval, validate
from sim.study.warmup import WarmUp
from sim.world.scenario import KeySettings, Scenario
from sim.world.traffic import Constant

SMALL = Scenario(
    name="small",
    duration_s=60.0,
    traffic=Constant(rate_per_s=1.0),
    keys=KeySettings(unknown_share=0.0),
)


def lost(history: History) -> tuple[float, float]:
    """Calls that did not come out right, and all."""
    outcome = history.gets.outcome
    return float(np.count_nonzero(outcome != GetOutcome.RIGHT)), float(len(outcome))


def half(history: History) -> tuple[float, float]:
    """Two sums whose ratio is always a half."""
    _, calls = lost(history)
    return calls / 2, calls


def a_form(*totals: str) -> Form:
    """A form of one scenario, with a series for each kind of sums."""
    known = {"lost": (lost, 0.0), "half": (half, 0.5)}

    def case(series: str, x: float) -> Case:
        sums, expected = known[series]
        return Case(
            expected=expected * x,
            scenario=SMALL,
            policy=named_policies()["default"],
            totals=sums,
        )

    return Form(
        title="a form",
        formula="x",
        assumes="nothing",
        x_label="x, seconds",
        y_label="y",
        case=case,
        series=totals,
        xs=(1.0, 2.0),
    )


def test_a_ratio_of_sums_keeps_its_promise() -> None:
    """Where runs with more keys have longer lags, too, which biases the mean of the ratios."""
    rng = np.random.default_rng(5)
    covered, plain = [], []
    for _ in range(600):
        below = rng.gamma(4.0, 0.25, 12)
        above = below * (0.5 + below) * rng.uniform(0.9, 1.1, 12)
        interval = ratio_interval(list(zip(above.tolist(), below.tolist(), strict=True)))
        # E[X] / E[Y] = (0.5 E[Y] + E[Y²]) / E[Y], with E[Y²] = 1.25 E[Y]².
        covered.append(interval.low <= 1.75 <= interval.high)
        plain.append(float(np.mean(above / below)))
    assert np.mean(plain) == pytest.approx(1.5, abs=0.05)
    # The linearisation costs some of the 95% with so few and so skewed runs.
    assert np.mean(covered) > 0.85


def test_a_ratio_of_what_is_not_negative_is_not_either() -> None:
    """Only its lower end gives way; a sum that may be negative keeps the whole interval."""
    seldom = ratio_interval([(0.0, 9.0), (0.0, 11.0), (4.0, 10.0)])
    assert seldom.low == 0.0
    both = ratio_interval([(-1.0, 9.0), (0.0, 11.0), (4.0, 10.0)])
    assert both.low < 0 < both.mean < both.high


def test_a_ratio_without_a_run_or_a_width_says_so() -> None:
    """NaN where nothing was counted, no ends from one run, no width where all runs agree."""
    assert math.isnan(ratio_interval([(0.0, 0.0), (0.0, 0.0)]).mean)
    one = ratio_interval([(1.0, 4.0)])
    assert (one.mean, math.isnan(one.low)) == (0.25, True)
    assert ratio_interval([(1.0, 4.0), (2.0, 8.0)]) == Interval(0.25, 0.25, 0.25, 2)


def test_more_confidence_takes_a_wider_interval() -> None:
    """Bonferroni's share of many comparisons."""
    totals = [(1.0, 2.0), (2.0, 3.0), (1.0, 4.0)]
    usual, wide = ratio_interval(totals), ratio_interval(totals, confidence=0.999)
    assert wide.high - wide.mean > 5 * (usual.high - usual.mean)


def test_a_point_agrees_within_its_interval_only() -> None:
    """Both ends belong to it, and rounding is forgiven."""
    point = Point(series="", x=1.0, expected=0.3, simulated=Interval(0.2, 0.1, 0.3, 5))
    assert point.agrees
    assert replace(point, expected=0.1 * 3).agrees
    assert not replace(point, expected=0.31).agrees
    assert not replace(point, expected=0.09).agrees


def test_points_that_need_the_same_runs_share_them() -> None:
    """Two series of two points of one scenario take one run for each replication."""
    seen: list[int] = []
    points = validate(
        {"a": a_form("lost", "half"), "b": a_form("half")},
        replications=2,
        workers=1,
        progress=lambda done, total: seen.append(total),
    )
    assert seen[-1] == 2
    assert [(point.series, point.x) for point in points["a"]] == [
        ("lost", 1.0), ("lost", 2.0), ("half", 1.0), ("half", 2.0),
    ]  # fmt: skip
    assert [point.simulated.mean for point in points["a"]] == [0.0, 0.0, 0.5, 0.5]
    assert [point.agrees for point in points["b"]] == [True, False]


def test_every_form_says_what_it_is() -> None:
    """Title, axes, formula and assumptions; at least six points; and a series at every point."""
    for about in FORMS:
        for form in forms(about).values():
            assert len(form.series) * len(form.xs) >= 6
            assert all((form.title, form.formula, form.assumes, form.x_label, form.y_label))
            for series in form.series:
                assert math.isfinite(form.case(series, form.xs[0]).expected)


def test_tables_name_the_point_that_is_furthest_off() -> None:
    """And how many of the points agree."""
    form = a_form("half")
    near = Point(series="half", x=1.0, expected=0.5, simulated=Interval(0.51, 0.4, 0.62, 5))
    far = Point(series="half", x=2.0, expected=1.0, simulated=Interval(0.5, 0.4, 0.6, 5))
    text = repr(theory_table({"a": form}, {"a": [near, far]}))
    assert "| a form | 1 of 2 | half at 2: theory 1, simulated 0.5 [0.4, 0.6] |" in text
    assert "| a form | y | x | nothing |" in repr(form_table({"a": form}))


def test_figures_are_drawn_from_points_and_states() -> None:
    """A panel for each form, with a dashed line and bars; the warm-up; and the replications."""
    form = replace(a_form("half"), log_y=True)
    points = [
        Point(series="half", x=x, expected=x / 2, simulated=Interval(x / 2, -0.1, x, 5))
        for x in form.xs
    ]
    figure = theory_against_simulation(
        {"a": form, "b": replace(form, log_y=False), "c": form},
        {"a": points, "b": points, "c": points},
        replications=5,
        seed=1,
    )
    assert isinstance(figure, Figure)
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.get_visible()]
    assert titles == ["a form"] * 3
    series = np.random.default_rng(1).normal(10.0, 1.0, (3, 100))
    for suggested_s in (600.0, math.nan):
        verdict = WarmUp(suggested_s=suggested_s, converged=suggested_s == 600.0, warmup_s=600.0)
        warm_up_by_state(series, verdict, bin_s=60.0, state="keys").canvas.draw()
    study = experiment(SMALL, {"default": named_policies()["default"]}, replications=4, workers=1)
    coverage = {"share_interval": {4: 0.94, 10: 0.95}}
    drawn = replications_needed(study, "availability", coverage)
    assert [axes.get_xlabel() for axes in drawn.axes] == ["replications"] * 2
