"""Which named breakers are kept, and which are dropped: a pure decision, told the time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from ftrepo.errors import CallRefusedError, TimeLimitError
from ftrepo.resilience.breaker import BreakerSettings, CircuitBreaker
from ftrepo.resilience.breaker_state import BreakerState, Outcome

T = TypeVar("T")

NAME_LENGTH_MAX = 200
"""The most characters of a name: of a dependency, a slash and a tenant."""

OVERFLOW = "(others)"
"""The name of the breaker that names share for which there is no room."""


class NamedBreaker(CircuitBreaker):
    """A breaker and what its registry notes about it. A call that takes too long is a failure.

    Attributes:
        was_asked_for: since the shelf last looked for idle ones.
        under_way: calls with a time-out that have begun and not ended.
        waiting: callers of such calls.
    """

    __slots__ = ("under_way", "waiting", "was_asked_for")

    def __init__(
        self,
        settings: BreakerSettings,
        *,
        name: str,
        classify: Callable[[Exception], Outcome],
        draw: Callable[[], float] | None,
    ) -> None:
        super().__init__(settings, name=name, classify=classify, draw=draw)
        self.was_asked_for = True
        self.under_way = 0
        self.waiting = 0

    @property
    def left_behind(self) -> int:
        """Calls that took too long and have not ended, though nobody waits for them."""
        return self.under_way - self.waiting

    async def count(self, action: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Call, and note that as under way until it ends."""
        self.under_way += 1
        try:
            return await action()
        finally:
            self.under_way -= 1

    def is_unavailable(self, error: Exception) -> bool:
        """Whether the error says that the dependency was not asked, or failed, or was too slow."""
        return isinstance(error, CallRefusedError) or self._outcome_of(error) is Outcome.FAILURE

    def _outcome_of(self, error: BaseException | None) -> Outcome:
        if isinstance(error, TimeLimitError):
            return Outcome.FAILURE
        return super()._outcome_of(error)


class BreakerShelf:
    """Breakers by name, of which at most so many are kept; `BreakerRegistry` says by which rules.

    Args:
        entries_max: the most that are kept, at least 1.
        idle_s: after how long without a call for it a breaker is dropped; above zero.
        make: makes the breaker of a name.
    """

    def __init__(
        self, entries_max: int, idle_s: float, make: Callable[[str], NamedBreaker]
    ) -> None:
        if not entries_max >= 1:
            raise ValueError(f"entries_max is {entries_max!r}; it must be at least 1")
        if not idle_s > 0:
            raise ValueError(f"idle_s is {idle_s!r}; it must be above zero")
        self.entries_max = entries_max
        self.idle_s = idle_s
        self._make = make
        # Kept are those in the first two: closed, in the order in which they were asked for, and
        # not closed. The third also has those that somebody else holds.
        self._closed: OrderedDict[str, NamedBreaker] = OrderedDict()
        self._others: dict[str, NamedBreaker] = {}
        self._alive: WeakValueDictionary[str, NamedBreaker] = WeakValueDictionary()
        self._overflow: NamedBreaker | None = None
        self._swept_s: float | None = None

    def __len__(self) -> int:
        """How many breakers are kept, the one that names share left out."""
        return len(self._closed) + len(self._others)

    def __iter__(self) -> Iterator[NamedBreaker]:
        """Every breaker by name: those kept, those that somebody holds, and the shared one."""
        breakers = list(self._alive.values())
        if self._overflow is not None:
            breakers.append(self._overflow)
        return iter(sorted(breakers, key=lambda breaker: breaker.name))

    def find(self, name: str) -> NamedBreaker | None:
        """Return a breaker that is kept, and note that it was asked for."""
        breaker = self._closed.get(name)
        if breaker is not None:
            self._closed.move_to_end(name)
        else:
            breaker = self._others.get(name)
            if breaker is None:
                return None
        breaker.was_asked_for = True
        return breaker

    def take_in(self, name: str, now: float | None) -> NamedBreaker:
        """Return a breaker that is not kept: one that somebody holds, a new one, or the shared one.

        Args:
            name: of the breaker.
            now: the time; `None` if nobody knows it, and then no idle ones are dropped.

        Raises:
            ValueError: the name is malformed.
        """
        breaker = self._alive.get(name)
        if breaker is None:
            check_name(name)
        self.sweep_if_due(now)
        if not self._make_room():
            return breaker or self._shared()
        if breaker is None:
            breaker = self._alive[name] = self._made(name)
        breaker.was_asked_for = True
        self._keep(breaker)
        return breaker

    def sweep_if_due(self, now: float | None) -> None:
        """Drop what nobody has asked for since the last time, if that was `idle_s` ago."""
        last_s = self._swept_s
        if now is None or (last_s is not None and 0 <= now - last_s < self.idle_s):
            return
        self._swept_s = now
        if last_s is None or now < last_s:
            return  # Nothing is known about the time before, or that was another clock.
        for breaker in [*self._closed.values(), *self._others.values()]:
            lasts = breaker.is_forced_open or breaker.retry_after_s(now) > 0
            if not breaker.was_asked_for and not lasts:
                self._closed.pop(breaker.name, None)
                self._others.pop(breaker.name, None)
            breaker.was_asked_for = False

    def _made(self, name: str) -> NamedBreaker:
        breaker = self._make(name)
        breaker.add_listener(self._follow)
        return breaker

    def _shared(self) -> NamedBreaker:
        if self._overflow is None:
            self._overflow = self._make(OVERFLOW)
        return self._overflow

    def _keep(self, breaker: NamedBreaker) -> None:
        shelf = self._closed if breaker.state is BreakerState.CLOSED else self._others
        shelf[breaker.name] = breaker

    def _make_room(self) -> bool:
        """Drop the closed breaker that was asked for the longest ago, if there is no room."""
        if len(self) < self.entries_max:
            return True
        if not self._closed:
            return False
        self._closed.popitem(last=False)
        return True

    def _follow(self, breaker: NamedBreaker, _old: BreakerState, new: BreakerState) -> None:
        """Keep a breaker in its right place; one that opens is kept even if it was dropped."""
        name = breaker.name
        was_kept = self._closed.pop(name, None) or self._others.pop(name, None)
        if was_kept or (new is BreakerState.OPEN and self._make_room()):
            self._keep(breaker)


def check_name(name: str) -> None:
    """Refuse what is not a name.

    Raises:
        ValueError: it is not a dependency, or a dependency and a tenant with one slash between; or
            it is longer than `NAME_LENGTH_MAX`, or has a space or an unprintable character, which
            would end up in logs and metrics.
    """
    if len(name) > NAME_LENGTH_MAX:
        raise ValueError(f"the name {name[:50]!r}... is longer than {NAME_LENGTH_MAX} characters")
    if " " in name or not name.isprintable():
        raise ValueError(f"the name {name!r} has a space or an unprintable character")
    parts = name.split("/")
    if len(parts) > 2 or not all(parts) or name == OVERFLOW:
        raise ValueError(f"{name!r} is no name: it must be a dependency, or dependency/tenant")
