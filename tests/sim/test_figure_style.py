"""The house style: bands, units and colours that every figure shares."""

from __future__ import annotations

import numpy as np
import pytest

from sim.show.style import band, colour, duration, time_unit
from sim.study.intervals import t_interval


def test_a_band_is_the_interval_at_each_point() -> None:
    """The same Student's interval as elsewhere; where fewer than two have a value there is none."""
    rows = np.array([[1.0, 2.0, np.nan], [3.0, np.nan, np.nan], [8.0, np.nan, np.nan]])
    mean, low, high = band(rows)
    interval = t_interval([1.0, 3.0, 8.0])
    assert (mean[0], low[0], high[0]) == pytest.approx((interval.mean, interval.low, interval.high))
    assert mean[1] == 2.0
    assert np.isnan([low[1], high[1], mean[2]]).all()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.5, "0.5 s"), (60.0, "1 min"), (90.0, "90 s"), (600.0, "10 min"), (5400.0, "90 min"),
        (21600.0, "6 h"), (9000.0, "2.5 h"), (86400.0, "1 day"), (2592000.0, "30 days"),
    ],
)  # fmt: skip
def test_lengths_of_time_are_told_in_their_own_unit(seconds: float, words: str) -> None:
    """As one would say them."""
    assert duration(seconds) == words


def test_an_axis_of_time_has_few_ticks() -> None:
    """The unit grows with the span."""
    assert [time_unit(span)[1] for span in (60.0, 600.0, 21600.0, 1e6)] == [
        "seconds",
        "minutes",
        "hours",
        "days",
    ]


def test_policies_keep_their_colours() -> None:
    """A named policy looks the same in every figure, and no other one takes its colour."""
    names = ["mine", "default", "yours", "primary-only"]
    assert colour("default") == colour("default", names)
    assert len({colour(name, names) for name in names}) == len(names)
