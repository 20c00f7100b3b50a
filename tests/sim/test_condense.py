"""Condensing long healthy stretches, and that no figure is biased by it."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.world.condense import Timeline, condense
from sim.world.durations import Exponential, Floats, Lognormal
from sim.world.errors import InputError
from sim.world.outage_patterns import AlternatingRenewal
from sim.world.outages import Outage, OutageMode, merge
from sim.world.streams import Streams
from sim.world.traffic import Poisson

REFUSE = OutageMode.REFUSE


def _real_s(timeline: Timeline) -> float:
    return math.fsum(each.weight * each.duration_s for each in timeline.segments)


@st.composite
def _case(draw: st.DrawFn) -> tuple[tuple[Outage, ...], float, dict[str, float | None]]:
    """Any schedule, some of it touching or at the ends, with any lengths of lead and tail."""
    cuts = sorted(draw(st.sets(st.integers(0, 400), min_size=2, max_size=16)))
    pairs = zip(cuts[::2], cuts[1::2], strict=False)
    outages = [Outage(start / 4, end / 4, REFUSE) for start, end in pairs]
    if outages and draw(st.booleans()):
        outages.append(Outage(outages[-1].end_s, outages[-1].end_s + 1, OutageMode.HANG))
    duration_s = max(each.end_s for each in outages) + draw(st.integers(0, 200)) / 4
    lengths: dict[str, float | None] = {
        "lead_s": draw(st.sampled_from([0.1, 1.0, 7.5, 500.0])),
        "tail_s": draw(st.sampled_from([0.0, 0.25, 3.0, 500.0])),
        "warmup_s": draw(st.sampled_from([0.0, 10.0])),
        "period_s": draw(st.sampled_from([None, 0.3, 5.0])),
    }
    return tuple(outages), duration_s, lengths


@given(_case())
def test_the_weights_add_up_to_the_real_time(
    case: tuple[tuple[Outage, ...], float, dict[str, float | None]],
) -> None:
    """Conservation: weighted run time is real time, and unweighted run time is the run's."""
    outages, duration_s, lengths = case
    timeline = condense(outages, duration_s, **lengths)  # type: ignore[arg-type]
    assert _real_s(timeline) == pytest.approx(duration_s, rel=1e-12)
    assert sum(each.duration_s for each in timeline.segments) == pytest.approx(timeline.duration_s)
    assert timeline.real_duration_s == duration_s
    assert timeline.duration_s <= duration_s + 1e-9
    assert all(each.weight >= 1 for each in timeline.segments)


@given(_case())
def test_outages_and_what_surrounds_them_are_kept_whole(
    case: tuple[tuple[Outage, ...], float, dict[str, float | None]],
) -> None:
    """Every outage keeps its length, its tail and its lead, counts once, and stays in order."""
    outages, duration_s, lengths = case
    timeline = condense(outages, duration_s, **lengths)  # type: ignore[arg-type]
    assert len(timeline.outages) == len(outages)
    lead_s, tail_s = lengths["lead_s"] or 0.0, lengths["tail_s"] or 0.0
    for real, run in zip(outages, timeline.outages, strict=True):
        assert run.duration_s == pytest.approx(real.duration_s)
        near = np.linspace(
            max(real.start_s - lead_s, 0), min(real.end_s + tail_s, duration_s), 50, endpoint=False
        )
        kept = timeline.to_run(near)
        assert len(kept) == len(near)
        assert kept - run.start_s == pytest.approx(near - real.start_s, abs=1e-9)
        inside = np.linspace(run.start_s + 1e-6, run.end_s + tail_s - 1e-6, 50)
        inside = inside[inside < timeline.duration_s - 1e-6]
        assert timeline.weight_at(inside).tolist() == [1.0] * len(inside)


@given(_case())
def test_run_time_and_real_time_map_to_each_other(
    case: tuple[tuple[Outage, ...], float, dict[str, float | None]],
) -> None:
    """Real moments come back where they are kept; run moments always do; both maps rise."""
    outages, duration_s, lengths = case
    timeline = condense(outages, duration_s, **lengths)  # type: ignore[arg-type]
    run_s = (np.arange(200) + 0.5) / 200 * timeline.duration_s
    real_s = timeline.to_real(run_s)
    assert (np.diff(real_s) > 0).all()
    assert timeline.to_run(real_s) == pytest.approx(run_s)
    moments = (np.arange(300) + 0.5) / 300 * duration_s
    kept = timeline.to_run(moments)
    assert (np.diff(kept) > 0).all()
    assert np.isin(timeline.to_real(kept).round(6), moments.round(6)).all()


