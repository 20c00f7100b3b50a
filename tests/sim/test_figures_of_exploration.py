"""Figures and tables of a search: every number that they show is one of the tally."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from ftrepo.custody import Custody
from ftrepo.policy import Policy
from sim.explore.behaviours import BEHAVIOURS, PAIRS, SITUATIONS
from sim.explore.happenings import Violation
from sim.explore.hostile_world import HostileWorld
from sim.explore.judging import Case, names_of_invariants
from sim.explore.planted import hunt
from sim.explore.rarefaction import Growth
from sim.explore.searching import Plan
from sim.explore.tally import Tally
from sim.explore.world_file import Kept, Origin
from sim.show import growth_of_coverage, reached_in_outages, situations_reached
from sim.show.table_exploration import coverage_table, hunt_table, invariant_table, story_table

NEVER = PAIRS[5]
SEEN = SITUATIONS[:40]


@pytest.fixture
def tally() -> Tally:
    """Of 1,000 worlds: all pairs but one, all behaviours but two, and forty situations."""
    times = Counter({name: 3 + at for at, name in enumerate(PAIRS) if name != NEVER})
    times.update({name: 7 + at for at, name in enumerate(BEHAVIOURS[2:])})
    times.update({name: 1 + at // 4 for at, name in enumerate(SEEN)})
    return Tally(worlds=1_000, times=times)


def words(figure: Figure) -> list[str]:
    """Every text that can be seen, with the figure drawn."""
    FigureCanvasAgg(figure).draw()
    return [each.get_text() for each in figure.findobj(Text) if each.get_visible()]


def test_every_pair_has_a_cell_with_its_number_of_worlds(tally: Tally) -> None:
    """What never met says so, in its cell and above."""
    figure = reached_in_outages(tally)
    shown = words(figure)
    numbers = sorted(int(text) for text in shown if text.isdigit())
    assert numbers == sorted(tally.times[each] for each in PAIRS if each != NEVER)
    assert shown.count("never") == 1
    assert "Of 120 pairs of an outage and what happens meanwhile 1 never met" in shown


def test_a_search_without_a_gap_says_how_rare_the_rarest_pair_was(tally: Tally) -> None:
    """So that "everything was reached" has a number."""
    tally.times[NEVER] = 2
    shown = words(reached_in_outages(tally))
    assert "Everything met every kind of outage, the rarest pair in 2 of 1,000 worlds" in shown


def test_situations_have_a_panel_for_each_state_of_the_breaker(tally: Tally) -> None:
    """Each says how many were seen; what was never seen is left white."""
    figure = situations_reached(tally)
    shown = words(figure)
    seen = [
        int(text.partition(": ")[2])
        for text in shown
        if text.startswith("breaker ") and ": " in text
    ]
    assert len(seen) == 3
    assert sum(seen) == sum(not each.endswith("× publish") for each in SEEN)
    drawn = [np.ma.count(axes.images[0].get_array()) for axes in figure.axes[:3]]
    assert drawn == seen
    assert "40 situations were seen, 4 of them in a single world" in shown


def test_growth_ends_at_what_was_reached(tally: Tally) -> None:
    """And goes on, dashed, from there; beside it what 1,000 worlds more bring."""
    figure = growth_of_coverage(tally)
    reached, new = figure.axes
    lines = [np.asarray(each.get_ydata(), dtype=float) for each in reached.lines]
    ends = [40, len(PAIRS) - 1, len(BEHAVIOURS) - 2]
    assert [line[-1] for line in lines[::2]] == pytest.approx(ends)
    assert [line[0] for line in lines[1::2]] == pytest.approx(ends)
    last = np.asarray(new.lines[0].get_ydata(), dtype=float)[-1]
    assert last == pytest.approx(1000 * Growth.of(tally, SITUATIONS).new_in_one().mean)
    assert "1,000 worlds more would show 4 new situations" in words(figure)


def test_the_table_of_coverage_names_what_was_never_reached(tally: Tally) -> None:
    """And of the rest the rarest; a group without a gap says so."""
    table = coverage_table(tally)
    first, second = table.rows[:2]
    assert first[3] == ", ".join(name.partition(": ")[2] for name in BEHAVIOURS[:2])
    assert second[3] == "nothing"
    assert table.rows[-1][:2] == ("outage × meanwhile", "119 of 120")
    assert "(3)" in table.rows[-1][2]


def test_every_name_that_a_violation_may_have_is_explained() -> None:
    """In a sentence each."""
    rows = dict(invariant_table().rows)
    assert set(rows) == set(names_of_invariants())
    assert all(says.endswith(".") for says in rows.values())


def test_a_story_is_told_by_what_was_wrong() -> None:
    """A world written by hand has no seed, one that broke nothing no invariant."""
    case = Case(HostileWorld(), Policy())
    broken = Violation(invariant="truth", at_s=1.0, said="a wrong answer")
    kept = [
        Kept(about="It lied.", case=case, origin=Origin(seed=1_234), violation=broken),
        Kept(about="By hand.", case=case),
    ]
    assert [row[:3] for row in story_table(kept).rows] == [
        ("It lied.", "truth", "1,234"),
        ("By hand.", "", ""),
    ]


def test_a_hunt_says_when_a_fault_was_found_and_how_often_it_shows() -> None:
    """One that was not found says in how many seeds."""
    right = Custody.drop_expired
    hunts = {
        "found": hunt(Custody, "drop_expired", lambda _: None, plan=Plan(seeds=300), counted=1),
        "no fault": hunt(Custody, "drop_expired", right, plan=Plan(seeds=2), counted=4),
    }
    found, missed = hunt_table(hunts).rows
    assert found[1] == f"{hunts['found'].search.seeds}"
    assert "1 key" in found[4]
    assert missed == ("no fault", "not in 2", "", "0.0% [0.0%, 52.7%]", "")
