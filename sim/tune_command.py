"""The command `tune`: settings that meet objectives within constraints, and how sure that is.

Finished runs are kept in the folder that sweeps use too. A tuning that was interrupted goes on
where it was when the same command is given again: it makes the same proposals, whose runs it finds.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftrepo.designs import named_policies, policy_named_or_file
from sim.arguments import (
    INTERRUPTED,
    add_seed_and_workers,
    add_store,
    add_world,
    console,
    count,
    progress_bar,
    world_scenario,
)
from sim.study.parallel import WorkersLostError
from sim.study.run_store import RunStore
from sim.study.sweep import OtherCodeError
from sim.study.tune.goals import Goals
from sim.study.tune.objectives import check_goals, parse_constraint, parse_objective
from sim.study.tune.space import DEFAULT_SPACE, parse_search
from sim.study.tune.tuning import REPLICATIONS, TRIALS, Tuning, tune
from sim.world.errors import InputError
from sim.world.outage_trace import read_trace
from sim.world.outages import OutageMode

if TYPE_CHECKING:
    from rich.console import Console

    from sim.show.markdown import MarkdownTable
    from sim.world.scenario import Scenario

NOT_SHOWN = 1
"""The exit code if a constraint was not shown to hold."""

_SPACE = "\n".join(f"  {each}" for each in DEFAULT_SPACE)

_EXAMPLES = f"""\
The first objective decides; the next one where the first leaves a choice. An availability and the
goodput are to be high and any other measure low, unless min: or max: stands before it. A bound on a
share is a number from 0 to 1, as in 'availability>=0.999'. A count that must be zero, as in
'lost_keys<=0', is kept where no run has one; the notes say how many others may. Any other one is
kept if the far end of its interval keeps it, on fresh seeds and on every trace of --check, whose
outages must be others than those of --outages. `python -m sim run default` lists the measures.
Without --search this is searched:
{_SPACE}

examples:
  python -m sim tune fleet --objective availability \\
      --within 'sync_lag_p99_s<=10' --within 'primary_attempts_during_outage_per_s<=2'
  python -m sim tune default --objective sync_lag_p99_s \\
      --objective primary_attempts_during_outage_per_s \\
      --search breaker_open_s=1:60:log --search flush_interval_s=0.5:10:log \\
      --check last-year.csv --out build/tuned

