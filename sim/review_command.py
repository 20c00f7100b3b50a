"""The command `review`: the designs of a scenario on one page, or the notebooks on several.

Finished runs are kept in a folder, so that an interrupted review goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftrepo.designs import DESIGNS, named_policies, policy_named_or_file
from ftrepo.policy import Policy
from sim.arguments import (
    INTERRUPTED,
    add_precision,
    add_seed_and_workers,
    add_store,
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
from sim.study.designs import PREFERRED, contenders, variations, verdict
from sim.study.experiment import REPLICATIONS, Experiment, experiment
from sim.study.parallel import Processes, ThisProcess, WorkersLostError
from sim.study.run_store import RunStore
from sim.study.stored_runs import StoredRuns
from sim.study.sweep import OtherCodeError
from sim.world.errors import InputError
from sim.world.scenario import Scenario

REVIEW_REPLICATIONS = 10
"""Replications of a review when nobody says otherwise: intervals that hold all at once need more
than those of one figure."""

_EXAMPLES = """\
without a SCENARIO the notebooks are executed; with one its designs are held against each other:
  python -m sim review
  python -m sim review fleet
  python -m sim review fleet --outages may.csv --outages june.csv --traffic access.log
  python -m sim review fleet --policy mine.toml --precision availability=0.0005
