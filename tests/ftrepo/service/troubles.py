"""What can happen to a service, and the alerts that it must raise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

from laboratory import refuse

from ftrepo.errors import KeyNotFoundError
from ftrepo.postgres import ConnectionSettings, Pool
from ftrepo.postgres.alerts import HealthReport
from ftrepo.postgres.statistics import PoolStatistics
from sim.world.outages import Outage
from tests.ftrepo.service.alerting import Trouble, no_trouble, scraped
from tests.ftrepo.service.http.serving import Served
from tests.promql import History


@dataclass
class Database:
    """A pool and a monitor that say what a test wants."""

    statistics: PoolStatistics
    ping_s: float | None = 0.002
    error: str | None = None
    grow: Mapping[str, float] = field(default_factory=dict)

    async def watched_by(self, served: Served) -> None:
        metrics = served.service.metrics
        pool = SimpleNamespace(name="primary", statistics=lambda: self.statistics)
        metrics.watch_pool(pool)  # type: ignore[arg-type]
        report = HealthReport(
            at_s=0.0, ping_s=self.ping_s, query_s=None, error=self.error, pool=self.statistics
        )
        metrics.watch_health(SimpleNamespace(latest=report))  # type: ignore[arg-type]
        while True:
            await asyncio.sleep(1.0)
            grown = {name: getattr(self.statistics, name) + by for name, by in self.grow.items()}
            self.statistics = replace(self.statistics, **grown)


def pool_of(**changes: Any) -> PoolStatistics:
    """A pool as it is when nobody has used it, with what differs."""
    unused = Pool(ConnectionSettings(dsn="postgresql://nobody@127.0.0.1:1/nothing"))
    unused.open()
    return replace(unused.statistics(), **changes)


def database(
    *, grow: Mapping[str, float] | None = None, ping_s: float | None = 0.002, **changes: Any
) -> Trouble:
    """Trouble with a database whose pool and ping are like that."""
    error = "ping: refused" if ping_s is None else None

    async def trouble(served: Served) -> None:
        base = Database(pool_of(**changes), ping_s, error, grow or {})
        await base.watched_by(served)

    return trouble


async def no_key(served: Served) -> None:
    """The life of its keys has ended."""
    await served.service.key_life.__aexit__(None, None, None)


class NoTableError(OSError):
    """What the driver says when a table is not there."""

    sqlstate = "42P01"


async def no_tables(served: Served) -> None:
    """The monitor's statement needs no table, and succeeds."""

    async def refuse_all(*_: object, **__: object) -> None:
        raise NoTableError('relation "public_keys" does not exist')

    for name in ("create", "create_many", "get", "list_valid", "delete_expired", "ping"):
        setattr(served.lab.primary, name, refuse_all)
    await database()(served)


def key_set_that(answers: Callable[[], Any]) -> Trouble:
    """The key set does something else than to answer."""

    async def trouble(served: Served) -> None:
        served.service.key_set.current = answers  # type: ignore[method-assign]

    return trouble


async def defective() -> None:
    """An error that nobody foresaw."""
    raise LookupError("nobody foresaw this")


async def one_defect(served: Served) -> None:
    """A single request meets it."""
    well = served.service.key_set.current
    await key_set_that(defective)(served)
    await served.get("/.well-known/jwks.json")
    await key_set_that(well)(served)


async def slow() -> None:
    """It takes longer than it should."""
    await asyncio.sleep(0.8)
    raise KeyNotFoundError("a")


async def wrong_secrets(served: Served) -> None:
    """Three of them for each that is right."""
    while True:
        await asyncio.gather(*(served.token(client_secret="guessed") for _ in range(3)))
        await asyncio.sleep(5.0)


async def hanging(served: Served) -> None:
    """Requests that get no answer, up to 17 of the 20 that may be under way."""

    async def for_ever() -> None:
        await asyncio.sleep(3600.0)

    await key_set_that(for_ever)(served)
    await asyncio.gather(*(served.get("/.well-known/jwks.json") for _ in range(17)))


async def flood(served: Served) -> None:
    """One caller asks for more than its share."""
    while True:
        await asyncio.gather(*(served.get("/keys/a") for _ in range(3)))
        await asyncio.sleep(5.0)


