"""A TCP proxy on 127.0.0.1 that spoils the line between a service and its server.

What the line does can change at any moment and holds at once for the connections that are open. The
proxy runs on the caller's event loop; it copies bytes and knows nothing of what they mean.
"""

from __future__ import annotations

import asyncio
import enum
import secrets
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from sim.testbed.binaries import TestbedError
from sim.testbed.cluster import PORTS

_PIECE_BYTES = 64 * 1024
_PORT_TRIES = 20
_TRICKLE_STEP_S = 0.05
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Loss(enum.Enum):
    """What becomes of a piece that a client sends."""

    NONE = "none"
    """It passes."""
    REQUEST = "request"
    """Its connection is reset in its place: the server never has it."""
    REPLY = "reply"
    """The server has it, and the connection is reset in the place of the answer."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """How the line behaves, for every connection over it. The default is a good line.

    Attributes:
        flows: if not, nothing is taken from either side: what is sent waits in the buffers of the
            kernel and arrives when the line flows again.
        drops_replies: whether all that the server sends is thrown away; connections stay. One that
            the server closes meanwhile stays open towards the client, and is dead for good.
        resets: whether a connection is reset (RST, in place of an orderly end) at its next byte.
        delay_s: for how long each piece is held, each way; a round trip takes twice as long. What
            arrives meanwhile is the next piece.
        bytes_per_s: the most that passes, each way of each connection; `None` for no bound.
        delays: draws the delay of each piece that a client sends; replies have `delay_s`.
        loses: tells of each piece that a client sends what becomes of it; `None`: it passes.
    """

    flows: bool = True
    drops_replies: bool = False
    resets: bool = False
    delay_s: float = 0.0
    bytes_per_s: float | None = None
    delays: Callable[[bytes], float] | None = None
    loses: Callable[[bytes], Loss] | None = None


class Proxy:
    """Passes connections on to a server. An async context manager; on leaving all are reset.

    Where the server does not take the connection, the client's is reset: a proxy has accepted it
    by then.

    Args:
        host: where the server is.
        port: where the server listens.

    Attributes:
        port: where the proxy listens, on 127.0.0.1; the same as long as it lives.
        line: how the line behaves now; see `change`.
        watch: is shown every piece that a client sends.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self.port = 0
        self.line = Line()
        self.watch: Callable[[bytes], object] = bool
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._listener: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        for _ in range(_PORT_TRIES):
            self.port = secrets.choice(PORTS)
            with suppress(OSError):
                await self.listen()
                return self
        raise TestbedError(f"none of {_PORT_TRIES} ports could be had for the proxy")

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.refuse()
        self.reset()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def connections(self) -> int:
        """How many clients are connected, those included whose server side has gone."""
        return len(self._connections)

    def dsn(self, dsn: str) -> str:
        """Return the address of a database, by way of the proxy."""
        parts = urlsplit(dsn)
        user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
        return urlunsplit(parts._replace(netloc=f"{user}127.0.0.1:{self.port}"))

    def change(self, line: Line) -> None:
        """Make the line behave in this way from now on."""
        self.line = line
        if line.flows:
            self._flowing.set()
        else:
            self._flowing.clear()

    def refuse(self) -> None:
        """Refuse new connections; those that are open stay. `listen` ends it."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def listen(self) -> None:
        """Take new connections, if they are refused."""
        if self._listener is None:
            self._listener = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    def reset(self) -> None:
        """Reset every connection that is open, on both sides. New ones are welcome."""
        for connection in tuple(self._connections):
            connection.reset()

    def half_open(self) -> None:
        """Close every open connection towards the server, and never tell the client.

        So a firewall that has forgotten a connection behaves. New connections are welcome.
        """
        for connection in tuple(self._connections):
            connection.lose_server()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        connection = _Connection(writer)
        self._connections.add(connection)
        try:
            await self._pass_on(connection, reader, writer)
        except OSError:
            connection.reset()
        except asyncio.CancelledError:
            # Only the end of the proxy cancels, and asyncio would report it as an error.
            connection.reset()
        finally:
            self._connections.discard(connection)
            self._tasks.discard(task)

    async def _pass_on(
        self,
        connection: _Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        server_reader, server_writer = await asyncio.open_connection(*self._target)
        connection.server = server_writer
        replies = asyncio.create_task(self._copy(connection, server_reader, writer, replies=True))
        connection.on_server_lost = replies.cancel
        try:
            await self._copy(connection, reader, server_writer, replies=False)
        finally:
            replies.cancel()
            await asyncio.gather(replies, return_exceptions=True)
            connection.close()

    async def _copy(
        self,
        connection: _Connection,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        *,
        replies: bool,
    ) -> None:
        """Copy one direction until either side ends."""
        while True:
            await self._flowing.wait()
            try:
                piece, was_reset = await source.read(_PIECE_BYTES), False
            except OSError:
                piece, was_reset = b"", True
            await self._flowing.wait()
            line = self.line
            if line.resets or (was_reset and not (replies and line.drops_replies)):
                return connection.reset()
            if replies and line.drops_replies:
                if not piece:
                    return connection.lose_server()
                continue
            if not piece:
                return sink.close()
            if not replies:
                self.watch(piece)
            if _is_lost(connection, line, piece, replies=replies):
                return connection.reset()
            await asyncio.sleep(_delay_s(line, piece, replies=replies))
            if not (replies or connection.has_server):
                continue  # The server's side is gone; the client may talk to nobody.
            await self._write(sink, piece)

    async def _write(self, sink: asyncio.StreamWriter, piece: bytes) -> None:
        while piece:
            await self._flowing.wait()
            rate = self.line.bytes_per_s
            now = len(piece) if rate is None else max(1, round(rate * _TRICKLE_STEP_S))
            part, piece = piece[:now], piece[now:]
            sink.write(part)
            await sink.drain()
            if rate is not None:
                await asyncio.sleep(len(part) / rate)


class _Connection:
    """One client's connection and its continuation to the server."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.client = client
        self.server: asyncio.StreamWriter | None = None
        self.has_server = True
        self.loses_reply = False
        self.on_server_lost: Callable[[], object] = bool

    def close(self) -> None:
        self.client.close()
        if self.server is not None:
            self.server.close()

    def reset(self) -> None:
        for side in (self.client, self.server):
            if side is not None:
                _reset(side)

    def lose_server(self) -> None:
        self.has_server = False
        self.on_server_lost()
        if self.server is not None:
            self.server.transport.abort()


def _is_lost(connection: _Connection, line: Line, piece: bytes, *, replies: bool) -> bool:
    """Whether the connection is reset in the place of this piece."""
    if replies:
        return connection.loses_reply
    loss = Loss.NONE if line.loses is None else line.loses(piece)
    connection.loses_reply |= loss is Loss.REPLY
    return loss is Loss.REQUEST


def _delay_s(line: Line, piece: bytes, *, replies: bool) -> float:
    return line.delay_s if replies or line.delays is None else line.delays(piece)


def _reset(side: asyncio.StreamWriter) -> None:
    """End a connection with RST, which the other side reads as "connection reset by peer"."""
    connected = side.get_extra_info("socket")
    with suppress(OSError):
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    side.transport.abort()
