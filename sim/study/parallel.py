"""Independent jobs in parallel processes: the results do not depend on how many did the work."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from typing import TypeVar, TypeVarTuple

T = TypeVar("T")
Args = TypeVarTuple("Args")

Progress = Callable[[int, int], None]
"""Is told how many jobs are done, and of how many."""


def spread(
    function: Callable[[*Args], T],
    jobs: Sequence[tuple[*Args]],
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[T]:
    """Call a function once for each job and return the results in the order of the jobs.

    If a job fails, its exception is raised here; if Ctrl-C is pressed, `KeyboardInterrupt`. Either
    way the other jobs are ended at once.

    Args:
        function: of a module, so that another process can import it.
        jobs: its arguments.
        workers: processes; `None` for one for each processor, 1 to stay in this process.
        progress: is told at the start and after every job.
    """
    report = progress or (lambda done, total: None)
    report(0, len(jobs))
    workers = min(workers or os.cpu_count() or 1, len(jobs))
    if workers <= 1:
        results = []
        for job in jobs:
            results.append(function(*job))
            report(len(results), len(jobs))
        return results
    # A fresh interpreter for each worker: a fork of a process with threads, such as a notebook's
    # kernel, may hang.
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_leave_ctrl_c) as pool:
        futures: list[Future[T]] = [pool.submit(function, *job) for job in jobs]
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                future.result()
                report(done, len(jobs))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in set(multiprocessing.active_children()) - others:
                child.kill()  # It holds nothing, and may be too busy to be asked.
            raise
    return [future.result() for future in futures]


def _leave_ctrl_c() -> None:
    """Leave Ctrl-C, which a terminal sends to every process, to the one that began the work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
