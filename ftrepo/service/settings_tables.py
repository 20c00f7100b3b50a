"""The tables of the service's settings, and what is possible in each."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    SecretStr,
    field_validator,
    model_validator,
)

from ftrepo.keys import Algorithm
from ftrepo.service.address import LOOPBACK
from ftrepo.service.scope import SCOPE_PATTERN
from ftrepo.service.settings_sources import merged

Seconds = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
UserPath = Annotated[Path, AfterValidator(Path.expanduser)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Scope = Annotated[str, Field(max_length=128, pattern=rf"^{SCOPE_PATTERN}$")]
"""A scope-token of RFC 6749, section 3.3."""

SignatureAlgorithm = Literal["EdDSA", "ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256"]
"""Asymmetric ones alone: a secret shared with a provider could be confused with its public key."""

_HASH = re.compile(r"[0-9a-f]{64}")
_VISIBLE = re.compile(r"[!-~]+")


def _is_here(url: HttpUrl) -> bool:
    return (url.host or "").strip("[]") in LOOPBACK


def _refuse_password(url: HttpUrl) -> None:
    if url.username or url.password:
        raise ValueError("must hold no user and no password: addresses are shown and logged")


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerSettings(_Table):
    """Where the service listens, and what a request may take.

    Attributes:
        host: an address of this machine; the loopback one by default.
        port: 0 takes any that is free.
        request_timeout_s: after it the answer is 503. Longer than the policy's time-outs.
        body_bytes_max: of a request; more is refused with 413. A token is a few kilobytes.
        requests_in_flight_max: more are refused with 503 at once; as many again may wait for their
            bodies. Zero is not possible.
        connections_max: open at once, idle ones included; who comes beyond that gets a bare 503.
        caller_connections_max: of those, from one address; further ones are closed at once, so that
            no caller keeps the others out. Trusted proxies may have all.
        keep_alive_timeout_s: how long an idle connection is kept. Longer than that of a load
            balancer, or it meets connections that are just being closed: 60 s is common there.
        request_head_timeout_s: how long a caller may take to send a request's head.
        stop_delay_s: how long requests are still taken once the service is told to stop and says
            that it is not ready; as long as a load balancer needs to notice.
        shutdown_timeout_s: how long requests under way may take to end after that; the
            repository's `drain_timeout_s` comes after it.
        trusted_proxies: addresses or networks whose X-Forwarded-For is believed, for limits by
            caller, and whose connections are not counted.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    request_timeout_s: Seconds = 5.0
    body_bytes_max: Annotated[int, Field(ge=1, le=10_000_000)] = 65_536
    requests_in_flight_max: Annotated[int, Field(ge=1)] = 1000
    connections_max: Annotated[int, Field(ge=1)] = 4096
    caller_connections_max: Annotated[int, Field(ge=1)] = 512
    keep_alive_timeout_s: Seconds = 75.0
    request_head_timeout_s: Seconds = 10.0
    stop_delay_s: Annotated[float, Field(ge=0, le=600)] = 0.0
    shutdown_timeout_s: Seconds = 5.0
    trusted_proxies: tuple[str, ...] = ("127.0.0.1", "::1")

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            ipaddress.ip_network(network)  # uvicorn takes one with host bits for a name.
        return networks


class KeySettings(_Table):
    """The service's own keys.

    Attributes:
        algorithm: what tokens are signed with.
        rotation_interval_s: the time between two keys; an hour, as in the scenario `fleet`.
        lifetime_s: of a key: at least a rotation interval and a token's lifetime. What it has
            beyond that is for `publish_lead_s` of the policy.
        max_age_s: how long others may keep the key set (Cache-Control). At most `publish_lead_s`
            of the policy, or a verifier meets tokens whose key it cannot know yet.
        absent_max_age_s: how long others may keep the answer that a key is unknown; zero by
            default: the key may be on its way.
    """

    algorithm: Literal["EdDSA", "ES256", "RS256"] = "EdDSA"
    rotation_interval_s: Seconds = 3600.0
    lifetime_s: Seconds = 10_800.0
    max_age_s: Annotated[int, Field(ge=0, le=86_400)] = 300
    absent_max_age_s: Annotated[int, Field(ge=0, le=60)] = 0

    @property
    def key_algorithm(self) -> Algorithm:
        """The algorithm, as the keys name it."""
        return next(each for each in Algorithm if each.jwa_name == self.algorithm)


class TokenSettings(_Table):
    """The tokens that the service issues.

    Attributes:
        lifetime_s: of a token, at least a second, as the times in a token are whole ones; a token
            that was exchanged never outlives the one that was brought.
        leeway_s: by how much the clocks of others may be off.
        token_bytes_max: of a token that is brought; a longer one is refused unread.
        exchange_needs_client: whether only `clients` may exchange tokens. Without it whoever has
            got hold of a provider's token can (RFC 8693, section 2.1).
    """

    lifetime_s: Annotated[float, Field(ge=1, le=1e9, allow_inf_nan=False)] = 300.0
    leeway_s: Annotated[float, Field(ge=0, le=300)] = 30.0
    token_bytes_max: Annotated[int, Field(ge=256, le=1_000_000)] = 16_384
    exchange_needs_client: bool = False


