"""Jobs in parallel processes: in order, and gone at once when one fails or the user has enough."""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sim.study.parallel import Processes, ThisProcess, WorkersLostError, spread

PROGRAM = """
import os, sys, time
from sim.study.parallel import spread

def sleep(number):
    os.write(1, b"working\\n")  # In one piece: `print` writes the end of the line apart.
    time.sleep(600)

if __name__ == "__main__":
    try:
        spread(sleep, [(number,) for number in range(8)], workers=2)
    except KeyboardInterrupt:
        sys.exit(130)
"""


def _begun(folder: Path) -> subprocess.Popen[bytes]:
    """The program, as soon as both of its workers have begun."""
    program = folder / "program.py"
    program.write_text(PROGRAM)
    path = os.pathsep.join(each for each in sys.path if each)
    running = subprocess.Popen(
        [sys.executable, str(program)],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert running.stdout is not None
    assert [running.stdout.readline() for _ in range(2)] == [b"working\n"] * 2
    return running


@pytest.mark.parametrize("workers", [1, 2])
def test_results_are_in_the_order_of_the_jobs(workers: int) -> None:
    """And progress runs from none to all, however many do the work."""
    seen: list[tuple[int, int]] = []
    jobs = [(2, number) for number in range(5)]
    assert spread(pow, jobs, workers=workers, progress=lambda *at: seen.append(at)) == [
        1,
        2,
        4,
        8,
        16,
    ]
    assert seen == [(number, 5) for number in range(6)]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_job_is_raised_and_nobody_is_left(workers: int) -> None:
    """The other jobs are ended, not waited for."""
    with pytest.raises(ZeroDivisionError):
        spread(divmod, [(1, 1), (1, 0), (1, 1)], workers=workers)
    for child in multiprocessing.active_children():
        child.join(timeout=10)
    assert multiprocessing.active_children() == []


def test_workers_end_with_whom_they_work_for(tmp_path: Path) -> None:
    """Also if that is ended by kill -9, and can tell nobody."""
    running = _begun(tmp_path)
    assert running.stdout is not None
    running.kill()
    # The end of their output: as long as a worker lives, it holds it open.
    ended, _, _ = select.select([running.stdout], [], [], 30.0)
    assert ended
    assert running.stdout.read() == b""
    running.communicate()


def test_ctrl_c_ends_everything_at_once(tmp_path: Path) -> None:
    """A terminal sends it to every process; only the first one answers, and nobody prints."""
    running = _begun(tmp_path)
    os.killpg(running.pid, signal.SIGINT)
    _, errors = running.communicate(timeout=30)
    assert running.returncode == 130
    assert b"Traceback" not in errors


def die_once(folder: str, number: int) -> int:
    """Return the number; but the first time that it is 2, end this process as kill -9 would."""
    marker = Path(folder, "dead")
    if number == 2 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die(number: int) -> int:
    """Always end this process as kill -9 would."""
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def whose(_: int) -> int:
    """Say which process this is."""
    return os.getpid()


def test_a_killed_worker_is_replaced(tmp_path: Path) -> None:
    """What it did, and what was waiting, is done by others; every result comes once."""
    jobs = [(str(tmp_path), number) for number in range(6)]
    with Processes(2) as processes:
        found = list(processes.finished(die_once, jobs))
    assert sorted(found) == [(number, number) for number in range(6)]
    assert (tmp_path / "dead").exists()


def test_workers_that_are_killed_again_and_again_are_given_up() -> None:
    """With an error that says how much was not done."""
    with Processes(1) as processes, pytest.raises(WorkersLostError, match="2 of 2 jobs"):
        list(processes.finished(die, [(1,), (2,)]))


def test_processes_are_kept_for_the_next_jobs() -> None:
    """To start one takes longer than many a run."""
    with Processes(1) as processes:
        first, second = (spread(whose, [(0,), (1,)], executor=processes) for _ in range(2))
    assert len({*first, *second}) == 1
    assert os.getpid() not in first


def test_a_caller_who_stops_early_leaves_nobody_behind() -> None:
    """Closing the results ends what is still at work."""
    others = multiprocessing.active_children()  # Of earlier tests, in their own time.
    with Processes(1) as processes:
        results = processes.finished(whose, [(number,) for number in range(50)])
        next(results)
        results.close()  # type: ignore[attr-defined]
        ours = [each for each in multiprocessing.active_children() if each not in others]
        for child in ours:
            child.join(timeout=60)
        assert not any(child.is_alive() for child in ours)
        assert len(spread(whose, [(0,)], executor=processes)) == 1, "and it can go on"


@pytest.mark.parametrize("executor", [ThisProcess(), Processes(1)])
def test_a_shared_value_reaches_the_function_as_it_is(executor: ThisProcess | Processes) -> None:
    """However it got there; and the same one is written only once."""
    with executor:
        shared = executor.share(list(range(1000)))
        assert executor.share(list(range(1000))) == shared
        assert spread(sum, [(shared,), (shared, 1)], executor=executor) == [499500, 499501]
