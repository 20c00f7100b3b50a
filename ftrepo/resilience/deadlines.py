"""One timer for many calls that all have the same time-out.

Setting a timer and cancelling it again is the dearest part of a short call's time-out. Calls with
one time-out reach their deadlines in the order in which they began, so a queue and one timer, set
for the first of them, do for all.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class Deadline:
    """What is to be done about one call if it takes too long.

    Attributes:
        at_s: when, by the loop's clock.
        has_passed: whether it was done.
    """

    __slots__ = ("_act", "at_s", "has_passed")

    def __init__(self, at_s: float, act: Callable[[], object]) -> None:
        self.at_s = at_s
        self.has_passed = False
        self._act: Callable[[], object] | None = act

    @property
    def is_lifted(self) -> bool:
        """Whether nothing is left to be done."""
        return self._act is None

    def lift(self) -> None:
        """Let nothing be done: the call has ended."""
        self._act = None

    def meet(self) -> None:
        """Act, unless the deadline was lifted."""
        if self._act is not None:
            act, self._act = self._act, None
            self.has_passed = True
            act()


class Deadlines:
    """The deadlines of calls with one time-out, on one event loop.

    A deadline that was lifted stays in the queue until its time, so the queue is as long as the
    calls that began within one time-out.

    Args:
        timeout_s: from the beginning of a call to its deadline.
    """

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._queue: deque[Deadline] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def begin(self, act: Callable[[], object]) -> Deadline:
        """Begin a call; `act` is called at its deadline, unless that is lifted before."""
        loop = asyncio.get_running_loop()
        deadline = Deadline(loop.time() + self.timeout_s, act)
        self._queue.append(deadline)
        if self._timer is None:
            self._timer = loop.call_at(deadline.at_s, self._meet_due)
        return deadline

    def _meet_due(self) -> None:
        assert self._timer is not None
        loop = asyncio.get_running_loop()
        # A timer may fire a rounding error early; what it was set for is due all the same.
        due_s = max(loop.time(), self._timer.when())
        self._timer = None
        queue = self._queue
        while queue and queue[0].at_s <= due_s:
            queue.popleft().meet()
        while queue and queue[0].is_lifted:
            queue.popleft()
        if queue and self._timer is None:
            self._timer = loop.call_at(queue[0].at_s, self._meet_due)
