"""The patterns that outages follow: given times, renewal, flapping.

Every pattern draws its whole schedule before a run, from children of the generator that it is
given, one for each kind of draw. So a longer run only appends to the schedule, and other down
times leave the up times as they were.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

from sim.world.durations import AnyDuration
from sim.world.errors import InputError
from sim.world.outages import Outage, OutageMode, check_severity, clip, merge
from sim.world.settings import about, check

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sim.world.durations import Duration

OUTAGES_MAX = 1_000_000
"""The most outages that one pattern may draw: a bound against a mean that lost its unit."""

_DRAWS_AT_ONCE = 64


class OutagePattern(Protocol):
    """Something that draws a schedule."""

    def draw(self, rng: np.random.Generator, duration_s: float) -> tuple[Outage, ...]:
        """Return a schedule for [0, `duration_s`): sorted, not overlapping, clipped at the end."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeShare:
    """One of the ways in which the outages of a pattern happen."""

    mode: OutageMode
    share: float = field(
        default=1.0, metadata=about("The share of outages of this mode.", above=0, most=1)
    )
    severity: float = 1.0

    def __post_init__(self) -> None:
        check(self)
        check_severity(self.mode, self.severity)


REFUSE_ALL = (ModeShare(mode=OutageMode.REFUSE),)
"""Every outage refuses connections: what a failover looks like for most of its time."""

_MODES = about("The ways in which outages happen, each with its share; the shares add up to 1.")


