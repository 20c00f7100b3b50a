"""Independent jobs in parallel processes: the results do not depend on how many did the work.

An `Executor` does jobs and hands out each result when it is there. `ThisProcess` and `Processes`
are here; `sim.study.cluster` has the one for many machines.
"""

from __future__ import annotations

import functools
import hashlib
import multiprocessing
import os
import pickle
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, TypeVarTuple

T = TypeVar("T")
Args = TypeVarTuple("Args")

Progress = Callable[[int, int], None]
"""Is told how many jobs are done, and of how many."""

BREAKS_MAX = 3
"""So many times in a row, without a result in between, a broken pool is made anew."""

KEPT_MAX = 16
"""How many shared values a worker keeps, of those that it used last."""


class WorkersLostError(RuntimeError):
    """Worker processes were killed again and again, for want of memory as a rule.

    Results that were handed out before are as good as ever.
    """


class Executor(Protocol):
    """Does jobs somewhere, and hands out their results as they come."""

    def share(self, value: T) -> T:
        """Return what stands for a large value in jobs, so that it travels to a worker once.

        The function is called with the value itself. Only a whole argument may be such.
        """
        ...

    def finished(
        self, function: Callable[[*Args], T], jobs: Sequence[tuple[*Args]]
    ) -> Iterator[tuple[int, T]]:
        """Yield the number of each job and its result, as they are finished.

        Jobs are begun in their order. A job is a call without side effects: it may be made twice if
        a worker is killed. If one fails, its exception is raised here.

        Args:
            function: of a module, so that another process can import it.
            jobs: its arguments.
        """
        ...


class ThisProcess:
    """Does one job after the other where it is called, which nothing can break."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def share(self, value: T) -> T:
        """Return the value."""
        return value

    def finished(
        self, function: Callable[[*Args], T], jobs: Sequence[tuple[*Args]]
    ) -> Iterator[tuple[int, T]]:
        """Yield the results in the order of the jobs."""
        for number, job in enumerate(jobs):
            yield number, function(*job)


@dataclass(frozen=True, slots=True)
class _Filed:
    """A shared value by the file that it is in."""

    path: str


class Processes:
    """Processes of this machine, started when first needed and kept until the end of the `with`.

    A worker that is killed is replaced, and what it did is done again.

    Args:
        workers: how many; `None` for one for each processor.

    Raises:
        WorkersLostError: by `finished`, if workers are killed `BREAKS_MAX` times without a result.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or os.cpu_count() or 1
        self._pool: ProcessPoolExecutor | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._others: set[BaseProcess] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            if self._pool is not None:
                self._pool.shutdown()
        else:
            self._abandon()
        self._pool = None
        if self._folder is not None:
            self._folder.cleanup()

    def share(self, value: T) -> T:
        """Write the value to a file, named by its content, that each worker reads once."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="ftrepo-")
        content = pickle.dumps(value)
        path = Path(self._folder.name, hashlib.sha256(content).hexdigest())
        path.write_bytes(content)
        filed: Any = _Filed(str(path))
        return filed  # type: ignore[no-any-return]

    def finished(
        self, function: Callable[[*Args], T], jobs: Sequence[tuple[*Args]]
    ) -> Iterator[tuple[int, T]]:
        """Yield each job's number and result. If the caller stops early, all work is ended."""
        waiting = dict(enumerate(jobs))
        breaks = 0
        try:
            while waiting:
                try:
                    for number, result in self._until_broken(function, waiting):
                        breaks = 0
                        del waiting[number]
                        yield number, result
                except BrokenProcessPool:
                    breaks += 1
                    self._abandon()
                    if breaks == BREAKS_MAX:
                        raise WorkersLostError(
                            f"worker processes were killed {breaks} times in a row, for want of "
                            f"memory perhaps; {len(waiting)} of {len(jobs)} jobs were not done"
                        ) from None
        except BaseException:
            self._abandon()
            raise

    def _until_broken(
        self, function: Callable[..., T], waiting: dict[int, Any]
    ) -> Iterator[tuple[int, T]]:
        """Yield what a pool finishes, to the end or until it breaks, but then all that it did."""
        pool = self._started()
        begun: dict[Future[T], int] = {
            pool.submit(_call, function, job): number for number, job in waiting.items()
        }
        broken = None
        for future in as_completed(begun):
            try:
                result = future.result()
            except BrokenProcessPool as error:
                broken = error
            else:
                yield begun[future], result
        if broken is not None:
            raise broken

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._others = set(multiprocessing.active_children())
            self._pool = ProcessPoolExecutor(
                self.workers,
                # A fresh interpreter for each worker: a fork of a process with threads, such as a
                # notebook's kernel, may hang.
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_work_for_another,
            )
        return self._pool

    def _abandon(self) -> None:
        """End every worker at once."""
        if self._pool is None:
            return
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = None
        for child in set(multiprocessing.active_children()) - self._others:
            child.kill()  # It holds nothing, and may be too busy to be asked.


def spread(
    function: Callable[[*Args], T],
    jobs: Sequence[tuple[*Args]],
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> list[T]:
    """Call a function once for each job and return the results in the order of the jobs.

    If a job fails, its exception is raised here; if Ctrl-C is pressed, `KeyboardInterrupt`. Either
    way the other jobs are ended at once.

    Args:
        function: of a module, so that another process can import it.
        jobs: its arguments.
        workers: processes; `None` for one for each processor, 1 to stay in this process.
        progress: is told at the start and after every job.
        executor: does the work in the place of `workers` processes of its own, which take a second
            or two to start: worth it where there are many small lists of jobs.
    """
    report = progress or (lambda done, total: None)
    report(0, len(jobs))
    results: dict[int, T] = {}

    def collect(chosen: Executor) -> None:
        for number, result in chosen.finished(function, jobs):
            results[number] = result
            report(len(results), len(jobs))

    if executor is not None:
        collect(executor)
    else:
        with local_executor(workers, jobs=len(jobs)) as chosen:
            collect(chosen)
    return [results[number] for number in range(len(jobs))]


def local_executor(workers: int | None, *, jobs: int) -> ThisProcess | Processes:
    """Return what does so many jobs on this machine, to be used in a `with`.

    Args:
        workers: processes; `None` for one for each processor, 1 to stay in this process.
        jobs: there are never more processes than jobs.
    """
    workers = min(workers or os.cpu_count() or 1, jobs)
    return ThisProcess() if workers <= 1 else Processes(workers)


def _call(function: Callable[..., T], job: Sequence[object]) -> T:
    """Make one call in a worker, with shared values in the place of what stands for them."""
    return function(*(_read(each.path) if isinstance(each, _Filed) else each for each in job))


@functools.lru_cache(maxsize=KEPT_MAX)
def _read(path: str) -> object:
    return pickle.loads(Path(path).read_bytes())  # noqa: S301  our own file, of a moment ago


def _work_for_another() -> None:
    """Leave Ctrl-C, which a terminal sends to every process, to the one that began the work.

    And end when that one ends, in whatever way: a worker reads its jobs from a pipe that its
    siblings hold open, and would wait for ever after a kill -9.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
