"""A schedule of outages, acted out on a real server in real time."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from ftrepo.policy import Policy
from sim.history import CreateOutcome, GetOutcome, KeyEnd
from sim.measures import measure
from sim.testbed.acting import LATENESS_S_MAX, Acted, needs_line
from sim.testbed.cluster import Cluster, ExistingServer
from sim.testbed.proxy import Loss
from sim.testbed.replay import CLUSTER_SETTINGS, replay, run_real
from sim.testbed.slowness import Slowness
from sim.testbed.sql import run_sql
from sim.testbed.validate import as_acted
from sim.world.durations import Deterministic
from sim.world.errors import InputError
from sim.world.outage_patterns import FixedWindows
from sim.world.outages import Outage, OutageMode
from sim.world.primary_settings import PrimarySettings
from sim.world.scenario import KeySettings, Scenario
from sim.world.streams import Streams
from sim.world.traffic import Poisson

OWN_ONLY = {OutageMode.READ_ONLY, OutageMode.STARTING, OutageMode.CONNECTION_LIMIT}

LENGTH_S, PAUSE_S = 0.7, 0.8

QUICK = Policy(breaker_open_s=0.2, flush_interval_s=0.2, refresh_interval_s=0.5)


def scenario(*modes: OutageMode) -> Scenario:
    """One short outage of each mode after another, under dense traffic."""
    starts_s = [0.5 + at * (LENGTH_S + PAUSE_S) for at in range(len(modes))]
    return Scenario(
        name="every mode",
        duration_s=starts_s[-1] + LENGTH_S + PAUSE_S,
        condense=False,
        traffic=Poisson(rate_per_s=40.0),
        outages=tuple(
            FixedWindows(
                windows=((start_s, start_s + LENGTH_S),),
                mode=mode,
                severity=0.5 if mode is OutageMode.ERROR_RATE else 1.0,
            )
            for start_s, mode in zip(starts_s, modes, strict=True)
        ),
        keys=KeySettings(
            rotation_interval_s=0.5, lifetime_s=120.0, token_lifetime_s=60.0, token_age_mean_s=2.0
        ),
        primary=PrimarySettings(
            select=Deterministic(mean_s=0.0005), connect=Deterministic(mean_s=0.005)
        ),
    )


@pytest.mark.parametrize("mode", OutageMode)
def test_what_would_break_somebodys_server_is_refused(mode: OutageMode) -> None:
    """By name, before anything starts; everything can be acted on a server of one's own."""
    outages = [Outage(1.0, 2.0, mode)]
    assert needs_line(outages, own_server=True) == (
        mode in (OutageMode.SLOW, OutageMode.ERROR_RATE, OutageMode.RESET)
    )
    if mode in OWN_ONLY:
        with pytest.raises(InputError, match=f"'{mode.value}' would break a server"):
            needs_line(outages, own_server=False)
    else:
        unspoilt = (OutageMode.LOCKED, OutageMode.FULL_POOL)
        assert needs_line(outages, own_server=False) == (mode not in unspoilt)


def prepare(name: bytes, text: bytes) -> bytes:
    """What a driver sends to prepare a statement."""
    return b"P....%b\0%b\0..." % (name, text)


def test_a_slow_line_delays_a_request_by_what_a_slow_server_would_add() -> None:
    """Each operation by its own latency, wherever it was prepared; all else by nothing."""
    latencies = {"select": 0.002, "insert": 0.003, "delete": 0.004, "connect": 0.005}
    settings = PrimarySettings(
        slow_factor=11.0,
        **{name: Deterministic(mean_s=mean_s) for name, mean_s in latencies.items()},
    )
    slowness = Slowness(settings, np.random.default_rng(1))
    slowness.note(prepare(b"s1", b"\n  INSERT INTO public_keys"))
    slowness.note(prepare(b"s2", b"SELECT id FROM public_keys"))
    assert slowness.delay_s(prepare(b"s4", b"SELECT")) == 0.0
    slowness.note(prepare(b"s3", b"WITH freed AS (DELETE FROM public_keys"))
    expected = {
        b"B....\0s1\0..": 0.03,
        b"B....\0s2\0..": 0.02,
        b"B....\0s3\0..": 0.04,
        b"B....\0another\0..": 0.02,
        b"Q....SELECT 1": 0.02,
        b"\0\0\0\x08": 0.05,
        b"X....": 0.0,
    }
    for piece, delay_s in expected.items():
        assert slowness.delay_s(piece) == pytest.approx(delay_s)


