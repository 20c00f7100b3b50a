"""The story of a key as a table in text: who asked what, what the primary did, what went wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from ftrepo import events
from sim.explore.happenings import (
    Asked,
    Broke,
    CallBegan,
    CallEnded,
    ClockStepped,
    Committed,
    Observed,
    OutageBegan,
    OutageEnded,
    Removed,
    Started,
    StartFailed,
    Stopped,
    Stores,
    Told,
)

if TYPE_CHECKING:
    from ftrepo.keys import PublicKey
    from sim.explore.happenings import Chronicle, Happening

WIDTH_MAX = 100
"""Characters in the longest line."""

BACKGROUND = "-"
"""In the column of the instance, for what is of none."""

ROWS_MAX = 200
"""Rows shown at most; of a longer story the middle is left out."""

_OF_THE_KEY = (
    events.KeyCreated,
    events.CacheMiss,
    events.ServedFromMemory,
    events.PeersAsked,
    events.PendingDropped,
    events.ConflictSeen,
)
"""Events that name a key."""


class Row(NamedTuple):
    """One line of the story.

    Attributes:
        where: the process: "1.0" is the first of instance 1.
    """

    at_s: float
    where: str
    what: str


def of_key(chronicle: Chronicle, key_id: str) -> str:
    """Return the story of a key: one line a happening, aligned, at most `WIDTH_MAX` wide.

    Besides what concerns the key itself it has outages, starts and stops, steps of clocks and
    changes of breakers between the first and the last time that the key comes in; nothing else.

    Args:
        chronicle: what happened.
        key_id: of the key.
    """
    story = _Story(chronicle, key_id)
    rows = [(row, story.is_about_key) for each in chronicle.happenings for row in story.read(each)]
    own = [at for at, (_, is_about_key) in enumerate(rows) if is_about_key]
    if not own:
        return f"nothing happened to {key_id}\n"
    # What was under way when the key first came in is part of its story.
    shown = [row for row, _ in rows[: own[-1] + 1]]
    return "\n".join(_lines(_without_middle(shown))) + "\n"


class _Story:
    """Reads one happening after another for what it says of a key.

    Attributes:
        is_about_key: whether the happening that was read last concerns the key itself.
    """

    def __init__(self, chronicle: Chronicle, key_id: str) -> None:
        self.is_about_key = False
        self._key_id = key_id
        self._began = chronicle.began
        self._asked: dict[int, Asked] = {}
        self._calls: dict[int, CallBegan] = {}
        self._seen: dict[str, str] = {}
        self._names: dict[bytes, str] = {}

    def read(self, each: Happening) -> Iterator[Row]:
        """Yield the rows of a happening: one or none."""
        where, what, self.is_about_key = "", "", False
        match each:
            case Asked() | Told() | Committed() | Removed() | CallBegan() | CallEnded() | Stores():
                where, what = self._of_key(each)
                self.is_about_key = bool(what)
            case Observed():
                where, what = self._observed(each)
            case Started() | StartFailed() | Stopped():
                where, what = _process(each), _of_process(each)
            case OutageBegan() | OutageEnded():
                where, what = BACKGROUND, _of_outage(each)
            case ClockStepped():
                where, what = str(each.instance), f"its clock jumps by {each.by_s:+.3f} s"
            case Broke():
                where, what = BACKGROUND, f"BROKE: {each.what}"
        if what:
            yield Row(each.at_s, where, what)

    def _of_key(self, each: Happening) -> tuple[str, str]:
        where, what = "", ""
        match each:
            case Asked(key_id=self._key_id):
                self._asked[each.operation] = each
                where, what = _process(each), f"{each.kind.value} asked (#{each.operation})"
            case Told() if (asked := self._asked.get(each.operation)) is not None:
                where, what = _process(asked), self._told(asked, each)
            case Committed() | Removed() if each.key.id == self._key_id:
                verb = "commits" if isinstance(each, Committed) else "deletes"
                where, what = BACKGROUND, f"the primary {verb} {self._name(each.key)}"
            case CallBegan() if self._key_id in each.key_ids:
                self._calls[each.call] = each
                size = f" of {len(each.key_ids)}" if len(each.key_ids) > 1 else ""
                where, what = _process(each), f"  calls {each.name}{size}"
            case CallEnded() if (call := self._calls.get(each.call)) is not None:
                took = f"after {each.at_s - call.at_s:.3f} s"
                where, what = (
                    _process(call),
                    f"  {call.name} {each.error or 'is answered'} {took}",
                )
            case Stores():
                where, what = _process(each), self._stores(each)
        return where, what

    def _told(self, asked: Asked, told: Told) -> str:
        said = told.outcome.value
        if told.durability is not None:
            said += f" ({told.durability.value})"
        if told.key is not None:
            said += f": {self._name(told.key)}"
        if told.error:
            said += f": {told.error}"
        took = f" after {told.at_s - asked.at_s:.3f} s" if told.at_s > asked.at_s else ""
        return f"{asked.kind.value} #{asked.operation} {said}{took}"

    def _stores(self, each: Stores) -> str:
        """What a process holds of the key, if that is not what it held when last seen."""
        kinds = (("memory", each.cached), ("pending", each.pending), ("journal", each.on_disk))
        held = ", ".join(name for name, ids in kinds if self._key_id in ids) or "nowhere"
        before = self._seen.get(_process(each), "nowhere")
        self._seen[_process(each)] = held
        return f"  has it: {held}" if held != before else ""

    def _observed(self, each: Observed) -> tuple[str, str]:
        event = each.event
        if isinstance(event, events.BreakerChanged):
            return _process(each), f"  breaker: {event.old.value} to {event.new.value}"
        if isinstance(event, _OF_THE_KEY) and event.key_id == self._key_id:
            self.is_about_key = True
            return _process(each), f"  {_words(event)}"
        return "", ""

    def _name(self, key: PublicKey) -> str:
        """A short name for the key's material, and when it expires."""
        letter = chr(ord("A") + len(self._names) % 26)
        name = self._names.setdefault(key.material, letter)
        return f"material {name}, expires {_seconds(key.expires, self._began):.3f}"


