from __future__ import annotations

import os
import signal
import site
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import asyncpg
import pytest

from ftrepo.postgres.binaries import OVERRIDE, server_user
from sim.testbed.binaries import TestbedError, server_binaries
from sim.testbed.cluster import Cluster, ExistingServer
from sim.testbed.guardian import family, runs
from sim.testbed.sql import run_sql

pytestmark = pytest.mark.postgres

ROOT = Path(__file__).parents[3]


def test_a_server_takes_connections_and_is_gone_afterwards() -> None:
    """On leaving, a cluster's processes and its files are gone."""
    with Cluster() as cluster:
        assert run_sql(cluster.dsn(), "SELECT 1 AS one")[0]["one"] == 1
        members = family(cluster.pid or 0)
        assert len(members) > 1
    assert not any(runs(member) for member in members)
    assert not cluster.data.exists()
    assert not cluster.log.exists()


def test_the_server_never_runs_as_root(cluster: Cluster) -> None:
    """The server's processes belong to the server's user, who is not root."""
    owner = Path(f"/proc/{cluster.pid}")
    if not owner.exists():
        pytest.skip("this system has no /proc")
    assert owner.stat().st_uid == server_user().uid != 0


def test_a_database_is_empty_and_of_its_own(cluster: Cluster) -> None:
    """Two databases do not see each other's tables, and one that was dropped is not there."""
    first, second = cluster.create_database(), cluster.create_database()
    run_sql(first, "CREATE TABLE keys (id text)")
    with pytest.raises(asyncpg.UndefinedTableError):
        run_sql(second, "SELECT * FROM keys")
    for dsn in (first, second):
        cluster.drop_database(dsn)
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        run_sql(first, "SELECT 1")


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_what_was_committed_survives_a_stop(mode: str, own_cluster: Cluster) -> None:
    """After either kind of stop the server starts again on its port, with what was committed."""
    dsn, port = own_cluster.create_database(), own_cluster.port
    run_sql(dsn, "CREATE TABLE keys (id text)", "INSERT INTO keys VALUES ('a')")
    own_cluster.stop("immediate" if mode == "immediate" else "fast")
    assert own_cluster.pid is None
    with pytest.raises(OSError, match="Connect call failed"):
        run_sql(dsn, "SELECT 1")
    own_cluster.start()
    assert own_cluster.port == port
    assert [row["id"] for row in run_sql(dsn, "SELECT id FROM keys")] == ["a"]


def test_what_was_committed_survives_a_kill(own_cluster: Cluster) -> None:
    """After SIGKILL to every process the server can be started at once, and lost nothing."""
    dsn = own_cluster.create_database()
    run_sql(dsn, "CREATE TABLE keys (id text)", "INSERT INTO keys VALUES ('a')")
    for _ in range(3):
        members = family(own_cluster.pid or 0)
        own_cluster.kill()
        assert not any(runs(member) for member in members)
        own_cluster.start()
    assert [row["id"] for row in run_sql(dsn, "SELECT id FROM keys")] == ["a"]


def states_of(cluster: Cluster) -> set[str]:
    """The letters for what the server's processes are at."""
    return {
        Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        for pid in family(cluster.pid or 0)
    }


def test_a_frozen_server_answers_again_once_thawed(own_cluster: Cluster) -> None:
    """A frozen server has all its processes and answers nobody; thawed it goes on."""
    own_cluster.freeze()
    if Path("/proc/self/stat").exists():
        # A process that is at work in the kernel stops when it is done with that.
        deadline = time.monotonic() + 10.0
        while (states := states_of(own_cluster)) != {"T"} and time.monotonic() < deadline:
            time.sleep(0.01)
        assert states == {"T"}
        assert len(family(own_cluster.pid or 0)) > 1
    own_cluster.thaw()
    run_sql(own_cluster.dsn(), "SELECT 1")


def test_a_frozen_server_can_be_stopped() -> None:
    """A cluster is left in an orderly way also while it is frozen."""
    with Cluster() as cluster:
        cluster.freeze()
    assert cluster.pid is None


