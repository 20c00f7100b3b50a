"""When the primary fails and how: outages, and schedules made of them.

A schedule is a `tuple[Outage, ...]`, sorted and not overlapping, known whole before a run begins.
"""

from __future__ import annotations

import enum
import heapq
from bisect import bisect_right
from dataclasses import dataclass, replace
from itertools import pairwise
from math import isfinite
from typing import TYPE_CHECKING

from sim.world.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable


class OutageMode(enum.Enum):
    """How the primary fails. Where there is one, the SQLSTATE that PostgreSQL gives is named."""

    REFUSE = "refuse"
    """Every request fails at once: open connections are cut, and new ones refused."""
    HANG = "hang"
    """No request is answered while the outage lasts."""
    SLOW = "slow"
    """Every request is answered, after `PrimarySettings.slow_factor` times its latency."""
    ERROR_RATE = "error_rate"
    """A share of the requests fails: the severity."""
    READ_ONLY = "read_only"
    """Reads are answered, writes refused at once (25006): a failover before its promotion."""
    STARTING = "starting"
    """Open connections are cut, and new ones told that the server is starting up (57P03)."""
    RESET = "reset"
    """Open connections are cut, and new ones reset at once; what has reached the server is done."""
    FULL_POOL = "full_pool"
    """Others hold all of the pool's connections: a call waits for one while the outage lasts."""
    CONNECTION_LIMIT = "connection_limit"
    """No new connection (53300: the server's limit is reached); those that are open go on."""
    LOCKED = "locked"
    """The table is locked: connecting works, and every request waits while the outage lasts."""


_RANK = {
    OutageMode.SLOW: 0,
    OutageMode.CONNECTION_LIMIT: 1,
    OutageMode.ERROR_RATE: 2,
    OutageMode.READ_ONLY: 3,
    OutageMode.RESET: 4,
    OutageMode.STARTING: 5,
    OutageMode.REFUSE: 6,
    OutageMode.FULL_POOL: 7,
    OutageMode.LOCKED: 8,
    OutageMode.HANG: 9,
}
"""The higher, the worse: what costs a caller a time-out is worse than what fails at once, and that
is worse than what lets some of the calls through."""

PARTIAL = frozenset(
    {
        OutageMode.SLOW,
        OutageMode.ERROR_RATE,
        OutageMode.READ_ONLY,
        OutageMode.CONNECTION_LIMIT,
    }
)
"""Modes in which some of the calls succeed."""

SEVERED = frozenset(
    {
        OutageMode.REFUSE,
        OutageMode.HANG,
        OutageMode.READ_ONLY,
        OutageMode.STARTING,
        OutageMode.RESET,
        OutageMode.LOCKED,
    }
)
"""Modes in which no instance can write to the primary. In the others only the observed one is
troubled, or only a part of its calls."""


@dataclass(frozen=True, slots=True)
class Outage:
    """One interval [start_s, end_s) in which the primary fails in one way.

    Attributes:
        severity: the share of requests that fail, above 0 and at most 1; below 1 in mode
            `ERROR_RATE` only.

    Raises:
        InputError: a time is negative, infinite or not a number, the end is not after the start,
            or the severity is out of range or does not go with the mode.
    """

    start_s: float
    end_s: float
    mode: OutageMode
    severity: float = 1.0

    def __post_init__(self) -> None:
        if not (isfinite(self.start_s) and isfinite(self.end_s) and 0 <= self.start_s < self.end_s):
            raise InputError(
                f"an outage must begin at 0 or later and end after it begins, "
                f"not from {self.start_s} to {self.end_s}"
            )
        check_severity(self.mode, self.severity)

    @property
    def duration_s(self) -> float:
        """How long it lasts."""
        return self.end_s - self.start_s


def check_severity(mode: OutageMode, severity: float) -> None:
    """Refuse a severity that is out of range or does not go with the mode, with `InputError`."""
    if not 0 < severity <= 1:
        raise InputError(f"severity must be above 0 and at most 1, not {severity}")
    if severity != 1 and mode is not OutageMode.ERROR_RATE:
        raise InputError(f"severity must be 1 in mode {mode.value!r}, not {severity}")


def merge(*schedules: Iterable[Outage]) -> tuple[Outage, ...]:
    """Return one sorted, non-overlapping schedule in which the worst outage wins at every moment.

    Worst first: hang, locked, full pool, refuse, starting, reset, read-only, error rate (the higher
    severity), connection limit, slow. Neighbours that touch and are alike become one outage. Takes
    O(n log n).
    """
    outages = sorted((each for one in schedules for each in one), key=lambda each: each.start_s)
    moments = sorted({moment for each in outages for moment in (each.start_s, each.end_s)})
    running: list[tuple[int, float, float, int]] = []
    merged: list[Outage] = []
    coming = 0
    for left, right in pairwise(moments):
        while coming < len(outages) and outages[coming].start_s == left:
            each = outages[coming]
            heapq.heappush(running, (-_RANK[each.mode], -each.severity, -each.end_s, coming))
            coming += 1
        while running and outages[running[0][-1]].end_s <= left:
            heapq.heappop(running)
        if not running:
            continue
        worst = outages[running[0][-1]]
        if merged and merged[-1].end_s == left and _alike(merged[-1], worst):
            merged[-1] = replace(merged[-1], end_s=right)
        else:
            merged.append(Outage(left, right, worst.mode, worst.severity))
    return tuple(merged)


class Schedule:
    """A schedule of outages, asked what happens at a moment.

    Args:
        outages: sorted and not overlapping.
    """

    def __init__(self, outages: Iterable[Outage]) -> None:
        self.outages = tuple(outages)
        self._starts = [outage.start_s for outage in self.outages]

    def at(self, now_s: float) -> Outage | None:
        """The outage under way, or `None`."""
        index = bisect_right(self._starts, now_s) - 1
        if index >= 0 and now_s < self.outages[index].end_s:
            return self.outages[index]
        return None

    def index_after(self, now_s: float) -> int:
        """The index of the first outage that ends after this moment."""
        index = bisect_right(self._starts, now_s)
        return index - 1 if index and now_s < self.outages[index - 1].end_s else index


def _alike(one: Outage, other: Outage) -> bool:
    return one.mode is other.mode and one.severity == other.severity


def clip(outages: Iterable[Outage], duration_s: float) -> tuple[Outage, ...]:
    """Return the outages that begin before `duration_s`, the last one ended there."""
    return tuple(
        each if each.end_s <= duration_s else replace(each, end_s=duration_s)
        for each in outages
        if each.start_s < duration_s
    )
