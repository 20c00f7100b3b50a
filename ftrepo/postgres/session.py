"""One connection of the pool: how it is opened, and how it knows whether it can be used again."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import asyncpg

if TYPE_CHECKING:
    import ssl

    from ftrepo.postgres.settings import ConnectionSettings

SERVER_SHARE = 0.9
"""The share of `statement_timeout_s` after which the server gives up a statement by itself."""


class Session(asyncpg.Connection):
    """A driver's connection, with what the pool remembers about it.

    Attributes:
        opened_s: when it was opened, by the loop's clock.
        unused_since_s: when it was last given back.
        retire_s: from when on it is too old to be given out again.
        generation: the pool's count of recyclings at its opening.
    """

    __slots__ = ("generation", "opened_s", "retire_s", "unused_since_s")

    opened_s: float
    unused_since_s: float
    retire_s: float
    generation: int

    def is_at_rest(self) -> bool:
        """Whether it is open, and no command of it was abandoned half-way.

        A command that timed out, or whose caller was cancelled, leaves the driver waiting for the
        server to confirm a cancellation, and a hung server never does.
        """
        # The driver's own pool asks its protocol the same; there is no public way to.
        protocol: Any = self._protocol  # type: ignore[attr-defined]
        return not self.is_closed() and not protocol._is_cancelling()  # noqa: SLF001

    def throw_away(self) -> None:
        """Drop the connection at once, without telling the server. Never raises."""
        # terminate() raises if the transport broke in the same moment, and would hide the error
        # that led here.
        with contextlib.suppress(Exception):
            self.terminate()

    async def close_within(self, timeout_s: float) -> None:
        """Say goodbye to the server, or drop the connection if that takes longer. Never raises."""
        try:
            await self.close(timeout=timeout_s)
        except Exception:
            self.throw_away()
        except asyncio.CancelledError:
            self.throw_away()
            raise


async def open_session(
    settings: ConnectionSettings, *, tls: ssl.SSLContext | str | None, timeout_s: float
) -> Session:
    """Connect once.

    Raises:
        Exception: whatever the driver raises.
    """
    options: dict[str, Any] = {
        "ssl": tls,
        "timeout": timeout_s,
        "command_timeout": settings.statement_timeout_s,
        "server_settings": session_defaults(settings),
        "target_session_attrs": settings.target,
        "statement_cache_size": settings.statements_cached_max,
    }
    session = await asyncpg.connect(settings.dsn, connection_class=Session, **options)
    assert isinstance(session, Session)
    return session


def session_defaults(settings: ConnectionSettings) -> dict[str, str]:
    """Return what the server is told when a session begins, in its own names and units.

    They are defaults of the session, not state: nothing has to be set again after a reset.
    """
    defaults = {"application_name": settings.application_name}
    if settings.statement_timeout_s is not None:
        defaults["statement_timeout"] = _ms(SERVER_SHARE * settings.statement_timeout_s)
    if settings.idle_in_transaction_timeout_s is not None:
        defaults["idle_in_transaction_session_timeout"] = _ms(
            settings.idle_in_transaction_timeout_s
        )
    return defaults


def _ms(seconds: float) -> str:
    # To the server, zero would mean for ever, and 2³¹ would be an error.
    return str(min(2**31 - 1, max(1, round(1000 * seconds))))
