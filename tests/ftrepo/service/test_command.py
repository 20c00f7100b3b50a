from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import psutil
import pytest

from ftrepo.__main__ import main
from ftrepo.keys import SigningKey
from ftrepo.service.settings import ServiceSettings
from tests.ftrepo.service.embedded_folders import copied, folder_for_all, template_folder

ROOT = Path(__file__).parents[3]

TOO_LONG_S = 60.0
"""After it a process that does not do what it should is given up; it takes a second or two."""


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away whatever the environment of the tests says to a service."""
    for name in os.environ:
        if name.startswith("FTREPO_") and name != "FTREPO_POSTGRES_BIN":
            monkeypatch.delenv(name)


class Served:
    """A service in a process of its own, with what it has logged."""

    def __init__(self, folder: Path, *options: str, **variables: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ftrepo", "serve", "--data", str(folder), *options],
            cwd=ROOT,
            env=os.environ | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Under `nohup` the tests ignore it, and so would the service.
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # noqa: PLW1509
        )
        self.lines: list[str] = []
        self.url = ""

    def until_it_serves(self) -> None:
        """Wait for the line that says so."""
        line = self.until("serving on ")
        self.url = json.loads(line)["url"]

    def until(self, text: str) -> str:
        """Wait for a line of the log with a text in it."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if text in line:
                return line
        raise AssertionError(f"it ended without {text!r}: {self.lines}")

    def get(self, path: str) -> dict[str, Any]:
        """Ask the service for a document."""
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            found: dict[str, Any] = json.loads(answer.read())
        return found

    def key_ids(self) -> set[str]:
        """The keys that it publishes."""
        return {key["kid"] for key in self.get("/.well-known/jwks.json")["keys"]}

    def ended(self) -> tuple[int, str]:
        """Wait for its end, and return its exit code and the rest of its log."""
        _, rest = self.process.communicate(timeout=TOO_LONG_S)
        return self.process.returncode, rest


@contextmanager
def serving(folder: Path, *options: str, **variables: str) -> Iterator[Served]:
    """Run a service, and end it by force if a test has not."""
    served = Served(folder, *options, **variables)
    try:
        yield served
    finally:
        if served.process.poll() is None:
            served.process.kill()
        served.process.communicate()


def server_of(folder: Path) -> psutil.Process | None:
    """The PostgreSQL that runs in a service's folder."""
    try:
        lines = (folder / "postgresql" / "data" / "postmaster.pid").read_text().splitlines()
        return psutil.Process(int(lines[0]))
    except (FileNotFoundError, psutil.NoSuchProcess):
        return None


