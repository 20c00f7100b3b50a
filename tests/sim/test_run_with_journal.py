"""What a journal changes in a run: the keys of an instance that is killed in an outage."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ftrepo.designs import named_policies
from ftrepo.policy import Policy
from sim.history import CreateOutcome, KeyEnd
from sim.run import Result, run
from sim.world import load_scenario


def restarted(*, journal: bool, policy: Policy | None = None) -> Result:
    """The run in which an instance is killed five minutes before the end of an outage."""
    scenario = load_scenario("restart-during-outage")
    service = replace(scenario.service, journal=journal)
    return run(replace(scenario, service=service), policy or Policy())


def test_a_journal_keeps_what_a_restart_in_an_outage_loses() -> None:
    """Without one the key that was made in the outage is lost, with one none is."""
    lost = {
        journal: int(np.sum(restarted(journal=journal).history.keys.end == KeyEnd.LOST))
        for journal in (False, True)
    }
    assert lost == {False: 1, True: 0}


def test_creates_in_the_outage_are_acknowledged_as_journalled() -> None:
    """Each as the primary or the disk has it, and none as memory alone."""
    outcomes = set(restarted(journal=True).history.creates.outcome.tolist())
    assert outcomes == {CreateOutcome.PRIMARY, CreateOutcome.JOURNAL}


def test_a_policy_without_pending_writes_has_no_use_for_the_disk() -> None:
    """Policies can be compared in one scenario, also one that could not have a journal."""
    policy = named_policies()["primary-only"]
    with_disk, without = (
        restarted(journal=journal, policy=policy).history for journal in (True, False)
    )
    assert with_disk.creates.outcome.tolist() == without.creates.outcome.tolist()


@pytest.mark.parametrize("journal", [False, True])
def test_the_same_seed_gives_the_same_run(journal: bool) -> None:
    """The disk brings no randomness of its own."""
    first, second = (restarted(journal=journal).history for _ in range(2))
    assert first.attempts_s.tobytes() == second.attempts_s.tobytes()
