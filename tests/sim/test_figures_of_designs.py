"""Figures of a design review: every number that they show is one of the study."""

from __future__ import annotations

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from sim.show import availability_by_policy, failures_by_cause, what_designs_give_up
from sim.show.figure_designs import sensitivity_of_designs
from tests.sim.designs_by_hand import by_hand
from tests.sim.test_designs import GOOD, UNSURE, WORSE

STUDY = by_hand(
    {"primary-only": WORSE, "breaker": UNSURE, "default": GOOD},
    lost_keys={"primary-only": 3.0},
    failed_empty_memory_share={"breaker": 0.0004},
)


def words(figure: Figure) -> list[str]:
    """Every text that can be seen, with the figure drawn."""
    FigureCanvasAgg(figure).draw()
    return [each.get_text() for each in figure.findobj(Text) if each.get_visible()]


def test_causes_are_a_table_of_shares() -> None:
    """Each cause that was seen has a column, and each design its share in it; zero is empty."""
    shown = words(failures_by_cause({"fleet": STUDY}))
    for text in (
        "2%",
        "0.11%",
        "0.04%",
        "only the maker\nhad the key",
        "started with\nempty memory",
    ):
        assert text in shown
    assert "no answer\nin time" not in shown
    assert "0%" not in shown


def test_a_study_without_failures_has_an_empty_table() -> None:
    """Where nothing failed there is nothing to tell apart, and no error."""
    shown = words(failures_by_cause({"fleet": by_hand({"default": [0.0, 0.0]})}))
    assert not [text for text in shown if text.endswith("%")]


def test_what_is_given_up_has_a_panel_for_each_figure() -> None:
    """An odd one leaves its place empty; a point lies where its mean is."""
    figure = what_designs_give_up(
        STUDY, measures=("lost_keys", "cache_entries_max", "sync_lag_p99_s")
    )
    assert "keys lost, a run" in words(figure)
    panels = figure.axes
    assert [axes.get_visible() for axes in panels] == [True, True, True, False]
    points = [line for line in panels[0].lines if line.get_marker() == "o"]
    assert [float(np.asarray(line.get_xdata())[0]) for line in points] == [3.0, 0.0, 0.0]


def test_sensitivity_shows_every_assumption_and_who_would_fail_more() -> None:
    """Right of zero the others fail more than the recommended design."""
    turned = by_hand({"default": WORSE, "breaker": GOOD})
    pair = by_hand({"default": GOOD, "breaker": WORSE})
    figure = sensitivity_of_designs({"as assumed": pair, "turned": turned}, "default")
    assert {"as assumed", "turned", "breaker"} <= set(words(figure))
    points = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    first, second = (float(np.asarray(line.get_xdata()).flat[0]) for line in points)
    assert first > 0 > second


def test_differences_to_the_best_are_told_as_more_failures() -> None:
    """Against a design that is expected to be the best, the others fail more, and that is said."""
    shown = words(availability_by_policy({"fleet": STUDY}, against="default", against_best=True))
    assert "more than default" in shown
    assert any(text.startswith("1.9% [1.") for text in shown)
    fewer = words(availability_by_policy({"fleet": STUDY}, against="primary-only"))
    assert "fewer than primary-only" in fewer
