"""Encryption and identity, with a server that does nothing but greet: no PostgreSQL is needed."""

from __future__ import annotations

import asyncio
import datetime
import ssl
import struct
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ftrepo.postgres.failures import FailureKind, failure_kind
from ftrepo.postgres.pool import Pool
from ftrepo.postgres.settings import ConnectionSettings, PoolSettings

STARTING_UP = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"


def write_certificate(folder: Path, name: str, host: x509.GeneralName) -> Path:
    """A certificate that signs itself, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start.replace(year=2100))
        .add_extension(x509.SubjectAlternativeName([host]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


class Greeter:
    """Answers a request for encryption, and a start-up message with "starting up".

    Args:
        certificate: with which it encrypts; `None` if it does not.
        client_ca: whose clients it asks for a certificate of theirs.
    """

    def __init__(self, certificate: Path | None, client_ca: Path | None = None) -> None:
        self.started_in_clear = self.started_encrypted = 0
        self.peers: list[dict[str, Any]] = []
        self._context: ssl.SSLContext | None = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate)
            if client_ca is not None:
                self._context.load_verify_locations(client_ca)
                self._context.verify_mode = ssl.CERT_REQUIRED

    async def greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            code = await self._message(reader)
            if code == 80877103:
                writer.write(b"N" if self._context is None else b"S")
                await writer.drain()
                if self._context is not None:
                    await writer.start_tls(self._context)
                    self.peers.append(writer.get_extra_info("peercert"))
                await self._message(reader)
            if writer.get_extra_info("ssl_object"):
                self.started_encrypted += 1
            else:
                self.started_in_clear += 1
            writer.write(b"E" + struct.pack("!I", len(STARTING_UP) + 4) + STARTING_UP)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _message(self, reader: asyncio.StreamReader) -> int:
        (length,) = struct.unpack("!I", await reader.readexactly(4))
        code: int = struct.unpack("!I", (await reader.readexactly(length - 4))[:4])[0]
        return code


def outcome(greeter: Greeter, **settings: Any) -> Exception:
    """What connecting to it raises: "starting up", if it got so far."""

    async def main() -> Exception:
        server = await asyncio.start_server(greeter.greet, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        connection = ConnectionSettings(
            dsn=f"postgresql://ann:secret@127.0.0.1:{port}/keys", connect_timeout_s=10, **settings
        )
        try:
            settings_of_pool = PoolSettings(acquire_timeout_s=10)
            async with Pool(connection, settings_of_pool) as pool, pool.connection():
                raise AssertionError("nobody gets past the greeting")
        except (OSError, asyncpg.PostgresError) as error:
            return error
        finally:
            server.close()
            await server.wait_closed()

    return asyncio.run(main())


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """One for the address that is connected to, one for another name."""
    folder = tmp_path_factory.mktemp("certificates")
    right = x509.IPAddress(ip_address("127.0.0.1"))
    return {
        "right": str(write_certificate(folder, "right", right)),
        "other": str(write_certificate(folder, "other", x509.DNSName("other.example"))),
    }


@pytest.mark.parametrize(
    ("mode", "serves", "trusts", "accepted"),
    [
        ("verify-full", "right", "right", True),
        ("verify-full", "other", "other", False),  # signed, and not this host's
        ("verify-full", "right", "other", False),  # this host's, and not signed
        ("verify-full", "right", None, False),  # the system knows nothing of it
        ("verify-ca", "other", "other", True),
        ("verify-ca", "right", "other", False),
        ("require", "other", None, True),
    ],
)
def test_a_server_is_accepted_for_what_its_certificate_says(
    certificates: dict[str, str], mode: str, serves: str, trusts: str | None, accepted: bool
) -> None:
    """Refused, it learns neither user nor password; the failure is permanent."""
    greeter = Greeter(Path(certificates[serves]))
    error = outcome(greeter, tls=mode, tls_ca_file=certificates[trusts] if trusts else None)
    assert isinstance(error, asyncpg.CannotConnectNowError) is accepted
    assert (greeter.started_encrypted, greeter.started_in_clear) == (int(accepted), 0)
    if not accepted:
        assert isinstance(error, ssl.SSLCertVerificationError)
        assert failure_kind(error) is FailureKind.PERMANENT


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_a_server_without_encryption_learns_nothing(mode: str) -> None:
    """Where encryption is demanded, nothing is sent in clear."""
    greeter = Greeter(None)
    error = outcome(greeter, tls=mode)
    assert isinstance(error, ConnectionError)
    assert (greeter.started_encrypted, greeter.started_in_clear) == (0, 0)


@pytest.mark.parametrize(("mode", "tells"), [("prefer", 1), (None, 1), ("disable", 1)])
def test_a_server_without_encryption_will_do_where_it_may(mode: str | None, tells: int) -> None:
    """With prefer, with disable, and with a dsn that says nothing."""
    greeter = Greeter(None)
    assert isinstance(outcome(greeter, tls=mode), asyncpg.CannotConnectNowError)
    assert greeter.started_in_clear == tells


def test_a_client_can_show_its_own_certificate(certificates: dict[str, str]) -> None:
    """The server sees whose it is; without one it refuses."""
    files = {"tls": "verify-full", "tls_ca_file": certificates["right"]}
    greeter = Greeter(Path(certificates["right"]), client_ca=Path(certificates["other"]))
    error = outcome(greeter, tls_certificate_file=certificates["other"], **files)
    assert isinstance(error, asyncpg.CannotConnectNowError)
    assert greeter.peers[0]["subjectAltName"] == (("DNS", "other.example"),)
    assert not isinstance(outcome(greeter, **files), asyncpg.CannotConnectNowError)
