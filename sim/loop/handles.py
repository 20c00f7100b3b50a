"""What a virtual-time loop keeps: callbacks, timers and tasks.

Millions of them are made, so the loop fills them in itself: they have no `__init__`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from sim.loop.errors import describe_callback

if TYPE_CHECKING:
    from contextvars import Context

    from sim.loop.schedule import Schedule

T = TypeVar("T")


class Handle(asyncio.Handle):
    """A callback that is ready to run. It is cancelled when it has no callback any more."""

    __slots__ = ()
    _callback: Callable[..., object] | None
    _args: tuple[Any, ...]
    _context: Context

    def cancel(self) -> None:
        """Make the callback never run."""
        self._callback = None
        self._args = ()

    def cancelled(self) -> bool:
        """Return whether `cancel` was called."""
        return self._callback is None

    @property
    def what(self) -> str:
        """Which code the callback runs."""
        return "cancelled" if self._callback is None else describe_callback(self._callback)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.what}>"


class TimerHandle(asyncio.TimerHandle):
    """A callback that is due at a time. It lies on SimPy's own queue, among the events.

    It looks enough like an event that `simpy.Environment.step` may take it from there. The
    callback then becomes ready, and runs when the loop does.
    """

    __slots__ = ()
    _callback: Callable[..., object] | None
    _args: tuple[Any, ...]
    _context: Context
    _loop: Schedule
    _when: float
    _scheduled: bool
    """Whether it lies on the queue."""
    _ok = True

    def cancel(self) -> None:
        """Make the callback never run, and the clock not stop for it."""
        if self._callback is not None:
            self._callback = None
            self._args = ()
            if self._scheduled:
                self._loop.timer_cancelled()

    def cancelled(self) -> bool:
        """Return whether `cancel` was called."""
        return self._callback is None

    @property
    def callbacks(self) -> list[Callable[[Any], None]]:
        """What SimPy calls if it, and not the loop, takes this from the queue."""
        return [self._leave_queue]

    @callbacks.setter
    def callbacks(self, _: None) -> None:
        """SimPy marks an event like this when it takes it. There is nothing to remember."""

    def _leave_queue(self, _event: object) -> None:
        self._loop.timer_taken(self)

    @property
    def what(self) -> str:
        """Which code the callback runs."""
        return "cancelled" if self._callback is None else describe_callback(self._callback)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.what}, due at {self._when} s>"

    __eq__ = object.__eq__
    __hash__ = object.__hash__


class Task(asyncio.Task[T]):
    """A task whose hash is its number in its loop.

    asyncio keeps tasks in sets: a `TaskGroup` cancels them, and `asyncio.wait` returns them, in
    the order of their hashes. By default those are addresses, which no seed can reproduce.
    """

    __slots__ = ("number",)
    number: int

    def __hash__(self) -> int:
        return self.number


def tasks_in_order(loop: asyncio.AbstractEventLoop) -> list[asyncio.Task[Any]]:
    """Return the tasks of this loop that are not done, oldest first."""
    return sorted(asyncio.all_tasks(loop), key=lambda task: getattr(task, "number", 0))
