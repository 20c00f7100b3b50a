"""One process of the service: started, served by uvicorn, and stopped in order.

::

    start   the port is taken; the embedded database, if there is one; the service; then requests
    stop    told so by SIGTERM, SIGINT or SIGHUP, it says that it is not ready, goes on for
            `stop_delay_s`, takes no more connections, lets the requests under way end, and undoes
            the start from the last step to the first: pending writes are flushed, and the database
            stops last
    stop!   told so again, it ends at once, as if it had been killed; what is in the journal is
            written after the next start

uvicorn's own handling of signals is not used: it ends the process by the signal that it was sent,
and knows nothing of readiness. Nor is its running of the lifespan: an error there would be a
traceback in the log, where here it is the one line that the command line prints.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Generator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import uvicorn
from pydantic import SecretStr

from ftrepo.postgres.migrate import upgrade
from ftrepo.service.connections import (
    HEAD_BYTES_MAX,
    allow_open_files,
    bound_sockets,
    guarded_connections,
    url_of,
)
from ftrepo.service.embedded import EmbeddedPostgres
from ftrepo.service.http.app import create_app
from ftrepo.service.running import Service

if TYPE_CHECKING:
    import socket

    from ftrepo.service.settings import ServerSettings, ServiceSettings

_log = logging.getLogger("ftrepo")

EMBEDDED = "postgresql"
"""The name of the embedded database's folder in the folder of the service."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


async def serve(
    settings: ServiceSettings, *, started: Callable[[str], None] = lambda _: None
) -> None:
    """Run the service until it is told to stop, by SIGTERM or SIGINT (Ctrl-C).

    Args:
        settings: of the service.
        started: is called with the address once requests are taken.

    Raises:
        FtrepoError: it cannot be started; the message says why and what to do.
        OSError: a folder or a file cannot be used.
    """
    await _Process(settings, started).run()


class _Process:
    """What a signal must be able to reach, whatever the service is at."""

    def __init__(self, settings: ServiceSettings, started: Callable[[str], None]) -> None:
        self._settings = settings
        self._started = started
        self._task: asyncio.Task[object] | None = None
        self._embedded: EmbeddedPostgres | None = None
        self._service: Service | None = None
        self._server: _Server | None = None
        self._told_to_stop = False

    async def run(self) -> None:
        self._task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        heard = _signals()
        for number in heard:
            loop.add_signal_handler(number, self._signalled, number)
        try:
            async with AsyncExitStack() as stack:
                await self._serve(stack)
        except asyncio.CancelledError:
            # Told to stop before requests were taken, which has been undone by now.
            if not self._told_to_stop:
                raise
        finally:
            for number in heard:
                loop.remove_signal_handler(number)
        _log.info("stopped")

    async def _serve(self, stack: AsyncExitStack) -> None:
        server = self._settings.server
        allow_open_files(server.connections_max)
        sockets = await asyncio.to_thread(bound_sockets, server.host, server.port)
        for each in sockets:
            stack.callback(each.close)
        url = url_of(sockets[0])
        settings = await self._with_database(stack)
        if settings.issuer is None:
            settings = settings.model_copy(update={"issuer": url})
        service = self._service = Service(settings)
        app = create_app(service)
        await stack.enter_async_context(app.router.lifespan_context(app))
        if self._told_to_stop:  # Something has taken that for an end of its own.
            return
        self._server = _Server(_configured(app, server), started=lambda: self._started(url))
        await self._server.serve(sockets)

    async def _with_database(self, stack: AsyncExitStack) -> ServiceSettings:
        """Start a database of one's own, if none is given, and say where it is."""
        settings = self._settings
        if settings.dsn is not None:
            return settings
        self._embedded = EmbeddedPostgres(settings.folder / EMBEDDED)
        await stack.enter_async_context(self._embedded)
        dsn = self._embedded.dsn
        if settings.migrate is not False:
            await upgrade(dsn)
        return settings.model_copy(update={"dsn": SecretStr(dsn), "migrate": False})

    def _signalled(self, number: signal.Signals) -> None:
        if self._told_to_stop:
            self._end_at_once(number)
        self._told_to_stop = True
        _log.info("stopping, as told by %s; once more ends it at once", number.name)
        if self._service is not None:
            self._service.stopping = True
        if self._server is None:
            assert self._task is not None
            self._task.cancel()
        else:
            delay_s = self._settings.server.stop_delay_s
            asyncio.get_running_loop().call_later(delay_s, self._server.stop)

    def _end_at_once(self, number: signal.Signals) -> None:
        _log.warning("ended at once, as told by %s", number.name)
        if self._embedded is not None:
            self._embedded.abandon()
        os._exit(128 + number)


class _Server(uvicorn.Server):
    """uvicorn without its signals, and with word of its start."""

    def __init__(self, config: uvicorn.Config, *, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._say_started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._say_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    def stop(self) -> None:
        self.should_exit = True


def _signals() -> tuple[signal.Signals, ...]:
    """Those that tell it to stop; one is sent when a terminal is closed, and `nohup` ignores it."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return _SIGNALS
    return (*_SIGNALS, signal.SIGHUP)  # Unheard, it would leave the embedded database running.


def _configured(app: object, settings: ServerSettings) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        # Other parsers are faster, and bound a request's head in other ways or not at all.
        http=guarded_connections(settings),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        limit_concurrency=settings.connections_max,
        h11_max_incomplete_event_size=HEAD_BYTES_MAX,
        timeout_keep_alive=settings.keep_alive_timeout_s,  # type: ignore[arg-type]
        timeout_graceful_shutdown=settings.shutdown_timeout_s,  # type: ignore[arg-type]
    )
