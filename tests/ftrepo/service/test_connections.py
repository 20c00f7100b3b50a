from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvicorn

from ftrepo.service import connections
from ftrepo.service.connections import (
    CallerConnections,
    allow_open_files,
    bound_sockets,
    guarded_connections,
    url_of,
)
from ftrepo.service.errors import ServiceSettingsError
from ftrepo.service.settings import ServerSettings

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n"


async def answer_ok(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer every request with nothing, once its path's number of seconds is over."""
    await asyncio.sleep(float(scope["path"][1:] or 0))
    await send({"type": "http.response.start", "status": 204})
    await send({"type": "http.response.body"})


@asynccontextmanager
async def served(
    *, head_timeout_s: float = 10.0, keep_alive_s: float = 10.0, **given: Any
) -> AsyncIterator[int]:
    """Serve `answer_ok` and give the port."""
    settings = ServerSettings(request_head_timeout_s=head_timeout_s, **given)
    protocol = guarded_connections(settings)
    config = uvicorn.Config(
        answer_ok,
        http=protocol,
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_keep_alive=keep_alive_s,  # type: ignore[arg-type]
    )
    sockets = bound_sockets("127.0.0.1", 0)
    port = sockets[0].getsockname()[1]
    listening = asyncio.Event()

    class Told(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            listening.set()

    server = Told(config)
    task = asyncio.create_task(server.serve(sockets))
    await listening.wait()
    try:
        yield port
    finally:
        server.should_exit = True
        await task


async def exchanged(streams: Streams, sent: bytes) -> bytes:
    """Send something and return the head of the answer; nothing if the connection was closed."""
    reader, writer = streams
    writer.write(sent)
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


def test_a_head_that_does_not_come_ends_the_connection() -> None:
    """Whoever sends nothing, or half a head, also as a second request, is not waited for."""

    async def story() -> None:
        async with served(head_timeout_s=0.1, keep_alive_s=0.1) as port:
            for before in (b"", HEAD):
                streams = await asyncio.open_connection("127.0.0.1", port)
                assert await exchanged(streams, before) == b""
                streams[1].close()
            streams = await asyncio.open_connection("127.0.0.1", port)
            assert await exchanged(streams, HEAD + b"\r\n" + HEAD) != b""
            assert await exchanged(streams, b"X-Slow: 1\r\n") == b""
            streams[1].close()

    asyncio.run(asyncio.wait_for(story(), 20))


def test_an_answer_may_take_longer_than_a_head() -> None:
    """Only heads are bounded: an answer that takes its time arrives, one after another."""

    async def story() -> None:
        async with served(head_timeout_s=0.05, keep_alive_s=0.05) as port:
            streams = await asyncio.open_connection("127.0.0.1", port)
            slow = HEAD.replace(b"GET /", b"GET /0.3") + b"\r\n"
            assert (await exchanged(streams, slow)).startswith(b"HTTP/1.1 204")
            # Sent at once, the second is under way before the first is answered.
            assert (await exchanged(streams, slow + slow)).startswith(b"HTTP/1.1 204")
            assert (await exchanged(streams, b"")).startswith(b"HTTP/1.1 204")
            streams[1].close()

    asyncio.run(asyncio.wait_for(story(), 20))


def test_no_caller_has_all_the_connections() -> None:
    """One too many is closed at once; as soon as another has gone there is room again."""

    async def story() -> None:
        async with served(caller_connections_max=2, trusted_proxies=()) as port:
            held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            for streams in held:
                assert await exchanged(streams, HEAD + b"\r\n") != b""
            refused = await asyncio.open_connection("127.0.0.1", port)
            with suppress(ConnectionError):
                assert await exchanged(refused, HEAD + b"\r\n") == b""
            refused[1].close()
            held[0][1].close()
            while True:  # Until the server has heard of it.
                again = await asyncio.open_connection("127.0.0.1", port)
                with suppress(ConnectionError):
                    if await exchanged(again, HEAD + b"\r\n"):
                        break
                again[1].close()
            for _, writer in (held[1], again):
                writer.close()

    asyncio.run(asyncio.wait_for(story(), 20))


def test_connections_are_counted_by_caller() -> None:
    """One network of IPv6 is one caller; proxies are not counted; nothing is kept of who left."""
    callers = CallerConnections(1, exempt=("10.0.0.0/8", "fd00::/8"))
    assert all(callers.enter(host) for host in ("10.1.2.3", "10.1.2.3", "fd00::1", "fd00::1", ""))
    assert len(callers) == 0
    assert callers.enter("2001:db8::1")
    assert not callers.enter("2001:db8::2")
    assert callers.enter("192.0.2.1")
    assert not callers.enter("::ffff:192.0.2.1")
    callers.leave("2001:db8::1")
    callers.leave("10.1.2.3")
    assert callers.enter("2001:db8::2")
    callers.leave("2001:db8::2")
    callers.leave("192.0.2.1")
    assert len(callers) == 0


def test_a_host_without_a_port_for_us_is_named() -> None:
    """Taken, unknown or not of this machine: each says so, and no socket stays open."""
    (listening,) = bound_sockets("127.0.0.1", 0)
    listening.listen()
    port = listening.getsockname()[1]
    assert url_of(listening) == f"http://127.0.0.1:{port}"
    with pytest.raises(ServiceSettingsError, match=rf"port {port} of 127.0.0.1 is taken: .*--port"):
        bound_sockets("127.0.0.1", port)
    listening.close()
    with pytest.raises(ServiceSettingsError, match="there is no such host"):
        bound_sockets("127.0.0.1.5", 0)
    for code, said in (
        (errno.EADDRNOTAVAIL, "'a' is no address of this machine"),
        (errno.EACCES, "port 80 of a may not be used by this user"),
        (errno.EMFILE, "cannot listen on port 80 of a: Too many open files"),
    ):
        error = OSError(code, os.strerror(code))
        assert said in connections._why_not_bound(error, "a", 80)


def test_a_name_with_two_addresses_has_one_port() -> None:
    """Where `localhost` is both kinds of address, both are listened on, at the same port."""
    sockets = bound_sockets("localhost", 0)
    assert len({each.getsockname()[1] for each in sockets}) == 1
    for each in sockets:
        each.close()


def test_an_address_that_the_machine_lacks_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container without IPv6 `localhost` may have the address ::1 all the same."""
    lacking = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))
    there = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [lacking, there])
    (one,) = bound_sockets("both", 0)
    assert one.getsockname()[0] == "127.0.0.1"
    one.close()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [lacking])
    with pytest.raises(ServiceSettingsError, match="'both' is no address of this machine"):
        bound_sockets("both", 0)


def test_open_files_are_allowed_as_far_as_the_system_lets_us(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The soft limit is raised to what is needed, up to the hard one, and never lowered."""
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    for limits, expected in (
        ((1024, 65536), [(4352, 65536)]),
        ((65536, 65536), []),
        ((1024, resource.RLIM_INFINITY), [(4352, resource.RLIM_INFINITY)]),
        ((1024, 2048), [(2048, 2048)]),
    ):
        asked.clear()
        assert "too few" not in caplog.text
        monkeypatch.setattr(resource, "getrlimit", lambda _, limits=limits: limits)
        allow_open_files(4096)
        assert asked == expected
    assert "2048 open files, too few for server.connections_max = 4096" in caplog.text