class ProviderSettings(_Table):
    """Somebody whose tokens are accepted.

    Attributes:
        name: for logs, metrics and health.
        issuer: the exact claim `iss` of its tokens.
        audience: what the claim `aud` must contain one of: this service's names at the provider.
        algorithms: with which its tokens may be signed, whatever their header says.
        jwks_url: where its keys are; https, unless it is on this machine.
        jwks_file: a file with its keys, read anew when it changes. This or `jwks_url`.
        fresh_s: how long its keys are used without asking again.
        stale_s: how long they are used beyond that while the provider cannot be asked; then the
            answer is 503. Zero uses no stale key: a revoked one is honoured at most `fresh_s`.
        fetch_timeout_s: how long a fetch may take.
        fetches_per_min_max: how often it is asked in the long run, failures and ids that it does
            not know included. As many may come at once.
        scopes: what its tokens may be exchanged for; a request for more is refused.
        audiences: for which of the service's audiences; all by default.
    """

    name: Name
    issuer: Annotated[str, Field(min_length=1, max_length=1024)]
    audience: Annotated[tuple[str, ...], Field(min_length=1)]
    algorithms: Annotated[tuple[SignatureAlgorithm, ...], Field(min_length=1)] = ("RS256",)
    jwks_url: HttpUrl | None = None
    jwks_file: UserPath | None = None
    fresh_s: Seconds = 300.0
    stale_s: Annotated[float, Field(ge=0, le=1e9)] = 86_400.0
    fetch_timeout_s: Seconds = 3.0
    fetches_per_min_max: Annotated[float, Field(gt=0, le=600)] = 6.0
    scopes: tuple[Scope, ...] = ()
    audiences: tuple[str, ...] | None = None

    @field_validator("jwks_url")
    @classmethod
    def _is_safe(cls, url: HttpUrl | None) -> HttpUrl | None:
        if url is not None and url.scheme != "https" and not _is_here(url):
            raise ValueError("must begin with https://: whoever is in between could sign tokens")
        if url is not None:
            _refuse_password(url)
        return url

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.jwks_url is None) == (self.jwks_file is None):
            raise ValueError("give jwks_url or jwks_file, one of both")
        return self


class ClientSettings(_Table):
    """A service that may ask for tokens of its own.

    Attributes:
        id: how it names itself.
        secret_sha256: the SHA-256 of its secret, in hexadecimal. The secret must be random and
            long (`python -m ftrepo secret` makes one): a word would be guessed from its hash.
        next_secret_sha256: of another secret that is accepted too, while the client changes to it.
        audiences: which of the service's audiences it may ask for.
        scopes: what it may ask for.
    """

    id: Name
    secret_sha256: SecretStr
    next_secret_sha256: SecretStr | None = None
    audiences: Annotated[tuple[str, ...], Field(min_length=1)]
    scopes: tuple[Scope, ...] = ()

    @field_validator("secret_sha256", "next_secret_sha256")
    @classmethod
    def _is_hash(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _HASH.fullmatch(value.get_secret_value()):
            raise ValueError("must be 64 hexadecimal digits, in lower case")
        return value


class LimitSettings(_Table):
    """How often an endpoint may be called.

    Attributes:
        rate_per_s: by all callers together, in the long run.
        burst: how many may come at once.
        caller_rate_per_s: by one address.
        caller_burst: how many may come from it at once.
    """

    rate_per_s: Annotated[float, Field(gt=0, le=1e6)]
    burst: Annotated[int, Field(ge=1, le=1_000_000)]
    caller_rate_per_s: Annotated[float, Field(gt=0, le=1e6)]
    caller_burst: Annotated[int, Field(ge=1, le=1_000_000)]


class Limits(_Table):
    """The limit of each endpoint. Verifiers read keys often and cheaply; tokens cost a signature.

    Attributes:
        keys: one key, and the key set.
        exchange: the exchange of a token.
        service: a token for a service.
    """

    keys: LimitSettings = LimitSettings(
        rate_per_s=2000, burst=4000, caller_rate_per_s=500, caller_burst=1000
    )
    exchange: LimitSettings = LimitSettings(
        rate_per_s=500, burst=1000, caller_rate_per_s=50, caller_burst=100
    )
    service: LimitSettings = LimitSettings(
        rate_per_s=200, burst=400, caller_rate_per_s=10, caller_burst=20
    )

    @model_validator(mode="before")
    @classmethod
    def _over_the_defaults(cls, given: Any) -> Any:
        """Let a table say what differs, as all others may."""
        if not isinstance(given, Mapping):
            return given
        defaults = {name: field.default.model_dump() for name, field in cls.model_fields.items()}
        return merged(({name: defaults[name] for name in given if name in defaults}, given))


class PeerSettings(_Table):
    """The other instances of the service, asked for a key that nobody else has.

    Attributes:
        urls: where each of them listens; with none, others are answered and nobody is asked.
        secret: what instances know each other by; at least 32 characters of visible ASCII, as it
            is sent in a header. What a peer says is trusted, so whoever knows it can have tokens
            believed.
        next_secret: another one that is accepted of them too, while all change to it.
    """

    urls: tuple[HttpUrl, ...] = ()
    secret: SecretStr
    next_secret: SecretStr | None = None

    @field_validator("urls")
    @classmethod
    def _have_no_password(cls, urls: tuple[HttpUrl, ...]) -> tuple[HttpUrl, ...]:
        for url in urls:
            _refuse_password(url)
        return urls

    @field_validator("secret", "next_secret")
    @classmethod
    def _can_be_sent_and_not_guessed(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        if len(value.get_secret_value()) < 32:
            raise ValueError("must have 32 characters or more")
        if not _VISIBLE.fullmatch(value.get_secret_value()):
            raise ValueError("must be visible ASCII without spaces: it is sent in a header")
        return value
