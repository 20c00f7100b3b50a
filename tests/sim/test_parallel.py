"""Jobs in parallel processes: in order, and gone at once when one fails or the user has enough."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys

import pytest

from sim.study.parallel import spread

PROGRAM = """
import os, sys, time
from sim.study.parallel import spread

def sleep(number):
    print("working", flush=True)
    time.sleep(600)

if __name__ == "__main__":
    try:
        spread(sleep, [(number,) for number in range(8)], workers=2)
    except KeyboardInterrupt:
        sys.exit(130)
"""


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


def test_ctrl_c_ends_everything_at_once(tmp_path) -> None:
    """A terminal sends it to every process; only the first one answers, and nobody prints."""
    program = tmp_path / "program.py"
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
    os.killpg(running.pid, signal.SIGINT)
    _, errors = running.communicate(timeout=30)
    assert running.returncode == 130
    assert b"Traceback" not in errors
