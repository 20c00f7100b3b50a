"""What a sweep varies: names, values, and every combination, refused before anything is played."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from ftrepo.designs import named_policies
from ftrepo.errors import PolicyError
from ftrepo.policy import Policy
from sim.study.grid import ALIASES, expand, label, parse_settings
from sim.study.scenario_paths import paths, value_at, with_paths
from sim.world.durations import Exponential
from sim.world.errors import InputError
from sim.world.outage_patterns import AlternatingRenewal, FixedWindows
from tests.sim.sweeps import WORLD

RENEWAL = replace(
    WORLD,
    outages=(
        *WORLD.outages,
        AlternatingRenewal(up=Exponential(mean_s=600.0), down=Exponential(mean_s=30.0)),
    ),
)


def test_values_are_those_of_toml() -> None:
    """With none for None, and bare words as texts."""
    texts = [
        "flush_interval_s=0.5, 1,2",
        "pending_max=none,100",
        'read_policy=cache-first,"primary-first"',
        "service.restarts_s=[],[100.0, 200.0]",
        "breaker=true,false",
    ]
    assert parse_settings(texts) == {
        "flush_interval_s": (0.5, 1, 2),
        "pending_max": (None, 100),
        "read_policy": ("cache-first", "primary-first"),
        "service.restarts_s": ([], [100.0, 200.0]),
        "breaker": (True, False),
    }


@pytest.mark.parametrize(
    ("texts", "complaint"),
    [
        (["flush_interval_s"], "has not the form NAME=VALUE"),
        (["=1"], "has not the form NAME=VALUE"),
        (["flush_interval_s="], "has not the form NAME=VALUE"),
        (["flush_interval_s=1,,2"], "'' is not a value"),
        (["flush_interval_s=1 2"], "'1 2' is not a value"),
        (["flush_interval_s=1", "flush_interval_s=2"], "given twice"),
    ],
)
def test_what_cannot_be_read_is_refused(texts: list[str], complaint: str) -> None:
    """The message shows the text and the form."""
    with pytest.raises(InputError, match=complaint):
        parse_settings(texts)


def test_every_combination_comes_once_and_the_last_name_varies_fastest() -> None:
    """Values are as the policy holds them: a whole number of seconds is a float there."""
    cases = expand(WORLD, Policy(), {"flush_interval_s": [1, 5], "flush_batch_max": [10, 20]})
    assert [case.point for case in cases] == [
        {"flush_interval_s": 1.0, "flush_batch_max": 10},
        {"flush_interval_s": 1.0, "flush_batch_max": 20},
        {"flush_interval_s": 5.0, "flush_batch_max": 10},
        {"flush_interval_s": 5.0, "flush_batch_max": 20},
    ]
    for case in cases:
        assert case.policy == replace(Policy(), **case.point)
        assert case.scenario is cases[0].scenario, "one object, which is sent and drawn once"
        assert case.scenario == WORLD
    assert label(cases[0].point) == "flush_interval_s = 1, flush_batch_max = 10"


def test_an_alias_sets_all_that_it_stands_for() -> None:
    """`operation_timeout_s` is the time-out of insert, select and delete."""
    (case,) = expand(WORLD, Policy(), {"operation_timeout_s": [0.25]})
    assert case.point == {"operation_timeout_s": 0.25}
    found = {name: getattr(case.policy, name) for name in ALIASES["operation_timeout_s"]}
    assert set(found.values()) == {0.25}
    assert case.policy == replace(Policy(), **found)


def test_designs_are_swept_by_their_names() -> None:
    """And other settings are varied on each of them, whatever the order."""
    settings = {"flush_interval_s": [7.0], "policy": ["breaker", "primary-only"]}
    for case in expand(WORLD, Policy(), settings):
        named = named_policies()[case.point["policy"]]
        assert case.policy == replace(named, flush_interval_s=7.0)


def test_every_setting_of_a_policy_is_a_name() -> None:
    """New ones need no word here."""
    for each in fields(Policy):
        (case,) = expand(WORLD, Policy(), {each.name: [getattr(Policy(), each.name)]})
        assert case.policy == Policy()


def test_every_setting_of_a_scenario_is_a_path() -> None:
    """What each holds can be set to itself, and nothing changes."""
    found = paths(RENEWAL)
    assert {"keys.lifetime_s", "outages[1].up.mean_s", "service.journal", "traffic"} <= set(found)
    assert not {"name", "description"} & set(found)
    for path in found:
        held = value_at(RENEWAL, path)
        if not path.startswith("outages["):
            assert with_paths(RENEWAL, {path: held}) == RENEWAL, path


def test_settings_of_the_scenario_are_set_together() -> None:
    """Only the whole must fit: a longer interval needs a longer life, and has it here."""
    settings: dict[str, list[Any]] = {
        "keys.rotation_interval_s": [20, 2000],
        "keys.lifetime_s": [2600],
        "outages[1].down.mean_s": [5, 60],
    }
    cases = expand(RENEWAL, Policy(), settings)
    assert len({id(case.scenario) for case in cases}) == 4
    last = cases[-1].scenario
    assert (last.keys.rotation_interval_s, last.keys.lifetime_s) == (2000.0, 2600.0)
    pattern = last.outages[1]
    assert isinstance(pattern, AlternatingRenewal)
    assert pattern.down.mean_s == 60.0
    assert last.outages[0] == RENEWAL.outages[0]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({}, "needs a setting"),
        ({"flush_interval_s": []}, "no values"),
        ({"flush_intervall_s": [1]}, "did you mean 'flush_interval_s'"),
        ({"service.jurnal": [True]}, "did you mean 'service.journal'"),
        ({"name": ["x"]}, "name is a setting neither"),
        ({"flush_interval_s": [1, 1.0]}, "flush_interval_s = 1 comes twice"),
        ({"operation_timeout_s": [1], "select_timeout_s": [2]}, "both set select_timeout_s"),
        ({"keys.lifetime_s": [2000], "keys": [{}]}, "both set keys"),
        ({"keys.lifetime_s": [1000, 100]}, r"at keys.lifetime_s = 100: keys.lifetime_s must be at"),
        ({"service.journal": [3]}, "service.journal must be true or false"),
        ({"warmup_s": [60, 1e6]}, "warmup_s must be below the duration"),
        ({"outages[0].windows": [[[5.0, 1.0]]]}, r"outages\[0\]"),
    ],
)
def test_an_impossible_scenario_is_refused(settings: dict[str, Any], complaint: str) -> None:
    """By the name of the setting, and with the point where that matters."""
    with pytest.raises(InputError, match=complaint):
        expand(WORLD, Policy(), settings)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"flush_interval_s": [1, 0]}, "at flush_interval_s = 0: .*above 0"),
        ({"policy": ["cautious"]}, "no policy is named 'cautious'"),
        (
            {"breaker_half_open_max_calls": [1, 1000], "calls_in_flight_max": [64]},
            "at breaker_half_open_max_calls = 1000, calls_in_flight_max = 64: .*contradicts",
        ),
    ],
)
def test_an_impossible_policy_is_refused(settings: dict[str, Any], complaint: str) -> None:
    """At which point, and why."""
    with pytest.raises(PolicyError, match=complaint):
        expand(WORLD, Policy(), settings)


def test_an_interval_too_long_for_a_condensed_run_is_refused() -> None:
    """Which a run would only notice once it is its turn."""
    day_s = 86400.0
    long = replace(
        WORLD,
        duration_s=30 * day_s,
        condense=True,
        outages=(FixedWindows(windows=((day_s, day_s + 60.0),)),),
    )
    settings = {"refresh_interval_s": [600.0, 7200.0]}
    with pytest.raises(InputError, match=r"at refresh_interval_s = 7200: .*condense = false"):
        expand(long, Policy(), settings)
    assert len(expand(replace(long, condense=False), Policy(), settings)) == 2


def test_a_longer_run_and_a_larger_fleet_take_longer() -> None:
    """By which the longest are begun first: twice the length is twice the time."""
    cases = expand(WORLD, Policy(), {"duration_s": [900.0, 1800.0]})
    assert cases[1].expected_s == pytest.approx(2 * cases[0].expected_s)
    few, more, most = (
        case.expected_s for case in expand(WORLD, Policy(), {"service.instances": [1, 8, 64]})
    )
    assert few < more < most
    # Each of a fleet has the keys of all in memory.
    assert most - more > 64 / 8 * (more - few)