def test_a_long_stretch_loses_its_middle() -> None:
    """Of 1,000 s between two outages, the tail of 10 s and the lead of 20 s stay."""
    outages = (Outage(100, 110, REFUSE), Outage(1110, 1120, OutageMode.HANG))
    timeline = condense(outages, 1200, lead_s=20, tail_s=10)
    segments = [
        (each.real_start_s, each.real_end_s, each.run_start_s) for each in timeline.segments
    ]
    assert segments == [
        (0, 10, 0),  # the start settles like a recovery
        (80, 100, 10),
        (100, 120, 30),
        (1090, 1110, 50),
        (1110, 1130, 70),
        (1180, 1200, 90),
    ]
    weight = (90 + 990 + 70) / (3 * 20)
    assert [each.weight for each in timeline.segments] == pytest.approx(
        [1, weight, 1, weight, 1, weight]
    )
    assert timeline.outages == (Outage(30, 40, REFUSE), Outage(70, 80, OutageMode.HANG))
    assert timeline.duration_s == 110
    assert timeline.to_run(np.array([5, 50, 85, 105, 500, 1199, 1200])).tolist() == [5, 15, 35, 109]
    assert timeline.to_real(np.array([110.0, 115])).tolist() == [1200, 1205]
    assert list(timeline.kept_windows()) == [
        (0, 10, 0),
        (80, 120, 10),
        (1090, 1130, 50),
        (1180, 1200, 90),
    ]


def test_a_trace_without_long_gaps_condenses_to_itself() -> None:
    """Nothing is cut, nothing moves, and every weight is exactly 1."""
    outages = merge([Outage(at, at + 5, REFUSE) for at in (0, 30, 60)])
    timeline = condense(outages, 90, lead_s=20, tail_s=20)
    assert timeline == Timeline.whole(outages, 90)
    assert timeline.outages == outages


def test_a_run_without_outages_keeps_a_tail_and_a_lead() -> None:
    """A healthy year is a warm-up and a sample that stands for the rest."""
    timeline = condense((), 1000, lead_s=10, tail_s=5, warmup_s=30)
    assert timeline.duration_s == 40
    assert timeline.weight_at(np.array([0.0, 29, 31])).tolist() == [1, 1, 97]


def test_moments_are_kept_like_outages_of_no_length() -> None:
    """A restart in the middle of a healthy year is not cut out."""
    timeline = condense((), 1000, lead_s=10, tail_s=5, moments_s=[500.0])
    assert timeline.to_run(np.array([500.0])).tolist() == [15]
    assert timeline.weight_at(np.array([15.0, 19])).tolist() == [1, 1]
    assert _real_s(timeline) == pytest.approx(1000)


def test_whole_multiples_of_the_period_are_cut() -> None:
    """A key made every hour is made at the same distance from every outage as without the cut."""
    rng = Streams(1).generator("o")
    pattern = AlternatingRenewal(
        up=Exponential(mean_s=90_000), down=Lognormal(median_s=75, sigma=1)
    )
    outages = pattern.draw(rng, 5_000_000)
    timeline = condense(outages, 5_000_000, lead_s=3600, tail_s=14_400, period_s=3600)
    assert timeline.duration_s < 2_000_000
    for real, run in zip(outages, timeline.outages, strict=True):
        assert math.remainder(real.start_s - run.start_s, 3600) == pytest.approx(0, abs=1e-6)


def test_timelines_are_values() -> None:
    """They compare and travel to worker processes whole."""
    timeline = condense((Outage(50, 60, REFUSE),), 100, lead_s=10, tail_s=5)
    again = pickle.loads(pickle.dumps(timeline))
    assert again == timeline
    assert again.to_run(np.array([50.0])).tolist() == timeline.to_run(np.array([50.0])).tolist()


