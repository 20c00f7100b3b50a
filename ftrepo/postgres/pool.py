"""A bounded set of connections that keeps its time-outs whatever the server does.

It is a pool of its own, over `asyncpg.connect`, because asyncpg's waits for the server in the wrong
places. A connection whose statement timed out goes back to asyncpg's pool only once the server has
confirmed a cancellation, so a hung server holds the caller and in the end every connection: 0 of 10
were left. Here such a connection is dropped at once, and its place is free at once.

Two numbers are all there is to keep right: a caller holds a *place*, of which there are `open_max`,
for as long as it waits to connect or uses a connection; a connection that nobody uses is *idle*.
A caller opens a new connection only when none is idle, so places taken and idle ones are never more
than `open_max` together.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import asyncpg

from ftrepo.errors import PoolClosedError, PoolExhaustedError
from ftrepo.events import RetryScheduled
from ftrepo.postgres.failures import is_worth_repeating
from ftrepo.postgres.places import Places
from ftrepo.postgres.session import Session, open_session
from ftrepo.postgres.settings import ConnectionSettings, PoolSettings
from ftrepo.postgres.shelf import Shelf
from ftrepo.postgres.statistics import PoolCounts, PoolStatistics
from ftrepo.postgres.tls import tls_argument
from ftrepo.resilience.backoff import CONNECTING
from ftrepo.resilience.retry import Retry

LIFETIME_SPREAD = 0.1
"""By how much of `lifetime_max_s` a drawn lifetime may fall short of it."""

CONNECT_SHARE_LEAST = 0.25
"""The least share of the time for connecting that is worth an attempt. A server that hangs must
deal with every attempt made meanwhile before it can deal with the next one."""

TRIAL = "SELECT 1"
"""The least statement. asyncpg 0.32 cannot read the answer to an empty one."""

_DOUBTFUL = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""Errors after which nobody knows what the server and the driver think of the connection."""


