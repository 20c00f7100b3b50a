"""Folders for a PostgreSQL of a service's own, copies of one that was made once."""

from __future__ import annotations

import asyncio
import functools
import shutil
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec

from ftrepo.postgres.migrate import upgrade
from ftrepo.service.embedded import EmbeddedPostgres

P = ParamSpec("P")


def on_a_loop(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Run a test on an event loop of its own, in real time."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def all_of_it() -> None:
            await test(*args, **kwargs)

        asyncio.run(all_of_it())

    return run


@contextmanager
def folder_for_all() -> Iterator[Path]:
    """Give a folder that a server of another user can reach, which pytest's own are not for."""
    folder = Path(tempfile.mkdtemp(prefix="ftrepo-"))
    try:
        folder.chmod(0o711)
        yield folder
    finally:
        shutil.rmtree(folder)


async def make_database(folder: Path) -> None:
    """Make a database with the tables in it, by the way of a service that starts the first time."""
    async with EmbeddedPostgres(folder / "postgresql") as server:
        await upgrade(server.dsn)


@contextmanager
def template_folder() -> Iterator[Path]:
    """Give a service's folder with a database, to be copied."""
    with folder_for_all() as folder:
        asyncio.run(make_database(folder))
        yield folder


def copied(template: Path, folder: Path) -> Path:
    """Copy the database of a service's folder into another one, and return that."""
    subprocess.run(["cp", "-Rp", template / "postgresql", folder], check=True)
    return folder
