"""Figures: what they show is what the results say, and every word of them can be read."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from ftrepo.designs import named_policies
from ftrepo.policy import Policy
from sim.history import GetOutcome
from sim.run import Result
from sim.show import (
    availability_by_policy,
    availability_over_time,
    cache_by_fleet,
    cache_growth,
    figures_of_comparison,
    figures_of_run,
    lag_by_setting,
    oldest_pending_age,
    pending_depth,
    simulation_against_reality,
    sync_lag_distribution,
)
from sim.show.style import WIDTH_IN
from sim.study.experiment import Experiment, experiment
from sim.study.growth import mean_entries
from sim.study.lags import mean_wait_s, outage_lags
from sim.study.results import Study, play
from sim.world.outage_patterns import FixedWindows
from sim.world.outages import OutageMode
from sim.world.scenario import KeySettings, Scenario
from sim.world.traffic import Poisson

SCENARIO = Scenario(
    name="small",
    duration_s=900.0,
    warmup_s=60.0,
    outages=(
        FixedWindows(windows=((300.0, 420.0),)),
        FixedWindows(windows=((600.0, 640.0),), mode=OutageMode.ERROR_RATE, severity=0.5),
    ),
    traffic=Poisson(rate_per_s=0.2),
    keys=KeySettings(rotation_interval_s=20.0, lifetime_s=1200.0, token_lifetime_s=600.0, peers=1),
)
CALM = replace(SCENARIO, name="calm", outages=())
POLICIES = {
    "default": Policy(),
    "open 1 s": Policy(breaker_open_s=1.0),
    "flush 10 s": Policy(flush_interval_s=10.0),
    "no breaker": Policy(breaker=False),
    "no breaker, flush 10 s": Policy(breaker=False, flush_interval_s=10.0),
}
FINDING = "What is to be seen"


@pytest.fixture(scope="module")
def studies() -> dict[str, Study]:
    """Two replications of each policy, of a world without outages, and of a larger fleet."""
    fleet = replace(SCENARIO, name="fleet", keys=replace(SCENARIO.keys, peers=7))
    default = {"default": Policy()}
    plans = {"small": (SCENARIO, POLICIES), "calm": (CALM, default), "fleet": (fleet, default)}
    return play(plans, replications=2, workers=1)


@pytest.fixture(scope="module")
def compared() -> Experiment:
    """The service as it is against the default policy."""
    policies = {name: named_policies()[name] for name in ("primary-only", "default")}
    return experiment(SCENARIO, policies, replications=2, workers=1)


@pytest.fixture
def result(studies: dict[str, Study]) -> Result:
    """One run of the default policy with outages."""
    return studies["small"].results["default"][0]


Draw = Callable[[dict[str, Study], Experiment], Figure]
DRAWN: dict[str, Draw] = {
    "availability_by_policy": lambda _, compared: availability_by_policy(
        {"one world": compared, "another": compared}, finding=FINDING
    ),
    "availability_over_time": lambda studies, _: availability_over_time(
        {name: studies["small"].results[name][0] for name in POLICIES}, finding=FINDING
    ),
    "sync_lag_distribution": lambda studies, _: sync_lag_distribution(
        {name: studies["small"].results[name] for name in ("default", "open 1 s")},
        theory={"default": lambda lag_s: np.minimum(1.0, lag_s / 120)},
        finding=FINDING,
    ),
    "lag_by_setting": lambda studies, _: lag_by_setting(
        studies["small"], ["breaker_open_s", "flush_interval_s"], finding=FINDING
    ),
    "oldest_pending_age": lambda studies, _: oldest_pending_age(
        {name: studies["small"].results[name][0] for name in ("default", "open 1 s")},
        finding=FINDING,
    ),
    "simulation_against_reality": lambda studies, _: simulation_against_reality(
        {
            name: (results, results[-1])
            for name, results in studies["small"].results.items()
            if name in ("default", "open 1 s")
        },
        finding=FINDING,
    ),
    "cache_growth": lambda studies, _: cache_growth(
        studies["small"].results["default"], finding=FINDING
    ),
    "cache_growth of one run": lambda studies, _: cache_growth(
        studies["small"].results["default"][:1], finding=FINDING
    ),
    "cache_by_fleet": lambda studies, _: cache_by_fleet(
        [
            replace(studies["small"], results={"default": studies["small"].results["default"]}),
            studies["fleet"],
        ],
        finding=FINDING,
    ),
    "pending_depth": lambda studies, _: pending_depth(
        studies["small"].results["default"], finding=FINDING
    ),
}


def texts(figure: Figure) -> list[str]:
    """Every word that is to be seen in a figure, with its lines joined."""
    found = [each for each in figure.findobj(Text) if isinstance(each, Text) and each.get_visible()]
    return [each.get_text().replace("\n", " ").replace("\xa0", " ") for each in found]


@pytest.mark.parametrize("name", DRAWN)
def test_every_word_lies_within_the_picture(
    name: str, studies: dict[str, Study], compared: Experiment
) -> None:
    """At the width of a page nothing is cut off, and the finding and the provenance are there."""
    figure = DRAWN[name](studies, compared)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawn, page = figure.get_tightbbox(canvas.get_renderer()), figure.get_size_inches()
    assert min(drawn.x0, drawn.y0) >= 0
    assert drawn.x1 <= page[0]
    assert drawn.y1 <= page[1]
    assert figure.get_figwidth() == WIDTH_IN
    words = texts(figure)
    assert FINDING in words
    provenance = [each for each in words if "seed 1" in each]
    assert len(provenance) == 1
    assert ("2 replications" in provenance[0]) == ("95% intervals" in provenance[0])


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_leaves_no_trace(
    name: str,
    studies: dict[str, Study],
    compared: Experiment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It writes no file, opens no window and changes no setting of matplotlib."""
    monkeypatch.chdir(tmp_path)
    before = dict(mpl.rcParams)
    DRAWN[name](studies, compared)
    assert dict(mpl.rcParams) == before
    assert plt.get_fignums() == []
    assert list(tmp_path.iterdir()) == []


