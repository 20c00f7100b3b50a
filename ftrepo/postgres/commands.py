"""The command line of the migrations: `db upgrade`, `db downgrade` and `db status`."""

from __future__ import annotations

import argparse
import asyncio
import os
from typing import TYPE_CHECKING

from ftrepo.postgres import migrate

if TYPE_CHECKING:
    # What `add_subparsers` returns has no public name.
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

DSN_VARIABLE = "FTREPO_DSN"
"""The variable of the environment that says where the database is. It keeps a password out of the
list of processes, where an argument would show it."""


def add_migrations(commands: Commands) -> None:
    """Add the commands of the migrations to the parser of `db`."""
    up = commands.add_parser("upgrade", help="bring the database up to a version")
    up.add_argument(
        "revision", nargs="?", default="head", metavar="REV", help="default: the newest"
    )
    up.add_argument("--sql", action="store_true", help="print what would be run, and run nothing")
    _add_lock_timeout(up)
    add_dsn(up)
    up.set_defaults(command=_upgrade)

    down = commands.add_parser("downgrade", help="take the database back")
    down.add_argument(
        "target",
        metavar="STEPS-or-REV",
        help="how many versions to go back (1), the version to go back to (0001), or base",
    )
    down.add_argument("--yes", action="store_true", help="also if a table and its keys are deleted")
    _add_lock_timeout(down)
    add_dsn(down)
    down.set_defaults(command=_downgrade)

    status = commands.add_parser("status", help="say which version the database has")
    add_dsn(status)
    status.set_defaults(command=_status)


def add_dsn(parser: argparse.ArgumentParser) -> None:
    """Add the option that says where the database is."""
    parser.add_argument(
        "--dsn",
        default=os.environ.get(DSN_VARIABLE),
        metavar="DSN",
        help=f"postgresql://user@host:port/database; default: the variable {DSN_VARIABLE}",
    )


def required_dsn(options: argparse.Namespace) -> str:
    """Return where the database is.

    Raises:
        MigrationError: nobody has said it.
    """
    if not options.dsn:
        raise migrate.MigrationError(f"say where the database is: --dsn, or {DSN_VARIABLE}")
    dsn: str = options.dsn
    return dsn


def _add_lock_timeout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--lock-timeout",
        type=float,
        default=migrate.LOCK_TIMEOUT_S,
        metavar="SECONDS",
        help="how long to wait for another migration to end; default: %(default)g",
    )


def _upgrade(options: argparse.Namespace) -> int:
    if options.sql:
        print(asyncio.run(migrate.upgrade_sql(options.dsn, options.revision)), end="")
        return 0
    upgrade = migrate.upgrade(
        required_dsn(options), options.revision, lock_timeout_s=options.lock_timeout
    )
    done = asyncio.run(upgrade)
    print(f"upgraded to {done[-1]}: {', '.join(done)}" if done else "nothing to do")
    return 0


def _downgrade(options: argparse.Namespace) -> int:
    downgrade = migrate.downgrade(
        required_dsn(options),
        options.target,
        destroy=options.yes,
        lock_timeout_s=options.lock_timeout,
    )
    undone = asyncio.run(downgrade)
    print(f"took back {', '.join(undone)}" if undone else "nothing to do")
    return 0


def _status(options: argparse.Namespace) -> int:
    status = asyncio.run(migrate.status(required_dsn(options)))
    print(f"version   {status.current or 'none'}")
    print(f"newest    {status.head}")
    print(f"to do     {', '.join(status.waiting) or 'nothing'}")
    print(f"running   {status.running or 'nobody'}")
    return 0
