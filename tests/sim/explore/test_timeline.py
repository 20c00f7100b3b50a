"""The story of a key in text: aligned, narrow, and only what belongs to it."""

from __future__ import annotations

from ftrepo.events import BreakerChanged, PendingDropped
from ftrepo.interface import Durability
from ftrepo.resilience import BreakerState
from sim.explore.happenings import (
    Broke,
    ClockStepped,
    Observed,
    OutageBegan,
    OutageEnded,
    Outcome,
    StartFailed,
)
from sim.explore.hostile_world import StopKind
from sim.explore.timeline import ROWS_MAX, WIDTH_MAX, of_key
from sim.world.outages import Outage, OutageMode
from tests.sim.explore.by_hand import Story, key_of

KEY, RIVAL, OTHER = key_of(), key_of(material="other"), key_of("k1")
REFUSE = Outage(1.5, 20.0, OutageMode.REFUSE)
ERRORS = Outage(21.0, 22.0, OutageMode.ERROR_RATE, 0.2)


def test_a_story_is_told_in_the_order_of_time() -> None:
    """Questions, answers, calls, stores, outages, breakers, starts and stops."""
    story = Story()
    story.add(OutageBegan(1.5, REFUSE)).create(KEY, 2.0, 2.5, durability=Durability.MEMORY)
    story.call("create", 2.0, 2.5, "ConnectionRefusedError", key_ids=("k0",))
    tripped = BreakerChanged(breaker="primary", old=BreakerState.CLOSED, new=BreakerState.OPEN)
    story.add(Observed(2.5, 0, 0, tripped)).stores(3.0, cached=["k0"], pending=["k0"])
    story.stop(4.0, StopKind.KILL).add(StartFailed(5.0, 0, 1, "no disk")).start(6.0, (0, 2))
    story.get("k0", 7.0, outcome=Outcome.NOT_FOUND, at=(0, 2)).add(OutageEnded(20.0, REFUSE))
    story.add(OutageBegan(21.0, ERRORS), ClockStepped(21.5, 0, -1.25), Broke(21.6, "a task"))
    story.commit(KEY, 25.0).commit(RIVAL, 26.0).remove(RIVAL, 1234.5)
    assert of_key(story.chronicle(), "k0").splitlines() == [
        " time, s  process  what happened",
        "   0.000  0.0      is ready",
        "   1.500  -        outage begins: refuse, until 20.000",
        "   2.000  0.0      create asked (#0)",
        "   2.000  0.0        calls create",
        (
            "   2.500  0.0      create #0 acknowledged (memory): material A, expires 100000.000"
            " after 0.500 s"
        ),
        "   2.500  0.0        create ConnectionRefusedError after 0.500 s",
        "   2.500  0.0        breaker: closed to open",
        "   3.000  0.0        has it: memory, pending",
        "   4.000  0.0      is killed",
        "   5.000  0.1      cannot start: no disk",
        "   6.000  0.2      is ready",
        "   7.000  0.2      get asked (#1)",
        "   7.000  0.2      get #1 not found",
        "  20.000  -        outage ends: refuse",
        "  21.000  -        outage begins: error_rate of 0.2, until 22.000",
        "  21.500  0        its clock jumps by -1.250 s",
        "  21.600  -        BROKE: a task",
        "  25.000  -        the primary commits material A, expires 100000.000",
        "  26.000  -        the primary commits material B, expires 100000.000",
        "1234.500  -        the primary deletes material B, expires 100000.000",
    ]


def test_what_concerns_other_keys_is_left_out() -> None:
    """So is what happened after the key came in last."""
    story = Story().create(OTHER, 1.0).commit(OTHER, 1.0).create(KEY, 2.0)
    dropped = PendingDropped(key_id="k1", reason="expired")
    story.add(Observed(1.5, 0, 0, dropped)).stop(9.0, StopKind.LEAVE)
    told = of_key(story.chronicle(), "k0")
    assert "k1" not in told
    assert "drops" not in told
    assert "leave" not in told
    assert "drops the key: expired" in of_key(story.chronicle(), "k1")


def test_stores_are_told_when_they_have_changed() -> None:
    """They are looked into more often than that."""
    story = Story().create(KEY, 1.0)
    for at_s in (2.0, 3.0):
        story.stores(at_s, cached=["k0"])
    for at_s in (4.0, 5.0):
        story.stores(at_s)
    told = of_key(story.chronicle(), "k0")
    assert told.count("has it: memory") == 1
    assert told.count("has it: nowhere") == 1


def test_a_key_without_a_story_has_none() -> None:
    """A violation may name a key that never came in."""
    assert of_key(Story().chronicle(), "k7") == "nothing happened to k7\n"


def test_lines_are_narrow_and_long_stories_lose_their_middle() -> None:
    """An error of a driver may be of any length, and of several lines."""
    story = Story().create(KEY, 0.5)
    story.add(Broke(1.0, "one line\nand another " + "word " * 50))
    for number in range(ROWS_MAX):
        story.get(KEY, 2.0 + number)
    lines = of_key(story.chronicle(), "k0").splitlines()
    assert max(map(len, lines)) == WIDTH_MAX
    assert len(lines) == ROWS_MAX + 2
    assert sum("more rows …" in line for line in lines) == 1
    assert any("one line and another" in line and line.endswith("…") for line in lines)
