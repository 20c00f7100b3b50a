"""Where keys are: a real server on this machine that misbehaves, and files."""

from __future__ import annotations

import asyncio
import gzip
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from ftrepo.resilience import BreakerRegistry
from ftrepo.service.errors import InvalidTokenError, ProviderUnavailableError
from ftrepo.service.providers import ProviderEvent, Providers
from ftrepo.service.providers.fetch_error import FetchError
from ftrepo.service.providers.sources import (
    BODY_BYTES_MAX,
    Answer,
    JwksAddress,
    JwksFile,
    _max_age_s,
    open_client,
)
from ftrepo.service.settings import TokenSettings
from sim.world.issuers import EPOCH
from tests.ftrepo.service.providers.issuers import jwk, jwks, private_key, settings, token

Connection = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

A, B = (private_key("EdDSA", name) for name in ("a", "b"))
ONLY_A = jwks(jwk(A, "EdDSA", "a"))


@asynccontextmanager
async def serving(
    connection: Connection, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that does with each connection what it is told; its address, and the requests."""
    requests: list[bytes] = []
    open_ones: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ones[writer] = asyncio.current_task()
        try:
            while head := await _head(reader):
                requests.append(head)
                await connection(reader, writer)
        except ConnectionError:
            pass  # The client has had enough.
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    async with server:
        yield f"http{'s' if tls else ''}://127.0.0.1:{port}/keys", requests
        for writer in open_ones:
            writer.transport.abort()
        await asyncio.gather(*filter(None, open_ones.values()))


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


def answering(*lines: str, body: bytes = b"", ends: bool = False) -> Connection:
    """Answer with these lines for a head, and the body; and close, if that ends it."""

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write("".join(f"{line}\r\n" for line in (*lines, "")).encode() + body)
        await writer.drain()
        if ends:
            raise ConnectionAbortedError

    return connection


def ok(body: bytes, *headers: str) -> Connection:
    """Answer with this body."""
    return answering("HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers, body=body)


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer nothing until the client is gone."""
    await reader.read()


async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer a byte now and then: no single read takes long."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


async def flow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer without an end."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"4000\r\n" + b" " * 0x4000 + b"\r\n")
        await writer.drain()


async def read(url: str) -> Answer:
    """What is read from this address."""
    async with open_client() as client, asyncio.timeout(30.0):  # If a bound is broken, it fails.
        return await JwksAddress(url, client).read()


def read_from(connection: Connection) -> Answer:
    """What is read from a server that does this."""

    async def main() -> Answer:
        async with serving(connection) as (url, _):
            return await read(url)

    return asyncio.run(main())


def test_a_plain_answer_is_read() -> None:
    """With what the provider says of caching; and no encoding and no cookie is asked for."""

    async def main() -> None:
        connection = ok(ONLY_A, "Cache-Control: public, max-age=60", "Set-Cookie: a=b; Path=/")
        async with serving(connection) as (url, requests), open_client() as client:
            source = JwksAddress(url, client)
            assert await source.read() == Answer(ONLY_A, 60.0)
            assert await source.read() == Answer(ONLY_A, 60.0)
        assert all(b"accept-encoding: identity\r\n" in each.lower() for each in requests)
        assert not any(b"cookie" in each.lower() for each in requests)
        assert len(requests) == 2

    asyncio.run(main())


@pytest.mark.parametrize(
    ("connection", "reason"),
    [
        pytest.param(answering("HTTP/1.1 500 Oops", "Content-Length: 0"), "unexpected-status"),
        pytest.param(answering("HTTP/1.1 204 None"), "unexpected-status"),
        pytest.param(answering("HTTP/1.1 304 Same"), "unexpected-status"),
        pytest.param(
            ok(gzip.compress(b" " * 100_000_000), "Content-Encoding: gzip"), "encoded", id="bomb"
        ),
        pytest.param(
            answering("HTTP/1.1 200 OK", "Content-Length: 9999999999"), "too-large", id="said"
        ),
        pytest.param(ok(b" " * (BODY_BYTES_MAX + 1)), "too-large", id="a byte too long"),
        pytest.param(flow, "too-large", id="endless"),
        pytest.param(
            answering("HTTP/1.1 200 OK", "Content-Length: 999", body=ONLY_A, ends=True),
            "not-reachable",
            id="truncated",
        ),
        pytest.param(answering("SSH-2.0-OpenSSH", ends=True), "not-reachable", id="no HTTP"),
        pytest.param(answering("HTTP/1.1 200 OK", "X: " + "x" * 200_000), "not-reachable"),
    ],
)
def test_a_bad_answer_is_refused_by_name(connection: Connection, reason: str) -> None:
    """Whatever the server does, nothing of it is in the error."""
    with pytest.raises(FetchError) as caught:
        read_from(connection)
    assert caught.value.reason == reason
    assert "127.0.0.1" not in str(caught.value)


def test_the_bound_on_the_body_is_exact() -> None:
    """So many bytes are read."""
    assert len(read_from(ok(b" " * BODY_BYTES_MAX)).body) == BODY_BYTES_MAX


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(status: int) -> None:
    """Not even to the same host: an operator sets the address where the keys are."""

    async def main() -> None:
        async with (
            serving(ok(ONLY_A)) as (target, asked),
            serving(
                answering(f"HTTP/1.1 {status} Away", f"Location: {target}", "Content-Length: 0")
            ) as (url, _),
        ):
            with pytest.raises(FetchError) as caught:
                await read(url)
        assert caught.value.reason == "redirected"
        assert asked == []

    asyncio.run(main())


def test_a_port_where_nobody_listens_is_not_reachable() -> None:
    """A refused connection has a name too."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/keys"
        with pytest.raises(FetchError) as caught:
            asyncio.run(read(url))
    assert caught.value.reason == "not-reachable"


def test_the_environment_sets_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sets a variable does not get the calls."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert read_from(ok(ONLY_A)).body == ONLY_A


def test_a_certificate_that_nobody_vouches_for_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its own name, for it is not cured by waiting; nor by a variable of the environment."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    begin = datetime(2020, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, begin, begin + timedelta(36_500))
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )
    pem = tmp_path / "both.pem"
    pem.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pem)

    async def main() -> None:
        async with serving(ok(ONLY_A), tls) as (url, requests):
            with pytest.raises(FetchError) as caught:
                await read(url)
        assert caught.value.reason == "tls-failed"
        assert requests == []

    asyncio.run(main())


@pytest.mark.parametrize(
    ("headers", "max_age_s"),
    [
        ({}, None),
        ({"Cache-Control": "public"}, None),
        ({"Cache-Control": "public, Max-Age=300, must-revalidate"}, 300.0),
        ({"Cache-Control": 'max-age="300"'}, 300.0),
        ({"Cache-Control": "s-maxage=5"}, None),
        ({"Cache-Control": "max-age=300", "Age": "100"}, 200.0),
        ({"Cache-Control": "max-age=300", "Age": "400"}, 0.0),
        ({"Cache-Control": "max-age=300", "Age": "-5"}, 300.0),
        ({"Cache-Control": "max-age=300, no-cache"}, 0.0),
        ({"Cache-Control": "no-store"}, 0.0),
        ({"Cache-Control": "max-age=" + "9" * 5000}, 999_999_999.0),
        ({"Cache-Control": "max-age=-1"}, None),
        ({"Cache-Control": "max-age=١"}, None),
    ],
)
def test_how_long_an_answer_may_be_kept(headers: dict[str, str], max_age_s: float | None) -> None:
    """As the caching headers say it, whatever their numbers are."""
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    assert _max_age_s(httpx2.Headers(encoded)) == max_age_s


def test_a_file_is_read_as_it_is_now(tmp_path: Path) -> None:
    """Even if its length and its time are what they were."""
    path = tmp_path / "keys.json"

    async def main() -> None:
        source = JwksFile(path)
        for body in (b"{}", b"[]"):
            path.write_bytes(body)
            os.utime(path, (0, 0))
            assert await source.read() == Answer(body)

    asyncio.run(main())


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    """Nothing, a folder, and a pipe, which would never end."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (tmp_path / "nothing", tmp_path, pipe):
        with pytest.raises(FetchError) as caught:
            asyncio.run(JwksFile(path).read())
        assert caught.value.reason == "not-readable"
        assert str(tmp_path) not in str(caught.value)
    huge = tmp_path / "huge"
    huge.write_bytes(b" " * (BODY_BYTES_MAX + 1))
    with pytest.raises(FetchError) as caught:
        asyncio.run(JwksFile(huge).read())
    assert caught.value.reason == "too-large"


def providers(observe: Callable[[ProviderEvent], None], **others: object) -> Providers:
    """One provider, in real time, but on the day of the tokens."""
    return Providers(
        [settings(**others)],
        tokens=TokenSettings(),
        now=lambda: EPOCH,
        breakers=BreakerRegistry(),
        observe=observe,
    )


def test_a_file_that_changes_brings_its_keys_and_one_that_is_torn_takes_none(
    tmp_path: Path,
) -> None:
    """In real time, with threads: a new key is found as soon as somebody brings it."""
    path = tmp_path / "keys.json"
    path.write_bytes(ONLY_A)
    events: list[ProviderEvent] = []

    async def main() -> None:
        async with providers(events.append, jwks_file=path) as verifier:
            await verifier.verify(token(A))
            path.write_bytes(jwks(jwk(A, "EdDSA", "a"), jwk(B, "EdDSA", "b")))
            await verifier.verify(token(B, kid="b"))
            path.write_bytes(ONLY_A[:-9])
            with pytest.raises(ProviderUnavailableError):
                await verifier.verify(token(B, kid="c"))
            await verifier.verify(token(A))
            await verifier.verify(token(B, kid="b"))
            path.write_bytes(ONLY_A)
            with pytest.raises(InvalidTokenError, match="no such key"):
                await verifier.verify(token(B, kid="d"))
            with pytest.raises(InvalidTokenError, match="no such key"):
                await verifier.verify(token(B, kid="b"))

    asyncio.run(main())


@pytest.mark.parametrize("connection", [hang, trickle], ids=["hangs", "trickles"])
def test_a_fetch_as_a_whole_is_bounded(connection: Connection) -> None:
    """A server that says nothing, and one that says a byte now and then, are both given up."""

    async def main() -> None:
        async with (
            serving(connection) as (url, requests),
            providers(lambda event: None, jwks_url=url, fetch_timeout_s=0.2) as verifier,
        ):
            with pytest.raises(ProviderUnavailableError):
                await verifier.verify(token(A))
            (status,) = verifier.statuses()
            assert status.last_error == "it did not answer in time"
            assert (status.state, len(requests)) == ("never", 1)

    asyncio.run(main())
