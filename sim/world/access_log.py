"""Recorded traffic: the time stamps of an access log in Common or Combined Log Format.

Lines come out of order, because a server writes a line when a request ends and stamps it with when
it began; they are sorted. Everything in a line but its stamp is ignored.
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from sim.world.condense import Timeline
from sim.world.durations import Floats
from sim.world.errors import InputError
from sim.world.settings import about, check
from sim.world.traffic import DrawnOnTimelines, check_count

MALFORMED_SHARE_MAX = 0.01
"""The share of unreadable lines that is tolerated, by default: a log cut off or written to by two
processes has a few; more mean that the file is something else."""

RESOLUTION_S = 1.0
"""The resolution of the time stamps."""

_MONTHS = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
_MONTH_NUMBERS = {name: number for number, name in enumerate(_MONTHS, start=1)}
_DAY_S = 86400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_LINE = re.compile(
    rb"\S+ \S+ .*?\[(\d\d/[A-Z][a-z][a-z]/\d{4}):([01]\d|2[0-3]):([0-5]\d):([0-5]\d|60)"
    rb" ([+-])(\d\d)([0-5]\d)\]"
)
"""host, ident, user (which may hold spaces), and the stamp; :60 is a leap second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessLogReport:
    """What reading an access log did to its lines.

    Attributes:
        lines: lines that are not empty.
        requests: lines with a readable stamp.
        malformed: lines without one, left out.
        first_malformed_line: the number of the first of them; `None` if there are none.
        out_of_order: requests stamped earlier than the line above them; sorted.
        first: the earliest stamp.
        span_s: from the earliest stamp to the end of the latest one's second.
    """

    source: str
    lines: int
    requests: int
    malformed: int
    first_malformed_line: int | None
    out_of_order: int
    first: datetime
    span_s: float

    def __str__(self) -> str:
        """Return it as one line of text."""
        notes = f", {self.out_of_order} out of order" if self.out_of_order else ""
        if self.malformed:
            notes += f", {self.malformed} malformed (the first in line {self.first_malformed_line})"
        return (
            f"{self.source}: {self.requests} requests{notes}; {self.span_s / _DAY_S:.2f} days from "
            f"{self.first:%Y-%m-%d %H:%M:%S} UTC, {self.requests / self.span_s:.3g} a second"
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RecordedArrivals(DrawnOnTimelines):
    """The arrivals of a recording, repeated end to end for as long as a run lasts.

    Each replication begins at a random point of the recording, and each stamp is spread evenly
    over its resolution, so that replications differ while the pattern stays. The end of the
    recording joins its beginning: its length counts as one cycle, whatever the time of day.

    Raises:
        InputError: there are no times, one is not finite, they span no time, or a setting is out
            of range.
    """

    kind: ClassVar[str] = "log"
    times_s: Floats = field(repr=False)
    """When each request came. Any zero and any order will do; kept sorted, from 0."""
    file: str = field(default="", metadata=about("The name of the recording."))
    speed_up: float = field(
        default=1.0,
        metadata=about(
            "The pattern passes so many times faster, at as many times the rate.", above=0
        ),
    )
    resolution_s: float = field(
        default=1.0,
        metadata=about("A stamp t stands for a moment in [t, t + resolution).", least=0),
    )

    def __post_init__(self) -> None:
        check(self)
        times_s = np.sort(np.asarray(self.times_s, dtype=np.float64))
        if not len(times_s) or not np.isfinite(times_s).all():
            raise InputError("times_s must have one time or more, all of them finite")
        times_s -= times_s[0]
        times_s.flags.writeable = False
        object.__setattr__(self, "times_s", times_s)
        if self.cycle_s <= 0:
            raise InputError("resolution_s must be above 0 if all the times are the same")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RecordedArrivals):
            return NotImplemented
        return self.as_table() == other.as_table() and np.array_equal(self.times_s, other.times_s)

    def __hash__(self) -> int:
        return hash((self.file, self.speed_up, self.resolution_s, len(self.times_s)))

    @property
    def cycle_s(self) -> float:
        """The length of the recording, its last moment included, before it is sped up."""
        return float(self.times_s[-1]) + self.resolution_s

    @property
    def mean_rate_per_s(self) -> float:
        """The requests of the recording over its length, sped up."""
        return len(self.times_s) / self.cycle_s * self.speed_up

    def draw_on(self, rng: np.random.Generator, timeline: Timeline) -> Floats:
        """Return sorted run times; see `ArrivalPattern`."""
        check_count(timeline.duration_s * self.mean_rate_per_s)
        offset_rng, jitter_rng = rng.spawn(2)
        offset_s = offset_rng.random() * self.cycle_s
        pieces = []
        for start_s, end_s, run_start_s in timeline.kept_windows():
            recorded_s = self._between(
                start_s * self.speed_up + offset_s, end_s * self.speed_up + offset_s, jitter_rng
            )
            pieces.append((recorded_s - offset_s) / self.speed_up - start_s + run_start_s)
        times_s = np.concatenate(pieces)
        return times_s[(times_s >= 0) & (times_s < timeline.duration_s)]

    def _between(self, start_s: float, end_s: float, rng: np.random.Generator) -> Floats:
        """Return the jittered arrivals of the endless recording in [start_s, end_s), sorted."""
        first = math.floor(start_s / self.cycle_s)
        last = math.floor(end_s / self.cycle_s)
        laps = np.arange(first, last + 1, dtype=float)[:, np.newaxis] * self.cycle_s
        times_s: Floats = (self.times_s + laps).ravel()
        low, high = np.searchsorted(times_s, (start_s - self.resolution_s, end_s))
        times_s = times_s[low:high] + rng.random(high - low) * self.resolution_s
        times_s.sort(kind="stable")
        return times_s[np.searchsorted(times_s, start_s) : np.searchsorted(times_s, end_s)]

    def as_table(self) -> dict[str, Any]:
        """Return the settings, with the file's name and a count in the place of every time."""
        return {
            "kind": self.kind,
            "file": self.file,
            "requests": len(self.times_s),
            "cycle_s": self.cycle_s,
            "speed_up": self.speed_up,
            "resolution_s": self.resolution_s,
        }


