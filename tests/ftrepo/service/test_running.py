"""The service without HTTP: its start, life and stop, in virtual time and on a real disk."""

from __future__ import annotations

import asyncio
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
from laboratory import EPOCH, Laboratory, hang, refuse, run_laboratory

from ftrepo.errors import JournalLockedError, KeyNotFoundError, KeyUnavailableError, PolicyError
from ftrepo.interface import PrimaryStore
from ftrepo.journal.sqlite import SqliteJournal
from ftrepo.keys import SigningKey
from ftrepo.memory import InMemoryRepository
from ftrepo.postgres.migrate import upgrade
from ftrepo.service import running
from ftrepo.service.errors import ServiceSettingsError
from ftrepo.service.http.app import create_app
from ftrepo.service.running import JOURNAL, SNAPSHOT, Service
from ftrepo.service.settings import ServiceSettings
from ftrepo.telemetry.database_readings import POOL
from ftrepo.telemetry.readings import REPOSITORY
from sim.world.outages import Outage

SECRET = "s" * 32


def settings_of(home: Path, **changes: Any) -> ServiceSettings:
    """Settings of a service at home in this folder, whose policy keeps no snapshot."""
    policy = home / "policy.toml"
    policy.write_text('snapshot_interval_s = "none"\n', encoding="utf-8")
    fitting = {
        "issuer": "https://tokens.example",
        "audiences": ["a"],
        "folder": home / "own",
        "policy": policy,
        "journal": False,
    }
    return ServiceSettings(**(fitting | changes))


def service_in(
    lab: Laboratory, folder: Path, *, primary: PrimaryStore | None = None, **changes: Any
) -> Service:
    """A service before the laboratory's primary."""
    transport = changes.pop("peer_transport", None)
    return Service(
        settings_of(folder, **changes),
        now=lab.now,
        primary=primary or lab.primary,
        peer_transport=transport,
        draw=lambda: 0.0,
    )


def issue(service: Service) -> str:
    """A token for somebody."""
    return service.issuer.issue(subject="s", audiences=["a"]).token


async def verifies(service: Service, token: str) -> bool:
    """Whether a verifier who reads the key set of this service accepts the signature."""
    published = await service.key_set.current()
    kid = jwt.get_unverified_header(token)["kid"]
    jwks = {each["kid"]: each for each in published.jwks}
    if kid not in jwks:
        return False
    options: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
    key = jwt.PyJWK(dict(jwks[kid]))
    jwt.decode(token, key, algorithms=["EdDSA"], audience="a", options=options)
    return True


@pytest.mark.parametrize("away", [[], [refuse(0.0, 100.0)], [hang(0.0, 100.0)]])
def test_it_starts_whatever_the_primary_does(away: list[Outage], tmp_path: Path) -> None:
    """At once, with exactly the key that it makes (K6), and finds the primary by itself later."""

    async def story(lab: Laboratory) -> None:
        service = service_in(lab, tmp_path)
        assert not service.is_ready
        async with service:
            # The load and the first key: a time-out each, if nobody answers.
            assert lab.loop.time() <= 2.0 + 0.5 + 0.05
            assert service.is_ready
            assert service.started_at is not None
            token = issue(service)
            published = await service.key_set.current()
            assert len(published.keys) == 1
            assert published.is_complete is not bool(away)
            assert await verifies(service, token)
            await lab.until(130.0)
            assert len(lab.primary) == 1
            assert (await service.key_set.current()).is_complete
        assert not service.is_ready

    run_laboratory(story, away)


def test_a_stop_flushes_what_waits(tmp_path: Path) -> None:
    """Also what came so late that no beat of a flush has come since."""

    async def story(lab: Laboratory) -> None:
        policy = tmp_path / "slow.toml"
        policy.write_text('snapshot_interval_s = "none"\nflush_interval_s = 3000.0\nbreaker=false')
        async with service_in(lab, tmp_path, policy=policy) as service:
            await lab.until(20.0)
            assert len(service.repository.pending) == 1
            assert len(lab.primary) == 0
        assert len(lab.primary) == 1
        assert service.stopping
        assert service.key_life.current is None

    run_laboratory(story, [refuse(0.0, 10.0)])


def test_tokens_can_be_verified_through_rotations_and_an_outage(tmp_path: Path) -> None:
    """At the instance that issued them, each at the moment before it expires."""

    async def story(lab: Laboratory) -> int:
        keys = {"rotation_interval_s": 600.0, "lifetime_s": 1500.0}
        signers = set()
        async with service_in(lab, tmp_path, keys=keys) as service:
            tokens: list[str] = []
            for step in range(1, 85):
                await lab.until(50.0 * step)
                tokens.append(issue(service))
                signers.add(jwt.get_unverified_header(tokens[-1])["kid"])
                if len(tokens) >= 6:  # They live for 300 s.
                    assert await verifies(service, tokens[-6])
        return len(signers)

    assert run_laboratory(story, [hang(1000.0, 2800.0), refuse(3000.0, 3100.0)]) >= 4


