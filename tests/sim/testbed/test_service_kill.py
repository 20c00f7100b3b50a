"""kill -9 of the service while PostgreSQL is down, for real and simulated."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ftrepo.policy import Policy
from sim.testbed.binaries import TestbedError
from sim.testbed.cluster import Cluster
from sim.testbed.guardian import runs
from sim.testbed.service_kill import (
    KillOutcome,
    KillSettings,
    kill_in_an_outage,
    must_be_at,
    simulated_losses,
)
from sim.testbed.service_site import CLUSTER_SETTINGS

ROOT = Path(__file__).parents[3]

SHORT = KillSettings(
    rotation_interval_s=1.5, intervals=3, policy=Policy(breaker_open_s=0.5, flush_interval_s=0.25)
)

OUTCOME = KillOutcome(
    journal=False, acknowledged=5, waiting=3, known_again=0, lost=3, simulated_lost=[3, 3]
)


def test_the_simulation_loses_every_key_of_the_outage_or_none() -> None:
    """Without a journal those of the whole intervals, whatever the phase of the rotation."""
    settings = replace(SHORT, intervals=4)
    assert set(simulated_losses(settings, journal=False)) == {4}
    assert set(simulated_losses(settings, journal=True)) == {0}


def test_more_and_fewer_than_simulated_are_both_wrong() -> None:
    """The number is predicted, not bounded; and with a journal it is zero."""
    assert OUTCOME.is_as_predicted
    assert not replace(OUTCOME, lost=2).is_as_predicted
    assert not replace(OUTCOME, lost=4).is_as_predicted
    assert not replace(OUTCOME, simulated_lost=[3, 4]).is_as_predicted
    assert not replace(OUTCOME, journal=True).is_as_predicted


def test_a_machine_that_is_too_late_is_told_so() -> None:
    """A key may have been made meanwhile, and the number would mean nothing."""
    must_be_at(10.5, 10.0, 2.0)
    with pytest.raises(TestbedError, match="1.0 s late"):
        must_be_at(11.0, 10.0, 2.0)


@pytest.mark.postgres
def test_a_journal_saves_what_kill_9_would_lose() -> None:
    """PostgreSQL itself has every acknowledged key in the end; without a journal as simulated."""

    async def killed(*, journal: bool) -> KillOutcome:
        cluster = Cluster(settings=CLUSTER_SETTINGS)
        await asyncio.to_thread(cluster.__enter__)
        try:
            return await kill_in_an_outage(cluster, SHORT, journal=journal)
        finally:
            await asyncio.to_thread(cluster.__exit__, None, None, None)

    async def both() -> tuple[KillOutcome, KillOutcome]:
        with_journal, without = await asyncio.gather(killed(journal=True), killed(journal=False))
        return with_journal, without

    with_journal, without = asyncio.run(both())
    for outcome in (with_journal, without):
        assert outcome.is_as_predicted, outcome
        assert outcome.waiting == SHORT.intervals
        assert outcome.acknowledged > outcome.waiting
    assert (with_journal.lost, with_journal.known_again) == (0, SHORT.intervals)
    assert (without.lost, without.known_again) == (SHORT.intervals, 0)


HOLD_A_SERVICE = """
    import asyncio
    from sim.testbed.cluster import Cluster
    from sim.testbed.guardian import family
    from sim.testbed.service_process import FleetSettings
    from sim.testbed.service_site import service_site

    async def hold(cluster):
        async with service_site(cluster, FleetSettings()) as site:
            service = site.instances[0]
            print(service.home.path, cluster.data.parent, service.pid, cluster.pid, flush=True)
            await asyncio.sleep(60)

    with Cluster() as cluster:
        asyncio.run(hold(cluster))
"""


@pytest.mark.postgres
def test_no_service_is_left_when_the_testbed_ends() -> None:
    """After kill -9 and after Ctrl-C alike its processes and files are gone in seconds."""
    numbers = (signal.SIGKILL, signal.SIGINT)
    testbeds = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(HOLD_A_SERVICE)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for _ in numbers
    ]
    folders: list[Path] = []
    pids: list[int] = []
    for testbed in testbeds:
        assert testbed.stdout is not None
        *paths, service, server = testbed.stdout.readline().split()
        folders += map(Path, paths)
        pids += [int(service), int(server)]
    assert len(folders) == len(pids) == 4
    assert all(map(runs, pids))
    for testbed, number in zip(testbeds, numbers, strict=True):
        with testbed:
            testbed.send_signal(number)
    deadline = time.monotonic() + 10
    while any(each.exists() for each in folders) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(each.exists() for each in folders)
    assert not any(map(runs, pids))
