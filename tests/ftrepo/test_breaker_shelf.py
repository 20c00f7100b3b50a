"""Which breakers a registry keeps, and whose settings they have."""

from __future__ import annotations

import asyncio
import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ftrepo.resilience import BreakerSettings, BreakerState, CircuitBreaker
from ftrepo.resilience.breaker_shelf import NAME_LENGTH_MAX, OVERFLOW
from ftrepo.resilience.registry import BreakerRegistry
from sim.loop import VirtualTimeLoop, run_virtual

SETTINGS = BreakerSettings(failure_threshold=2, open_s=10, half_open_max_calls=1)


def trip(breaker: CircuitBreaker, now: float = 0.0) -> None:
    """Fail until it is open."""
    for _ in range(2):
        breaker.fail(breaker.acquire(now), now)
    assert breaker.state is BreakerState.OPEN


def names(registry: BreakerRegistry) -> list[str]:
    """The names of every breaker that is there."""
    return [breaker.name for breaker in registry]


def test_settings_are_chosen_by_name_and_then_by_dependency() -> None:
    """A mapping is asked for the whole name first; what it does not know has the default."""
    strict, lenient = BreakerSettings(failure_threshold=1), BreakerSettings(failure_threshold=9)
    registry = BreakerRegistry(SETTINGS, for_name={"billing": strict, "billing/acme": lenient})
    assert registry.get("billing").settings is strict
    assert registry.get("billing/other").settings is strict
    assert registry.get("billing/acme").settings is lenient
    assert registry.get("stock").settings is SETTINGS
    assert registry.get("stock/acme").settings is SETTINGS


def test_a_function_may_choose_the_settings() -> None:
    """It is asked once for each breaker; `None` means the default."""
    strict = BreakerSettings(failure_threshold=1)
    asked: list[str] = []

    def choose(name: str) -> BreakerSettings | None:
        asked.append(name)
        return strict if name.endswith("/trial") else None

    registry = BreakerRegistry(SETTINGS, for_name=choose)
    for _ in range(3):
        assert registry.get("billing/trial").settings is strict
        assert registry.get("billing").settings is SETTINGS
    assert asked == ["billing/trial", "billing"]


@pytest.mark.parametrize(
    "name",
    ["", "/", "a/", "/a", "a/b/c", "a b", "a\nb", "a\x1b[31m", "\ud800", "x" * 201, OVERFLOW],
)
def test_a_malformed_name_is_refused(name: str) -> None:
    """What cannot stand in a log line or a metric gets no breaker."""
    registry = BreakerRegistry()
    with pytest.raises(ValueError, match="name"):
        registry.get(name)
    assert len(registry) == 0


@pytest.mark.parametrize("name", ["x" * NAME_LENGTH_MAX, "Zürich/Ämter", "db-1:5432/a@b.example"])
def test_a_printable_name_is_taken(name: str) -> None:
    """Names need not be ASCII."""
    assert BreakerRegistry().get(name).name == name


