from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from ftrepo.service.errors import ServiceSettingsError
from ftrepo.service.settings import ServiceSettings, default_folder
from ftrepo.service.settings_example import example_toml
from ftrepo.service.settings_sources import mistyped_variables

SECRET = "hunter2-hunter2-hunter2-hunter2-"
DSN = f"postgresql://ftrepo:{SECRET}@db.example/ftrepo"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away whatever the environment of the tests says."""
    for name in os.environ:
        if name.startswith("FTREPO_"):
            monkeypatch.delenv(name)


def written(folder: Path, text: str) -> Path:
    """Write a settings file."""
    path = folder / "service.toml"
    path.write_text(text)
    return path


def refused(file: Path | None = None, **given: object) -> str:
    """Return why settings are refused; no secret of this module may be in it."""
    with pytest.raises(ServiceSettingsError) as caught:
        ServiceSettings.load(file, **given)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    return str(caught.value)


def test_the_command_line_comes_before_the_environment_and_that_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables are merged setting by setting, so that each source says only what it changes."""
    file = written(
        tmp_path,
        "[server]\nhost = '10.0.0.1'\nport = 1\nbody_bytes_max = 7\n[connection]\ntls = 'require'",
    )
    monkeypatch.setenv("FTREPO_SERVER__PORT", "2")
    monkeypatch.setenv("FTREPO_SERVER__BODY_BYTES_MAX", "8")
    monkeypatch.setenv("FTREPO_CONNECTION__CONNECT_TIMEOUT_S", "0.5")
    monkeypatch.setenv("FTREPO_AUDIENCES", '["orders"]')
    settings = ServiceSettings.load(file, server={"body_bytes_max": 9})
    assert settings.server.host == "10.0.0.1"
    assert settings.server.port == 2
    assert settings.server.body_bytes_max == 9
    assert settings.connection == {"tls": "require", "connect_timeout_s": 0.5}
    assert settings.audiences == ("orders",)


def test_settings_made_in_code_do_not_read_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test, or a program that embeds the service, gets what it wrote."""
    monkeypatch.setenv("FTREPO_SERVER__PORT", "2")
    assert ServiceSettings().server.port == 8080


def test_one_limit_can_be_changed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of an endpoint's limit stays as shipped."""
    monkeypatch.setenv("FTREPO_LIMITS__KEYS__BURST", "5")
    limits = ServiceSettings.load().limits
    assert (limits.keys.burst, limits.keys.rate_per_s) == (5, 2000)
    assert limits.exchange == ServiceSettings().limits.exchange


def test_files_are_beside_the_file_that_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path in a settings file counts from that file; elsewhere from where one is."""
    provider = "name = 'p'\nissuer = 'i'\naudience = ['a']\njwks_file = 'keys.json'"
    file = written(
        tmp_path,
        f"policy = 'policy.toml'\nfolder = '~/data'\n[[providers]]\n{provider}",
    )
    monkeypatch.setenv("HOME", "/somewhere")
    settings = ServiceSettings.load(file)
    assert settings.policy == tmp_path / "policy.toml"
    assert settings.folder == Path("/somewhere/data")
    assert settings.providers[0].jwks_file == tmp_path / "keys.json"
    assert ServiceSettings.load(file, policy="mine.toml").policy == Path("mine.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("port = 1\nport = 2", "line 2: not valid TOML"),
        ("issuer = 'a'\n[server\n", "line 2: not valid TOML"),
        ("isuer = 'a'", "unknown setting isuer; did you mean issuer?"),
        ("[server]\nprot = 1", "unknown setting server.prot; did you mean port?"),
        ("[limits.keys]\nbrust = 1", "unknown setting limits.keys.brust; did you mean burst?"),
        ("[pool]\nopen_mx = 1", "pool: table: unknown setting 'open_mx'; did you mean 'open_max'?"),
        ("[connection]\ndsn = 'x'", "connection: dsn is a setting of its own"),
        ("[health]\ninterval_s = 0", "health: table: interval_s = 0 is not possible"),
        ("[keys]\nlifetime_s = 60.0", "tokens would outlive their key"),
        (
            "[tokens]\nlifetime_s = 0.5",
            "tokens.lifetime_s: Input should be greater",
        ),
        (f"dsn = 'mysql://u:{SECRET}@h/d'", "dsn: dsn must begin with postgresql://"),
        (f"dsn = 'postgresql://u:{SECRET}@h:port/d'", "dsn: dsn cannot be read"),
        ("dsn = ''", "dsn: dsn must begin with postgresql://"),
        (f"[peers]\nsecret = '{SECRET[:-1]}'", "peers.secret: must have 32 characters or more"),
        (f"[peers]\nurls = ['http://u:{SECRET}@h']\nsecret = '{SECRET}'", "must hold no user"),
        (f"[peers]\nsecret = '{'ä' * 32}'", "peers.secret: must be visible ASCII"),
        (f"[peers]\nsecret = '{' ' * 32}'", "peers.secret: must be visible ASCII"),
        ("[server]\ntrusted_proxies = ['proxy.example']", "server.trusted_proxies"),
        ("[server]\ntrusted_proxies = ['10.0.0.1/8']", "server.trusted_proxies"),
        ("[[clients]]\nid = 'a'", "clients.0.secret_sha256: Field required"),
    ],
)
def test_what_is_wrong_is_named_and_no_value_repeated(tmp_path: Path, text: str, said: str) -> None:
    """One message names the file and the setting, or its line."""
    message = refused(written(tmp_path, text))
    assert said in message
    assert message.startswith(str(tmp_path / "service.toml"))
    assert "\n" not in message


@pytest.mark.parametrize(
    "provider",
    [
        {"jwks_url": "http://login.example/keys"},
        {"jwks_url": f"https://u:{SECRET}@login.example/keys"},
        {"jwks_url": "https://login.example/keys", "jwks_file": "keys.json"},
        {},
        {"jwks_file": "keys.json", "algorithms": ["HS256"]},
        {"jwks_file": "keys.json", "algorithms": ["none"]},
    ],
)
def test_a_provider_that_could_not_be_trusted_is_refused(provider: dict[str, object]) -> None:
    """No keys over an open line, no shared secrets, no two sources, and no password in a url."""
    shown = {"name": "p", "issuer": "i", "audience": ["a"], **provider}
    assert "providers.0" in refused(providers=[shown])


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """It is missing, a folder, or not text."""
    missing = tmp_path / "missing.toml"
    assert refused(missing) == f"{missing}: cannot be read: No such file or directory"
    assert "cannot be read: Is a directory" in refused(tmp_path)
    missing.write_bytes(b"a = 1\nb = '\xff'")
    assert refused(missing) == f"{missing}, line 2: not UTF-8 text"


def test_a_variable_that_is_not_json_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message has the variable's name and not what is in it."""
    monkeypatch.setenv("FTREPO_AUDIENCES", SECRET)
    assert refused().startswith("FTREPO_AUDIENCES must be JSON, as a list or a table is, and is")
    monkeypatch.delenv("FTREPO_AUDIENCES")
    monkeypatch.setenv("FTREPO_SERVER__TRUSTED_PROXIES", SECRET)
    assert "FTREPO_SERVER__TRUSTED_PROXIES must be JSON" in refused()


