"""What every check stands on: a breaker of the wanted kind, something to call, and two durations.

A check is an async function of a `Site`. It states one semantic, in its docstring, and looks at a
breaker from outside only: which calls reach what is behind it, and what their callers get. So it
holds for any breaker that has an adapter, whatever its states are called.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Feature(Enum):
    """What a breaker may lack without being wrong; the checks that need it do not apply then."""

    SEVERAL_PROBES = "the number of probes can be set"
    SEVERAL_SUCCESSES = "the number of successes that close it can be set"
    LISTENERS = "somebody can listen to its changes of state"


class DownError(ConnectionError):
    """What fails when the dependency is down."""


class BadRequestError(ValueError):
    """What the dependency answers to a wrong request, in perfect health."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The breaker that a check asks for.

    Attributes:
        failure_threshold: failures in a row that trip it.
        open_s: how long it stays open.
        half_open_max_calls: how many probes it admits, and how many successes close it.
        probe_timeout_s: when a probe that has not returned is given up; `None` for the default.
        listener: is called at each change of state; `None` for nobody.
    """

    failure_threshold: int = 3
    open_s: float
    half_open_max_calls: int = 1
    probe_timeout_s: float | None = None
    listener: Callable[[], None] | None = None


class Adapter:
    """One breaker of one library, behind what the checks need of it.

    A subclass is about ten lines; the README says how to write one. Its instance is one breaker.

    Attributes:
        distribution: its name on the package index, whose version the table prints.
        features: which of the features it has.
        failure: what an action raises when the dependency is down.
        ignored: what an action raises that is no failure of the dependency.
    """

    distribution: str
    features: frozenset[Feature] = frozenset()
    failure: type[Exception] = DownError
    ignored: type[Exception] = BadRequestError

    def __init__(self, wanted: Wanted) -> None:
        raise NotImplementedError

    def call(self, action: Callable[[], Awaitable[Any]]) -> Awaitable[Any]:
        """Call through the breaker. `action` is an `async def` without arguments."""
        raise NotImplementedError

    def is_rejection(self, error: BaseException) -> bool:
        """Whether this is how the breaker refuses a call."""
        raise NotImplementedError

    def retry_after_s(self, error: BaseException) -> float | None:
        """When to come back, by what the library says with a rejection; `None` if it does not."""
        return None


async def run(action: Callable[[], Awaitable[Any]]) -> Any:
    """Run an action: what a library that decorates functions decorates."""
    return await action()


def state_listeners(base: type, listener: Callable[[], None] | None) -> list[Any]:
    """Return the listener as pybreaker wants it, and aiobreaker, which descends from it."""

    class Listener(base):
        def state_change(self, breaker: object, old: object, new: object) -> None:
            listener()

    return [] if listener is None else [Listener()]


class StalledError(Exception):
    """The machine was too slow for what a check would have measured. It is tried again."""


class Subject:
    """A breaker, and the dependency behind it.

    Attributes:
        reached: how many calls have reached the dependency.
    """

    def __init__(self, breaker: Adapter, site: Site) -> None:
        self.breaker = breaker
        self.site = site
        self.reached = 0

    async def answer(self) -> str:
        """Do what the dependency does in health."""
        self.reached += 1
        return "answer"

    async def fail(self) -> None:
        """Do what it does when it is down."""
        self.reached += 1
        raise self.breaker.failure("down")

    async def refuse(self) -> None:
        """Do what it does with a wrong request."""
        self.reached += 1
        raise self.breaker.ignored("wrong request")

    async def outcome(self, action: Callable[[], Awaitable[Any]]) -> Any:
        """Call, and return the result or the error."""
        try:
            return await self.breaker.call(action)
        except Exception as error:
            return error

    async def is_admitted(self, action: Callable[[], Awaitable[Any]] | None = None) -> bool:
        """Call, and say whether that reached the dependency, which is in health unless told."""
        before = self.reached
        outcome = await self.outcome(action or self.answer)
        rejected = isinstance(outcome, Exception) and self.breaker.is_rejection(outcome)
        # Some breakers put their own error in the place of the failure that trips them.
        assert self.reached > before or rejected, f"not called, and not refused: {outcome!r}"
        return self.reached > before

    async def trip(self, failures: int = 3) -> None:
        """Fail so often; each of these calls must be admitted."""
        for number in range(failures):
            assert await self.is_admitted(self.fail), f"refused after {number} failures"

    async def rejection(self) -> Exception:
        """Call, and return the error with which the breaker refuses."""
        before = self.reached
        outcome = await self.outcome(self.answer)
        assert self.reached == before, "the call was admitted"
        assert isinstance(outcome, Exception), f"not called, and returned {outcome!r}"
        assert self.breaker.is_rejection(outcome), f"not a refusal: {outcome!r}"
        return outcome

    async def half_open(self) -> None:
        """Trip, and wait until probes are admitted."""
        await self.trip()
        await self.site.wait_out_open()

    def held(self, outcome: str = "answer") -> Held:
        """Return an action that waits until it is let go and then ends like that method."""
        return Held(getattr(self, outcome))


class Held:
    """An action that waits.

    Attributes:
        waiting: how many calls have begun to wait.
    """

    def __init__(self, then: Callable[[], Awaitable[Any]]) -> None:
        self._then = then
        self._gate = asyncio.Event()
        self.waiting = 0

    async def action(self) -> Any:
        """Wait, then end."""
        self.waiting += 1
        await self._gate.wait()
        return await self._then()

    async def begin(self, subject: Subject) -> asyncio.Task[Any]:
        """Begin a call through the breaker, and return once it waits or has been refused."""
        task = asyncio.ensure_future(subject.outcome(self.action))
        before = self.waiting
        for _ in range(1000):
            await asyncio.sleep(0)
            if self.waiting > before or task.done():
                return task
        raise AssertionError("the call neither began nor ended")

    def let_go(self) -> None:
        """Let every call end."""
        self._gate.set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where checks run.

    Attributes:
        adapter: makes the breakers.
        short_s: an open time that a check waits out.
        long_s: an open time that passes in no check.
    """

    adapter: type[Adapter]
    short_s: float = 0.1
    long_s: float = 60.0

    def subject(self, **wanted: Any) -> Subject:
        """Return a breaker that stays open for long, unless told."""
        return Subject(self.adapter(Wanted(**{"open_s": self.long_s, **wanted})), self)

    def brief(self, **wanted: Any) -> Subject:
        """Return a breaker that stays open for a short time."""
        return self.subject(open_s=self.short_s, **wanted)

    async def wait_out_open(self) -> None:
        """Wait a little longer than the short open time."""
        await asyncio.sleep(1.1 * self.short_s)

    @contextmanager
    def within(self, share: float) -> Iterator[None]:
        """Judge what is done here only if it takes less than this share of the short open time.

        Raises:
            StalledError: it took longer.
        """
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        try:
            yield
        finally:
            if loop.time() - began_s >= share * self.short_s:
                raise StalledError


