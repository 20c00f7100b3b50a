"""`python -m sim`, as its user meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sim.__main__ import INTERRUPTED, main
from sim.measures import MEASURES
from sim.world.access_log import write_access_log
from sim.world.outage_trace import write_trace
from sim.world.outages import Outage, OutageMode

TINY = """
description = "an hour with one outage"
duration_s = 3600
warmup_s = 60
[traffic]
kind = "poisson"
rate_per_s = 0.5
[[outages]]
kind = "fixed"
windows = [[1000, 1300]]
[keys]
rotation_interval_s = 120
lifetime_s = 900
token_lifetime_s = 300
"""


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    """A scenario that takes no time."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY, encoding="utf-8")
    return str(path)


PRIMARY = """
[primary]
select = { kind = "lognormal", median_s = 0.0004, p99_s = 0.002 }
command_timeout_s = 0.4
"""


def run_and_read(tmp_path: Path, *arguments: str) -> Any:
    """What the command wrote as JSON."""
    path = tmp_path / "figures.json"
    assert main([*arguments, "--json", str(path), "--workers", "1"]) == 0
    return json.loads(path.read_text())


def test_run_prints_a_table_and_writes_json(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every measure with mean, low and high; `null` where there is none."""
    figures = run_and_read(tmp_path, "run", tiny, "--replications", "3", "--seed", "5")
    assert (figures["scenario"], figures["policy"]) == ("tiny", "default")
    assert (figures["seed"], figures["replications"]) == (5, 3)
    measures = figures["measures"]
    assert list(measures) == [each.name for each in MEASURES]
    for each in measures.values():
        assert list(each) == ["mean", "low", "high"]
        assert each["mean"] is None or each["low"] <= each["mean"] <= each["high"]
    shown = capsys.readouterr().out
    assert "availability" in shown
    assert "3 replications, seed 5" in shown


def test_the_same_seed_gives_the_same_bytes(tiny: str, tmp_path: Path) -> None:
    """Whatever the number of processes."""
    texts = []
    for workers in ("1", "2", "1"):
        path = tmp_path / f"{len(texts)}.json"
        arguments = ["run", tiny, "--replications", "2", "--workers", workers, "--json", str(path)]
        assert main(arguments) == 0
        texts.append(path.read_bytes())
    assert texts[0] == texts[1] == texts[2]


def test_compare_gives_paired_differences(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each the second policy minus the first, on a trace and a log of one's own."""
    trace, log = tmp_path / "trace.csv", tmp_path / "access.log"
    write_trace(trace, [Outage(600.0, 1800.0, OutageMode.REFUSE)])
    write_access_log(log, [float(2 * number) for number in range(500)])
    figures = run_and_read(
        tmp_path,
        *("compare", tiny, "--policy", "primary-only", "--policy", "default"),
        *("--outages", str(trace), "--traffic", str(log), "--replications", "3"),
    )
    assert list(figures["runs"]) == ["primary-only", "default"]
    difference = figures["differences"]["availability"]
    first, second = (run["measures"]["availability"]["mean"] for run in figures["runs"].values())
    assert difference["mean"] == pytest.approx(second - first)
    assert difference["low"] > 0
    assert "default - primary-only" in capsys.readouterr().out


def test_out_writes_tables_and_figures(tiny: str, tmp_path: Path) -> None:
    """Parquet and CSV of the same shape, and figures that are pictures."""
    import pandas as pd

    out = tmp_path / "out"
    arguments = ["run", tiny, "--replications", "2", "--workers", "1", "--out", str(out)]
    assert main(arguments) == 0
    parquet, csv = pd.read_parquet(out / "measures.parquet"), pd.read_csv(out / "measures.csv")
    assert len(parquet) == len(csv) == 2 * len(MEASURES)
    assert len(pd.read_parquet(out / "default-gets.parquet")) > 1000
    figures = list(out.glob("*.svg"))
    assert figures
    assert all(path.read_text().lstrip().startswith("<?xml") for path in figures)


def test_scenarios_lists_the_named_ones(capsys: pytest.CaptureFixture[str]) -> None:
    """`default` among them."""
    assert main(["scenarios"]) == 0
    shown = capsys.readouterr().out
    assert "default" in shown
    assert "flapping" in shown


def test_one_replication_says_that_it_has_no_interval(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The mean is there, the ends are null."""
    figures = run_and_read(tmp_path, "run", tiny, "--replications", "1")
    latency = figures["measures"]["get_latency_p50_s"]
    assert latency["mean"] > 0
    assert latency["low"] is latency["high"] is None
    assert "no confidence interval" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["run", "nowhere"], "no scenario 'nowhere'"),
        (["run", "nowhere.toml"], "nowhere.toml"),
        (["run", "TINY", "--policy", "cautious"], "no policy is named 'cautious'"),
        (["run", "TINY", "--policy", "POLICY"], "flush_interval_s"),
        (["run", "TINY", "--outages", "nowhere.csv"], "nowhere.csv"),
        (["run", "TINY", "--outages", "TRACE"], "trace.csv, line 3"),
        (["run", "TINY", "--traffic", "nowhere.log"], "nowhere.log"),
        (["run", "TINY", "--speed-up", "2"], "--traffic"),
        (["run", "SCENARIO"], "duration_s"),
        (["run", "TINY", "--precision", "luck=0.1"], "the measures are availability, "),
        (["compare", "TINY", "--policy", "default"], "at least twice"),
        (["compare", "TINY", "--policy", "default", "--policy", "default"], "already"),
    ],
)
def test_bad_input_ends_with_one_clear_line(
    arguments: list[str],
    complaint: str,
    tiny: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It names what is wrong and where; no traceback."""
    places = {"TINY": tiny}
    for name, content in (
        ("POLICY", "flush_intervall_s = 1.0"),
        ("TRACE", "start_time,end_time,status\n0,10,1\n20,15,1\n"),
        ("SCENARIO", 'duration_s = -1\n[traffic]\nkind = "poisson"\nrate_per_s = 1'),
    ):
        suffix = ".csv" if name == "TRACE" else ".toml"
        path = tmp_path / f"{name.lower()}{suffix}"
        path.write_text(content, encoding="utf-8")
        places[name] = str(path)
    assert main([places.get(each, each) for each in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert complaint in captured.err


@pytest.mark.parametrize(
    "option",
    [
        ["--seed", "-1"],
        ["--replications", "0"],
        ["--replications", "x"],
        ["--precision", "availability"],
        ["--precision", "availability=0"],
        ["--precision", "availability=x%"],
    ],
)
def test_impossible_options_are_refused_by_the_parser(tiny: str, option: list[str]) -> None:
    """With the usage and exit code 2."""
    with pytest.raises(SystemExit) as ended:
        main(["run", tiny, *option])
    assert ended.value.code == 2


def test_ctrl_c_ends_cleanly(
    tiny: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the shell's exit code and a word about what was kept."""

    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sim.__main__.experiment", interrupted)
    assert main(["run", tiny]) == INTERRUPTED
    assert "interrupted" in capsys.readouterr().err


def test_a_measured_primary_takes_the_place_of_the_scenarios(tiny: str, tmp_path: Path) -> None:
    """What the file says is as it says, and the rest as in the scenario."""
    path = tmp_path / "primary.toml"
    path.write_text(PRIMARY)
    figures = run_and_read(tmp_path, "run", tiny, "--replications", "1", "--primary", str(path))
    primary = figures["settings"]["scenario"]["primary"]
    assert primary["select"]["median_s"] == 0.0004
    assert (primary["command_timeout_s"], primary["pool_size"]) == (0.4, 10)


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (["replay", "incident"], "the most is 30 min: set a shorter duration_s"),
        (["validate", "default"], "default takes 360 min"),
        (["replay", "real-read-only", "--dsn", "postgresql://x"], "'read_only' would break"),
        (["validate", "real-starting", "--dsn", "postgresql://x"], "'starting' would break"),
        (["validate", "real-hang", "--replications", "1"], "at least 2"),
        (["calibrate", "--calls", "10"], "at least 100"),
        (["replay", "real-hang", "--primary", "none.toml"], "none.toml: cannot be read"),
    ],
)
def test_what_cannot_be_played_in_real_time_is_refused_before_anything_starts(
    arguments: list[str], wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, and exit code 2."""
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert wrong in line


def test_precision_adds_replications_and_says_what_came_of_it(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a share of the mean in `run`, of the differences in `compare`, up to the most."""
    arguments = ["run", tiny, "--precision", "get_latency_p50_s=10%"]
    figures = run_and_read(tmp_path, *arguments)
    assert figures["replications"] >= 15
    assert [each["reached"] for each in figures["precision"]] == [True]
    assert "precision reached: get_latency_p50_s ± 0.1 of the mean" in capsys.readouterr().out
    arguments = ["compare", tiny, "--policy", "primary-only", "--policy", "default"]
    arguments += ["--precision", "availability=0.0000001", "--replications-max", "4"]
    figures = run_and_read(tmp_path, *arguments)
    (asked,) = figures["runs"]["default"]["precision"]
    assert (asked["widest"], asked["reached"]) == ("default - primary-only", False)
    assert "precision NOT reached" in capsys.readouterr().out


def test_many_comparisons_say_that_they_hold_at_once(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And what availability rests on is said of each policy."""
    policies = ("--policy", "primary-only", "--policy", "default", "--policy", "breaker")
    figures = run_and_read(tmp_path, "compare", tiny, *policies, "--replications", "3")
    shown = " ".join(capsys.readouterr().out.split())
    assert "the 2 intervals of differences in a row hold all at once" in shown
    assert "default: no failure in 3 outages: at most 63 of 100 do harm; no nines shown" in shown
    two = run_and_read(tmp_path, "compare", tiny, *policies[:4], "--replications", "3")
    wide, alone = (
        each["differences_to_first"]["default"]["availability"] for each in (figures, two)
    )
    assert wide["mean"] == alone["mean"]
    assert wide["high"] - wide["low"] > alone["high"] - alone["low"]
    assert "hold all at once" not in capsys.readouterr().out
