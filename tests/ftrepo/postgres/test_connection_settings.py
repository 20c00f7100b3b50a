"""Settings of connections and of the pool, and the addresses and encryption in them."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftrepo.errors import PolicyError
from ftrepo.postgres.dsn import redacted
from ftrepo.postgres.session import session_defaults
from ftrepo.postgres.settings import ConnectionSettings, PoolSettings
from ftrepo.postgres.tls import tls_argument

SECRET = "s3cret"
DSN = f"postgresql://ann:{SECRET}@db.example:5432/keys"


@pytest.mark.parametrize(
    "dsn",
    [
        DSN,
        f"postgresql://ann:{SECRET}@h",
        f"postgres://ann:{SECRET}@one:1,two:2/keys?target_session_attrs=any",
        f"postgresql://ann@h/keys?password={SECRET}",
        f"postgresql://ann@h/keys?sslmode=require&password={SECRET}&x=y",
        f"postgresql://ann@h/keys?sslpassword={SECRET}",
        f"postgresql://ann:{SECRET}/with@slash@h/keys",
        f"postgresql://ann:{SECRET}#with?hash@h/keys",
        f"postgresql://:{SECRET}@h/keys",
    ],
)
def test_no_password_is_ever_shown(dsn: str) -> None:
    """Not in `redacted`, in a `repr`, in TOML or in an error, however it is written."""
    assert SECRET not in redacted(dsn)
    shown = []
    try:
        settings = ConnectionSettings(dsn=dsn)
        shown += [repr(settings), str(settings), settings.to_toml()]
        ConnectionSettings(dsn=dsn, tls="verify-full", tls_key_file="k")
    except PolicyError as error:
        shown.append(repr(error))
    assert not any(SECRET in text for text in shown)


@given(st.text(alphabet=st.characters(exclude_characters="&"), min_size=12, max_size=20))
def test_redaction_hides_any_password(password: str) -> None:
    """Whatever characters it has, encoded or not."""
    password = "<" + password + ">"
    assert password not in redacted(f"postgresql://ann:{password}@host/keys")


@pytest.mark.parametrize(
    "dsn",
    [
        "mysql://h/keys",
        "keys",
        "",
        f"postgresql://ann:{SECRET}@h:notaport/keys",
        f"postgresql://ann:{SECRET}@h:0/keys",
        f"postgresql://ann:{SECRET}@h:70000/keys",
        f"postgresql://ann:{SECRET}@[::1/keys",
        [f"postgresql://ann:{SECRET}@h"],
        f"postgresql://ann:{SECRET}@h/keys?nonsense",
    ],
)
def test_an_impossible_address_is_refused_without_its_password(dsn: Any) -> None:
    """The error names the setting, and no part of the secret."""
    with pytest.raises(PolicyError, match="dsn") as refused:
        ConnectionSettings(dsn=dsn)
    assert SECRET not in str(refused.value)
    with pytest.raises(PolicyError, match="dsn") as refused:
        ConnectionSettings.from_mapping({"dsn": dsn})
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "dsn",
    ["postgresql://", "postgresql:///keys", "postgresql://[::1]:5432/keys", "postgres://a:1,b:2/k"],
)
def test_possible_addresses_are_taken(dsn: str) -> None:
    """Also without a host, with several, and with IPv6."""
    assert ConnectionSettings(dsn=dsn).dsn == dsn


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"connect_timeout_s": 0}, "connect_timeout_s"),
        ({"statement_timeout_s": -1}, "statement_timeout_s"),
        ({"connect_attempts": 0}, "connect_attempts"),
        ({"tls": "on"}, "tls"),
        ({"tls_ca_file": "ca.pem"}, "tls_ca_file"),
        ({"tls": "require", "tls_ca_file": "ca.pem"}, "tls_ca_file"),
        ({"tls": "prefer", "tls_certificate_file": "c.pem"}, "tls_certificate_file"),
        ({"tls": "verify-full", "tls_key_file": "k.pem"}, "tls_key_file"),
        ({"dsn": DSN + "?sslmode=disable", "tls": "verify-full"}, "contradict"),
    ],
)
def test_impossible_connections_are_refused_by_name(changes: dict[str, Any], named: str) -> None:
    """A setting that would silently do nothing is refused as well."""
    with pytest.raises(PolicyError, match=named):
        ConnectionSettings(**changes)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"open_max": 0}, "open_max"),
        ({"open_max": 2, "idle_max": 3}, "idle_max"),
        ({"acquire_timeout_s": 0}, "acquire_timeout_s"),
        ({"check_timeout_s": 0.4}, "check_timeout_s"),
        ({"lifetime_max_s": "long"}, "lifetime_max_s"),
    ],
)
def test_impossible_pools_are_refused_by_name(changes: dict[str, Any], named: str) -> None:
    """The error names the setting at fault."""
    with pytest.raises(PolicyError, match=named):
        PoolSettings(**changes)


def test_the_presets_are_those_required() -> None:
    """25, 5, 5 min and 10 min for a server; 10, 2 and 15 min for a background job."""
    server, job = PoolSettings.server(), PoolSettings.background_job()
    assert (server.open_max, server.idle_max, server.lifetime_max_s, server.idle_timeout_s) == (
        25, 5, 300, 600,
    )  # fmt: skip
    assert (job.open_max, job.idle_max, job.lifetime_max_s) == (10, 2, 900)


def test_settings_survive_a_file(tmp_path: Path) -> None:
    """What is written as TOML is read as the same, and the secret comes from elsewhere."""
    written = ConnectionSettings(dsn=DSN, tls="verify-full", application_name="x" * 200)
    (tmp_path / "connection.toml").write_text(written.to_toml())
    assert SECRET not in (tmp_path / "connection.toml").read_text()
    assert ConnectionSettings.from_toml(tmp_path / "connection.toml", dsn=DSN) == written
    (tmp_path / "pool.toml").write_text(PoolSettings.background_job().to_toml())
    assert PoolSettings.from_toml(tmp_path / "pool.toml") == PoolSettings.background_job()


def test_a_wrong_file_is_refused_with_its_name_and_line(tmp_path: Path) -> None:
    """An unknown setting gets a suggestion; a contradiction names the file."""
    path = tmp_path / "pool.toml"
    path.write_text("idle_max = 5\nopen_maxx = 9\n")
    with pytest.raises(PolicyError, match=r"pool\.toml, line 2: .*'open_max'"):
        PoolSettings.from_toml(path)
    path.write_text("idle_max = 5\nopen_max = 2\n")
    with pytest.raises(PolicyError, match=r"pool\.toml: idle_max"):
        PoolSettings.from_toml(path)


def test_the_server_gives_up_before_the_client() -> None:
    """The session's own time-out is nine tenths, in milliseconds, and never zero: for ever."""
    assert session_defaults(ConnectionSettings())["statement_timeout"] == "360"
    assert (
        session_defaults(ConnectionSettings(statement_timeout_s=1e-9))["statement_timeout"] == "1"
    )
    unlimited = ConnectionSettings(statement_timeout_s=None, idle_in_transaction_timeout_s=None)
    assert session_defaults(unlimited) == {"application_name": "ftrepo"}


