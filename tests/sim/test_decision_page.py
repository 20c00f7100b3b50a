"""The page of a design review: whole, in the order of a meeting, and safe to write."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ftrepo.policy import Policy
from sim.show.decision_page import DesignReview, check_replaceable, write_decision
from sim.show.page import loaded_from_elsewhere
from sim.world.errors import InputError
from tests.sim.designs_by_hand import by_hand
from tests.sim.test_designs import GOOD, UNSURE, WORSE

FLEET = by_hand({"plain": WORSE, "other": UNSURE, "default": GOOD}, lost_keys={"plain": 3.0})
REVIEW = DesignReview(
    worlds={"fleet": FLEET, "<calm>": by_hand({"plain": WORSE, "other": WORSE, "default": GOOD})},
    varied={"twice the traffic": by_hand({"default": GOOD, "other": WORSE, "plain": WORSE})},
    preferred="default",
    objective=0.999,
    command="python -m sim review fleet --seed 7",
)
BUILT = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one review."""
    out = tmp_path_factory.mktemp("build") / "review"
    assert write_decision(REVIEW, out, built=BUILT) == out / "index.html"
    return out


def test_the_recommendation_comes_before_everything_else(folder: Path) -> None:
    """The order is the question, the decision, the evidence, and how to do it again at the end."""
    html = (folder / "index.html").read_text(encoding="utf-8")
    marks = [
        "<h1>Which design keeps verifiers going when PostgreSQL does not?</h1>",
        'id="decision"',
        "<strong>Take <code>default</code>, but not for certain",
        'id="evidence"',
        'id="alternatives-and-why-not"',
        'id="sensitivity"',
        'id="what-was-not-seen"',
        'id="assumptions"',
        'id="limits"',
        'id="how-to-reproduce-it"',
        "python -m sim review fleet --seed 7",
    ]
    places = [html.find(mark) for mark in marks]
    assert -1 not in places
    assert places == sorted(places)


def test_the_page_carries_all_that_it_shows(folder: Path) -> None:
    """It loads nothing; five figures are in it, each with words for those who cannot see it."""
    html = (folder / "index.html").read_text(encoding="utf-8")
    assert loaded_from_elsewhere(html) == []
    assert html.count('<img src="data:image/png;base64,') == 5
    assert 'alt=""' not in html
    assert "&lt;calm&gt;" in html
    assert "<calm>" not in html
    assert "2026-01-02 03:04 UTC" in html
    assert "fast mode" not in html


@pytest.mark.parametrize(
    ("failed", "words"),
    [
        ({"plain": WORSE, "default": GOOD}, "0.11% of the get calls fail (at most "),
        ({"plain": [0.001] * 8, "default": [0.0] * 8}, "no get call was seen to fail (at most "),
    ],
)
def test_the_first_figure_never_makes_a_bound_look_like_a_mean(
    tmp_path: Path, failed: dict[str, list[float]], words: str
) -> None:
    """Of a design that failed in nothing the bound may be above the mean of one that did."""
    review = replace(REVIEW, worlds={"fleet": by_hand(failed)}, varied={})
    html = write_decision(review, tmp_path / "review").read_text(encoding="utf-8")
    assert f"Under default {words}" in html
    assert re.search(r"Under default [^<]*%\), under plain 0?\.?\d", html)


def test_figures_and_the_recommended_policy_lie_beside_it(folder: Path) -> None:
    """What was decided can be deployed, and what it rests on can be read by a program."""
    assert Policy.from_toml(folder / "default.toml") == Policy()
    figures = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    assert set(figures["fleet"]["runs"]) == {"plain", "other", "default"}


def test_a_review_of_one_replication_has_no_intervals_and_says_so(tmp_path: Path) -> None:
    """It can be written all the same, in fast mode, and without variations."""
    review = DesignReview(
        worlds={"fleet": by_hand({"plain": [0.1], "default": [0.01]})},
        preferred="default",
        objective=0.999,
        command="",
        fast=True,
    )
    html = write_decision(review, tmp_path / "out").read_text(encoding="utf-8")
    assert "one replication has no interval" in html
    assert "fast mode" in html
    assert 'id="sensitivity"' not in html


def test_only_a_review_is_replaced(folder: Path, tmp_path: Path) -> None:
    """A folder with anything else in it, or a file, is left as it is."""
    check_replaceable(folder)
    check_replaceable(tmp_path / "new")
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="holds no review"):
        check_replaceable(tmp_path)
    with pytest.raises(InputError, match="is a file"):
        check_replaceable(tmp_path / "notes.txt")