def test_a_notebook_shows_a_sharp_picture(result: Result) -> None:
    """The picture has twice the pixels of the width at which it is shown."""
    figure = oldest_pending_age({"default": result})
    content, about = figure._repr_mimebundle_()  # type: ignore[attr-defined]
    png = base64.b64decode(content["image/png"])
    assert png.startswith(b"\x89PNG")
    assert int.from_bytes(png[16:20], "big") == 2 * about["image/png"]["width"] == 1600


def test_unavailability_is_drawn_where_it_is(compared: Experiment) -> None:
    """Each policy has its mean as a dot, and a paired difference to the service as it is."""
    (axes,) = availability_by_policy({"one world": compared}, against="primary-only").axes[:1]
    dots = [line.get_xdata() for line in axes.lines if line.get_marker() == "o"]
    today = 1 - compared.interval("primary-only", "availability").mean
    assert float(np.ravel(dots[0])[0]) == pytest.approx(today)
    difference = compared.difference("primary-only", "default", "availability").mean
    beside = [each.get_text() for each in axes.texts if "[" in each.get_text()]
    assert len(beside) == 1
    assert beside[0].startswith(f"{100 * difference:.2g}%")


def test_no_failure_is_not_called_perfect(studies: dict[str, Study]) -> None:
    """Where nothing failed the figure says how little that proves."""
    calm = experiment(
        CALM, {"primary-only": Policy(), "default": Policy()}, replications=2, workers=1
    )
    words = texts(availability_by_policy({"calm": calm}, against="primary-only"))
    assert sum("no failure seen; at most 100%" in each for each in words) == 2
    titles = texts(availability_over_time({"default": studies["calm"].results["default"][0]}))
    assert any(each.startswith("default: none of ") for each in titles)


def test_availability_over_time_is_that_of_the_calls(result: Result) -> None:
    """Each window shows its own share of right answers; one without a call shows nothing."""
    gets = result.history.gets
    outcome = gets.outcome.copy()
    first = (gets.at_s < 60.0) & gets.eligible
    outcome[first] = GetOutcome.UNAVAILABLE
    spoilt = replace(result, history=replace(result.history, gets=replace(gets, outcome=outcome)))
    (axes,) = availability_over_time({"default": spoilt}).axes
    share = np.asarray(axes.lines[0].get_ydata(), dtype=float)
    assert share[0] == 0.0
    assert share[1] == 1.0
    nobody = replace(gets, eligible=gets.eligible & (gets.at_s >= 60.0))
    quiet = replace(result, history=replace(result.history, gets=nobody))
    (axes,) = availability_over_time({"default": quiet}).axes
    assert np.isnan(np.asarray(axes.lines[0].get_ydata(), dtype=float)[0])


def test_the_distribution_of_lags_is_the_mean_of_those_of_runs(studies: dict[str, Study]) -> None:
    """Each replication weighs the same, however many keys it has."""
    results = studies["small"].results["default"]
    figure = sync_lag_distribution({"default": results})
    line = figure.axes[0].lines[0]
    grid_s, share = (np.asarray(each, dtype=float) for each in line.get_data())
    expected = [(outage_lags(each.history).lag_s <= grid_s[150]).mean() for each in results]
    assert share[150] == pytest.approx(np.mean(expected))
    assert share[-1] == 1.0