@pytest.mark.parametrize(
    ("outages", "duration_s", "lengths", "wrong"),
    [
        ((), 0.0, {}, "the duration must be"),
        ((), math.inf, {}, "the duration must be"),
        ((), 10.0, {"lead_s": 0.0}, "lead_s must be a finite time above 0"),
        ((), 10.0, {"tail_s": -1.0}, "tail_s must be"),
        ((), 10.0, {"warmup_s": math.nan}, "warmup_s must be"),
        ((), 10.0, {"period_s": 0.0}, "period_s must be"),
        ((Outage(5, 11, REFUSE),), 10.0, {}, "the last outage ends at 11, after 10"),
        ((Outage(5, 7, REFUSE), Outage(6, 8, REFUSE)), 10.0, {}, "in order and not overlap"),
    ],
)
def test_impossible_lengths_and_schedules_are_refused(
    outages: tuple[Outage, ...], duration_s: float, lengths: dict[str, float], wrong: str
) -> None:
    """The message names the length, or shows the outages that do not fit."""
    with pytest.raises(InputError, match=wrong):
        condense(outages, duration_s, **({"lead_s": 1.0, "tail_s": 1.0} | lengths))


# A toy service with a memory, small enough to be simulated with arrays: a request that reaches the
# primary fills a cache whose entry lives MEMORY_S; in an outage a request is answered if the cache
# is filled. Backoff: the primary refuses for COLD_S after each outage. So an outage depends on the
# traffic before it, and its aftermath goes on after it, as in the real service.
MEMORY_S = 120.0
COLD_S = 60.0


def _down(times_s: Floats, outages: tuple[Outage, ...]) -> np.ndarray:
    edges = np.array([edge for each in outages for edge in (each.start_s, each.end_s + COLD_S)])
    return np.searchsorted(np.maximum.accumulate(edges), times_s, side="right") % 2 == 1


def _toy(timeline: Timeline, times_s: Floats) -> tuple[float, float, float]:
    """Return the availability, the hit share and the requests, weighted by the timeline."""
    down = _down(times_s, timeline.outages)
    latest_fill_s = np.maximum.accumulate(np.where(down, -np.inf, times_s))
    previous_s = np.concatenate(([-np.inf], latest_fill_s[:-1]))
    cached = times_s - previous_s < MEMORY_S
    weights = timeline.weight_at(times_s)
    total = float(weights.sum())
    return (
        float(weights[~down | cached].sum()) / total,
        float(weights[cached].sum()) / total,
        total,
    )


def _toy_differences(tail_s: float) -> np.ndarray:
    """Return condensed minus whole for each figure, one row for each of 150 replications."""
    pattern = AlternatingRenewal(
        up=Exponential(mean_s=20_000), down=Lognormal(median_s=600, sigma=1)
    )
    traffic = Poisson(rate_per_s=1 / 30)
    rows = []
    for replication in range(150):
        streams = Streams(3, replication)
        outages = pattern.draw(streams.generator("outages"), 500_000)
        real_s = traffic.draw(streams.generator("traffic"), 500_000)
        timeline = condense(outages, 500_000, lead_s=1000, tail_s=tail_s, period_s=60)
        whole = _toy(Timeline.whole(outages, 500_000), real_s)
        condensed = _toy(timeline, timeline.to_run(real_s))
        rows.append(np.array(condensed) - np.array(whole))
        assert timeline.duration_s < 250_000
    return np.array(rows)


def _in_standard_errors(differences: np.ndarray) -> Floats:
    error = differences.std(axis=0) / math.sqrt(len(differences))
    return np.abs(np.asarray(differences.mean(axis=0) / error))


def test_condensing_biases_no_figure() -> None:
    """Paired over 150 replications, availability, hit share and request count do not move.

    Each mean difference is below 3.5 of its standard errors, with the tail as long as the memory.
    """
    differences = _toy_differences(tail_s=MEMORY_S + COLD_S)
    assert (_in_standard_errors(differences) < 3.5).all()
    assert abs(differences[:, 0].mean()) < 3e-4


def test_condensing_with_too_short_a_tail_does_bias() -> None:
    """The check above can fail: cut into the aftermath, and the availability moves."""
    assert _in_standard_errors(_toy_differences(tail_s=0.0))[0] > 10
