"""The pace of the background tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftrepo.keys import PublicKey
from ftrepo.policy import Policy
from ftrepo.reconcile import STOP_PAUSE_S, STOP_TRIES_MAX, _until_next_beat_s
from tests.laboratory import Laboratory, run_laboratory


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


@pytest.mark.parametrize(("swallowed", "stopped_s"), [(3, 2.0), (1000, STOP_TRIES_MAX)])
def test_a_swallowed_cancellation_does_not_keep_the_service_from_stopping(
    swallowed: int, stopped_s: float
) -> None:
    """A driver that swallows cancellations is cancelled again, and left behind in the end."""

    async def story(lab: Laboratory) -> None:
        left = swallowed

        async def list_valid(*, after: str | None, limit: int) -> Sequence[PublicKey]:
            nonlocal left
            while left > 0:
                try:
                    await asyncio.sleep(1000.0)
                except asyncio.CancelledError:
                    left -= 1
            raise asyncio.CancelledError

        policy = Policy(refresh_interval_s=1.0, load_timeout_s=None, drain_timeout_s=0.0)
        repo = lab.repository(policy)
        repo._guarded._calls._cancels_at_once = True
        await repo.__aenter__()
        lab.primary.list_valid = list_valid  # type: ignore[method-assign]
        await lab.until(5.0)
        await repo.__aexit__(None, None, None)
        assert lab.loop.time() == pytest.approx(5.0 + stopped_s * STOP_PAUSE_S)
        left = 0

    run_laboratory(story)
