"""Every real fault in a row: what its callers saw, how soon all was well again, what was left."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from ftrepo.policy import Policy
from sim.testbed.binaries import TestbedError
from sim.testbed.cluster import Cluster
from sim.testbed.fault_load import CREATES_PER_S, GETS_PER_S
from sim.testbed.fault_run import CLUSTER_SETTINGS, FaultOutcome, run_fault
from sim.testbed.real_faults import REAL_FAULTS
from sim.testbed.sql import run_sql

MARGIN_S = 0.05
"""What a call may take beyond its time-out, besides what the event loop itself was late."""

_MS = 1000


def _milliseconds(seconds: float) -> str:
    return f"{seconds * _MS:.0f}"


def _seconds(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.2f}"


COLUMNS: dict[str, Callable[[FaultOutcome], str]] = {
    "fault": lambda row: row.fault,
    "slowest get, ms": lambda row: _milliseconds(row.slowest_get_s),
    "slowest create, ms": lambda row: _milliseconds(row.slowest_create_s),
    "loop late, ms": lambda row: _milliseconds(row.lag_max_s),
    "errors to callers": lambda row: f"{len(row.errors)} of {row.gets + row.creates}",
    "pending, most": lambda row: str(row.pending_max),
    "first success, s": lambda row: _seconds(row.first_success_s),
    "backlog empty, s": lambda row: _seconds(row.backlog_empty_s),
    "leaked": lambda row: str(row.leaked),
    "lost": lambda row: str(row.lost),
    "different": lambda row: str(row.different),
    "breaker": lambda row: row.breaker,
}
"""What the table shows of each outcome; times of recovery count from the end of the fault."""


def run_faults(
    names: Sequence[str] = (), *, policy: Policy | None = None, fault_s: float = 3.0
) -> Iterator[FaultOutcome]:
    """Run faults one after the other against one server of our own, and yield each outcome.

    Args:
        names: of `REAL_FAULTS`; all of them if empty.
        policy: by default `Policy()`.
        fault_s: how long each lasts.

    Raises:
        TestbedError: a name is unknown (the message lists the names), or there is no server.
    """
    unknown = [name for name in names if name not in REAL_FAULTS]
    if unknown:
        known = ", ".join(REAL_FAULTS)
        raise TestbedError(f"there is no fault {unknown[0]!r}; the faults are {known}")
    with Cluster(settings=CLUSTER_SETTINGS) as cluster:
        for name in names or REAL_FAULTS:
            fault = REAL_FAULTS[name]
            yield asyncio.run(run_fault(name, fault, cluster, policy=policy, fault_s=fault_s))
            # What one fault did to the server must not be taken for the work of the next one.
            run_sql(cluster.dsn(), "CHECKPOINT")


def defects(row: FaultOutcome, policy: Policy) -> list[str]:
    """Say what is wrong with an outcome, in words; nothing should be.

    Args:
        row: the outcome.
        policy: its time-outs are what callers were promised.
    """
    found = []
    slow_s = MARGIN_S + row.lag_max_s
    for call, took_s, timeout_s in (
        ("get", row.slowest_get_s, policy.select_timeout_s),
        ("create", row.slowest_create_s, policy.insert_timeout_s),
    ):
        if timeout_s is not None and took_s > timeout_s + slow_s:
            found.append(f"a {call} took {_milliseconds(took_s)} ms")
    if row.errors:
        found.append(f"{len(row.errors)} errors reached a caller, the first: {row.errors[0]}")
    if row.lost or row.different:
        found.append(f"{row.lost} acknowledged keys are lost, {row.different} are different")
    if row.leaked:
        found.append(f"{row.leaked} connections leaked")
    if row.backlog_empty_s is None:
        found.append(f"the backlog never emptied, and the breaker is {row.breaker}")
    return found


def rich_table(rows: Sequence[FaultOutcome], policy: Policy) -> Table:
    """Return the outcomes as a table for a terminal; what is wrong is red."""
    table = Table()
    for number, heading in enumerate(COLUMNS):
        table.add_column(heading, justify="right" if number else "left", overflow="fold")
    for row in rows:
        style = "bold red" if defects(row, policy) else ""
        table.add_row(*(Text(text(row), style=style) for text in COLUMNS.values()))
    return table


def markdown(rows: Sequence[FaultOutcome], policy: Policy) -> str:
    """Return the outcomes as Markdown: the table, what each fault is, and what is wrong."""
    conditions = (
        f"Each fault lasted {rows[0].fault_s:g} s, on a real PostgreSQL under {GETS_PER_S} `get` "
        f"and {CREATES_PER_S} `create` a second, once; another run differs by some milliseconds, "
        "and in its recovery by up to `breaker_open_s`. Renew this page with "
        "`python -m sim faults --out docs/faults.md`."
    )
    columns = (
        "An error to a caller is any exception for a key that was acknowledged. Recovery counts "
        f"from the end of the fault; the breaker probes every {policy.breaker_open_s:g} s. Leaked "
        "are connections that neither the pool nor anybody else uses; lost and different are "
        "acknowledged keys that the table lacks, or has otherwise. The event loop was as late as "
        "the fourth column says, and every call with it."
    )
    lines = [
        "# What callers notice when PostgreSQL fails",
        "",
        *textwrap.wrap(conditions, 100, break_on_hyphens=False),
        "",
        *textwrap.wrap(columns, 100, break_on_hyphens=False),
        "",
        _line(COLUMNS),
        _line("---" if number == 0 else "---:" for number in range(len(COLUMNS))),
        *(_line(text(row) for text in COLUMNS.values()) for row in rows),
        "",
        *(f"- **{row.fault}**: {REAL_FAULTS[row.fault].doc}" for row in rows),
    ]
    wrong = [f"- **{row.fault}**: {what}" for row in rows for what in defects(row, policy)]
    if wrong:
        lines += ["", "Defects:", "", *wrong]
    return "\n".join(lines) + "\n"


def write_json(path: Path, rows: Sequence[FaultOutcome]) -> None:
    """Write the outcomes as they are, times in seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps([dataclasses.asdict(row) for row in rows], indent=2)
    path.write_text(text + "\n", encoding="utf-8")


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
