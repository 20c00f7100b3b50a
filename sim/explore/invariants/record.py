"""A chronicle, arranged for the questions that invariants ask of it."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sim.explore.calls import Keys
from sim.explore.happenings import (
    Asked,
    CallBegan,
    CallEnded,
    ClockStepped,
    Committed,
    Outcome,
    Removed,
    Started,
    StartFailed,
    Stopped,
    Stores,
    Told,
)
from sim.explore.hostile_world import OperationKind, StopKind
from sim.explore.invariants.clocks import Clocks
from sim.explore.invariants.entries import Call, Life, Process, Request, Stay

if TYPE_CHECKING:
    from ftrepo.keys import PublicKey
    from sim.explore.happenings import Chronicle

__all__ = ["ROUNDING_S", "Call", "Life", "Process", "Record", "Request", "Stay", "record_of"]

ROUNDING_S = 2e-6
"""By how much times may be off: calendar times are rounded to microseconds, and sums of floats."""

_PUBLISH = OperationKind.PUBLISH


class Record:
    """Who asked what, what the primary was called for, what it held, and who lived when.

    Attributes:
        end: the place behind the last happening.
        requests: in the order of asking.
        offers: keys that callers asked to create and that others published, by id, each with the
            place from which on somebody may have it.
        gets: by the id asked for.
        calls: of the primary, by process.
        stays: in the primary, by id.
        lives: by process.
        stores: what lay in the stores of each process, and at which place that was seen.
        starts: of processes, those that failed included.
        clocks: of the instances. That of the primary is the world's own.
    """

    def __init__(self, chronicle: Chronicle) -> None:
        self.chronicle = chronicle
        self.policy = chronicle.policy
        self.world = chronicle.world
        self.end = len(chronicle.happenings)
        self.requests: list[Request] = []
        self.offers: dict[str, list[tuple[int, PublicKey]]] = defaultdict(list)
        self.gets: dict[str, list[Request]] = defaultdict(list)
        self.calls: dict[Process, list[Call]] = defaultdict(list)
        self.stays: dict[str, list[Stay]] = defaultdict(list)
        self.lives: dict[Process, Life] = {}
        self.stores: dict[Process, list[tuple[int, Stores]]] = defaultdict(list)
        self.starts: list[Started | StartFailed] = []
        self.clocks = Clocks(chronicle.world.skew_s)
        self._by_operation: dict[int, Request] = {}
        self._by_call: dict[int, Call] = {}
        readers = {
            Asked: self._asked,
            Told: self._told,
            Committed: self._committed,
            Removed: self._removed,
            CallBegan: self._call_began,
            CallEnded: self._call_ended,
            Started: self._started,
            Stopped: self._stopped,
            StartFailed: self._start_failed,
            ClockStepped: lambda at, each: self.clocks.step(each),
            Stores: self._stores,
        }
        for at, each in enumerate(chronicle.happenings):
            reader = readers.get(type(each))
            if reader is not None:
                reader(at, each)  # type: ignore[operator]  # each gets its own type
        self._read_keys()
        self._soonest_s = self._ends_of_keys_with_several_times()

    def expires_s(self, key: PublicKey) -> float:
        """When a key expires, in seconds since the world began."""
        return (key.expires - self.chronicle.began).total_seconds()

    def may_have_expired(self, key: PublicKey, instance: int, from_s: float, to_s: float) -> bool:
        """Whether the instance or the primary may have taken the key for expired in this time.

        Of a key that was made with several times, each store keeps those that it met first, so the
        earliest end counts.
        """
        latest_s = max(self.clocks.latest_s(instance, from_s, to_s), to_s)
        expires_s = self._soonest_s.get((key.id, key.material)) or self.expires_s(key)
        return latest_s >= expires_s - ROUNDING_S

    def must_have_expired(self, key: PublicKey, instance: int, from_s: float, to_s: float) -> bool:
        """Whether the instance and the primary both took the key for expired all this time."""
        earliest_s = min(self.clocks.earliest_s(instance, from_s, to_s), from_s)
        return earliest_s >= self.expires_s(key) + ROUNDING_S

    def stays_of(self, key: PublicKey, from_at: int, to_at: int) -> Iterator[Stay]:
        """When this very key was in the primary, somewhere between two places."""
        for stay in self.stays.get(key.id, ()):
            if stay.from_at < to_at and stay.to_at > from_at and stay.key.same_material(key):
                yield stay

    def rival_in_primary(self, key: PublicKey, from_at: int, to_at: int) -> bool:
        """Whether the primary held other material under this id, at a time between two places."""
        return any(
            stay.from_at < to_at and stay.to_at > from_at and not stay.key.same_material(key)
            for stay in self.stays.get(key.id, ())
        )

    def rivals(self, key: PublicKey, until_at: int) -> Iterator[PublicKey]:
        """Keys of other material that were offered under the id before this place."""
        for offered_at, offered in self.offers.get(key.id, ()):
            if offered_at < until_at and not offered.same_material(key):
                yield offered

    def acknowledged(self) -> Iterator[tuple[Request, Told, PublicKey]]:
        """Every `create` of a caller that was acknowledged, with its key."""
        for request in self.requests:
            told, key = request.told, request.key
            if told is None or key is None or told.outcome is not Outcome.ACKNOWLEDGED:
                continue
            if request.asked.kind is OperationKind.CREATE:
                yield request, told, key

    def time_at(self, place: int) -> float:
        """The time of a happening; that of the end for a place behind it."""
        if place >= self.end:
            return self.chronicle.ended_s
        return self.chronicle.happenings[place].at_s

    def _read_keys(self) -> None:
        """Find out which key each request was about: known only once all are told."""
        keys, operations = Keys(self.world.keys), self.world.operations
        published = {at for at, each in enumerate(operations) if each.kind is _PUBLISH}
        for request in self.requests:
            asked, told = request.asked, request.told
            if asked.key_id is None:
                continue
            if asked.kind is OperationKind.GET:
                self.gets[asked.key_id].append(request)
                continue
            published.discard(asked.operation)
            if told is not None and told.key is not None:
                request.key = told.key
            elif asked.operation < len(operations):
                # Whoever gave up was not told; but what he wanted is known.
                place = operations[asked.operation].key
                request.key = None if place is None else keys.made(place, self.chronicle.began)
            if request.key is not None:
                self.offers[asked.key_id].append((request.asked_at, request.key))
        for at in published:
            place = operations[at].key
            assert place is not None
            key = keys.made(place, self.chronicle.began)
            # Just before the first thing that could come of it.
            self.offers[key.id].append((self._place_at(operations[at].at_s) - 1, key))

    def _ends_of_keys_with_several_times(self) -> dict[tuple[str, bytes], float]:
        """The earliest end of each key, by id and material, that was offered with several times."""
        if not any(each.same_material for each in self.world.keys):
            return {}
        soonest_s: dict[tuple[str, bytes], float] = {}
        for key_id, offers in self.offers.items():
            for _, key in offers:
                name = key_id, key.material
                soonest_s[name] = min(soonest_s.get(name, math.inf), self.expires_s(key))
        return soonest_s

    def _place_at(self, at_s: float) -> int:
        happenings = self.chronicle.happenings
        return bisect_left(happenings, at_s - ROUNDING_S, key=lambda each: each.at_s)

    def _asked(self, at: int, each: Asked) -> None:
        request = Request(each, at, None, self.end)
        self.requests.append(request)
        self._by_operation[each.operation] = request

    def _told(self, at: int, each: Told) -> None:
        request = self._by_operation.get(each.operation)
        if request is not None and request.told is None:
            request.told, request.told_at = each, at

    def _committed(self, at: int, each: Committed) -> None:
        self._leave_primary(each.key.id, each.at_s, at)
        self.stays[each.key.id].append(Stay(each.key, each.at_s, at, math.inf, self.end))

    def _removed(self, at: int, each: Removed) -> None:
        self._leave_primary(each.key.id, each.at_s, at)

    def _leave_primary(self, key_id: str, at_s: float, at: int) -> None:
        stays = self.stays[key_id]
        if stays and stays[-1].to_at == self.end:
            stays[-1].to_s, stays[-1].to_at = at_s, at

    def _call_began(self, at: int, each: CallBegan) -> None:
        call = Call(each, at, None, self.end)
        self._by_call[each.call] = call
        self.calls[each.instance, each.process].append(call)
        self._life((each.instance, each.process), at, each.at_s)

    def _call_ended(self, at: int, each: CallEnded) -> None:
        call = self._by_call[each.call]
        call.ended, call.ended_at = each, at

    def _started(self, at: int, each: Started) -> None:
        life = self._life((each.instance, each.process), at, each.at_s)
        life.started_s, life.started_at = each.at_s, at
        self.starts.append(each)

    def _start_failed(self, at: int, each: StartFailed) -> None:
        self.starts.append(each)
        # As good as killed: nothing more is done.
        self._stopped(at, Stopped(each.at_s, each.instance, each.process, StopKind.KILL))

    def _stopped(self, at: int, each: Stopped) -> None:
        life = self._life((each.instance, each.process), at, each.at_s)
        if life.kind is None:
            life.stopped_s, life.stopped_at, life.kind = each.at_s, at, each.kind
        elif each.kind is StopKind.KILL:
            life.was_cut_short = True

    def _stores(self, at: int, each: Stores) -> None:
        self._life((each.instance, each.process), at, each.at_s)
        self.stores[each.instance, each.process].append((at, each))

    def _life(self, process: Process, at: int, at_s: float) -> Life:
        if process not in self.lives:
            inf, end = math.inf, self.end
            self.lives[process] = Life(at_s, at, inf, end, inf, end, None)
        return self.lives[process]


_latest: tuple[Chronicle, Record] | None = None


def record_of(chronicle: Chronicle) -> Record:
    """Return the record of a chronicle; that of the last one is kept: all invariants share it."""
    global _latest  # noqa: PLW0603  a cache of one
    if _latest is None or _latest[0] is not chronicle:
        _latest = chronicle, Record(chronicle)
    return _latest[1]
