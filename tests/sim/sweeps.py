"""What tests of sweeps share: a world that is played in no time, an executor that counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sim.study.parallel import ThisProcess
from sim.world.outage_patterns import FixedWindows
from sim.world.scenario import KeySettings, Scenario
from sim.world.traffic import Poisson

WORLD = Scenario(
    name="small",
    duration_s=900.0,
    warmup_s=60.0,
    outages=(FixedWindows(windows=((300.0, 420.0),)),),
    traffic=Poisson(rate_per_s=0.2),
    keys=KeySettings(rotation_interval_s=20.0, lifetime_s=1200.0, token_lifetime_s=600.0, peers=1),
)

GRID: dict[str, Sequence[Any]] = {
    "flush_interval_s": [1, 5],
    "operation_timeout_s": [0.1, None],
}
"""Four points."""


class Counting(ThisProcess):
    """Plays in this process, remembers every job, and stops with an error after so many."""

    def __init__(self, stop_after: int | None = None, error: BaseException | None = None) -> None:
        self.jobs: list[tuple[Any, ...]] = []
        self.shared: list[object] = []
        self._stop_after = stop_after
        self._error = error

    def share(self, value: Any) -> Any:
        self.shared.append(value)
        return value

    def finished(
        self, function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]]
    ) -> Iterator[tuple[int, Any]]:
        for number, job in enumerate(jobs):
            if number == self._stop_after:
                assert self._error is not None
                raise self._error
            self.jobs.append(job)
            yield number, function(*job)
