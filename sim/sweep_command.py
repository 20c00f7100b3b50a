"""The command `sweep`: every combination of some settings' values, and what it does to the figures.

Finished runs are kept in a folder that all sweeps share, so that an interrupted sweep goes on where
it was, and one that overlaps another plays only what is new.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ftrepo.designs import policy_named_or_file
from sim.arguments import (
    INTERRUPTED,
    add_policy,
    add_seed_and_workers,
    add_store,
    add_world,
    console,
    count,
    progress_bar,
    world_scenario,
)
from sim.study.cluster import Cluster, ClusterError
from sim.study.experiment import REPLICATIONS
from sim.study.grid import parse_settings
from sim.study.parallel import Processes, ThisProcess, WorkersLostError, local_executor
from sim.study.run_store import RunStore
from sim.study.sweep import OtherCodeError, Sweep, SweepPlan, plan_sweep
from sim.world.errors import InputError

_EXAMPLES = """\
a NAME is a setting of a policy, operation_timeout_s (insert, select and delete together), policy
(values: names or files), or a setting of the scenario by its path. Values are those of TOML, none
for no value.

examples:
  python -m sim sweep default --set flush_interval_s=0.5,1,2,5,10 \\
      --set operation_timeout_s=0.1,0.25,0.5,1
  python -m sim sweep fleet --set policy=breaker,default --set service.instances=1,4,8
  python -m sim sweep incident --set breaker_open_s=1,5,30 --cluster tcp://10.0.0.1:8786
"""


def add_command(commands: Any) -> None:
    """Add it to the parser of `python -m sim`."""
    sweep = commands.add_parser(
        "sweep",
        help="every combination of some settings: tables, heat maps, trade-offs",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_world(sweep)
    sweep.add_argument(
        "--set",
        action="append",
        required=True,
        dest="settings",
        metavar="NAME=VALUE,…",
        help="a setting and the values that it takes; once for each setting",
    )
    add_policy(sweep)
    study = add_seed_and_workers(sweep)
    study.add_argument(
        "--replications",
        type=count,
        default=REPLICATIONS,
        metavar="N",
        help="runs at each point; intervals need 2 or more; default: %(default)s",
    )
    study.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="play on the workers of this Dask scheduler, such as tcp://10.0.0.1:8786",
    )
    output = sweep.add_argument_group("output")
    output.add_argument(
        "--measure",
        action="append",
        dest="measures",
        metavar="NAME",
        help="what the table and the figures show, the tables in files have every one; "
        "default: availability, sync lag and load",
    )
    output.add_argument("--out", type=Path, metavar="DIR", help="write Parquet, figures, a summary")
    add_store(output)
    sweep.set_defaults(command=_sweep)


def _sweep(options: argparse.Namespace) -> int:
    from sim.show.sweep_words import DEFAULT_MEASURES, check_measure

    if options.cluster and options.workers:
        raise InputError("--workers are of this machine, and --cluster has its own; give one")
    measures = [check_measure(name) for name in options.measures or DEFAULT_MEASURES]
    settings = parse_settings(options.settings)
    store = RunStore(options.store)
    plan = plan_sweep(
        world_scenario(options),
        policy_named_or_file(options.policy),
        settings,
        seed=options.seed,
        replications=options.replications,
        store=store,
    )
    if options.out:
        _make_folder(options.out)
    _say(_expectation(plan, store, options))
    try:
        sweep = _played(plan, store, options)
    except KeyboardInterrupt:
        _say(f"interrupted; {_kept(plan, store)}")
        return INTERRUPTED
    _show(sweep, options, measures)
    return 0


def _make_folder(out: Path) -> None:
    """Make the folder for the output before hours of work, not after them."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {out} cannot be a folder: {error.strerror}") from error


def _played(plan: SweepPlan, store: RunStore, options: argparse.Namespace) -> Sweep:
    """Play what is missing; an error that leaves finished runs behind says so."""
    try:
        with _executor(plan, options) as executor, progress_bar(plan.scenario.name) as progress:
            return plan.play(executor, store=store, progress=progress)
    except (ClusterError, OtherCodeError, WorkersLostError) as error:
        raise InputError(f"{error}; {_kept(plan, store)}") from error


def _executor(
    plan: SweepPlan, options: argparse.Namespace
) -> AbstractContextManager[Cluster | Processes | ThisProcess]:
    if options.cluster and plan.to_play:
        return Cluster(options.cluster)
    return local_executor(options.workers, jobs=len(plan.to_play))


def _expectation(plan: SweepPlan, store: RunStore, options: argparse.Namespace) -> str:
    """What there is to do, how long it will take, and what of earlier work counts."""
    to_play, known = len(plan.to_play), len(plan.known)
    text = f"{len(plan.cases)} points × {options.replications} replications = {plan.runs} runs"
    if known:
        text += f", {known} of them played already"
    if to_play and not options.cluster:
        workers = min(options.workers or os.cpu_count() or 1, to_play)
        several = "" if workers == 1 else "s"
        text += f"; about {_rounded(plan.expected_s(workers))} on {workers} processor{several}"
    if not known and (others := store.of_other_code()):
        text += (
            f"\nnote: {others} runs in {store.folder} were played by other code than this, and are "
            "not mixed in: a change of ftrepo or sim may change every figure"
        )
    return text


def _kept(plan: SweepPlan, store: RunStore) -> str:
    """How many runs are safe, and how to go on."""
    kept = sum(1 for key in {key for keys in plan.keys for key in keys} if store.get(key))
    return f"{kept} of {plan.runs} runs are in {store.folder}; the same command plays the rest"


def _show(sweep: Sweep, options: argparse.Namespace, measures: Sequence[str]) -> None:
    from rich.table import Table

    from sim.show.sweep_files import summary_table, write_sweep
    from sim.show.sweep_words import finding_of, study_text

    screen = console()
    headings, rows = summary_table(sweep, measures)
    table = Table(title=f"{sweep.scenario.name}, swept", title_justify="left")
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place >= len(sweep.settings) else "left")
    for row in rows:
        table.add_row(*row)
    screen.print(table)
    for measure in measures:
        screen.print(finding_of(sweep, measure))
    screen.print(f"{study_text(sweep)}; in brackets: 95% intervals", style="dim")
    if options.out:
        written = write_sweep(options.out, sweep, command=_command(options), measures=measures)
        screen.print(f"{len(written)} files in {options.out}/", style="dim")


def _command(options: argparse.Namespace) -> str:
    """What gives the same figures again, wherever and by however many workers."""
    words = ["python", "-m", "sim", "sweep", options.scenario]
    for name in ("outages", "full_outage", "traffic", "speed_up", "primary"):
        value = getattr(options, name)
        if value is not None and not (name == "full_outage" and options.outages is None):
            words += [f"--{name.replace('_', '-')}", str(value)]
    for text in options.settings:
        words += ["--set", text]
    words += ["--policy", options.policy, "--seed", str(options.seed)]
    words += ["--replications", str(options.replications)]
    for measure in options.measures or ():
        words += ["--measure", measure]
    return shlex.join(words)


def _rounded(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds)):d} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _say(text: str) -> None:
    print(text, file=sys.stderr)
