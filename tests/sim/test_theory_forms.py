"""The closed forms by themselves: published values, limits, and numbers drawn by the million."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from ftrepo.policy import Policy
from sim.study.theory import (
    KeyUse,
    availability_alternating,
    cached_keys,
    cached_keys_in_outage,
    grace_s,
    lag_quantile_s,
    lost_primary_only_s,
    lost_unannounced_s,
    lost_with_pending_writes_s,
    lost_without_pending_writes_s,
    mean_lag_s,
    mean_residual_s,
    outage_lengths_s,
    pending_keys,
    probe_times_s,
    recently_made_share,
    recovery_calls,
    residual_share,
    share_committed,
    unknown_share,
    unlearned_share,
    wasted_attempts,
)
from sim.world.durations import AnyDuration, Deterministic, Exponential, Lognormal, Weibull
from sim.world.issuers import Demand
from sim.world.scenario import KeySettings

FLEET = KeyUse(
    instances=4, rotation_interval_s=3600.0, token_age_mean_s=300.0, token_lifetime_s=3600.0
)
HOUR = np.array([3600.0])


@pytest.mark.parametrize(
    "duration",
    [
        Deterministic(mean_s=90.0),
        Exponential(mean_s=90.0),
        Weibull(mean_s=90.0, shape=0.7),
        Lognormal(median_s=75.0, sigma=0.6),
    ],
)
def test_lengths_stand_for_their_distribution(duration: AnyDuration) -> None:
    """Their mean is the distribution's, and what is left of one is what `draw_residual` draws."""
    lengths_s = outage_lengths_s(duration)
    assert lengths_s.mean() == pytest.approx(duration.mean_s, rel=2e-3)
    drawn_s = duration.draw_residual(np.random.default_rng(1), 200_000)
    assert mean_residual_s(lengths_s) == pytest.approx(drawn_s.mean(), rel=0.02)
    within_s = np.array([10.0, 60.0, 300.0])
    seen = [(drawn_s <= limit_s).mean() for limit_s in within_s]
    assert residual_share(lengths_s, within_s) == pytest.approx(seen, abs=0.005)


def test_what_is_left_of_an_outage_has_its_textbook_mean() -> None:
    """E[D²]/2E[D]: half of a fixed length, all of an exponential one."""
    assert mean_residual_s(outage_lengths_s(Deterministic(mean_s=90.0))) == pytest.approx(45.0)
    exponential_s = outage_lengths_s(Exponential(mean_s=90.0))
    assert mean_residual_s(exponential_s) == pytest.approx(90.0, rel=1e-3)


def test_a_share_of_an_outage_lost_is_that_share_of_the_down_time() -> None:
    """MTTF/(MTTF + MTTR), and more where less is lost."""
    assert availability_alternating(3600.0, 90.0) == pytest.approx(3600 / 3690)
    assert availability_alternating(3600.0, 90.0, lost_s=0.0) == 1.0


def test_callers_outwait_the_end_of_a_hanging_outage() -> None:
    """E[(D - d)⁺] of an exponential is e^(-d/E[D]) of its mean: it has no memory."""
    lengths_s = outage_lengths_s(Exponential(mean_s=10.0))
    assert lost_primary_only_s(lengths_s) == pytest.approx(10.0, rel=1e-3)
    assert lost_primary_only_s(lengths_s, hangs_deadline_s=1.0) == pytest.approx(
        10 * math.exp(-0.1), rel=1e-3
    )


def test_how_recently_a_key_was_made_is_what_the_scenarios_draws_say() -> None:
    """A uniform phase and an age from the truncated distribution that verifiers draw from."""
    rng = np.random.default_rng(3)
    ages_s = Demand.draw(KeySettings(), rng, 400_000).token_age_s
    drawn_s = ages_s + rng.random(400_000) * FLEET.rotation_interval_s
    elapsed_s = np.array([-5.0, 60.0, 600.0, 3600.0, 7200.0])
    seen = [(drawn_s < moment_s).mean() for moment_s in elapsed_s]
    assert recently_made_share(FLEET, elapsed_s) == pytest.approx(seen, abs=0.002)


def test_a_short_outage_costs_by_its_square() -> None:
    """Few tokens have been signed with a new key by then: P ≈ x²/2Rτ while x is small."""
    brief_s = np.array([1.0, 2.0])
    one, two = unknown_share(FLEET, brief_s)
    assert two / one == pytest.approx(4.0, rel=0.01)
    assert one == pytest.approx(0.75 / (2 * 3600 * 300), rel=0.01)