def _of_process(each: Started | StartFailed | Stopped) -> str:
    match each:
        case Started():
            return "is ready"
        case StartFailed():
            return f"cannot start: {each.error}"
        case Stopped():
            return "is killed" if each.kind.value == "kill" else "begins to leave"


def _of_outage(each: OutageBegan | OutageEnded) -> str:
    outage = each.outage
    share = f" of {outage.severity:g}" if outage.severity != 1.0 else ""
    if isinstance(each, OutageEnded):
        return f"outage ends: {outage.mode.value}"
    return f"outage begins: {outage.mode.value}{share}, until {outage.end_s:.3f}"


def _words(event: events.Event) -> str:
    match event:
        case events.PendingDropped():
            return f"drops the key: {event.reason}"
        case events.ServedFromMemory():
            return f"answers from memory: {event.reason}"
        case events.PeersAsked():
            return "another instance has it" if event.found else "no other instance has it"
        case events.ConflictSeen():
            return "sees a conflict"
        case events.CacheMiss():
            return "memory lacks it"
    return "acknowledges it"


def _process(each: object) -> str:
    return f"{each.instance}.{each.process}"  # type: ignore[attr-defined]


def _seconds(moment: datetime, began: datetime) -> float:
    return (moment - began).total_seconds()


def _without_middle(rows: list[Row]) -> list[Row]:
    if len(rows) <= ROWS_MAX:
        return rows
    half = ROWS_MAX // 2
    left_out = Row(rows[half].at_s, "", f"… {len(rows) - 2 * half} more rows …")
    return [*rows[:half], left_out, *rows[-half:]]


def _lines(rows: list[Row]) -> Iterator[str]:
    header = Row(0.0, "process", "what happened")
    wide = max(len(row.where) for row in (header, *rows))
    tall = max(len("time, s"), *(len(f"{row.at_s:.3f}") for row in rows))
    yield f"{'time, s':>{tall}}  {header.where:<{wide}}  {header.what}"
    for row in rows:
        what = " ".join(row.what.splitlines())
        line = f"{row.at_s:>{tall}.3f}  {row.where:<{wide}}  {what}".rstrip()
        yield line if len(line) <= WIDTH_MAX else line[: WIDTH_MAX - 1] + "…"
