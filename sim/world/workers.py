"""The workers of a server: how many calls it works on at once, and who waits for how long. Pure.

Calls are begun in the order in which they came. How long each takes is known when it comes, so
that the moment at which the next worker is free can be worked out at once, whatever callers do
meanwhile: a server does not know that nobody waits for its answer any more.
"""

from __future__ import annotations

import heapq
from collections import deque


class Workers:
    """When each of them is free, and how many calls wait for that.

    Args:
        count: how many there are, at least 1.
        queue_max: how many calls may wait; `None` for no bound.
    """

    def __init__(self, count: int, *, queue_max: int | None = None) -> None:
        self._free_s = [0.0] * count
        self._queue_max = queue_max
        self._waits_until_s: deque[float] = deque()

    def is_full(self, now_s: float) -> bool:
        """Whether as many calls wait as may."""
        while self._waits_until_s and self._waits_until_s[0] <= now_s:
            self._waits_until_s.popleft()
        return self._queue_max is not None and len(self._waits_until_s) >= self._queue_max

    def begin_s(self, now_s: float) -> float:
        """When a call that comes now is begun."""
        return max(now_s, self._free_s[0])

    def take(self, *, until_s: float, done_s: float) -> None:
        """Let a call wait until a moment, and the worker that is free first work on it from then.

        Args:
            until_s: when it is begun, or given up or cut off if that is earlier; not before that of
                the last call.
            done_s: when the worker is free again; `until_s`, or earlier, if it is never begun.
        """
        self._waits_until_s.append(until_s)
        if done_s > self._free_s[0] and done_s > until_s:
            heapq.heapreplace(self._free_s, done_s)
