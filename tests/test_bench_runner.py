"""`make bench`: one row for each benchmark, on the terminal and in a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

import benchmarks.__main__ as runner


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two benchmarks that take no time; the list tells which of them ran."""
    ran: list[str] = []
    module = ModuleType("fake_benchmarks")
    for name in ("first", "second"):

        def measure(name: str = name) -> runner.Row:
            ran.append(name)
            return {"name": name, "value": 1.5, "unit": "ratio", "reference": "nothing"}

        setattr(module, name, measure)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(runner, "BENCHMARKS", dict.fromkeys(("first", "second"), module.__name__))
    return ran


def test_all_rows_are_written(
    registered: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a choice every benchmark runs, and the file is a list of their rows in order."""
    runner.main(["--json", str(tmp_path / "build" / "bench.json")])
    rows = json.loads((tmp_path / "build" / "bench.json").read_text())
    assert [row["name"] for row in rows] == registered == ["first", "second"]
    assert set(rows[0]) == {"name", "value", "unit", "reference"}
    assert "1.500" in capsys.readouterr().out


def test_one_benchmark_runs_alone(registered: list[str], tmp_path: Path) -> None:
    """The file holds what this run measured, and no row of an older one."""
    file = tmp_path / "bench.json"
    file.write_text('[{"name": "first"}]')
    runner.main(["--only", "second", "--json", str(file)])
    assert [row["name"] for row in json.loads(file.read_text())] == registered == ["second"]


def test_an_unknown_benchmark_is_refused(
    registered: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names the benchmarks that there are, and nothing runs."""
    with pytest.raises(SystemExit):
        runner.main(["--only", "third"])
    assert "no benchmark is called 'third'; there are first, second" in capsys.readouterr().err
    assert not registered