def _check_shares(modes: tuple[ModeShare, ...]) -> None:
    total = sum(each.share for each in modes)
    if abs(total - 1) > 1e-6:
        raise InputError(f"modes must have shares that add up to 1, not to {total:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedWindows:
    """Outages at given times, the same in every replication."""

    kind: ClassVar[str] = "fixed"
    windows: tuple[tuple[float, float], ...] = field(
        metadata=about("Start and end of each outage in seconds from the start of the run.")
    )
    mode: OutageMode = field(
        default=OutageMode.REFUSE, metadata=about("How the primary fails in them.")
    )
    severity: float = field(
        default=1.0, metadata=about("The share of requests that fail; below 1 for error_rate only.")
    )
    source: str = ""
    """Where the figures come from, for the table of assumptions."""

    def __post_init__(self) -> None:
        check_severity(self.mode, self.severity)
        for at, (start_s, end_s) in enumerate(self.windows):
            if not (0 <= start_s < end_s and isfinite(end_s)):
                raise InputError(
                    f"windows[{at}] must begin at 0 or later and end after it begins, "
                    f"not [{start_s:g}, {end_s:g}]"
                )

    def draw(
        self,
        rng: np.random.Generator,
        duration_s: float,
    ) -> tuple[Outage, ...]:
        """Return the windows as outages."""
        outages = (Outage(start, end, self.mode, self.severity) for start, end in self.windows)
        return clip(merge(outages), duration_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlternatingRenewal:
    """Up and down times that alternate, each drawn afresh: MTBF and MTTR with a distribution.

    By default the run begins with a whole up time, as after a deployment. With `stationary` it
    begins at a random moment of a process that has run for ever: down with probability
    `1 - up_share`, and with what is left of the time then running. The long-run availability of
    the primary, up / (up + down) by renewal theory, then holds from the first second on.
    """

    kind: ClassVar[str] = "renewal"
    up: AnyDuration = field(metadata=about("The time between the end of one outage and the next."))
    down: AnyDuration = field(metadata=about("The time that an outage lasts."))
    modes: tuple[ModeShare, ...] = field(default=REFUSE_ALL, metadata=_MODES)
    stationary: bool = field(
        default=False,
        metadata=about("Whether the run begins at a random moment, not with a whole up time."),
    )
    outages_max: int | None = field(
        default=None,
        metadata=about("The primary stays up after so many outages; no limit if unset.", least=1),
    )
    source: str = ""
    """Where the figures come from, for the table of assumptions."""

    def __post_init__(self) -> None:
        check(self)
        _check_shares(self.modes)

    @property
    def up_share(self) -> float:
        """The share of time in which the primary is up in the long run."""
        return self.up.mean_s / (self.up.mean_s + self.down.mean_s)

    def draw(self, rng: np.random.Generator, duration_s: float) -> tuple[Outage, ...]:
        """Return outages with up times between them."""
        up_rng, down_rng, mode_rng, start_rng = rng.spawn(4)
        first: tuple[float, float] | None = None
        if self.stationary:
            up_left = float(self.up.draw_residual(start_rng, 1)[0])
            down_left = float(self.down.draw_residual(start_rng, 1)[0])
            down_now = start_rng.random() >= self.up_share
            first = (
                (0.0, down_left) if down_now else (up_left, float(self.down.draw(down_rng, 1)[0]))
            )
        cycles = _alternate(_draws(self.up, up_rng), _draws(self.down, down_rng), first)
        spans = _until(cycles, duration_s, self.outages_max)
        return clip(_with_modes(spans, self.modes, mode_rng), duration_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flapping:
    """Episodes in which the primary goes down and comes back again and again."""

    kind: ClassVar[str] = "flapping"
    between: AnyDuration = field(metadata=about("The quiet time before each episode."))
    episode: AnyDuration = field(metadata=about("How long an episode lasts."))
    down: AnyDuration = field(
        metadata=about("A down time within an episode, which begins with one.")
    )
    up: AnyDuration = field(metadata=about("An up time within an episode."))
    modes: tuple[ModeShare, ...] = field(default=REFUSE_ALL, metadata=_MODES)
    source: str = ""
    """Where the figures come from, for the table of assumptions."""

    def __post_init__(self) -> None:
        check(self)
        _check_shares(self.modes)

    def draw(self, rng: np.random.Generator, duration_s: float) -> tuple[Outage, ...]:
        """Return the outages of all episodes; the last of an episode is cut off at its end."""
        between_rng, episode_rng, down_rng, up_rng, mode_rng = rng.spawn(5)
        episodes = _alternate(_draws(self.between, between_rng), _draws(self.episode, episode_rng))
        downs, ups = _draws(self.down, down_rng), _draws(self.up, up_rng)
        spans: list[tuple[float, float]] = []
        for start_s, end_s in _until(episodes, duration_s):
            inside = _alternate(ups, downs, (0.0, next(downs)))
            for down_s, up_s in _until(inside, end_s - start_s):
                spans.append((start_s + down_s, min(start_s + up_s, end_s)))
            if len(spans) > OUTAGES_MAX:
                raise _too_many()
        return clip(_with_modes(spans, self.modes, mode_rng), duration_s)


def _draws(duration: Duration, rng: np.random.Generator) -> Iterator[float]:
    """Yield times without end, drawn a batch at a time."""
    while True:
        yield from duration.draw(rng, _DRAWS_AT_ONCE).tolist()


def _alternate(
    ups: Iterator[float], downs: Iterator[float], first: tuple[float, float] | None = None
) -> Iterator[tuple[float, float]]:
    """Yield the start and end of each down time; `first` is a first up and down time, if known."""
    now_s = 0.0
    while True:
        up_s, down_s = first or (next(ups), next(downs))
        first = None
        yield now_s + up_s, now_s + up_s + down_s
        now_s += up_s + down_s


def _until(
    spans: Iterator[tuple[float, float]], duration_s: float, outages_max: int | None = None
) -> Iterator[tuple[float, float]]:
    for count, (start_s, end_s) in enumerate(spans):
        if start_s >= duration_s or count == outages_max:
            return
        if count == OUTAGES_MAX:
            raise _too_many()
        yield start_s, end_s


def _with_modes(
    spans: Iterable[tuple[float, float]], modes: tuple[ModeShare, ...], rng: np.random.Generator
) -> Iterator[Outage]:
    spans = [(start_s, end_s) for start_s, end_s in spans if start_s < end_s]
    upper = np.cumsum([each.share for each in modes])[:-1]
    chosen = np.searchsorted(upper, rng.random(len(spans)), side="right")
    for (start_s, end_s), at in zip(spans, chosen.tolist(), strict=True):
        yield Outage(start_s, end_s, modes[at].mode, modes[at].severity)


def _too_many() -> InputError:
    return InputError(
        f"the outage pattern draws more than {OUTAGES_MAX} outages: check the units of its times"
    )
