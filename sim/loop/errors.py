"""What can go wrong with a program in virtual time, and how it is said.

::

    LoopError
    ├── DeadlockError                           nothing left to run, and the program is not done
    ├── NoProgressError                         callbacks for ever, and time stands still
    ├── LeftoverTasksError                      tasks that outlive their own cancellation
    ├── CopyError                               a failure that SimPy could not hand on
    ├── InputOutputError (NotImplementedError)  a socket, a process, a signal: none exist here
    └── WallClockError                          real time was read or waited for
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType

_NAMED_MAX = 10
"""How many tasks an error names before it only counts the rest."""

_ASYNCIO_FOLDER = str(Path(asyncio.__file__).parent)


class LoopError(Exception):
    """Base of what the loop raises on purpose: the simulated program is wrong, not its input."""


class DeadlockError(LoopError):
    """No callback is ready, no timer and no event will ever fire, and the program is not done."""

    @classmethod
    def of(cls, tasks: Sequence[asyncio.Task[Any]]) -> DeadlockError:
        """Return the error that names these waiting tasks."""
        wait = "1 task waits" if len(tasks) == 1 else f"{len(tasks)} tasks wait"
        return cls(f"deadlock: nothing left to run; {wait}{_listed(tasks)}")


class NoProgressError(LoopError):
    """More ran at one instant than is plausible: a loop that never lets virtual time pass."""

    @classmethod
    def of(cls, now_s: float, count: int, busiest: Sequence[tuple[str, int]]) -> NoProgressError:
        """Return the error that names the code that ran most of the last callbacks."""
        sample = sum(n for _, n in busiest)
        named = "; ".join(f"{n} times {name}" for name, n in busiest[:3])
        return cls(
            f"no progress: more than {count} callbacks and events ran at {now_s} s without any"
            f" passing of virtual time; of the last {sample}, {named}"
        )


class LeftoverTasksError(LoopError):
    """Tasks were cancelled at the end of a run, and did not end."""

    @classmethod
    def of(cls, tasks: Sequence[asyncio.Task[Any]], limit_s: float) -> LeftoverTasksError:
        """Return the error that names these tasks."""
        count = "1 task" if len(tasks) == 1 else f"{len(tasks)} tasks"
        return cls(f"{count} did not end within {limit_s} s of being cancelled{_listed(tasks)}")


class CopyError(LoopError):
    """An awaitable failed with what SimPy cannot copy, as it does from the `args` of an exception.

    The original is the `__cause__`.
    """


class InputOutputError(LoopError, NotImplementedError):
    """A method that needs the real world was called. Nothing was done."""


class WallClockError(LoopError):
    """Real time was read, or waited for, by code that runs in virtual time."""


def describe_task(task: asyncio.Task[Any]) -> str:
    """Say which task this is and where it stands: ``Task-3 at store.py:12 in flush``."""
    return f"{task.get_name()} at {_place(task.get_coro())}"


def describe_callback(callback: Any) -> str:
    """Say which code a callback runs, alike for any two tasks that stand in the same place."""
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        return f"a task at {_place(owner.get_coro())}"
    generator = getattr(owner, "_generator", None)
    if generator is not None:
        return f"a SimPy process at {_place(generator)}"
    function = getattr(callback, "func", callback)
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    code = getattr(function, "__code__", None)
    return f"{name} ({code.co_filename}:{code.co_firstlineno})" if code is not None else name


def _listed(tasks: Sequence[asyncio.Task[Any]]) -> str:
    if not tasks:
        return ""
    named = "; ".join(describe_task(task) for task in tasks[:_NAMED_MAX])
    more = len(tasks) - _NAMED_MAX
    return f": {named}" + (f"; and {more} more" if more > 0 else "")


def _place(suspended: Any) -> str:
    """Return the innermost line of the program's own code, and what of asyncio it waits in."""
    frames = list(_frames(suspended))
    if not frames:
        return getattr(suspended, "__qualname__", repr(suspended))
    own = [f for f in frames if not f.f_code.co_filename.startswith(_ASYNCIO_FOLDER)] or frames
    code = own[-1].f_code
    place = f"{code.co_filename}:{own[-1].f_lineno} in {code.co_qualname}"
    return place if own[-1] is frames[-1] else f"{place}, in {frames[-1].f_code.co_qualname}"


def _frames(suspended: Any) -> Iterator[FrameType]:
    """Follow what a coroutine or a generator waits for, from the outside in."""
    while suspended is not None:
        for prefix in ("cr", "gi", "ag"):
            frame = getattr(suspended, f"{prefix}_frame", None)
            if frame is not None:
                yield frame
                break
        else:
            return
        inner = f"{prefix}_yieldfrom" if prefix == "gi" else f"{prefix}_await"
        suspended = getattr(suspended, inner, None)
