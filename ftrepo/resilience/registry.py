"""Named circuit breakers, made on first use: one for each dependency, or each tenant of one.

::

    registry = BreakerRegistry(for_name={"billing": BreakerSettings(failure_threshold=3)})

    invoice = await registry.execute(
        "billing/acme",
        lambda: client.invoice(number),
        fallback=[lambda error: cache.invoice(number), lambda error: archive.invoice(number)],
    )

A fallback that depends on something else is guarded by a breaker of its own, through another
`execute`: while that one is open, the fallback is skipped at once.

Names that come from outside are bounded, because a flood of them must cost neither memory nor
protection: see `BreakerRegistry`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, TypeAlias, TypeVar

from ftrepo.errors import BulkheadFullError
from ftrepo.resilience.breaker import BreakerSettings, CircuitBreaker, Outcome, classify
from ftrepo.resilience.breaker_listeners import Listener
from ftrepo.resilience.breaker_shelf import OVERFLOW, BreakerShelf, NamedBreaker
from ftrepo.resilience.fallback import Answer, Fallbacks, first_answer
from ftrepo.resilience.time_limit import TimedCalls

T = TypeVar("T")

TIMEOUT_S = 3.0
"""How long a call may take unless told: the requirement of the service."""

ForName: TypeAlias = Mapping[str, BreakerSettings] | Callable[[str], BreakerSettings | None] | None
"""Settings for some names: by the whole name or its dependency, or from a function."""


class BreakerRegistry:
    """Breakers by name, of which at most so many are kept.

    A name is a dependency, "billing", or a dependency and a tenant, "billing/acme". There is never
    a second breaker of a name while somebody holds the first, be it kept or not.

    What is dropped, and what is not:

    - When a new name finds no room, the closed breaker goes that was asked for the longest ago. It
      loses what it knew: failures too few to trip it, and the failure rate that was normal.
    - A breaker that is open or half-open never goes for want of room: a flood of new names would
      have the dependency called that it protects. If none is closed, the new names share one
      breaker, which is called "(others)" and has the default settings.
    - A breaker that nobody has asked for in a whole `idle_s` goes, except while an opening lasts
      or it is forced open. The registry looks for such ones every `idle_s`, when a new one is made
      or a `snapshot` taken; so it goes after once to twice that time.

    Args:
        settings: of every breaker that `for_name` says nothing about; the defaults if `None`.
        for_name: settings for some names. A mapping is asked for the whole name and then for its
            dependency; a function for the whole name, and `None` from it means the default.
        entries_max: the most breakers that are kept, at least 1. The default is that of a service
            with some hundred tenants and a handful of dependencies, and about 1 MB.
        idle_s: above zero; infinity keeps them for good. The default is an hour.
        classify: says which errors of a call are failures; a time-out always is.
        draw: returns random numbers in [0, 1), for the breakers.
        cancels_at_once: calls end at once when they are cancelled, and need no task of their own
            to keep their time-out. That is quicker; but a call that does not end keeps its caller.
        refuse_at_left_behind: at least 1. Once so many calls of one name took too long and have
            not ended, further ones are refused, because each may hold a connection. Those under
            way at that moment may still add to them: see `TimeLimit`.
    """

    def __init__(
        self,
        settings: BreakerSettings | None = None,
        *,
        for_name: ForName = None,
        entries_max: int = 1000,
        idle_s: float = 3600.0,
        classify: Callable[[Exception], Outcome] = classify,
        draw: Callable[[], float] | None = None,
        cancels_at_once: bool = False,
        refuse_at_left_behind: int = 100,
    ) -> None:
        if not refuse_at_left_behind >= 1:
            at = f"refuse_at_left_behind is {refuse_at_left_behind!r}"
            raise ValueError(f"{at}; it must be at least 1")
        self.settings = settings or BreakerSettings()
        self.refuse_at_left_behind = refuse_at_left_behind
        self._for_name = for_name
        self._classify = classify
        self._draw = draw
        self._calls = TimedCalls(cancels_at_once=cancels_at_once)
        self._listeners: list[Listener] = []
        self._shelf = BreakerShelf(entries_max, idle_s, self._make)

    @property
    def entries_max(self) -> int:
        """The most breakers that are kept."""
        return self._shelf.entries_max

    @property
    def idle_s(self) -> float:
        """After how long without anybody asking for it a breaker may be dropped."""
        return self._shelf.idle_s

    def __len__(self) -> int:
        """How many breakers are kept, the one that names share left out; at most `entries_max`."""
        return len(self._shelf)

    def __iter__(self) -> Iterator[CircuitBreaker]:
        """Every breaker by name: those kept, those that somebody holds, and the shared one."""
        return iter(self._shelf)

    def get(self, name: str) -> CircuitBreaker:
        """Return the breaker of this name; it is made if there is none.

        Raises:
            ValueError: the name is not a dependency, or a dependency and a tenant with one slash
                between; or it is longer than 200 characters, or has a space or an unprintable one.
        """
        return self._get(name)

    async def execute(
        self,
        name: str,
        action: Callable[[], Coroutine[Any, Any, T]],
        *,
        timeout_s: float | None = TIMEOUT_S,
        fallback: Fallbacks[T] = None,
    ) -> T:
        """Call `action()` through the breaker of this name, and return what it or a fallback does.

        A fallback is asked when the call was refused, took too long, or failed by `classify`. Any
        other error is an answer of the dependency, and is raised as it is; so is a cancellation.

        Args:
            name: of the breaker.
            action: is called without arguments, if the breaker admits it.
            timeout_s: how long the call may take, above zero; `None` for as long as it takes. It
                should be below the breaker's `probe_timeout_s`, and does not limit the fallbacks.
            fallback: what to ask in its place, one or several in order, each with the error of the
                call. One that fails is skipped.

        Raises:
            ValueError: the name is malformed.
            CallRefusedError: the call was not made, and there is no fallback. Its `retry_after_s`
                is what a service answers as Retry-After, with 503.
            TimeLimitError: the call took too long. Whether it took effect is unknown.
            FallbackFailedError: the call failed and so did every fallback.
            Exception: what the call raised.
        """
        return (await self.answer(name, action, timeout_s=timeout_s, fallback=fallback)).value

    async def answer(
        self,
        name: str,
        action: Callable[[], Coroutine[Any, Any, T]],
        *,
        timeout_s: float | None = TIMEOUT_S,
        fallback: Fallbacks[T] = None,
    ) -> Answer[T]:
        """Do the same as `execute`, and say whether the answer is a fallback's.

        For callers that cache: what a fallback answers is not to be cached, or it would outlive the
        failure.
        """
        breaker = self._get(name)
        try:
            return Answer(await breaker.call(self._in_time, breaker, action, timeout_s))
        except Exception as error:
            if not fallback or not breaker.is_unavailable(error):
                raise
            return Answer(await first_answer(name, error, fallback), error)

    def add_listener(self, listener: Listener) -> None:
        """Have every breaker, those to come included, tell this function of its changes."""
        self._listeners.append(listener)
        for breaker in self:
            breaker.add_listener(listener)

    def snapshot(self) -> list[dict[str, Any]]:
        """Return what a health endpoint shows of each breaker, as plain dicts in order of name.

        Times are in seconds: `changed_s_ago` since the last change of state, `None` if there was
        none, and `retry_after_s` until a probe may be admitted. Needs a running event loop.
        """
        now = asyncio.get_running_loop().time()
        self._shelf.sweep_if_due(now)
        return [
            {
                "name": breaker.name,
                "state": breaker.state.value,
                "is_forced_open": breaker.is_forced_open,
                "changed_s_ago": (
                    None if breaker.changed_at_s is None else max(0.0, now - breaker.changed_at_s)
                ),
                "retry_after_s": breaker.retry_after_s(now),
                "counts": breaker.counts._asdict(),
            }
            for breaker in self
        ]

    def _get(self, name: str) -> NamedBreaker:
        return self._shelf.find(name) or self._shelf.take_in(name, _running_loop_time_s())

    async def _in_time(
        self,
        breaker: NamedBreaker,
        action: Callable[[], Coroutine[Any, Any, T]],
        timeout_s: float | None,
    ) -> T:
        if timeout_s is None:
            return await action()
        if breaker.left_behind >= self.refuse_at_left_behind:
            reason = f"{breaker.left_behind} calls that took too long have not ended yet"
            raise BulkheadFullError(breaker.name, reason, 0.0)
        breaker.waiting += 1
        try:
            return await self._calls.run(breaker.count(action), timeout_s)
        finally:
            breaker.waiting -= 1

    def _make(self, name: str) -> NamedBreaker:
        settings = self._settings_of(name)
        breaker = NamedBreaker(settings, name=name, classify=self._classify, draw=self._draw)
        for listener in self._listeners:
            breaker.add_listener(listener)
        return breaker

    def _settings_of(self, name: str) -> BreakerSettings:
        for_name = self._for_name
        if for_name is None or name == OVERFLOW:
            return self.settings
        if callable(for_name):
            return for_name(name) or self.settings
        dependency, _, _ = name.partition("/")
        return for_name.get(name) or for_name.get(dependency) or self.settings


def _running_loop_time_s() -> float | None:
    """Return the time of the running loop; `None` if none runs, as when a program starts."""
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        return None
