"""The token-exchange service as a process of its own, to be stopped, killed and started again."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

import ftrepo
from ftrepo.policy import Policy
from ftrepo.service.http.endpoints import LIVE, READY
from ftrepo.service.settings_sources import ENVIRONMENT_PREFIX
from ftrepo.service.tokens import new_secret
from sim.testbed.binaries import TestbedError
from sim.testbed.cluster import PORTS
from sim.testbed.guarded_folder import GuardedFolder

ISSUER = "http://issuer.testbed"
AUDIENCE = "testbed"
CLIENT = "testbed-load"

START_S_MAX = 60.0
"""How long an instance may take until it is ready, on a machine that is busy."""

STOP_S_MAX = 20.0

_RATE_MAX = 100_000
"""Of requests that the service lets through: the testbed measures other things than its limits."""

_LOOK_EVERY_S = 0.01
_PORT_TRIES = 50
_TAIL_LINES = 15


@dataclass(frozen=True, kw_only=True)
class KeyTimes:
    """How long keys and tokens live: minutes of production in seconds.

    Attributes:
        rotation_interval_s: the time between two keys of an instance.
        token_lifetime_s: of a token.
        key_lifetime_s: of a key. What it has beyond both is the time that a new key is published
            before it is used.
    """

    rotation_interval_s: float = 4.0
    token_lifetime_s: float = 12.0
    key_lifetime_s: float = 22.0

    @property
    def lead_s(self) -> float:
        """How long a new key is published before it is used, if the policy asks for more."""
        return self.key_lifetime_s - self.rotation_interval_s - self.token_lifetime_s


class ServiceProcess:
    """One instance of the service, on an address of this machine that it keeps.

    Args:
        name: of its folder.
        home: where its folder is made; its guardian ends the process.
        port: where it listens.

    Attributes:
        name: as given.
        home: as given.
        url: its address.
        settings_file: its settings, once `configure` has written them.
    """

    def __init__(self, name: str, home: GuardedFolder, port: int) -> None:
        self.name = name
        self.url = f"http://127.0.0.1:{port}"
        self._port = port
        self.home = home
        self._folder = home.path / name
        self.settings_file = self._folder / "service.toml"
        self._folder.mkdir(mode=0o700)
        self._log = self._folder / "service.log"
        self._process: subprocess.Popen[bytes] | None = None

    def configure(self, settings: Mapping[str, object], policy: Policy) -> None:
        """Write the settings with which it starts from now on: tables as the service has them."""
        (self._folder / "policy.toml").write_text(policy.to_toml(comments=False), encoding="utf-8")
        own = {
            "folder": str(self._folder / "own"),
            "policy": "policy.toml",
            "server": {"port": self._port},
        }
        text = "\n".join(_toml({**settings, **own})) + "\n"
        tomllib.loads(text)
        self.settings_file.write_text(text, encoding="utf-8")

    @property
    def pid(self) -> int | None:
        """The process; `None` while it does not run."""
        if self._process is None or self._process.poll() is not None:
            return None
        return self._process.pid

    def start(self) -> None:
        """Start the process; `until_ready` waits for it."""
        # What the testbed's own environment says of a service is not meant for this one.
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.upper().startswith(ENVIRONMENT_PREFIX)
        }
        command = [sys.executable, "-m", "ftrepo", "serve", "--config", str(self.settings_file)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C is for the testbed, which then stops the service.
                start_new_session=True,
                cwd=Path(ftrepo.__file__).parent.parent,
                env=environment,
            )
        self.home.watch(self._process.pid)

    async def until_ready(self, client: httpx2.AsyncClient) -> None:
        """Return as soon as it can issue tokens.

        Raises:
            TestbedError: it ended or was not ready in time; the message has the end of its log.
        """
        await self._until(client, READY)

    async def until_live(self, client: httpx2.AsyncClient) -> None:
        """Return as soon as it answers, ready or not; raises as `until_ready` does."""
        await self._until(client, LIVE)

    async def _until(self, client: httpx2.AsyncClient, path: str) -> None:
        try:
            async with asyncio.timeout(START_S_MAX):
                while not await self._is_well(client, path):
                    if self.pid is None:
                        raise TestbedError(f"the service {self.name} ended:\n{self.log_tail()}")
                    await asyncio.sleep(_LOOK_EVERY_S)
        except TimeoutError:
            raise TestbedError(
                f"the service {self.name} was not ready in {START_S_MAX:g} s:\n{self.log_tail()}"
            ) from None

    async def _is_well(self, client: httpx2.AsyncClient, path: str) -> bool:
        try:
            return (await client.get(self.url + path)).status_code == httpx2.codes.OK
        except httpx2.HTTPError:
            return False

    def kill(self) -> None:
        """End it with SIGKILL: what was only in its memory is gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Tell it to stop, and wait until it has; one that does not is killed."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self.home.unwatch(process.pid)

    def log_tail(self, lines: int = _TAIL_LINES) -> str:
        """Return the last lines of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])


@dataclass(frozen=True, kw_only=True)
class FleetSettings:
    """The instances of a service on one database.

    Attributes:
        instances: how many.
        peers: whether they ask each other for keys in an outage.
        journal: whether each keeps on its disk what waits to be written.
        times: of keys and tokens.
        policy: how their repositories behave.
    """

    instances: int = 1
    peers: bool = True
    journal: bool = True
    times: KeyTimes = field(default_factory=KeyTimes)
    policy: Policy = field(default_factory=Policy)


def fleet(
    settings: FleetSettings, *, dsn: str, home: GuardedFolder
) -> tuple[list[ServiceProcess], str]:
    """Return the instances, configured and not started, and the secret of their client."""
    secret, digest = new_secret()
    ports = _free_ports(settings.instances)
    known_by = secrets.token_urlsafe(32)
    made = [ServiceProcess(f"service-{n}", home, port) for n, port in enumerate(ports, 1)]
    times = settings.times
    for each in made:
        tables: dict[str, object] = {
            "issuer": ISSUER,
            "audiences": [AUDIENCE],
            "dsn": dsn,
            "journal": settings.journal,
            "log_format": "text",
            "keys": {
                "rotation_interval_s": times.rotation_interval_s,
                "lifetime_s": times.key_lifetime_s,
                "max_age_s": max(1, int(times.lead_s / 2)),
            },
            "tokens": {"lifetime_s": times.token_lifetime_s},
            "limits": dict.fromkeys(("keys", "service"), _UNLIMITED),
            "clients": [{"id": CLIENT, "secret_sha256": digest, "audiences": [AUDIENCE]}],
        }
        if settings.peers and len(made) > 1:
            others = [other.url for other in made if other is not each]
            tables["peers"] = {"urls": others, "secret": known_by}
        each.configure(tables, settings.policy)
    return made, secret


_UNLIMITED = {
    "rate_per_s": _RATE_MAX,
    "burst": _RATE_MAX,
    "caller_rate_per_s": _RATE_MAX,
    "caller_burst": _RATE_MAX,
}


def _free_ports(count: int) -> list[int]:
    """Ports on which nobody listens, all of them held until the last one is found."""
    held: list[socket.socket] = []
    try:
        for _ in range(_PORT_TRIES):
            if len(held) == count:
                return [each.getsockname()[1] for each in held]
            one = socket.socket()
            try:
                one.bind(("127.0.0.1", secrets.choice(PORTS)))
            except OSError:
                one.close()
            else:
                held.append(one)
        raise TestbedError(f"none of {_PORT_TRIES} ports could be had")
    finally:
        for each in held:
            each.close()


def _toml(table: Mapping[str, object], at: Sequence[str] = ()) -> Iterator[str]:
    """Lines of TOML; the text of JSON is TOML for what stands in them, but for tables."""
    tables = {name: value for name, value in table.items() if isinstance(value, Mapping)}
    rows = {name: value for name, value in table.items() if _is_rows(value)}
    for name, value in table.items():
        if name not in tables and name not in rows:
            yield f"{name} = {json.dumps(value)}"
    for name, value in tables.items():
        yield f"[{'.'.join((*at, name))}]"
        yield from _toml(value, (*at, name))
    for name, value in rows.items():
        for row in value:  # type: ignore[attr-defined]
            yield f"[[{'.'.join((*at, name))}]]"
            yield from _toml(row, (*at, name))


def _is_rows(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)
