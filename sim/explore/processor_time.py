"""A bound on the processor time of a play, for code that goes round and never awaits.

The loop of a play sees a program that turns in a circle only between two callbacks. One that never
comes back to it is stopped from outside: by a timer of the operating system that counts what the
process computes. So neither a busy machine nor one that was suspended makes a play late.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

PROCESSOR_S_MAX = 20.0
"""How long a play may compute: some thousand times as long as one does, so that this never ends a
play that would have ended."""

PROCESSOR_S_MAX_SHRINKING = 1.0
"""The same while a world is made smaller that was stopped for this: it is tried hundreds of times,
and each of them may take as long."""


class StuckWorldError(KeyboardInterrupt):
    """A play computes and computes, and virtual time stands still.

    It passes wherever Ctrl-C would: nothing in a play may catch it, and asyncio lets nothing but
    that out of a task.
    """


@contextmanager
def bounded(processor_s: float) -> Iterator[None]:
    """Raise `StuckWorldError` in what is done within, once it has computed for so long.

    Where there is no such timer (on Windows), and outside of the main thread, nothing is raised.

    Args:
        processor_s: seconds of processor time of this process, in user mode.
    """
    if (
        not hasattr(signal, "setitimer")
        or threading.current_thread() is not threading.main_thread()
    ):
        yield
        return

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise StuckWorldError(f"no end: computes for more than {processor_s:g} s at one moment")

    before = signal.signal(signal.SIGVTALRM, stop)
    # Again and again, for what cleans up after the first may be stuck, too.
    signal.setitimer(signal.ITIMER_VIRTUAL, processor_s, processor_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, before)
