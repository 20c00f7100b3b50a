"""What a sweep costs beside its runs, and how busy it keeps its workers.

Measured on what `python -m sim sweep` does, files and figures included, on two workers, and on a
sweep of ordinary size: twenty points, four replications, some three minutes of runs. What it costs
beside them is nearly the same for every size, so that a shorter one has a larger share. The CPU
time is that of every process, from the start of its interpreter to its end; a share of a shared
machine's wall clock would tell more of the machine than of the program.
"""

from __future__ import annotations

import functools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ftrepo.policy import Policy
from sim.show.sweep_files import write_sweep
from sim.show.sweep_words import DEFAULT_MEASURES
from sim.study.experiment import figures_of
from sim.study.grid import parse_settings
from sim.study.parallel import Processes, spread
from sim.study.run_store import RunStore
from sim.study.sweep import sweep
from sim.world.scenario_file import load_scenario

T = TypeVar("T")

WORKERS = 2
GRID = ("flush_interval_s=0.5,1,2,5,10", "operation_timeout_s=0.1,0.25,0.5,1")
REPLICATIONS = 4
"""Of twenty points: 80 runs of six simulated hours each."""

LIMIT = 0.05
SCALING_RUNS = 4
"""For each worker, where one is compared with two."""


def sweep_overhead() -> dict[str, Any]:
    """CPU seconds that a sweep spends outside the runs, over those inside them."""
    found = _measured()
    outside_s = found["all_cpu_s"] - found["runs_cpu_s"]
    return {
        "name": "sweep_overhead",
        "value": outside_s / found["runs_cpu_s"],
        "unit": "ratio",
        "reference": f"at most {LIMIT}; {outside_s:.1f} s beside {found['runs_cpu_s']:.0f} s of "
        f"{found['runs']} runs, interpreters, imports and figures included",
    }


def sweep_idle() -> dict[str, Any]:
    """Share of the workers' time between the first start and the last end that no run took."""
    found = _measured()
    sweep_scaling, loop_scaling = _scaling(_play), _scaling(_loop)
    return {
        "name": "sweep_idle",
        "value": 1 - found["runs_wall_s"] / (WORKERS * found["span_s"]),
        "unit": "ratio",
        "reference": f"at most {LIMIT}; {WORKERS} workers for {found['span_s']:.0f} s. By the "
        f"clock, two workers do {sweep_scaling:.2f} times what one does, in runs, and "
        f"{loop_scaling:.2f} times in a plain loop",
    }


class Timed(Processes):
    """Processes that note when each job began and ended, and the CPU time that it took."""

    noted: list[tuple[float, float, float]]

    def finished(
        self, function: Callable[..., T], jobs: Sequence[tuple[Any, ...]]
    ) -> Iterator[tuple[int, T]]:
        """Yield the results, and keep the times."""
        self.noted = []
        for number, (result, *times) in super().finished(timed, [(function, *job) for job in jobs]):
            self.noted.append((times[0], times[1], times[2]))
            yield number, result


def timed(function: Callable[..., T], *job: Any) -> tuple[T, float, float, float]:
    """Make a call, and return its result, when it began and ended, and its CPU time."""
    start_s, before_s = time.monotonic(), time.process_time()
    result = function(*job)
    return result, start_s, time.monotonic(), time.process_time() - before_s


@functools.cache
def _measured() -> dict[str, float]:
    """Sweep once in a process of its own, and return what that took."""
    before_s = _children_cpu_s()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "benchmarks.sweep", folder], check=True)
        noted: list[tuple[float, float, float]] = json.loads(Path(folder, "times").read_text())
    starts_s, ends_s, cpu_s = zip(*noted, strict=True)
    return {
        "all_cpu_s": _children_cpu_s() - before_s,
        "runs": len(noted),
        "runs_cpu_s": sum(cpu_s),
        "runs_wall_s": sum(ends_s) - sum(starts_s),
        "span_s": max(ends_s) - min(starts_s),
    }


def _sweep_once(folder: Path) -> None:
    """Do what the command does, and leave the times of the runs in a file."""
    store = RunStore(folder / "runs")
    with Timed(WORKERS) as workers:
        swept = sweep(
            load_scenario("default"),
            Policy(),
            parse_settings(GRID),
            replications=REPLICATIONS,
            store=store,
            executor=workers,
        )
    write_sweep(folder / "out", swept, command="", measures=DEFAULT_MEASURES)
    (folder / "times").write_text(json.dumps(workers.noted))


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _scaling(work: Callable[[int], object]) -> float:
    """How many times as much two workers do by the clock as one does."""
    per_s = []
    for workers in (1, WORKERS):
        with Processes(workers) as processes:
            spread(work, [(0,)] * workers, executor=processes)  # Everything is imported after it.
            start_s = time.monotonic()
            jobs = [(number,) for number in range(SCALING_RUNS * workers)]
            spread(work, jobs, executor=processes)
            per_s.append(len(jobs) / (time.monotonic() - start_s))
    return per_s[1] / per_s[0]


def _play(replication: int) -> object:
    return figures_of(load_scenario("default"), Policy(), 1, replication)


def _loop(_: int) -> int:
    total = 0
    for number in range(20_000_000):
        total += number
    return total


if __name__ == "__main__":
    _sweep_once(Path(sys.argv[1]))