@dataclass(frozen=True, slots=True)
class Check:
    """One semantic of a breaker.

    Attributes:
        run: is given a site; passes, or raises. Not a coroutine function if it runs its own loops.
        needs: the features without which it does not apply.
    """

    run: Callable[[Site], Any]
    needs: frozenset[Feature]

    @property
    def name(self) -> str:
        """The semantic in a few words."""
        return self.run.__name__.replace("_", " ")

    @property
    def statement(self) -> str:
        """The semantic in a sentence or two."""
        return inspect.cleandoc(self.run.__doc__ or "")

    @property
    def has_own_loops(self) -> bool:
        """Whether it runs event loops by itself, in real time."""
        return not inspect.iscoroutinefunction(self.run)

    def applies_to(self, adapter: type[Adapter]) -> bool:
        """Whether the breaker has what it needs."""
        return self.needs <= adapter.features


CHECKS: dict[str, Check] = {}
"""Every check by its name, in the order of the table; `tests.conformance.checks` fills it."""


def check(*needs: Feature) -> Callable[[Callable[[Site], Any]], Callable[[Site], Any]]:
    """Enter a function as a check that needs these features."""

    def enter(run: Callable[[Site], Any]) -> Callable[[Site], Any]:
        entry = Check(run, frozenset(needs))
        assert entry.name not in CHECKS, entry.name
        CHECKS[entry.name] = entry
        return run

    return enter
