"""The study of breakers: its theory, and that the simulation agrees with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ftrepo.policy import Policy
from sim.overload import breaker_closes_after_s, wasted_attempts_per_outage
from sim.study.breakers import (
    expected_closing_delay_s,
    expected_wasted_attempts,
    false_trips_per_h,
    open_pace_s,
    outage_lengths_s,
    trips_after_s,
)
from sim.study.results import play
from sim.world.durations import Exponential, Lognormal
from sim.world.outage_patterns import AlternatingRenewal
from sim.world.primary_settings import PrimarySettings
from sim.world.scenario import KeySettings, Scenario
from sim.world.traffic import Poisson

WORLD = Scenario(
    name="breakers",
    duration_s=3600.0,
    warmup_s=60.0,
    condense=False,
    outages=(
        AlternatingRenewal(up=Exponential(mean_s=120.0), down=Lognormal(median_s=60.0, sigma=0.6)),
    ),
    traffic=Poisson(rate_per_s=2.0),
    keys=KeySettings(peers=20, unknown_share=0.0),
)


def test_lengths_have_the_median_and_the_mean_of_a_lognormal() -> None:
    """Drawn evenly by probability, so that a mean over them is one over outages."""
    lengths_s = outage_lengths_s(60.0, 0.6)
    assert np.median(lengths_s) == pytest.approx(60.0, rel=1e-3)
    assert lengths_s.mean() == pytest.approx(60.0 * np.exp(0.18), rel=1e-2)


def test_a_long_outage_costs_a_probe_for_each_open_time() -> None:
    """Five calls trip it; then one each 5 s. Short ones end before the trip and cost less."""
    wasted = expected_wasted_attempts(
        np.array([102.5]), calls_per_s=2.0, trips_after_s=2.5, open_s=5.0
    )
    assert wasted == 5 + 20
    short = expected_wasted_attempts(
        np.array([1.0, 1.0]), calls_per_s=2.0, trips_after_s=2.5, open_s=5.0
    )
    assert short == 2.0


def test_the_return_is_seen_half_an_open_time_late() -> None:
    """In the mean over outages that end anywhere between two probes; never after a short one."""
    anywhere = 100.0 + np.linspace(0, 5, 1000, endpoint=False)
    late_s = expected_closing_delay_s(anywhere, trips_after_s=2.5, open_s=5.0)
    assert late_s == pytest.approx(2.5, abs=0.01)
    assert expected_closing_delay_s(np.array([2.0]), trips_after_s=2.5, open_s=5.0) == 0.0
    assert expected_closing_delay_s(np.array([3.0]), trips_after_s=2.5, open_s=5.0) == 4.5


def test_whichever_rule_trips_first_counts() -> None:
    """Five in a row at 2 a second, or half of a window: less of it where some fail anyway."""
    both = Policy(breaker_failure_rate=0.5, breaker_window_s=10.0)
    assert trips_after_s(both, 2.0) == 2.5
    assert trips_after_s(both, 0.5) == 5.0
    rate_only = replace(both, breaker_failure_threshold=None)
    assert trips_after_s(rate_only, 2.0) == 5.0
    assert trips_after_s(rate_only, 2.0, failing_share=0.2) == pytest.approx(3.75)
    assert open_pace_s(Policy(breaker_open_s=10.0, breaker_open_jitter=0.2)) == 9.0


def test_theory_and_simulation_agree() -> None:
    """Both figures, for short and long open times, within their intervals or a tenth."""
    policies = {f"{open_s:g}": Policy(breaker_open_s=open_s) for open_s in (2.0, 20.0)}
    study = play({"": (WORLD, policies)}, replications=5, workers=1)[""]
    lengths_s = outage_lengths_s(60.0, 0.6)
    for name, policy in policies.items():
        clock = {"trips_after_s": trips_after_s(policy, 2.0), "open_s": open_pace_s(policy)}
        for measure, expected in (
            (
                wasted_attempts_per_outage,
                expected_wasted_attempts(lengths_s, calls_per_s=2.0, **clock),
            ),
            (breaker_closes_after_s, expected_closing_delay_s(lengths_s, **clock)),
        ):
            interval = study.interval(name, measure)
            assert abs(interval.mean - expected) < interval.half_width + 0.1 * expected
            assert interval.half_width < 0.3 * expected


def test_noise_trips_a_breaker_whose_window_holds_few_calls() -> None:
    """With one failure in five and no outage, two seconds are too short and twenty are not."""
    noisy = replace(
        WORLD,
        outages=(),
        duration_s=1800.0,
        traffic=Poisson(rate_per_s=5.0),
        primary=PrimarySettings(failing_share=0.2),
    )
    policies = {
        f"{window_s:g}": Policy(
            breaker_failure_threshold=None, breaker_failure_rate=0.5, breaker_window_s=window_s
        )
        for window_s in (2.0, 20.0)
    }
    study = play({"": (noisy, policies)}, replications=2, workers=1)[""]
    assert min(study.values("2", false_trips_per_h)) > 40
    assert max(study.values("20", false_trips_per_h)) < 10
