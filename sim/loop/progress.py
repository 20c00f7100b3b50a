"""Notices that callbacks run for ever while virtual time stands still."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any

import simpy

from sim.loop.errors import NoProgressError, describe_callback

_NOTED_TURNS = 1_000
"""How many callbacks are looked at, once time stands still, to name the busiest."""


def turns_while_time_passes(
    env: simpy.Environment, turns_max: int, upcoming: Callable[[], Any]
) -> Iterator[Iterator[None]]:
    """Yield iterators of turns, one turn for each callback or event that a loop runs.

    Each holds `turns_max` of them. When one is used up, time must have passed since it began: so
    nothing is counted for each instant, and a standstill is found before twice as many have run.

    Args:
        env: whose time it is.
        turns_max: how many turns one instant may take, at least 1.
        upcoming: returns the handle or the event that may run next, so that the busiest can be
            named; `None` if it cannot tell.

    Raises:
        NoProgressError: time stands still.
    """
    while True:
        began_s = env.now
        yield repeat(None, turns_max)
        if env.now == began_s:
            seen: Counter[str] = Counter()
            yield _note(upcoming, seen)
            if env.now == began_s:
                raise NoProgressError.of(began_s, turns_max, seen.most_common())


def _note(upcoming: Callable[[], Any], seen: Counter[str]) -> Iterator[None]:
    for _ in range(_NOTED_TURNS):
        item = upcoming()
        if isinstance(item, simpy.Event):
            seen.update(describe_callback(callback) for callback in item.callbacks)
        elif item is not None:
            seen[item.what] += 1
        yield
