"""PostgreSQL's own programs: finding those that fit a server, and running them.

A backup is taken, checked and restored by the programs that come with the server: nobody knows its
files better. They must be of the server's major version, because the files are.

No password is ever an argument of a program, where every user of the machine could read it: it goes
through the environment.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import re
from asyncio.subprocess import PIPE
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftrepo.errors import FtrepoError

if TYPE_CHECKING:
    from collections.abc import Sequence

BINARIES_VARIABLE = "FTREPO_POSTGRES_BIN"
"""The environment variable that names the folder of the programs."""

_PACKAGED = ("/usr/lib/postgresql/{major}/bin", "/usr/pgsql-{major}/bin")
"""Where Debian's and Red Hat's packages put the programs that they leave out of PATH."""

_ERROR_LINES_MAX = 6


class RecoveryError(FtrepoError):
    """A backup, a check or a restore could not be made; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """The user whom server programs run as, when root starts them: they refuse to be root."""

    uid: int
    gid: int
    name: str


@dataclass(frozen=True, kw_only=True)
class Tools:
    """The programs of one major version of PostgreSQL, in one folder."""

    binaries: Path
    major: int

    def path(self, program: str) -> str:
        """Return where a program is.

        Raises:
            RecoveryError: this installation came without it.
        """
        path = self.binaries / program
        if not os.access(path, os.X_OK):
            raise RecoveryError(
                f"{self.binaries} has no {program}; install the server package of PostgreSQL "
                f"{self.major}, or name a complete folder with --binaries or {BINARIES_VARIABLE}"
            )
        return str(path)

    async def run(
        self,
        program: str,
        *arguments: str,
        environment: dict[str, str] | None = None,
        account: Account | None = None,
    ) -> str:
        """Run a program to its end and return what it printed.

        Args:
            program: its name.
            arguments: its arguments; none of them secret.
            environment: variables besides our own, such as the password.
            account: whom to run it as; `None` for ourselves.

        Raises:
            RecoveryError: it failed; the message ends with what it said.
        """
        process = await asyncio.create_subprocess_exec(
            self.path(program),
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            env={**os.environ, **(environment or {}), "LC_ALL": "C"},
            cwd="/",
            **as_account(account),
        )
        try:
            printed, complaint = await process.communicate()
        except BaseException:
            # Whoever interrupts us does not want the program to go on.
            process.kill()
            await process.wait()
            raise
        if process.returncode:
            said = (complaint or printed).decode(errors="replace").strip().splitlines()
            lines = "\n  ".join(said[-_ERROR_LINES_MAX:]) or "it said nothing"
            raise RecoveryError(f"{program} failed (exit code {process.returncode}):\n  {lines}")
        return printed.decode(errors="replace")


def as_account(account: Account | None) -> dict[str, Any]:
    """Return the arguments with which a program is started as somebody else."""
    if account is None:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


async def find_tools(major: int, *, needs: Sequence[str], binaries: Path | None = None) -> Tools:
    """Find the programs of a major version.

    Args:
        major: the server's, such as 18.
        needs: the programs that will be run.
        binaries: their folder; by default the environment's `FTREPO_POSTGRES_BIN`, else the first
            folder of PATH that fits, else where the packages of the distributions put them.

    Raises:
        RecoveryError: a folder that was named does not fit, or none was found.
    """
    named = binaries or (Path(os.environ[BINARIES_VARIABLE]) if _is_set() else None)
    if named is not None:
        tools = Tools(binaries=named, major=major)
        for program in needs:
            tools.path(program)
        found = await _major_of(named / needs[0])
        if found != major:
            raise RecoveryError(
                f"the programs in {named} are of PostgreSQL {found or '(unknown)'}, but the data "
                f"are of {major}; name the folder of version {major} with --binaries"
            )
        return tools
    folders = [Path(entry) for entry in os.get_exec_path()]
    folders += [Path(pattern.format(major=major)) for pattern in _PACKAGED]
    for folder in folders:
        if _has_all(folder, needs) and await _major_of(folder / needs[0]) == major:
            return Tools(binaries=folder, major=major)
    raise RecoveryError(
        f"found no {', '.join(needs)} of PostgreSQL {major} in PATH; install them, or name their "
        f"folder with --binaries or {BINARIES_VARIABLE}"
    )


def _is_set() -> bool:
    return bool(os.environ.get(BINARIES_VARIABLE))


def _has_all(folder: Path, needs: Sequence[str]) -> bool:
    # A folder of PATH that we may not enter has nothing for us.
    return all(os.access(folder / program, os.X_OK) for program in needs)


async def _major_of(program: Path) -> int | None:
    """The major version that a program says it has; `None` if it cannot be run."""
    try:
        process = await asyncio.create_subprocess_exec(
            str(program), "--version", stdout=PIPE, stderr=asyncio.subprocess.DEVNULL, cwd="/"
        )
    except OSError:
        return None
    printed, _ = await process.communicate()
    version = re.search(rb"\(PostgreSQL\) (\d+)", printed)
    return int(version[1]) if version else None


def server_account(name: str | None, *, data: Path) -> Account | None:
    """Say whom a server on a data directory must run as; `None` for ourselves.

    Only root has to choose, because a server refuses to be root: the user who was named, else the
    owner of the folder that the data directory is in, else the account `postgres`.

    Raises:
        RecoveryError: there is no such user, or we may not become them, or none can be guessed.
    """
    if os.geteuid() != 0:
        own = pwd.getpwuid(os.geteuid()).pw_name
        if name not in (None, own):
            raise RecoveryError(f"only root can start a server as {name}; leave out --user")
        return None
    try:
        if name is not None:
            entry = pwd.getpwnam(name)
        elif (owner := data.resolve().parent.stat().st_uid) != 0:
            entry = pwd.getpwuid(owner)
        else:
            entry = pwd.getpwnam("postgres")
    except (KeyError, FileNotFoundError):
        wanted = f"there is no user {name}" if name else "a server cannot run as root"
        raise RecoveryError(f"{wanted}; say with --user which account it is to run as") from None
    if entry.pw_uid == 0:
        raise RecoveryError("a server cannot run as root; name another account with --user")
    return Account(uid=entry.pw_uid, gid=entry.pw_gid, name=entry.pw_name)
