from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sim.testbed.proxy import Line, Proxy
from sim.testbed.proxy import _reset as reset_on_close

SILENCE_S = 0.1
"""How long nothing must arrive to count as silence."""

Side = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Echo:
    """A server that answers each piece with the same piece."""

    def __init__(self) -> None:
        self.heard = b""
        self.connected = 0
        self.ends: list[str] = []
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connected += 1
        self.writers.append(writer)
        try:
            while piece := await reader.read(100_000):
                self.heard += piece
                writer.write(piece)
            self.ends.append("closed")
        except ConnectionResetError:
            self.ends.append("reset")
        except asyncio.CancelledError:
            pass
        finally:
            self.connected -= 1
            writer.close()


Body = Callable[[Proxy, Echo], Awaitable[None]]


def played(body: Body) -> None:
    """Run a test's body with a server that echoes and a proxy before it."""

    async def play() -> None:
        echo = Echo()
        server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with Proxy("127.0.0.1", port) as proxy:
            await body(proxy, echo)
        server.close()
        for writer in echo.writers:
            writer.close()
        await until(lambda: not echo.connected)

    asyncio.run(asyncio.wait_for(play(), 20))


@asynccontextmanager
async def client(proxy: Proxy) -> AsyncIterator[Side]:
    """Connect to the proxy."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, and fail if it does not come."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - a fake has no event for each thing it may do
            await asyncio.sleep(0.005)


async def asked(side: Side, text: bytes) -> bytes:
    """Send a text and return as many bytes of the answer."""
    side[1].write(text)
    return await side[0].readexactly(len(text))


async def is_silent(side: Side) -> bool:
    """Whether nothing arrives, not even an end."""
    try:
        async with asyncio.timeout(SILENCE_S):
            await side[0].read(1)
    except TimeoutError:
        return True
    return False


async def measured_s(action: Awaitable[Any]) -> float:
    """Return how long something took."""
    now_s = asyncio.get_running_loop().time
    before_s = now_s()
    await action
    return now_s() - before_s


def test_a_good_line_passes_everything_both_ways() -> None:
    """Bytes arrive unchanged and in order, and the end of a connection is passed on."""

    async def body(proxy: Proxy, echo: Echo) -> None:
        text = bytes(range(256)) * 4_000
        async with client(proxy) as side:
            assert await asked(side, text) == text
        await until(lambda: echo.ends == ["closed"])
        await until(lambda: not proxy.connections)

    played(body)


def test_a_server_that_ends_a_connection_ends_it_for_the_client() -> None:
    """On a good line the client hears that the server has closed."""

    async def body(proxy: Proxy, echo: Echo) -> None:
        async with client(proxy) as side:
            await asked(side, b"one")
            echo.writers[0].close()
            assert await side[0].read() == b""

    played(body)


def test_a_paused_line_keeps_what_was_sent() -> None:
    """While the line does not flow nothing arrives; afterwards everything does."""

    async def body(proxy: Proxy, echo: Echo) -> None:
        async with client(proxy) as side:
            await asked(side, b"one")
            proxy.change(Line(flows=False))
            side[1].write(b"two")
            assert await is_silent(side)
            assert echo.heard == b"one"
            proxy.change(Line())
            assert await side[0].readexactly(3) == b"two"

    played(body)


def test_dropped_replies_are_lost_for_good() -> None:
    """The server hears and answers, and the answer never arrives, not even later."""

    async def body(proxy: Proxy, echo: Echo) -> None:
        async with client(proxy) as side:
            await asked(side, b"one")
            proxy.change(Line(drops_replies=True))
            side[1].write(b"two")
            assert await is_silent(side)
            assert echo.heard == b"onetwo"
            proxy.change(Line())
            assert await asked(side, b"three") == b"three"

    played(body)


def test_a_connection_closed_while_replies_drop_is_dead_for_good() -> None:
    """A client never hears of an end that came while replies were dropped."""

    async def body(proxy: Proxy, echo: Echo) -> None:
        async with client(proxy) as side:
            await asked(side, b"one")
            proxy.change(Line(drops_replies=True))
            echo.writers[0].close()
            await until(lambda: echo.connected == 0)
            proxy.change(Line())
            side[1].write(b"two")
            assert await is_silent(side)
        await until(lambda: not proxy.connections)

    played(body)


def test_a_reset_is_a_reset_and_no_orderly_end() -> None:
    """Both sides hear of a reset, and a new connection works."""

    async def body(proxy: Proxy, echo: Echo) -> None:
        async with client(proxy) as side:
            await asked(side, b"one")
            proxy.reset()
            with pytest.raises(ConnectionResetError):
                await side[0].read(1)
        await until(lambda: echo.ends == ["reset"])
        async with client(proxy) as side:
            assert await asked(side, b"two") == b"two"

    played(body)


def test_a_server_that_resets_a_connection_resets_it_for_the_client() -> None:
    """On a good line a reset by the server is passed on as one."""

    async def body(proxy: Proxy, echo: Echo) -> None:
        async with client(proxy) as side:
            await asked(side, b"one")
            reset_on_close(echo.writers[0])
            with pytest.raises(ConnectionResetError):
                await side[0].read(1)
        await until(lambda: not proxy.connections)

    played(body)


def test_a_line_that_resets_does_so_at_the_next_byte() -> None:
    """Old and new connections are reset when they are used, as long as the line is like that."""

    async def body(proxy: Proxy, echo: Echo) -> None:
        async with client(proxy) as old, client(proxy) as new:
            await asked(old, b"one")
            proxy.change(Line(resets=True))
            for side in (old, new):
                side[1].write(b"two")
                with pytest.raises(ConnectionResetError):
                    await side[0].read(1)
        proxy.change(Line())
        async with client(proxy) as side:
            assert await asked(side, b"three") == b"three"

    played(body)


def test_refused_connections_are_refused_and_open_ones_stay() -> None:
    """A proxy that refuses takes nobody new, keeps who is there, and comes back on its port."""

    async def body(proxy: Proxy, echo: Echo) -> None:
        async with client(proxy) as side:
            await asked(side, b"one")
            proxy.refuse()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", proxy.port)
            assert await asked(side, b"two") == b"two"
            await proxy.listen()
            async with client(proxy) as another:
                assert await asked(another, b"three") == b"three"

    played(body)


def test_a_half_open_connection_is_dead_and_does_not_say_so() -> None:
    """The server sees an end; the client can write for ever and hears nothing."""

    async def body(proxy: Proxy, echo: Echo) -> None:
        async with client(proxy) as side:
            await asked(side, b"one")
            proxy.half_open()
            await until(lambda: echo.connected == 0)
            side[1].write(b"two")
            assert await is_silent(side)
            async with client(proxy) as another:
                assert await asked(another, b"three") == b"three"
            assert await is_silent(side)
        await until(lambda: not proxy.connections)

    played(body)


def test_a_delay_is_paid_each_way() -> None:
    """A round trip takes the delay twice, also on a connection that was open before."""

    async def body(proxy: Proxy, echo: Echo) -> None:
        async with client(proxy) as side:
            fast_s = await measured_s(asked(side, b"one"))
            proxy.change(Line(delay_s=0.1))
            slow_s = await measured_s(asked(side, b"two"))
        assert fast_s < 0.1
        assert 0.19 < slow_s < 0.5

    played(body)


def test_a_trickle_passes_so_many_bytes_a_second() -> None:
    """A slow line delivers everything, at its rate."""

    async def body(proxy: Proxy, echo: Echo) -> None:
        async with client(proxy) as side:
            proxy.change(Line(bytes_per_s=1_000))
            duration_s = await measured_s(asked(side, bytes(300)))
        assert 0.25 < duration_s < 1.0

    played(body)


def test_a_trickle_that_ends_lets_the_rest_through() -> None:
    """A change of the line holds for a piece that is on its way already."""

    async def body(proxy: Proxy, echo: Echo) -> None:
        async with client(proxy) as side:
            proxy.change(Line(bytes_per_s=20))
            side[1].write(bytes(10_000))
            await asyncio.sleep(0.1)
            proxy.change(Line())
            # At the old rate it would take minutes.
            await side[0].readexactly(10_000)

    played(body)


def test_a_server_that_is_away_resets_the_client() -> None:
    """A client of a proxy whose server refuses is cut off, not left waiting."""

    async def body(proxy: Proxy, echo: Echo) -> None:
        async with Proxy("127.0.0.1", 1) as nowhere, client(nowhere) as side:
            with pytest.raises(ConnectionResetError):
                await side[0].read(1)
            await until(lambda: not nowhere.connections)

    played(body)


def test_the_end_of_the_proxy_is_the_end_of_its_connections() -> None:
    """Leaving ends every connection in whatever state it is, and no task is left."""

    async def body(proxy: Proxy, echo: Echo) -> None:
        async with client(proxy) as paused, client(proxy) as lost:
            await asked(paused, b"one")
            await asked(lost, b"two")
            proxy.half_open()
            proxy.change(Line(flows=False))
            paused[1].write(b"three")
            await proxy.__aexit__(None, None, None)
            assert not proxy.connections
            assert len(asyncio.all_tasks()) <= 3

    played(body)


def test_an_address_leads_by_way_of_the_proxy() -> None:
    """User, database and options of an address are kept."""

    async def body(proxy: Proxy, echo: Echo) -> None:
        assert (
            proxy.dsn("postgresql://me:secret@10.0.0.1:5432/keys?ssl=off")
            == f"postgresql://me:secret@127.0.0.1:{proxy.port}/keys?ssl=off"
        )
        assert proxy.dsn("postgresql://host/keys") == f"postgresql://127.0.0.1:{proxy.port}/keys"

    played(body)
