"""Other instances of the service, asked over HTTP: `GET {url}/internal/keys` and `.../{id}`.

They are known by a secret that all instances share. What one says is read as strictly as what a
stranger says all the same, and never replaces what this instance holds: a peer that is broken, slow
or of another release costs its own answer and nothing more.

What is sent to a peer goes to that address alone: no redirect is followed and no proxy of the
environment is used, for either would be shown the secret.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

import httpx2

from ftrepo.keys import is_key_id
from ftrepo.redact import describe
from ftrepo.resilience.clock import RunningClock
from ftrepo.resilience.token_bucket import TokenBucket
from ftrepo.service.keys.wire import from_wire

if TYPE_CHECKING:
    from ftrepo.interface import Clock
    from ftrepo.keys import PublicKey
    from ftrepo.service.settings import PeerSettings

_log = logging.getLogger(__name__)

KEY_BYTES_MAX = 16_384
"""The longest answer about one key: an RSA key of 8192 bits takes 2 kB."""

LIST_BYTES_MAX = 8_000_000
"""The longest list of keys: 20,000 Ed25519 keys, twice what memory has by default."""

LIST_TIMEOUT_S = 0.5
"""How long a peer has for its list: as `Policy.select_timeout_s` by default. One that does not
answer in it is left out."""

KEY_TIMEOUT_S = 1.0
"""How long a peer has for one key, should a caller wait so long: `Policy.peer_timeout_s` ends it
sooner."""

CONNECTIONS_PER_PEER_MAX = 10
"""More questions than that wait for each other, within their time-out."""

LINES_PER_MIN = 6
"""The most lines of the log about one peer, in the long run; as many may come at once."""

READ_AT_ONCE = 100
"""How many keys of a list are read in one turn of the loop, some milliseconds long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerStatus:
    """What is known of a peer.

    Attributes:
        url: its address, without a user or a password.
        answers: how many questions it has answered.
        failures: how many it has not, or not as it should.
        last_error: why the last question had no answer; `None` if it had one, or none was asked.
    """

    url: str
    answers: int
    failures: int
    last_error: str | None


