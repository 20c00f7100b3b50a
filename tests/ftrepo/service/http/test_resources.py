"""What the process uses is shown, and a loop that is held up is noticed."""

from __future__ import annotations

import asyncio

from laboratory import Laboratory, run_laboratory

from ftrepo.service.http.resources import LAG_INTERVAL_S, LAG_MEMORY, LoopLag, resources
from tests.ftrepo.service.http.serving import Served, serve


def test_a_loop_that_is_held_up_shows_for_a_minute() -> None:
    """The worst of the minute, and the latest; then it is forgotten."""
    lag = LoopLag()
    assert (lag.latest_s, lag.worst_s) == (0.0, 0.0)
    for lag_s in (0.001, 0.25, -1e-9):
        lag.note(lag_s)
    assert (lag.latest_s, lag.worst_s) == (0.0, 0.25)
    for _ in range(LAG_MEMORY):
        lag.note(0.002)
    assert (lag.latest_s, lag.worst_s) == (0.002, 0.002)


def test_a_loop_is_measured_for_as_long_as_the_service_runs() -> None:
    """In virtual time every timer is on time."""

    async def story(served: Served) -> list[float]:
        await served.lab.until(3.5 * LAG_INTERVAL_S)
        resources = (await served.get("/health/detailed")).json()["resources"]
        return [resources["loop_lag_s"], resources["loop_lag_worst_s"]]

    assert serve(story) == [0.0, 0.0]


def test_measuring_ends_with_its_block() -> None:
    """No task is left behind, also when the block fails."""

    async def story(lab: Laboratory) -> int:
        lag = LoopLag()
        before = len(asyncio.all_tasks())
        try:
            async with lag.measured():
                raise ValueError
        except ValueError:
            pass
        return len(asyncio.all_tasks()) - before

    assert run_laboratory(story) == 0


def test_a_process_has_memory_and_threads() -> None:
    """And nothing of it is negative."""
    seen = resources(LoopLag())
    assert seen["rss_bytes"] > 1_000_000  # type: ignore[operator]
    assert seen["threads"] >= 1  # type: ignore[operator]
    assert all(value is None or value >= 0 for value in seen.values())  # type: ignore[operator]
