"""Reaching a server as an operator does, by asyncpg or by PostgreSQL's own programs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import asyncpg

from ftrepo.postgres.dsn import check_dsn
from ftrepo.postgres.recovery.tools import RecoveryError

CONNECT_TIMEOUT_S = 10.0
"""For how long an operator waits for a connection. No request waits for it."""


@asynccontextmanager
async def connected(dsn: str, **parameters: Any) -> AsyncIterator[asyncpg.Connection]:
    """Give a connection of its own, without time limits on statements.

    Args:
        dsn: where the database is.
        parameters: of `asyncpg.connect`, over those of the address.

    Raises:
        PolicyError: the address cannot be read.
        RecoveryError: the server cannot be reached, or refuses, or what was asked of it failed.
    """
    check_dsn(dsn)
    connection: asyncpg.Connection | None = None
    try:
        connection = await asyncpg.connect(
            dsn,
            timeout=CONNECT_TIMEOUT_S,
            server_settings={"application_name": "ftrepo recovery", "statement_timeout": "0"},
            **parameters,
        )
        yield connection
    except asyncpg.UndefinedTableError as error:
        raise RecoveryError(
            "the database has no table public_keys; is it the right one? "
            "`python -m ftrepo db status` says what it has"
        ) from error
    except (asyncpg.PostgresError, asyncpg.InternalClientError) as error:
        what = "the database failed" if connection else "the database refuses the connection"
        raise RecoveryError(f"{what}: {_first_line(error)}") from error
    except (ConnectionError, TimeoutError, asyncpg.InterfaceError) as error:
        raise RecoveryError(f"the database cannot be reached: {_first_line(error)}") from error
    finally:
        if connection is not None:
            connection.terminate()


def split_password(dsn: str) -> tuple[str, dict[str, str]]:
    """Split an address into one without its password, and the environment that brings it.

    Raises:
        PolicyError: it cannot be read. The message does not repeat it.
        RecoveryError: it has a password that a program could be given as an argument only.
    """
    check_dsn(dsn)
    parts = urlsplit(dsn)
    options = parse_qsl(parts.query, keep_blank_values=True)
    secrets = {name: value for name, value in options if name.endswith("password")}
    if "sslpassword" in secrets:
        raise RecoveryError(
            "PostgreSQL's programs take an sslpassword as an argument only, where everybody could "
            "read it; use a client key without one, in a file that only you can read"
        )
    kept = urlencode([(name, value) for name, value in options if name not in secrets])
    account, at, host = parts.netloc.rpartition("@")
    user, colon, password = account.partition(":")
    if colon:
        secrets["password"] = unquote(password)
    bare = f"{parts.scheme}://{user}{at}{host}{parts.path}" + (f"?{kept}" if kept else "")
    return bare, ({"PGPASSWORD": secrets["password"]} if secrets else {})


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