@pytest.mark.parametrize(
    "wrong", [{"entries_max": 0}, {"idle_s": 0}, {"idle_s": math.nan}, {"refuse_at_left_behind": 0}]
)
def test_impossible_bounds_are_refused_by_name(wrong: dict[str, float]) -> None:
    """The error names the option."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        BreakerRegistry(**wrong)


def test_a_flood_of_names_keeps_to_the_bound() -> None:
    """The closed breaker that was asked for the longest ago makes room."""
    registry = BreakerRegistry(SETTINGS, entries_max=3)
    for name in ("a", "b", "c", "a"):
        registry.get(name)
    registry.get("d")
    assert names(registry) == ["a", "c", "d"]
    for number in range(1000):
        registry.get("a")
        registry.get(f"tenant/{number}")
    assert len(registry) == 3
    assert "a" in names(registry), "who is asked for stays"


def test_a_flood_of_names_forgets_no_open_breaker() -> None:
    """However many new names come, the dependency that is down stays protected."""
    registry = BreakerRegistry(SETTINGS, entries_max=3)
    trip(registry.get("billing"))
    for number in range(1000):
        registry.get(f"billing/{number}")
    assert registry.get("billing").state is BreakerState.OPEN
    assert len(registry) == 3


def test_when_none_is_closed_new_names_share_a_breaker() -> None:
    """Nothing is forgotten, the bound holds, and the new names are protected all the same."""
    strict = BreakerSettings(failure_threshold=1)
    registry = BreakerRegistry(
        SETTINGS, for_name=lambda name: None if name in "ab" else strict, entries_max=2
    )
    trip(registry.get("a"))
    trip(registry.get("b"))
    shared = registry.get("new")
    assert shared is registry.get("another")
    assert (shared.name, shared.settings) == (OVERFLOW, SETTINGS)
    trip(shared)
    assert registry.get("third").state is BreakerState.OPEN
    assert len(registry) == 2
    registry.get("a").reset(0)
    assert registry.get("new").name == "new", "as soon as there is room"
    assert names(registry) == [OVERFLOW, "b", "new"]


def test_a_breaker_that_closes_can_make_room_again() -> None:
    """Its place in the order of use is then that of a breaker that was just asked for."""
    registry = BreakerRegistry(SETTINGS, entries_max=2)
    trip(registry.get("a"))
    registry.get("b")
    registry.get("a").reset(0)
    registry.get("c")
    assert names(registry) == ["a", "c"]
    registry.get("d")
    assert names(registry) == ["c", "d"]


def test_there_is_no_second_breaker_while_somebody_holds_the_first() -> None:
    """A breaker that was dropped and is held elsewhere is found again, and is told of till then."""
    registry = BreakerRegistry(SETTINGS, entries_max=1)
    held = registry.get("a")
    registry.get("b")
    assert names(registry) == ["a", "b"]
    assert len(registry) == 1
    assert registry.get("a") is held
    assert names(registry) == ["a"], "b was not held and is gone at once"


def test_a_dropped_breaker_that_opens_is_kept_again() -> None:
    """A call that was under way when its breaker was dropped may be the one that trips it."""
    registry = BreakerRegistry(SETTINGS, entries_max=2)
    held = registry.get("a")
    registry.get("b")
    registry.get("c")
    trip(held)
    del held
    assert registry.get("a").state is BreakerState.OPEN
    assert len(registry) == 2


def test_what_nobody_asks_for_is_dropped_in_time() -> None:
    """After once to twice the idle time, and not before."""

    async def story(loop: VirtualTimeLoop) -> None:
        registry = BreakerRegistry(SETTINGS, idle_s=100)
        registry.get("a")
        registry.get("b")
        loop_s = 0.0
        for _ in range(30):
            await asyncio.sleep(10)
            loop_s += 10
            registry.get("b")
            registry.snapshot()
            if loop_s < 100:
                assert "a" in names(registry)
            if loop_s >= 200:
                assert names(registry) == ["b"]

    run_virtual(story)


def test_an_opening_outlasts_the_idle_time() -> None:
    """Dropped are only breakers that admit calls; one that is forced open stays for good."""

    async def story(loop: VirtualTimeLoop) -> None:
        long = BreakerSettings(failure_threshold=2, open_s=1000)
        at_once = BreakerSettings(open_s=0)
        registry = BreakerRegistry(long, for_name={"forced": at_once}, idle_s=100)
        trip(registry.get("down"), loop.time())
        registry.get("forced").force_open(loop.time())
        registry.get("healthy")
        for _ in range(9):
            await asyncio.sleep(100)
            registry.snapshot()
        assert names(registry) == ["down", "forced"]
        for _ in range(10):
            await asyncio.sleep(100)
            registry.snapshot()
        assert names(registry) == ["forced"], "the opening was over long ago"

    run_virtual(story)


def test_another_clock_drops_nothing() -> None:
    """On a new loop whose time starts again nobody knows what was idle."""
    registry = BreakerRegistry(SETTINGS, idle_s=100)

    async def first(loop: VirtualTimeLoop) -> None:
        await asyncio.sleep(1000)
        registry.get("a")
        registry.snapshot()
        await asyncio.sleep(100)
        registry.snapshot()

    async def second(loop: VirtualTimeLoop) -> None:
        registry.snapshot()
        assert names(registry) == ["a"]
        await asyncio.sleep(100)
        registry.snapshot()
        assert names(registry) == []

    run_virtual(first)
    run_virtual(second)


class ShelfMachine(RuleBasedStateMachine):
    """Any sequence of calls, trips and recoveries keeps what a simple list says."""

    ENTRIES_MAX = 3
    some_name = st.sampled_from([f"tenant/{number}" for number in range(7)])

    def __init__(self) -> None:
        super().__init__()
        self.registry = BreakerRegistry(SETTINGS, entries_max=self.ENTRIES_MAX)
        self.closed: list[str] = []
        self.opened: list[str] = []

    @rule(name=some_name)
    def get(self, name: str) -> None:
        breaker = self.registry.get(name)
        self.ask(name)
        assert breaker.name == (name if name in self.closed + self.opened else OVERFLOW)

    @rule(name=some_name)
    def trip(self, name: str) -> None:
        breaker = self.registry.get(name)
        self.ask(name)
        if name in self.closed:
            trip(breaker)
            self.closed.remove(name)
            self.opened.append(name)

    @rule(name=some_name)
    def recover(self, name: str) -> None:
        breaker = self.registry.get(name)
        self.ask(name)
        if name in self.opened:
            breaker.reset(0)
            self.opened.remove(name)
            self.closed.append(name)

    def ask(self, name: str) -> None:
        """Do what the registry should, on the lists."""
        if name in self.closed:
            self.closed.remove(name)
        elif name in self.opened:
            return
        elif len(self.closed) + len(self.opened) == self.ENTRIES_MAX:
            if not self.closed:
                return
            self.closed.pop(0)
        self.closed.append(name)

    @invariant()
    def the_same_are_kept(self) -> None:
        states = {breaker.name: breaker.state for breaker in self.registry}
        states.pop(OVERFLOW, None)
        expected = dict.fromkeys(self.closed, BreakerState.CLOSED)
        expected.update(dict.fromkeys(self.opened, BreakerState.OPEN))
        assert states == expected
        assert len(self.registry) == len(expected) <= self.ENTRIES_MAX


TestShelfMachine = ShelfMachine.TestCase
TestShelfMachine.settings = settings(max_examples=100, deadline=None)
