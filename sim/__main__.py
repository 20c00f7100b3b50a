"""The command line: `python -m sim`.

Whatever a user can get wrong ends in one clear line and exit code 2; Ctrl-C in exit code 130.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ftrepo.designs import named_policies, policy_named_or_file
from ftrepo.errors import PolicyError
from ftrepo.policy import Policy
from sim import (
    explore_command,
    real_time,
    review_command,
    service_command,
    sweep_command,
    tune_command,
)
from sim.arguments import (
    INTERRUPTED,
    add_policy,
    add_precision,
    add_seed_and_workers,
    add_world,
    console,
    count,
    policy_name,
    positive,
    progress_bar,
    wanted_precision,
    warn_of_many_requests,
    world_scenario,
)
from sim.study.experiment import REPLICATIONS, Experiment, experiment
from sim.study.precision import FIRST, LOOK_AHEAD
from sim.world.errors import InputError
from sim.world.scenario_file import load_scenario, named_scenarios

_EXAMPLES = """\
examples:
  python -m sim scenarios
  python -m sim run default
  python -m sim run incident --policy policy.toml --out build/incident
  python -m sim compare default --policy primary-only --policy default
  python -m sim compare default --policy primary-only --policy default \\
      --outages outages.csv --traffic access.log --json build/figures.json
  python -m sim validate real-hang
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
        description="Run the repository's own code in virtual time, or against a real PostgreSQL.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="one policy on a scenario: a table, figures, files")
    _add_study_options(run)
    add_policy(run)
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

    faults = commands.add_parser("faults", help="break a real PostgreSQL in every way, under load")
    faults.add_argument("--only", nargs="+", default=[], metavar="NAME", help="default: every one")
    faults.add_argument(
        "--fault-s",
        type=positive,
        default=3.0,
        metavar="SECONDS",
        help="how long each fault lasts; default: %(default)g",
    )
    add_policy(faults)
    faults.add_argument("--out", type=Path, metavar="FILE.md", help="write the table as Markdown")
    faults.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    faults.set_defaults(command=_faults)

    drill = commands.add_parser("drill", help="lose a real PostgreSQL, restore it, and measure")
    drill.add_argument(
        "--existing",
        type=count,
        default=20_000,
        metavar="KEYS",
        help="how many there are to begin with; default: %(default)d",
    )
    drill.add_argument(
        "--load-s",
        type=positive,
        default=12.0,
        metavar="SECONDS",
        help="how long the service runs before the backup, and again after; default: %(default)g",
    )
    drill.add_argument(
        "--archive-timeout-s",
        type=count,
        default=5,
        metavar="SECONDS",
        help="after how long the log is archived; default: %(default)d, to be quick",
    )
    drill.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    drill.set_defaults(command=_drill)

    real_time.add_commands(commands)
    service_command.add_command(commands)
    sweep_command.add_command(commands)
    tune_command.add_command(commands)
    explore_command.add_command(commands)

    review_command.add_command(commands)
    return parser


def _add_study_options(parser: argparse.ArgumentParser) -> None:
    add_world(parser)
    study = add_seed_and_workers(parser)
    study.add_argument(
        "--replications",
        type=count,
        default=REPLICATIONS,
        metavar="N",
        help="independent runs of each policy; intervals need 2 or more; default: %(default)s",
    )
    add_precision(study)
    output = parser.add_argument_group("output")
    output.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    output.add_argument("--out", type=Path, metavar="DIR", help="write figures, Parquet and CSV")


def _run(options: argparse.Namespace) -> int:
    from sim.show import as_json, tables

    policies = {policy_name(options.policy): policy_named_or_file(options.policy)}
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
        length_s = scenario.length_s
        length = f"{length_s / 3600:g} h" if length_s >= 3600 else f"{length_s:g} s"
        table.add_row(name, scenario.description, length, path.name)
    console().print(table)
    return 0


def _faults(options: argparse.Namespace) -> int:
    try:
        from sim.testbed import fault_table
        from sim.testbed.binaries import TestbedError
    except ModuleNotFoundError as error:
        raise InputError(f"{error}: install the extras postgres and testbed") from error
    policy = policy_named_or_file(options.policy)
    rows = []
    try:
        for row in fault_table.run_faults(options.only, policy=policy, fault_s=options.fault_s):
            rows.append(row)
            print(f"{row.fault}: done", file=sys.stderr)
    except TestbedError as error:
        raise InputError(str(error)) from error
    screen = console()
    screen.print(fault_table.rich_table(rows, policy))
    wrong = [(row, what) for row in rows for what in fault_table.defects(row, policy)]
    for row, what in wrong:
        screen.print(f"DEFECT: {row.fault}: {what}", style="bold red")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(fault_table.markdown(rows, policy), encoding="utf-8")
    if options.json:
        fault_table.write_json(options.json, rows)
    return 1 if wrong else 0


def _drill(options: argparse.Namespace) -> int:
    try:
        from ftrepo.postgres.recovery.tools import RecoveryError
        from sim.testbed.binaries import TestbedError
        from sim.testbed.drill import run_drill
        from sim.testbed.drill_outcome import DrillSettings, report, write_json
    except ModuleNotFoundError as error:
        raise InputError(f"{error}: install the extras postgres and testbed") from error
    settings = DrillSettings(
        existing=options.existing,
        load_s=options.load_s,
        archive_timeout_s=options.archive_timeout_s,
    )
    try:
        outcomes = asyncio.run(run_drill(settings))
    except (RecoveryError, TestbedError) as error:
        raise InputError(str(error)) from error
    print(report(outcomes, settings))
    if options.json:
        write_json(options.json, outcomes, settings)
    return 1 if any(outcome.missed() for outcome in outcomes) else 0


def _study(options: argparse.Namespace, policies: dict[str, Policy]) -> Experiment:
    scenario = world_scenario(options)
    # Of one policy its figure, of several the differences to the first.
    to = next(iter(policies)) if len(policies) > 1 else None
    precision = wanted_precision(options.precision, difference_to=to)
    replications = max(options.replications, FIRST + LOOK_AHEAD if precision else 0)
    warn_of_many_requests(scenario, options, runs=len(policies) * replications)
    with progress_bar(scenario.name) as progress:
        return experiment(
            scenario,
            policies,
            seed=options.seed,
            replications=options.replications,
            precision=precision,
            replications_max=options.replications_max,
            workers=options.workers,
            progress=progress,
        )


def _print_study(options: argparse.Namespace, study: Experiment, table: object) -> None:
    from sim.show import tables

    screen = console()
    screen.print(table)
    for line in tables.notes(study):
        screen.print(line, style="dim" if not line.startswith("DEFECT") else "bold red")
    if options.out:
        from sim.run import run
        from sim.show.files import write_files

        results = {
            name: run(study.scenario, policy, seed=study.seed)
            for name, policy in study.policies.items()
        }
        written = write_files(options.out, study, results)
        screen.print(f"{len(written)} files in {options.out}/", style="dim")
    if options.json:
        screen.print(f"figures as JSON in {options.json}", style="dim")


def _distinct_policies(texts: Sequence[str]) -> dict[str, Policy]:
    if len(texts) < 2:
        raise InputError("compare needs --policy at least twice; for one policy there is `run`")
    policies: dict[str, Policy] = {}
    for text in texts:
        name = policy_name(text)
        if name in policies:
            raise InputError(f"--policy {text}: another policy is called {name!r} already")
        policies[name] = policy_named_or_file(text)
    return policies


if __name__ == "__main__":
    sys.exit(main())
