"""What a sweep costs beside its runs, and how busy it keeps its workers.

Measured on `python -m sim sweep` itself, files and figures included, on two workers, and on a sweep
of ordinary size: twenty points, four replications, some three minutes of runs. What it costs
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ftrepo.policy import Policy
from sim.study.experiment import figures_of
from sim.study.parallel import Processes, spread
from sim.world.scenario_file import load_scenario

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


@functools.cache
def _measured() -> dict[str, float]:
    """Sweep once in a process of its own, and return what that took."""
    before_s = _children_cpu_s()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = [word for text in GRID for word in ("--set", text)]
        arguments = [
            *("sweep", "default", *settings, "--replications", str(REPLICATIONS)),
            *("--store", str(folder / "runs"), "--out", str(folder / "out")),
        ]
        # Not a module that is run by its name: each worker would import that, and all that it does.
        program = (
            "from pathlib import Path; from benchmarks.timed_sweep import main; "
            f"main(Path({str(folder / 'times')!r}), {WORKERS}, {arguments!r})"
        )
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
        noted: list[tuple[float, float, float]] = json.loads((folder / "times").read_text())
    starts_s, ends_s, cpu_s = zip(*noted, strict=True)
    return {
        "all_cpu_s": _children_cpu_s() - before_s,
        "runs": len(noted),
        "runs_cpu_s": sum(cpu_s),
        "runs_wall_s": sum(ends_s) - sum(starts_s),
        "span_s": max(ends_s) - min(starts_s),
    }


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
