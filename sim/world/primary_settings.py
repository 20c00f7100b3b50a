"""What the simulated database can do, and how the driver in front of it behaves."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from sim.world.durations import AnyLatency, LognormalLatency
from sim.world.errors import InputError
from sim.world.settings import about, check

_LATENCY = LognormalLatency(median_s=0.002, p99_s=0.010)
_LATENCY_SOURCE = "an assumption: an indexed row, in memory, in the same zone"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrimarySettings:
    """The simulated database, and the driver in front of it."""

    pool_size: int = field(
        default=10,
        metadata=about("Connections; a call keeps one to its end.", source="asyncpg", least=1),
    )
    idle_max: int = field(
        default=5,
        metadata=about(
            "Connections that are kept open while nobody uses them.",
            source="the requirements of the service: 5",
            least=1,
        ),
    )
    connect: AnyLatency | None = field(
        default=None,
        metadata=about(
            "How long opening a connection takes; unset: no time.",
            source="an assumption: connections are kept, so that few calls wait for a new one",
        ),
    )
    acquire_timeout_s: float | None = field(
        default=None,
        metadata=about(
            "How long a call waits for a connection, a new one included; unset: for ever.",
            source="asyncpg; `ftrepo.postgres` sets 0.4",
            above=0,
        ),
    )
    command_timeout_s: float | None = field(
        default=None,
        metadata=about(
            "How long a call waits for its answer; the server works on it for nine tenths of that. "
            "Unset: for ever.",
            source="asyncpg; `ftrepo.postgres` sets 0.4",
            above=0,
        ),
    )
    check_after_idle_s: float | None = field(
        default=None,
        metadata=about(
            "A connection unused for so long is tried with a statement before a call has it; "
            "unset: never.",
            source="asyncpg; `ftrepo.postgres` sets 1",
            least=0,
        ),
    )
    select: AnyLatency = field(
        default=_LATENCY,
        metadata=about("How long a healthy server takes to read.", source=_LATENCY_SOURCE),
    )
    insert: AnyLatency = field(
        default=_LATENCY,
        metadata=about("How long a healthy server takes to write.", source=_LATENCY_SOURCE),
    )
    delete: AnyLatency = field(
        default=_LATENCY,
        metadata=about("How long a healthy server takes to delete.", source=_LATENCY_SOURCE),
    )
    workers: int | None = field(
        default=None,
        metadata=about(
            "How many calls the server works on at once, for whoever calls; others wait in the "
            "order in which they came. A call that its caller has given up is worked on all the "
            "same, up to nine tenths of `command_timeout_s`. Unset: without a limit.",
            source="an assumption: a server is never short of what it needs",
            least=1,
        ),
    )
    refuse_latency_s: float = field(
        default=0.001, metadata=about("How long a refused connection takes to fail.", least=0)
    )
    slow_factor: float = field(
        default=100.0,
        metadata=about(
            "How many times longer everything takes in mode slow.",
            source="an assumption: a median of 200 ms, and one call in eleven above 500 ms",
            least=1,
        ),
    )
    queue_max: int | None = field(
        default=None,
        metadata=about(
            "How many calls may wait for a worker; more are refused. Unset: without a bound.",
            source="`max_connections` of PostgreSQL is such a bound, 100 by default",
            least=1,
        ),
    )
    failing_share: float = field(
        default=0.0,
        metadata=about(
            "The share of calls that fail although there is no outage: noise, of which no breaker "
            "should make an outage.",
            least=0,
            most=1,
        ),
    )
    lost_reply_share: float = field(
        default=0.5,
        metadata=about(
            "The share of writes failing in mode error_rate that had committed all the same.",
            source="an assumption: after a lost connection about all had, on PostgreSQL 18",
            least=0,
            most=1,
        ),
    )
    announces: bool = field(
        default=True,
        metadata=about(
            "Whether the primary tells of new keys at once, as PostgreSQL can; if not, a key of "
            "another instance is found by asking for it, or by a refresh.",
            source="`ftrepo.postgres` does",
        ),
    )
    driver_honours_cancellation: bool = field(
        default=True,
        metadata=about(
            "Whether a cancelled call ends at once; if not, it ends when the server answers.",
            source="no driver does unless its every time-out is set",
        ),
    )

    def __post_init__(self) -> None:
        check(self)
        if self.queue_max is not None and self.workers is None:
            raise InputError("queue_max needs workers: without them no call waits")

    @property
    def capacity_per_s(self) -> float:
        """The most reads a second that the server can do; infinite without `workers`."""
        return math.inf if self.workers is None else self.workers / self.select.mean_s
