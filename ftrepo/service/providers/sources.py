"""Where a provider's keys are: at an address or in a file. Whoever asks bounds the time.

What is fetched from an address is small, public and cached, so everything that is not needed for
it is refused: redirects, which could lead to another host or to plain http (the operator sets the
address that they would lead to); compressed answers, which can grow a thousandfold when they are
unpacked; cookies; and proxies, credentials and certificates from the environment, which whoever
starts the service may not know of. Certificates are checked against those of the system.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import stat
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Protocol

import httpx2

from ftrepo.service.providers.fetch_error import FetchError

BODY_BYTES_MAX = 262_144
"""The longest key set that is read: a hundred RSA keys with their certificates take 200 kB."""

_NOT_KEPT = re.compile(r"(?<![\w-])no-(?:store|cache)", re.ASCII)
_MAX_AGE = re.compile(r"(?<![\w-])max-age=\"?(\d{1,9})", re.ASCII)
_AGE = re.compile(r"\d{1,9}", re.ASCII)
_CAUSES_MAX = 5


@dataclass(frozen=True, slots=True)
class Answer:
    """What a source has.

    Attributes:
        body: a JWK set, it is hoped.
        max_age_s: for how long the source says that it may be kept; `None` if it does not say.
    """

    body: bytes = field(repr=False)
    max_age_s: float | None = None


class JwksSource(Protocol):
    """Somewhere that a JWK set can be read from."""

    async def read(self) -> Answer:
        """Return what is there now.

        Raises:
            FetchError: it cannot be had.
        """
        ...


def open_client(transport: httpx2.AsyncBaseTransport | None = None) -> httpx2.AsyncClient:
    """Return a client that asks for key sets and does nothing else; the caller closes it.

    Args:
        transport: makes the calls; `None` for the network.
    """
    return httpx2.AsyncClient(
        transport=transport,
        trust_env=False,
        follow_redirects=False,
        timeout=None,  # Each fetch as a whole is bounded, not each of its reads.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        headers={"Accept": "application/jwk-set+json, application/json", "User-Agent": "ftrepo"},
    )


class JwksAddress:
    """A key set at an address."""

    def __init__(self, url: str, client: httpx2.AsyncClient) -> None:
        self._url = url  # Without a password, as the settings see to: the client logs it.
        self._client = client

    async def read(self) -> Answer:
        """Return what the address answers, read in pieces and no further than is accepted."""
        # To ask for no encoding is to be answered without one: RFC 9110, section 12.5.3.
        headers = {"Accept-Encoding": "identity"}
        try:
            async with self._client.stream("GET", self._url, headers=headers) as response:
                _check_head(response)
                body = bytearray()
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > BODY_BYTES_MAX:
                        raise _too_large()
        except (httpx2.HTTPError, OSError) as error:
            if _is_about_tls(error):
                raise FetchError("tls-failed", "it has no certificate that is trusted") from error
            raise FetchError("not-reachable", "it cannot be reached, or broke off") from error
        return Answer(bytes(body), _max_age_s(response.headers))


class JwksFile:
    """A key set in a file.

    It is read whole each time, off the loop. Its time and size would not tell all changes: a file
    may change twice within the grain of the clock, and keep its size.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    async def read(self) -> Answer:
        """Return what the file holds now. It may be caught half written, as JSON then tells."""
        try:
            return Answer(await asyncio.to_thread(_contents, self._path))
        except OSError as error:
            raise FetchError("not-readable", "the file cannot be read") from error


def _contents(path: Path) -> bytes:
    # A pipe would keep the thread for as long as nobody writes to it.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FetchError("not-readable", "it is not a file")
        body = file.read(BODY_BYTES_MAX + 1)
    if len(body) > BODY_BYTES_MAX:
        raise _too_large()
    return body


def _check_head(response: httpx2.Response) -> None:
    if response.has_redirect_location:
        raise FetchError("redirected", "it redirects; set the address that it redirects to")
    if response.status_code != 200:
        raise FetchError("unexpected-status", f"it answers with status {response.status_code}")
    if response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise FetchError("encoded", "it answers with an encoding that was not asked for")
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and int(length[:20]) > BODY_BYTES_MAX:
        raise _too_large()


def _too_large() -> FetchError:
    return FetchError("too-large", f"what it has is longer than {BODY_BYTES_MAX} bytes")


def _max_age_s(headers: httpx2.Headers) -> float | None:
    """For how long the answer stays fresh: RFC 9111, section 4.2.1, less the time it was kept."""
    says = headers.get("Cache-Control", "").lower()
    if _NOT_KEPT.search(says):
        return 0.0
    if (lifetime := _MAX_AGE.search(says)) is None:
        return None
    age = _AGE.fullmatch(headers.get("Age", "").strip())
    return max(0.0, float(lifetime[1]) - (float(age[0]) if age else 0.0))


def _is_about_tls(error: BaseException) -> bool:
    for _ in range(_CAUSES_MAX):
        if isinstance(error, ssl.SSLError):
            return True
        earlier = error.__cause__ or error.__context__
        if earlier is None:
            break
        error = earlier
    return False
