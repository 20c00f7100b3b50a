"""Fixtures for tests against a real PostgreSQL, which are marked `postgres`.

`FTREPO_TEST_DSN` names a server to use in place of one that is started here, for `database` alone:
a fixture that hands out the server itself never hands out somebody else's. Where there is no
PostgreSQL at all, leave these tests out by name: `-m "not postgres"`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sim.testbed.cluster import Cluster, Server


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Give a server that all tests share, and that none may break."""
    from sim.testbed.cluster import Cluster

    with Cluster() as shared:
        yield shared


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """Give a server that the test may break."""
    from sim.testbed.cluster import Cluster

    with Cluster() as own:
        yield own


@pytest.fixture(scope="session")
def public_keys_database(request: pytest.FixtureRequest) -> Iterator[str]:
    """Give the address of a database with the table of keys, which a test empties before its use.

    That is quicker than a fresh one, for tests that only store keys.
    """
    from ftrepo.postgres.migrate import upgrade

    server = _server(request)
    dsn = server.create_database()
    asyncio.run(upgrade(dsn))
    yield dsn
    server.drop_database(dsn)


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """Give the address of a fresh, empty database."""
    server = _server(request)
    dsn = server.create_database()
    yield dsn
    server.drop_database(dsn)


def _server(request: pytest.FixtureRequest) -> Server:
    from sim.testbed.cluster import ExistingServer

    address = os.environ.get("FTREPO_TEST_DSN")
    return ExistingServer(address) if address else request.getfixturevalue("cluster")
