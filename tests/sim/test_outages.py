"""Outages, the merging of schedules, and the patterns that draw them."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.world import outage_patterns
from sim.world.durations import Deterministic, Exponential, Lognormal, Weibull
from sim.world.errors import InputError
from sim.world.outage_patterns import (
    AlternatingRenewal,
    FixedWindows,
    Flapping,
    ModeShare,
    OutagePattern,
)
from sim.world.outages import Outage, OutageMode, clip, merge
from sim.world.recorded_shape import RecordedShape
from sim.world.streams import Streams

REFUSE, HANG, SLOW, ERROR_RATE = (
    OutageMode.REFUSE,
    OutageMode.HANG,
    OutageMode.SLOW,
    OutageMode.ERROR_RATE,
)

WORST = [
    SLOW,
    OutageMode.CONNECTION_LIMIT,
    ERROR_RATE,
    OutageMode.READ_ONLY,
    OutageMode.RESET,
    OutageMode.STARTING,
    REFUSE,
    OutageMode.FULL_POOL,
    OutageMode.LOCKED,
    HANG,
]
"""The modes, the worst last."""

PATTERNS: list[OutagePattern] = [
    FixedWindows(windows=((10, 20), (400, 90_000))),
    AlternatingRenewal(up=Exponential(mean_s=300), down=Lognormal(median_s=75, sigma=0.6)),
    AlternatingRenewal(
        up=Weibull(mean_s=300, shape=0.7),
        down=Exponential(mean_s=60),
        modes=(
            ModeShare(mode=REFUSE, share=0.25),
            ModeShare(mode=ERROR_RATE, share=0.75, severity=0.4),
        ),
        stationary=True,
    ),
    Flapping(
        between=Exponential(mean_s=900),
        episode=Exponential(mean_s=300),
        down=Exponential(mean_s=30),
        up=Exponential(mean_s=10),
    ),
    RecordedShape(failover_every_s=900, incident_every_s=9000),
]


def _worst(outages: list[Outage], moment: float) -> tuple[int, float] | None:
    """The definition of merging, one moment at a time."""
    running = [
        (WORST.index(each.mode), each.severity)
        for each in outages
        if each.start_s <= moment < each.end_s
    ]
    return max(running, default=None)


@st.composite
def _outage(draw: st.DrawFn) -> Outage:
    start = draw(st.integers(0, 30))
    end = draw(st.integers(start + 1, 40))
    mode = draw(st.sampled_from(OutageMode))
    severity = draw(st.sampled_from([0.25, 0.5, 1.0])) if mode is ERROR_RATE else 1.0
    return Outage(float(start), float(end), mode, severity)


@given(st.lists(st.lists(_outage(), max_size=6), max_size=3))
def test_the_merged_schedule_is_the_worst_at_every_moment(schedules: list[list[Outage]]) -> None:
    """At and between all boundaries, the merged schedule has the worst of what runs there."""
    merged = list(merge(*schedules))
    everything = [each for one in schedules for each in one]
    for moment in np.arange(0, 41, 0.5).tolist():
        assert _worst(merged, moment) == _worst(everything, moment)


@given(st.lists(_outage(), max_size=12))
def test_a_merged_schedule_is_sorted_disjoint_and_has_no_seams(outages: list[Outage]) -> None:
    """Neighbours never overlap; if they touch, they differ; merging again changes nothing."""
    merged = merge(outages)
    for earlier, later in pairwise(merged):
        assert earlier.end_s <= later.start_s
        if earlier.end_s == later.start_s:
            assert (earlier.mode, earlier.severity) != (later.mode, later.severity)
    assert merge(merged) == merged


def test_hang_beats_refuse_beats_error_rate_beats_slow() -> None:
    """A slow day, with worse and worse within it, comes out as the worst of each hour."""
    merged = merge(
        [Outage(0, 100, SLOW)],
        [Outage(10, 90, ERROR_RATE, 0.3), Outage(20, 80, ERROR_RATE, 0.6)],
        [Outage(30, 70, REFUSE), Outage(40, 60, HANG)],
    )
    assert [(each.start_s, each.mode, each.severity) for each in merged] == [
        (0, SLOW, 1),
        (10, ERROR_RATE, 0.3),
        (20, ERROR_RATE, 0.6),
        (30, REFUSE, 1),
        (40, HANG, 1),
        (60, REFUSE, 1),
        (70, ERROR_RATE, 0.6),
        (80, ERROR_RATE, 0.3),
        (90, SLOW, 1),
    ]


def test_every_mode_has_its_place_among_the_others() -> None:
    """Of each two that overlap, the one that comes later in the list wins."""
    assert set(WORST) == set(OutageMode)
    for better, worse in pairwise(WORST):
        assert merge([Outage(0, 9, better), Outage(0, 9, worse)]) == (Outage(0, 9, worse),)


def test_merging_many_nested_outages_is_not_quadratic() -> None:
    """20,000 outages that all overlap one another are merged by a sweep, into one."""
    nested = [Outage(at, 100_000 - at, REFUSE) for at in range(20_000)]
    assert merge(nested) == (Outage(0, 100_000, REFUSE),)


@pytest.mark.parametrize(
    ("start_s", "end_s", "mode", "severity", "wrong"),
    [
        (-1, 1, REFUSE, 1, "begin at 0 or later"),
        (2, 2, REFUSE, 1, "end after it begins"),
        (0, math.nan, REFUSE, 1, "end after it begins"),
        (0, math.inf, REFUSE, 1, "end after it begins"),
        (0, 1, ERROR_RATE, 0, "severity must be above 0"),
        (0, 1, ERROR_RATE, 1.1, "at most 1"),
        (0, 1, ERROR_RATE, math.nan, "severity must be"),
        (0, 1, REFUSE, 0.5, "severity must be 1 in mode 'refuse'"),
    ],
)
def test_an_impossible_outage_is_refused(
    start_s: float, end_s: float, mode: OutageMode, severity: float, wrong: str
) -> None:
    """The message says which of times, severity and mode do not fit."""
    with pytest.raises(InputError, match=wrong):
        Outage(start_s, end_s, mode, severity)


def test_clipping_ends_the_last_outage_and_drops_later_ones() -> None:
    """An outage that begins at the end of the run is not in it."""
    outages = (Outage(1, 2, REFUSE), Outage(3, 9, HANG), Outage(5, 6, SLOW))
    assert clip(outages, 5) == (Outage(1, 2, REFUSE), Outage(3, 5, HANG))


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda each: type(each).__name__)
def test_every_pattern_draws_a_schedule_within_the_run(pattern: OutagePattern) -> None:
    """Schedules are sorted, disjoint, clipped, not empty, and repeat for the same stream."""
    drawn = pattern.draw(Streams(1).generator("o"), 20_000)
    assert drawn
    assert drawn[0].start_s >= 0
    assert drawn[-1].end_s <= 20_000
    assert all(a.end_s <= b.start_s for a, b in pairwise(drawn))
    assert drawn == pattern.draw(Streams(1).generator("o"), 20_000)


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda each: type(each).__name__)
def test_a_longer_run_only_appends(pattern: OutagePattern) -> None:
    """The schedule of a short run is the beginning of a long run's."""
    short = pattern.draw(Streams(2).generator("o"), 5000)
    long = pattern.draw(Streams(2).generator("o"), 50_000)
    assert clip(long, 5000) == short


