"""Attempts at an awaitable with pauses in between: the thin face of `backoff`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ftrepo.resilience.backoff import Backoff, BackoffSettings

T = TypeVar("T")

OnRetry = Callable[[int, Exception, float], None]
"""Is told of the number of the attempt that failed, its error, and the pause until the next."""


async def retry(
    attempt: Callable[[], Awaitable[T]],
    settings: BackoffSettings | None = None,
    *,
    when: Callable[[Exception], bool],
    draw: Callable[[], float] | None = None,
    on_retry: OnRetry | None = None,
) -> T:
    """Call `attempt` until it succeeds, and return what it returns.

    A cancellation is never an attempt that failed: it passes through at once, also in a pause.

    Args:
        attempt: is called once for each attempt, and must be safe to repeat.
        settings: how often, and with what pauses.
        when: says whether an error is worth another attempt.
        draw: returns random numbers in [0, 1) for the jitter; without it there is none.
        on_retry: is called before each pause.

    Raises:
        Exception: the error of the last attempt, or the first that is not worth another.
    """
    backoff = Backoff(settings, draw=draw)
    while True:
        try:
            return await attempt()
        except Exception as error:
            pause_s = backoff.next_pause_s() if when(error) else None
            if pause_s is None:
                raise
            if on_retry is not None:
                on_retry(backoff.failures, error, pause_s)
        await asyncio.sleep(pause_s)
