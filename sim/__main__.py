"""The command line: `python -m sim`.

Whatever a user can get wrong ends in one clear line and exit code 2; Ctrl-C in exit code 130.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ftrepo.errors import PolicyError
from ftrepo.policy import Policy, named_policies, policy_named_or_file
from sim.study.experiment import REPLICATIONS, Experiment, experiment
from sim.world.access_log import read_access_log
from sim.world.errors import InputError
from sim.world.outage_trace import read_trace
from sim.world.outages import OutageMode
from sim.world.scenario import Scenario
from sim.world.scenario_file import load_scenario, named_scenarios
from sim.world.streams import WORD_MAX, Streams

if TYPE_CHECKING:
    from rich.console import Console

INTERRUPTED = 130
"""The exit code of a program that Ctrl-C ended, by the custom of shells."""

MANY_REQUESTS = 10_000_000
"""From so many on it is worth saying beforehand that a study will take long."""

_EXAMPLES = """\
examples:
  python -m sim scenarios
  python -m sim run default
  python -m sim run incident --policy policy.toml --out build/incident
  python -m sim compare default --policy primary-only --policy default
  python -m sim compare default --policy primary-only --policy default \\
      --outages outages.csv --traffic access.log --json build/figures.json
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.command(options)
    except (InputError, PolicyError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            # The reader of our output has gone, as `head` does. The interpreter need not say so.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sim",
        description="Run the fault-tolerant repository's own code in virtual time.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="one policy on a scenario: a table, figures, files")
    _add_study_options(run)
    run.add_argument(
        "--policy",
        default="default",
        metavar="POLICY",
        help=f"a name ({', '.join(named_policies())}) or a TOML file; default: %(default)s",
    )
    run.set_defaults(command=_run)

    compare = commands.add_parser("compare", help="policies side by side, with paired differences")
    _add_study_options(compare)
    compare.add_argument(
        "--policy",
        action="append",
        required=True,
        metavar="POLICY",
        dest="policies",
        help=f"twice or more: a name ({', '.join(named_policies())}) or a TOML file; "
        "differences are to the first",
    )
    compare.set_defaults(command=_compare)

    scenarios = commands.add_parser("scenarios", help="list the named scenarios")
    scenarios.set_defaults(command=_scenarios)

    review = commands.add_parser("review", help="execute the notebooks into a page to decide from")
    review.add_argument("--out", type=Path, default=Path("build/review"), metavar="DIR")
    review.add_argument(
        "--notebooks",
        type=Path,
        default=Path("notebooks"),
        metavar="DIR",
        help="default: %(default)s",
    )
    review.add_argument("--fast", action="store_true", help="fewer replications, for a first look")
    review.set_defaults(command=_review)
    return parser


def _add_study_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "scenario", metavar="SCENARIO", help="a name (see `python -m sim scenarios`) or a TOML file"
    )
    world = parser.add_argument_group("your own world")
    world.add_argument(
        "--outages",
        type=Path,
        metavar="FILE.csv",
        help="a recorded trace (start_time,end_time,status), in place of the scenario's outages",
    )
    world.add_argument(
        "--full-outage",
        choices=[mode.value for mode in (OutageMode.REFUSE, OutageMode.HANG)],
        default=OutageMode.REFUSE.value,
        help="how the primary fails where the trace has status 1; default: %(default)s",
    )
    world.add_argument(
        "--traffic",
        type=Path,
        metavar="FILE.log",
        help="an access log, Common or Combined Log Format; its pattern is repeated as needed",
    )
    world.add_argument(
        "--speed-up",
        type=_positive,
        default=1.0,
        metavar="FACTOR",
        help="the access log's pattern passes so many times faster; default: %(default)s",
    )
    study = parser.add_argument_group("the study")
    study.add_argument("--seed", type=_seed, default=1, metavar="N", help="default: %(default)s")
    study.add_argument(
        "--replications",
        type=_count,
        default=REPLICATIONS,
        metavar="N",
        help="independent runs of each policy; intervals need 2 or more; default: %(default)s",
    )
    study.add_argument(
        "--workers", type=_count, metavar="N", help="processes; default: one for each processor"
    )
    output = parser.add_argument_group("output")
    output.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    output.add_argument("--out", type=Path, metavar="DIR", help="write figures, Parquet and CSV")


def _run(options: argparse.Namespace) -> int:
    from sim.show import as_json, tables

    policies = {_policy_name(options.policy): policy_named_or_file(options.policy)}
    name = next(iter(policies))
    study = _study(options, policies)
    if options.json:
        as_json.write_json(options.json, as_json.run_json(study, name))
    _print_study(options, study, tables.run_table(study, name))
    return 0


def _compare(options: argparse.Namespace) -> int:
    from sim.show import as_json, tables

    policies = _distinct_policies(options.policies)
    study = _study(options, policies)
    if options.json:
        as_json.write_json(options.json, as_json.comparison_json(study))
    _print_study(options, study, tables.comparison_table(study))
    return 0