class OtherInstances(httpx2.AsyncBaseTransport):
    """A network on which each host is a service."""

    def __init__(self) -> None:
        self.hosts: dict[str, httpx2.ASGITransport] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await asyncio.sleep(0.001)
        return await self.hosts[request.url.host].handle_async_request(request)


@pytest.mark.parametrize("secret", [SECRET, "w" * 32])
def test_two_instances_find_each_others_key_in_an_outage(secret: str, tmp_path: Path) -> None:
    """Both start while the primary is away: neither key is anywhere but at its maker.

    With different secrets neither tells the other anything, and each goes on by itself.
    """

    async def story(lab: Laboratory) -> None:
        network = OtherInstances()
        services = []
        for name, other, known in (("one", "two", SECRET), ("two", "one", secret)):
            peers = {"urls": [f"http://{other}:8080"], "secret": known}
            (tmp_path / name).mkdir()
            service = service_in(lab, tmp_path / name, peers=peers, peer_transport=network)
            network.hosts[name] = httpx2.ASGITransport(create_app(service))
            services.append(service)
        one, two = services
        async with one, two:
            token = issue(two)
            kid = jwt.get_unverified_header(token)["kid"]
            if secret == SECRET:
                assert await verifies(one, token)
                assert await verifies(two, issue(one))
                assert (await one.repository.get(kid)).id == kid
            else:
                assert not await verifies(one, token)
                assert not await verifies(two, issue(one))
                with pytest.raises(KeyUnavailableError):
                    await one.repository.get(kid)
            assert await verifies(one, issue(one))
            assert await verifies(two, issue(two))

    run_laboratory(story, [refuse(0.0, 1e4)])


def test_a_start_that_fails_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was started is stopped again: no task is left, and another start is refused."""

    async def story(lab: Laboratory) -> None:
        service = service_in(lab, tmp_path)
        tasks = asyncio.all_tasks()

        async def broken(self: object) -> object:
            raise OSError("a provider's keys are not readable")

        monkeypatch.setattr(type(service.providers), "__aenter__", broken)
        with pytest.raises(OSError, match="not readable"):
            await service.__aenter__()
        await asyncio.sleep(1.0)
        assert asyncio.all_tasks() == tasks
        assert not service.is_ready
        assert service.started_at is None
        with pytest.raises(RuntimeError, match="closed|not running"):
            await service.repository.get("a")
        with pytest.raises(RuntimeError, match="starts once"):
            await service.__aenter__()

    run_laboratory(story)


def test_a_cancelled_start_leaves_nothing_behind(tmp_path: Path) -> None:
    """Whoever starts it may lose patience while the primary hangs."""

    async def story(lab: Laboratory) -> None:
        tasks = asyncio.all_tasks()
        starting = asyncio.create_task(service_in(lab, tmp_path).__aenter__())
        await asyncio.sleep(2.2)
        starting.cancel()
        await asyncio.wait([starting])
        assert starting.cancelled()
        await asyncio.sleep(1.0)
        assert asyncio.all_tasks() == tasks

    run_laboratory(story, [hang(0.0, 1e4)])


def test_what_is_probably_not_meant_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, at the start."""

    async def story(lab: Laboratory) -> None:
        async with service_in(lab, tmp_path, audiences=[]):
            pass

    run_laboratory(story)
    assert caplog.text.count("audiences is empty") == 1


def test_whoever_stops_it_says_so_first(tmp_path: Path) -> None:
    """It is then not ready, and goes on answering those who are there."""

    async def story(lab: Laboratory) -> None:
        async with service_in(lab, tmp_path) as service:
            service.stopping = True
            assert not service.is_ready
            assert await verifies(service, issue(service))

    run_laboratory(story)


def real_service(tmp_path: Path, **changes: Any) -> Service:
    """A service in real time, with everything that it keeps on the disk."""
    changes = {"policy": None, "journal": True} | changes
    primary = InMemoryRepository(now=lambda: datetime.now(UTC))
    return Service(settings_of(tmp_path, **changes), primary=primary)


