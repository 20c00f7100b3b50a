"""A sweep on a real Dask cluster of processes, of which some are killed in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from distributed import LocalCluster

from ftrepo.policy import Policy
from sim.study.cluster import Cluster, ClusterError
from sim.study.parallel import spread
from sim.study.run_store import RunStore
from sim.study.sweep import OtherCodeError, plan_sweep, sweep
from tests.sim.sweeps import GRID, WORLD

ALONE = """
import sys, time
from distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(
        n_workers=int(sys.argv[1]), threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


@pytest.fixture(scope="module")
def local() -> Iterator[LocalCluster]:
    """Two workers, processes of their own on this machine, that are replaced when they die."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        yield cluster


@contextmanager
def apart(tmp_path: Path, workers: int) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A cluster whose scheduler is not in this process either: its address, and its process."""
    program = tmp_path / "cluster.py"
    program.write_text(ALONE)
    with subprocess.Popen(
        [sys.executable, str(program), str(workers)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(each for each in sys.path if each)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as running:
        assert running.stdout is not None
        try:
            yield running.stdout.readline().strip(), running
        finally:
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)


def nap(number: int) -> int:
    """Take long enough for somebody to be killed."""
    time.sleep(0.2)
    return number


def add(values: list[int], number: int) -> int:
    """Use a shared value."""
    time.sleep(0.2)
    return sum(values) + number


def test_the_result_is_the_same_to_the_bit_though_a_worker_is_killed(local: LocalCluster) -> None:
    """With SIGKILL, while it is at work; another one does again what it did."""
    alone = sweep(WORLD, Policy(), GRID, replications=6, workers=1)
    killed = []

    def kill(done: int, total: int) -> None:
        if done == 4:
            worker = next(iter(local.workers.values()))
            killed.append(worker.process.pid)
            os.kill(worker.process.pid, signal.SIGKILL)

    with Cluster(local.scheduler_address) as cluster:
        shared = sweep(WORLD, Policy(), GRID, replications=6, executor=cluster, progress=kill)
    assert killed
    assert repr(shared.runs) == repr(alone.runs)


def test_a_shared_value_outlives_the_worker_that_had_it(local: LocalCluster) -> None:
    """It is made again, and every result comes once."""
    with Cluster(local.scheduler_address) as cluster:
        value = cluster.share([1, 2, 3])
        seen = []
        for number, result in cluster.finished(add, [(value, number) for number in range(16)]):
            seen.append((number, result))
            if len(seen) == 2:
                for worker in local.workers.values():
                    os.kill(worker.process.pid, signal.SIGKILL)
    assert sorted(seen) == [(number, 6 + number) for number in range(16)]


def test_an_error_of_a_job_is_raised_here(local: LocalCluster) -> None:
    """As from a process of this machine, and the cluster can be used again."""
    with Cluster(local.scheduler_address) as cluster:
        with pytest.raises(ZeroDivisionError):
            spread(divmod, [(1, 1), (1, 0), (1, 1)], executor=cluster)
        assert spread(nap, [(1,), (2,)], executor=cluster) == [1, 2]


def test_workers_with_other_code_are_refused(local: LocalCluster, tmp_path: Path) -> None:
    """Before they have played anything that could be stored."""
    store = RunStore(tmp_path, code="another")
    plan = plan_sweep(WORLD, Policy(), GRID, store=store)
    with (
        Cluster(local.scheduler_address) as cluster,
        pytest.raises(OtherCodeError, match="has other code of ftrepo and sim"),
    ):
        plan.play(cluster, store=store)
    assert len(store) == 0


def test_a_cluster_that_is_lost_ends_in_a_clear_error_and_keeps_what_it_did(
    tmp_path: Path,
) -> None:
    """The scheduler and every worker are killed at once."""
    store = RunStore(tmp_path / "runs")
    with apart(tmp_path, workers=1) as (address, running):

        def kill(done: int, total: int) -> None:
            if done == 2:
                os.killpg(running.pid, signal.SIGKILL)

        with (
            pytest.raises(ClusterError, match="connection to the Dask scheduler at .* was lost"),
            Cluster(address, connect_s=20.0) as cluster,
        ):
            sweep(WORLD, Policy(), GRID, store=store, executor=cluster, progress=kill)
    assert 2 <= len(store) < 16


def test_a_cluster_without_workers_ends_in_a_clear_error(tmp_path: Path) -> None:
    """After the time that is allowed, and with what to do."""
    with (
        apart(tmp_path, workers=0) as (address, _),
        pytest.raises(ClusterError, match=r"had no workers for 0\.2 s; start one: dask worker tcp"),
        Cluster(address, connect_s=20.0, no_workers_s=0.2),
    ):
        pass


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense://127.0.0.1:9"])
def test_an_address_where_nobody_answers_is_named(address: str) -> None:
    """With the form that an address has."""
    with (
        pytest.raises(ClusterError, match=f"no Dask scheduler answers at {address}"),
        Cluster(address, connect_s=0.5),
    ):
        pass


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is imported when a cluster is asked for, and not before."""
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ClusterError, match="install the extra cluster"), Cluster("tcp://x:1"):
        pass
