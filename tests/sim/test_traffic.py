"""Arrival patterns."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

from sim.world.access_log import RecordedArrivals
from sim.world.condense import condense
from sim.world.errors import InputError
from sim.world.outages import Outage, OutageMode
from sim.world.streams import Streams
from sim.world.traffic import ArrivalPattern, Bursts, Constant, DailyCycle, Poisson

LOG = np.sort(Streams(0).generator("log").integers(0, 5000, 800)).astype(float)

PATTERNS: list[ArrivalPattern] = [
    Constant(rate_per_s=3),
    Poisson(rate_per_s=3),
    DailyCycle(peak_per_s=4, trough_per_s=2, peak_hour=0.5, period_s=3600),
    Bursts(rate_per_s=1, burst_rate_per_s=10, burst_every_s=500, burst_duration_s=100),
    RecordedArrivals(times_s=LOG, speed_up=5),
]

each_pattern = pytest.mark.parametrize("pattern", PATTERNS, ids=lambda each: type(each).__name__)


def _assert_poisson_count(count: float, expected: float) -> None:
    assert abs(count - expected) < 4 * math.sqrt(expected)


@each_pattern
def test_arrivals_are_sorted_within_the_run_and_repeat(pattern: ArrivalPattern) -> None:
    """The same stream gives the same times, in order, from 0 up to the end."""
    times = pattern.draw(Streams(1).generator("t"), 7200)
    assert len(times) > 1000
    assert (np.diff(times) >= 0).all()
    assert times[0] >= 0
    assert times[-1] < 7200
    assert times.tolist() == pattern.draw(Streams(1).generator("t"), 7200).tolist()


@each_pattern
def test_a_longer_run_only_appends_arrivals(pattern: ArrivalPattern) -> None:
    """The arrivals of a short run begin those of a long one."""
    short = pattern.draw(Streams(2).generator("t"), 3600)
    long = pattern.draw(Streams(2).generator("t"), 360_000)
    assert long[: len(short)] == pytest.approx(short)
    assert long[len(short)] >= 3600


@each_pattern
def test_the_mean_rate_is_what_is_drawn(pattern: ArrivalPattern) -> None:
    """Over 100 replications, the mean count is within 4 standard errors of rate times duration."""
    counts = [len(pattern.draw(Streams(3, run).generator("t"), 7200)) for run in range(100)]
    error = float(np.std(counts)) / math.sqrt(len(counts))
    assert abs(float(np.mean(counts)) - pattern.mean_rate_per_s * 7200) <= 4 * error + 1


def test_constant_arrivals_are_evenly_spaced() -> None:
    """The first comes after half a space, so that a run of whole spaces has whole counts."""
    assert Constant(rate_per_s=0.5).draw(Streams(1).generator("t"), 8).tolist() == [1, 3, 5, 7]


def test_poisson_counts_and_gaps_are_those_of_a_poisson_process() -> None:
    """Counts of windows have a variance equal to their mean; gaps are exponential."""
    times = Poisson(rate_per_s=5).draw(Streams(4).generator("t"), 40_000)
    _assert_poisson_count(len(times), 200_000)
    counts = np.histogram(times, bins=10_000, range=(0, 40_000))[0]
    assert counts.var() / counts.mean() == pytest.approx(1, abs=4 * math.sqrt(2 / 10_000))
    shares = np.array([0.1, 0.5, 0.9, 0.99])
    gaps = np.quantile(np.diff(times), shares)
    assert gaps == pytest.approx(-np.log(1 - shares) / 5, rel=0.03)


def test_a_daily_cycle_has_its_peak_and_trough_where_it_says() -> None:
    """The hours around 14:00 and 02:00 have the counts that the cosine gives, in real time."""
    pattern = DailyCycle(peak_per_s=4, trough_per_s=1)
    days = 5
    times = pattern.draw(Streams(5).generator("t"), days * 86_400)
    hours = np.histogram(times % 86_400 / 3600, bins=24, range=(0, 24))[0]
    assert 13 <= int(np.argmax(hours)) <= 14
    assert 1 <= int(np.argmin(hours)) <= 2
    for hour, count in enumerate(hours):
        seconds = np.arange(hour * 3600, (hour + 1) * 3600, 10.0)
        _assert_poisson_count(count, float(pattern.rate_at(seconds).mean()) * 3600 * days)


def test_bursts_have_two_rates() -> None:
    """Windows are either quiet or busy, and the variance is far above a Poisson process's."""
    pattern = Bursts(rate_per_s=1, burst_rate_per_s=20, burst_every_s=2000, burst_duration_s=500)
    times = pattern.draw(Streams(6).generator("t"), 1_000_000)
    counts = np.histogram(times, bins=20_000, range=(0, 1_000_000))[0] / 50
    assert np.median(counts[counts < 5]) == pytest.approx(1, abs=0.05)
    assert np.median(counts[counts > 15]) == pytest.approx(20, rel=0.02)
    assert (counts > 10).mean() == pytest.approx(pattern.burst_share, abs=0.04)
    assert counts.var() * 50 > 10 * counts.mean()


