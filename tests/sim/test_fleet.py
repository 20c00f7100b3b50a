"""A fleet: several instances of the real code on one simulated primary."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from ftrepo.designs import named_policies
from ftrepo.policy import Policy
from sim.history import GetOutcome, History, KeyEnd
from sim.measures import measure
from sim.run import run
from sim.world.condense import Timeline
from sim.world.errors import InputError
from sim.world.outage_patterns import FixedWindows
from sim.world.outages import Outage, OutageMode
from sim.world.primary_settings import PrimarySettings
from sim.world.scenario import KeySettings, Scenario
from sim.world.service import ServiceSettings, StopKind
from sim.world.streams import Streams
from sim.world.traffic import Poisson

NOW_KNOWN = Policy(publish_lead_s=0, sign_when_committed=False, peer_timeout_s=None)
"""A key signs as soon as its maker has it, and nobody else is asked for it."""


def fleet(
    *windows: tuple[float, float],
    instances: int = 4,
    keys: KeySettings | None = None,
    announces: bool = False,
    **service: object,
) -> Scenario:
    """Half an hour of a fleet whose primary is away in these windows."""
    return Scenario(
        name="a fleet",
        duration_s=1800.0,
        warmup_s=60.0,
        condense=False,
        outages=(FixedWindows(windows=windows, mode=OutageMode.REFUSE),) if windows else (),
        traffic=Poisson(rate_per_s=5.0),
        keys=keys
        or KeySettings(
            peers=0,
            rotation_interval_s=300.0,
            lifetime_s=1800.0,
            token_lifetime_s=600.0,
            token_age_mean_s=60.0,
            unknown_share=0.0,
        ),
        primary=PrimarySettings(announces=announces),
        service=ServiceSettings(instances=instances, **service),  # type: ignore[arg-type]
    )


def failed(history: History) -> int:
    """Eligible calls without the right key, the warm-up included."""
    wrong = history.gets.outcome != GetOutcome.RIGHT
    return int(np.count_nonzero(history.gets.eligible & wrong))


def test_a_healthy_fleet_serves_everybody() -> None:
    """Deploys and rotations fail nobody while the primary works."""
    scenario = fleet(deploy_every_s=600.0, deploy_step_s=60.0, start_s=5.0)
    assert failed(run(scenario, Policy(), seed=1).history) == 0


def test_one_instance_hides_what_a_fleet_shows() -> None:
    """A key made in an outage is known to its maker only: a fleet of four fails, one does not."""
    window = (300.0, 900.0)
    alone = run(fleet(window, instances=1), NOW_KNOWN, seed=1).history
    together = run(fleet(window), NOW_KNOWN, seed=1).history
    assert failed(alone) == 0
    assert failed(together) > 100
    lost_s = np.floor(together.gets.at_s[together.gets.outcome != GetOutcome.RIGHT])
    assert lost_s.min() >= window[0]
    assert lost_s.max() <= window[1] + Policy().breaker_open_s * 1.2


def test_waiting_for_the_primary_saves_them() -> None:
    """The older key signs on, so nobody asks for one that only its maker has."""
    waiting = replace(NOW_KNOWN, sign_when_committed=True)
    keys = fleet().keys
    # No key was made just before, and not spread yet.
    long_before = replace(keys, rotation_interval_s=600.0, lifetime_s=3600.0)
    scenario = fleet((300.0, 900.0), keys=long_before)
    assert failed(run(scenario, NOW_KNOWN, seed=1).history) > 50
    assert failed(run(scenario, replace(waiting, publish_lead_s=600), seed=1).history) == 0


def test_a_key_that_nobody_else_has_read_is_lost_to_them() -> None:
    """Committed before the outage, it is in no other memory, unless it was announced."""
    unread = replace(NOW_KNOWN, sign_when_committed=True, refresh_interval_s=None)
    keys = replace(fleet().keys, rotation_interval_s=100.0, lifetime_s=1800.0)
    blind, told = (
        replace(
            fleet((330.0, 900.0), keys=keys, announces=announces), traffic=Poisson(rate_per_s=0.3)
        )
        for announces in (False, True)
    )
    assert failed(run(blind, unread, seed=2).history) > 5
    assert failed(run(told, unread, seed=2).history) == 0


def test_other_instances_have_what_one_lacks() -> None:
    """Keys made in the outage, and the first ones of a deploy in it, are found at their maker."""
    scenario = fleet((300.0, 1500.0), deploy_every_s=900.0, deploy_step_s=60.0, start_s=5.0)
    alone = replace(Policy(), peer_timeout_s=None)
    assert failed(run(scenario, alone, seed=1).history) > 100
    assert failed(run(scenario, Policy(), seed=1).history) <= 5


def test_the_journal_keeps_what_a_deploy_in_an_outage_would_lose() -> None:
    """A key that waits when its instance is replaced is lost from memory, not from the disk."""
    stops = {"deploy_every_s": 900.0, "deploy_step_s": 60.0, "start_s": 5.0}
    windows = ((100.0, 1700.0),)
    plain = run(fleet(*windows, **stops), Policy(), seed=1).history
    kept = run(fleet(*windows, journal=True, **stops), Policy(), seed=1).history
    assert measure(plain)["lost_keys"] > 0
    assert measure(kept)["lost_keys"] == 0
    assert np.count_nonzero(kept.keys.end == KeyEnd.COMMITTED) == len(kept.keys.end)


def test_a_crash_costs_only_the_calls_of_that_instance() -> None:
    """Others go on; keys in memory of the dead instance are gone, and nothing else."""
    scenario = fleet(crash_every_s=300.0, start_s=5.0)
    history = run(scenario, Policy(), seed=3).history
    assert failed(history) == 0
    assert measure(history)["lost_keys"] == 0


def test_keys_are_visible_when_the_primary_can_be_read_again() -> None:
    """Visibility lags behind the acknowledgement by the outage, and is none for one instance."""
    window = (300.0, 900.0)
    lags = measure(run(fleet(window), Policy(), seed=1).history)
    alone = measure(run(fleet(window, instances=1), Policy(), seed=1).history)
    assert 0 < lags["visibility_lag_max_s"] <= 600 + Policy().breaker_open_s * 1.2
    assert lags["visibility_lag_max_s"] >= lags["sync_lag_max_s"]
    assert alone["visibility_lag_max_s"] == 0


def test_a_clock_that_is_off_costs_answers_but_never_gives_a_wrong_one() -> None:
    """One ahead of time refuses keys early; one behind serves them late, within the skew."""
    keys = replace(
        fleet().keys,
        rotation_interval_s=200.0,
        lifetime_s=600.0,
        token_lifetime_s=400.0,
        token_age_mean_s=400.0,
    )
    exact = run(fleet(keys=keys), NOW_KNOWN, seed=1).history
    skewed = run(fleet(keys=keys, clock_skew_max_s=60.0), NOW_KNOWN, seed=1).history
    assert failed(exact) == 0
    assert failed(skewed) > 0
    assert measure(skewed)["wrong_answers"] == 0


def test_the_first_instance_of_a_fleet_meets_the_luck_of_the_only_one() -> None:
    """What is random about it has the same streams, so a fleet differs by its others alone."""
    one, four = (ServiceSettings(instances=n, crash_every_s=100.0) for n in (1, 4))
    timeline = Timeline.whole((), 1000.0)
    assert one.draw_stops(Streams(1), timeline, 0) == four.draw_stops(Streams(1), timeline, 0)
    assert four.draw_stops(Streams(1), timeline, 1) != four.draw_stops(Streams(1), timeline, 0)


def test_a_deploy_replaces_one_instance_after_the_other() -> None:
    """Each instance stops once in each period, a step after the one before it."""
    service = ServiceSettings(instances=3, deploy_every_s=600.0, deploy_step_s=20.0)
    timeline = Timeline.whole((Outage(10.0, 20.0, OutageMode.HANG),), 3000.0)
    times = [
        [stop.at_s for stop in service.draw_stops(Streams(1), timeline, number)]
        for number in range(3)
    ]
    assert all(len(each) == 5 for each in times)
    assert np.allclose(np.diff(times, axis=0), 20.0)
    assert np.allclose(np.diff(times, axis=1), 600.0)
    kinds = {stop.kind for stop in service.draw_stops(Streams(1), timeline, 0)}
    assert kinds == {StopKind.DEPLOY}


@pytest.mark.parametrize("name", ["breaker", "pending-writes", "mark-down"])
def test_the_default_loses_fewer_calls_than_a_candidate(name: str) -> None:
    """On the very same outages, deploys and requests."""
    scenario = fleet((200.0, 500.0), (1000.0, 1300.0), deploy_every_s=900.0, start_s=5.0)
    candidate = run(scenario, named_policies()[name], seed=5).history
    default = run(scenario, Policy(), seed=5).history
    assert failed(default) < failed(candidate)


def test_impossible_fleets_are_refused() -> None:
    """A deploy that never ends, and one that would not keep its phase on a condensed timeline."""
    with pytest.raises(InputError, match="at least instances"):
        ServiceSettings(instances=10, deploy_every_s=100.0, deploy_step_s=60.0)
    with pytest.raises(InputError, match="whole multiple"):
        replace(fleet(deploy_every_s=700.0), condense="auto")
    assert math.isclose(replace(fleet(deploy_every_s=900.0), condense="auto").length_s, 1800.0)


def test_a_task_that_fails_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures of a run in which somebody went missing are worth nothing: there are none."""

    def fail(self: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("sim.instance.Instance._make", fail)
    with pytest.raises(ExceptionGroup) as raised:
        run(fleet(), Policy(), seed=1)
    assert raised.value.subgroup(ZeroDivisionError) is not None


def test_a_caller_that_fails_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that is missing would be missing from its share, too."""

    def fail(self: object, key: object) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr("sim.callers.Callers._is_long_expired", fail)
    with pytest.raises(RuntimeError, match="requests never came to an end|in the run"):
        run(fleet(), Policy(), seed=1)
