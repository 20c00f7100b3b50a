"""How many instances of the service there are, and when each of them stops and starts again."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sim.world.errors import InputError
from sim.world.settings import about, check
from sim.world.streams import of_instance

if TYPE_CHECKING:
    from sim.world.condense import Timeline
    from sim.world.streams import Streams


class StopKind(enum.Enum):
    """How an instance of the service stops."""

    KILL = "kill"
    """At once, as by kill -9: what was only in memory is gone."""
    DEPLOY = "deploy"
    """In order: it takes no more requests, ends those that it has, and flushes once more."""


class Stop(NamedTuple):
    """One stop of one instance."""

    at_s: float
    kind: StopKind


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """The observed instances of the service, and what happens to them."""

    instances: int = field(
        default=1,
        metadata=about(
            "Instances behind a balancer, which sends each attempt of a caller to any one that is "
            "ready. Each runs the code under test, and has connections of its own.",
            least=1,
            most=1_000,
        ),
    )
    restarts_s: tuple[float, ...] = field(
        default=(),
        metadata=about(
            "When every instance is killed and starts again with an empty memory, in order."
        ),
    )
    journal: bool = field(
        default=False,
        metadata=about(
            "Whether each instance has a disk that outlives a stop, with a journal of what the "
            "primary lacks and a snapshot of its memory, for policies that use them."
        ),
    )
    deploy_every_s: float | None = field(
        default=None,
        metadata=about(
            "The time between rolling deploys, in which the instances are replaced one after the "
            "other, outage or not; unset: none.",
            above=0,
        ),
    )
    deploy_step_s: float = field(
        default=60.0,
        metadata=about(
            "In a rolling deploy, the time from one instance's replacement to the next one's.",
            source="an assumption: time for a start, and for a look at its health",
            above=0,
        ),
    )
    crash_every_s: float | None = field(
        default=None,
        metadata=about(
            "The mean time between crashes of one instance, exponential; unset: none.", above=0
        ),
    )
    start_s: float = field(
        default=0.0,
        metadata=about(
            "How long an instance that was stopped is away before its process runs again.", least=0
        ),
    )
    peer_latency_s: float = field(
        default=0.001,
        metadata=about(
            "How long one instance takes to answer another, for policies that ask. One that is "
            "away does not answer.",
            source="an assumption: a round trip within a data centre, and some work",
            above=0,
        ),
    )
    clock_skew_max_s: float = field(
        default=0.0,
        metadata=about(
            "How far the calendar of an instance may be off; each instance's is off by as much as "
            "it is drawn, evenly between this and minus this.",
            least=0,
        ),
    )

    def __post_init__(self) -> None:
        check(self)
        if not all(0 < restart < math.inf for restart in self.restarts_s):
            raise InputError(f"restarts_s must be finite times above 0, not {self.restarts_s}")
        if any(later <= earlier for earlier, later in pairwise(self.restarts_s)):
            raise InputError(f"restarts_s must be in order, not {self.restarts_s}")
        if self.deploy_every_s is not None:
            round_s = self.instances * self.deploy_step_s
            if round_s > self.deploy_every_s:
                raise InputError(
                    f"deploy_every_s must be at least instances * deploy_step_s ({round_s:g}), or "
                    f"the next deploy would begin before one is over, not {self.deploy_every_s:g}"
                )

    def draw_stops(self, streams: Streams, timeline: Timeline, instance: int) -> list[Stop]:
        """Return when one instance stops in a run, in order of run time.

        Deploys keep their phase, which is drawn once for the fleet, on a condensed timeline too:
        whole multiples of their period are cut out of it.

        Args:
            streams: the run's random numbers.
            timeline: of the run.
            instance: its number, from 0 on.
        """
        restarts_s = timeline.to_run(np.array(self.restarts_s)).tolist()
        stops = [Stop(at_s, StopKind.KILL) for at_s in restarts_s]
        if self.crash_every_s is not None:
            rng = streams.generator(of_instance("crashes", instance))
            count = 10 + 2 * math.ceil(timeline.duration_s / self.crash_every_s)
            at_s = np.cumsum(rng.exponential(self.crash_every_s, count))
            stops += [Stop(each, StopKind.KILL) for each in at_s.tolist()]
        if self.deploy_every_s is not None:
            phase = float(streams.generator("deploys").random())
            first_s = phase * self.deploy_every_s + instance * self.deploy_step_s
            deploys_s = np.arange(first_s, timeline.duration_s, self.deploy_every_s)
            stops += [Stop(each, StopKind.DEPLOY) for each in deploys_s.tolist()]
        within = [stop for stop in stops if 0 < stop.at_s < timeline.duration_s]
        return sorted(within, key=lambda stop: stop.at_s)

    def draw_clock_skew_s(self, streams: Streams, instance: int) -> float:
        """Return by how much the calendar of an instance is ahead of the true one."""
        most_s = self.clock_skew_max_s
        rng = streams.generator(of_instance("clock skew", instance))
        return float(rng.uniform(-most_s, most_s)) if most_s else 0.0
