"""What the process uses, and how punctual its event loop is."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

LAG_INTERVAL_S = 1.0
"""How often the loop's lag is measured."""

LAG_MEMORY = 60
"""How many measurements are kept: those of a minute."""


def _version() -> str:
    try:
        return version("ftrepo")
    except PackageNotFoundError:  # Run from a folder of sources that was never installed.
        return "unknown"


VERSION = _version()
"""Of this package."""


class LoopLag:
    """How much too late the event loop calls back whoever set a timer.

    A loop that is late by more than some milliseconds has too much to do, or something blocks it.
    """

    def __init__(self) -> None:
        self._lags_s: deque[float] = deque(maxlen=LAG_MEMORY)

    @property
    def worst_s(self) -> float:
        """The greatest lag of the last minute, in seconds; 0 before the first measurement."""
        return max(self._lags_s, default=0.0)

    @property
    def latest_s(self) -> float:
        """The last one, in seconds; 0 before the first."""
        return self._lags_s[-1] if self._lags_s else 0.0

    def note(self, lag_s: float) -> None:
        """Take a measurement in."""
        self._lags_s.append(max(0.0, lag_s))

    @asynccontextmanager
    async def measured(self) -> AsyncGenerator[None]:
        """Measure for the length of a block."""
        task = asyncio.get_running_loop().create_task(self._measure())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _measure(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + LAG_INTERVAL_S
            await asyncio.sleep(LAG_INTERVAL_S)
            self.note(loop.time() - due_s)


def resources(lag: LoopLag) -> dict[str, object]:
    """Return what the process uses: memory in bytes, processor time in seconds, files, threads."""
    process = psutil.Process()
    with process.oneshot():
        times = process.cpu_times()
        return {
            "rss_bytes": process.memory_info().rss,
            "cpu_s": round(times.user + times.system, 3),
            "open_files": process.num_fds() if hasattr(process, "num_fds") else None,
            "threads": process.num_threads(),
            "loop_lag_s": round(lag.latest_s, 6),
            "loop_lag_worst_s": round(lag.worst_s, 6),
        }
