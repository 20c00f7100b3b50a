"""How connections are made and how many are kept: settings, to and from TOML."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from ftrepo import settings
from ftrepo.errors import PolicyError
from ftrepo.postgres.dsn import check_dsn, option_of, redacted
from ftrepo.postgres.tls import check_tls
from ftrepo.settings import setting

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

S = TypeVar("S", "ConnectionSettings", "PoolSettings")

_HOUSE = "house rule"
_OBSERVED = "kept every call under 0.47 s on PostgreSQL 18, whatever was broken"


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class ConnectionSettings:
    """How one connection is made, and what it may take. Its `repr` shows no password.

    Raises:
        PolicyError: a value is impossible, or two contradict each other.
    """

    dsn: str = setting(
        "postgresql://",
        secret=True,
        doc="Where the database is: postgresql://user:password@host:port/database. Several hosts, "
        "separated by commas, are tried in turn. What it leaves out comes from libpq's environment "
        "variables (PGHOST, PGUSER, PGPASSWORD, ...) and password file.",
        source="libpq",
    )
    target: Literal["any", "primary", "read-write"] = setting(
        "primary",
        doc="Which server will do. primary refuses a standby, so that of several hosts the one "
        "that was promoted is found; read-write refuses also a server that is read-only; any takes "
        "the first that answers.",
        source=f"{_HOUSE}: a standby answers with what was true a moment ago",
    )
    tls: Literal["disable", "prefer", "require", "verify-ca", "verify-full"] | None = setting(
        None,
        doc="Encryption, with libpq's names. disable; prefer: if the server has it, which somebody "
        "in between can prevent; require: always, with whoever answers; verify-ca: only with a "
        "server whose certificate is signed; verify-full: and carries the host's name, as "
        "production should. `none`: what the dsn says with sslmode, and prefer if it says nothing.",
        source="libpq",
    )
    tls_ca_file: str | None = setting(
        None,
        doc="Certificates of the authorities to trust, in PEM. `none`: the system's.",
        source="libpq: sslrootcert",
    )
    tls_certificate_file: str | None = setting(
        None, doc="This client's own certificate, in PEM; `none` for none.", source="libpq: sslcert"
    )
    tls_key_file: str | None = setting(
        None,
        doc="The key of tls_certificate_file, in PEM; `none` if it is in the same file.",
        source="libpq: sslkey",
    )
    connect_timeout_s: float = setting(
        0.45,
        unit="s",
        above=0,
        doc="How long one attempt to connect may take: name, network, encryption and password.",
        source=_OBSERVED,
    )
    statement_timeout_s: float | None = setting(
        0.4,
        unit="s",
        above=0,
        doc="How long a statement may take. The server is told nine tenths of it, so that it gives "
        "up first: its refusal leaves the connection usable, silence does not. `none`: for ever.",
        source=_OBSERVED,
    )
    idle_in_transaction_timeout_s: float | None = setting(
        10.0,
        unit="s",
        above=0,
        doc="After how long the server ends a session that holds a transaction open and sends "
        "nothing: its client is gone, its locks are not. `none`: never.",
        source=f"{_HOUSE}: many statements long, and short for whoever waits for the lock",
    )
    connect_attempts: int = setting(
        5,
        unit="attempts",
        least=1,
        doc="How often `Pool.wait_until_ready` tries to connect. No other call repeats anything.",
        source="the requirements of the service: 5",
    )
    connect_backoff_first_s: float = setting(
        0.1,
        unit="s",
        above=0,
        doc="The longest pause after the first failed attempt; each further one may be twice as "
        "long.",
        source="the requirements of the service: 100 ms, ×2",
    )
    connect_backoff_max_s: float = setting(
        10.0,
        unit="s",
        above=0,
        doc="No pause between attempts is longer.",
        source="the requirements of the service: 10 s",
    )
    statements_cached_max: int = setting(
        100,
        unit="statements",
        least=0,
        doc="How many prepared statements a connection remembers. Zero for a pooler that shares "
        "sessions by the transaction and does not follow prepared statements.",
        source="asyncpg",
    )
    application_name: str = setting(
        "ftrepo", doc="How the server's views and logs name these connections.", source=_HOUSE
    )

    def __post_init__(self) -> None:
        check_dsn(self.dsn)
        settings.check_all(self)
        named = option_of(self.dsn, "sslmode")
        if self.tls is not None and named not in (None, self.tls):
            raise PolicyError(
                f'tls = "{self.tls}" and sslmode={named} in the dsn contradict each other'
            )
        check_tls(
            self.tls,
            ca_file=self.tls_ca_file,
            certificate_file=self.tls_certificate_file,
            key_file=self.tls_key_file,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(dsn={redacted(self.dsn)!r}, tls={self.tls!r}, ...)"

    @classmethod
    def from_toml(cls, path: Path, **changes: Any) -> ConnectionSettings:
        """Read the settings from a flat TOML file. `changes`, a dsn for instance, come first."""
        return _from_toml(cls, path, changes)

    @classmethod
    def from_mapping(
        cls, mapping: Mapping[str, object], *, source: str = "settings"
    ) -> ConnectionSettings:
        """Read the settings from a mapping, such as one table of a larger file."""
        return cls(**settings.values_from_mapping(cls, mapping, source=source))

    def to_toml(self, *, comments: bool = True) -> str:
        """Write the settings as TOML, the dsn without its password."""
        return settings.to_toml(replace(self, dsn=redacted(self.dsn)), comments=comments)


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolSettings:
    """How many connections are kept, for how long, and how long a caller waits for one.

    Raises:
        PolicyError: a value is impossible, or two contradict each other.
    """

    open_max: int = setting(
        25,
        unit="connections",
        least=1,
        doc="The most connections open at once. All pools of all instances together must leave "
        "room below the server's max_connections: abandoned sessions linger there for a moment.",
        source="the requirements of the service: 25 for a server, 10 for a background job",
    )
    idle_max: int = setting(
        5,
        unit="connections",
        least=0,
        doc="How many unused connections are kept. More are closed once unused for "
        "idle_excess_timeout_s.",
        source="the requirements of the service: 5 for a server, 2 for a background job",
    )
    idle_excess_timeout_s: float = setting(
        1.0,
        unit="s",
        least=0,
        doc="How long a connection above idle_max may be unused. Zero closes it at once, and a "
        "burst of more callers than idle_max then connects again and again.",
        source=f"{_HOUSE}: a thousand statements long",
    )
    lifetime_max_s: float = setting(
        300.0,
        unit="s",
        above=0,
        doc="How old a connection may grow. Replacing it spreads the load when servers come and "
        "go, and returns what a session's memory has grown by.",
        source="the requirements of the service: 5 min for a server, 15 min for a background job",
    )
    idle_timeout_s: float = setting(
        600.0,
        unit="s",
        above=0,
        doc="How long a connection may be unused, those within idle_max included. It matters only "
        "where it is shorter than lifetime_max_s.",
        source="the requirements of the service: 10 min",
    )
    check_after_idle_s: float = setting(
        1.0,
        unit="s",
        least=0,
        doc="A connection unused for so long is tried with a statement before it is given "
        "out. Zero tries every one, at a round trip for each use.",
        source=f"{_HOUSE}: under load nobody pays for it; after a pause nobody gets a dead one",
    )
    check_timeout_s: float = setting(
        0.1,
        unit="s",
        above=0,
        doc="How long that trial may take before the connection, and all others unused for as "
        "long, are replaced. It leaves time to connect within acquire_timeout_s.",
        source=f"{_HOUSE}: a quarter of acquire_timeout_s",
    )
    acquire_timeout_s: float = setting(
        0.4,
        unit="s",
        above=0,
        doc="How long a caller waits for a connection, connecting included.",
        source=_OBSERVED,
    )
    release_timeout_s: float = setting(
        0.2,
        unit="s",
        above=0,
        doc="How long giving a connection back may take, should it be inside a transaction that "
        "must be rolled back first. Past it the connection is thrown away.",
        source=_OBSERVED,
    )

    def __post_init__(self) -> None:
        settings.check_all(self)
        if self.idle_max > self.open_max:
            raise PolicyError(f"idle_max = {self.idle_max} is more than open_max = {self.open_max}")
        if self.check_timeout_s >= self.acquire_timeout_s:
            raise PolicyError(
                f"check_timeout_s = {self.check_timeout_s:g} leaves no time to connect within "
                f"acquire_timeout_s = {self.acquire_timeout_s:g}"
            )

    @classmethod
    def server(cls) -> PoolSettings:
        """Return the settings for a service that answers requests: 25 open, 5 idle, 5 min."""
        return cls()

    @classmethod
    def background_job(cls) -> PoolSettings:
        """Return the settings for a job with few connections and long pauses: 10, 2, 15 min."""
        return cls(open_max=10, idle_max=2, lifetime_max_s=900.0)

    @classmethod
    def from_toml(cls, path: Path, **changes: Any) -> PoolSettings:
        """Read the settings from a flat TOML file. `changes` come first."""
        return _from_toml(cls, path, changes)

    @classmethod
    def from_mapping(
        cls, mapping: Mapping[str, object], *, source: str = "settings"
    ) -> PoolSettings:
        """Read the settings from a mapping, such as one table of a larger file."""
        return cls(**settings.values_from_mapping(cls, mapping, source=source))

    def to_toml(self, *, comments: bool = True) -> str:
        """Write the settings as TOML."""
        return settings.to_toml(self, comments=comments)


def _from_toml(cls: type[S], path: Path, changes: Mapping[str, Any]) -> S:
    values, lines = settings.read_toml(path)
    found = settings.values_from_mapping(cls, values, source=str(path), lines=lines)
    try:
        return cls(**{**found, **changes})
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}") from error
