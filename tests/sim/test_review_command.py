"""`python -m sim review SCENARIO`, as its user meets it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftrepo.designs import DESIGNS
from ftrepo.policy import Policy
from sim.__main__ import INTERRUPTED, main
from sim.study import stored_runs
from tests.sim.test_command_line import TINY

RUNS = 2 * (len(DESIGNS) + 1)


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """A review of a tiny world in this process, with one more candidate."""
    (tmp_path / "tiny.toml").write_text(TINY.replace("0.5", "0.05"), encoding="utf-8")
    (tmp_path / "mine.toml").write_text(Policy(breaker=False).to_toml(), encoding="utf-8")
    return [
        *("review", str(tmp_path / "tiny.toml"), "--policy", str(tmp_path / "mine.toml")),
        *("--replications", "2", "--workers", "1", "--no-sensitivity"),
        *("--out", str(tmp_path / "out"), "--store", str(tmp_path / "runs")),
    ]


def count_runs(monkeypatch: pytest.MonkeyPatch, stop_at: int | None = None) -> list[Any]:
    """Note every run that is played; press Ctrl-C at one of them."""
    played: list[Any] = []
    play: Callable[..., Any] = stored_runs.play_run

    def counted(*job: Any) -> Any:
        if len(played) == stop_at:
            raise KeyboardInterrupt
        played.append(job)
        return play(*job)

    monkeypatch.setattr(stored_runs, "play_run", counted)
    return played


def test_an_interrupted_review_goes_on_where_it_was(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Ctrl-C says what is kept; the same command plays the rest, and a third time nothing."""
    with monkeypatch.context() as patch:
        count_runs(patch, stop_at=5)
        assert main(arguments) == INTERRUPTED
    assert "5 finished runs are in" in capsys.readouterr().err
    played = count_runs(monkeypatch)
    assert main(arguments) == 0
    assert len(played) == RUNS - 5
    html = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "mine" in html
    assert "tiny: " in capsys.readouterr().out
    assert main(arguments) == 0
    assert len(played) == RUNS - 5


def test_designs_that_are_alike_are_played_once(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that says what a named policy says has a row of its own, and no runs of its own."""
    (tmp_path / "mine.toml").write_text(Policy().to_toml(), encoding="utf-8")
    played = count_runs(monkeypatch)
    assert main(arguments) == 0
    assert len(played) == 2 * len(DESIGNS)


def test_each_trace_is_a_world(arguments: list[str], tmp_path: Path) -> None:
    """Several traces are played one by one; the page has a row for each, and how to repeat it."""
    for name in ("may", "june"):
        rows = "start_time,end_time,status\n0,60,1\n600,700,0.5\n"
        (tmp_path / f"{name}.csv").write_text(rows, encoding="utf-8")
        arguments += ["--outages", str(tmp_path / f"{name}.csv")]
    assert main(arguments) == 0
    html = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "design review: may, june" in html
    assert html.count("--outages") == 2


def test_sensitivity_is_played_unless_it_is_not_wanted(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three designs under each other assumption, nine of them, beside the study itself."""
    played = count_runs(monkeypatch)
    varied = [each for each in arguments if each != "--no-sensitivity"]
    assert main([*varied, "--replications", "1"]) == 0
    assert len(played) == RUNS // 2 + 9 * 3
    html = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "tokens three times as old" in html


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--objective", "2"], "--objective must be below 1"),
        (["--policy", "default"], "another candidate is called 'default' already"),
        (["--policy", "nonesuch"], "no policy is named 'nonesuch'"),
        (["--precision", "speed=1"], "the measures are availability"),
    ],
)
def test_what_cannot_be_reviewed_is_one_clear_line(
    arguments: list[str], more: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is played for it."""
    assert main([*arguments, *more]) == 2
    assert words in capsys.readouterr().err


def test_a_world_without_a_scenario_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a scenario the notebooks are executed, for which a trace means nothing."""
    for ignored in (["--outages", str(tmp_path / "may.csv")], ["--precision", "availability=0.1"]):
        assert main(["review", *ignored]) == 2
        assert "which scenario?" in capsys.readouterr().err
