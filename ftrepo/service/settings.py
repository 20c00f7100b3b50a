"""What an operator may set: a TOML file, over it the environment, over it the command line.

The names in the environment begin with `FTREPO_`; a table's name and a setting's are joined by two
underscores: `FTREPO_SERVER__PORT=8080`, `FTREPO_DSN=postgresql://...`. A list or a table is JSON.
How the repository behaves is not here but in the policy, which is a file of its own: the one that
was tuned in the laboratory.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from ftrepo.keys import Algorithm
from ftrepo.service.errors import ServiceSettingsError

ENVIRONMENT_PREFIX = "FTREPO_"

Seconds = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Scope = Annotated[str, Field(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]{1,128}$")]
"""A scope-token of RFC 6749, section 3.3."""

SignatureAlgorithm = Literal["EdDSA", "ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256"]
"""Asymmetric ones alone: a secret shared with a provider could be confused with its public key."""

_HASH = re.compile(r"[0-9a-f]{64}")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerSettings(_Table):
    """Where the service listens, and what a request may take.

    Attributes:
        host: an address of this machine; the loopback one by default.
        port: 0 takes any that is free.
        request_timeout_s: after it the answer is 503. Longer than the policy's time-outs.
        body_bytes_max: of a request; more is refused with 413. A token is a few kilobytes.
        requests_in_flight_max: more are refused with 503 at once. Zero is not possible.
        shutdown_timeout_s: how long requests under way may take to end once the service is told to
            stop; the repository's `drain_timeout_s` comes after it.
        trusted_proxies: addresses whose X-Forwarded-For is believed, for limits by caller.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    request_timeout_s: Seconds = 5.0
    body_bytes_max: Annotated[int, Field(ge=1, le=10_000_000)] = 65_536
    requests_in_flight_max: Annotated[int, Field(ge=1)] = 1000
    shutdown_timeout_s: Seconds = 5.0
    trusted_proxies: tuple[str, ...] = ("127.0.0.1", "::1")


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
        lifetime_s: of a token; one that was exchanged never outlives the token that was brought.
        leeway_s: by how much the clocks of others may be off.
        token_bytes_max: of a token that is brought; a longer one is refused unread.
    """

    lifetime_s: Seconds = 300.0
    leeway_s: Annotated[float, Field(ge=0, le=300)] = 30.0
    token_bytes_max: Annotated[int, Field(ge=256, le=1_000_000)] = 16_384


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
    jwks_file: Path | None = None
    fresh_s: Seconds = 300.0
    stale_s: Annotated[float, Field(ge=0, le=1e9)] = 86_400.0
    fetch_timeout_s: Seconds = 3.0
    fetches_per_min_max: Annotated[float, Field(gt=0, le=600)] = 6.0
    scopes: tuple[Scope, ...] = ()
    audiences: tuple[str, ...] | None = None

    @field_validator("jwks_url")
    @classmethod
    def _is_safe(cls, url: HttpUrl | None) -> HttpUrl | None:
        if url is not None and url.scheme != "https" and url.host not in _LOOPBACK:
            raise ValueError("must begin with https://: whoever is in between could sign tokens")
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
        audiences: which of the service's audiences it may ask for.
        scopes: what it may ask for.
    """

    id: Name
    secret_sha256: SecretStr
    audiences: Annotated[tuple[str, ...], Field(min_length=1)]
    scopes: tuple[Scope, ...] = ()

    @field_validator("secret_sha256")
    @classmethod
    def _is_hash(cls, value: SecretStr) -> SecretStr:
        if not _HASH.fullmatch(value.get_secret_value()):
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


class PeerSettings(_Table):
    """The other instances of the service, asked for a key that nobody else has.

    Attributes:
        urls: where each of them listens; `None` with `secret` set answers others and asks nobody.
        secret: what instances know each other by; at least 32 characters. What a peer says is
            trusted, so whoever knows it can have tokens believed.
    """

    urls: tuple[HttpUrl, ...] = ()
    secret: SecretStr

    @field_validator("secret")
    @classmethod
    def _is_long(cls, value: SecretStr) -> SecretStr:
        if len(value.get_secret_value()) < 32:
            raise ValueError("must have 32 characters or more")
        return value


