"""Baselines: what counts as a move, what is said about it, and how one is renewed."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import nbformat
import pytest

from sim.study.baseline import (
    BYTES_FLOOR,
    RELATIVE_FLOOR,
    UPDATE_VARIABLE,
    check_baseline,
    check_stated,
)
from sim.study.intervals import Interval

ROOT = Path(__file__).parent.parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
STORED = Interval(10.0, 7.0, 13.0, 5)


def figures(*intervals: Interval, name: str = "lag_s") -> dict[str, dict[str, Interval]]:
    """Intervals as the figures of one policy: NAME, NAME1, NAME2 and so on."""
    return {"default": {f"{name}{at or ''}": each for at, each in enumerate(intervals)}}


@pytest.fixture(autouse=True)
def no_update(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test renews a baseline by accident."""
    monkeypatch.delenv(UPDATE_VARIABLE, raising=False)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A baseline of one figure, 10 ± 3, stored as a user would."""
    path = tmp_path / "baselines" / "one.json"
    monkeypatch.setenv(UPDATE_VARIABLE, "1")
    check_baseline(figures(STORED), path, key="full")
    monkeypatch.delenv(UPDATE_VARIABLE)
    return path


def test_what_did_not_move_passes(path: Path) -> None:
    """The same figures pass, and the notebook is told so."""
    compared = check_baseline(figures(STORED), path, key="full")
    assert [each.change for each in compared.rows] == [0.0]
    assert "1 of 1 figures are within tolerance" in repr(compared)
    assert "none of them changed" in repr(compared)


@pytest.mark.parametrize(("name", "moved"), [("lost_keys", True), ("breaker_trips", False)])
def test_a_first_lost_key_is_never_chance(
    path: Path, monkeypatch: pytest.MonkeyPatch, name: str, moved: bool
) -> None:
    """Though the interval of one event in ten runs has zero in it; a breaker may trip by chance."""
    monkeypatch.setenv(UPDATE_VARIABLE, "1")
    check_baseline(figures(Interval(0.0, 0.0, 0.37, 10), name=name), path, key="full")
    monkeypatch.delenv(UPDATE_VARIABLE)
    one = figures(Interval(0.1, 0.0, 0.37, 10), name=name)
    if moved:
        with pytest.raises(AssertionError, match=r"lost_keys: was 0 ± 0\.185, is 0\.1 ± 0\.185"):
            check_baseline(one, path, key="full")
    else:
        check_baseline(one, path, key="full")


@pytest.mark.parametrize(
    ("mean", "moved"), [(14.9, False), (15.1, True), (5.1, False), (4.9, True)]
)
def test_the_tolerance_combines_both_intervals(path: Path, mean: float, moved: bool) -> None:
    """Half-widths of 3 and 4 allow a move of 5, as independent errors add, and no more."""
    new = figures(Interval(mean, mean - 4, mean + 4, 5))
    if moved:
        with pytest.raises(AssertionError, match="1 of 1 figures moved"):
            check_baseline(new, path, key="full")
    else:
        compared = check_baseline(new, path, key="full")
        assert compared.rows[0].tolerance == pytest.approx(5)
        assert f"| default: lag_s | 10 ± 3 | {mean} ± 4 | 5 |" in repr(compared)


@pytest.mark.parametrize(
    ("name", "floor"), [("pending_max", RELATIVE_FLOOR), ("cache_bytes_max", BYTES_FLOOR)]
)
def test_an_interval_without_width_has_a_floor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, floor: float
) -> None:
    """Figures that never vary may differ in their last digits; sizes also between interpreters."""
    path = tmp_path / "one.json"
    monkeypatch.setenv(UPDATE_VARIABLE, "1")
    check_baseline(figures(Interval(100.0, 100.0, 100.0, 5), name=name), path, key="full")
    monkeypatch.delenv(UPDATE_VARIABLE)
    for share, moved in ((0.9, False), (1.1, True)):
        now = 100 * (1 + share * floor)
        new = figures(Interval(now, now, now, 5), name=name)
        if moved:
            with pytest.raises(AssertionError, match=name):
                check_baseline(new, path, key="full")
        else:
            check_baseline(new, path, key="full")


def test_a_stored_zero_has_no_tolerance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no key was ever lost, a single lost key is a move."""
    path = tmp_path / "one.json"
    monkeypatch.setenv(UPDATE_VARIABLE, "1")
    check_baseline(figures(Interval(0.0, 0.0, 0.0, 5)), path, key="full")
    monkeypatch.delenv(UPDATE_VARIABLE)
    check_baseline(figures(Interval(0.0, 0.0, 0.0, 5)), path, key="full")
    with pytest.raises(AssertionError, match="moved by"):
        check_baseline(figures(Interval(1e-6, 1e-6, 1e-6, 5)), path, key="full")


