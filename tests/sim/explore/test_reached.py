"""Coverage of behaviour: read off hand-made histories, and nothing outside of the fixed list."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

import pytest

from ftrepo import events
from ftrepo.interface import Durability
from ftrepo.keys import Algorithm, PublicKey
from ftrepo.policy import Policy
from ftrepo.resilience.breaker_state import BreakerState
from sim.explore.behaviours import BEHAVIOURS, PAIRS, SITUATIONS
from sim.explore.happenings import (
    Asked,
    CallBegan,
    CallEnded,
    ClockStepped,
    Committed,
    Happening,
    Observed,
    OutageBegan,
    OutageEnded,
    Outcome,
    Removed,
    Started,
    Stopped,
    Stores,
    Told,
)
from sim.explore.hostile_world import (
    DiskFault,
    DiskFaultKind,
    HostileWorld,
    OperationKind,
    StopKind,
)
from sim.explore.judging import Case, drawn, judge
from sim.explore.reached import reached
from sim.explore.tally import Tally, new_in_the_next, share_max
from sim.world.outages import Outage, OutageMode
from tests.sim.explore.cases import BEGAN, chronicle_of

KEY = PublicKey(
    id="k0",
    material=b"0" * 32,
    algorithm=Algorithm.ED25519,
    created=BEGAN,
    expires=BEGAN + timedelta(hours=1),
)
HANG = Outage(1.0, 5.0, OutageMode.HANG)
KNOWN = {*BEHAVIOURS, *PAIRS, *SITUATIONS}


def asked(
    number: int,
    kind: OperationKind,
    *,
    at_s: float = 1.5,
    instance: int = 0,
    key: str | None = "k0",
) -> Asked:
    """A caller asks the first process of an instance."""
    return Asked(at_s, number, kind, instance, 0, key)


def write(number: int, *, name: str = "create", at_s: float = 1.0) -> CallBegan:
    """The first instance writes the key."""
    return CallBegan(at_s, number, 0, 0, name, (KEY.id,))


CONFIRMED: list[Happening] = [write(1), Committed(1.1, KEY), CallEnded(1.2, 1)]


def seen(*happenings: Happening) -> frozenset[str]:
    """What a history reached, all of it known by name."""
    names = reached(chronicle_of(*happenings))
    assert names <= KNOWN
    return names


def test_a_quiet_history_reaches_nothing() -> None:
    """Nothing is taken for granted."""
    assert seen() == frozenset()


@pytest.mark.parametrize(
    ("happenings", "names"),
    [
        (CONFIRMED, ["confirmed"]),
        ([write(1), Committed(1.1, KEY), CallEnded(1.2, 1, "OSError")], ["committed, answer lost"]),
        ([write(1), CallEnded(1.2, 1, "OSError")], ["failed, not committed"]),
        (
            [write(1), CallEnded(1.2, 1, "TimeoutError"), Committed(1.3, KEY)],
            ["failed, not committed", "committed after it was given up"],
        ),
        (
            [
                write(1),
                Committed(1.1, KEY),
                CallEnded(1.2, 1),
                Removed(2.0, KEY),
                Committed(2.1, KEY),
            ],
            ["confirmed", "delivered once more, after its removal"],
        ),
        ([Committed(1.3, KEY)], ["of somebody else"]),
        (
            [Committed(1.3, KEY), Committed(1.4, KEY)],
            ["of somebody else", "in the place of an expired key"],
        ),
    ],
)
def test_what_became_of_a_write(happenings: list[Happening], names: list[str]) -> None:
    """By when the primary had the key, and what the instance was told."""
    assert seen(*happenings) == {f"write: {name}" for name in names}


def test_what_happens_in_an_outage_is_paired_with_its_mode() -> None:
    """And what happens before and after is not."""
    names = seen(
        asked(0, OperationKind.CREATE, at_s=0.5),
        OutageBegan(1.0, HANG),
        asked(1, OperationKind.GET),
        Told(2.0, 1, Outcome.CANCELLED),
        Stopped(3.0, 0, 0, StopKind.KILL),
        Started(4.0, 0, 1),
        OutageEnded(5.0, HANG),
        ClockStepped(6.0, 0, -3.0),
    )
    assert names & set(PAIRS) == {
        f"hang × {what}" for what in ("get", "cancelled", "kill", "start")
    }
    assert {"outage: hang", "start: in an outage", "fault: clock back"} <= names
    assert "well, closed × clock step" in names


def test_two_outages_without_a_pause_between_them_are_told_from_one() -> None:
    """What nested outages come to, too."""
    next_one = Outage(5.0, 6.0, OutageMode.SLOW)
    begun = (OutageBegan(1.0, HANG), OutageEnded(5.0, HANG))
    assert "outage: another at once" in seen(*begun, OutageBegan(5.0, next_one))
    later = Outage(5.5, 6.0, OutageMode.SLOW)
    assert "outage: another at once" not in seen(*begun, OutageBegan(5.5, later))


def test_a_situation_knows_the_breaker_of_the_instance() -> None:
    """Of each one; a new process begins with a closed one."""
    opened = events.BreakerChanged(
        breaker="primary", old=BreakerState.CLOSED, new=BreakerState.OPEN
    )
    names = seen(
        OutageBegan(1.0, HANG),
        Observed(2.0, 0, 0, opened),
        asked(1, OperationKind.GET),
        asked(2, OperationKind.CREATE, instance=1),
        Stopped(3.0, 0, 0, StopKind.LEAVE),
        Started(3.5, 0, 1),
        asked(3, OperationKind.FLUSH, key=None),
    )
    assert names & set(SITUATIONS) == {
        "hang, closed × breaker opens",
        "hang, open × get",
        "hang, closed × create",
        "hang, open × leave",
        "hang, closed × start",
        "hang, closed × flush",
    }
    assert "breaker: closed to open" in names


def test_a_stop_is_known_by_what_it_cuts_off() -> None:
    """Calls of callers and to the primary, pending writes, the journal, a start."""
    process = Stores(1.2, 0, 0, frozenset(), frozenset({"k0"}), frozenset({"k0"}))
    names = seen(
        Started(0.0, 0, 0),
        asked(0, OperationKind.CREATE),
        write(1, name="create_many"),
        process,
        Stopped(2.0, 0, 0, StopKind.KILL),
        Stopped(2.5, 1, 0, StopKind.KILL),
        Started(3.0, 0, 1),
    )
    stops = {each.removeprefix("stop: ") for each in names if each.startswith("stop: ")}
    assert stops == {
        "kill",
        "during a caller's create",
        "during create_many",
        "with pending writes",
        "with a journal that is not empty",
        "before it had started",
    }
    assert "start: journal not empty" in names


def test_races_are_calls_that_overlap() -> None:
    """Of one key; an answered call races with nobody."""
    names = seen(
        asked(0, OperationKind.CREATE),
        asked(1, OperationKind.CREATE, instance=1),
        Told(1.6, 0, Outcome.ACKNOWLEDGED, KEY, Durability.JOURNAL),
        asked(2, OperationKind.GET, at_s=1.7),
        asked(3, OperationKind.GET, at_s=1.7, key="k1"),
    )
    races = {each.removeprefix("race: ") for each in names if each.startswith("race: ")}
    assert races == {
        "two creates of a key, two instances",
        "create and get of a key, two instances",
    }
    assert {"create: acknowledged", "durability: journal"} <= names


@pytest.mark.parametrize(("reason", "found"), [("expired", True), ("conflict", True)])
def test_events_tell_what_happened_inside(
    reason: Literal["expired", "conflict"], found: bool
) -> None:
    """The repository's own events, of which no invariant makes use."""
    dropped = events.PendingDropped(key_id="k0", reason=reason)
    asked_peers = events.PeersAsked(key_id="k0", found=found)
    names = seen(Observed(1.0, 0, 0, dropped), Observed(1.0, 0, 0, asked_peers))
    assert names == {f"flush: dropped: {reason}", "fallback: peer had it"}