class ServiceSettings(BaseSettings):
    """All of it. Secrets are shown as stars wherever this is printed.

    Attributes:
        issuer: the claim `iss` of the tokens that it issues; an address by custom.
        audiences: for whom tokens may be issued; empty for nobody.
        dsn: where PostgreSQL is. `None` starts one of the service's own, in `folder`.
        folder: where the journal, the snapshot and an embedded PostgreSQL are; made if there is
            none. Every instance needs one of its own.
        policy: the file with the repository's policy; `None` for the defaults.
        journal: whether keys that wait to be written are also kept on the disk.
        migrate: whether the tables are made at the start; by default those of an embedded
            PostgreSQL alone.
        log_format: one JSON object a line, or lines for people; by default the latter on a
            terminal alone.
        log_level: the least that is logged.
        server, keys, tokens, limits: tables of their own.
        providers: whose tokens are exchanged.
        clients: services that may ask for tokens of their own.
        peers: the other instances; `None` if this is the only one.
        connection, pool, health: settings of `ConnectionSettings`, `PoolSettings` and
            `HealthSettings`, over their defaults.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    issuer: Annotated[str, Field(min_length=1, max_length=1024)] = "http://127.0.0.1:8080"
    audiences: tuple[str, ...] = ()
    dsn: SecretStr | None = None
    folder: Annotated[Path, AfterValidator(Path.expanduser)] = Field(
        default_factory=lambda: default_folder()  # noqa: PLW0108 - it stands below.
    )
    policy: Path | None = None
    journal: bool = True
    migrate: bool | None = None
    log_format: Literal["json", "text"] | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    server: ServerSettings = ServerSettings()
    keys: KeySettings = KeySettings()
    tokens: TokenSettings = TokenSettings()
    limits: Limits = Limits()
    providers: tuple[ProviderSettings, ...] = ()
    clients: tuple[ClientSettings, ...] = ()
    peers: PeerSettings | None = None
    connection: dict[str, Any] = Field(default_factory=dict)
    pool: dict[str, Any] = Field(default_factory=dict)
    health: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources, the strongest first; the file is added by `load`."""
        return (init_settings, env_settings)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        keys, least_s = self.keys, self.keys.rotation_interval_s + self.tokens.lifetime_s
        if keys.lifetime_s < least_s:
            raise ValueError(
                f"keys.lifetime_s = {keys.lifetime_s:g} is less than keys.rotation_interval_s + "
                f"tokens.lifetime_s = {least_s:g}: tokens would outlive their key"
            )
        for what, names in (
            ("providers: the name", [each.name for each in self.providers]),
            ("providers: the issuer", [each.issuer for each in self.providers]),
            ("clients: the id", [each.id for each in self.clients]),
        ):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{what} {twice[0]!r} is given twice")
        known = set(self.audiences)
        for client in self.clients:
            if unknown := sorted(set(client.audiences) - known):
                raise ValueError(f"client {client.id!r}: {unknown[0]!r} is not among the audiences")
        for provider in self.providers:
            if unknown := sorted(set(provider.audiences or ()) - known):
                raise ValueError(
                    f"provider {provider.name!r}: {unknown[0]!r} is not among the audiences"
                )
        return self

    @classmethod
    def load(cls, file: str | Path | None = None, **given: Any) -> ServiceSettings:
        """Read the settings.

        Args:
            file: a TOML file; `None` for the environment and the defaults alone.
            given: what the command line says, by name; a table as a dict, which is merged.

        Raises:
            ServiceSettingsError: the file cannot be read, or a setting is unknown or impossible.
                The message names each that is wrong, and shows no secret.
        """
        try:
            return _with_file(cls, None if file is None else Path(file))(**given)
        except ValidationError as error:
            raise ServiceSettingsError(_said(error, file)) from None
        except ValueError as error:  # Not TOML, or not JSON in the environment.
            raise ServiceSettingsError(f"{file or 'the environment'}: {error}") from None
        except OSError as error:
            raise ServiceSettingsError(f"{file}: cannot be read: {error.strerror}") from None


def default_folder() -> Path:
    """Return the user's folder for the data of programs, by the custom of freedesktop.org."""
    home = os.environ.get("XDG_DATA_HOME")
    return (Path(home) if home else Path.home() / ".local" / "share") / "ftrepo"


def _with_file(cls: type[ServiceSettings], file: Path | None) -> type[ServiceSettings]:
    """The settings class with a file as its weakest source."""
    if file is None:
        return cls
    file.open("rb").close()  # pydantic-settings passes over a file that is not there.

    class FromFile(cls):  # type: ignore[misc, valid-type]
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], **sources: PydanticBaseSettingsSource
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            stronger = super().settings_customise_sources(settings_cls, **sources)
            return (*stronger, TomlConfigSettingsSource(settings_cls, toml_file=file))

    return FromFile


def _said(error: ValidationError, file: str | Path | None) -> str:
    """Everything that is wrong, a line each, without the values: they may be secrets."""
    lines = []
    for each in error.errors(include_url=False, include_context=False, include_input=False):
        where = ".".join(str(part) for part in each["loc"]) or "settings"
        lines.append(f"{where}: {each['msg'].removeprefix('Value error, ')}")
    source = "the settings" if file is None else f"{file} and the environment"
    return f"{source}: " + "; ".join(lines)