def test_a_failing_line_loses_requests_and_nothing_else() -> None:
    """The share that the severity says, and of those a share after the server has had them."""
    settings = PrimarySettings(lost_reply_share=0.25)
    loses = Slowness(settings, np.random.default_rng(1)).loses(0.4)
    losses = [loses(b"B...") for _ in range(4000)]
    assert losses.count(Loss.NONE) / 4000 == pytest.approx(0.6, abs=0.03)
    assert losses.count(Loss.REPLY) / 4000 == pytest.approx(0.1, abs=0.02)
    assert {loses(b"P...") for _ in range(100)} == {Loss.NONE}


@pytest.mark.postgres
def test_every_mode_is_acted_on_a_server_of_ones_own() -> None:
    """In its time, with callers failing in it and none lost; afterwards everything agrees."""
    modes = list(OutageMode)
    with Cluster(settings=CLUSTER_SETTINGS) as cluster:
        played = replay(scenario(*modes), QUICK, server=cluster, seed=3)
    assert [each.planned.mode for each in played.acted] == modes
    # A busy machine takes longer to start a server, and the next outage is late then.
    assert max(each.lateness_s for each in played.acted) <= 10 * LATENESS_S_MAX
    history = played.result.history
    figures = measure(history)
    assert figures["lost_keys"] == figures["wrong_answers"] == 0
    assert figures["create_availability"] == 1
    assert set(history.keys.end) == {KeyEnd.COMMITTED}
    # The server's clock is read as the run's: what it confirmed at once it stored within the call.
    at_once = history.creates.outcome == CreateOutcome.PRIMARY
    began_s, acknowledged_s = history.creates.at_s[at_once], history.keys.acknowledged_s[at_once]
    stored_s = history.keys.settled_s[at_once]
    assert (stored_s > began_s - 0.05).all()
    assert (stored_s < acknowledged_s + 0.05).all()


@pytest.mark.postgres
@pytest.mark.parametrize(
    "mode", [OutageMode.REFUSE, OutageMode.HANG, OutageMode.RESET, OutageMode.LOCKED]
)
def test_somebodys_server_is_left_as_it_was(mode: OutageMode, cluster: Cluster) -> None:
    """The line fails in its place, and the database that was made is gone in the end."""
    names = _databases(cluster)
    played = replay(scenario(mode), QUICK, server=ExistingServer(cluster.dsn()), seed=3)
    (acted,) = played.acted
    creates = played.result.history.creates
    during = (creates.at_s > acted.began_s + 0.05) & (creates.at_s < acted.ended_s - 0.05)
    assert during.any()
    # What was made shortly before the end may have waited for it.
    missed = (creates.outcome != CreateOutcome.PRIMARY) | (creates.latency_s > 0.05)
    assert missed[during].all()
    assert not np.isin(played.result.history.gets.outcome, [GetOutcome.WRONG]).any()
    assert _databases(cluster) == names


def test_an_outage_is_simulated_as_it_was_acted() -> None:
    """From its plan's beginning to the moment at which the server was back."""
    planned = Outage(8.0, 20.0, OutageMode.STARTING)
    acted = Acted(planned=planned, began_s=8.1, ended_s=20.6)
    assert acted.lateness_s == pytest.approx(0.6)
    long = replace(scenario(OutageMode.STARTING), duration_s=30.0)
    (outage,) = as_acted(long, [acted], paired=True).draw_outages(Streams(1))
    assert outage == replace(planned, end_s=20.6)


@pytest.mark.postgres
def test_lateness_is_told(own_cluster: Cluster) -> None:
    """A server that takes longer to stop than the outage was to last is not passed off as it."""
    blink = FixedWindows(windows=((0.5, 0.6),), mode=OutageMode.REFUSE)
    stop = own_cluster.stop

    def stop_slowly(mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        time.sleep(2 * LATENESS_S_MAX)
        stop(mode)

    own_cluster.stop = stop_slowly  # type: ignore[method-assign]
    played = replay(
        replace(scenario(OutageMode.REFUSE), outages=(blink,)), QUICK, server=own_cluster
    )
    own_cluster.stop = stop  # type: ignore[method-assign]
    assert played.acted[0].lateness_s > LATENESS_S_MAX


def test_a_real_run_may_begin_where_a_loop_runs_already() -> None:
    """As in a notebook's cell: it gets a thread of its own, and errors come back."""

    async def answer() -> int:
        return 42

    async def fail() -> int:
        raise LookupError("nowhere")

    async def cell() -> None:
        assert run_real(answer()) == 42
        with pytest.raises(LookupError, match="nowhere"):
            run_real(fail())

    assert run_real(answer()) == 42
    asyncio.run(cell())


def _databases(cluster: Cluster) -> set[str]:
    return {row["datname"] for row in run_sql(cluster.dsn(), "SELECT datname FROM pg_database")}
