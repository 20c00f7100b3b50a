"""How old keys may be, and when to ask again."""

from __future__ import annotations

import math

import pytest

from ftrepo.service.providers.freshness import FRESH_S_MIN, Freshness


def freshness(
    fresh_s: float = 300.0, stale_s: float = 1000.0, fetch_timeout_s: float = 3.0
) -> Freshness:
    """The default settings, but for what is given."""
    return Freshness(fresh_s=fresh_s, stale_s=stale_s, fetch_timeout_s=fetch_timeout_s)


def test_keys_age_from_fresh_to_unusable() -> None:
    """Each state ends at its own bound, which belongs to the next."""
    keys = freshness()
    assert keys.state(0.0) == "never"
    keys.succeeded(10.0, None)
    ages = (0.0, 299.9, 300.0, 1299.9, 1300.0)
    states = ["fresh", "fresh", "stale", "stale", "unusable"]
    assert [keys.state(10.0 + age_s) for age_s in ages] == states
    assert [keys.is_usable(10.0 + age_s) for age_s in ages] == [True] * 4 + [False]


def test_without_a_stale_time_no_stale_key_is_used() -> None:
    """Zero means none."""
    keys = freshness(stale_s=0.0)
    keys.succeeded(0.0, None)
    assert [keys.state(each) for each in (299.9, 300.0)] == ["fresh", "unusable"]


def test_a_failure_leaves_the_keys_their_age() -> None:
    """What was fetched before is as good as it was."""
    keys = freshness()
    keys.succeeded(0.0, None)
    keys.failed(299.0)
    assert (keys.state(299.0), keys.state(300.0)) == ("fresh", "stale")


@pytest.mark.parametrize(
    ("max_age_s", "fresh_s"),
    [(None, 300.0), (0.0, FRESH_S_MIN), (29.0, FRESH_S_MIN), (60.0, 60.0), (86_400.0, 300.0)],
)
def test_the_provider_may_shorten_the_fresh_time_and_not_lengthen_it(
    max_age_s: float | None, fresh_s: float
) -> None:
    """Nor shorten it below the bound, however little it allows."""
    keys = freshness()
    keys.succeeded(0.0, max_age_s)
    assert (keys.state(fresh_s - 0.1), keys.state(fresh_s)) == ("fresh", "stale")


def test_the_bound_on_shortening_is_never_above_what_the_operator_says() -> None:
    """Five seconds stay five, whatever the provider says."""
    keys = freshness(fresh_s=5.0)
    keys.succeeded(0.0, 10.0)
    assert keys.state(5.0) == "stale"


@pytest.mark.parametrize(
    ("fresh_s", "timeout_s", "due_s"),
    [(300.0, 3.0, 240.0), (20.0, 3.0, 14.0), (5.0, 3.0, 2.5), (1.0, 10.0, 0.5)],
)
def test_keys_are_due_ahead_of_their_time(fresh_s: float, timeout_s: float, due_s: float) -> None:
    """A fifth, or two time-outs, and never in the first half."""
    keys = freshness(fresh_s=fresh_s, fetch_timeout_s=timeout_s)
    assert keys.due_s() == -math.inf
    keys.succeeded(0.0, None)
    assert keys.due_s() == due_s


def test_failures_are_repeated_ever_more_slowly_and_once_a_minute_in_the_end() -> None:
    """A success begins anew."""
    keys = freshness()
    pauses_s = []
    for _ in range(8):
        keys.failed(100.0)
        pauses_s.append(keys.due_s() - 100.0)
    assert pauses_s == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    keys.succeeded(200.0, None)
    assert keys.due_s() == 440.0
    keys.failed(440.0)
    assert keys.due_s() == 442.0
