"""`python -m sim tune`, as its user meets it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from ftrepo.policy import Policy
from sim import tune_command
from sim.__main__ import INTERRUPTED, main
from sim.study.run_store import RunStore
from sim.study.tune.space import DEFAULT_SPACE
from tests.sim.test_command_line import TINY

LOAD = "primary_attempts_during_outage_per_s"


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """A small search in this process, with a store of its own."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY.replace("0.5", "0.05"), encoding="utf-8")
    fixed = ["--workers", "1", "--trials", "2", "--replications", "2"]
    places = ["--store", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    return ["tune", str(path), *fixed, *places, "--search", "breaker_open_s=1:60:log"]


def test_a_tuning_prints_its_tables_and_writes_the_policy(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And says by its exit code that the constraint holds, also on the other trace."""
    trace = tmp_path / "other.csv"
    trace.write_text("start_time,end_time,status\n100,130,1\n300,340,1\n", encoding="utf-8")
    goals = ["--objective", LOAD, "--within", f"{LOAD}<=50", "--check", str(trace)]
    assert main([*arguments, *goals]) == 0
    shown = capsys.readouterr().out
    for title in ("settings", "Pareto front", "recommended", "constraints", "which setting"):
        assert title in shown
    assert "other" in shown
    assert f"{LOAD} <= 50" in shown
    text = (tmp_path / "out" / "policy.toml").read_text(encoding="utf-8")
    assert isinstance(Policy.from_toml(tmp_path / "out" / "policy.toml"), Policy)
    assert f"--within '{LOAD}<=50'" in text.replace("\n#     ", " ")


def test_a_constraint_that_is_not_shown_to_hold_is_an_exit_code_of_its_own(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """1, and the sentence says which."""
    goals = ["--objective", LOAD, "--within", f"{LOAD}<=0"]
    assert main([*arguments, *goals]) == tune_command.NOT_SHOWN == 1
    assert f"NOT SHOWN to keep {LOAD} <= 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (["--objective", "availabilty"], "did you mean 'availability'"),
        (["--objective", "availability", "--within", "lost_keys"], "form"),
        (["--objective", "availability", "--search", "breaker_open_s=1:2"], "twice"),
        (["--objective", "availability", "--replications", "1"], "at least 2"),
        (["--objective", "availability", "--base", "best"], "named 'best'"),
        (["--objective", "availability", "--check", "a/x.csv"], "a/x.csv"),
    ],
)
def test_a_mistake_is_one_clear_line(
    arguments: list[str], wrong: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """And exit code 2."""
    assert main([*arguments, *wrong]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1


def test_without_optuna_the_extra_is_named(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The laboratory works without it, but for this command."""
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main([*arguments, "--objective", LOAD]) == 2
    assert "install the extra tuning" in capsys.readouterr().err


def test_after_ctrl_c_the_same_command_goes_on(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What is finished is said to be kept, and is not played again."""
    whole = tune_command.tune

    def interrupted(*args: Any, **options: Any) -> Any:
        def pressed(done: int, _: int) -> None:
            if done == 5:
                raise KeyboardInterrupt

        return whole(*args, **(options | {"progress": pressed}))

    monkeypatch.setattr(tune_command, "tune", interrupted)
    assert main([*arguments, "--objective", LOAD]) == INTERRUPTED
    assert "5 runs are in" in capsys.readouterr().err
    monkeypatch.setattr(tune_command, "tune", whole)
    assert main([*arguments, "--objective", LOAD]) == 0
    total = len(RunStore(tmp_path / "runs"))
    assert f"{total - 5} runs played now" in capsys.readouterr().out


def test_the_help_says_what_is_searched(capsys: pytest.CaptureFixture[str]) -> None:
    """By default, in the form in which one would type it."""
    with pytest.raises(SystemExit):
        main(["tune", "--help"])
    shown = capsys.readouterr().out
    for each in DEFAULT_SPACE:
        assert str(each) in shown