def test_a_line_joins_policies_that_differ_in_one_setting(studies: dict[str, Study]) -> None:
    """The flush interval has a line with the breaker and one without; a point is a mean."""
    study = studies["small"]
    figure = lag_by_setting(study, ["breaker_open_s", "flush_interval_s"], figures=["wait_mean_s"])
    left, right = figure.axes
    solid = {
        str(line.get_label()): line for axes in (left, right) for line in axes.lines
        if line.get_marker() == "o"
    }  # fmt: skip
    assert [line.get_xdata().tolist() for line in left.lines if line.get_marker() == "o"] == [
        [1, 5]
    ]
    assert set(solid) == {"otherwise the default", "breaker = false"}
    without = solid["breaker = false"]
    assert np.asarray(without.get_xdata()).tolist() == [1.0, 10.0]
    mean = study.interval("no breaker, flush 10 s", mean_wait_s).mean
    assert np.asarray(without.get_ydata())[1] == pytest.approx(mean)
    theory = next(line for line in right.lines if line.get_marker() == "None")
    assert np.asarray(theory.get_ydata()).tolist() == [0.5, 5.0]


def test_the_oldest_age_has_its_true_corners(result: Result) -> None:
    """The line rises by a second a second and drops at once, whatever the pace of the samples."""
    (axes,) = oldest_pending_age({"default": result}, between_s=(280.0, 460.0)).axes
    at, age = (np.asarray(each, dtype=float) for each in axes.lines[0].get_data())
    minutes = 60.0 if "minutes" in axes.get_ylabel() else 1.0
    at_s, age_s = at * (60.0 if "minutes" in axes.get_xlabel() else 1.0), age * minutes
    rising = (np.diff(age_s) > 0) & (age_s[:-1] > 0)
    assert rising.any()
    assert np.diff(age_s)[rising] == pytest.approx(np.diff(at_s)[rising], abs=1e-6)
    falling = np.diff(age_s) < 0
    assert falling.any()
    assert np.diff(at_s)[falling] == pytest.approx(0.0)


def test_theory_of_memory_and_backlog(studies: dict[str, Study]) -> None:
    """Little's law is a line; the backlog grows by a key each rotation interval."""
    study = studies["small"]
    entries, kilobytes = cache_growth(study.results["default"]).axes
    levels = [np.asarray(line.get_ydata(), dtype=float) for line in entries.lines]
    assert any(np.all(level == 2 * 1200.0 / 20.0) for level in levels)
    assert kilobytes.get_ylabel() == "kB, estimated"
    (axes,) = pending_depth(study.results["default"]).axes
    simulated, theory = (np.asarray(line.get_ydata(), dtype=float) for line in axes.lines[:2])
    assert theory[-1] == pytest.approx(120.0 / 20.0)
    assert np.nanmax(np.abs(simulated - theory)) <= 1.0


def test_a_fleet_is_drawn_at_its_size(studies: dict[str, Study]) -> None:
    """Each study is a point at its number of instances and its mean entries."""
    axes = cache_by_fleet([studies["fleet"]]).axes[0]
    (point,) = [line for line in axes.lines if line.get_marker() == "o"]
    assert float(np.ravel(point.get_xdata())[0]) == 8.0
    mean = studies["fleet"].interval("default", mean_entries).mean
    assert float(np.ravel(point.get_ydata())[0]) == pytest.approx(mean)


def test_a_backlog_needs_an_outage(studies: dict[str, Study]) -> None:
    """Where no call was refused there is nothing to draw, and that is said."""
    with pytest.raises(ValueError, match="no run has an outage in which every call fails"):
        pending_depth(studies["calm"].results["default"])


def test_the_figures_of_one_run(studies: dict[str, Study], result: Result) -> None:
    """A run without an outage leaves out the figures that it has nothing to show in."""
    always = ["availability_over_time", "cache_growth"]
    lags = ["oldest_pending_age", "sync_lag_distribution"]
    assert list(figures_of_run(studies["calm"].results["default"][0])) == always
    assert list(figures_of_run(result)) == [*always, *lags, "pending_depth"]


def test_the_figures_of_a_comparison(compared: Experiment, studies: dict[str, Study]) -> None:
    """Policies side by side, from the measures of all runs and from one run each."""
    results = dict.fromkeys(compared.policies, studies["small"].results["default"][0])
    figures = figures_of_comparison(compared, results)
    assert list(figures) == [
        "availability_by_policy",
        "availability_over_time",
        "oldest_pending_age",
        "sync_lag_distribution",
    ]
    assert len(figures["availability_over_time"].axes) == 2
