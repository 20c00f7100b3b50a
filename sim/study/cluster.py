"""Independent jobs on a Dask cluster: the `Executor` for many machines.

Every worker needs `ftrepo` and `sim` of the version that asks, and one thread, since a run keeps a
processor busy: `dask worker tcp://scheduler:8786 --nworkers auto --nthreads 1`. A job whose worker
dies is done again by another one, and so is what had been shared with it.

`distributed` is the extra `cluster`; it is imported when a cluster is first asked for.
"""

from __future__ import annotations

import pickle
import queue
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar, TypeVarTuple

if TYPE_CHECKING:
    from distributed import Client, Future

T = TypeVar("T")
Args = TypeVarTuple("Args")

CONNECT_S = 10.0
"""How long the scheduler has to answer."""

NO_WORKERS_S = 60.0
"""How long a cluster may be without a single worker: at the beginning, and later on."""

CHECK_S = 5.0
"""How often it is looked whether there are workers, while no result comes."""

AHEAD = 2
"""Jobs given out for each thread: one at work and one to go on with, and few to do again."""

_LARGE = "distributed.admin.large-graph-warning-threshold"


class ClusterError(RuntimeError):
    """The cluster cannot be reached, has no workers, or went away.

    Results that were handed out before are as good as ever.
    """


class Cluster:
    """The workers of a Dask scheduler, to be used in a `with`.

    Args:
        address: of the scheduler, such as `tcp://10.0.0.1:8786`.
        connect_s: how long it has to answer.
        no_workers_s: how long it may be without workers.

    Raises:
        ClusterError: on entering, if `distributed` is not installed, the scheduler does not answer
            or has no workers; by `finished`, if it is lost, has no workers any more, or a job
            ended every worker that it was tried on.
    """

    def __init__(
        self, address: str, *, connect_s: float = CONNECT_S, no_workers_s: float = NO_WORKERS_S
    ) -> None:
        self.address = address
        self._connect_s = connect_s
        self._no_workers_s = no_workers_s
        self._client: Client | None = None

    def __enter__(self) -> Self:
        try:
            import distributed  # noqa: PLC0415  an extra
        except ModuleNotFoundError as error:
            raise ClusterError(f"{error}: install the extra cluster") from error
        try:
            self._client = distributed.Client(
                self.address, timeout=self._connect_s, set_as_default=False
            )
        except (OSError, ValueError) as error:
            raise ClusterError(
                f"no Dask scheduler answers at {self.address} within {self._connect_s:g} s; an "
                "address is like tcp://HOST:8786"
            ) from error
        try:
            self._client.wait_for_workers(1, timeout=self._no_workers_s)
        except TimeoutError as error:
            self._close()
            raise self._without_workers() from error
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def share(self, value: T) -> T:
        """Make the value a job of its own, whose result workers hand on to each other.

        Unlike data that is put there once, it can be made again when the worker that had it dies.
        """
        import dask  # noqa: PLC0415  an extra

        with dask.config.set({_LARGE: "1GiB"}):
            shared: Any = self._connected().submit(pickle.loads, pickle.dumps(value), pure=False)
        return shared  # type: ignore[no-any-return]

    def finished(
        self, function: Callable[[*Args], T], jobs: Sequence[tuple[*Args]]
    ) -> Iterator[tuple[int, T]]:
        """Yield each job's number and result. If the caller stops early, the rest is cancelled."""
        client = self._connected()
        done: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
        begun: dict[Any, tuple[int, Future[Any]]] = {}
        waiting = iter(enumerate(jobs))
        finished = 0
        try:
            while finished < len(jobs):
                for number, job in _take(waiting, AHEAD * self._threads() - len(begun)):
                    future = client.submit(function, *job, pure=False)
                    begun[future.key] = number, future
                    future.add_done_callback(done.put)
                future = self._next(done)
                number, _ = begun.pop(future.key)
                yield number, self._result(future)
                finished += 1
        finally:
            for _, future in begun.values():
                future.release()

    def _next(self, done: queue.SimpleQueue[Future[Any]]) -> Future[Any]:
        """Wait for a job that is done, as long as there is somebody to do it."""
        idle_s = 0.0
        while True:
            check_s = min(CHECK_S, self._no_workers_s)
            try:
                return done.get(timeout=check_s)
            except queue.Empty:
                idle_s = 0.0 if self._threads(least=0) else idle_s + check_s
            if idle_s >= self._no_workers_s:
                raise self._without_workers()

    def _result(self, future: Future[Any]) -> Any:
        from distributed import KilledWorker  # noqa: PLC0415  an extra

        if future.status == "cancelled":
            raise self._lost()
        try:
            return future.result()
        except KilledWorker as error:
            raise ClusterError(
                f"a job ended every worker of {self.address} that it was tried on, for want of "
                f"memory perhaps ({error})"
            ) from error
        except OSError as error:
            raise self._lost() from error

    def _threads(self, *, least: int = 1) -> int:
        """How many threads the workers have together; at least as many as asked for."""
        try:
            threads: int = sum(self._connected().ncores().values())
        except (OSError, AttributeError, RuntimeError, ValueError) as error:
            # What a client raises once its scheduler is gone is not documented, and varies.
            raise self._lost() from error
        return max(least, threads)

    def _connected(self) -> Client:
        if self._client is None:
            raise RuntimeError("a cluster is to be used in a `with`")
        return self._client

    def _close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _lost(self) -> ClusterError:
        return ClusterError(f"the connection to the Dask scheduler at {self.address} was lost")

    def _without_workers(self) -> ClusterError:
        return ClusterError(
            f"the Dask scheduler at {self.address} had no workers for {self._no_workers_s:g} s; "
            f"start one: dask worker {self.address} --nthreads 1, where ftrepo and sim are "
            "installed; a worker that cannot import them ends, and says so where it was started"
        )


def _take(jobs: Iterator[T], count: int) -> Iterator[T]:
    for _ in range(count):
        try:
            yield next(jobs)
        except StopIteration:
            return