def test_a_lead_moves_the_loss_by_its_length() -> None:
    """A key published ten minutes ahead is unknown ten minutes later."""
    ahead = replace(FLEET, grace_s=600.0)
    assert unknown_share(ahead, HOUR) == pytest.approx(unknown_share(FLEET, HOUR - 600.0))
    assert unknown_share(ahead, np.array([600.0])) == 0.0


def test_another_attempt_may_meet_the_keys_maker() -> None:
    """Two attempts miss it with the square of the probability of one."""
    once, twice = (unknown_share(FLEET, HOUR, attempts=each)[0] for each in (1, 2))
    assert twice / once == pytest.approx(0.75)


def test_alone_an_instance_knows_every_key() -> None:
    """Whatever the design, for all keys are its own."""
    alone = replace(FLEET, instances=1)
    lengths_s = outage_lengths_s(Exponential(mean_s=600.0))
    assert lost_with_pending_writes_s(alone, lengths_s, longest_wait_s=5.0) == 0.0
    assert lost_without_pending_writes_s(alone, lengths_s, mean_wait_s=15.0) == 0.0


def test_without_pending_writes_a_fleet_gains_only_its_own_share() -> None:
    """Three calls in four meet another instance than the key's maker."""
    lengths_s = outage_lengths_s(Deterministic(mean_s=100.0))
    assert lost_without_pending_writes_s(FLEET, lengths_s) == pytest.approx(75.0)
    assert lost_without_pending_writes_s(FLEET, lengths_s, mean_wait_s=20.0) == pytest.approx(90.0)


def test_the_loss_with_pending_writes_is_the_area_under_its_share() -> None:
    """By Simpson's rule on the share itself, and two thirds of a wait at the end."""
    down_s = 900.0
    grid_s = np.linspace(0, down_s, 10_001)
    area_s = float(np.trapezoid(unknown_share(FLEET, grid_s), grid_s))
    lost_s = lost_with_pending_writes_s(
        FLEET, outage_lengths_s(Deterministic(mean_s=down_s)), longest_wait_s=6.0
    )
    end = float(unknown_share(FLEET, np.array([down_s]))[0])
    assert lost_s == pytest.approx(area_s + 4.0 * end, rel=1e-4)


def test_the_grace_of_a_new_key_is_what_its_rotation_waits() -> None:
    """The lead, cut to what the lifetime leaves; all that it leaves if the commit is awaited."""
    rules = {"rotation_interval_s": 3600.0, "lifetime_s": 10800.0, "token_lifetime_s": 3600.0}
    assert grace_s(publish_lead_s=0.0, sign_when_committed=False, **rules) == 0.0
    assert grace_s(publish_lead_s=600.0, sign_when_committed=False, **rules) == 600.0
    assert grace_s(publish_lead_s=9000.0, sign_when_committed=False, **rules) == 3600.0
    assert grace_s(publish_lead_s=0.0, sign_when_committed=True, **rules) == 3600.0


def test_what_is_read_or_refreshed_at_once_is_as_good_as_announced() -> None:
    """Then only keys made in the outage are unknown; and without either, all new ones are."""
    elapsed_s = np.array([60.0, 600.0, 3600.0])
    read = unlearned_share(FLEET, elapsed_s, refresh_interval_s=None, reads_per_s=1e9)
    refreshed = unlearned_share(FLEET, elapsed_s, refresh_interval_s=1e-3, reads_per_s=0.0)
    announced = unknown_share(FLEET, elapsed_s)
    assert read == pytest.approx(announced, rel=0.05)
    assert refreshed == pytest.approx(announced, rel=0.05)
    neither = unlearned_share(FLEET, elapsed_s, refresh_interval_s=None, reads_per_s=0.0)
    assert neither == pytest.approx([0.75] * 3)


def test_rarely_refreshed_keys_are_lost_more_often() -> None:
    """And with frequent outages a little less, for each recovery refreshes."""
    lengths_s = outage_lengths_s(Deterministic(mean_s=60.0), count=100)
    often, seldom, recovering = (
        lost_unannounced_s(
            FLEET,
            lengths_s,
            refresh_interval_s=interval_s,
            reads_per_s=0.001,
            mean_wait_s=2.5,
            mean_up_s=mean_up_s,
        )
        for interval_s, mean_up_s in ((30.0, math.inf), (900.0, math.inf), (900.0, 900.0))
    )
    assert often < recovering < seldom