"""


def add_command(commands: Any) -> None:
    """Add it to the parser of `python -m sim`."""
    review = commands.add_parser(
        "review",
        help="a page to decide from: the designs of a scenario, or all notebooks",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_world(review, optional=True, several_traces=True)
    review.add_argument(
        "--policy",
        action="append",
        default=[],
        dest="policies",
        metavar="POLICY",
        help=f"one more candidate: a name ({', '.join(named_policies())}) or a TOML file; may be "
        f"repeated; there are always {', '.join(DESIGNS)}",
    )
    study = add_seed_and_workers(review)
    study.add_argument(
        "--replications",
        type=count,
        metavar="N",
        help=f"runs of each design; default: {REVIEW_REPLICATIONS}, with --fast {REPLICATIONS}",
    )
    add_precision(study)
    study.add_argument(
        "--objective",
        type=positive,
        default=0.999,
        metavar="SHARE",
        help="the availability that is wanted; default: %(default)s",
    )
    study.add_argument(
        "--no-sensitivity",
        action="store_true",
        help="change no assumption: play the designs once, and not the closest in ten other worlds",
    )
    study.add_argument("--fast", action="store_true", help="few replications, for a first look")
    output = review.add_argument_group("output")
    output.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="default: build/review, of a scenario build/review-SCENARIO",
    )
    add_store(output)
    output.add_argument(
        "--notebooks",
        type=Path,
        default=Path("notebooks"),
        metavar="DIR",
        help="those that are executed without a scenario; default: %(default)s",
    )
    review.set_defaults(command=_review)


def _review(options: argparse.Namespace) -> int:
    if options.scenario is None:
        if options.outages or options.traffic or options.primary or options.policies:
            raise InputError("which scenario? --outages, --traffic and the like change one")
        if options.replications or options.precision or options.no_sensitivity:
            raise InputError("which scenario? notebooks say themselves how often they play one")
        return _review_notebooks(options)
    from sim.show.decision_page import DesignReview, check_replaceable, write_decision

    if not options.objective < 1:
        raise InputError(f"--objective must be below 1, not {options.objective:g}")
    out = options.out or Path(f"build/review-{Path(options.scenario).stem}")
    check_replaceable(out)
    policies = _candidates(options.policies)
    worlds = _worlds(options)
    store = RunStore(options.store)
    for scenario in worlds.values():
        warn_of_many_requests(scenario, options, runs=len(policies) * _replications(options))
    try:
        with _executor(options) as pool:
            runs = StoredRuns(pool, store)
            studies = {
                name: _played(name, scenario, policies, options, runs)
                for name, scenario in worlds.items()
            }
            first = next(iter(worlds))
            varied = {} if options.no_sensitivity else _varied(studies[first], options, runs)
    except KeyboardInterrupt:
        print(f"interrupted; {_kept(store)}", file=sys.stderr)
        return INTERRUPTED
    except (OtherCodeError, WorkersLostError) as error:
        raise InputError(f"{error}; {_kept(store)}") from error
    review = DesignReview(
        worlds=studies,
        varied=varied,
        preferred=PREFERRED,
        objective=options.objective,
        command=_command(options),
        fast=options.fast,
    )
    index = write_decision(review, out)
    _tell(review.verdicts)
    console().print(f"the review is in {index}")
    return 0


def _review_notebooks(options: argparse.Namespace) -> int:
    from sim.show.review import ReviewError, build_review

    notebooks = sorted(options.notebooks.glob("*.ipynb"))
    if not notebooks:
        raise InputError(f"{options.notebooks}: there are no notebooks here")
    screen = console()
    out = options.out or Path("build/review")
    try:
        index = build_review(notebooks, out, fast=options.fast, progress=screen)
    except ReviewError as error:
        print(f"error: {error}", file=sys.stderr)
        if error.index is not None:
            print(f"the review, with the failed pages marked, is in {error.index}", file=sys.stderr)
        return 1
    screen.print(f"the review is in {index}")
    return 0


def _candidates(texts: list[str]) -> dict[str, Policy]:
    policies = {name: named_policies()[name] for name in DESIGNS}
    for text in texts:
        name = policy_name(text)
        if name in policies:
            raise InputError(f"--policy {text}: another candidate is called {name!r} already")
        policies[name] = policy_named_or_file(text)
    return policies


def _worlds(options: argparse.Namespace) -> dict[str, Scenario]:
    """The scenario, or it once with each trace, by the name of the trace."""
    worlds: dict[str, Scenario] = {}
    for trace in options.outages or [None]:
        alone = argparse.Namespace(**{**vars(options), "outages": trace})
        scenario = world_scenario(alone)
        name = scenario.name if trace is None else trace.stem
        if name in worlds:
            raise InputError(f"--outages {trace}: another trace is called {name!r} already")
        worlds[name] = scenario
    return worlds


def _played(
    name: str,
    scenario: Scenario,
    policies: Mapping[str, Policy],
    options: argparse.Namespace,
    runs: StoredRuns,
) -> Experiment:
    with progress_bar(name) as progress:
        return experiment(
            scenario,
            policies,
            seed=options.seed,
            replications=_replications(options),
            precision=wanted_precision(options.precision, difference_to=PREFERRED),
            replications_max=options.replications_max,
            executor=runs,
            progress=progress,
        )


def _varied(
    study: Experiment, options: argparse.Namespace, runs: StoredRuns
) -> dict[str, Experiment]:
    """The closest designs under other assumptions, with as many replications as the study has."""
    names = contenders(study, verdict(study).recommended)
    policies = {name: study.policies[name] for name in names}
    scenarios = variations(study.scenario)
    print(
        f"{len(scenarios)} variations, of {', '.join(names[1:])} beside {names[0]}",
        file=sys.stderr,
    )
    varied = {}
    for words, scenario in scenarios.items():
        with progress_bar(words) as progress:
            varied[words] = experiment(
                scenario,
                policies,
                seed=options.seed,
                replications=study.replications,
                executor=runs,
                progress=progress,
            )
    return varied


def _executor(options: argparse.Namespace) -> Processes | ThisProcess:
    workers = options.workers or os.cpu_count() or 1
    return ThisProcess() if workers == 1 else Processes(workers)


def _replications(options: argparse.Namespace) -> int:
    chosen: int | None = options.replications
    return chosen or (REPLICATIONS if options.fast else REVIEW_REPLICATIONS)


def _kept(store: RunStore) -> str:
    return f"{len(store)} finished runs are in {store.folder}; the same command plays the rest"


def _tell(verdicts: Mapping[str, Any]) -> None:
    for world, found in verdicts.items():
        doubts = ", ".join(found.not_told_apart)
        sure = f"not told from {doubts}" if doubts else "every other is clearly less available"
        console().print(f"{world}: {found.recommended}; {sure}")


def _command(options: argparse.Namespace) -> str:
    """What makes the same page again, wherever and by however many processes."""
    words = ["python", "-m", "sim", "review", options.scenario]
    for trace in options.outages or ():
        words += ["--outages", str(trace)]
    if options.outages:
        words += ["--full-outage", options.full_outage]
    for name in ("traffic", "speed_up", "primary"):
        value = getattr(options, name)
        if value is not None and (name != "speed_up" or options.traffic):
            words += [f"--{name.replace('_', '-')}", str(value)]
    for text in options.policies:
        words += ["--policy", text]
    words += ["--seed", str(options.seed), "--replications", str(_replications(options))]
    for measure, most, relative in options.precision:
        words += [
            "--precision",
            f"{measure}={100 * most:g}%" if relative else f"{measure}={most:g}",
        ]
    if options.precision:
        words += ["--replications-max", str(options.replications_max)]
    words += ["--objective", f"{options.objective:g}"]
    return shlex.join([*words, *(["--no-sensitivity"] if options.no_sensitivity else [])])
