"""Recorded outages: a CSV file of when a service failed and how badly.

The columns are `start_time,end_time,status` and, if there, `service`: seconds since the trace
began, and the share of requests that fail, 0 to 1. This is the shape of the Cloud Uptime Archive.
Rows may overlap, touch, have severity 0 or come in any order; all of that is handled and reported.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from sim.world.errors import InputError
from sim.world.outages import PARTIAL, Outage, OutageMode, clip, merge
from sim.world.settings import about, check, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np

COLUMNS = ("start_time", "end_time", "status")
"""What the heading of a trace must name; other columns are ignored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceReport:
    """What reading a trace did to its rows.

    Attributes:
        rows: rows read, without the heading and empty lines.
        zero_severity: rows with severity 0, in which nothing failed; left out.
        zero_length: rows that end in the moment in which they begin; left out.
        unordered: rows that begin before the row above them; sorted.
        overlapping: rows that begin while an earlier one lasts; the worst severity wins.
        touching: rows that begin in the moment in which the last one ends; joined if alike.
        outages: outages in the schedule that came out.
        duration_s: from 0 to the end of the last row.
        outage_s: how much of that time lies in an outage.
        full_s: how much of that time lies in a full outage, severity 1.
    """

    source: str
    rows: int
    zero_severity: int
    zero_length: int
    unordered: int
    overlapping: int
    touching: int
    outages: int
    duration_s: float
    outage_s: float
    full_s: float

    def __str__(self) -> str:
        """Return it as one line of text."""
        counts = (
            (self.zero_severity, "with severity 0 left out"),
            (self.zero_length, "of no length left out"),
            (self.unordered, "out of order"),
            (self.overlapping, "overlapping"),
            (self.touching, "touching"),
        )
        notes = "".join(f", {count} {what}" for count, what in counts if count)
        share = self.outage_s / self.duration_s if self.duration_s else 0.0
        return (
            f"{self.source}: {self.rows} rows{notes}; {self.outages} outages in "
            f"{self.duration_s / 86400:.1f} days, {self.outage_s / 3600:.1f} h in all "
            f"({share:.2%} of the time), {self.full_s / 3600:.1f} h of them full"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTrace:
    """The outages of a recorded trace, the same in every replication.

    The first row of a trace usually begins at 0, because that is where the recording began. With
    `lead_s` the trace begins later in the run, so that its first outage does not meet a service
    that has only just started.
    """

    kind: ClassVar[str] = "trace"
    outages: tuple[Outage, ...]
    duration_s: float = field(metadata=about("The length of the trace before speed-up.", above=0))
    file: str = field(default="", metadata=about("The file that it was read from."))
    speed_up: float = field(default=1.0, metadata=about("All times are divided by it.", above=0))
    lead_s: float = field(
        default=0.0, metadata=about("Healthy time before the trace begins.", least=0)
    )

    def __post_init__(self) -> None:
        check(self)

    @property
    def length_s(self) -> float:
        """The time in the run at which the trace ends."""
        return self.lead_s + self.duration_s / self.speed_up

    def draw(
        self,
        rng: np.random.Generator,
        duration_s: float,
    ) -> tuple[Outage, ...]:
        """Return the recorded outages that begin before `duration_s`."""
        moved = (
            Outage(
                self.lead_s + each.start_s / self.speed_up,
                self.lead_s + each.end_s / self.speed_up,
                each.mode,
                each.severity,
            )
            for each in self.outages
        )
        return clip(merge(moved), duration_s)

    def as_table(self) -> dict[str, Any]:
        """Return the settings, with the file's name and a count in the place of every outage."""
        return {
            "kind": self.kind,
            "file": self.file,
            "outages": len(self.outages),
            "duration_s": self.duration_s,
            "speed_up": self.speed_up,
            "lead_s": self.lead_s,
        }


def read_trace(
    path: Path, *, full_mode: OutageMode = OutageMode.REFUSE
) -> tuple[RecordedTrace, TraceReport]:
    """Read a trace CSV file.

    Rows with a severity below 1 become `ERROR_RATE` outages, rows with severity 1 full ones.

    Args:
        path: the file, in UTF-8, with or without a byte order mark.
        full_mode: how the primary fails in a full outage, which the file does not say.

    Raises:
        InputError: the file is missing, unreadable, not UTF-8 or empty, a column is missing, or a
            row is malformed (not a number, negative, ending before it starts, severity out of
            0 to 1); names the file and the line.
    """
    rows = _read_rows(path)
    kept = [
        Outage(start_s, end_s, full_mode, 1.0)
        if severity == 1
        else Outage(start_s, end_s, OutageMode.ERROR_RATE, severity)
        for start_s, end_s, severity in rows
        if severity > 0 and end_s > start_s
    ]
    duration_s = max(end_s for _, end_s, _ in rows)
    if duration_s == 0:
        raise InputError.at(path, "no row ends after 0, so the trace has no length")
    outages = merge(kept)
    overlapping, touching = _count_meetings(kept)
    report = TraceReport(
        source=path.name,
        rows=len(rows),
        zero_severity=sum(severity == 0 for _, _, severity in rows),
        zero_length=sum(severity > 0 and start_s == end_s for start_s, end_s, severity in rows),
        unordered=sum(later[0] < earlier[0] for earlier, later in pairwise(rows)),
        overlapping=overlapping,
        touching=touching,
        outages=len(outages),
        duration_s=duration_s,
        outage_s=math.fsum(each.duration_s for each in outages),
        full_s=math.fsum(each.duration_s for each in outages if each.severity == 1),
    )
    return RecordedTrace(outages=outages, duration_s=duration_s, file=path.name), report


def write_trace(path: Path, outages: Iterable[Outage], *, service: str = "generated") -> None:
    """Write outages as a trace CSV file that `read_trace` reads back.

    The file has no column for the mode: a full outage comes back in the reader's `full_mode`.

    Raises:
        InputError: an outage is slow, read-only or a limit on connections, which the share of
            failing requests cannot express.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow((*COLUMNS, "service"))
        for each in outages:
            if each.mode in PARTIAL and each.mode is not OutageMode.ERROR_RATE:
                what = f"a trace has no way to say that an outage is {each.mode.value!r}"
                raise InputError.at(path, what)
            writer.writerow((repr(each.start_s), repr(each.end_s), repr(each.severity), service))


def _read_rows(path: Path) -> list[tuple[float, float, float]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            heading = [name.strip() for name in next(reader, [])]
            if not heading:
                raise InputError.at(path, "the file is empty; it needs " + ",".join(COLUMNS))
            places = _places(path, heading)
            rows = [_row(path, reader.line_num, line, places) for line in reader if line]
    except UnicodeDecodeError as error:
        raise InputError.at(path, f"not a text in UTF-8 ({error.reason})") from None
    except csv.Error as error:
        raise InputError.at(path, f"not a CSV file ({error})", line=reader.line_num) from None
    except OSError as error:
        raise InputError.at(path, f"cannot be read ({error.strerror})") from None
    if not rows:
        raise InputError.at(path, "there are no rows below the heading")
    return rows


def _places(path: Path, heading: list[str]) -> tuple[int, ...]:
    for name in COLUMNS:
        if name not in heading:
            guess = did_you_mean(name, heading).replace("did you mean", "is it")
            raise InputError.at(path, f"the column {name!r} is missing{guess}", line=1)
    return tuple(heading.index(name) for name in COLUMNS)


def _row(
    path: Path, line: int, cells: Sequence[str], places: tuple[int, ...]
) -> tuple[float, float, float]:
    if len(cells) <= max(places):
        raise InputError.at(path, f"the row has only {len(cells)} columns", line=line)
    start_s, end_s, severity = (
        _number(path, line, name, cells[place]) for name, place in zip(COLUMNS, places, strict=True)
    )
    if end_s < start_s:
        what = f"end_time {end_s:g} is before start_time {start_s:g}"
        raise InputError.at(path, what, line=line)
    if severity > 1:
        raise InputError.at(path, f"status must be from 0 to 1, not {severity:g}", line=line)
    return start_s, end_s, severity


def _number(path: Path, line: int, name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError.at(path, f"{name} must be a number, not {text!r}", line=line)
    if number < 0:
        raise InputError.at(path, f"{name} must not be negative, not {text.strip()}", line=line)
    return number


def _count_meetings(outages: Sequence[Outage]) -> tuple[int, int]:
    """Return how many outages begin inside an earlier one, and how many just where one ends."""
    overlapping = touching = 0
    last_end_s = -math.inf
    for each in sorted(outages, key=lambda outage: (outage.start_s, outage.end_s)):
        overlapping += each.start_s < last_end_s
        touching += each.start_s == last_end_s
        last_end_s = max(last_end_s, each.end_s)
    return overlapping, touching
