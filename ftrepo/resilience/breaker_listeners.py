"""Whom a breaker tells of its changes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeAlias

from ftrepo.failure_log import log_failure
from ftrepo.resilience.breaker_state import BreakerState

_log = logging.getLogger("ftrepo")

Listener: TypeAlias = Callable[[Any, BreakerState, BreakerState], object]
"""Called with the breaker, the old and the new state, when the change is complete."""


class BreakerListeners:
    """The part of a breaker that tells others of its changes.

    Listeners are called in the order in which they were added. The error of one is logged, and
    harms neither the others nor the call that made the change. One that changes the breaker in its
    turn is heard of at once: those after it learn of the second change before the first.

    Attributes:
        name: of the breaker, for errors, logs and metrics.
    """

    __slots__ = ("_listeners", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        # A tuple: a breaker without listeners owns none, and a change tells those of its moment.
        self._listeners: tuple[Listener, ...] = ()

    def add_listener(self, listener: Listener) -> None:
        """Have a function called with the breaker, the old and the new state after each change."""
        self._listeners += (listener,)

    def remove_listener(self, listener: Listener) -> None:
        """Undo one `add_listener`.

        Raises:
            ValueError: there is no such listener.
        """
        listeners = list(self._listeners)
        listeners.remove(listener)
        self._listeners = tuple(listeners)

    def _tell_listeners(self, old: BreakerState, new: BreakerState) -> None:
        for listener in self._listeners:
            try:
                listener(self, old, new)
            except Exception as error:
                log_failure(_log, "a listener of the breaker %r failed", self.name, error=error)