def tls(mode: Any, **files: str | None) -> ssl.SSLContext | str | None:
    """The driver's argument for a mode, with these files and no others."""
    nothing = {"ca_file": None, "certificate_file": None, "key_file": None}
    return tls_argument(mode, **{**nothing, **files})


def test_each_mode_checks_what_its_name_says() -> None:
    """Mode require encrypts, verify-ca checks the signature, verify-full also the name."""
    assert tls(None) is None
    assert tls("disable") == "disable"
    assert tls("prefer") == "prefer"
    checks = {}
    for mode in ("require", "verify-ca", "verify-full"):
        context = tls(mode)
        assert isinstance(context, ssl.SSLContext)
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
        checks[mode] = (context.verify_mode, context.check_hostname)
    assert checks == {
        "require": (ssl.CERT_NONE, False),
        "verify-ca": (ssl.CERT_REQUIRED, False),
        "verify-full": (ssl.CERT_REQUIRED, True),
    }


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """A missing file and one with something else in it, each by its setting."""
    missing, nonsense = str(tmp_path / "missing.pem"), tmp_path / "nonsense.pem"
    nonsense.write_text("nothing")
    with pytest.raises(PolicyError, match=r"tls_ca_file: .*missing\.pem"):
        tls("verify-full", ca_file=missing)
    with pytest.raises(PolicyError, match=r"tls_ca_file: .*nonsense\.pem"):
        tls("verify-full", ca_file=str(nonsense))
    with pytest.raises(PolicyError, match=r"tls_certificate_file: .*nonsense\.pem"):
        tls("require", certificate_file=str(nonsense))