def test_the_lag_is_an_outages_rest_and_a_wait() -> None:
    """Of a fixed length: half of it, half of the wait; all keys are there after both."""
    lengths_s = outage_lengths_s(Deterministic(mean_s=60.0))
    assert mean_lag_s(lengths_s, longest_wait_s=5.0, flush_s=0.1) == pytest.approx(32.6)
    shares = share_committed(np.array([0.0, 32.5, 65.0]), lengths_s, longest_wait_s=5.0)
    assert shares == pytest.approx([0.0, 0.5, 1.0], abs=1e-6)
    assert lag_quantile_s(0.5, lengths_s, longest_wait_s=5.0) == pytest.approx(32.5, abs=1e-3)


def test_the_quantile_inverts_the_share() -> None:
    """For failovers with their long tail, too."""
    lengths_s = outage_lengths_s(Lognormal(median_s=75.0, sigma=0.6))
    for share in (0.01, 0.5, 0.99):
        lag_s = lag_quantile_s(share, lengths_s, longest_wait_s=5.0)
        reached = share_committed(np.array([lag_s]), lengths_s, longest_wait_s=5.0)
        assert reached == pytest.approx(share, abs=1e-4)


def test_deploys_add_a_key_for_each_start() -> None:
    """Four instances, hourly keys that live three hours: 12; a deploy every six hours: 2 more."""
    hourly = {"issuers": 4, "rotation_interval_s": 3600.0, "lifetime_s": 10800.0}
    assert cached_keys(**hourly) == pytest.approx(12.0)
    assert cached_keys(**hourly, starts_per_s=4 / 21600) == pytest.approx(14.0)


def test_the_backlog_grows_until_its_keys_expire() -> None:
    """And memory shrinks, except for an instance's own keys."""
    hourly = {"issuers": 4, "rotation_interval_s": 3600.0, "lifetime_s": 10800.0}
    elapsed_s = np.array([0.0, 3600.0, 10800.0, 20000.0])
    assert pending_keys(elapsed_s, **hourly) == pytest.approx([0.0, 4.0, 12.0, 12.0])
    entries = cached_keys_in_outage(elapsed_s[:3], **hourly)
    assert entries == pytest.approx([12.0, 9.0, 3.0])
    alone = cached_keys_in_outage(elapsed_s[:3] + 900.0, **(hourly | {"issuers": 1}))
    assert alone[:2] == pytest.approx([3.0, 3.0])


def test_probes_follow_the_breakers_waits() -> None:
    """Equal ones, doubled ones up to the longest, and less half of the jitter."""
    even = Policy(breaker_open_s=10.0, breaker_open_jitter=0.2)
    assert probe_times_s(even, 30.0) == pytest.approx([9.0, 18.0, 27.0])
    doubled = replace(
        even, breaker_open_jitter=0.0, breaker_open_factor=2.0, breaker_open_max_s=15.0
    )
    assert probe_times_s(doubled, 60.0) == pytest.approx([10.0, 25.0, 40.0, 55.0])
    assert probe_times_s(doubled, 26.0, probe_s=0.5) == pytest.approx([10.0, 25.5])


def test_a_breaker_wastes_its_threshold_and_its_probes() -> None:
    """On each instance; without one all that is called is wasted."""
    policy = Policy(breaker_open_s=10.0, breaker_open_jitter=0.0)
    lengths_s = np.full(10, 1004.9)
    # Called so often that it trips at once.
    one = wasted_attempts(lengths_s, policy, calls_per_s=1e4)
    assert one == pytest.approx(5 + 100)
    assert wasted_attempts(lengths_s, policy, calls_per_s=4e4, instances=4) == pytest.approx(
        4 * one
    )
    unbroken = replace(policy, breaker=False)
    assert wasted_attempts(lengths_s, unbroken, calls_per_s=2.0) == pytest.approx(2009.8)
    rate_only = replace(policy, breaker_failure_threshold=None, breaker_failure_rate=0.5)
    with pytest.raises(ValueError, match="no closed form"):
        wasted_attempts(lengths_s, rate_only, calls_per_s=2.0)


def test_a_burst_is_what_each_instance_does_once_and_its_callers() -> None:
    """Two probes, a flush, two pages twice, a clean-up; and callers but for half an open time."""
    policy = Policy(breaker_open_s=10.0, breaker_open_jitter=0.0, load_page_max=100)
    calls = recovery_calls(
        policy, instances=3, calls_per_s=2.0, pending_share=1.0, cached_keys=150.0
    )
    assert calls == pytest.approx(3 * (2 + 1 + 2 * 2 + 1) + 2.0 * 55)