class Pool:
    """Connections to one database. Opens without connecting: the server may be down.

    Use it as an async context manager, on one event loop::

        async with Pool(ConnectionSettings(dsn=dsn)) as pool:
            async with pool.connection() as connection:
                await connection.fetchval("SELECT 1")

    Args:
        connection: how to connect.
        pool: how many connections, and for how long; `PoolSettings.server()` by default.
        draw: returns random numbers in [0, 1), which spread the ages at which connections are
            replaced and the pauses between attempts. By default there is no spread.
    """

    def __init__(
        self,
        connection: ConnectionSettings,
        pool: PoolSettings | None = None,
        *,
        draw: Callable[[], float] | None = None,
    ) -> None:
        self.connection_settings = connection
        self.settings = pool or PoolSettings.server()
        self._draw = draw
        self._tls = tls_argument(
            connection.tls,
            ca_file=connection.tls_ca_file,
            certificate_file=connection.tls_certificate_file,
            key_file=connection.tls_key_file,
        )
        self._generation = 0
        self._is_open = False
        self._counts = PoolCounts()
        self._places = Places(self.settings.open_max)
        self._shelf = Shelf(self.settings, self._retire)
        self._sessions: set[Session] = set()  # Open ones: idle, being checked, or in use.
        self._in_use: set[Session] = set()
        self._farewells: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def open(self) -> None:
        """Let connections be asked for. Nothing is connected yet.

        Raises:
            PoolClosedError: the pool has been closed; make a new one.
        """
        if self._places.is_closed:
            raise PoolClosedError("a closed pool is not opened again; make a new one")
        self._is_open = True

    async def wait_until_ready(
        self, *, observe: Callable[[RetryScheduled], None] | None = None
    ) -> None:
        """Connect, trying `connect_attempts` times with growing pauses; for the start of a job.

        A service need not wait: it can start without its database. May be cancelled at any time.

        Args:
            observe: is told of every repetition, before the pause.

        Raises:
            Exception: that of the last attempt, or the first one that repeating cannot mend.
        """
        connection = self.connection_settings
        retry = Retry(
            replace(
                CONNECTING,
                attempts_max=connection.connect_attempts,
                first_s=connection.connect_backoff_first_s,
                pause_max_s=connection.connect_backoff_max_s,
            ),
            idempotent=True,
            operation="connect",
            when=is_worth_repeating,
            draw=self._draw,
            observe=observe,
        )
        await retry.call(self._prove)

    @contextlib.asynccontextmanager
    async def connection(
        self, *, timeout_s: float | None = None
    ) -> AsyncGenerator[asyncpg.Connection, None]:
        """Lend a connection for the length of a `with` block.

        Afterwards it goes back, unless something is doubtful about it: it is lost, a command on it
        was abandoned (a time-out, a cancelled caller), or the block raised an error of the network
        or the driver. Then it is dropped at once. A transaction left open is rolled back.

        Args:
            timeout_s: how long to wait; by default `PoolSettings.acquire_timeout_s`.

        Raises:
            PoolExhaustedError: no connection became free in time; nothing was sent.
            PoolClosedError: the pool is closed; nothing was sent.
            Exception: connecting failed; nothing was sent. Or whatever the block raises.
        """
        session = await self._acquire(timeout_s or self.settings.acquire_timeout_s)
        try:
            yield session
        except BaseException as error:
            await self._release(session, error)
            raise
        await self._release(session, None)

    def recycle(self) -> None:
        """Replace every connection: the idle ones now, those in use when they come back."""
        self._generation += 1
        self._shelf.clear()

    def has_backend(self, pid: int) -> bool:
        """Whether one of the open connections leads to the server process with this id."""
        return any(each.get_server_pid() == pid for each in (*self._in_use, *self._shelf))

    def statistics(self) -> PoolStatistics:
        """Return how many connections there are, and what has happened so far."""
        return PoolStatistics.of(
            self._counts,
            idle=len(self._shelf),
            in_use=len(self._in_use),
            places=self._places,
            open_max=self.settings.open_max,
        )

    async def close(self, timeout_s: float = 5.0) -> None:
        """Lend nothing more, wait for what is lent, close everything.

        Whoever waits for a connection is told at once. What is still in use after `timeout_s` is
        dropped under its user's feet. Returns within `timeout_s` and a little.
        """
        self._is_open = False
        self._places.close()
        self._shelf.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._places.all_free()
                if self._farewells:
                    await asyncio.wait(self._farewells)
        except TimeoutError:
            pass
        finally:
            for session in list(self._in_use):
                self._drop(session)
            for task in self._farewells:
                task.cancel()

    async def _prove(self) -> None:
        async with self.connection() as connection:
            await connection.execute(TRIAL)

    async def _acquire(self, timeout_s: float) -> Session:
        """Take a place, and a connection to fill it. Raising or cancelled, it holds neither."""
        if not self._is_open:
            raise PoolClosedError("the pool of connections is not open")
        loop = asyncio.get_running_loop()
        until_s = loop.time() + timeout_s
        try:
            await self._places.take(timeout_s)
        except TimeoutError:
            self._counts.exhausted += 1
            raise PoolExhaustedError(
                f"no connection became free within {timeout_s:g} s: all {self.settings.open_max} "
                f"are in use, and {self._places.waiting} callers wait"
            ) from None
        try:
            session = await self._idle_session(until_s)
            if session is None:
                session = await self._new_session(until_s, timeout_s)
        except BaseException:
            self._places.give_back()
            raise
        self._in_use.add(session)
        self._counts.acquired += 1
        return session

    async def _idle_session(self, until_s: float) -> Session | None:
        """Take an idle connection that works, or none."""
        loop = asyncio.get_running_loop()
        while (session := self._shelf.take(loop.time())) is not None:
            unused_s = loop.time() - session.unused_since_s
            if unused_s < self.settings.check_after_idle_s or await self._is_alive(
                session, min(self.settings.check_timeout_s, until_s - loop.time())
            ):
                return session
            # What broke this one has most likely broken those that were unused for as long.
            # Trying them one by one would use up the caller's time.
            self._shelf.clear(unused_since_s=session.unused_since_s)
        return None

    async def _is_alive(self, session: Session, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                await session.execute(TRIAL)
        except Exception:
            self._counts.checks_failed += 1
            self._drop(session)
            return False
        except BaseException:
            self._drop(session)
            raise
        return True

    async def _new_session(self, until_s: float, timeout_s: float) -> Session:
        """Connect, unless the caller has waited too long for that to be of any use."""
        loop = asyncio.get_running_loop()
        limit_s = self.connection_settings.connect_timeout_s
        left_s = min(limit_s, until_s - loop.time())
        if left_s < CONNECT_SHARE_LEAST * min(limit_s, timeout_s):
            self._counts.connects_spared += 1
            raise TimeoutError("after waiting, too little time was left to connect")
        generation = self._generation
        try:
            session = await open_session(self.connection_settings, tls=self._tls, timeout_s=left_s)
        except Exception as error:
            self._counts.connects_failed += 1
            if isinstance(error, TimeoutError):
                raise TimeoutError("the server let nobody connect within the time-out") from error
            raise
        spread = 0.0 if self._draw is None else LIFETIME_SPREAD * self._draw()
        now_s = loop.time()
        session.opened_s = session.unused_since_s = now_s
        session.retire_s = now_s + (1.0 - spread) * self.settings.lifetime_max_s
        session.generation = generation
        self._sessions.add(session)
        self._counts.opened += 1
        return session

    async def _release(self, session: Session, error: BaseException | None) -> None:
        """Take a connection back, and never wait for the server longer than the time-out."""
        try:
            doubtful = isinstance(error, _DOUBTFUL) or not session.is_at_rest()
            if doubtful or not await self._is_clean(session):
                self._drop(session)
        except BaseException:
            self._drop(session)
            raise
        finally:
            self._in_use.discard(session)
            if not session.is_closed():
                self._put_back(session)
            self._places.give_back()

    def _put_back(self, session: Session) -> None:
        if self._places.is_closed or session.generation != self._generation:
            self._retire(session)
        else:
            self._shelf.put(session, asyncio.get_running_loop().time())

    async def _is_clean(self, session: Session) -> bool:
        """Roll back what the block left open. Says whether that worked."""
        if not session.is_in_transaction():
            return True
        try:
            async with asyncio.timeout(self.settings.release_timeout_s):
                await session.execute("ROLLBACK")
        except Exception:
            return False
        return session.is_at_rest()

    def _drop(self, session: Session) -> None:
        """Break a connection off, so that not even a hung server can hold anybody up."""
        self._in_use.discard(session)
        if session in self._sessions:
            self._sessions.remove(session)
            self._counts.terminated += 1
            session.throw_away()

    def _retire(self, session: Session) -> None:
        """Close an idle connection in good order, while nobody waits for it."""
        self._sessions.remove(session)
        if session.is_closed():
            self._counts.lost += 1
            return
        self._counts.closed += 1
        self._in_background(session.close_within(self.settings.release_timeout_s))

    def _in_background(self, farewell: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(farewell)
        self._farewells.add(task)
        task.add_done_callback(self._farewells.discard)
