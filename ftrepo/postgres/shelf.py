"""Where connections lie that nobody uses: the freshest on top, the oldest taken away."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator

from ftrepo.postgres.session import Session
from ftrepo.postgres.settings import PoolSettings


class Shelf:
    """Idle connections, last in, first out, so that those too many come to lie unused.

    Args:
        settings: how many may lie here and for how long.
        retire: is given each connection that has lain here for too long, has grown too old, or
            was ended by the server.
    """

    def __init__(self, settings: PoolSettings, retire: Callable[[Session], None]) -> None:
        self._settings = settings
        self._retire = retire
        self._sessions: deque[Session] = deque()  # The longest unused is on the left.
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(self._sessions)

    def put(self, session: Session, now_s: float) -> None:
        """Lay a connection on top."""
        session.unused_since_s = now_s
        self._sessions.append(session)
        # The one at the bottom is due first, unless another is older; then the timer is early.
        due_s = min(session.retire_s, self._due_s(self._sessions[0], above=len(self._sessions)))
        if due_s <= now_s:
            self._tidy(now_s)
        else:
            self._look_again_at(due_s)

    def take(self, now_s: float) -> Session | None:
        """Take the connection used last, if it is open and not too old; `None` if none is left."""
        while self._sessions:
            session = self._sessions.pop()
            # It is closed if the server ended it and the driver has noticed.
            if now_s < session.retire_s and not session.is_closed():
                return session
            self._retire(session)
        self._cancel_timer()
        return None

    def clear(self, *, unused_since_s: float | None = None) -> None:
        """Retire every connection, or those that have been unused since this moment or longer."""
        while self._sessions and (
            unused_since_s is None or self._sessions[0].unused_since_s <= unused_since_s
        ):
            self._retire(self._sessions.popleft())
        if not self._sessions:
            self._cancel_timer()

    def _tidy(self, now_s: float) -> None:
        """Retire what is due, and come back when the next one will be."""
        kept: deque[Session] = deque()
        next_s = None
        for place, session in enumerate(self._sessions):
            due_s = self._due_s(session, above=len(self._sessions) - place)
            if due_s <= now_s or session.is_closed():
                self._retire(session)
                continue
            kept.append(session)
            next_s = due_s if next_s is None else min(next_s, due_s)
        self._sessions = kept
        if next_s is None:
            self._cancel_timer()
        else:
            self._look_again_at(next_s)

    def _due_s(self, session: Session, *, above: int) -> float:
        """When a connection is to be retired; `above` counts it and those used after it."""
        settings = self._settings
        unused_max_s = settings.idle_timeout_s
        if above > settings.idle_max:
            unused_max_s = min(unused_max_s, settings.idle_excess_timeout_s)
        return min(session.retire_s, session.unused_since_s + unused_max_s)

    def _look_again_at(self, moment_s: float) -> None:
        if self._timer is None or moment_s < self._timer.when():
            self._cancel_timer()
            self._timer = asyncio.get_running_loop().call_at(moment_s, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        self._tidy(asyncio.get_running_loop().time())

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