def test_a_move_is_told_in_full(path: Path) -> None:
    """The message names the figure, both values, the move, its tolerance and the way to renew."""
    with pytest.raises(AssertionError) as caught:
        check_baseline(figures(Interval(20.0, 16.0, 24.0, 5)), path, key="full")
    message = str(caught.value)
    assert "default: lag_s: was 10 ± 3, is 20 ± 4: moved by +10, tolerance 5" in message
    assert str(path) in message
    assert f"{UPDATE_VARIABLE}=1" in message
    assert "saying why they moved" in message


def test_figures_that_come_or_go_are_moves(path: Path) -> None:
    """A figure that the baseline lacks, or that the study lacks, is not passed over in silence."""
    with pytest.raises(
        AssertionError, match="default: lag_s1: is 10 ± 3, and the baseline does not"
    ):
        check_baseline(figures(STORED, STORED), path, key="full")
    with pytest.raises(AssertionError, match="default: lag_s: was 10 ± 3, and the study does not"):
        check_baseline({"default": {}}, path, key="full")


def test_a_figure_that_no_run_has_is_stored_as_null(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NaN is no JSON. None stays none; turning into a number, or out of one, is a move."""
    path, none = tmp_path / "one.json", Interval(math.nan, math.nan, math.nan, 0)
    monkeypatch.setenv(UPDATE_VARIABLE, "1")
    check_baseline(figures(none), path, key="full")
    monkeypatch.delenv(UPDATE_VARIABLE)
    assert json.loads(path.read_text())["full"]["default: lag_s"]["mean"] is None
    check_baseline(figures(none), path, key="full")
    with pytest.raises(AssertionError, match="moved"):
        check_baseline(figures(STORED), path, key="full")


def test_a_single_replication_can_be_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an interval only the floor is left as a tolerance."""
    path, single = tmp_path / "one.json", Interval(10.0, math.nan, math.nan, 1)
    monkeypatch.setenv(UPDATE_VARIABLE, "1")
    check_baseline(figures(single), path, key="full")
    monkeypatch.delenv(UPDATE_VARIABLE)
    check_baseline(figures(single), path, key="full")
    with pytest.raises(AssertionError, match="moved"):
        check_baseline(figures(Interval(10.1, math.nan, math.nan, 1)), path, key="full")


def test_a_missing_baseline_fails_and_says_how_to_store_one(path: Path) -> None:
    """Neither a file that is not there nor a key that it lacks passes."""
    for missing, key in ((path.with_name("none.json"), "full"), (path, "fast")):
        with pytest.raises(AssertionError, match=f"has no baseline '{key}'.*{UPDATE_VARIABLE}"):
            check_baseline(figures(STORED), missing, key=key)


def test_renewing_one_key_keeps_the_others(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fast and full studies share a file, one line for each figure, in an order of no chance."""
    before = path.read_text()
    monkeypatch.setenv(UPDATE_VARIABLE, "1")
    check_baseline(figures(Interval(1 / 3, 0.1, 0.9, 3)), path, key="fast")
    both = json.loads(path.read_text())
    assert list(both) == ["fast", "full"]
    assert both["full"] == json.loads(before)["full"]
    line = '    "default: lag_s": {"mean": 0.333333, "low": 0.1, "high": 0.9, "replications": 3}'
    assert line in path.read_text().splitlines()
    check_baseline(figures(Interval(1 / 3, 0.1, 0.9, 3)), path, key="fast")
    assert json.loads(path.read_text()) == both


def test_what_a_text_states_is_held_against_its_value() -> None:
    """A number in a text is checked to its own digits, and every wrong one is named."""
    check_stated([("1.9%", 0.01949), ("0.20", 0.2049), ("10,000", 9999.6), ("3", 2.5001)])
    with pytest.raises(AssertionError) as caught:
        check_stated([("1.9%", 0.0195001), ("2", 2.4), ("0.2", 0.25001)])
    assert "stated is 1.9%, found is 2.0%" in str(caught.value)
    assert "stated is 0.2, found is 0.3" in str(caught.value)
    assert "stated is 2," not in str(caught.value)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_number_of_a_decision_is_asserted(notebook: Path) -> None:
    """No number of a decision is only typed: the regression cell of its notebook has it too."""
    cells = nbformat.read(notebook, as_version=4).cells
    decision = next(cell.source for cell in cells if cell.source.startswith("## Decision"))
    checked = " ".join(
        cell.source for cell in cells if "regression" in cell.metadata.get("tags", [])
    )
    # Words in backticks are settings and their values; 95% is the confidence of every interval.
    stated = NUMBER.findall(re.sub(r"`[^`]*`|95% (?=(?:confidence )?interval)", "", decision))
    assert stated, "a decision gives its numbers"
    asserted = set(NUMBER.findall(checked))
    assert not [number for number in stated if number not in asserted]
