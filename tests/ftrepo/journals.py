"""Every journal that the contract suite runs over, and what its tests need to drive one.

A place is what survives a process: a path, or a simulated disk. To put another journal under the
contract, add it to `JOURNALS`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftrepo.journal import SqliteJournal
from sim.world.journal import SimulatedDisk, SimulatedJournal
from tests.ftrepo.repositories import in_virtual_time

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from ftrepo.interface import Journal


@dataclass(frozen=True, kw_only=True)
class JournalUnderTest:
    """How the contract suite gets at one kind of journal.

    Attributes:
        place: makes an empty place in a folder of the test's own.
        at: gives a journal at a place, not opened yet; takes `entries_max`.
        impatient: its options not to wait for another one to let the place go.
        run: runs a coroutine to its end, on the event loop that the journal needs.
    """

    place: Callable[[Path], Any]
    at: Callable[..., Journal]
    impatient: dict[str, Any]
    run: Callable[[Coroutine[Any, Any, None]], object]


def private(folder: Path) -> Path:
    """Where a journal may be in this folder."""
    return folder / "journal.sqlite"


JOURNALS = {
    "sqlite": JournalUnderTest(
        place=private, at=SqliteJournal, impatient={"lock_wait_s": 0.0}, run=asyncio.run
    ),
    "simulated": JournalUnderTest(
        place=lambda _: SimulatedDisk(), at=SimulatedJournal, impatient={}, run=in_virtual_time
    ),
}
