"""Which behaviours a history reached: read off it in one pass.

What a behaviour is, `sim.explore.behaviours` lists. Faults and answers are read off what was seen
from outside, and what the repository did inside off the events that it told its observers: coverage
may trust them, as an invariant may not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ftrepo import events
from ftrepo.resilience.breaker_state import BreakerState
from sim.explore import happenings as seen
from sim.explore.behaviours import WELL, behaviour, pair, situation
from sim.explore.hostile_world import OperationKind
from sim.explore.reached_inside import of_event

if TYPE_CHECKING:
    from ftrepo.keys import PublicKey
    from sim.explore.happenings import Chronicle
    from sim.world.outages import Outage

_WRITES = ("create", "create_many")
_BREAKER_WORDS = {
    BreakerState.OPEN: "breaker opens",
    BreakerState.HALF_OPEN: "breaker probes",
}


def reached(chronicle: Chronicle) -> frozenset[str]:
    """Return the behaviours, pairs and situations that a history reached, by name."""
    history = _History(chronicle)
    for happening in chronicle.happenings:
        handler = _HANDLERS.get(type(happening))
        if handler is not None:
            handler(history, happening)
    return frozenset(history.names)


class _History:
    """What is under way at one moment of a history, and what was reached up to it."""

    def __init__(self, chronicle: Chronicle) -> None:
        world = chronicle.world
        self.names: set[str] = set()
        self._outage: Outage | None = None
        self._last_outage_s = -1.0
        self._breakers: dict[int, BreakerState] = {}
        self._asked: dict[int, seen.Asked] = {}
        self._calls: dict[int, seen.CallBegan] = {}
        self._given_up: dict[int, seen.CallBegan] = {}
        self._committed: dict[str, PublicKey] = {}
        self._committed_during: set[int] = set()
        self._confirmed: set[str] = set()
        self._ready: set[tuple[int, int]] = set()
        self._stores: dict[tuple[int, int], seen.Stores] = {}
        self._on_disk: set[int] = set()
        if world.shuffled:
            self._reach("fault", "drawn order")
        if any(world.skew_s):
            self._reach("fault", "clocks apart")
        if world.journal or world.snapshot:
            for fault in world.disk_faults:
                self._reach("fault", f"disk {fault.kind.value}")

    def asked(self, each: seen.Asked) -> None:
        self._meanwhile(each.kind.value, each.instance)
        for other in self._asked.values():
            if other.key_id == each.key_id and each.key_id is not None:
                self._race(each, other)
        if each.kind is OperationKind.CREATE:
            for call in self._calls.values():
                if call.instance == each.instance:
                    self._beside_create(call.name)
        self._asked[each.operation] = each

    def told(self, each: seen.Told) -> None:
        asked = self._asked.pop(each.operation, None)
        if asked is None:
            return
        group = "flush asked" if asked.kind is OperationKind.FLUSH else asked.kind.value
        self._reach(group, each.outcome.value)
        if each.durability is not None:
            self._reach("durability", each.durability.value)
        if each.outcome is seen.Outcome.CANCELLED:
            self._meanwhile("cancelled", asked.instance)

    def call_began(self, each: seen.CallBegan) -> None:
        mine = [call.name for call in self._calls.values() if call.instance == each.instance]
        if {each.name, *mine} >= {"create_many", "list_valid"}:
            self._reach("flush", "during a refresh")
        for asked in self._asked.values():
            if asked.instance == each.instance and asked.kind is OperationKind.CREATE:
                self._beside_create(each.name)
        self._calls[each.call] = each

    def call_ended(self, each: seen.CallEnded) -> None:
        call = self._calls.pop(each.call, None)
        if call is None or call.name not in _WRITES:
            return
        if not each.error:
            self._reach("write", "confirmed")
            self._confirmed.update(call.key_ids)
        elif each.call in self._committed_during:
            self._reach("write", "committed, answer lost")
        else:
            self._reach("write", "failed, not committed")
            self._given_up[each.call] = call

    def committed(self, each: seen.Committed) -> None:
        key_id = each.key.id
        if key_id in self._committed:
            self._reach("write", "in the place of an expired key")
        self._committed[key_id] = each.key
        running = [
            number
            for number, call in self._calls.items()
            if call.name in _WRITES and key_id in call.key_ids
        ]
        self._committed_during.update(running)
        if running:
            return
        if any(key_id in call.key_ids for call in self._given_up.values()):
            self._reach("write", "committed after it was given up")
        elif key_id in self._confirmed:
            self._reach("write", "delivered once more, after its removal")
        else:
            self._reach("write", "of somebody else")
            self._meanwhile(OperationKind.PUBLISH.value, None)

    def removed(self, each: seen.Removed) -> None:
        self._committed.pop(each.key.id, None)

    def started(self, each: seen.Started) -> None:
        self._breakers[each.instance] = BreakerState.CLOSED
        self._meanwhile("start", each.instance)
        self._ready.add((each.instance, each.process))
        if each.process:
            self._reach("start", "in an outage" if self._outage else "primary well")
            if each.instance in self._on_disk:
                self._reach("start", "journal not empty")

    def stopped(self, each: seen.Stopped) -> None:
        process = (each.instance, each.process)
        self._reach("stop", each.kind.value)
        self._meanwhile(each.kind.value, each.instance)
        if process not in self._ready:
            self._reach("stop", "before it had started")
        stores = self._stores.get(process)
        if stores is not None and stores.pending:
            self._reach("stop", "with pending writes")
        if stores is not None and stores.on_disk:
            self._reach("stop", "with a journal that is not empty")
        for call in self._calls.values():
            if (call.instance, call.process) == process:
                self._reach("stop", f"during {call.name}")
        for asked in self._asked.values():
            if (asked.instance, asked.process) == process and asked.kind is OperationKind.CREATE:
                self._reach("stop", "during a caller's create")

    def outage_began(self, each: seen.OutageBegan) -> None:
        self._outage = each.outage
        self._reach("outage", each.outage.mode.value)
        if each.outage.start_s == self._last_outage_s:
            self._reach("outage", "another at once")

    def outage_ended(self, each: seen.OutageEnded) -> None:
        self._last_outage_s = each.outage.end_s
        if self._outage == each.outage:
            self._outage = None

    def clock_stepped(self, each: seen.ClockStepped) -> None:
        self._reach("fault", "clock forward" if each.by_s > 0 else "clock back")
        self._meanwhile("clock step", each.instance)

    def stores(self, each: seen.Stores) -> None:
        self._stores[each.instance, each.process] = each
        (self._on_disk.add if each.on_disk else self._on_disk.discard)(each.instance)

    def observed(self, each: seen.Observed) -> None:
        event = each.event
        if isinstance(event, events.BreakerChanged):
            self._breakers[each.instance] = event.old
            if event.new in _BREAKER_WORDS:
                self._meanwhile(_BREAKER_WORDS[event.new], each.instance)
            self._breakers[each.instance] = event.new
        self.names.update(of_event(event))

    def _race(self, each: seen.Asked, other: seen.Asked) -> None:
        where = "one instance" if each.instance == other.instance else "two instances"
        kinds = {each.kind, other.kind}
        if kinds == {OperationKind.CREATE}:
            self._reach("race", f"two creates of a key, {where}")
        elif kinds == {OperationKind.CREATE, OperationKind.GET}:
            self._reach("race", f"create and get of a key, {where}")
        elif kinds == {OperationKind.GET} and where == "one instance":
            self._reach("race", "two gets of a key, one instance")

    def _beside_create(self, call: str) -> None:
        """A call of the repository and a caller's create are under way in one instance."""
        if call == "create_many":
            self._reach("flush", "during a create")
        elif call == "list_valid":
            self._reach("memory", "refresh during a create")
        elif call == "delete_expired":
            self._reach("race", "create and delete_expired")

    def _meanwhile(self, what: str, instance: int | None) -> None:
        """Something happens, in an outage or not, in an instance or past all of them (`None`)."""
        outage = self._outage
        if outage is not None:
            self.names.add(pair(outage.mode, what))
        if instance is not None:
            mode = WELL if outage is None else outage.mode.value
            breaker = self._breakers.get(instance, BreakerState.CLOSED)
            self.names.add(situation(mode, breaker, what))

    def _reach(self, group: str, name: str) -> None:
        self.names.add(behaviour(group, name))


_HANDLERS: dict[type[Any], Callable[[_History, Any], None]] = {
    seen.Asked: _History.asked,
    seen.Told: _History.told,
    seen.CallBegan: _History.call_began,
    seen.CallEnded: _History.call_ended,
    seen.Committed: _History.committed,
    seen.Removed: _History.removed,
    seen.Started: _History.started,
    seen.Stopped: _History.stopped,
    seen.OutageBegan: _History.outage_began,
    seen.OutageEnded: _History.outage_ended,
    seen.ClockStepped: _History.clock_stepped,
    seen.Stores: _History.stores,
    seen.Observed: _History.observed,
}