def refused(*arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run the command in this process; it must end with one line and exit code 2."""
    assert main(["serve", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    """Give the folder of a service that has a database already."""
    with template_folder() as folder:
        yield folder


@pytest.mark.postgres
def test_nothing_need_be_set_and_kill_9_loses_nothing(template: Path) -> None:
    """It serves keys from its own database, finds that again after kill -9, and stops in order.

    Meanwhile a second service on the folder, or on the port, is told what is wrong.
    """
    with folder_for_all() as folder:
        copied(template, folder)
        with serving(folder, "--port", "0") as first:
            first.until_it_serves()
            assert first.get("/health/ready")["status"] == "ok"
            (old,) = first.key_ids()
            with serving(folder, "--port", "0") as second:
                code, said = second.ended()
                assert code == 2
                assert f"is in use by another service (process {first.process.pid})" in said
            port = first.url.rpartition(":")[2]
            with serving(folder, "--port", port) as third:
                code, said = third.ended()
                assert (code, said.count("\n")) == (2, 1)
                assert f"error: port {port} of 127.0.0.1 is taken" in said
            first.process.kill()
            first.process.wait()
        assert server_of(folder) is not None
        with serving(folder, "--port", "0") as again:
            again.until_it_serves()
            assert old in again.key_ids()
            assert len(again.key_ids()) == 2
            began_s = time.monotonic()
            again.process.send_signal(signal.SIGTERM)
            code, rest = again.ended()
            assert code == 0
            assert json.loads(rest.splitlines()[-1])["message"] == "stopped"
            # Nothing is under way, so nothing is waited for.
            assert time.monotonic() - began_s < TOO_LONG_S
        assert server_of(folder) is None


@pytest.mark.postgres
def test_requests_under_way_end_and_then_it_is_not_ready(template: Path) -> None:
    """Told to stop, it says that it is not ready, answers on for the delay, and then ends."""
    with folder_for_all() as folder:
        copied(template, folder)
        with serving(folder, "--port", "0", FTREPO_SERVER__STOP_DELAY_S="1") as served:
            served.until_it_serves()
            served.process.send_signal(signal.SIGINT)
            served.until("stopping, as told by SIGINT")
            with pytest.raises(urllib.error.HTTPError, match="503"):
                served.get("/health/ready")
            assert served.key_ids()
            assert served.ended()[0] == 0
        assert server_of(folder) is None


@pytest.mark.postgres
def test_told_twice_it_ends_at_once(template: Path) -> None:
    """The second signal waits for nothing, and even then no server is left behind."""
    with folder_for_all() as folder:
        copied(template, folder)
        with serving(folder, "--port", "0", FTREPO_SERVER__STOP_DELAY_S="600") as served:
            served.until_it_serves()
            server = server_of(folder)
            assert server is not None
            served.process.send_signal(signal.SIGTERM)
            served.until("stopping, as told by SIGTERM")
            served.process.send_signal(signal.SIGINT)
            assert served.ended()[0] == 128 + signal.SIGINT
        psutil.wait_procs([server], timeout=TOO_LONG_S)
        assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE


def test_a_database_that_is_away_is_no_reason_not_to_start(tmp_path: Path) -> None:
    """With a database that refuses, it serves its own key; its address is shown without secrets.

    With no issuer given, its tokens say where it listens. A terminal that is closed stops it in
    order.
    """
    secret = "s" * 32
    client = {
        "id": "c",
        "secret_sha256": hashlib.sha256(secret.encode()).hexdigest(),
        "audiences": ["a"],
    }
    asker = {"FTREPO_CLIENTS": json.dumps([client]), "FTREPO_AUDIENCES": '["a"]'}
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        dsn = f"postgresql://ftrepo:hunter2@127.0.0.1:{port}/ftrepo"
        with serving(tmp_path, "--port", "0", FTREPO_DSN=dsn, FTREPO_ISUER="x", **asker) as served:
            served.until_it_serves()
            assert len(served.key_ids()) == 1
            assert f'"issuer": "{served.url}"' in served.lines[-1]
            form = f"grant_type=client_credentials&audience=a&client_id=c&client_secret={secret}"
            with urllib.request.urlopen(f"{served.url}/token/service", form.encode()) as answer:
                token = json.loads(answer.read())["access_token"]
            assert jwt.decode(token, options={"verify_signature": False})["iss"] == served.url
            served.process.send_signal(signal.SIGHUP)
            code, rest = served.ended()
    assert code == 0
    log = "".join(served.lines) + rest
    assert "did you mean FTREPO_ISSUER?" in log
    assert "hunter2" not in log
    assert f'"database": "postgresql://[redacted]@127.0.0.1:{port}/ftrepo"' in log


def test_settings_that_are_wrong_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is wrong with them is found before anything is started."""
    file = tmp_path / "service.toml"
    assert "missing.toml: cannot be read" in refused("--config", "missing.toml", capsys=capsys)
    file.write_text("[server]\nprt = 1\n")
    said = refused("--config", str(file), capsys=capsys)
    assert "unknown setting server.prt; did you mean port?" in said
    assert "server.port" in refused("--port", "65536", capsys=capsys)
    said = refused("--check", "--policy", str(tmp_path / "policy.toml"), capsys=capsys)
    assert "policy.toml: cannot be read" in said
    said = refused("--database", "postgres//u:hunter2@h", capsys=capsys)
    assert "hunter2" not in said


def test_settings_can_be_checked_and_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is printed can be used as it is; a check says what is probably not meant."""
    assert main(["serve", "--print-config"]) == 0
    file = tmp_path / "service.toml"
    file.write_text(capsys.readouterr().out)
    assert main(["serve", "--check", "--config", str(file), "--issuer", "http://far.example"]) == 0
    out = capsys.readouterr().out
    assert "note: audiences is empty: no token can be issued, for anybody\n" in out
    assert "note: issuer = 'http://far.example' is not https" in out
    assert out.endswith("the settings can be used\n")


def test_a_check_reads_what_the_settings_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Providers' files, and the programs of a database of its own; the network is not asked."""
    file, keys = tmp_path / "service.toml", tmp_path / "keys.json"
    file.write_text(
        "[[providers]]\nname = 'p'\nissuer = 'i'\naudience = ['a']\nalgorithms = ['EdDSA']\n"
        "jwks_file = 'keys.json'"
    )
    check = ("--check", "--config", str(file))
    said = refused(*check, capsys=capsys)
    assert f"provider 'p': jwks_file = {keys}: the file cannot be read" in said
    keys.write_text("{}")
    assert "what it has is not a JWK set" in refused(*check, capsys=capsys)
    key = SigningKey.generate(created=datetime.now(UTC), lifetime=timedelta(hours=1)).public
    keys.write_text(json.dumps({"keys": [key.to_jwk()]}))
    assert main(["serve", *check]) == 0
    capsys.readouterr()
    monkeypatch.setenv("FTREPO_POSTGRES_BIN", str(tmp_path))
    assert "there is no initdb and postgres" in refused(*check, capsys=capsys)
    assert main(["serve", *check, "--database", "postgresql://h/d"]) == 0


def test_options_are_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each option of the command line arrives, over the environment and the file."""
    from ftrepo.service import server

    caught: list[ServiceSettings] = []

    async def serve(settings: ServiceSettings, *, started: object) -> None:
        caught.append(settings)

    monkeypatch.setattr(server, "serve", serve)
    monkeypatch.setattr("ftrepo.service.command.set_up_logging", lambda *_: None)
    monkeypatch.setenv("FTREPO_SERVER__PORT", "1")
    monkeypatch.setenv("FTREPO_SERVER__HOST", "10.0.0.1")
    options = ["--port", "7", "--database", "postgresql://h/d", "--policy", "p.toml"]
    assert main(["serve", *options, "--data", str(tmp_path), "--issuer", "https://me"]) == 0
    (settings,) = caught
    assert (settings.server.host, settings.server.port) == ("10.0.0.1", 7)
    assert settings.dsn is not None
    assert settings.dsn.get_secret_value() == "postgresql://h/d"
    assert (settings.policy, settings.folder) == (Path("p.toml"), tmp_path)
    assert settings.issuer == "https://me"


def test_a_secret_comes_with_its_hash(capsys: pytest.CaptureFixture[str]) -> None:
    """The one is for the client, the other for the settings."""
    assert main(["secret"]) == 0
    words = capsys.readouterr().out.split()
    assert hashlib.sha256(words[1].encode()).hexdigest() == words[3]
    assert len(words[1]) >= 32


PLAIN_INSTALLATION = """
import sys
sys.modules["pydantic"] = None
from ftrepo.__main__ import main
sys.exit(main(["serve"]) + main(["secret"]) + main(["metrics"]))
"""


def test_without_the_extra_it_says_what_to_install() -> None:
    """A plain installation has no service, says how to get it, and has its other commands."""
    command = [sys.executable, "-c", PLAIN_INSTALLATION]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 2 + 2 + 0
    said = done.stderr.splitlines()
    assert len(said) == 2
    for line in said:
        assert line.startswith("error: import of pydantic")
        assert line.endswith("install it with: pip install 'ftrepo[service]'")
