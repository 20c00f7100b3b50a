"""How long traces are made practical: the middle of each long healthy stretch is cut out.

A year of outages is nearly all health, and simulating health a second time teaches nothing. Of a
healthy stretch the run keeps a *tail* after the outage before it, in which the system recovers, and
a *lead* before the outage after it. What lies between is cut. The leads, healthy and settled time,
stand for it by a weight.

Why this does not bias a figure. Let the system forget within a time M: its state depends on the
traffic and the outages of the last M only, because keys live so long and no interval of the policy
is longer. With `tail_s` at least M:

* All that an outage does happens in it or in the tail after it. Both are kept whole, with weight 1.
* An outage finds the state that M of healthy time leaves, as it would have without the cut: tail
  and lead before it are healthy and together longer than M.
* More than `tail_s` after an outage, the state has its stationary distribution, whichever settled
  moment it is. The mean over the settled time that is kept is therefore an unbiased estimate of
  the mean over all of it. The settled time kept is pooled over all stretches and weighs (settled
  time) / (settled time kept), the same everywhere, so that the weights add up to the real time.

What repeats with a period would still know that something was cut: a key that is made every hour
would meet the outages in another phase than it really did and, as all long stretches become equally
long, in nearly the same phase each time. So whole multiples of `period_s` are cut, and every phase
stays.

When it does bias: if M is longer than the tail (a policy with an interval above it, a key that
lives longer, a backlog that takes longer to clear), and if traffic in the leads differs from the
rest of the settled time (outages that really begin at the busiest hour). A share is a ratio of
weighted sums, with the bias of any ratio: about 1 in the number of requests in the settled time
that is kept. A maximum or a quantile over settled time comes from a smaller sample.
`Timeline.whole` cuts nothing, to check all of this.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from sim.world.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sim.world.durations import Floats
    from sim.world.outages import Outage


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of real time [real_start_s, real_end_s) that the run plays from `run_start_s` on.

    Attributes:
        weight: how many seconds of real time one second of it stands for.
    """

    real_start_s: float
    real_end_s: float
    run_start_s: float
    weight: float

    @property
    def duration_s(self) -> float:
        """How long it lasts, in the run as in reality."""
        return self.real_end_s - self.real_start_s


@dataclass(frozen=True, slots=True)
class Timeline:
    """Which pieces of real time a run plays, when, and how much each stands for.

    Attributes:
        segments: the pieces, in order. In the run they follow one another without a gap.
        outages: the schedule in run time.
        duration_s: the length of the run.
        real_duration_s: the length of what it stands for.
    """

    segments: tuple[Segment, ...]
    outages: tuple[Outage, ...]
    duration_s: float
    real_duration_s: float
    _real_starts: Floats = field(init=False, repr=False, compare=False)
    _real_ends: Floats = field(init=False, repr=False, compare=False)
    _run_starts: Floats = field(init=False, repr=False, compare=False)
    _weights: Floats = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, attribute in (
            ("_real_starts", "real_start_s"),
            ("_real_ends", "real_end_s"),
            ("_run_starts", "run_start_s"),
            ("_weights", "weight"),
        ):
            column = np.array([getattr(each, attribute) for each in self.segments], dtype=float)
            object.__setattr__(self, name, column)

    @classmethod
    def whole(cls, outages: Iterable[Outage], duration_s: float) -> Timeline:
        """Return the timeline that cuts nothing: run time is real time.

        Raises:
            InputError: the duration is not positive, or the outages do not fit into it in order.
        """
        schedule = _checked(outages, duration_s)
        return cls((Segment(0.0, duration_s, 0.0, 1.0),), schedule, duration_s, duration_s)

    def to_run(self, real_times_s: Floats) -> Floats:
        """Return the run times of those moments that are kept; the others are left out."""
        real_s = np.asarray(real_times_s, dtype=float)
        at = np.searchsorted(self._real_starts, real_s, side="right") - 1
        kept = (at >= 0) & (real_s < self._real_ends[at])
        at, real_s = at[kept], real_s[kept]
        return self._run_starts[at] + (real_s - self._real_starts[at])

    def to_real(self, run_times_s: Floats) -> Floats:
        """Return the real times of run times; past the end of the run, time goes on evenly."""
        run_s = np.asarray(run_times_s, dtype=float)
        at = self._at_run(run_s)
        return self._real_starts[at] + (run_s - self._run_starts[at])

    def weight_at(self, run_times_s: Floats) -> Floats:
        """Return the weights of run times: how much real time a moment stands for, at least 1."""
        return self._weights[self._at_run(np.asarray(run_times_s, dtype=float))]

    def kept_windows(self) -> Iterator[tuple[float, float, float]]:
        """Yield the real start, real end and run start of each unbroken piece of real time."""
        start: Segment | None = None
        for each, following in pairwise((*self.segments, None)):
            assert each is not None
            start = start or each
            if following is None or following.real_start_s != each.real_end_s:
                yield start.real_start_s, each.real_end_s, start.run_start_s
                start = None

    def _at_run(self, run_s: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.intp]]:
        at = np.searchsorted(self._run_starts, run_s, side="right") - 1
        return np.asarray(np.maximum(at, 0))


