"""The commands that need a real PostgreSQL: `replay`, `calibrate` and `validate`.

Without `--dsn` each starts a server of its own and removes it; with it a database is made on that
server and dropped again, and nothing else is touched.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftrepo.designs import policy_named_or_file
from ftrepo.errors import FtrepoError
from sim.arguments import add_policy, add_scenario, console, count, positive, seed
from sim.world.errors import InputError
from sim.world.scenario_file import load_scenario, with_primary
from sim.world.streams import Streams

if TYPE_CHECKING:
    from sim.run import Result
    from sim.testbed.acting import Acted
    from sim.world.scenario import Scenario


def add_commands(commands: Any) -> None:
    """Add them to the parser of `python -m sim`."""
    replay = commands.add_parser("replay", help="a short scenario in real time, on PostgreSQL")
    add_scenario(replay)
    add_policy(replay)
    _add_server(replay)
    _add_primary(replay)
    replay.add_argument("--seed", type=seed, default=1, metavar="N", help="default: %(default)s")
    replay.add_argument("--out", type=Path, metavar="DIR", help="write figures, Parquet and CSV")
    replay.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    replay.set_defaults(command=_replay)

    calibrate = commands.add_parser(
        "calibrate", help="measure a PostgreSQL, for the simulated one to be as fast"
    )
    _add_server(calibrate)
    _add_measuring(calibrate, calls=2000, rate_per_s=200.0)
    calibrate.add_argument(
        "--out", type=Path, metavar="FILE.toml", help="write the settings; default: to the terminal"
    )
    calibrate.set_defaults(command=_calibrate)

    validate = commands.add_parser(
        "validate", help="simulate a short scenario and play it on PostgreSQL: do they agree?"
    )
    add_scenario(validate)
    add_policy(validate)
    _add_server(validate)
    _add_primary(validate)
    _add_measuring(validate, calls=500, rate_per_s=100.0)
    validate.add_argument("--seed", type=seed, default=1, metavar="N", help="default: %(default)s")
    validate.add_argument(
        "--replications",
        type=count,
        default=10,
        metavar="N",
        help="simulated runs, at least 2; default: %(default)s",
    )
    validate.add_argument("--out", type=Path, metavar="FILE.svg", help="write the figure")
    validate.set_defaults(command=_validate)


def _add_server(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dsn",
        metavar="DSN",
        help="somebody's server, on which a database is made and dropped; only the line to it is "
        "broken. Default: a server of one's own",
    )


def _add_primary(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--primary",
        type=Path,
        metavar="FILE.toml",
        help="how fast the primary is, as `calibrate` wrote it",
    )


def _add_measuring(parser: argparse.ArgumentParser, *, calls: int, rate_per_s: float) -> None:
    parser.add_argument(
        "--calls",
        type=count,
        default=calls,
        metavar="N",
        help="calls of each operation, at least 100; default: %(default)s",
    )
    parser.add_argument(
        "--rate",
        type=positive,
        default=rate_per_s,
        metavar="PER_S",
        help="calls a second; default: %(default)g",
    )


def _replay(options: argparse.Namespace) -> int:
    from sim.show import tables
    from sim.study.experiment import Experiment, figures_from

    policy, scenario = policy_named_or_file(options.policy), _scenario(options)
    with _testbed() as testbed:
        from sim.testbed.replay import playable, replay

        playable(scenario, Streams(options.seed), own_server=options.dsn is None)
        with testbed(options.dsn) as server, _progress(scenario.name) as progress:
            played = replay(scenario, policy, server=server, seed=options.seed, progress=progress)
    study = Experiment(
        scenario=scenario,
        policies={options.policy: policy},
        seed=options.seed,
        runs={options.policy: [figures_from(played.result.history)]},
    )
    screen = console()
    screen.print(tables.run_table(study, options.policy))
    screen.print(_lateness(played.acted))
    for line in tables.notes(study):
        screen.print(line, style="dim")
    _write(options, study, played.result)
    return 0


def _lateness(acted: Sequence[Acted]) -> str:
    late_s = max((each.lateness_s for each in acted), default=0.0)
    return f"{len(acted)} outages, acted {1000 * late_s:.0f} ms off their plan at most"


def _write(options: argparse.Namespace, study: Any, result: Result) -> None:
    from sim.show import as_json

    if options.json:
        as_json.write_json(options.json, as_json.run_json(study, options.policy))
    if options.out:
        from sim.show.files import write_files

        written = write_files(options.out, study, {options.policy: result})
        console().print(f"{len(written)} files in {options.out}/", style="dim")


def _calibrate(options: argparse.Namespace) -> int:
    text = _measured(options).to_toml()
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text, encoding="utf-8")
        print(f"the settings are in {options.out}", file=sys.stderr)
    else:
        print(text, end="")
    return 0


def _measured(options: argparse.Namespace) -> Any:
    if options.calls < 100:
        raise InputError("--calls must be at least 100: a 99th percentile of fewer is a guess")
    with _testbed() as testbed:
        from sim.testbed.calibrate import calibrate

        with testbed(options.dsn) as server, _progress("calls") as progress:

            def told(operation: str, share: float) -> None:
                if progress is not None:
                    step = ("select", "insert", "delete", "connect").index(operation)
                    progress(step + share, 4.0)

            return calibrate(server, calls=options.calls, rate_per_s=options.rate, progress=told)


def _validate(options: argparse.Namespace) -> int:
    policy, scenario = policy_named_or_file(options.policy), _scenario(options)
    if options.replications < 2:
        raise InputError("--replications must be at least 2 for an interval")
    with _testbed() as testbed:
        from sim.testbed.replay import playable
        from sim.testbed.validate import validate

        playable(scenario, Streams(options.seed), own_server=options.dsn is None)
        if options.primary is None:
            primary = _measured(options).applied_to(scenario.primary)
            scenario = replace(scenario, primary=primary)
        with testbed(options.dsn) as server, _progress(scenario.name) as progress:
            validation = validate(
                scenario,
                policy,
                server=server,
                seed=options.seed,
                replications=options.replications,
                progress=progress,
            )
    from sim.show.tables import agreement_table

    screen = console()
    screen.print(agreement_table(scenario.name, validation.checks))
    screen.print(_lateness(validation.acted))
    if options.out:
        from sim.show import simulation_against_reality

        runs = {scenario.name: (validation.simulated, validation.real)}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        simulation_against_reality(runs).savefig(options.out, bbox_inches="tight")
        screen.print(f"the figure is in {options.out}", style="dim")
    if validation.agrees:
        screen.print("simulation and reality agree")
        return 0
    screen.print("simulation and reality disagree", style="bold red")
    return 1


def _scenario(options: argparse.Namespace) -> Scenario:
    scenario = load_scenario(options.scenario)
    return scenario if options.primary is None else with_primary(scenario, options.primary)


@contextmanager
def _testbed() -> Iterator[Callable[[str | None], Any]]:
    """Yield what opens a server; tell what the testbed lacks or finds wrong in one line."""
    try:
        from asyncpg import PostgresError

        from sim.testbed.binaries import TestbedError
        from sim.testbed.replay import server_for
    except ModuleNotFoundError as error:
        raise InputError(f"{error}: install the extras postgres and testbed") from error
    try:
        yield server_for
    except (TestbedError, PostgresError, FtrepoError) as error:
        raise InputError(str(error)) from error


@contextmanager
def _progress(what: str) -> Iterator[Callable[[float, float], None] | None]:
    """A progress bar on standard error, if that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

    columns = ("{task.description}", BarColumn(), TimeElapsedColumn(), "left:")
    with Progress(
        *columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True
    ) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
