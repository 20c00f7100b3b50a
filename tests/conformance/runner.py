"""Runs checks: in this process, or all of a library's in a process that can be killed.

A check that jams its event loop cannot be ended from within. So a table is made by one process for
each library, which tells of each check as it ends; when it falls silent for too long it is killed,
the check is put down as failed, and another process goes on with the next one.
"""

from __future__ import annotations

import asyncio
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from tests.conformance.checks import CHECKS
from tests.conformance.site import Adapter, Check, Site, StalledError

SILENCE_S_MAX = 180.0
"""When a process is killed: above the time-out of a check, with room for a slow machine."""

CHECK_S_MAX = 120.0
"""The time-out of a check; the longest makes 100,000 calls with every allocation traced."""

TRIES_MAX = 10
"""How often a check is tried on a machine that stalls."""


class Mark(Enum):
    """What came of a check."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one check of one library.

    Attributes:
        why: what was seen instead, or which feature is missing; empty if it passed.
    """

    check: str
    mark: Mark
    why: str = ""


def run_check(entry: Check, adapter: type[Adapter], *, short_s: float = 0.1) -> Outcome:
    """Run one check in real time, on event loops of its own."""
    missing = entry.needs - adapter.features
    if missing:
        why = "; ".join(f"not: {feature.value}" for feature in missing)
        return Outcome(entry.name, Mark.NOT_APPLICABLE, why)
    for attempt in range(TRIES_MAX):
        site = Site(adapter=adapter, short_s=short_s * (1 + attempt))
        try:
            _in_real_time(entry, site)
        except StalledError:
            continue
        except Exception as error:
            why = str(error) if isinstance(error, AssertionError) else repr(error)
            return Outcome(entry.name, Mark.FAILED, why or repr(error))
        return Outcome(entry.name, Mark.PASSED)
    return Outcome(entry.name, Mark.FAILED, "the machine is too slow to tell")


def _in_real_time(entry: Check, site: Site) -> None:
    if entry.has_own_loops:
        entry.run(site)
        return

    async def main() -> None:
        async with asyncio.timeout(CHECK_S_MAX) as limit:
            await entry.run(site)
        assert not limit.expired()

    try:
        asyncio.run(main())
    except TimeoutError as error:
        raise AssertionError(f"jammed: not done after {CHECK_S_MAX:g} s") from error


def run_library(
    name: str,
    *,
    command: Sequence[str] = (sys.executable, "-m", "tests.conformance", "--library"),
    silence_s_max: float = SILENCE_S_MAX,
    tell: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Run every check over one library, in processes of its own.

    Args:
        name: of the library, a key of `ADAPTERS`.
        command: what runs the checks that are named after it, one JSON object a line.
        silence_s_max: after how long without a line the process is killed.
        tell: is called with each outcome.
    """
    outcomes: list[Outcome] = []
    waiting = list(CHECKS)
    while waiting:
        for outcome in _in_process([*command, name, *waiting], silence_s_max):
            outcomes.append(outcome)
            tell(outcome)
            waiting.remove(outcome.check)
        if waiting:
            stuck = waiting.pop(0)
            why = f"killed: its process ended or said nothing for {silence_s_max:g} s"
            outcomes.append(Outcome(stuck, Mark.FAILED, why))
            tell(outcomes[-1])
    return outcomes


def _in_process(command: Sequence[str], silence_s_max: float) -> Iterator[Outcome]:
    """Yield what a process tells, until it ends or falls silent."""
    lines: queue.Queue[str | None] = queue.Queue()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:

        def read() -> None:
            for line in process.stdout:
                lines.put(line)
            lines.put(None)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            while line := lines.get(timeout=silence_s_max):
                told = json.loads(line)
                yield Outcome(told["check"], Mark(told["mark"]), told["why"])
        except queue.Empty:
            return
        finally:
            process.kill()
            reader.join()


def as_json(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as what a line of JSON holds."""
    return {**asdict(outcome), "mark": outcome.mark.value}
