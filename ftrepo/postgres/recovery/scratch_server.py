"""A server on a restored data directory that only its restorer can reach.

It listens on a socket in a private folder, and no password is asked there, because nobody else can
enter the folder. It archives nothing: a rehearsal must not leave a timeline in the real archive.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from ftrepo.postgres.recovery.address import connected
from ftrepo.postgres.recovery.checks import Check
from ftrepo.postgres.recovery.tools import Account, RecoveryError, Tools, as_account

if TYPE_CHECKING:
    from ftrepo.postgres.recovery.backup_record import Backup

STOP_TIMEOUT_S = 300.0
"""How long a shutdown may take, which writes everything to disk."""

_PORT = "5432"
_LOOK_EVERY_S = 0.05
_TAIL_LINES = 8

_SETTINGS = {
    "listen_addresses": "",
    "port": _PORT,
    "archive_mode": "off",
    "ssl": "off",
    "logging_collector": "off",
    "log_destination": "stderr",
    "external_pid_file": "",
    # As a standby it would refuse to start if the old server had more connections configured.
    "hot_standby": "off",
}


class ScratchServer:
    """A server that is started to recover, asked, and stopped. Made by `restore`.

    Args:
        tools: the programs of its version.
        data: its data directory.
        private: an empty folder that only its account can enter.
        account: whom it runs as; `None` for ourselves.
    """

    def __init__(self, *, tools: Tools, data: Path, private: Path, account: Account | None) -> None:
        self._tools = tools
        self._data = data
        self._private = private
        self._account = account
        self._log = private / "log"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, *, ready_timeout_s: float) -> None:
        """Start the server and return when it has recovered and takes writes.

        Raises:
            RecoveryError: it gave up or took too long; the message has the end of its log.
        """
        rules = self._private / "pg_hba.conf"
        rules.write_text("local all all trust\n", encoding="utf-8")
        rules.chmod(0o644)
        settings = {
            **_SETTINGS,
            # The restored configuration may name the directory of the old server.
            "data_directory": str(self._data),
            "ident_file": "",
            "unix_socket_directories": str(self._private),
            "hba_file": str(rules),
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                self._tools.path("postgres"),
                "-D",
                str(self._data),
                *options,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C is for us, who then stop the server.
                start_new_session=True,
                cwd="/",
                env={**os.environ, "LC_ALL": "C"},
                **as_account(self._account),
            )
        try:
            async with asyncio.timeout(ready_timeout_s):
                while not self._is_ready():
                    self._must_run()
                    await asyncio.sleep(_LOOK_EVERY_S)
        except TimeoutError:
            raise RecoveryError(
                f"the log was not read to its end within {ready_timeout_s:g} s; "
                f"{self._data} is not usable, remove it. The server's last words:\n{self._tail()}"
            ) from None

    def connected(self, backup: Backup) -> AbstractAsyncContextManager[asyncpg.Connection]:
        """Connect to the database of the keys as the account that may do anything."""
        return connected(
            "postgresql://",
            host=str(self._private),
            port=_PORT,
            user=backup.facts.superuser,
            database=backup.facts.database,
        )

    async def check_pages_and_indexes(self, backup: Backup) -> Check:
        """Let `pg_amcheck` compare every table of the keys' database with its indexes."""
        async with self.connected(backup) as connection:
            had = await connection.fetchval("SELECT 1 FROM pg_extension WHERE extname = 'amcheck'")
            try:
                await connection.execute("CREATE EXTENSION IF NOT EXISTS amcheck")
            except (asyncpg.FeatureNotSupportedError, asyncpg.UndefinedFileError):
                return Check("tables and indexes", None, "not checked: amcheck is not installed")
            try:
                await self._tools.run(
                    "pg_amcheck",
                    f"--host={self._private}",
                    f"--port={_PORT}",
                    f"--username={backup.facts.superuser}",
                    f"--database={backup.facts.database}",
                    "--heapallindexed",
                    "--no-password",
                    account=self._account,
                )
            except RecoveryError as error:
                return Check("tables and indexes", False, str(error))
            finally:
                if not had:
                    await connection.execute("DROP EXTENSION amcheck")
        return Check("tables and indexes", True, "pg_amcheck found every row in its indexes")

    async def stop(self) -> None:
        """Shut the server down, if it runs."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGINT)
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await process.wait()
        except BaseException:
            process.send_signal(signal.SIGQUIT)
            await process.wait()
            raise

    def _is_ready(self) -> bool:
        # The eighth line of the lock file says when the server takes connections, which without
        # hot standby means that it has recovered.
        try:
            lines = (self._data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[7].strip() == "ready"

    def _must_run(self) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            return
        tail = self._tail()
        why = "the server gave up"
        if "recovery ended before configured recovery target was reached" in tail:
            ends = re.search(r"last completed transaction was at log time (.*)", tail)
            why = (
                "the archive ends before the moment that was asked for, with a commit at "
                f"{ends[1] if ends else 'a time that is unknown'}; give an earlier moment, or "
                "leave out --at for all that there is"
            )
        raise RecoveryError(
            f"{why}. {self._data} is not usable, remove it. The server's last words:\n{tail}"
        )

    def _tail(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-_TAIL_LINES:])
