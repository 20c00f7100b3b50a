"""`python -m sim replay` and `validate`, from a scenario to an exit code, on a real server."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sim.__main__ import INTERRUPTED, main
from sim.measures import MEASURES
from sim.testbed.cluster import Cluster

pytestmark = pytest.mark.postgres

SHORT = """
description = "six seconds with an outage"
duration_s = 6
condense = false
[traffic]
kind = "poisson"
rate_per_s = 30.0
[[outages]]
kind = "fixed"
mode = "MODE"
windows = [[1.5, 3.0]]
[keys]
rotation_interval_s = 0.5
lifetime_s = 60
token_lifetime_s = 30
token_age_mean_s = 2
"""

POLICY = "breaker_open_s = 0.5\nflush_interval_s = 0.25\n"


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """A short scenario, and a policy that recovers quickly, as arguments."""
    scenario, policy = tmp_path / "short.toml", tmp_path / "quick.toml"
    scenario.write_text(SHORT.replace("MODE", "hang"))
    policy.write_text(POLICY)
    return [str(scenario), "--policy", str(policy)]


def test_a_replay_gives_what_a_simulated_run_gives(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same table, the same measures and the same files."""
    out, figures = tmp_path / "out", tmp_path / "figures.json"
    assert main(["replay", *files, "--out", str(out), "--json", str(figures)]) == 0
    table = capsys.readouterr().out
    assert "short, policy" in table
    assert "1 outages, acted" in table
    measures = json.loads(figures.read_text())["measures"]
    assert list(measures) == [each.name for each in MEASURES]
    assert measures["lost_keys"]["mean"] == measures["wrong_answers"]["mean"] == 0
    assert measures["pending_max"]["mean"] >= 2
    assert {path.suffix for path in out.iterdir()} == {".svg", ".csv", ".parquet"}


def test_validation_says_in_words_and_in_its_exit_code_whether_they_agree(
    files: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And a simulation that is made worse than reality is found out."""
    primary, figure = tmp_path / "primary.toml", tmp_path / "figure.svg"
    assert main(["calibrate", "--calls", "100", "--rate", "400", "--out", str(primary)]) == 0
    arguments = ["validate", *files, "--primary", str(primary), "--replications", "3"]
    assert main([*arguments, "--out", str(figure)]) == 0
    assert "simulation and reality agree" in capsys.readouterr().out
    assert figure.read_text().startswith("<?xml")

    from sim.world.faults import Faults

    # A simulated server that loses what reached it while it was frozen, and answers late.
    monkeypatch.setattr(Faults, "_slowness", lambda *_: 1.0)
    assert main(arguments) == 1
    assert "simulation and reality disagree" in capsys.readouterr().out


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")
def test_ctrl_c_leaves_nothing_behind(files: list[str]) -> None:
    """In the midst of an outage: the frozen server ends too, and the exit code says why."""
    mark = secrets.token_hex(8)
    run = subprocess.Popen(
        [sys.executable, "-m", "sim", "replay", *files],
        env={**os.environ, "FTREPO_TEST_MARK": mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not _is_frozen(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == INTERRUPTED
    assert errors.splitlines()[-1] == "interrupted"
    deadline = time.monotonic() + 10
    while _marked(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _marked(mark)


@pytest.mark.parametrize("dsn", ["postgresql://postgres@127.0.0.1:1/postgres", "WRONG"])
def test_a_server_that_cannot_be_had_is_told_in_one_line(
    files: list[str], dsn: str, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody there, or nobody who knows that database: exit code 2, and no trace of a program."""
    asked = dsn if dsn != "WRONG" else cluster.dsn("no_such_database")
    assert main(["replay", *files, "--dsn", asked]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match("error: ", line)


def _marked(mark: str) -> list[Path]:
    """The processes that were started with this mark, ourselves aside."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"FTREPO_TEST_MARK={mark}".encode() in environment.read_bytes():
                found.append(environment.parent)
        except OSError:
            continue
    return found


def _is_frozen(mark: str) -> bool:
    """Whether one of them is stopped."""
    for process in _marked(mark):
        try:
            if process.joinpath("stat").read_text().rpartition(")")[2].split()[0] == "T":
                return True
        except OSError:
            continue
    return False
