"""What a design review says: the choice, how sure it is, and never more than was seen."""

from __future__ import annotations

import math

import pytest

from sim.show.design_words import (
    design_table,
    difference_words,
    failed_words,
    gives_up,
    lost_words,
    recommendation,
    sensitivity_table,
    sensitivity_words,
    unseen_table,
)
from sim.study.designs import survives, verdict
from sim.study.intervals import Interval
from tests.sim.designs_by_hand import by_hand
from tests.sim.test_designs import GOOD, UNSURE, WORSE

CLEAR = by_hand({"plain": WORSE, "default": GOOD}, lost_keys={"plain": 3.0})
UNCLEAR = by_hand({"plain": WORSE, "other": UNSURE, "default": GOOD})
EVEN = by_hand({"other": UNSURE, "default": GOOD})
REVERSED = by_hand({"plain": GOOD, "default": WORSE})


def said(**studies: object) -> str:
    """The recommendation for these worlds, as one text."""
    return "\n".join(recommendation(studies, preferred="default", objective=0.999))  # type: ignore[arg-type]


def test_a_clear_choice_is_said_to_be_clear() -> None:
    """The choice stands first, with the share that failed, its interval and the objective."""
    text = said(fleet=CLEAR)
    assert text.startswith("**Take `default`: every other design is clearly less available.**")
    assert "0.11% [" in text
    assert "the interval reaches beyond the objective of 99.9%" in text
    assert "`plain`, failed in 1.9% [" in text


def test_what_cannot_be_told_apart_is_named() -> None:
    """A recommendation names the designs that it is not shown to be better than."""
    text = said(fleet=UNCLEAR)
    assert "not for certain: it is not shown to be more available than `other`" in text


def test_if_no_design_is_clearly_best_it_says_so() -> None:
    """Where nothing is told apart, that is the first sentence."""
    assert said(fleet=EVEN).startswith("**No design is clearly best.**")


def test_worlds_that_disagree_are_not_averaged() -> None:
    """Where worlds recommend different designs, none is recommended for all."""
    text = said(calm=CLEAR, rough=REVERSED)
    assert text.startswith("**No one design is best everywhere: take `default` in calm, `plain` in")


def test_no_lost_key_is_a_bound_not_a_promise() -> None:
    """Of ten runs without a loss it is known that at most 26 of 100 lose a key."""
    assert lost_words([0.0] * 10).endswith("so at most 26 of 100 such runs do.")
    assert lost_words([0.0, 3.0]) == "It lost 1.5 keys a run."


def test_no_failure_is_a_bound_not_a_promise() -> None:
    """A spotless study says what its interval leaves."""
    assert failed_words(Interval(1.0, 0.9992, 1.0, 8)) == "none seen, at most 0.08%"
    assert "no get call failed, which leaves at most" in said(
        fleet=by_hand({"plain": WORSE, "default": [0.0] * 8})
    )


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        (Interval(-0.012, -0.02, -0.004, 5), "1.2% [0.4%, 2%]"),
        (Interval(0.25, 0.1, 0.4, 5), "-25% [-40%, -10%]"),
        (Interval(-1e-9, -2e-9, 1e-9, 5), "<0.0001% [>-0.0001%, <0.0001%]"),
        (Interval(-0.5, math.nan, math.nan, 1), "50%"),
        (Interval(0.0, -0.1, 0.1, 2), "0% [-10%, 10%]"),
        (Interval(-0.1, -1.09, 0.32, 4), "10% [-32%, 100%]"),
    ],
)
def test_a_difference_is_told_as_more_failures(interval: Interval, words: str) -> None:
    """Less availability is more failures, ends in order, without digits that mean nothing."""
    assert difference_words(interval) == words


def test_what_is_given_up_is_what_is_clear() -> None:
    """Only differences that are no chance are told."""
    text = gives_up(CLEAR, "plain", "default")
    assert text.startswith("Gives up: 1.9% more of all calls fail [")
    assert "3 keys a run are lost instead of 0" in text
    assert gives_up(EVEN, "other", "default") == "No clear difference in any figure."


def test_the_table_of_designs_marks_what_may_be_chance() -> None:
    """The recommended design comes first; a difference that may be chance is said to be."""
    table = repr(design_table(UNCLEAR, verdict(UNCLEAR)))
    rows = table.splitlines()
    assert rows[2].startswith("| **`default`**")
    assert "may be chance" in next(row for row in rows if row.startswith("| `other`"))
    assert "| **1.9%" in next(row for row in rows if row.startswith("| `plain`"))


def test_sensitivity_says_what_changes() -> None:
    """A variation in which another design is clearly better is named."""
    base = verdict(CLEAR)
    varied = {"calmer": CLEAR, "rough": REVERSED}
    verdicts = survives(base, varied)
    assert sensitivity_words(verdicts) == "It changes with: rough (1 of 2 variations)."
    table = repr(sensitivity_table(varied, verdicts))
    assert "**changes to plain**" in table
    assert "| stands |" in table
    assert "clearly" in sensitivity_words(survives(base, {"calmer": CLEAR}))
    even = survives(base, {"even": by_hand({"plain": UNSURE, "default": GOOD})})
    assert "may be chance in all 1." in sensitivity_words(even)


def test_what_was_not_seen_is_bounded() -> None:
    """Each design of each world has a row with its outages and its nines."""
    table = repr(unseen_table({"fleet": CLEAR}))
    assert "failures in 8 of 80 outages" in table
    assert "nine" in table
