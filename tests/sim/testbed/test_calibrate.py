"""How fast a real server is, as settings of the simulated one."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from ftrepo.postgres.settings import ConnectionSettings, PoolSettings
from sim.testbed.binaries import TestbedError
from sim.testbed.calibrate import calibrate
from sim.testbed.calibration import Calibration, Latency, fitted
from sim.testbed.cluster import Cluster
from sim.world.durations import LognormalLatency
from sim.world.errors import InputError
from sim.world.primary_settings import PrimarySettings
from sim.world.scenario_file import load_scenario, with_primary

TRUE = LognormalLatency(median_s=0.002, p99_s=0.010)


def calibration(seconds: np.ndarray) -> Calibration:
    """What would be written if every operation took so long."""
    latencies = {
        name: Latency(operation=name, seconds=np.sort(seconds), fit=fitted(seconds))
        for name in ("select", "insert", "delete", "connect")
    }
    return Calibration(
        latencies=latencies,
        server="PostgreSQL 18.0",
        where="made up",
        rate_per_s=200.0,
        measured=datetime(2026, 1, 1, tzinfo=UTC),
        connection=ConnectionSettings(),
        pool=PoolSettings(),
    )


def test_a_lognormal_latency_is_found_again() -> None:
    """By its median and its 99th percentile, with hardly any distance."""
    seconds = TRUE.draw(np.random.default_rng(1), 50_000)
    found = Latency(operation="select", seconds=np.sort(seconds), fit=fitted(seconds))
    assert found.fit.median_s == pytest.approx(TRUE.median_s, rel=0.02)
    assert found.fit.p99_s == pytest.approx(TRUE.p99_s, rel=0.05)
    assert found.distance < 0.01


def test_the_distance_tells_a_bad_fit() -> None:
    """Two kinds of calls, quick and slow, are no lognormal distribution."""
    seconds = np.sort(np.concatenate([np.full(600, 0.001), np.full(400, 0.1)]))
    found = Latency(operation="select", seconds=seconds, fit=fitted(seconds))
    assert found.distance > 0.25


def test_what_is_written_can_be_read_into_a_scenario(tmp_path: Path) -> None:
    """With the driver's time-outs; what is not measured stays the scenario's."""
    measured = calibration(TRUE.draw(np.random.default_rng(1), 1000))
    path = tmp_path / "primary.toml"
    path.write_text(measured.to_toml())
    scenario = with_primary(load_scenario("brownout"), path)
    expected = measured.applied_to(load_scenario("brownout").primary)
    assert scenario.primary.select.mean_s == pytest.approx(expected.select.mean_s, rel=0.02)
    assert scenario.primary.acquire_timeout_s == expected.acquire_timeout_s == 0.4
    assert scenario.primary.slow_factor == load_scenario("brownout").primary.slow_factor
    assert set(tomllib.loads(path.read_text())["primary"]) == {
        *("select", "insert", "delete", "connect"),
        *("acquire_timeout_s", "command_timeout_s", "check_after_idle_s"),
    }


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("duration_s = 3", "a file for a primary has one table, [primary], not duration_s"),
        ("", "one table, [primary], and there is none"),
        ("[primary]\nselekt = 3", "primary.selekt is not a setting, did you mean 'select'?"),
    ],
)
def test_a_file_that_is_no_primary_is_refused(tmp_path: Path, text: str, wrong: str) -> None:
    """By the file's name and the reason."""
    path = tmp_path / "primary.toml"
    path.write_text(text)
    with pytest.raises(InputError) as refused:
        with_primary(load_scenario("default"), path)
    assert str(refused.value).startswith(str(path))
    assert wrong in str(refused.value)


@pytest.mark.postgres
def test_a_real_server_is_measured(cluster: Cluster) -> None:
    """Each operation has latencies between what is possible and what would time out."""
    told: list[tuple[str, float]] = []
    measured = calibrate(
        cluster, calls=100, rate_per_s=400.0, progress=lambda *step: told.append(step)
    )
    assert measured.server.startswith("PostgreSQL 1")
    for name, latency in measured.latencies.items():
        assert isinstance(getattr(measured.applied_to(PrimarySettings()), name), LognormalLatency)
        assert 1e-5 < latency.fit.median_s < latency.fit.p99_s < 0.4
    # Connecting starts a process on the server.
    assert measured.latencies["connect"].fit.median_s > measured.latencies["select"].fit.median_s
    assert told[-1] == ("connect", 1.0)
    assert [name for name, done in told if done == 1.0] == list(measured.latencies)


@pytest.mark.postgres
def test_a_server_that_fails_is_not_measured(own_cluster: Cluster) -> None:
    """Time-outs would pass for latencies otherwise."""

    def freeze(operation: str, share: float) -> None:
        if operation == "insert" and share > 0.5:
            own_cluster.freeze()

    try:
        with pytest.raises(TestbedError, match="calls failed while the server was measured"):
            calibrate(own_cluster, calls=100, rate_per_s=400.0, progress=freeze)
    finally:
        own_cluster.thaw()