def test_no_traffic_between_bursts_is_possible() -> None:
    """With rate 0 between bursts, all arrivals lie in a few bursts."""
    pattern = Bursts(rate_per_s=0, burst_rate_per_s=50, burst_every_s=1000, burst_duration_s=10)
    times = pattern.draw(Streams(7).generator("t"), 100_000)
    busy_s = (np.histogram(times, bins=100_000, range=(0, 100_000))[0] > 0).sum()
    assert 0 < busy_s < 3000
    assert len(times) > 10_000


def test_a_run_begins_in_a_burst_as_often_as_there_is_one() -> None:
    """The share of runs with traffic in the first second is the share of bursts (4 deviations)."""
    pattern = Bursts(rate_per_s=0, burst_rate_per_s=50, burst_every_s=2000, burst_duration_s=1000)
    runs = 400
    busy = sum(len(pattern.draw(Streams(15, run).generator("t"), 1)) > 0 for run in range(runs))
    assert abs(busy / runs - 1 / 3) < 4 * math.sqrt(2 / 9 / runs)


def test_a_recording_is_repeated_end_to_end() -> None:
    """Without jitter, every cycle has the recorded gaps, whatever the offset."""
    pattern = RecordedArrivals(times_s=np.array([100.0, 101, 103, 110]), resolution_s=2)
    assert pattern.cycle_s == 12
    exact = RecordedArrivals(times_s=np.array([0.0, 1, 3, 12]), resolution_s=0)
    times = exact.draw(Streams(8).generator("t"), 240)
    gaps = np.diff(times)
    assert len(times) == 80
    assert sorted(gaps[:4].round(9).tolist()) == [0, 1, 2, 9]
    assert gaps[4:8] == pytest.approx(gaps[:4])


def test_speeding_up_divides_the_gaps_and_multiplies_the_rate() -> None:
    """Ten times the speed gives ten times the requests in the same time."""
    slow = RecordedArrivals(times_s=LOG, resolution_s=0)
    fast = RecordedArrivals(times_s=LOG, resolution_s=0, speed_up=10)
    assert fast.mean_rate_per_s == pytest.approx(10 * slow.mean_rate_per_s)
    fast_times = fast.draw(Streams(9).generator("t"), 1000)
    slow_times = slow.draw(Streams(9).generator("t"), 10_000)
    assert fast_times * 10 == pytest.approx(slow_times)


def test_stamps_are_spread_over_their_second() -> None:
    """Thousands of requests in one stamped second become even over it, not one burst."""
    pattern = RecordedArrivals(times_s=np.zeros(5000))
    times = pattern.draw(Streams(10).generator("t"), 1)
    assert abs(len(times) - 5000) < 4 * math.sqrt(2500)
    assert np.quantile(times, [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9], abs=0.03)
    assert len(np.unique(times)) == len(times)


def test_each_replication_begins_elsewhere_in_the_recording() -> None:
    """The offset is random over the whole cycle, so the first gap differs."""
    pattern = RecordedArrivals(times_s=LOG, resolution_s=0)
    gaps = {
        float(np.diff(pattern.draw(Streams(11, run).generator("t"), 500))[0]) for run in range(20)
    }
    assert len(gaps) > 5


