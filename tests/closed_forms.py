"""Closed forms held against simulation, as the tests of all of them do it.

Each interval has a confidence at which all of them, some ninety, would hold at once in 95 of 100
studies (Bonferroni). Seeds are fixed, so a test that passes goes on passing until something moves.
"""

from __future__ import annotations

import numpy as np

from sim.study.validation import Form, validate

CONFIDENCE = 1 - 0.05 / 90


def hold_against_simulation(form: Form, *, replications: int, widest: float) -> None:
    """Fail unless theory lies within the interval at every point of the grid.

    Args:
        form: with at least six points.
        replications: runs of each point.
        widest: the median half-width allowed, as a share of what is expected: in a wide enough
            interval any theory would lie.
    """
    points = validate({"": form}, replications=replications, workers=1, confidence=CONFIDENCE)[""]
    assert len(points) >= 6
    assert [str(point) for point in points if not point.agrees] == []
    widths = [point.simulated.half_width / point.expected for point in points if point.expected]
    assert np.median(widths) < widest