def condense(
    outages: Iterable[Outage],
    duration_s: float,
    *,
    lead_s: float,
    tail_s: float,
    warmup_s: float = 0.0,
    period_s: float | None = None,
    moments_s: Sequence[float] = (),
) -> Timeline:
    """Return a timeline without the middles of long healthy stretches; see the module for why.

    Args:
        outages: the schedule in real time.
        duration_s: the length of real time.
        lead_s: how much settled time is kept before an outage, and before the end. Above 0; the
            longer, the smaller the weights.
        tail_s: how much is kept after an outage: the memory of the system, at least.
        warmup_s: how much is kept at the start, if longer than `tail_s`.
        period_s: only whole multiples of it are cut, so that whatever repeats with it keeps its
            phase, and up to as much more is kept of each stretch. `None` if nothing repeats.
        moments_s: real times, such as restarts, that are kept with a lead and a tail as if they
            were outages of no length.

    Raises:
        InputError: a length is out of range, or the outages are not in order within the duration.
    """
    schedule = _checked(outages, duration_s)
    _check_lengths(lead_s=lead_s, tail_s=tail_s, warmup_s=warmup_s, period_s=period_s)
    pieces: list[tuple[float, float, bool]] = []
    settled_s: list[float] = []
    now_s, settle_s = 0.0, max(tail_s, warmup_s)
    for start_s, end_s in [*_events(schedule, moments_s, duration_s), (duration_s, duration_s)]:
        if start_s > now_s:
            settled_from_s = min(now_s + settle_s, start_s)
            kept_from_s = settled_from_s + _cut(start_s - settled_from_s - lead_s, period_s)
            settled_s.append(start_s - settled_from_s)
            pieces += [(now_s, settled_from_s, False), (kept_from_s, start_s, True)]
        pieces.append((start_s, end_s, False))
        now_s, settle_s = max(now_s, end_s), tail_s
    kept_s = math.fsum(end - start for start, end, settled in pieces if settled)
    weight = math.fsum(settled_s) / kept_s if kept_s > 0 else 1.0
    segments = tuple(_segments(pieces, weight))
    last = segments[-1]
    run_duration_s = last.run_start_s + last.duration_s
    return Timeline(segments, tuple(_moved(schedule, segments)), run_duration_s, duration_s)


def _cut(spare_s: float, period_s: float | None) -> float:
    if spare_s <= 0:
        return 0.0
    return spare_s if period_s is None else math.floor(spare_s / period_s) * period_s


def _events(
    schedule: Sequence[Outage], moments_s: Sequence[float], duration_s: float
) -> list[tuple[float, float]]:
    moments = [(moment, moment) for moment in moments_s if 0 <= moment < duration_s]
    return sorted([(each.start_s, each.end_s) for each in schedule] + moments)


def _segments(pieces: Iterable[tuple[float, float, bool]], weight: float) -> Iterator[Segment]:
    """Yield the pieces as segments, neighbours of one weight without a cut as one."""
    growing: Segment | None = None
    for start_s, end_s, settled in pieces:
        if end_s <= start_s:
            continue
        own = weight if settled else 1.0
        if growing and growing.real_end_s == start_s and growing.weight == own:
            growing = replace(growing, real_end_s=end_s)
            continue
        run_s = 0.0
        if growing:
            yield growing
            run_s = growing.run_start_s + growing.duration_s
        growing = Segment(start_s, end_s, run_s, own)
    assert growing is not None
    yield growing


def _moved(schedule: Iterable[Outage], segments: Sequence[Segment]) -> Iterator[Outage]:
    """Yield each outage in run time; it lies in one segment, since none is cut or settled."""
    remaining = iter(segments)
    segment = next(remaining, None)
    for outage in schedule:
        while segment and outage.start_s >= segment.real_end_s:
            segment = next(remaining, None)
        assert segment is not None
        shift_s = segment.run_start_s - segment.real_start_s
        yield replace(outage, start_s=outage.start_s + shift_s, end_s=outage.end_s + shift_s)


def _checked(outages: Iterable[Outage], duration_s: float) -> tuple[Outage, ...]:
    schedule = tuple(outages)
    if not 0 < duration_s < math.inf:
        raise InputError(f"the duration must be a finite time above 0, not {duration_s}")
    for earlier, later in pairwise(schedule):
        if later.start_s < earlier.end_s:
            raise InputError(f"outages must be in order and not overlap: {earlier}, then {later}")
    if schedule and schedule[-1].end_s > duration_s:
        raise InputError(f"the last outage ends at {schedule[-1].end_s}, after {duration_s}")
    return schedule


def _check_lengths(
    *, lead_s: float, tail_s: float, warmup_s: float, period_s: float | None
) -> None:
    if not 0 < lead_s < math.inf:
        raise InputError(f"lead_s must be a finite time above 0, not {lead_s}")
    for name, length_s in (("tail_s", tail_s), ("warmup_s", warmup_s)):
        if not 0 <= length_s < math.inf:
            raise InputError(f"{name} must be a finite time of at least 0, not {length_s}")
    if period_s is not None and not 0 < period_s < math.inf:
        raise InputError(f"period_s must be a finite time above 0 or None, not {period_s}")