def test_other_down_times_leave_the_up_times_alone() -> None:
    """Up times come from a stream of their own, so two designs of failover can be compared."""
    up = Exponential(mean_s=300)
    one = AlternatingRenewal(up=up, down=Deterministic(mean_s=5))
    other = AlternatingRenewal(up=up, down=Lognormal(median_s=75, sigma=0.6))
    gaps = []
    for pattern in (one, other):
        drawn = pattern.draw(Streams(3).generator("o"), 20_000)[:20]
        starts, ends = [each.start_s for each in drawn], [each.end_s for each in drawn]
        gaps.append(np.array(starts) - np.array([0, *ends[:-1]]))
    assert gaps[0] == pytest.approx(gaps[1])


def test_renewal_availability_agrees_with_theory() -> None:
    """Down time in 400 stationary runs is down / (up + down), within 4 standard errors."""
    pattern = AlternatingRenewal(
        up=Weibull(mean_s=500, shape=0.7),
        down=Lognormal(median_s=75, sigma=0.6),
        stationary=True,
    )
    shares = [
        sum(each.duration_s for each in pattern.draw(Streams(4, run).generator("o"), 3000)) / 3000
        for run in range(400)
    ]
    error = np.std(shares) / math.sqrt(len(shares))
    assert abs(np.mean(shares) - (1 - pattern.up_share)) < 4 * error
    assert pattern.up_share == pytest.approx(500 / (500 + 75 * math.exp(0.18)))


def test_a_stationary_run_begins_down_as_often_as_it_is_down() -> None:
    """The share of runs that begin in an outage is 1 - up_share, within 4 standard errors."""
    pattern = AlternatingRenewal(
        up=Exponential(mean_s=200), down=Exponential(mean_s=100), stationary=True
    )
    runs = 1000
    schedules = [pattern.draw(Streams(5, run).generator("o"), 1000) for run in range(runs)]
    begin_down = sum(any(each.start_s == 0 for each in schedule) for schedule in schedules)
    assert abs(begin_down / runs - 1 / 3) < 4 * math.sqrt(2 / 9 / runs)


