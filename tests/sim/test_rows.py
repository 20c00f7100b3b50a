"""Rows in the making."""

from __future__ import annotations

import numpy as np
import pytest

from sim.history import GetOutcome
from sim.rows import Rows


def test_columns_are_what_the_rows_held() -> None:
    """Each in its type and to the bit, in the order in which the rows came."""
    # No row is as wide as its widest columns would have it, if anybody padded it.
    rows = Rows(eligible="?", number="i8", outcome="u1", at_s="f8")
    rows.append((True, 2**40, GetOutcome.GAVE_UP, 0.1))
    rows.append((False, -1, GetOutcome.RIGHT, np.nextafter(3.0, 4.0)))
    assert len(rows) == 2
    assert rows.columns()["number"].tolist() == [2**40, -1]
    assert rows.columns()["at_s"].tolist() == [0.1, np.nextafter(3.0, 4.0)]
    assert rows.columns()["outcome"].tolist() == [GetOutcome.GAVE_UP, GetOutcome.RIGHT]
    assert rows.columns()["eligible"].tolist() == [True, False]
    assert {name: column.dtype for name, column in rows.columns().items()} == {
        "number": np.int64,
        "at_s": np.float64,
        "outcome": np.uint8,
        "eligible": np.bool_,
    }


def test_rows_can_be_added_after_a_column_was_read() -> None:
    """A column that was read does not change any more, and holds up nothing."""
    rows = Rows(at_s="f8")
    assert rows.columns()["at_s"].tolist() == []
    rows.append((1.0,))
    before = rows.columns()["at_s"]
    rows.append((2.0,))
    assert before.tolist() == [1.0]
    assert rows.columns()["at_s"].tolist() == [1.0, 2.0]


def test_a_row_of_another_width_is_refused() -> None:
    """It would shift every column after it."""
    with pytest.raises(Exception, match="expected 2 items"):
        Rows(at_s="f8", latency_s="f8").append((1.0,))
