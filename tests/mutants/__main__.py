"""Puts faults into `ftrepo`, one at a time, and prints what catches each: `make mutants`.

Each is shown to the exploration of random worlds, and to the tests that are there for it. Ends with
1 if one is caught by neither, or if either of the two finds faults in the code as it is: then what
they say of others means little. What was found is kept in `build/mutants`, so a run that was
interrupted goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from sim.arguments import INTERRUPTED
from tests.mutants.hunt import (
    KEPT,
    Caught,
    HuntError,
    Sight,
    as_json,
    false_alarms,
    first_false_failure,
    hunt,
)
from tests.mutants.mutants import ROOT, Mutant, StaleMutantError, mutants
from tests.mutants.table import as_markdown, shown, verdict

SEEDS = 1_000
WORKERS = 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Hunt every mutant, and print the table."""
    options = _options(arguments)
    console = Console()
    known = mutants()
    if unknown := set(options.only) - {mutant.name for mutant in known}:
        sys.exit(f"there is no mutant {', '.join(sorted(unknown))}; `--list` says which there are")
    chosen = [mutant for mutant in known if not options.only or mutant.name in options.only]
    if options.list:
        for mutant in chosen:
            console.print(f"[bold]{mutant.name}[/]  {mutant.wrong}", highlight=False)
        return
    try:
        for mutant in chosen:
            mutant.applied_to((ROOT / mutant.file).read_text("utf-8"))  # Before an hour is spent.
        with console.status("looking for faults in the code as it is"):
            alarms = _false_alarms(options) if options.seeds else []
            failing = first_false_failure(chosen)
        caught = _hunt_all(chosen, options, alarms, console)
    except KeyboardInterrupt:
        console.print("interrupted; what was found is kept, and the next run goes on from there")
        sys.exit(INTERRUPTED)
    except (StaleMutantError, HuntError) as error:
        sys.exit(str(error))
    console.print(shown(caught))
    _write(options.out, caught)
    console.print(f"the table is in {options.out}.md, and with what was seen in {options.out}.json")
    said, is_well = verdict(caught, alarms, failing, explored=options.seeds > 0)
    console.print(said, highlight=False)
    sys.exit(not is_well)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="only these mutants")
    parser.add_argument("--list", action="store_true", help="print their names and end")
    parser.add_argument(
        "--seeds", type=int, default=SEEDS, help="worlds for each, default %(default)s; 0: none"
    )
    parser.add_argument(
        "--workers", type=int, default=WORKERS, help="mutants at a time, default %(default)s"
    )
    parser.add_argument(
        "--disregard",
        nargs="+",
        default=[],
        metavar="TEXT",
        help="violations that say this count for nothing: a known defect that is not mended yet",
    )
    parser.add_argument(
        "--out", type=Path, default=KEPT / "table", metavar="PATH", help="without a suffix"
    )
    return parser.parse_args(arguments)


def _false_alarms(options: argparse.Namespace) -> list[Sight]:
    return false_alarms(seeds=options.seeds, disregard=options.disregard)


def _hunt_all(
    chosen: Sequence[Mutant],
    options: argparse.Namespace,
    alarms: Sequence[Sight],
    console: Console,
) -> list[Caught]:
    """Return what became of each mutant, in their order."""
    terms = {
        "seeds": options.seeds,
        "passed_over": [sight.seed for sight in alarms],
        "disregard": options.disregard,
    }
    with Progress(console=console, transient=True) as progress, _pool(options.workers) as pool:
        done = progress.add_task("hunting", total=len(chosen))
        hunts = {pool.submit(hunt, mutant, **terms): mutant for mutant in chosen}
        for future in as_completed(hunts):
            future.result()
            progress.update(done, advance=1, description=hunts[future].name)
        return [future.result() for future in hunts]


@contextmanager
def _pool(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Give threads, each of which waits for a process; Ctrl-C reaches those processes, too."""
    pool = ThreadPoolExecutor(workers)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _write(out: Path, caught: Sequence[Caught]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    rows = [as_json(each) for each in caught]
    out.with_suffix(".json").write_text(
        json.dumps(rows, indent=2, ensure_ascii=False) + "\n", "utf-8"
    )
    out.with_suffix(".md").write_text(as_markdown(caught), "utf-8")


if __name__ == "__main__":
    main()
