"""What the policy predicts of verifications, and real ones before a server that fails."""

from __future__ import annotations

import asyncio

import pytest

from ftrepo.policy import Policy
from sim.history import GetOutcome
from sim.testbed.cluster import Cluster
from sim.testbed.service_load import LoadSettings
from sim.testbed.service_process import FleetSettings, KeyTimes
from sim.testbed.service_record import VERIFICATIONS, Asked, Noted
from sim.testbed.service_site import CLUSTER_SETTINGS
from sim.testbed.service_verify import (
    Prediction,
    VerifySettings,
    Window,
    measure_verification,
)

OUTAGE = Window(100.0, 120.0)
DURING, AFTER, LATER = 110.0, 122.0, 200.0


def failure(
    at_s: float = DURING,
    *,
    key_id: str = "new",
    asked: Asked = Asked.KEY,
    outcome: GetOutcome = GetOutcome.UNAVAILABLE,
    instance: int = 0,
    latency_s: float = 0.01,
) -> Noted:
    """A request for a key that instance 1 has made."""
    return Noted("", asked, at_s, latency_s, instance, 1, key_id, outcome)


def predicts(noted: Noted, *, instances: int = 2, peers: bool = False) -> bool:
    """Whether a failure is predicted where one key is made in the outage and one long before."""
    fleet = FleetSettings(instances=instances, peers=peers)
    return Prediction(fleet, [OUTAGE], {"new": 105.0, "old": 50.0}).covers(noted)


def test_without_peers_a_key_of_the_outage_is_its_makers_alone() -> None:
    """Until the database is in use again; a key that is not known is one of the outage."""
    assert predicts(failure())
    assert predicts(failure(AFTER))
    assert predicts(failure(key_id="never stored"))
    assert not predicts(failure(LATER))
    assert not predicts(failure(90.0))


@pytest.mark.parametrize(
    "noted",
    [
        failure(key_id="old"),
        failure(instance=1),
        failure(asked=Asked.TOKEN),
        failure(outcome=GetOutcome.WRONG),
    ],
)
def test_nothing_else_is_predicted(noted: Noted) -> None:
    """Not an older key, not one's own, no token that is not issued, and never a wrong key."""
    assert not predicts(noted)


def test_of_one_instance_nothing_is_predicted_to_fail() -> None:
    """It has every key that it signs with."""
    assert not predicts(failure(), instances=1)


def test_with_peers_only_what_they_are_not_asked_for_may_fail() -> None:
    """A call for which the database has used up the time, and those until its maker has flushed."""
    assert not predicts(failure(), peers=True)
    assert predicts(failure(latency_s=0.45), peers=True)
    assert predicts(failure(AFTER), peers=True)
    assert not predicts(failure(LATER, latency_s=0.45), peers=True)


def test_a_long_lived_client_learns_of_a_key_later() -> None:
    """By as long as it may keep its copy of the key set."""
    fleet = FleetSettings(instances=2, peers=False)
    end_s = 120.0 + fleet.policy.breaker_open_s + fleet.policy.flush_interval_s + 2.5
    assert not predicts(failure(end_s + 1.0))
    assert predicts(failure(end_s + 1.0, asked=Asked.CACHED))
    assert not predicts(failure(end_s + fleet.times.lead_s, asked=Asked.CACHED))


SHORT = VerifySettings(
    phase_s=1.5,
    fleet=FleetSettings(
        times=KeyTimes(rotation_interval_s=1.0, token_lifetime_s=3.0, key_lifetime_s=5.5),
        policy=Policy(breaker_open_s=0.5, flush_interval_s=0.25),
    ),
    load=LoadSettings(),
)


@pytest.mark.postgres
def test_no_verification_fails_on_a_single_instance() -> None:
    """PostgreSQL is up, killed, back, hung and back; PyJWT verifies every valid token all along."""
    with Cluster(settings=CLUSTER_SETTINGS) as cluster:
        outcome = asyncio.run(measure_verification(cluster, SHORT))
    # Whoever verifies is never refused; a token may be, while one key takes over from another.
    asked = [row for row in outcome.rows if row.asked is not Asked.TOKEN]
    assert [row for row in asked if row.failed] == [], outcome.failures
    seen = {(row.phase, row.asked) for row in outcome.rows}
    phases = ["up", "killed", "back", "hung", "back again"]
    assert list(dict.fromkeys(row.phase for row in outcome.rows)) == phases
    assert seen >= {(phase, Asked.FRESH) for phase in phases}
    assert sum(row.requests for row in outcome.rows if row.asked in VERIFICATIONS) > 100
    # Several keys are in play, those among them that were made while there was no database.
    assert outcome.keys >= 4