The exit code is {NOT_SHOWN} if a constraint was not shown to hold.
"""


def add_command(commands: Any) -> None:
    """Add it to the parser of `python -m sim`."""
    parser = commands.add_parser(
        "tune",
        help="search for settings that meet objectives, and check them on fresh seeds",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_world(parser)
    _add_goals(parser)
    _add_study(parser)
    output = parser.add_argument_group("output")
    output.add_argument(
        "--out",
        type=Path,
        default=Path("build/tune"),
        metavar="DIR",
        help="policy.toml, tables, figures, Optuna's study; default: %(default)s",
    )
    add_store(output)
    parser.set_defaults(command=_tune)


def _add_goals(parser: argparse.ArgumentParser) -> None:
    goals = parser.add_argument_group("what is searched for")
    goals.add_argument(
        "--objective",
        action="append",
        required=True,
        dest="objectives",
        metavar="MEASURE",
        help="what to push, min: or max: before it if need be; the most important one first",
    )
    goals.add_argument(
        "--within",
        action="append",
        default=[],
        metavar="MEASURE<=NUMBER",
        help="a constraint, or >=; may be repeated",
    )
    goals.add_argument(
        "--search",
        action="append",
        default=[],
        metavar="NAME=LOW:HIGH[:log]",
        help="a setting that may change, or NAME=VALUE,…; may be repeated; default: see below",
    )
    goals.add_argument(
        "--base",
        default="default",
        metavar="POLICY",
        help="the policy whose other settings stay, and which is to be beaten: a name "
        f"({', '.join(named_policies())}) or a TOML file; default: %(default)s",
    )


def _add_study(parser: argparse.ArgumentParser) -> None:
    study = add_seed_and_workers(parser)
    study.add_argument(
        "--trials",
        type=count,
        default=TRIALS,
        metavar="N",
        help="policies that are tried; default: %(default)s",
    )
    study.add_argument(
        "--replications",
        type=count,
        default=REPLICATIONS,
        metavar="N",
        help="runs of each, at least 2; default: %(default)s",
    )
    study.add_argument(
        "--fresh-replications",
        type=count,
        metavar="N",
        help="runs on the next seed that judge what was found; default: twice --replications",
    )
    study.add_argument(
        "--check",
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE.csv",
        help="recorded outages on which the recommendation is checked; may be repeated",
    )


def _tune(options: argparse.Namespace) -> int:
    scenario = world_scenario(options)
    goals = Goals(
        base=policy_named_or_file(options.base),
        space=parse_search(options.search) or DEFAULT_SPACE,
        objectives=tuple(map(parse_objective, options.objectives)),
        constraints=tuple(map(parse_constraint, options.within)),
    )
    check_goals(goals.objectives, goals.constraints)
    others = _other_worlds(scenario, options)
    store = RunStore(options.store)
    try:
        tuning = _tuned(scenario, goals, others, store, options)
    except KeyboardInterrupt:
        print(f"interrupted; {_kept(store)}", file=sys.stderr)
        return INTERRUPTED
    _show(tuning, options)
    return 0 if tuning.holds else NOT_SHOWN


def _tuned(
    scenario: Scenario,
    goals: Goals,
    others: Mapping[str, Scenario],
    store: RunStore,
    options: argparse.Namespace,
) -> Tuning:
    try:
        with progress_bar(scenario.name) as progress:
            return tune(
                scenario,
                goals,
                seed=options.seed,
                trials=options.trials,
                replications=options.replications,
                fresh_replications=options.fresh_replications,
                others=others,
                workers=options.workers,
                store=store,
                progress=progress,
            )
    except ModuleNotFoundError as error:
        raise InputError(f"{error}: install the extra tuning") from error
    except (OtherCodeError, WorkersLostError) as error:
        raise InputError(f"{error}; {_kept(store)}") from error


def _other_worlds(scenario: Scenario, options: argparse.Namespace) -> dict[str, Scenario]:
    """The scenario with the outages of each file of --check in the place of its own."""
    worlds = {}
    for path in options.check:
        if path.stem in worlds:
            raise InputError(f"--check {path}: another file is called {path.stem} already")
        trace, report = read_trace(path, full_mode=OutageMode(options.full_outage))
        print(report, file=sys.stderr)
        worlds[path.stem] = scenario.with_trace(trace)
    return worlds


def _kept(store: RunStore) -> str:
    return f"{len(store)} runs are in {store.folder}; the same command goes on from there"


def _show(tuning: Tuning, options: argparse.Namespace) -> None:
    from sim.show import tuning_tables
    from sim.show.tuning_files import POLICY_FILE, write_tuning

    screen = console()
    for title, table in (
        ("settings", tuning_tables.change_table(tuning)),
        ("Pareto front, on fresh seeds", tuning_tables.front_table(tuning)),
        ("recommended, on fresh seeds", tuning_tables.gain_table(tuning)),
        ("constraints, on fresh seeds", tuning_tables.constraint_table(tuning)),
        ("which setting matters", tuning_tables.effect_table(tuning)),
        ("constraints, on other outages", tuning_tables.check_table(tuning)),
        ("objectives, on other outages", tuning_tables.check_gain_table(tuning)),
    ):
        if table.rows:
            _print_table(screen, title, table)
    for line in tuning_tables.tuning_notes(tuning):
        screen.print(line, style="dim" if not line.startswith("DEFECT") else "bold red")
    screen.print(tuning_tables.verdict_text(tuning), style="bold")
    written = write_tuning(options.out, tuning, command=_command(options))
    screen.print(
        f"{options.out / POLICY_FILE}, and {len(written) - 1} more files there", style="dim"
    )


def _print_table(screen: Console, title: str, source: MarkdownTable) -> None:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for heading in source.headings:
        table.add_column(heading, overflow="fold")
    for row in source.rows:
        table.add_row(*row)
    screen.print(table)


def _command(options: argparse.Namespace) -> str:
    """What gives the same policy again, by however many workers."""
    words = ["python", "-m", "sim", "tune", options.scenario]
    for name in ("outages", "full_outage", "traffic", "speed_up", "primary"):
        value = getattr(options, name)
        if value is not None and value != _WORLD_DEFAULTS.get(name):
            words += [f"--{name.replace('_', '-')}", str(value)]
    for name, values in (
        ("objective", options.objectives),
        ("within", options.within),
        ("search", options.search),
        ("check", options.check),
    ):
        for value in values:
            words += [f"--{name}", str(value)]
    words += ["--base", options.base, "--seed", str(options.seed)]
    words += ["--trials", str(options.trials), "--replications", str(options.replications)]
    if options.fresh_replications is not None:
        words += ["--fresh-replications", str(options.fresh_replications)]
    return shlex.join(words)


_WORLD_DEFAULTS = {"full_outage": OutageMode.REFUSE.value, "speed_up": 1.0}
"""Options that say nothing as they are."""
