"""`python -m sim sweep`, as its user meets it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pyarrow import parquet

from sim.__main__ import INTERRUPTED, main
from sim.measures import MEASURES
from sim.show.sweep_files import METADATA_KEY
from sim.study import sweep as sweep_module
from sim.study.parallel import ThisProcess
from tests.sim.test_command_line import TINY

GRID = ("--set", "flush_interval_s=1,30", "--set", "operation_timeout_s=0.1,none")
RUNS = 4 * 2


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    """A scenario that takes no time."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY.replace("0.5", "0.05"), encoding="utf-8")
    return str(path)


@pytest.fixture
def arguments(tiny: str, tmp_path: Path) -> list[str]:
    """A sweep of four points in this process, with a store of its own."""
    fixed = ("--replications", "2", "--workers", "1", "--store", str(tmp_path / "runs"))
    return ["sweep", tiny, *GRID, *fixed]


def test_a_sweep_gives_tables_figures_and_a_summary(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table says by itself where it comes from."""
    out = tmp_path / "out"
    assert main([*arguments, "--out", str(out)]) == 0
    table, summary = (pd.read_parquet(out / f"{name}.parquet") for name in ("sweep", "summary"))
    assert len(table) == RUNS
    assert len(summary) == 4 * len(MEASURES)
    assert table["flush_interval_s"].tolist() == [1.0] * 4 + [30.0] * 4
    assert table["operation_timeout_s"].isna().sum() == 4
    for name in ("sweep", "summary"):
        origin = json.loads(parquet.read_schema(out / f"{name}.parquet").metadata[METADATA_KEY])
        assert origin["settings"]["operation_timeout_s"] == [0.1, None]
        assert origin["scenario"]["name"] == "tiny"
        assert origin["policy"]["flush_interval_s"] == 1.0
        assert (origin["seed"], origin["replications"]) == (1, 2)
        assert origin["command"].startswith("python -m sim sweep ")
        assert "--workers" not in origin["command"]
    assert {path.suffix for path in out.iterdir()} == {".parquet", ".md", ".svg"}
    text = (out / "summary.md").read_text(encoding="utf-8")
    assert "| flush_interval_s, seconds | operation_timeout_s, seconds | availability |" in text
    for picture in out.glob("*.svg"):
        assert f"({picture.name})" in text
    shown = capsys.readouterr()
    assert "4 points × 2 replications = 8 runs; about" in shown.err
    assert "sync lag p99, s" in shown.out


def test_the_same_sweep_gives_the_same_bytes(arguments: list[str], tmp_path: Path) -> None:
    """By one worker or two, played or read from the store."""
    more = [each if each != "1" else "2" for each in arguments]
    more[-1] += "-others"
    for number, each in enumerate((arguments, arguments, more)):
        assert (
            main([*each, "--measure", "sync_lag_p99_s", "--out", str(tmp_path / f"out-{number}")])
            == 0
        )
    first, *others = (
        {path.name: path.read_bytes() for path in (tmp_path / f"out-{number}").iterdir()}
        for number in range(3)
    )
    assert b"--measure sync_lag_p99_s" in first["summary.md"]
    for other in others:
        assert other.keys() == first.keys()
        assert [name for name in first if first[name] != other[name]] == []


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Ctrl-C after three runs, once; the list counts the runs that were played."""
    played: list[int] = []
    finished = ThisProcess.finished

    def stopping(self: ThisProcess, function: Callable[..., Any], jobs: Any) -> Iterator[Any]:
        for each in finished(self, function, jobs):
            if len(played) == 3:
                played.append(0)
                raise KeyboardInterrupt
            played.append(1)
            yield each

    monkeypatch.setattr(ThisProcess, "finished", stopping)
    return played


def test_ctrl_c_says_how_to_go_on(
    arguments: list[str], interrupted: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    """And the same command does, where it was; no run is played twice."""
    assert main(arguments) == INTERRUPTED
    shown = capsys.readouterr()
    assert "interrupted; 3 of 8 runs are in" in shown.err
    assert "the same command plays the rest" in shown.err
    assert shown.out == ""
    assert main(arguments) == 0
    assert "8 runs, 3 of them played already; about" in capsys.readouterr().err
    assert sum(interrupted) == RUNS


def test_changed_code_is_told_and_its_runs_are_left_alone(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything is played again."""
    assert main(arguments) == 0
    for name in ("sim.study.run_store.code_digest", "sim.study.sweep.code_digest"):
        monkeypatch.setattr(name, lambda: "changed")
    capsys.readouterr()
    assert main(arguments) == 0
    told = capsys.readouterr().err
    assert "note: 8 runs in" in told
    assert "were played by other code than this" in told
    assert "played already" not in told


def test_a_worker_with_other_code_ends_in_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says what is kept."""
    monkeypatch.setattr(sweep_module, "code_digest", lambda: "changed")
    assert main(arguments) == 2
    (*_, line) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "has other code" in line
    assert "0 of 8 runs are in" in line


def test_a_cluster_that_does_not_answer_ends_in_one_line(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its address."""
    store = ("--store", str(tmp_path / "runs"), "--cluster", "nonsense://127.0.0.1:9")
    assert main(["sweep", tiny, *GRID, *store]) == 2
    (*_, line) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: no Dask scheduler answers at nonsense://127.0.0.1:9")
    assert line.endswith("the same command plays the rest")


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (["--set", "flush_intervall_s=1,2"], "did you mean 'flush_interval_s'"),
        (["--set", "flush_interval_s"], "has not the form NAME=VALUE"),
        (["--set", "flush_interval_s=1,0"], "at flush_interval_s = 0"),
        (["--set", "keys.lifetime_s=1"], "at keys.lifetime_s = 1"),
        (["--set", "breaker=true,false", "--measure", "sync_lag_p9_s"], "did you mean 'sync_lag_p"),
        (["--set", "breaker=true", "--cluster", "x", "--workers", "2"], "give one"),
        (["--set", "breaker=true", "--out", "/dev/null"], "cannot be a folder: File exists"),
    ],
)
def test_bad_input_ends_with_one_clear_line(
    wrong: list[str],
    complaint: str,
    tiny: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Before anything is played or stored."""
    store = tmp_path / "runs"
    assert main(["sweep", tiny, "--store", str(store), *wrong]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert complaint in line
    assert not store.exists()
