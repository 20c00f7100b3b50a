"""asyncio in virtual time: an event loop whose clock and timers are a SimPy environment.

Production code that awaits runs here unchanged, beside SimPy processes, in one order of time. What
takes an hour takes no time at all, and the same program runs in the same order every time.
"""

from __future__ import annotations

from sim.loop.errors import (
    CopyError,
    DeadlockError,
    InputOutputError,
    LeftoverTasksError,
    LoopError,
    NoProgressError,
    WallClockError,
)
from sim.loop.start import run_virtual
from sim.loop.virtual_time import VirtualTimeLoop
from sim.loop.wall_clock import forbid_wall_clock

__all__ = [
    "CopyError",
    "DeadlockError",
    "InputOutputError",
    "LeftoverTasksError",
    "LoopError",
    "NoProgressError",
    "VirtualTimeLoop",
    "WallClockError",
    "forbid_wall_clock",
    "run_virtual",
]