def test_a_disk_fault_needs_a_disk() -> None:
    """In a world without one, nothing is there to fail."""
    fault = DiskFault(start_s=1.0, end_s=2.0, kind=DiskFaultKind.FULL)
    for journal in (True, False):
        world = HostileWorld(journal=journal, disk_faults=(fault,))
        assert ("fault: disk full" in reached(chronicle_of(world=world))) is journal


def test_some_hundred_worlds_reach_most_of_it_and_nothing_unknown() -> None:
    """So that no name in the list is misspelt, and what is drawn is hostile indeed."""
    tally = Tally()
    for seed in range(150):
        case = drawn(seed)
        chronicle = judge(case).chronicle
        tally.note(seed, case, chronicle)
    assert set(tally.times) <= KNOWN
    assert len(tally.never()) < len(BEHAVIOURS) / 4
    assert len(tally.pairs_never()) < len(PAIRS) / 2


def test_a_tally_counts_worlds_and_remembers_who_was_first() -> None:
    """And two tallies in a row are one."""
    case = Case(HostileWorld(), Policy())
    hang, slow = OutageBegan(1.0, HANG), OutageBegan(1.0, Outage(1.0, 2.0, OutageMode.SLOW))
    one, later = Tally(), Tally()
    one.note(3, case, chronicle_of(hang))
    one.note(4, case, None)
    later.note(5, case, chronicle_of(hang, asked(0, OperationKind.GET)))
    later.note(6, case, chronicle_of(slow))
    one.add(later)
    assert (one.worlds, one.incomplete, one.operations, one.virtual_s) == (4, 1, 1, 180.0)
    assert one.times["outage: hang"] == 2
    assert (one.first["outage: hang"], one.first["outage: slow"]) == (3, 6)
    assert "outage: reset" in one.never()
    assert one.growth(BEHAVIOURS) == [(3, 1), (6, 2)]
    assert new_in_the_next(one, BEHAVIOURS) == 1 / 4


def test_nothing_seen_in_many_worlds_is_rare_and_not_absent() -> None:
    """Three by the number of worlds, as a rule; of no worlds nothing is known."""
    assert share_max(0) == 1.0
    assert share_max(1) == pytest.approx(0.95)
    assert share_max(20_000) == pytest.approx(3 / 20_000, rel=0.01)
