"""Runs the benchmarks: `python -m benchmarks [--only NAME] [--json FILE]`, or `make bench`.

Each prints a row and joins a JSON list of `{"name", "value", "unit", "reference"}`. The file holds
what this run measured and nothing older, so that its rows can be compared with each other.
"""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

Row = dict[str, Any]
"""`name`, `value`, `unit`, and as `reference` what the value is to be held against."""

BENCHMARKS = {
    "loop_vs_simpy": "benchmarks.loop_vs_simpy",
    "simulated_requests_per_s": "benchmarks.requests_per_second",
    "fleet_requests_per_s": "benchmarks.fleet",
    "cost_per_request_instances": "benchmarks.fleet",
    "cost_per_request_size": "benchmarks.fleet",
    "cache_bytes_per_key": "benchmarks.cache_memory",
    "get_cache_first_us": "benchmarks.memory_latency",
    "get_while_open_us": "benchmarks.memory_latency",
    "get_overhead_vs_driver": "benchmarks.on_postgres",
    "flush_throughput_vs_copy": "benchmarks.on_postgres",
    "failover_first_success_s": "benchmarks.on_postgres",
    "journal_append_ms": "benchmarks.journal_speed",
    "journal_appends_per_s": "benchmarks.journal_speed",
    "journal_bytes_per_key": "benchmarks.journal_speed",
    "journal_open_ms": "benchmarks.journal_speed",
    "breaker_closed": "benchmarks.resilience",
    "breaker_rejected": "benchmarks.resilience",
    "breaker_bytes": "benchmarks.resilience",
    "retry_success_path": "benchmarks.resilience",
    "registry_execute": "benchmarks.limits",
    "bulkhead_call": "benchmarks.limits",
    "rate_limit_call": "benchmarks.limits",
    "service_get_key": "benchmarks.service",
    "service_get_key_while_down": "benchmarks.service",
    "service_key_set": "benchmarks.service",
    "service_token": "benchmarks.service",
    "sweep_overhead": "benchmarks.sweep",
    "sweep_idle": "benchmarks.sweep",
}
"""Where each benchmark is: a function of its own name, in a module that is imported to run it."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the chosen benchmarks, print them as a table and write them as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Run the benchmarks.")
    parser.add_argument("--only", metavar="NAME", help=f"one of: {', '.join(BENCHMARKS)}")
    parser.add_argument("--json", metavar="FILE", type=Path, default=Path("build/bench.json"))
    options = parser.parse_args(arguments)
    if options.only and options.only not in BENCHMARKS:
        parser.error(f"no benchmark is called {options.only!r}; there are {', '.join(BENCHMARKS)}")
    console = Console()
    rows = []
    for name in [options.only] if options.only else BENCHMARKS:
        with console.status(f"measuring {name}"):
            rows.append(_find(name)())
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    console.print(_table(rows))
    console.print(f"written to {options.json}")


def _find(name: str) -> Callable[[], Row]:
    benchmark: Callable[[], Row] = getattr(importlib.import_module(BENCHMARKS[name]), name)
    return benchmark


def _table(rows: Sequence[Row]) -> Table:
    table = Table()
    table.add_column("benchmark")
    table.add_column("value", justify="right")
    table.add_column("unit")
    table.add_column("against")
    for row in rows:
        digits = 3 if row["value"] < 100 else 0
        value = f"{row['value']:,.{digits}f}"
        table.add_row(row["name"], value, row["unit"], str(row["reference"]))
    return table


if __name__ == "__main__":
    main()