class HttpPeers:
    """The other instances. Implements `Peers`, and `list_all` for a whole key set.

    Use it as an async context manager; leaving closes the connections.

    Args:
        settings: where they are, and the secret.
        now: the calendar time: what has expired is no answer.
        transport: carries the requests; `None` for the network.
    """

    def __init__(
        self,
        settings: PeerSettings,
        *,
        now: Clock,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._now = now
        self._client = httpx2.AsyncClient(
            transport=transport,
            headers={
                "Authorization": f"Bearer {settings.secret.get_secret_value()}",
                "Accept": "application/json",
                "Accept-Encoding": "identity",
            },
            timeout=None,  # Each question has one as a whole.
            follow_redirects=False,
            trust_env=False,
            limits=httpx2.Limits(
                max_connections=CONNECTIONS_PER_PEER_MAX * max(1, len(settings.urls))
            ),
        )
        self._peers = [_Peer(str(url).rstrip("/")) for url in settings.urls]

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    def statuses(self) -> tuple[PeerStatus, ...]:
        """Return what is known of each peer."""
        return tuple(peer.status() for peer in self._peers)

    async def find(self, key_id: str) -> PublicKey | None:
        """Ask all at once for a key, and return the first that one of them has; see `Peers.find`.

        Raises nothing but cancellation: who cannot be asked has no answer.
        """
        if not is_key_id(key_id):
            return None  # It could lead anywhere in a path.
        questions = [asyncio.create_task(self._key(peer, key_id)) for peer in self._peers]
        try:
            for answered in asyncio.as_completed(questions):
                if (key := await answered) is not None:
                    return key
            return None
        finally:
            await _end(questions)

    async def list_all(self) -> Sequence[PublicKey]:
        """Return the keys of all who answer in time; of two with one id, either.

        Raises nothing but cancellation.
        """
        questions = [asyncio.create_task(self._list(peer)) for peer in self._peers]
        try:
            lists = await asyncio.gather(*questions)
        finally:
            await _end(questions)
        return list({key.id: key for keys in lists for key in keys}.values())

    async def _key(self, peer: _Peer, key_id: str) -> PublicKey | None:
        try:
            async with asyncio.timeout(KEY_TIMEOUT_S):
                told = await self._ask(f"{peer.url}/internal/keys/{key_id}", KEY_BYTES_MAX)
                key = None if told is None else self._valid(from_wire(told))
            if key is not None and key.id != key_id:
                raise ValueError("it answered with another key")
        except _FAILURES as error:
            peer.failed(error)
            return None
        peer.answered()
        return key

    async def _list(self, peer: _Peer) -> list[PublicKey]:
        keys: list[PublicKey] = []
        try:
            async with asyncio.timeout(LIST_TIMEOUT_S):
                told = await self._ask(f"{peer.url}/internal/keys", LIST_BYTES_MAX)
                listed = told.get("keys") if isinstance(told, dict) else None
                if not isinstance(listed, list):
                    raise ValueError("not a list of keys")
                wrong: ValueError | None = None
                for number, each in enumerate(listed):
                    if number % READ_AT_ONCE == READ_AT_ONCE - 1:
                        await asyncio.sleep(0)
                    try:
                        key = self._valid(from_wire(each))
                    except ValueError as error:
                        wrong = error  # Of a newer release, perhaps: the others may be read.
                        continue
                    if key is not None:
                        keys.append(key)
                if wrong is not None:
                    raise wrong
        except _FAILURES as error:
            peer.failed(error)
        else:
            peer.answered()
        return keys

    def _valid(self, key: PublicKey) -> PublicKey | None:
        return None if key.has_expired(self._now()) else key

    async def _ask(self, url: str, bytes_max: int) -> object:
        """Return the JSON that a peer answers with; `None` if it says that there is none.

        Raises:
            ValueError: it answers otherwise.
            httpx2.HTTPError: it does not answer.
        """
        async with self._client.stream("GET", url) as response:
            if response.status_code == httpx2.codes.NOT_FOUND:
                return None
            if response.status_code != httpx2.codes.OK:
                raise ValueError(f"it answered with the status {response.status_code}")
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise ValueError("its answer is compressed, which was not asked for")
            body = bytearray()
            async for part in response.aiter_bytes():
                body += part
                if len(body) > bytes_max:
                    raise ValueError(f"its answer is longer than {bytes_max} bytes")
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise ValueError("its answer is not JSON") from None


_FAILURES = (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError, RuntimeError)
"""What asking a peer may raise; a time-out is an `OSError`, a client that was closed a
`RuntimeError`."""


class _Peer:
    """One instance, and how it fares."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._answers = 0
        self._failures = 0
        self._last_error: str | None = None
        self._lines = TokenBucket(LINES_PER_MIN / 60.0, LINES_PER_MIN)
        self._clock = RunningClock()

    def status(self) -> PeerStatus:
        return PeerStatus(
            url=str(httpx2.URL(self.url).copy_with(username=None, password=None)),
            answers=self._answers,
            failures=self._failures,
            last_error=self._last_error,
        )

    def answered(self) -> None:
        self._answers += 1
        if self._last_error is not None:
            self._last_error = None
            self._tell(logging.INFO, "it answers again")

    def failed(self, error: Exception) -> None:
        """Count a failure; the log has the first of a row of the same."""
        self._failures += 1
        said = "it did not answer in time" if isinstance(error, TimeoutError) else describe(error)
        said = said or type(error).__name__
        if said != self._last_error:
            self._last_error = said
            self._tell(logging.WARNING, said)

    def _tell(self, level: int, said: str) -> None:
        if self._lines.take(self._clock.time_s()):
            _log.log(level, "asking the instance %s for keys: %s", self.status().url, said)


async def _end(questions: Sequence[asyncio.Task[object]]) -> None:
    """Cancel those that still ask, and wait until their connections are let go."""
    for each in questions:
        each.cancel()
    if questions:
        await asyncio.wait(questions)