def read_access_log(
    path: Path, *, malformed_share_max: float = MALFORMED_SHARE_MAX
) -> tuple[RecordedArrivals, AccessLogReport]:
    """Read when requests came from an access log, plain or compressed by gzip (`.gz`).

    Args:
        path: the file, in any encoding; empty lines are skipped.
        malformed_share_max: the share of lines without a readable stamp that is tolerated.

    Raises:
        InputError: the file is missing, unreadable or has no request, or too many of its lines are
            malformed; names the file and the first malformed line.
    """
    stamps_s: list[int] = []
    malformed = lines = 0
    first_malformed: int | None = None
    days: dict[bytes, int | None] = {}
    with _opened(path) as file:
        for number, line in enumerate(file, start=1):
            stamp_s = _stamp_s(line, days)
            if stamp_s is not None:
                stamps_s.append(stamp_s)
            elif not line.strip():
                continue
            else:
                malformed += 1
                first_malformed = first_malformed or number
            lines += 1
    if not lines:
        raise InputError.at(path, "the file is empty")
    if not stamps_s or malformed > malformed_share_max * lines:
        what = "no time stamp of the Common or Combined Log Format in this line"
        what += (
            f" ({malformed} of {lines} lines are like this, {malformed_share_max:.1%} tolerated)"
        )
        raise InputError.at(path, what, line=first_malformed)
    times_s = np.array(stamps_s, dtype=np.float64)
    arrivals = RecordedArrivals(times_s=times_s, file=path.name, resolution_s=RESOLUTION_S)
    return arrivals, AccessLogReport(
        source=path.name,
        lines=lines,
        requests=len(stamps_s),
        malformed=malformed,
        first_malformed_line=first_malformed,
        out_of_order=int((np.diff(times_s) < 0).sum()),
        first=_EPOCH + timedelta(seconds=min(stamps_s)),
        span_s=arrivals.cycle_s,
    )


def write_access_log(
    path: Path,
    times_s: Floats,
    *,
    start: datetime = datetime(2026, 1, 1, tzinfo=UTC),
    rng: np.random.Generator | None = None,
    request_s: float = 0.0,
) -> None:
    """Write an access log in Combined Log Format, compressed if its name ends in `.gz`.

    Args:
        path: the file to write.
        times_s: when each request begins, in seconds after `start`.
        start: the time, with a time zone, that is time 0; its zone is the zone of the stamps.
        rng: draws how long each request takes, after which its line is written: this is what puts
            real logs out of order. `None` writes them in the order of `times_s`.
        request_s: the mean length of a request, exponential; used with `rng`.
    """
    times_s = np.asarray(times_s, dtype=np.float64)
    order = np.arange(len(times_s))
    if rng is not None:
        order = np.argsort(times_s + rng.exponential(request_s, len(times_s)), kind="stable")
    text = "".join(_line(start + timedelta(seconds=float(times_s[at])), int(at)) for at in order)
    content = text.encode("ascii")
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def _line(moment: datetime, number: int) -> str:
    month = _MONTHS[moment.month - 1].decode()
    host = f"192.0.2.{number % 254 + 1}"
    stamp = f"{moment:%d}/{month}/{moment:%Y:%H:%M:%S %z}"
    request = f"GET /keys/{number:06d} HTTP/1.1"
    return f'{host} - - [{stamp}] "{request}" 200 512 "-" "verifier/1.0"\n'


@contextmanager
def _opened(path: Path) -> Iterator[Iterable[bytes]]:
    """Open a file for reading, and turn whatever goes wrong with it into an `InputError`."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            yield file
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError.at(path, f"not a complete gzip file ({error})") from None
    except OSError as error:
        raise InputError.at(path, f"cannot be read ({error.strerror})") from None


def _stamp_s(line: bytes, days: dict[bytes, int | None]) -> int | None:
    """Return a line's time stamp in seconds since 1970, or `None`; `days` remembers dates."""
    match = _LINE.match(line)
    if match is None:
        return None
    day, hour, minute, second, sign, zone_hours, zone_minutes = match.groups()
    if day not in days:
        days[day] = _day_number(day)
    day_number = days[day]
    if day_number is None:
        return None
    zone_s = int(zone_hours) * 3600 + int(zone_minutes) * 60
    local_s = day_number * _DAY_S + int(hour) * 3600 + int(minute) * 60 + int(second)
    return local_s - zone_s if sign == b"+" else local_s + zone_s


def _day_number(day: bytes) -> int | None:
    """Return days since 1970 for a date such as `17/May/2015`, or `None` if there is none such."""
    number, month, year = day.split(b"/")
    try:
        return date(int(year), _MONTH_NUMBERS[month], int(number)).toordinal() - _EPOCH.toordinal()
    except (KeyError, ValueError):
        return None
