"""Listening for keys that anybody stores, on a connection of its own.

The database announces ids (see the migration 0002), and only ids: whoever may send a notification
could otherwise plant a key. Whoever listens reads the keys themselves from the table.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ftrepo.keys import is_key_id
from ftrepo.postgres.session import Session, open_session
from ftrepo.postgres.tls import tls_argument

if TYPE_CHECKING:
    from ftrepo.postgres.settings import ConnectionSettings

CHANNEL = "ftrepo_public_keys"

IDS_MAX = 1000
"""The most ids that wait to be read. More than that, and everything is to be looked at."""

CHECK_INTERVAL_S = 5.0
"""How often the connection is asked whether it is alive. A lost network says nothing by itself: it
is noticed after this time and one `CHECK_TIMEOUT_S`."""

CHECK_TIMEOUT_S = 2.0
"""How long the answer may take. Nobody's request waits for it, so it is generous."""


async def announced_ids(
    settings: ConnectionSettings,
    *,
    is_own: Callable[[int], bool] = lambda _: False,
    check_interval_s: float = CHECK_INTERVAL_S,
    check_timeout_s: float = CHECK_TIMEOUT_S,
) -> AsyncGenerator[Sequence[str] | None, None]:
    """Yield ids as they are stored, and `None` where some may have been missed; that comes first.

    Args:
        settings: how to connect.
        is_own: whether the server process with this id, which stored the keys, works for us: then
            they are nothing new.
        check_interval_s: how often the connection is tried.
        check_timeout_s: how long its answer may take.

    Raises:
        Exception: whatever ended the connection, or prevented it. It does not end otherwise.
    """
    inbox = _Inbox(is_own)
    session = await _listening(settings, inbox)
    check = asyncio.create_task(_check_forever(session, inbox, check_interval_s, check_timeout_s))
    try:
        yield None
        while True:
            yield await inbox.take()
    finally:
        check.cancel()
        session.remove_termination_listener(inbox.lost)
        session.throw_away()


class _Inbox:
    """The ids that were announced and not yet taken, a bounded number of them."""

    def __init__(self, is_own: Callable[[int], bool]) -> None:
        self._is_own = is_own
        self._ids: dict[str, None] = {}
        self._missed = False
        self._error: Exception | None = None
        self._something = asyncio.Event()

    def put(self, _session: Any, pid: int, _channel: str, payload: object) -> None:
        """Take a notification in: ids, or anything else for "look at everything"."""
        if self._is_own(pid):
            return
        ids = str(payload).split(" ")
        self._ids.update(dict.fromkeys(ids))
        if len(self._ids) > IDS_MAX or not all(map(is_key_id, ids)):
            self._missed = True
            self._ids.clear()
        self._something.set()

    def lost(self, _session: Any) -> None:
        """Take note that the connection has ended."""
        self.fail(ConnectionResetError("the connection that listened for new keys was lost"))

    def fail(self, error: Exception) -> None:
        """End the listening with this error. The first one stays."""
        self._error = self._error or error
        self._something.set()

    async def take(self) -> Sequence[str] | None:
        """Wait for ids and return them; `None` if some were missed. Raises what ended it."""
        await self._something.wait()
        if self._error is not None:
            raise self._error
        self._something.clear()
        ids, missed = list(self._ids), self._missed
        self._ids.clear()
        self._missed = False
        return None if missed else ids


async def _listening(settings: ConnectionSettings, inbox: _Inbox) -> Session:
    settings = replace(settings, application_name=f"{settings.application_name} listen")
    tls = tls_argument(
        settings.tls,
        ca_file=settings.tls_ca_file,
        certificate_file=settings.tls_certificate_file,
        key_file=settings.tls_key_file,
    )
    session = await open_session(settings, tls=tls, timeout_s=settings.connect_timeout_s)
    try:
        session.add_termination_listener(inbox.lost)
        await session.add_listener(CHANNEL, inbox.put)
    except BaseException:
        session.throw_away()
        raise
    return session


async def _check_forever(
    session: Session, inbox: _Inbox, interval_s: float, timeout_s: float
) -> None:
    """Ask again and again whether the server is there, and end the listening if it is not."""
    while True:
        await asyncio.sleep(interval_s)
        # Waiting for the task, not in it: the driver may answer a cancellation late or never.
        asked = asyncio.create_task(session.fetchval("SELECT 1", timeout=timeout_s))
        asked.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.wait([asked], timeout=timeout_s)
        if not asked.done() or asked.cancelled() or asked.exception() is not None:
            inbox.fail(TimeoutError(f"no answer within {timeout_s:g} s from the server"))
            session.throw_away()
            return