def test_recorded_arrivals_are_kept_sorted_from_zero_and_read_only() -> None:
    """The pattern is a value: equal by content, pickled whole, and not to be written to."""
    pattern = RecordedArrivals(times_s=np.array([30.0, 10, 20]), file="x.log")
    assert pattern.times_s.tolist() == [0, 10, 20]
    assert pickle.loads(pickle.dumps(pattern)) == pattern
    assert hash(pickle.loads(pickle.dumps(pattern))) == hash(pattern)
    assert pattern != RecordedArrivals(times_s=np.array([30.0, 10, 21]), file="x.log")
    with pytest.raises(ValueError, match="read-only"):
        pattern.times_s[0] = 1


@each_pattern
def test_arrivals_on_a_condensed_timeline_have_the_rate_of_what_is_kept(
    pattern: ArrivalPattern,
) -> None:
    """Kept time has as many arrivals as it would have had; the cut time has none."""
    outages = (Outage(50_000, 51_000, OutageMode.REFUSE),)
    timeline = condense(outages, 100_000, lead_s=3600, tail_s=1800, period_s=3600)
    assert timeline.duration_s < 20_000
    counts = []
    for run in range(50):
        times = pattern.draw_on(Streams(12, run).generator("t"), timeline)
        assert (np.diff(times) >= 0).all()
        assert times[-1] < timeline.duration_s
        counts.append(len(times))
    expected = pattern.mean_rate_per_s * timeline.duration_s
    error = float(np.std(counts)) / math.sqrt(len(counts))
    assert abs(float(np.mean(counts)) - expected) <= 4 * error + 0.02 * expected


def test_a_daily_cycle_keeps_its_hours_across_a_cut() -> None:
    """On a condensed timeline the rate follows the real time of day."""
    pattern = DailyCycle(peak_per_s=1, trough_per_s=0, peak_hour=12)
    outages = (Outage(10.5 * 86_400, 10.5 * 86_400 + 60, OutageMode.REFUSE),)
    timeline = condense(outages, 20 * 86_400, lead_s=3600, tail_s=3600)
    times = pattern.draw_on(Streams(13).generator("t"), timeline)
    at_noon = timeline.to_real(times) % 86_400 / 3600
    real_days = timeline.to_real(times) // 86_400
    around = at_noon[real_days == 10]
    assert len(around) == pytest.approx(7200 * 0.98, rel=0.05)
    assert around.min() > 10.9
    assert around.max() < 13.1


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (lambda: Poisson(rate_per_s=0), "rate_per_s must be above 0"),
        (lambda: Constant(rate_per_s=math.nan), "rate_per_s must be a finite number"),
        (lambda: DailyCycle(peak_per_s=1, trough_per_s=2), "trough_per_s must be at most peak"),
        (
            lambda: Bursts(rate_per_s=2, burst_rate_per_s=1, burst_every_s=1, burst_duration_s=1),
            "rate_per_s must be at most burst_rate",
        ),
        (lambda: RecordedArrivals(times_s=np.zeros(0)), "times_s must have one time or more"),
        (lambda: RecordedArrivals(times_s=np.array([math.nan])), "times_s must have"),
        (lambda: RecordedArrivals(times_s=np.zeros(2), resolution_s=0), "resolution_s must be"),
        (lambda: RecordedArrivals(times_s=LOG, speed_up=0), "speed_up must be above 0"),
    ],
)
def test_impossible_traffic_is_refused_by_name(make: object, wrong: str) -> None:
    """The message names the setting."""
    assert callable(make)
    with pytest.raises(InputError, match=wrong):
        make()


def test_more_traffic_than_fits_in_memory_is_refused() -> None:
    """A rate in wrong units ends in a sentence, not in swapping."""
    with pytest.raises(InputError, match="lower its rate or the duration"):
        Poisson(rate_per_s=1e6).draw(Streams(14).generator("t"), 86_400)
    with pytest.raises(InputError, match="lower its rate or the duration"):
        RecordedArrivals(times_s=LOG, speed_up=1e6).draw(Streams(14).generator("t"), 86_400)