def test_a_port_that_is_taken_is_given_up(own_cluster: Cluster) -> None:
    """A cluster whose port is taken takes another one, and never the other's server for its own."""
    with Cluster() as other:
        other.stop()
        taken, other.port = other.port, own_cluster.port
        with pytest.raises(TestbedError, match="could not bind"):
            other.start()
        other.port = taken
        other.start()


def test_a_server_that_cannot_start_says_why() -> None:
    """The error has the end of the server's log."""
    with (
        pytest.raises(TestbedError, match='invalid value for parameter "max_connections"'),
        Cluster(settings={"max_connections": "none"}),
    ):
        pass


def test_settings_reach_the_server() -> None:
    """A setting holds for the cluster, and one given to `start` for that start."""
    with Cluster(settings={"max_connections": "17"}) as cluster:
        assert run_sql(cluster.dsn(), "SHOW max_connections")[0][0] == "17"
        cluster.stop()
        cluster.start({"max_connections": "18"})
        assert run_sql(cluster.dsn(), "SHOW max_connections")[0][0] == "18"
        # Durability is what is tested here, so it is not traded for speed.
        assert run_sql(cluster.dsn(), "SHOW fsync")[0][0] == "on"


def test_somebody_elses_server_gives_databases(cluster: Cluster) -> None:
    """An existing server is used by its address, options of the address included."""
    existing = ExistingServer(f"{cluster.dsn()}?application_name=tests")
    dsn = existing.create_database()
    assert dsn.endswith("?application_name=tests")
    assert run_sql(dsn, "SHOW application_name")[0][0] == "tests"
    existing.drop_database(dsn)
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        run_sql(dsn, "SELECT 1")


def test_programs_that_are_not_there_are_the_testbeds_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whoever uses the testbed has one error to know, which says the same."""
    monkeypatch.setenv(OVERRIDE, str(tmp_path))
    with pytest.raises(TestbedError, match="there is no initdb and postgres in it"):
        server_binaries()


HOLD_A_SERVER = """
    import sys, time
    from sim.testbed.cluster import Cluster
    from sim.testbed.guardian import family
    with Cluster() as cluster:
        if "frozen" in sys.argv:
            cluster.freeze()
        print(cluster.data.parent, *family(cluster.pid), flush=True)
        time.sleep(60)
"""


@pytest.mark.parametrize("state", ["running", "frozen"])
def test_nothing_is_left_after_kill_9(state: str) -> None:
    """When the testbed itself is killed with -9, its servers and files are gone in seconds."""
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLD_A_SERVER), state],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as testbed:
        assert testbed.stdout is not None
        folder, *members = testbed.stdout.readline().split()
        assert Path(folder).exists()
        assert len(members) > 1
        testbed.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while Path(folder).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(folder).exists()
    assert not any(runs(int(member)) for member in members)


USE_A_SERVER = """
    import os
    from sim.testbed.cluster import Cluster
    from sim.testbed.sql import run_sql
    assert os.geteuid() != 0
    with Cluster() as cluster:
        print(run_sql(cluster.dsn(), "SELECT 40 + 2 AS sum")[0]["sum"])
"""


def interpreter_for(user: dict[str, object]) -> str | None:
    """Return a Python of this version that the user can start: ours may lie in a private home."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/{name}", f"/usr/local/bin/{name}"):
        try:
            subprocess.run([python, "-c", ""], check=True, **user)  # type: ignore[call-overload]
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    return None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_it_works_for_an_ordinary_user_too() -> None:
    """An ordinary user runs the server as oneself."""
    user = server_user().popen_options()
    python = interpreter_for(user)
    if python is None:
        pytest.skip("no Python of this version that an ordinary user can start")
    path = os.pathsep.join([str(ROOT), *site.getsitepackages()])
    done = subprocess.run(
        [python, "-c", textwrap.dedent(USE_A_SERVER)],
        env={"PYTHONPATH": path, "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        cwd="/",
        check=False,
        capture_output=True,
        text=True,
        **user,  # type: ignore[call-overload]
    )
    assert (done.stdout, done.stderr) == ("42\n", "")
