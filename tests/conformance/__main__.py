"""Prints how breakers for asyncio behave: `python -m tests.conformance`, or `make conformance`.

Rows are checks, columns the libraries that are installed, by number. `--why` says what was seen
where a check failed. Everything goes into a JSON file too.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from tests.conformance.adapters import ADAPTERS, installed
from tests.conformance.runner import CHECKS, Mark, Outcome, as_json, run_check, run_library

SIGNS = {
    Mark.PASSED: "[green]✓[/]",
    Mark.FAILED: "[red]✗[/]",
    Mark.NOT_APPLICABLE: "[dim]–[/]",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run every check over every library, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("libraries", nargs="*", metavar="LIBRARY", help="only these; default: all")
    parser.add_argument("--why", action="store_true", help="say what was seen at each failure")
    parser.add_argument("--json", metavar="FILE", type=Path, default=Path("build/conformance.json"))
    parser.add_argument("--library", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.library:
        _tell(*options.library)
        return
    versions = installed()
    for name in options.libraries:
        if name not in versions:
            parser.error(f"{name!r} is not installed; there are {', '.join(versions)}")
    chosen = [name for name in versions if not options.libraries or name in options.libraries]
    console = Console()
    outcomes = _run(chosen, console)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    document = [
        {"library": name, "version": versions[name], "outcomes": [as_json(o) for o in of]}
        for name, of in outcomes.items()
    ]
    options.json.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
    console.print(table(outcomes), totals(outcomes, versions))
    console.print("✓ holds   ✗ does not   – does not apply: the feature is missing")
    if options.why:
        _explain(outcomes, console)
    console.print(f"what was seen at each failure is in {options.json}, and --why prints it")


def table(outcomes: Mapping[str, Sequence[Outcome]]) -> Table:
    """Return a row for each check, with a sign for each library under its number."""
    shown = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    shown.add_column("check", no_wrap=True)
    for number in range(len(outcomes)):
        shown.add_column(f"{number + 1}", justify="center")
    marks = [{outcome.check: outcome.mark for outcome in of} for of in outcomes.values()]
    for check in CHECKS:
        shown.add_row(check, *(SIGNS[of[check]] for of in marks))
    return shown


def totals(outcomes: Mapping[str, Sequence[Outcome]], versions: Mapping[str, str]) -> Table:
    """Return a row for each library: how many checks hold, of those that apply."""
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    shown.add_column("", justify="right")
    shown.add_column("library")
    shown.add_column("version")
    shown.add_column("hold", justify="right")
    shown.add_column("of those that apply")
    for number, (name, of) in enumerate(outcomes.items(), 1):
        passed = sum(outcome.mark is Mark.PASSED for outcome in of)
        apply = sum(outcome.mark is not Mark.NOT_APPLICABLE for outcome in of)
        shown.add_row(str(number), name, versions[name], str(passed), f"of {apply}")
    return shown


def _run(chosen: Sequence[str], console: Console) -> dict[str, list[Outcome]]:
    """Two libraries at a time: the checks mostly wait."""
    with Progress(console=console, transient=True) as progress, ThreadPoolExecutor(2) as pool:
        done = progress.add_task("checking", total=len(chosen) * len(CHECKS))

        def run(name: str) -> list[Outcome]:
            return run_library(name, tell=lambda outcome: progress.advance(done))

        return dict(zip(chosen, pool.map(run, chosen), strict=True))


def _tell(name: str, *checks: str) -> None:
    """Run these checks over one library, and print each outcome at once."""
    adapter = ADAPTERS[name]()
    for check in checks:
        print(json.dumps(as_json(run_check(CHECKS[check], adapter))), flush=True)


def _explain(outcomes: Mapping[str, Sequence[Outcome]], console: Console) -> None:
    for name, of in outcomes.items():
        for outcome in of:
            if outcome.mark is Mark.FAILED:
                console.print(f"[bold]{name}[/] {outcome.check}: {escape(outcome.why)}")


if __name__ == "__main__":
    main()
