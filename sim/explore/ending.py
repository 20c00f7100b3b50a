"""How a play ends: what is left of it, and what failed in it of which nobody was told."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sim.explore.chronicler import Chronicler, digest_of
from sim.explore.happenings import Chronicle
from sim.world.issuers import EPOCH

if TYPE_CHECKING:
    from ftrepo.keys import PublicKey
    from ftrepo.policy import Policy
    from sim.explore.hostile_world import HostileWorld


@dataclass(slots=True)
class Ending:
    """What is left when the curtain has fallen."""

    chronicler: Chronicler
    rows: dict[str, PublicKey] = field(default_factory=dict)
    recovered_s: float | None = None
    ended_s: float | None = None
    leftover_tasks: tuple[str, ...] = ()
    open_connections: int = 0

    def chronicle(self, world: HostileWorld, policy: Policy, failure: str) -> Chronicle:
        """Sum up what happened.

        Args:
            world: what was played.
            policy: under which policy.
            failure: why the play came to no end; empty if it came to one.
        """
        now_s = self.chronicler.now_s()
        happenings = tuple(self.chronicler.happenings)
        return Chronicle(
            world=world,
            policy=policy,
            happenings=happenings,
            began=EPOCH,
            recovered_s=now_s if self.recovered_s is None else self.recovered_s,
            ended_s=now_s if self.ended_s is None else self.ended_s,
            rows=dict(self.rows),
            leftover_tasks=self.leftover_tasks,
            open_connections=self.open_connections,
            digest=digest_of(happenings),
            failure=failure,
        )


class _Complaints(logging.Handler):
    """Takes every error in the log of `ftrepo` for what it is: something broke."""

    def __init__(self, endings: Sequence[Ending]) -> None:
        super().__init__(logging.ERROR)
        self._endings = endings

    def emit(self, record: logging.LogRecord) -> None:
        # Where in the code it was says nothing about the world, and differs between machines.
        said = re.sub(r" \(at [^)]*\)", "", record.getMessage())
        self._endings[0].chronicler.broke(f"logged: {said}")


@contextmanager
def complaints(endings: Sequence[Ending]) -> Iterator[None]:
    """Let errors that are only logged, or that only the garbage collector sees, break the world.

    A task that failed and that nobody awaited says so when it is collected. So that this happens at
    the same moment in every process, nothing is collected meanwhile, and all of it at the end.
    """
    log, handler = logging.getLogger("ftrepo"), _Complaints(endings)
    was_enabled = gc.isenabled()
    log.addHandler(handler)
    gc.disable()
    try:
        yield
        endings[0].chronicler.close()
        gc.collect(0)
    finally:
        log.removeHandler(handler)
        if was_enabled:
            gc.enable()


def note_what_nobody_awaited(
    chronicler: Chronicler, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]
) -> None:
    """Note an error of a task or a callback for which nobody was there to be told."""
    error = context.get("exception")
    why = "" if error is None else f": {type(error).__name__}: {error}"
    chronicler.broke(f"{context.get('message', 'an error that nobody awaited')}{why}")
