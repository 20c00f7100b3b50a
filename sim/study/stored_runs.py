"""An executor that plays no run twice: what is on disk is handed out, what is not is stored.

Put in front of another executor, it lets any study of whole runs go on where it was interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from sim.study.run_digest import run_keys
from sim.study.sweep import play_run

if TYPE_CHECKING:
    from ftrepo.policy import Policy
    from sim.study.parallel import Executor
    from sim.study.run_store import RunStore
    from sim.world.scenario import Scenario

T = TypeVar("T")


class StoredRuns:
    """Plays runs on another executor, and stores each as soon as it is finished.

    Args:
        executor: plays what the store lacks.
        store: where runs are.

    Attributes:
        known: how many runs it had when they were asked for.
    """

    def __init__(self, executor: Executor, store: RunStore) -> None:
        self.known = 0
        self._executor = executor
        self._store = store
        self._keys: dict[tuple[int, int, int], list[str]] = {}
        # What is shared or has keys stays alive here, so that no other object has its identity.
        self._shared: dict[int, tuple[Scenario, Scenario]] = {}
        self._policies: list[Policy] = []

    def share(self, value: T) -> T:
        """Return the value: scenarios are shared without being asked."""
        return value

    def finished(
        self, function: Callable[..., T], jobs: Sequence[tuple[Any, ...]]
    ) -> Iterator[tuple[int, T]]:
        """Yield what is known at once, and then the rest as it is played.

        Args:
            function: `sim.study.experiment.figures_of`; what is played is what it would play.
            jobs: its arguments.

        Raises:
            OtherCodeError: a worker has other code, or the code was changed meanwhile.
        """
        missing: dict[str, list[int]] = {}
        for number, job in enumerate(jobs):
            key = self._key(*job)
            figures: Any = None if key in missing else self._store.get(key)
            if figures is None:
                missing.setdefault(key, []).append(number)
            else:
                self.known += 1
                yield number, figures
        keys = list(missing)
        # Two policies may be alike: what they play is played once.
        firsts = [jobs[missing[key][0]] for key in keys]
        todo = [(self._store.code, self._share(job[0]), *job[1:]) for job in firsts]
        for place, played in self._executor.finished(play_run, todo):
            self._store.put(keys[place], played)
            result: Any = played
            for number in missing[keys[place]]:
                yield number, result

    def _key(self, scenario: Scenario, policy: Policy, seed: int, replication: int) -> str:
        self._share(scenario)
        self._policies.append(policy)
        keys = self._keys.setdefault((id(scenario), id(policy), seed), [])
        if len(keys) <= replication:
            count = 2 * (replication + 1)
            code = self._store.code
            keys[:] = run_keys(scenario, policy, seed=seed, replications=count, code=code)
        return keys[replication]

    def _share(self, scenario: Scenario) -> Scenario:
        if id(scenario) not in self._shared:
            self._shared[id(scenario)] = (scenario, self._executor.share(scenario))
        return self._shared[id(scenario)][1]
