"""How a line spoils requests the way the simulated primary does: by the same distributions.

The modes `SLOW` and `ERROR_RATE` are made on the line, for no server is slow on demand. What they
do to a request is drawn from the settings that the simulated primary draws from, so the line has to
tell requests apart: it reads the few messages of PostgreSQL's protocol that say what is asked.

A slow line is not a slow server in one respect: it knows no `statement_timeout`. Where calls run
out of time, the driver gives them up, and the server does them all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sim.testbed.proxy import Loss

if TYPE_CHECKING:
    import numpy as np

    from sim.world.durations import AnyLatency
    from sim.world.primary_settings import PrimarySettings

_PARSE = b"P"
"""The first byte of the message that prepares a statement: a name, and the text."""

_BIND = b"B"
"""That of the message with which a prepared statement is executed: a portal, and its name."""

_QUERY = b"Q"
"""That of a statement that is not prepared."""

_LENGTH_PREFIX = b"\0"
"""That of the first message of a connection, which has no type before its length."""

_HEADER_BYTES = 5
STATEMENTS_MAX = 10_000
"""The most prepared statements that are remembered; a service has a dozen for each connection."""


class Slowness:
    """Draws what happens to a piece on a spoiled line.

    Args:
        settings: of the simulated primary.
        rng: the draws.
    """

    def __init__(self, settings: PrimarySettings, rng: np.random.Generator) -> None:
        self._settings = settings
        self._rng = rng
        # By the statement's name, which asyncpg gives to no other one in the process.
        self._prepared: dict[bytes, bytes] = {}

    def note(self, piece: bytes) -> None:
        """Take note of a statement that is prepared; every piece is to be shown, at all times."""
        if piece.startswith(_PARSE) and len(self._prepared) < STATEMENTS_MAX:
            name, _, rest = piece[_HEADER_BYTES:].partition(b"\0")
            self._prepared[name] = rest.partition(b"\0")[0].strip()

    def delay_s(self, piece: bytes) -> float:
        """How much longer a slow server would take for it than a healthy one."""
        latency = self._latency(piece)
        if latency is None:
            return 0.0
        work_s = float(latency.draw(self._rng, 1)[0])
        return (self._settings.slow_factor - 1) * work_s

    def _latency(self, piece: bytes) -> AnyLatency | None:
        """How long a healthy server takes for it; `None` for what is a part of something else."""
        if piece.startswith(_LENGTH_PREFIX):
            return self._settings.connect
        if piece.startswith(_QUERY):
            return self._settings.select
        if not piece.startswith(_BIND):
            return None
        _, _, rest = piece[_HEADER_BYTES:].partition(b"\0")
        statement = self._prepared.get(rest.partition(b"\0")[0], b"")
        if statement.startswith(b"INSERT"):
            return self._settings.insert
        return self._settings.delete if b"DELETE" in statement else self._settings.select

    def loses(self, severity: float) -> Callable[[bytes], Loss]:
        """Return what tells of each piece from the client whether its connection is lost with it.

        Args:
            severity: the share of requests that fail. Whatever is no request, such as connecting,
                passes: in the simulated primary it does, too.
        """

        def lost(piece: bytes) -> Loss:
            if not piece.startswith(_BIND) or self._rng.random() >= severity:
                return Loss.NONE
            share = self._settings.lost_reply_share
            return Loss.REPLY if self._rng.random() < share else Loss.REQUEST

        return lost
