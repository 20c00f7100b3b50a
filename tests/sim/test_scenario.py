"""Scenarios: the named ones, strict reading, and what they draw."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sim.world
from sim.world import (
    FixedWindows,
    FlashCrowd,
    InputError,
    KeySettings,
    OutageMode,
    Poisson,
    RecordedTrace,
    Scenario,
    ServiceSettings,
    Streams,
    Timeline,
    generate_trace,
    load_scenario,
    named_scenarios,
    read_access_log,
    read_scenario,
    read_trace,
    write_access_log,
    write_trace,
)
from sim.world.scenario import RECOVERY_S
from sim.world.settings import from_table

NAMES = [
    "brownout",
    "cold-start",
    "default",
    "flapping",
    "flash-crowd",
    "fleet",
    "hang",
    "incident",
    "real-announced",
    "real-connection-limit",
    "real-error-rate",
    "real-full-pool",
    "real-hang",
    "real-locked",
    "real-read-only",
    "real-refuse",
    "real-reset",
    "real-slow",
    "real-starting",
    "recorded-shape",
    "restart-during-outage",
    "retry-storm",
]

SMALL = """
duration_s = 3600
[traffic]
kind = "poisson"
rate_per_s = 1
"""


def _file(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def _refusal(folder: Path, text: str) -> str:
    with pytest.raises(InputError) as caught:
        read_scenario(_file(folder, text))
    message = str(caught.value)
    assert "\n" not in message
    place = f"{folder / 'mine.toml'}: "
    assert message.startswith(place)
    return message.removeprefix(place)


def test_the_public_surface_is_sorted_and_complete() -> None:
    """`__all__` is sorted, and is all that the package imports from its modules."""
    names = sim.world.__all__
    assert names == sorted(names)
    public = {
        name
        for name, value in vars(sim.world).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("sim.world.")
    }
    assert public == set(names)


def test_the_named_scenarios_are_these() -> None:
    """The list in the documentation is the list of files."""
    assert list(named_scenarios()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_named_scenario_draws_a_world(name: str) -> None:
    """Each has outages or a crowd, and a description; it repeats, and replications differ."""
    scenario = load_scenario(name)
    assert scenario.name == name
    assert scenario.description
    worlds = []
    for streams in (Streams(1), Streams(1), Streams(1, 1)):
        timeline = scenario.timeline(scenario.draw_outages(streams))
        arrivals = scenario.draw_arrivals(streams, timeline)
        worlds.append((timeline, arrivals.tolist()))
        assert timeline.outages or isinstance(scenario.traffic, FlashCrowd)
        assert timeline.real_duration_s == scenario.length_s
        assert 1000 < len(arrivals) < 200_000
        assert arrivals[-1] < timeline.duration_s
    assert worlds[0] == worlds[1]
    assert worlds[0][1] != worlds[2][1]


@pytest.mark.parametrize("name", NAMES)
def test_a_scenario_survives_json_and_pickle(name: str) -> None:
    """What `as_dict` returns is plain JSON, and reads back to an equal scenario."""
    scenario = load_scenario(name)
    plain = json.loads(json.dumps(scenario.as_dict()))
    assert from_table(Scenario, plain) == scenario
    assert pickle.loads(pickle.dumps(scenario)) == scenario


def test_the_default_is_what_it_says() -> None:
    """Six hours, failovers about once an hour with a median of 75 s, half refused and half hung."""
    scenario = load_scenario("default")
    assert (scenario.duration_s, scenario.warmup_s) == (21_600, 600)
    assert scenario.traffic == Poisson(rate_per_s=2)
    outages = [each for run in range(300) for each in scenario.draw_outages(Streams(1, run))]
    whole = [each.duration_s for each in outages if each.end_s < 21_600]
    assert len(outages) / 300 == pytest.approx(6, rel=0.1)
    assert np.median(whole) == pytest.approx(75, rel=0.05)
    hung = sum(each.mode is OutageMode.HANG for each in outages) / len(outages)
    assert abs(hung - 0.5) < 4 * math.sqrt(0.25 / len(outages))


def test_a_scenario_is_found_by_name_or_path(tmp_path: Path) -> None:
    """A file's name is the scenario's, unless it gives itself another."""
    path = _file(tmp_path, SMALL)
    assert load_scenario(path).name == "mine"
    assert load_scenario(str(path)) == load_scenario(path)
    assert read_scenario(_file(tmp_path, 'name = "other"\n' + SMALL)).name == "other"
    with pytest.raises(InputError, match="no scenario 'defualt', did you mean 'default'"):
        load_scenario("defualt")
    with pytest.raises(InputError, match="no scenario 'zzz': there are brownout, cold-start"):
        load_scenario("zzz")


def test_what_is_not_said_is_the_default(tmp_path: Path) -> None:
    """A minimal file has the default keys, caller, primary and service, and no outage."""
    scenario = read_scenario(_file(tmp_path, SMALL))
    assert scenario == Scenario(name="mine", duration_s=3600, traffic=Poisson(rate_per_s=1))
    assert scenario.keys == KeySettings()
    assert scenario.draw_outages(Streams(1)) == ()


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("duration = 5\n" + SMALL, "duration is not a setting, did you mean 'duration_s'?"),
        (SMALL + "[keys]\npers = 2", "keys.pers is not a setting, did you mean 'peers'?"),
        (SMALL + "[keys]\nxyz = 2", "keys.xyz is not a setting"),
        (SMALL + "[keys]\npeers = 2.5", "keys.peers must be a whole number, not 2.5"),
        (SMALL + "[keys]\npeers = true", "keys.peers must be a whole number, not true"),
        (SMALL + "[keys]\npeers = -1", "keys.peers must be at least 0, not -1"),
        (
            SMALL + "[caller]\ndeadline_s = nan",
            "caller.deadline_s must be a finite number, not nan",
        ),
        (SMALL + '[caller]\ndeadline_s = "1"', "caller.deadline_s must be a number, not '1'"),
        (SMALL + "[keys]\nlifetime_s = 60", "keys.lifetime_s must be at least rotation_interval_s"),
        ("warmup_s = -1" + SMALL, "warmup_s must be at least 0, not -1"),
        ("warmup_s = 3600" + SMALL, "warmup_s must be below the duration (3600), not 3600"),
        ('condense = "no"' + SMALL, "condense must be true or false or 'auto', not 'no'"),
        ("keys = 3" + SMALL, "keys must be a table, not 3"),
        (SMALL.replace("3600", "-1"), "duration_s must be above 0, not -1"),
        (SMALL.replace("duration_s = 3600", ""), "duration_s is missing; only a recorded trace"),
        ("duration_s = 5", "traffic is missing"),
        (SMALL.replace("poisson", "poison"), "traffic.kind must be one of 'constant', 'poisson', "),
        (SMALL.replace('kind = "poisson"', ""), "traffic.kind is missing: one of 'constant', "),
        (SMALL.replace("rate_per_s = 1", ""), "traffic.rate_per_s is missing"),
        (SMALL.replace("rate_per_s = 1", "rate_per_s = 0"), "traffic.rate_per_s must be above 0"),
        (SMALL + "[primary.select]\nkind = 'exponential'", "primary.select.mean_s is missing"),
        (
            SMALL + "[primary.select]\nkind = 'lognormal'\nmedian_s = 2\np99_s = 1",
            "primary.select.p99_s must be above median_s (2), not 1",
        ),
        (
            SMALL + "[[outages]]\nkind = 'fixed'\nwindows = [[1, 2], [5]]",
            "outages[0].windows[1] must be a list of 2, not [5]",
        ),
        (
            SMALL + "[[outages]]\nkind = 'fixed'\nwindows = [[5, 1]]",
            "outages[0].windows[0] must begin at 0 or later and end after it begins, not [5, 1]",
        ),
        (
            SMALL + "[[outages]]\nkind = 'fixed'\nwindows = []\nmode = 'hangs'",
            "one of 'refuse', 'hang', 'slow', ",
        ),
        (
            SMALL + "[[outages]]\nkind = 'renewal'\nup = {kind = 'weibull', mean_s = 5}\n",
            "outages[0].up.shape is missing",
        ),
        (SMALL + "[service]\nrestarts_s = [20, 10]", "service.restarts_s must be in order"),
        (SMALL + "[service]\nrestarts_s = [3600]", "service.restarts_s must be below the duration"),
        (SMALL + "[[outages]]\nkind = 'trace'", "outages[0].file is missing"),
        (SMALL + "[[outages]]\nkind = 'trace'\nfile = 'no.csv'", "no.csv: cannot be read (No such"),
        (SMALL.replace("poisson", "log"), "traffic.rate_per_s is not a setting"),
        ("x = ", "not TOML: "),
    ],
)
def test_a_wrong_setting_is_refused_by_file_and_name(tmp_path: Path, text: str, wrong: str) -> None:
    """Unknown, missing, of the wrong type or impossible: one line with file, setting and reason."""
    assert wrong in _refusal(tmp_path, text)


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    """Missing, a folder, or not text."""
    with pytest.raises(InputError, match=r"no\.toml: cannot be read \(No such file"):
        load_scenario(tmp_path / "no.toml")
    with pytest.raises(InputError, match="cannot be read"):
        read_scenario(tmp_path)
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"mine\.toml: not a text in UTF-8"):
        read_scenario(path)


def test_recordings_are_read_from_the_folder_of_the_scenario(tmp_path: Path) -> None:
    """A trace gives the run its length: lead-in, trace, and an hour to recover."""
    rows = generate_trace(Streams(1).generator("o"), 20 * 86_400)
    write_trace(tmp_path / "trace.csv", rows)
    write_access_log(tmp_path / "access.log", np.arange(1000.0))
    path = _file(
        tmp_path,
        "warmup_s = 600\n"
        '[[outages]]\nkind = "trace"\nfile = "trace.csv"\nfull_mode = "hang"\nspeed_up = 2\n'
        '[traffic]\nkind = "log"\nfile = "access.log"\nspeed_up = 0.01\n',
    )
    scenario = read_scenario(path)
    trace, report = read_trace(tmp_path / "trace.csv")
    assert scenario.length_s == 600 + report.duration_s / 2 + RECOVERY_S
    drawn = scenario.draw_outages(Streams(1))
    assert drawn[0].start_s == pytest.approx(600 + trace.outages[0].start_s / 2)
    assert {each.mode for each in drawn if each.severity == 1} == {OutageMode.HANG}
    assert scenario.traffic.mean_rate_per_s == pytest.approx(0.01)
    table = json.loads(json.dumps(scenario.as_dict()))
    assert table["outages"][0]["file"] == "trace.csv"
    assert table["traffic"]["requests"] == 1000


def test_a_recorded_trace_replaces_the_outages_and_waits_for_the_warm_up(tmp_path: Path) -> None:
    """The first row, which begins at 0, meets a service that has warmed up."""
    write_trace(tmp_path / "t.csv", generate_trace(Streams(2).generator("o"), 20 * 86_400))
    write_access_log(tmp_path / "a.log", np.arange(1000.0))
    trace, _ = read_trace(tmp_path / "t.csv")
    arrivals, _ = read_access_log(tmp_path / "a.log")
    base = load_scenario("default")
    scenario = base.with_trace(trace).with_traffic(arrivals)
    assert scenario.draw_outages(Streams(1))[0].start_s == trace.outages[0].start_s + 600
    assert scenario.length_s == 600 + trace.duration_s + RECOVERY_S
    assert scenario.traffic == arrivals
    assert (scenario.keys, base.duration_s) == (base.keys, 21_600)
    assert base.with_trace(trace, duration_s=86_400).length_s == 86_400


def test_patterns_draw_from_streams_of_their_own() -> None:
    """Another pattern at the end, or other traffic, leaves the outages as they were."""
    scenario = load_scenario("default")
    more = replace(
        scenario,
        outages=(*scenario.outages, FixedWindows(windows=((1, 2),))),
        traffic=Poisson(rate_per_s=9),
    )
    assert more.draw_outages(Streams(1))[1:] == scenario.draw_outages(Streams(1))


def test_condensing_is_automatic_when_it_halves_the_run() -> None:
    """A long trace is condensed, a busy one is not, and either can be forced."""
    long = replace(load_scenario("recorded-shape"), condense="auto")
    short = load_scenario("default")
    for scenario, condensed in ((long, True), (short, False)):
        outages = scenario.draw_outages(Streams(1))
        assert (scenario.timeline(outages).duration_s < scenario.length_s / 2) == condensed
        whole = replace(scenario, condense=False).timeline(outages)
        assert whole == Timeline.whole(outages, scenario.length_s)
    always = replace(load_scenario("cold-start"), condense=True, duration_s=100_000)
    assert always.timeline(always.draw_outages(Streams(1))).duration_s < 50_000


def test_a_restart_in_a_healthy_stretch_is_kept() -> None:
    """Condensing cuts around a restart, not through it."""
    scenario = replace(
        load_scenario("recorded-shape"),
        outages=(),
        service=ServiceSettings(restarts_s=(1_000_000.0,)),
    )
    timeline = scenario.timeline(())
    assert timeline.duration_s < 100_000
    assert len(timeline.to_run(np.array([1_000_000.0]))) == 1


def test_assumptions_name_every_setting_with_its_meaning_and_source() -> None:
    """The default's source is told for the default only; other values come from the scenario."""
    rows = {row.name: row for row in load_scenario("default").assumptions()}
    assert all(row.doc for row in rows.values())
    assert rows["keys.token_age_mean_s"].source.startswith("an assumption")
    assert rows["traffic.rate_per_s"].source == "the scenario"
    assert rows["outages[0].down"].source.startswith("RDS Multi-AZ")
    assert rows["outages[0].down"].value == {"kind": "lognormal", "median_s": 75.0, "sigma": 0.6}
    assert {"primary.pool_size", "caller.deadline_s", "service.restarts_s"} <= set(rows)
    sped_up = replace(load_scenario("default"), keys=KeySettings(token_age_mean_s=1))
    rows = {row.name: row for row in sped_up.assumptions()}
    assert rows["keys.token_age_mean_s"].source == "the scenario"


def test_the_length_of_a_trace_needs_a_trace() -> None:
    """Without a duration, the longest trace tells it."""
    with pytest.raises(InputError, match="duration_s is missing"):
        Scenario(name="x", traffic=Poisson(rate_per_s=1))
    one = RecordedTrace(outages=(), duration_s=100)
    other = RecordedTrace(outages=(), duration_s=900, speed_up=3, lead_s=50)
    scenario = Scenario(name="x", traffic=Poisson(rate_per_s=1), outages=(one, other))
    assert scenario.length_s == 350 + RECOVERY_S
