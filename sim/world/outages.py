"""When the primary fails and how: outages, and schedules made of them.

A schedule is a `tuple[Outage, ...]`, sorted and not overlapping, known whole before a run begins.
"""

from __future__ import annotations

import enum
import heapq
from dataclasses import dataclass, replace
from itertools import pairwise
from math import isfinite
from typing import TYPE_CHECKING

from sim.world.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable


class OutageMode(enum.Enum):
    """How the primary fails."""

    REFUSE = "refuse"
    """Every request fails at once: the connection is refused."""
    HANG = "hang"
    """No request is answered while the outage lasts."""
    SLOW = "slow"
    """Every request is answered, after `PrimarySettings.slow_factor` times its latency."""
    ERROR_RATE = "error_rate"
    """A share of the requests fails: the severity."""


_RANK = {
    OutageMode.SLOW: 0,
    OutageMode.ERROR_RATE: 1,
    OutageMode.REFUSE: 2,
    OutageMode.HANG: 3,
}


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

    Worst first: hang, refuse, error rate (the higher severity), slow. Neighbours that touch and
    are alike become one outage. Takes O(n log n).
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


def _alike(one: Outage, other: Outage) -> bool:
    return one.mode is other.mode and one.severity == other.severity


def clip(outages: Iterable[Outage], duration_s: float) -> tuple[Outage, ...]:
    """Return the outages that begin before `duration_s`, the last one ended there."""
    return tuple(
        each if each.end_s <= duration_s else replace(each, end_s=duration_s)
        for each in outages
        if each.start_s < duration_s
    )