def _scenarios(_: argparse.Namespace) -> int:
    from rich.table import Table

    table = Table()
    for heading in ("name", "what happens", "length", "file"):
        table.add_column(heading, overflow="fold")
    for name, path in named_scenarios().items():
        scenario = load_scenario(name)
        table.add_row(name, scenario.description, f"{scenario.length_s / 3600:g} h", path.name)
    _console().print(table)
    return 0


def _review(options: argparse.Namespace) -> int:
    from sim.show.review import ReviewError, build_review

    notebooks = sorted(options.notebooks.glob("*.ipynb"))
    if not notebooks:
        raise InputError(f"{options.notebooks}: there are no notebooks here")
    console = _console()
    try:
        index = build_review(notebooks, options.out, fast=options.fast, progress=console)
    except ReviewError as error:
        print(f"error: {error}", file=sys.stderr)
        if error.index is not None:
            print(f"the review, with the failed pages marked, is in {error.index}", file=sys.stderr)
        return 1
    console.print(f"the review is in {index}")
    return 0


def _study(options: argparse.Namespace, policies: dict[str, Policy]) -> Experiment:
    scenario = _scenario(options)
    _warn_of_many_requests(scenario, options, runs=len(policies) * options.replications)
    with _progress(scenario.name) as progress:
        return experiment(
            scenario,
            policies,
            seed=options.seed,
            replications=options.replications,
            workers=options.workers,
            progress=progress,
        )


def _scenario(options: argparse.Namespace) -> Scenario:
    scenario = load_scenario(options.scenario)
    if options.outages is not None:
        trace, report = read_trace(options.outages, full_mode=OutageMode(options.full_outage))
        print(report, file=sys.stderr)
        scenario = scenario.with_trace(trace)
    if options.traffic is not None:
        arrivals, log_report = read_access_log(options.traffic)
        print(log_report, file=sys.stderr)
        scenario = scenario.with_traffic(replace(arrivals, speed_up=options.speed_up))
    elif options.speed_up != 1.0:
        raise InputError("--speed-up goes with --traffic; without it there is nothing to speed up")
    return scenario


def _warn_of_many_requests(scenario: Scenario, options: argparse.Namespace, *, runs: int) -> None:
    streams = Streams(options.seed)
    timeline = scenario.timeline(scenario.draw_outages(streams))
    requests = scenario.traffic.mean_rate_per_s * timeline.duration_s * runs
    if requests > MANY_REQUESTS:
        advice = "fewer --replications, a shorter duration_s or a lower rate"
        if options.outages and not options.traffic:
            advice = f"--traffic, for the scenario's own is meant for a short run; or {advice}"
        print(
            f"note: about {requests:,.0f} requests will be played, some ten thousand a second on "
            f"each processor; quicker: {advice}",
            file=sys.stderr,
        )


def _print_study(options: argparse.Namespace, study: Experiment, table: object) -> None:
    from sim.show import tables

    console = _console()
    console.print(table)
    for line in tables.notes(study):
        console.print(line, style="dim" if not line.startswith("DEFECT") else "bold red")
    if options.out:
        from sim.run import run
        from sim.show.files import write_files

        results = {
            name: run(study.scenario, policy, seed=study.seed)
            for name, policy in study.policies.items()
        }
        written = write_files(options.out, study, results)
        console.print(f"{len(written)} files in {options.out}/", style="dim")
    if options.json:
        console.print(f"figures as JSON in {options.json}", style="dim")


def _policy_name(text: str) -> str:
    return text if text in named_policies() else Path(text).stem


def _distinct_policies(texts: Sequence[str]) -> dict[str, Policy]:
    if len(texts) < 2:
        raise InputError("compare needs --policy at least twice; for one policy there is `run`")
    policies: dict[str, Policy] = {}
    for text in texts:
        name = _policy_name(text)
        if name in policies:
            raise InputError(f"--policy {text}: another policy is called {name!r} already")
        policies[name] = policy_named_or_file(text)
    return policies


def _console() -> Console:
    from rich.console import Console

    # A table in a file or a pipe should not be cut to the width of no terminal.
    return Console(width=None if sys.stdout.isatty() else 200, highlight=False)


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar on standard error, if that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        "{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        "runs",
        TimeElapsedColumn(),
        "left:",
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _seed(text: str) -> int:
    return _whole_number(text, least=0)


def _count(text: str) -> int:
    return _whole_number(text, least=1)


def _whole_number(text: str, *, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
    if not least <= number <= WORD_MAX:
        raise argparse.ArgumentTypeError(f"{number} is not between {least} and {WORD_MAX}")
    return number


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a finite number above 0")
    return number


if __name__ == "__main__":
    sys.exit(main())