def test_its_folder_is_its_own(tmp_path: Path) -> None:
    """Made at the start, for nobody else to read, with a journal and a snapshot in it."""

    async def main() -> None:
        async with real_service(tmp_path, folder=tmp_path / "a" / "b"):
            pass

    asyncio.run(main())
    folder = tmp_path / "a" / "b"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {JOURNAL, SNAPSHOT} <= {path.name for path in folder.iterdir()}


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """As a setting that is wrong."""
    (tmp_path / "file").write_text("")

    async def main() -> None:
        async with real_service(tmp_path, folder=tmp_path / "file" / "own"):
            pass

    with pytest.raises(ServiceSettingsError, match="folder = .*cannot be made"):
        asyncio.run(main())


def test_two_services_in_one_folder_are_refused(tmp_path: Path) -> None:
    """The second one says whose fault it is, and the first goes on."""

    async def main() -> None:
        async with real_service(tmp_path) as first:
            second = real_service(tmp_path)
            with pytest.raises(JournalLockedError):
                await second.__aenter__()
            assert first.is_ready

    asyncio.run(main())


def test_keys_that_wait_survive_a_restart(tmp_path: Path) -> None:
    """What an earlier process has left in the journal is published again."""

    async def main() -> None:
        lifetime = timedelta(hours=1)
        left = SigningKey.generate(created=datetime.now(UTC), lifetime=lifetime).public
        (tmp_path / "own").mkdir(mode=0o700)
        journal = SqliteJournal(tmp_path / "own" / JOURNAL)
        await journal.open()
        await journal.append([left])
        await journal.close()
        async with real_service(tmp_path) as service:
            published = await service.key_set.current()
            assert left.id in [key.id for key in published.keys]
            assert len(published.keys) == 2

    asyncio.run(main())


@pytest.mark.parametrize(
    ("changes", "error", "named"),
    [
        ({"dsn": None}, ServiceSettingsError, "dsn is not set"),
        (
            {"dsn": "postgresql://u:hunter2@h/d?sslmode=disable", "connection": {"tls": "require"}},
            PolicyError,
            "sslmode",
        ),
        ({"policy": "missing.toml"}, PolicyError, "missing.toml"),
    ],
)
def test_a_wrong_setting_is_named(
    changes: dict[str, Any], error: type[Exception], named: str, tmp_path: Path
) -> None:
    """Before anything is started, and without what may be a secret."""
    settings = settings_of(tmp_path, **({"dsn": "postgresql://u@127.0.0.1/d"} | changes))
    with pytest.raises(error, match=named) as caught:
        Service(settings)
    assert "hunter2" not in str(caught.value)


@pytest.mark.postgres
def test_without_the_tables_it_serves_from_memory_and_says_what_to_do(
    database: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Migrations were not run: one line says so; once they were, the key is written."""
    policy = tmp_path / "quick.toml"
    policy.write_text("breaker_open_s = 0.1\nflush_interval_s = 0.1\nbreaker_failure_threshold = 2")

    async def main() -> None:
        async with Service(settings_of(tmp_path, dsn=database, policy=policy)) as service:
            assert service.is_ready
            assert service.schema.is_outdated
            assert len((await service.key_set.current()).keys) == 1
            current = service.key_life.current
            assert current is not None
            await upgrade(database)
            async with asyncio.timeout(30.0):
                await service.repository.until_settled(current.public.id)
            assert not service.schema.is_outdated

    asyncio.run(main())
    assert caplog.text.count("run `python -m ftrepo db upgrade`. Until") == 1


@pytest.mark.postgres
def test_it_makes_the_tables_if_told_to(database: str, tmp_path: Path) -> None:
    """With `migrate = true`; and everything is watched."""

    async def main() -> None:
        settings = settings_of(tmp_path, dsn=database, migrate=True)
        async with Service(settings) as service:
            published = await service.key_set.current()
            assert published.is_complete
            assert service.pool is not None
            assert service.monitor is not None
            shown = {metric for metric, _ in service.metrics.read().values}
            for table in (REPOSITORY, POOL):
                assert shown & set(table)
            with pytest.raises(KeyNotFoundError):
                await service.repository.get("a")

    asyncio.run(main())


def test_a_database_that_is_away_is_not_migrated(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It starts all the same, and the log has the reason, without the password."""

    async def main() -> None:
        dsn = "postgresql://user:hunter2@127.0.0.1:9/none"
        async with Service(settings_of(tmp_path, dsn=dsn, migrate=True)) as service:
            assert service.is_ready

    asyncio.run(main())
    assert "was not brought up to date" in caplog.text
    assert "hunter2" not in caplog.text


def test_the_clock_is_the_calendars() -> None:
    """By default; every part takes it from the service."""
    assert running.utc_now() > EPOCH