def test_a_stationary_run_begins_with_what_is_left_of_a_time() -> None:
    """With certain times, the first change is uniform over the time that is running."""
    pattern = AlternatingRenewal(
        up=Deterministic(mean_s=100), down=Deterministic(mean_s=50), stationary=True
    )
    firsts = [pattern.draw(Streams(10, run).generator("o"), 1000)[0] for run in range(600)]
    up_left = [each.start_s for each in firsts if each.start_s > 0]
    down_left = [each.end_s for each in firsts if each.start_s == 0]
    assert np.quantile(up_left, [0.1, 0.5, 0.9]) == pytest.approx([10, 50, 90], abs=10)
    assert np.quantile(down_left, [0.1, 0.5, 0.9]) == pytest.approx([5, 25, 45], abs=7)


def test_a_run_begins_with_a_whole_up_time_by_default() -> None:
    """With certain times the schedule can be told in advance."""
    pattern = AlternatingRenewal(up=Deterministic(mean_s=100), down=Deterministic(mean_s=10))
    drawn = pattern.draw(Streams(6).generator("o"), 225)
    assert drawn == (Outage(100, 110, REFUSE), Outage(210, 220, REFUSE))


def test_outages_max_ends_the_outages() -> None:
    """One long incident is a renewal process that stops after its first outage."""
    pattern = AlternatingRenewal(
        up=Deterministic(mean_s=100), down=Deterministic(mean_s=10), outages_max=1
    )
    assert pattern.draw(Streams(6).generator("o"), 10_000) == (Outage(100, 110, REFUSE),)


def test_modes_come_in_their_shares() -> None:
    """A quarter of 2,000 outages refuses, within 4 standard deviations."""
    pattern = AlternatingRenewal(
        up=Deterministic(mean_s=1),
        down=Deterministic(mean_s=1),
        modes=(ModeShare(mode=REFUSE, share=0.25), ModeShare(mode=HANG, share=0.75)),
    )
    drawn = pattern.draw(Streams(7).generator("o"), 4000)
    refused = sum(each.mode is REFUSE for each in drawn)
    assert abs(refused - len(drawn) / 4) < 4 * math.sqrt(len(drawn) * 3 / 16)


def test_flapping_begins_down_and_stays_within_its_episodes() -> None:
    """With certain times, an episode is cut off where it ends, even in an outage."""
    pattern = Flapping(
        between=Deterministic(mean_s=100),
        episode=Deterministic(mean_s=25),
        down=Deterministic(mean_s=10),
        up=Deterministic(mean_s=5),
    )
    spans = [(each.start_s, each.end_s) for each in pattern.draw(Streams(8).generator("o"), 250)]
    assert spans == [(100, 110), (115, 125), (225, 235), (240, 250)]


def test_a_pattern_with_lost_units_is_refused_instead_of_filling_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A mean of microseconds runs into the bound, whose message names the likely cause."""
    monkeypatch.setattr(outage_patterns, "OUTAGES_MAX", 1000)
    tiny = Deterministic(mean_s=1e-6)
    with pytest.raises(InputError, match="more than 1000 outages: check the units"):
        AlternatingRenewal(up=tiny, down=tiny).draw(Streams(9).generator("o"), 86_400)
    second = Deterministic(mean_s=1)
    flapping = Flapping(between=second, episode=Deterministic(mean_s=500), down=second, up=second)
    with pytest.raises(InputError, match="more than 1000 outages"):
        flapping.draw(Streams(9).generator("o"), 86_400)


@pytest.mark.parametrize("windows", [((5.0, 5.0),), ((-1.0, 5.0),), ((1.0, math.inf),)])
def test_impossible_windows_are_refused(windows: tuple[tuple[float, float], ...]) -> None:
    """The message names the window by its place."""
    with pytest.raises(InputError, match=r"^windows\[0\] must begin"):
        FixedWindows(windows=windows)


def test_shares_that_do_not_add_up_are_refused() -> None:
    """Modes with two halves and a tenth are a mistake, not a ratio."""
    with pytest.raises(InputError, match="^modes must have shares that add up to 1, not to 0.6"):
        AlternatingRenewal(
            up=Exponential(mean_s=1),
            down=Exponential(mean_s=1),
            modes=(ModeShare(mode=REFUSE, share=0.5), ModeShare(mode=HANG, share=0.1)),
        )
