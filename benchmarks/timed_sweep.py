"""The command `sweep` as it is, but for a watch on each of its runs.

A module of its own, because every worker imports it: what it imports, each of them pays for.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sim.study.parallel import Processes

T = TypeVar("T")


class Timed(Processes):
    """Processes that note when each job began and ended, and the CPU time that it took.

    Attributes:
        noted: seconds by the monotonic clock, twice, and of CPU time, for each job that is done.
    """

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self.noted: list[tuple[float, float, float]] = []

    def finished(
        self, function: Callable[..., T], jobs: Sequence[tuple[Any, ...]]
    ) -> Iterator[tuple[int, T]]:
        """Yield the results, and keep the times."""
        for number, (result, *times) in super().finished(timed, [(function, *job) for job in jobs]):
            self.noted.append((times[0], times[1], times[2]))
            yield number, result


def timed(function: Callable[..., T], *job: Any) -> tuple[T, float, float, float]:
    """Make a call, and return its result, when it began and ended, and its CPU time."""
    start_s, before_s = time.monotonic(), time.process_time()
    result = function(*job)
    return result, start_s, time.monotonic(), time.process_time() - before_s


def main(times: Path, workers: int, arguments: Sequence[str]) -> None:
    """Do what `python -m sim` does with these arguments, and leave the times of runs in a file."""
    from sim import sweep_command  # noqa: PLC0415  not for the workers
    from sim.__main__ import main as command  # noqa: PLC0415

    executor = Timed(workers)
    vars(sweep_command)["local_executor"] = lambda *_, **__: executor
    code = command(arguments)
    if code:
        sys.exit(code)
    times.write_text(json.dumps(executor.noted))
