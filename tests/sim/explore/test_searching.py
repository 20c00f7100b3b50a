"""The search: the lowest seed that breaks something, whoever searches and however fast."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest

from sim.explore.judging import DETERMINISM, Case, Verdict
from sim.explore.searching import CHUNK_WORLDS, End, Grounds, Search, search
from tests.sim.explore.cases import Planted

TWO = (Grounds(), Grounds(name="second"))


def clock(step_s: float = 1.0) -> Callable[[], float]:
    """A clock that goes on whenever somebody looks."""
    seconds = count(step=step_s)
    return lambda: next(seconds)


def searched(plan: Planted, *, workers: int = 1, budget_s: float | None = None) -> Search:
    """A search by a clock of its own."""
    return search(plan, now=clock(), workers=workers, budget_s=budget_s)


def test_a_quiet_search_plays_every_seed_in_all_grounds() -> None:
    """And tells of progress from none to all, in worlds."""
    told: list[tuple[int, int | None]] = []
    plan = Planted(first=5, seeds=100, grounds=TWO)
    done = search(plan, now=clock(), workers=1, progress=lambda *at: told.append(at))
    assert (done.seeds, done.tally.worlds, done.found, done.end) == (100, 200, None, End.SEEDS)
    assert told[0] == (0, 200)
    assert told[-1] == (200, 200)


def test_the_search_ends_at_the_lowest_seed_that_breaks_something() -> None:
    """What comes after it is not counted."""
    done = searched(Planted(seeds=1000, broken=frozenset({700, 312, 313})))
    assert done.end is End.VIOLATION
    assert done.found is not None
    assert done.found.seed == 312
    assert done.seeds == done.tally.worlds == 313


def test_what_is_found_does_not_depend_on_the_workers() -> None:
    """Two processes, of which one finds a higher seed meanwhile, report the same."""
    plan = Planted(first=3, seeds=8 * CHUNK_WORLDS, broken=frozenset({170, 175, 240}), grounds=TWO)
    one, two = searched(plan), searched(plan, workers=2)
    assert one.found == two.found
    assert one.found is not None
    assert one.found.grounds.name == "second"
    assert one.tally == two.tally


def test_a_budget_ends_the_search_and_the_number_of_seeds_is_told() -> None:
    """Of seeds without end; every look at the clock takes a second."""
    done = searched(Planted(seeds=None), budget_s=10.0)
    assert done.end is End.BUDGET
    assert done.seeds == 10 * CHUNK_WORLDS
    assert done.wall_s == 11.0


def test_a_search_without_any_bound_is_refused() -> None:
    """It would never end."""
    with pytest.raises(ValueError, match="needs a bound"):
        searched(Planted(seeds=None))


def test_ctrl_c_keeps_what_was_searched() -> None:
    """Up to the last whole chunk before it."""
    done = searched(Planted(seeds=1000, interrupted=100))
    assert done.end is End.INTERRUPTED
    assert done.seeds == 100 // CHUNK_WORLDS * CHUNK_WORLDS


def test_what_only_another_process_saw_breaks_determinism(monkeypatch: pytest.MonkeyPatch) -> None:
    """The world that a search reports is played once more, and has to break again."""
    verdicts = []
    judged = Planted.judged

    def once(self: Planted, seed: int, case: Case) -> Verdict:
        verdict = judged(self, seed, case)
        verdicts.extend(verdict.violations)
        return verdict if len(verdicts) < 2 else Verdict(chronicle=None, violations=())

    monkeypatch.setattr(Planted, "judged", once)
    done = searched(Planted(seeds=10, broken=frozenset({4})))
    assert done.found is not None
    assert [each.invariant for each in done.found.verdict.violations] == [DETERMINISM]
    assert "planted" in done.found.verdict.violations[0].said


def test_a_budget_without_a_clock_is_refused() -> None:
    """Nobody could say when it is used up; without a budget, no clock is needed."""
    with pytest.raises(ValueError, match="needs a clock"):
        search(Planted(), workers=1, budget_s=1.0)
    done = search(Planted(seeds=3), workers=1)
    assert (done.seeds, done.wall_s, done.seeds_per_s) == (3, None, None)


def test_an_error_of_the_search_itself_says_for_which_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An invariant that fails to judge is no finding; whoever mends it needs the world."""

    def judged(self: Planted, seed: int, case: Case) -> Verdict:
        raise ZeroDivisionError("in an invariant")

    monkeypatch.setattr(Planted, "judged", judged)
    with pytest.raises(ZeroDivisionError) as caught:
        searched(Planted(first=7, seeds=3, grounds=TWO[1:]))
    assert caught.value.__notes__ == ["in the world of seed 7 of scenario second"]