def test_a_variable_that_is_nearly_a_setting_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that other parts read are left alone."""
    for name in ("FTREPO_FAST", "FTREPO_POSTGRES_BIN", "FTREPO_TEST_DSN", "FTREPO_DSN_FILE"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("FTREPO_DSN", DSN)
    assert mistyped_variables(ServiceSettings) == ()
    monkeypatch.setenv("FTREPO_ISUER", "x")
    monkeypatch.setenv("FTREPO_SEVER__PORT", "1")
    assert mistyped_variables(ServiceSettings) == (
        "the variable FTREPO_ISUER is no setting; did you mean FTREPO_ISSUER?",
        "the variable FTREPO_SEVER__PORT is no setting; did you mean FTREPO_SERVER__PORT?",
    )


def test_secrets_can_come_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable names the file; its last line break is not part of the secret."""
    (tmp_path / "dsn").write_text(f"{DSN}\n")
    (tmp_path / "peers").write_text(f"{SECRET}\r\n")
    monkeypatch.setenv("FTREPO_DSN_FILE", str(tmp_path / "dsn"))
    monkeypatch.setenv("FTREPO_PEERS__SECRET_FILE", str(tmp_path / "peers"))
    settings = ServiceSettings.load()
    assert settings.dsn == SecretStr(DSN)
    assert settings.peers is not None
    assert settings.peers.secret == SecretStr(SECRET)
    monkeypatch.setenv("FTREPO_DSN", DSN)
    assert refused() == "FTREPO_DSN and FTREPO_DSN_FILE are both given; which is meant?"
    monkeypatch.delenv("FTREPO_DSN")
    (tmp_path / "dsn").unlink()
    assert refused() == "FTREPO_DSN_FILE: cannot be read: No such file or directory"


def test_settings_show_no_secret() -> None:
    """Whoever prints or logs them shows stars."""
    client = {"id": "a", "secret_sha256": "5e" * 32, "audiences": ["x"]}
    settings = ServiceSettings.load(
        dsn=DSN, audiences=["x"], clients=[client], peers={"secret": SECRET}
    )
    for shown in (repr(settings), str(settings), repr(settings.model_dump())):
        assert SECRET not in shown
        assert "5e5e" not in shown


def test_the_example_has_every_setting_and_changes_nothing(tmp_path: Path) -> None:
    """Loaded as it is printed, it is the defaults; with each "#" removed, it is settings too."""
    text = example_toml()
    assert ServiceSettings.load(written(tmp_path, text)) == ServiceSettings()
    lines = text.splitlines()
    everything = "\n".join(re.sub(r"^#(?! |$)", "", line) for line in lines)
    settings = ServiceSettings.load(written(tmp_path, everything))
    assert settings.dsn is not None
    assert settings.model_fields_set == set(ServiceSettings.model_fields)
    for table in (settings.server, settings.keys, settings.tokens, settings.peers):
        assert table is not None
        assert table.model_fields_set == set(type(table).model_fields)
    provider = settings.providers[0]
    assert provider.model_fields_set == set(type(provider).model_fields) - {"jwks_file"}
    assert max(map(len, lines)) <= 100


def test_a_user_without_a_home_must_say_where(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container whose user has no entry, there is no default folder, and that is said."""
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_folder() == Path("/var/lib/ftrepo")
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    assert "this user has no home" in refused()
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert ServiceSettings.load().folder == Path("/data/ftrepo")
