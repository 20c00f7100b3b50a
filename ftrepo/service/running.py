"""The composition root: puts the parts of the service together, starts them and stops them.

::

    start   folder, pool, other instances, repository, health monitor, providers, key life
    stop    the same from the last to the first: no key is made any more, pending writes are
            flushed, and only then are the connections closed

Nothing here decides anything. The use cases are given a repository and do not know that it has a
database behind it, or that this may fail.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from secrets import SystemRandom
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ftrepo.events import BreakerChanged
from ftrepo.fault_tolerant import FaultTolerantRepository
from ftrepo.interface import PrimaryStore
from ftrepo.journal.sqlite import SqliteJournal
from ftrepo.policy import Policy
from ftrepo.postgres import PostgresRepository
from ftrepo.resilience import BreakerRegistry
from ftrepo.service.address import url_at
from ftrepo.service.advice import advice
from ftrepo.service.database import Migration, make_monitor, make_pool
from ftrepo.service.errors import ServiceSettingsError
from ftrepo.service.keys import HttpPeers, KeyLife, KeySet
from ftrepo.service.providers import Providers, log_provider_event
from ftrepo.service.schema_watch import SchemaWatch
from ftrepo.service.tokens import Clients, ServiceTokens, TokenExchange, TokenIssuer
from ftrepo.snapshot import FileSnapshot
from ftrepo.telemetry.logs import log_event
from ftrepo.telemetry.metrics import Metrics

if TYPE_CHECKING:
    import httpx2

    from ftrepo.events import Event
    from ftrepo.interface import Clock, Observer
    from ftrepo.postgres import Pool
    from ftrepo.resilience import BreakerState, CircuitBreaker
    from ftrepo.service.settings import ServiceSettings

_log = logging.getLogger(__name__)

JOURNAL = "journal.sqlite"
"""The name of the journal in the folder of the service."""

SNAPSHOT = "keys.snapshot"
"""The name of the snapshot there."""

_RANDOM = SystemRandom()


def utc_now() -> datetime:
    """Return the real calendar time: the default of the injected clock."""
    return datetime.now(UTC)  # noqa: TID251


class Service:
    """The token-exchange service, without HTTP. Enter it once; a second start needs a new one.

    Args:
        settings: what the operator has set.
        now: the calendar time.
        primary: a store of record in place of PostgreSQL; `settings.dsn` is then not used.
        provider_transport: carries what providers are asked; `None` for the network.
        peer_transport: the same for other instances.
        draw: returns random numbers in [0, 1), which keep instances from acting together.

    Attributes:
        settings: as given.
        policy: how the repository behaves.
        now: as given.
        pool: connections to PostgreSQL; `None` with another primary.
        monitor: looks after PostgreSQL; `None` with another primary.
        peers: the other instances; `None` if none are set.
        repository: where public keys are.
        key_life: the key that signs.
        key_set: every valid key.
        issuer: signs tokens.
        breakers: of everything else that is asked, such as "provider/google".
        providers: verifies external tokens.
        exchange: the exchange of tokens.
        service_tokens: tokens for services.
        metrics: of all of it.
        schema: whether the database has its tables.
        advice: what is probably not meant in the settings; logged at the start.
        started_at: when the start was complete; `None` before.
        stopping: whether it is about to stop. Whoever stops it sets this first, so that no new
            requests are sent here while those under way end.

    Raises:
        ServiceSettingsError: settings do not fit together, or there is no database.
        PolicyError: the policy's file is wrong, or `dsn` and `connection` contradict each other.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        *,
        now: Clock = utc_now,
        primary: PrimaryStore | None = None,
        provider_transport: httpx2.AsyncBaseTransport | None = None,
        peer_transport: httpx2.AsyncBaseTransport | None = None,
        draw: Callable[[], float] = _RANDOM.random,
    ) -> None:
        self.settings = settings
        self.now = now
        self.policy = Policy() if settings.policy is None else Policy.from_toml(settings.policy)
        self.advice = advice(settings, self.policy)
        self.started_at: datetime | None = None
        self.stopping = False
        self._stack: AsyncExitStack | None = None
        self._was_entered = False
        self.metrics = Metrics()
        self.schema = SchemaWatch()
        self._observers: tuple[Observer, ...] = (log_event, self.metrics, self.schema)
        self.breakers = BreakerRegistry(draw=draw)
        self.breakers.add_listener(self._breaker_changed)
        self.pool: Pool | None = None
        if primary is None:
            self.pool = make_pool(settings, draw)
            primary = PostgresRepository(self.pool, now=now)
        self.peers = (
            None
            if settings.peers is None or not settings.peers.urls
            else HttpPeers(settings.peers, now=now, transport=peer_transport)
        )
        self.repository = self._make_repository(primary, draw)
        self.monitor = (
            None
            if self.pool is None
            else make_monitor(self.pool, settings, lambda: self.repository.breaker_state)
        )
        self._put_the_use_cases_together(provider_transport, draw)

    def _put_the_use_cases_together(
        self, provider_transport: httpx2.AsyncBaseTransport | None, draw: Callable[[], float]
    ) -> None:
        settings, now = self.settings, self.now
        self.key_life = KeyLife(
            self.repository,
            settings=settings.keys,
            token_lifetime_s=settings.tokens.lifetime_s,
            policy=self.policy,
            now=now,
            draw=draw,
        )
        self.key_set = KeySet(self.repository, now=now, peers=self.peers)
        self.issuer = TokenIssuer(
            lambda: self.key_life.current,
            issuer=settings.issuer or url_at(settings.server.host, settings.server.port),
            settings=settings.tokens,
            now=now,
        )
        self.providers = Providers(
            settings.providers,
            tokens=settings.tokens,
            now=now,
            breakers=self.breakers,
            transport=provider_transport,
            observe=log_provider_event,
        )
        self.exchange = TokenExchange(self.providers, self.issuer, settings)
        self.service_tokens = ServiceTokens(Clients(settings.clients), self.issuer, settings)

    async def __aenter__(self) -> Self:
        """Start. If that fails half-way, what was started is stopped again.

        A primary, a provider or an instance that is away does not fail it.

        Raises:
            ServiceSettingsError: the folder cannot be made.
            JournalError: the journal cannot be used; `JournalLockedError` if another process has
                it open.
            RuntimeError: it was entered before.
        """
        if self._was_entered:
            raise RuntimeError("a service starts once; make a new one")
        self._was_entered = True
        for sentence in self.advice:
            _log.warning("%s", sentence)
        async with AsyncExitStack() as stack:
            _make_folder(self.settings.folder)
            if self.pool is not None:
                if self.settings.migrate and self.settings.dsn is not None:
                    dsn = self.settings.dsn.get_secret_value()
                    await stack.enter_async_context(Migration(dsn))
                await stack.enter_async_context(self.pool)
                self.metrics.watch_pool(self.pool)
            if self.peers is not None:
                await stack.enter_async_context(self.peers)
            self.metrics.watch(self.repository)
            self.metrics.watch_breakers(self.breakers)
            await stack.enter_async_context(self.repository)
            if self.monitor is not None:
                self.metrics.watch_health(self.monitor)
                await stack.enter_async_context(self.monitor)
            await stack.enter_async_context(self.providers)
            await stack.enter_async_context(self.key_life)
            self._stack = stack.pop_all()
        self.started_at = self.now()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stopping = True
        stack, self._stack = self._stack, None
        if stack is not None:
            await stack.__aexit__(kind, error, trace)

    @property
    def is_ready(self) -> bool:
        """Whether requests may be sent here: it runs, has a key to sign with, and goes on.

        A primary that is away changes nothing about it: that is what the repository is for.
        """
        return self._stack is not None and not self.stopping and self.key_life.ready

    def _make_repository(
        self, primary: PrimaryStore, draw: Callable[[], float]
    ) -> FaultTolerantRepository:
        folder, has_journal = self.settings.folder, self.settings.journal
        return FaultTolerantRepository(
            primary,
            self.policy,
            now=self.now,
            observers=self._observers,
            journal=(
                SqliteJournal(folder / JOURNAL)
                if has_journal and self.policy.pending_writes
                else None
            ),
            snapshot=FileSnapshot(folder / SNAPSHOT),
            peers=self.peers,
            draw=draw,
        )

    def _breaker_changed(
        self, breaker: CircuitBreaker, old: BreakerState, new: BreakerState
    ) -> None:
        event: Event = BreakerChanged(breaker=breaker.name, old=old, new=new)
        for observe in self._observers:
            observe(event)


def _make_folder(folder: Path) -> None:
    """Make the folder of the service, for nobody else to read.

    Raises:
        ServiceSettingsError: that is not possible.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ServiceSettingsError(
            f"folder = {folder}: cannot be made: {error.strerror}"
        ) from error
