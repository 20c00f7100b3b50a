"""Tables of closed forms: what each says, and how far the simulation is from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sim.show.markdown import MarkdownTable
from sim.study.validation import Form, Point


def form_table(forms: Mapping[str, Form]) -> MarkdownTable:
    """One row for each closed form: what it says, and what it takes for granted."""
    rows = [(form.title, form.y_label, form.formula, form.assumes) for form in forms.values()]
    return MarkdownTable(("of", "in", "form", "assumes"), rows)


def theory_table(forms: Mapping[str, Form], points: Mapping[str, Sequence[Point]]) -> MarkdownTable:
    """One row for each form: how many of its points agree, and the one that is furthest off.

    Args:
        forms: by name.
        points: what `validate` returned for them. Of 95% intervals one in twenty misses by chance.
    """
    rows = []
    for name, form in forms.items():
        own = points[name]
        agree = sum(point.agrees for point in own)
        furthest = max(own, key=_distance)
        rows.append((form.title, f"{agree} of {len(own)}", str(furthest)))
    return MarkdownTable(("form", "points whose interval covers theory", "furthest off"), rows)


def _distance(point: Point) -> float:
    """How far off theory is, in half-widths of the interval."""
    off = abs(point.simulated.mean - point.expected)
    return off / point.simulated.half_width if off else 0.0
