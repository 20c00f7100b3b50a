"""Verifies external tokens: the issuer chooses the provider, and nothing is believed before."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import httpx2

from ftrepo.failure_log import log_failure
from ftrepo.interface import Clock
from ftrepo.resilience import BreakerRegistry
from ftrepo.service.errors import InvalidTokenError, ProviderUnavailableError
from ftrepo.service.providers.claims import check_claims
from ftrepo.service.providers.compact_token import CompactToken, parse_token
from ftrepo.service.providers.events import (
    ProviderEvent,
    ProviderStatus,
    TokenAccepted,
    TokenRefused,
    TokenUndecided,
    log_provider_event,
)
from ftrepo.service.providers.provider_keys import ProviderKeys
from ftrepo.service.providers.refusals import refused
from ftrepo.service.providers.sources import JwksAddress, JwksFile, JwksSource, open_client
from ftrepo.service.settings import ProviderSettings, TokenSettings
from ftrepo.service.verified import VerifiedToken

_log = logging.getLogger("ftrepo")


class Providers:
    """Everybody whose tokens are accepted. A `TokenVerifier`, and an async context manager.

    It verifies from when it is entered. Entering waits for nothing: the keys are fetched in the
    background, and a token that comes before them waits for them. Leaving ends that.

    Args:
        settings: of each provider; their names and issuers differ.
        tokens: how long a token may be, and how far clocks may be off.
        now: the time by which tokens are valid. Ages of keys go by the loop's clock.
        breakers: every provider has one, "provider/" and its name.
        transport: makes the calls, and is closed at the end; `None` for the network.
        observe: is told of each fetch and each token. What it raises is logged.
    """

    def __init__(
        self,
        settings: Sequence[ProviderSettings],
        *,
        tokens: TokenSettings,
        now: Clock,
        breakers: BreakerRegistry,
        transport: httpx2.AsyncBaseTransport | None = None,
        observe: Callable[[ProviderEvent], None] = log_provider_event,
    ) -> None:
        self._by_issuer = {each.issuer: each for each in settings}
        self._tokens = tokens
        self._now = now
        self._breakers = breakers
        self._transport = transport
        self._observer = observe
        self._client: httpx2.AsyncClient | None = None
        self._keys: dict[str, ProviderKeys] = {}

    async def __aenter__(self) -> Self:
        """Begin to fetch keys."""
        self._client = open_client(self._transport)
        for provider in self._by_issuer.values():
            keys = ProviderKeys(
                provider,
                _source(provider, self._client),
                breakers=self._breakers,
                observe=self._observe,
            )
            self._keys[provider.name] = keys
            keys.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End every fetch and close the connections. Keys at hand serve until they are too old."""
        try:
            for keys in self._keys.values():
                await keys.close()
        finally:
            assert self._client is not None
            await self._client.aclose()

    async def verify(self, token: str) -> VerifiedToken:
        """Return what a token says, once all of it is verified.

        Raises:
            InvalidTokenError: it is refused; `refusals` has the reasons.
            ProviderUnavailableError: nobody knows: the provider's keys cannot be had.
        """
        provider: ProviderSettings | None = None
        try:
            parsed = parse_token(token, bytes_max=self._tokens.token_bytes_max)
            provider = self._provider_of(parsed)
            verified = await self._verify(parsed, provider)
        except InvalidTokenError as error:
            name = None if provider is None else provider.name
            self._observe(TokenRefused(provider=name, reason=error.reason))
            raise
        except ProviderUnavailableError:
            assert provider is not None
            self._observe(TokenUndecided(provider=provider.name))
            raise
        self._observe(TokenAccepted(provider=provider.name))
        return verified

    def statuses(self) -> tuple[ProviderStatus, ...]:
        """Return what is to be said of each provider's keys now, in the order of the settings."""
        return tuple(keys.status() for keys in self._keys.values())

    def _provider_of(self, token: CompactToken) -> ProviderSettings:
        issuer = token.claims.get("iss")
        provider = self._by_issuer.get(issuer) if isinstance(issuer, str) else None
        if provider is None:
            raise refused("wrong-issuer")
        return provider

    async def _verify(self, token: CompactToken, provider: ProviderSettings) -> VerifiedToken:
        if token.algorithm not in provider.algorithms:
            raise refused("algorithm-not-allowed")
        verified = check_claims(
            token.claims, provider, now=self._now(), leeway_s=self._tokens.leeway_s
        )
        key = await self._keys[provider.name].find(token.key_id, token.algorithm)
        if not key.has_signed(token.signing_input, token.signature):
            raise refused("bad-signature")
        return verified

    def _observe(self, event: ProviderEvent) -> None:
        try:
            self._observer(event)
        except Exception as error:
            log_failure(_log, "an observer failed on %s", type(event).__name__, error=error)


def _source(provider: ProviderSettings, client: httpx2.AsyncClient) -> JwksSource:
    if provider.jwks_file is not None:
        return JwksFile(provider.jwks_file)
    return JwksAddress(str(provider.jwks_url), client)
