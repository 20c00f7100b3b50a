"""What a pool of connections says about itself."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Self

from ftrepo.postgres.places import Places


@dataclass(slots=True)
class PoolCounts:
    """What has happened in a pool so far; only the pool changes it."""

    acquired: int = 0
    exhausted: int = 0
    opened: int = 0
    closed: int = 0
    lost: int = 0
    terminated: int = 0
    connects_failed: int = 0
    connects_spared: int = 0
    checks_failed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStatistics:
    """A pool at one moment, and what has happened in it since it was made.

    Attributes:
        open_max: the most connections that it may open.
        open: connections that are open, those being opened not included.
        idle: how many of them nobody uses.
        in_use: how many of them are lent.
        places_taken: callers who use a connection or are about to: being connected, or checked.
        waiting: callers who wait because all places are taken.
        oldest_wait_s: how long the first of them has waited.
        acquires: how often a connection was asked for.
        acquired: how often one was lent.
        exhausted: how often a caller gave up, because no place became free in time.
        wait_total_s: how long all callers have waited for a place, in seconds.
        wait_max_s: how long one of them waited at most.
        opened: connections made.
        closed: connections closed in good order, because of age, disuse or recycling.
        lost: connections that the server ended while nobody used them.
        terminated: connections dropped, because something was doubtful about them.
        connects_failed: attempts to connect that failed.
        connects_spared: callers who did not try to, because too little of their time was left.
        checks_failed: idle connections that turned out to be dead before they were lent.
    """

    open_max: int
    open: int
    idle: int
    in_use: int
    places_taken: int
    waiting: int
    oldest_wait_s: float
    acquires: int
    acquired: int
    exhausted: int
    wait_total_s: float
    wait_max_s: float
    opened: int
    closed: int
    lost: int
    terminated: int
    connects_failed: int
    connects_spared: int
    checks_failed: int

    @classmethod
    def of(
        cls, counts: PoolCounts, *, idle: int, in_use: int, places: Places, open_max: int
    ) -> Self:
        """Take the figures of a pool at this moment."""
        return cls(
            open_max=open_max,
            open=idle + in_use,
            idle=idle,
            in_use=in_use,
            places_taken=places.taken,
            waiting=places.waiting,
            oldest_wait_s=places.oldest_wait_s(asyncio.get_running_loop().time()),
            acquires=places.takes,
            acquired=counts.acquired,
            exhausted=counts.exhausted,
            wait_total_s=places.wait_total_s,
            wait_max_s=places.wait_max_s,
            opened=counts.opened,
            closed=counts.closed,
            lost=counts.lost,
            terminated=counts.terminated,
            connects_failed=counts.connects_failed,
            connects_spared=counts.connects_spared,
            checks_failed=counts.checks_failed,
        )
