"""What an operator may set: a TOML file, over it the environment, over it the command line.

The names in the environment begin with `FTREPO_`; a table's name and a setting's are joined by two
underscores: `FTREPO_SERVER__PORT=8080`, `FTREPO_DSN=postgresql://...`. A list or a table is JSON.
`ServiceSettings.load` reads all of that (`settings_sources`); made in code, settings are what the
code says, and the environment does not matter.
How the repository behaves is not here but in the policy, which is a file of its own: the one that
was tuned in the laboratory.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from ftrepo.postgres.dsn import check_dsn
from ftrepo.postgres.health import HealthSettings
from ftrepo.postgres.settings import ConnectionSettings, PoolSettings
from ftrepo.service.errors import ServiceSettingsError
from ftrepo.service.settings_sources import (
    ENVIRONMENT_PREFIX,
    merged,
    read_environment,
    read_file,
)
from ftrepo.service.settings_tables import (
    ClientSettings,
    KeySettings,
    Limits,
    LimitSettings,
    PeerSettings,
    ProviderSettings,
    Scope,
    ServerSettings,
    SignatureAlgorithm,
    TokenSettings,
    UserPath,
)
from ftrepo.settings import values_from_mapping

__all__ = [
    "ClientSettings",
    "KeySettings",
    "LimitSettings",
    "Limits",
    "PeerSettings",
    "ProviderSettings",
    "Scope",
    "ServerSettings",
    "ServiceSettings",
    "SignatureAlgorithm",
    "TokenSettings",
    "default_folder",
]


class ServiceSettings(BaseSettings):
    """All of it. Secrets are shown as stars wherever this is printed.

    Attributes:
        issuer: the claim `iss` of the tokens that it issues; by custom the address where others
            find it, the same for every instance. By default the one at which it listens.
        audiences: for whom tokens may be issued; empty for nobody.
        dsn: where PostgreSQL is. `None` starts one of the service's own, in `folder`.
        folder: where the journal, the snapshot and an embedded PostgreSQL are; made if there is
            none. Every instance needs one of its own.
        policy: the file with the repository's policy; `None` for the defaults.
        journal: whether keys that wait to be written are also kept on the disk.
        migrate: whether the tables are made at the start, or as soon as the database can be
            reached; by default those of an embedded PostgreSQL alone.
        log_format: one JSON object a line, or lines for people; by default the latter on a
            terminal alone.
        log_level: the least that is logged.
        server, keys, tokens, limits: tables of their own.
        providers: whose tokens are exchanged.
        clients: services that may ask for tokens of their own.
        peers: the other instances; `None` if this is the only one.
        connection, pool, health: settings of `ConnectionSettings` (but for `dsn`), `PoolSettings`
            and `HealthSettings`, over their defaults.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    issuer: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    audiences: tuple[str, ...] = ()
    dsn: SecretStr | None = None
    folder: UserPath = Field(
        default_factory=lambda: default_folder()  # noqa: PLW0108 - it stands below.
    )
    policy: UserPath | None = None
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
        """Return what the code says alone; `load` reads the other sources."""
        return (init_settings,)

    @field_validator("dsn")
    @classmethod
    def _is_address(cls, dsn: SecretStr | None) -> SecretStr | None:
        if dsn is not None:
            check_dsn(dsn.get_secret_value())
        return dsn

    @field_validator("connection")
    @classmethod
    def _describes_connections(cls, table: dict[str, Any]) -> dict[str, Any]:
        if "dsn" in table:
            raise ValueError("dsn is a setting of its own, outside this table")
        ConnectionSettings.from_mapping(table, source="table")
        return table

    @field_validator("pool")
    @classmethod
    def _describes_a_pool(cls, table: dict[str, Any]) -> dict[str, Any]:
        PoolSettings.from_mapping(table, source="table")
        return table

    @field_validator("health")
    @classmethod
    def _describes_checks(cls, table: dict[str, Any]) -> dict[str, Any]:
        values_from_mapping(HealthSettings, table, source="table")
        return table

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
            ServiceSettingsError: a source cannot be read, or a setting is unknown or impossible.
                The message names each that is wrong, and shows no value.
        """
        path = None if file is None else Path(file)
        layers = ({} if path is None else read_file(path), read_environment(cls), given)
        try:
            return cls(**merged(layers))
        except ValidationError as error:
            source = "the settings" if path is None else f"{path} and the environment"
            raise ServiceSettingsError(f"{source}: {_said(cls, error)}") from None


def default_folder() -> Path:
    """Return the user's folder for the data of programs, by the custom of freedesktop.org.

    That of root is the system's: no server of PostgreSQL, which never is root, could reach a folder
    in the home of root.

    Raises:
        ServiceSettingsError: the user has no home, as in some containers.
    """
    if home := os.environ.get("XDG_DATA_HOME"):
        return Path(home) / "ftrepo"
    if os.geteuid() == 0:
        return Path("/var/lib/ftrepo")
    try:
        return Path.home() / ".local" / "share" / "ftrepo"
    except RuntimeError:
        raise ServiceSettingsError("folder: this user has no home; say where (--data)") from None


def _said(cls: type[BaseModel], error: ValidationError) -> str:
    """Everything that is wrong, without the values: they may be secrets."""
    said = []
    for each in error.errors(include_url=False, include_context=False, include_input=False):
        loc = each["loc"]
        if each["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(loc[-1]), _names_at(cls, loc[:-1]), n=1)
            said.append(
                f"unknown setting {'.'.join(map(str, loc))}"
                + (f"; did you mean {near[0]}?" if near else "")
            )
        else:
            message = each["msg"].removeprefix("Value error, ")
            where = ".".join(map(str, loc))
            said.append(f"{where}: {message}" if where else message)
    return "; ".join(said)


def _names_at(cls: type[BaseModel], loc: Sequence[object]) -> list[str]:
    """The settings of the table at a place."""
    for name in loc:
        if isinstance(name, str) and name in cls.model_fields:
            found = _model_in(cls.model_fields[name].annotation)
            if found is None:
                return []
            cls = found
    return list(cls.model_fields)


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)
