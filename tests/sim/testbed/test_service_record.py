"""What requests to the service say, counted by hand."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from sim.history import GetOutcome
from sim.testbed.service_record import Asked, Noted, failed_share_max, failures_in_words, rows


def noted(
    outcome: GetOutcome = GetOutcome.RIGHT,
    *,
    phase: str = "up",
    asked: Asked = Asked.KEY,
    latency_s: float = 0.01,
    counts: bool = True,
    maker: int = 0,
) -> Noted:
    """A request of instance 0."""
    said = "" if outcome is GetOutcome.RIGHT else "404"
    return Noted(phase, asked, 1.0, latency_s, 0, maker, "k", outcome, counts, said)


def test_no_failure_among_few_promises_little() -> None:
    """Of 59 requests none failed: one in twenty may, and such a sample would be no surprise."""
    assert failed_share_max(0, 59) == pytest.approx(0.0495, abs=1e-4)
    assert failed_share_max(0, 10_000) == pytest.approx(3 / 10_000, rel=0.01)
    assert math.isnan(failed_share_max(0, 0))
    assert failed_share_max(7, 7) == 1.0


@pytest.mark.parametrize(("failed", "requests"), [(0, 40), (1, 40), (13, 200), (39, 40)])
def test_the_bound_leaves_one_study_in_twenty(failed: int, requests: int) -> None:
    """With a share as large as the bound, so few failures are seen once in twenty times."""
    most = failed_share_max(failed, requests)
    assert stats.binom.cdf(failed, requests, most) == pytest.approx(0.05)


def test_a_row_for_each_phase_and_kind_in_their_order() -> None:
    """Phases come as they were, kinds as they are listed, and none that was not asked for."""
    table = rows(
        [noted(phase="b"), noted(phase="a", asked=Asked.FRESH), noted(phase="a")], lambda _: True
    )
    assert [(row.phase, row.asked) for row in table] == [
        ("b", Asked.KEY),
        ("a", Asked.KEY),
        ("a", Asked.FRESH),
    ]


def test_failures_are_counted_and_held_against_the_prediction() -> None:
    """Of three failures one is predicted; latencies are those that were seen."""
    requests = [noted(latency_s=0.01 * n) for n in range(1, 98)]
    requests += [noted(GetOutcome.UNKNOWN, latency_s=2.0, maker=maker) for maker in (0, 0, 1)]
    (row,) = rows(requests, lambda each: each.maker == 1)
    assert (row.requests, row.failed, row.unpredicted) == (100, 3, 2)
    assert (row.p50_s, row.p99_s, row.max_s) == (0.5, 2.0, 2.0)


def test_a_token_that_ended_meanwhile_is_no_request() -> None:
    """It may be refused, and a valid one may not: so it says nothing."""
    (row,) = rows([noted(), noted(GetOutcome.WRONG, counts=False)], lambda _: False)
    assert (row.requests, row.failed, row.unpredicted) == (1, 0, 0)


def test_failures_are_told_by_their_kind() -> None:
    """How many of each, when, and whose key was asked for."""
    told = failures_in_words(
        [noted(), noted(GetOutcome.UNKNOWN), noted(GetOutcome.UNKNOWN, maker=1)]
    )
    assert told == [
        "up: GET /keys/{id}: 1 unknown (404), asked for its own key, 1.0 to 1.0 s",
        "up: GET /keys/{id}: 1 unknown (404), asked for another's key, 1.0 to 1.0 s",
    ]
