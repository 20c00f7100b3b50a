"""A design review: which design is taken, when that is certain, and what may change it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from sim.causes import FailureCause
from sim.study.designs import (
    contenders,
    failed_by_cause,
    survives,
    trades,
    variations,
    verdict,
)
from sim.world import AlternatingRenewal, Constant, Exponential, RecordedTrace, Stretched
from sim.world.outage_patterns import FixedWindows
from sim.world.outages import Outage, OutageMode
from sim.world.recorded_shape import RecordedShape
from sim.world.streams import Streams
from tests.sim.designs_by_hand import SCENARIO, by_hand

WORSE = [0.020, 0.022, 0.019, 0.021, 0.020, 0.023, 0.018, 0.021]
GOOD = [0.0011, 0.0012, 0.0010, 0.0011, 0.0013, 0.0009, 0.0010, 0.0012]
UNSURE = [0.0012, 0.0010, 0.0011, 0.0010, 0.0014, 0.0010, 0.0009, 0.0013]


def test_the_preferred_design_is_recommended_unless_another_is_clearly_better() -> None:
    """A mean that may be better by chance does not overrule it."""
    found = verdict(by_hand({"plain": WORSE, "other": UNSURE, "default": GOOD}))
    assert found.recommended == "default"
    assert not found.clear
    assert found.not_told_apart == ("other",)
    assert found.against("plain").verdict == "lower"


def test_a_verdict_is_clear_if_every_other_is_clearly_worse() -> None:
    """Then, and only then, nothing is left that it could not be told from."""
    found = verdict(by_hand({"plain": WORSE, "default": GOOD}))
    assert found.clear
    assert found.not_told_apart == ()


def test_a_clearly_better_design_overrules_the_preferred_one() -> None:
    """It is then held against the others with a correction for all pairs."""
    study = by_hand({"plain": WORSE, "other": GOOD, "default": [x + 0.01 for x in GOOD]})
    found = verdict(study)
    assert found.recommended == "other"
    assert found.preferred == "default"
    pairs = study.comparisons("availability", "other", chosen_after=True)
    assert found.comparisons == tuple(pairs)


def test_one_replication_is_never_clear() -> None:
    """Without an interval nothing is told apart."""
    assert not verdict(by_hand({"plain": [0.5], "default": [0.0]})).clear


def test_trades_know_which_way_is_better() -> None:
    """More availability is better, and less of anything else; what may be chance is neither."""
    study = by_hand(
        {"plain": WORSE, "default": GOOD},
        lost_keys={"plain": 3.0, "default": 0.0},
        cache_entries_max={"plain": 5.0, "default": 9.0},
        sync_lag_p99_s={"plain": math.nan, "default": 4.0},
    )
    found = {each.measure: each.better for each in trades(study, "plain", "default")}
    assert found["availability"] is False
    assert found["lost_keys"] is False
    assert found["cache_entries_max"] is True
    assert found["visibility_lag_p99_s"] is None
    assert "sync_lag_p99_s" not in found
    lost = next(each for each in trades(study, "plain", "default") if each.measure == "lost_keys")
    assert (lost.mine, lost.theirs, lost.difference.mean) == (3.0, 0.0, 3.0)


def test_causes_are_figures_of_the_study() -> None:
    """Each cause has its mean share and its interval."""
    found = failed_by_cause(by_hand({"default": GOOD}), "default")
    assert list(found) == list(FailureCause)
    assert found[FailureCause.NOT_FLUSHED].mean == pytest.approx(sum(GOOD) / len(GOOD))


def test_the_closest_designs_are_varied() -> None:
    """The recommended one comes first, then those with the fewest failures."""
    study = by_hand({"worst": [0.5] * 3, "plain": WORSE[:3], "default": GOOD[:3], "a": UNSURE[:3]})
    assert contenders(study, "default") == ["default", "a", "plain"]


def test_variations_change_one_assumption_each() -> None:
    """Every variation differs from the scenario in one setting, and from every other."""
    varied = variations(SCENARIO)
    assert list(varied) == [
        "outages half as long",
        "outages twice as long",
        "outages that hang",
        "half the traffic",
        "twice the traffic",
        "tokens a third as old",
        "tokens three times as old",
        "keys valid twice as long",
        "one instance",
        "8 instances",
    ]
    base = SCENARIO.as_dict()
    for words, scenario in varied.items():
        changed = [name for name, value in scenario.as_dict().items() if value != base[name]]
        assert len(changed) == 1, words


def test_what_cannot_be_varied_is_left_out() -> None:
    """A world without outages has none to stretch, and one instance is not varied to one."""
    service = replace(SCENARIO.service, instances=1)
    alone = replace(SCENARIO, outages=(), traffic=Constant(rate_per_s=1.0), service=service)
    assert "outages twice as long" not in variations(alone)
    assert "one instance" not in variations(alone)
    assert "2 instances" in variations(alone)


def test_what_contradicts_another_setting_is_left_out() -> None:
    """A fleet that is only just replaced in time cannot be twice as large; the rest is played."""
    service = replace(SCENARIO.service, instances=4, deploy_every_s=5 * 3600, deploy_step_s=3600.0)
    found = variations(replace(SCENARIO, service=service, condense=False))
    assert "8 instances" not in found
    assert "one instance" in found


@pytest.mark.parametrize(
    "pattern",
    [
        FixedWindows(windows=((10.0, 20.0),)),
        RecordedTrace(outages=(Outage(10.0, 20.0, OutageMode.REFUSE),), duration_s=7200.0),
        Stretched(pattern=FixedWindows(windows=((10.0, 20.0),)), factor=2.0),
        RecordedShape(failover_every_s=600.0, incident_every_s=3600.0),
        AlternatingRenewal(up=Exponential(mean_s=600.0), down=Exponential(mean_s=60.0)),
    ],
    ids=lambda pattern: pattern.kind,
)
def test_outages_of_every_pattern_hang(pattern: Any) -> None:
    """At the same moments; one in which only a part of the calls fails stays as it was."""
    scenario = replace(SCENARIO, outages=(pattern,), duration_s=20_000.0)
    found = variations(scenario)["outages that hang"]
    drawn, hanging = (each.draw_outages(Streams(1)) for each in (scenario, found))
    expected = [
        replace(each, mode=OutageMode.HANG) if each.mode is OutageMode.REFUSE else each
        for each in drawn
    ]
    assert list(hanging) == expected != list(drawn)
    assert "outages that hang" not in variations(found)


def test_a_stretched_trace_keeps_the_length_of_its_run() -> None:
    """A recorded trace gives a run its length, and a longer outage must not change that."""
    outage = Outage(100.0, 200.0, OutageMode.REFUSE)
    trace = RecordedTrace(outages=(outage,), duration_s=7200.0)
    scenario = SCENARIO.with_trace(trace)
    longer = variations(scenario)["outages twice as long"]
    assert longer.length_s == scenario.length_s
    again = variations(longer)["outages twice as long"]
    assert [each.factor for each in again.outages if isinstance(each, Stretched)] == [4.0]


def test_a_recommendation_survives_where_nothing_is_clearly_better() -> None:
    """In each variation the design that was recommended is the preferred one."""
    base = verdict(by_hand({"plain": WORSE, "default": GOOD}))
    varied = {
        "calmer": by_hand({"plain": GOOD, "default": UNSURE}),
        "other way round": by_hand({"plain": GOOD, "default": WORSE}),
    }
    found = survives(base, varied)
    assert found["calmer"].recommended == "default"
    assert found["other way round"].recommended == "plain"
