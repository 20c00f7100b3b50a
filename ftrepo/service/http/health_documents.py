"""The health of the service as it is shown: plain values, nothing secret, and no address."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

Status = Literal["healthy", "degraded", "unhealthy"]
State = Literal["up", "degraded", "down", "unknown"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Dependency(_Part):
    """Something that the service relies on.

    Attributes:
        state: `unknown` before anything is known of it.
        is_critical: whether the service can do nothing without it.
        detail: why it is in this state, in the service's own words; `None` if all is well.
    """

    state: State
    is_critical: bool = False
    detail: str | None = None


class Breaker(_Part):
    """A circuit breaker.

    Attributes:
        name: of what it protects.
        state: closed, open or half-open.
        is_forced_open: whether an operator holds it open.
        last_change: when its state changed last; `None` if it never did.
        retry_after_s: seconds until it may be probed; 0 if a call may be made.
        counts: see `ftrepo.resilience.BreakerCounts`.
    """

    name: str
    state: Literal["closed", "open", "half-open"]
    is_forced_open: bool
    last_change: datetime | None
    retry_after_s: float
    counts: dict[str, int]


class Health(_Part):
    """How the service is.

    Attributes:
        status: `unhealthy` if it can issue no token; `degraded` if something that it relies on is
            not as it should be, though it goes on.
        dependencies: by name.
        breakers: each of them.
    """

    status: Status
    dependencies: dict[str, Dependency]
    breakers: list[Breaker]


class Alert(_Part):
    """Something that is wrong with the database: its name and how much it matters."""

    name: str
    level: Literal["warning", "critical"]


class Database(_Part):
    """What the last check of the database found.

    Attributes:
        checked_s_ago: how long ago it began.
        ping_s: how long the least statement took; `None` if it failed.
        query_s: how long the check's query took; `None` if it failed.
        failed_step: at which step the check failed; `None` if it did not.
        alerts: those that stand.
        pool: the statistics of the connection pool at this moment.
    """

    checked_s_ago: float | None = None
    ping_s: float | None = None
    query_s: float | None = None
    failed_step: str | None = None
    alerts: list[Alert] = []
    pool: dict[str, float] = {}


class Cache(_Part):
    """Keys in memory.

    Attributes:
        entries: how many there are.
        entries_max: the most there may be; `None` for no bound.
        size_bytes: an estimate of what they take.
        hits: how often memory had a key that it was asked for.
        misses: how often not.
    """

    entries: int
    entries_max: int | None
    size_bytes: int
    hits: int
    misses: int


class Pending(_Part):
    """Keys that the primary has not confirmed yet.

    Attributes:
        keys: how many.
        oldest_age_s: for how long the oldest has waited; 0 if none does.
        journal: whether they are also kept on the disk.
        journal_failures: how often the journal failed, since the start.
    """

    keys: int
    oldest_age_s: float
    journal: bool
    journal_failures: int


class SigningKey(_Part):
    """The key that signs now; its public half, of course.

    Attributes:
        key_id: its id.
        age_s: since it was made.
        may_sign_for_s: until another has to take over.
    """

    key_id: str
    age_s: float
    may_sign_for_s: float


class Provider(_Part):
    """The keys of somebody whose tokens are accepted; see `ProviderStatus`."""

    name: str
    state: Literal["never", "fresh", "stale", "unusable"]
    keys: int
    age_s: float | None
    last_error: str | None
    fetches: int
    failures: int


class Peer(_Part):
    """Another instance, by its place in the settings; see `PeerStatus`."""

    number: int
    answers: int
    failures: int
    is_failing: bool


class Resources(_Part):
    """What the process uses.

    Attributes:
        rss_bytes: memory.
        cpu_s: processor time since its start.
        open_files: `None` where that cannot be known.
        threads: how many.
        loop_lag_s: how much too late a timer of the event loop fired last.
        loop_lag_worst_s: the worst of the last minute.
    """

    rss_bytes: int
    cpu_s: float
    open_files: int | None
    threads: int
    loop_lag_s: float
    loop_lag_worst_s: float


class DetailedHealth(Health):
    """How the service is, and all that an operator may want to know.

    Attributes:
        version: of the package.
        uptime_s: since the service was started.
        requests_in_flight: this one included.
        signing_key: `None` if there is none.
    """

    version: str
    uptime_s: float
    requests_in_flight: int
    database: Database | None
    cache: Cache
    pending: Pending
    signing_key: SigningKey | None
    providers: list[Provider]
    peers: list[Peer]
    resources: Resources


class Probe(_Part):
    """The answer to whoever decides on traffic or on a restart.

    Attributes:
        status: `ok`, or not.
        reasons: why not.
    """

    status: Literal["ok", "not-ready"]
    reasons: list[str] = []
