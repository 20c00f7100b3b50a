"""So many places, given out first come, first served: a SimPy resource at a fraction of the cost.

Most calls find a place free. For those nothing is put on SimPy's queue, where `simpy.Resource` puts
two events, which nobody waits for. Where somebody waits, the order of events is that of SimPy's.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, TypeAlias

import simpy

if TYPE_CHECKING:
    from sim.loop import VirtualTimeLoop

Place: TypeAlias = "simpy.Event | None"
"""What `Places.take` returns: `None` for a place, or what happens when there will be one."""


class Places:
    """A number of places, some of which are taken.

    Args:
        loop: the loop whose SimPy environment they are in.
        count: how many there are, at least 1.
    """

    def __init__(self, loop: VirtualTimeLoop, count: int) -> None:
        self._env = loop.env
        self._count = self._free = count
        self._waiting: deque[simpy.Event] = deque()

    @property
    def taken(self) -> int:
        """How many are taken."""
        return self._count - self._free

    def take(self) -> Place:
        """Take a place, or the next in the line for one. Hand over what it returns to `leave`."""
        if self._free and not self._waiting:
            self._free -= 1
            return None
        place = self._env.event()
        self._waiting.append(place)
        self._hand_out()
        return place

    def leave(self, place: Place) -> None:
        """Give up a place, or the wait for it."""
        if place is not None and not place.triggered:
            self._waiting.remove(place)
            return
        self._free += 1
        if self._waiting:
            freed = self._env.event()
            freed.callbacks.append(self._hand_out)
            freed.succeed()

    def _hand_out(self, _: object = None) -> None:
        while self._free and self._waiting:
            self._free -= 1
            self._waiting.popleft().succeed()
