from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from ftrepo.policy import Policy
from sim.__main__ import main
from sim.testbed.fault_run import FaultOutcome
from sim.testbed.fault_table import COLUMNS, MARGIN_S, defects, markdown, rich_table, write_json

GOOD = FaultOutcome(
    fault="freeze",
    fault_s=3.0,
    gets=300,
    creates=30,
    errors=(),
    slowest_get_s=0.4,
    slowest_create_s=0.4,
    lag_max_s=0.01,
    pending_max=15,
    first_success_s=1.0,
    backlog_empty_s=1.5,
    leaked=0,
    lost=0,
    different=0,
    breaker="closed",
)


def test_a_good_outcome_has_no_defects() -> None:
    """A call may take its time-out, a margin and what the loop was late, and no more."""
    assert defects(GOOD, Policy()) == []
    latest_s = 0.5 + MARGIN_S + GOOD.lag_max_s
    assert defects(replace(GOOD, slowest_get_s=latest_s - 1e-6), Policy()) == []
    for call in ("get", "create"):
        late = replace(GOOD, **{f"slowest_{call}_s": latest_s + 1e-3})
        assert defects(late, Policy()) == [f"a {call} took 561 ms"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"errors": ("get: KeyNotFoundError()",)},
            "1 errors reached a caller, the first: get: Key",
        ),
        ({"lost": 2}, "2 acknowledged keys are lost, 0 are different"),
        ({"different": 1}, "0 acknowledged keys are lost, 1 are different"),
        ({"leaked": 3}, "3 connections leaked"),
        ({"backlog_empty_s": None, "breaker": "open"}, "never emptied, and the breaker is open"),
    ],
)
def test_a_defect_is_named(changes: dict[str, object], words: str) -> None:
    """Whatever is wrong is said in words, in the table's colour and in the Markdown."""
    bad = replace(GOOD, **changes)  # type: ignore[arg-type]
    (found,) = defects(bad, Policy())
    assert words in found
    assert found in markdown([GOOD, bad], Policy())
    shown = io.StringIO()
    Console(file=shown, width=200, force_terminal=True).print(rich_table([bad], Policy()))
    assert "1;31m" in shown.getvalue()


def test_the_markdown_has_a_row_for_each_fault() -> None:
    """Every row has every column, and each fault is explained."""
    text = markdown([GOOD, replace(GOOD, fault="reset", backlog_empty_s=None)], Policy())
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert all(line.count("|") == len(COLUMNS) + 1 for line in rows)
    assert "| never |" in rows[-1]
    assert "- **freeze**: Every process of the server is stopped with SIGSTOP" in text


def test_the_figures_are_written_as_they_are(tmp_path: Path) -> None:
    """The JSON has every field by its name."""
    path = tmp_path / "new" / "faults.json"
    write_json(path, [GOOD])
    (row,) = json.loads(path.read_text())
    assert FaultOutcome(**{**row, "errors": tuple(row["errors"])}) == GOOD


def test_an_unknown_fault_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt name lists the names, with exit code 2, before any server is started."""
    assert main(["faults", "--only", "freze"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: there is no fault 'freze'; the faults are fast-stop, ")
    assert error.count("\n") == 1


@pytest.mark.postgres
def test_the_command_prints_and_writes_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`python -m sim faults` breaks a server, prints a row for it, and writes both files."""
    out, figures = tmp_path / "faults.md", tmp_path / "faults.json"
    files = ("--out", str(out), "--json", str(figures))
    assert main(["faults", "--only", "half-open", "--fault-s", "0.5", *files]) == 0
    assert "half-open" in capsys.readouterr().out
    assert "| half-open |" in out.read_text()
    assert json.loads(figures.read_text())[0]["fault_s"] == 0.5


@pytest.mark.postgres
def test_without_a_server_the_command_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Programs that are not there are one clear line and exit code 2."""
    from sim.testbed import workspace

    monkeypatch.setenv("FTREPO_POSTGRES_BIN", str(tmp_path))
    workspace._workspace_of.cache_clear()
    assert main(["faults"]) == 2
    assert capsys.readouterr().err == (
        f"error: FTREPO_POSTGRES_BIN={tmp_path}: there is no initdb and postgres in it\n"
    )
