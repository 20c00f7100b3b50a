"""Pauses between attempts: pure, with the random numbers given."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftrepo.resilience import (
    CONNECTING,
    DATABASE_READS,
    TRANSIENT,
    BackoffSettings,
    longest_pause_s,
    pauses_s,
)
from ftrepo.resilience.backoff import EQUAL_JITTER, FULL_JITTER, NO_JITTER

DRAWS = st.floats(0, 1, exclude_max=True)


def test_the_first_pause_is_the_first() -> None:
    """100, 200, 400 ms …: a known example multiplies before its first wait, and starts at 200."""
    settings = BackoffSettings(attempts_max=8, first_s=0.1, factor=2.0, pause_max_s=5.0)
    assert list(pauses_s(settings)) == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0])


def test_the_presets_are_the_requirements() -> None:
    """Connecting: 5 attempts, 100 ms, 10 s. Transient: 3, 100 ms, 5 s. Reads: 3, 1 s, 10 s."""
    assert list(pauses_s(CONNECTING)) == pytest.approx([0.1, 0.2, 0.4, 0.8])
    assert list(pauses_s(TRANSIENT)) == pytest.approx([0.1, 0.2])
    assert list(pauses_s(DATABASE_READS)) == pytest.approx([1.0, 2.0])
    caps_s = [settings.pause_max_s for settings in (CONNECTING, TRANSIENT, DATABASE_READS)]
    assert caps_s == [10.0, 5.0, 10.0]
    assert all(each.jitter == FULL_JITTER for each in (CONNECTING, TRANSIENT, DATABASE_READS))


def test_one_attempt_never_pauses() -> None:
    """With one attempt the first failure is the last."""
    assert list(pauses_s(BackoffSettings(attempts_max=1))) == []


def test_no_number_of_failures_overflows() -> None:
    """A job that has failed a million times pauses for the cap."""
    assert longest_pause_s(BackoffSettings(), 1_000_000) == 10.0


@given(draw=DRAWS, jitter=st.floats(0, 1))
def test_jitter_only_shortens(draw: float, jitter: float) -> None:
    """A pause lies between its share without jitter and the longest, wherever the draw falls."""
    settings = BackoffSettings(jitter=jitter)
    for failures, pause_s in enumerate(pauses_s(settings, draw=lambda: draw), start=1):
        longest_s = longest_pause_s(settings, failures)
        assert (1 - jitter) * longest_s - 1e-12 <= pause_s <= longest_s


@pytest.mark.parametrize(
    ("jitter", "lowest", "mean"),
    [(NO_JITTER, 1.0, 1.0), (EQUAL_JITTER, 0.5, 0.75), (FULL_JITTER, 0.0, 0.5)],
)
def test_each_jitter_has_its_distribution(jitter: float, lowest: float, mean: float) -> None:
    """Uniform from its lowest share of the pause up to all of it."""
    draw = np.random.default_rng(1).random
    settings = BackoffSettings(attempts_max=5_001, first_s=1.0, pause_max_s=1.0, jitter=jitter)
    pauses = np.array(list(pauses_s(settings, draw=draw)))
    assert pauses.mean() == pytest.approx(mean, abs=0.02)
    assert pauses.min() == pytest.approx(lowest, abs=0.005)
    assert pauses.max() == pytest.approx(1.0, abs=0.005)


@given(draws=st.lists(DRAWS, min_size=1, max_size=20))
def test_decorrelated_pauses_follow_the_published_formula(draws: list[float]) -> None:
    """It is: sleep = min(cap, random_between(base, sleep * 3)), beginning with sleep = base."""
    base, cap = 0.1, 2.0
    settings = BackoffSettings(
        attempts_max=len(draws) + 1, first_s=base, factor=3.0, pause_max_s=cap, decorrelated=True
    )
    expected, sleep = [], base
    for draw in draws:
        sleep = min(cap, base + draw * (sleep * 3 - base))
        expected.append(sleep)
    assert list(pauses_s(settings, draw=iter(draws).__next__)) == pytest.approx(expected)


def test_decorrelated_without_draws_is_exponential() -> None:
    """Nothing is random then: every pause is the longest."""
    settings = replace(CONNECTING, decorrelated=True)
    assert list(pauses_s(settings)) == list(pauses_s(CONNECTING))


@pytest.mark.parametrize(("total_max_s", "pauses"), [(0.71, 3), (0.69, 2), (0.09, 0), (None, 4)])
def test_pauses_end_with_the_total(total_max_s: float | None, pauses: int) -> None:
    """There are as many as fit: 0.1, 0.3, 0.7 and 1.5 s have passed after each."""
    assert len(list(pauses_s(replace(CONNECTING, total_max_s=total_max_s)))) == pauses


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts_max": 0},
        {"first_s": 0},
        {"factor": 0.5},
        {"jitter": 1.5},
        {"jitter": -0.5},
        {"total_max_s": 0},
    ],
)
def test_impossible_settings_are_refused_by_name(wrong: dict[str, float]) -> None:
    """The error names the setting."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        BackoffSettings(**wrong)  # type: ignore[arg-type]
