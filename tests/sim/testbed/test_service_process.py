"""The service as a process of its own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import httpx2
import pytest

from ftrepo.policy import Policy
from ftrepo.service.settings import ServiceSettings
from sim.testbed.binaries import TestbedError
from sim.testbed.guarded_folder import GuardedFolder
from sim.testbed.service_process import FleetSettings, fleet

DSN = "postgresql://postgres@127.0.0.1:1/nobody"


@pytest.fixture
def home() -> Iterator[GuardedFolder]:
    """A folder whose guardian ends what runs in it."""
    made = GuardedFolder("ftrepo-test-", uid=os.geteuid(), gid=os.getegid())
    yield made
    made.close()
    assert not made.path.exists()


def test_each_instance_has_settings_that_the_service_takes(home: GuardedFolder) -> None:
    """Its own folder and port, one secret for all, and the others as its peers."""
    policy = Policy(flush_interval_s=0.25)
    settings = FleetSettings(instances=3, journal=False, policy=policy)
    instances, _ = fleet(settings, dsn=DSN, home=home)
    read = [ServiceSettings.load(each.settings_file) for each in instances]
    assert len({each.server.port for each in read}) == 3
    assert len({each.folder for each in read}) == 3
    assert len({str(each.clients) for each in read}) == 1
    for own, each in zip(instances, read, strict=True):
        assert each.peers is not None
        urls = [str(url).rstrip("/") for url in each.peers.urls]
        assert urls == [other.url for other in instances if other is not own]
        assert each.policy is not None
        assert Policy.from_toml(each.policy) == policy
        assert each.journal is False


@pytest.mark.parametrize(("instances", "peers"), [(1, True), (2, False)])
def test_nobody_is_asked_where_there_is_nobody_or_it_is_not_wanted(
    instances: int, peers: bool, home: GuardedFolder
) -> None:
    """A single instance has no peers, and neither have several that are to have none."""
    settings = FleetSettings(instances=instances, peers=peers)
    made, _ = fleet(settings, dsn=DSN, home=home)
    assert all(ServiceSettings.load(each.settings_file).peers is None for each in made)


def test_a_service_that_ends_instead_of_starting_says_why(home: GuardedFolder) -> None:
    """The error has the end of its log, and nothing waits for the time-out."""

    async def start() -> None:
        (service,), _ = fleet(FleetSettings(), dsn=DSN, home=home)
        service.configure({"no_such_setting": 1}, Policy())
        async with httpx2.AsyncClient(trust_env=False) as client:
            service.start()
            try:
                await service.until_ready(client)
            finally:
                service.kill()

    with pytest.raises(TestbedError, match="unknown setting no_such_setting"):
        asyncio.run(start())