DAYS_S = 1e6
RARE_KEYS = {
    "keys": {"rotation_interval_s": 300.0, "lifetime_s": 2000.0},
    "tokens": {"lifetime_s": 60.0},
}
"""A key may sign for 32 minutes, and does for 15: the policy has it published for 10 before."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What happens to a service, and what that raises; the rest must stay silent."""

    alerts: set[str]
    trouble: Trouble = no_trouble
    outages: tuple[Outage, ...] = ()
    until_s: float = 270.0
    settings: Mapping[str, Any] = field(default_factory=dict)

    def history(self) -> History:
        """What Prometheus has at the end."""
        return scraped(self.trouble, self.outages, until_s=self.until_s, **self.settings)


CASES = {
    "nothing": Case(alerts=set(), until_s=660.0),
    "a key that is replaced in time": Case(alerts=set(), until_s=990.0, settings=RARE_KEYS),
    "a short outage": Case(alerts=set(), outages=(refuse(100.0, 160.0),)),
    "an outage": Case(alerts={"BreakerOpen"}, outages=(refuse(60.0, DAYS_S),)),
    "an outage in which a key is made": Case(
        alerts={"BreakerOpen", "PendingWritesOld"},
        outages=(refuse(60.0, DAYS_S),),
        until_s=480.0,
        settings=RARE_KEYS,
    ),
    "an outage that outlasts the key": Case(
        alerts={
            "BreakerOpen",
            "PendingWritesOld",
            "PendingWritesBeyondRecoveryPoint",
            "SigningKeyEnds",
        },
        outages=(refuse(60.0, DAYS_S),),
        until_s=1260.0,
        settings=RARE_KEYS,
    ),
    "a database that the monitor does not reach": Case(
        alerts={"DatabaseDown"}, trouble=database(ping_s=None)
    ),
    "a slow ping": Case(alerts={"DatabasePingSlow"}, trouble=database(ping_s=0.7)),
    "a ping of exactly the threshold": Case(alerts=set(), trouble=database(ping_s=0.5)),
    "a very slow ping": Case(alerts={"DatabasePingVerySlow"}, trouble=database(ping_s=1.2)),
    "idle connections": Case(
        alerts={"ConnectionsIdle"}, trouble=database(open=21, idle=21), until_s=480.0
    ),
    "as many idle connections as there may be": Case(
        alerts=set(), trouble=database(open=20, idle=20), until_s=480.0
    ),
    "long waits": Case(
        alerts={"ConnectionWaitsLong"}, trouble=database(grow={"acquires": 2, "wait_total_s": 1.2})
    ),
    "short waits": Case(alerts=set(), trouble=database(grow={"acquires": 2, "wait_total_s": 0.8})),
    "an exhausted pool": Case(
        alerts={"ConnectionsExhausted"}, trouble=database(grow={"acquires": 2, "exhausted": 1})
    ),
    "no key to sign with": Case(
        alerts={
            "NoSigningKey",
            "TokensRefused",
            "ErrorBudgetBurnsFast",
            "ErrorBudgetBurnsSlowly",
        },
        trouble=no_key,
        until_s=1200.0,
    ),
    "no tables": Case(
        alerts={"SchemaOutdated", "BreakerOpen", "BreakerStuckOpen"},
        trouble=no_tables,
        until_s=330.0,
    ),
    "a defect": Case(
        alerts={"UnforeseenErrors", "ErrorBudgetBurnsFast", "ErrorBudgetBurnsSlowly"},
        trouble=key_set_that(defective),
    ),
    "a defect that is met once": Case(alerts={"UnforeseenErrors"}, trouble=one_defect),
    "slow answers": Case(alerts={"RequestsSlow"}, trouble=key_set_that(slow), until_s=600.0),
    "too many requests": Case(
        alerts={"RequestsLimited"},
        trouble=flood,
        until_s=600.0,
        settings={
            "limits": {
                "keys": {
                    "rate_per_s": 1.5,
                    "burst": 3,
                    "caller_rate_per_s": 1.5,
                    "caller_burst": 3,
                }
            }
        },
    ),
    "requests that hang": Case(
        alerts={"ServiceBusy"},
        trouble=hanging,
        settings={"server": {"requests_in_flight_max": 20, "request_timeout_s": 3600.0}},
        until_s=180.0,
    ),
    "somebody who guesses secrets": Case(
        alerts={"TokensRefused"}, trouble=wrong_secrets, until_s=1000.0
    ),
}
