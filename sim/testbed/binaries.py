"""What the testbed says when there is no PostgreSQL, and all else that it cannot do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftrepo.postgres import binaries

if TYPE_CHECKING:
    from pathlib import Path


class TestbedError(Exception):
    """The testbed cannot do what was asked; the message says why and what helps."""

    __test__ = False  # Its name begins as pytest's classes do.


def server_binaries() -> Path:
    """Return a folder with `initdb` and `postgres` that the server's user can run.

    Raises:
        TestbedError: there is no PostgreSQL; the message says where was looked.
    """
    try:
        return binaries.server_binaries()
    except binaries.BinariesError as error:
        raise TestbedError(str(error)) from error
