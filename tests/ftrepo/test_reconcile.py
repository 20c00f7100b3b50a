"""The pace of the background tasks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ftrepo.reconcile import _until_next_beat_s


@given(
    start_s=st.floats(min_value=0, max_value=1e7),
    interval_s=st.floats(min_value=0.01, max_value=3600),
    beats=st.integers(min_value=1, max_value=100),
)
def test_every_beat_is_a_step_forward(start_s: float, interval_s: float, beats: int) -> None:
    """However the clock rounds, one wait after another comes to one beat after another."""
    now_s = start_s
    for beat in range(1, beats + 1):
        pause_s = _until_next_beat_s(now_s - start_s, interval_s)
        assert pause_s > 0.9 * interval_s
        now_s += pause_s
        assert abs(now_s - start_s - beat * interval_s) < 1e-5 * interval_s + 1e-6


def test_from_between_two_beats_it_is_the_rest_of_the_way() -> None:
    """A key that fails 0.3 s after a beat of one second waits for 0.7 s."""
    assert abs(_until_next_beat_s(7.3, 1.0) - 0.7) < 1e-9
