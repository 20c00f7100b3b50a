"""Faults that are put in for as long as a search takes: found, counted, and taken out again."""

from __future__ import annotations

from contextlib import suppress

import pytest

from ftrepo.custody import Custody
from sim.explore.judging import judge
from sim.explore.planted import hunt, planted
from sim.explore.searching import Plan
from sim.explore.shrinking import size


def test_a_fault_is_there_for_the_length_of_a_block() -> None:
    """And is taken out again whatever happens in it."""
    right = Custody.drop_expired
    with suppress(ArithmeticError), planted(Custody, "drop_expired", lambda _: None):
        assert Custody.drop_expired is not right
        raise ArithmeticError
    assert Custody.drop_expired is right


def test_only_a_method_of_the_class_itself_is_exchanged() -> None:
    """A name that it does not have is a mistake of the caller."""
    with pytest.raises(KeyError), planted(Custody, "no_such_method", lambda _: None):
        pass


def test_a_fault_is_found_and_its_world_made_small() -> None:
    """Without it the small world breaks nothing."""
    found = hunt(Custody, "drop_expired", lambda _: None, plan=Plan(seeds=300), counted=80)
    assert found.search.found is not None
    assert found.smallest is not None
    case = found.smallest.kept.case
    assert size(case)["operations"] <= 2
    assert found.smallest.verdict.violations
    assert not judge(case).violations
    assert 0 < found.share.low < found.share.mean < found.share.high < 1
    assert found.share.replications == 80


def test_what_changes_nothing_is_not_found() -> None:
    """The search accuses no code that is right."""
    right = Custody.drop_expired
    found = hunt(Custody, "drop_expired", right, plan=Plan(seeds=20), counted=20)
    assert (found.search.found, found.smallest, found.share.mean) == (None, None, 0)
