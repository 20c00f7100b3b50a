"""The command `explore`: thousands of hostile worlds, and the smallest that breaks something."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time  # noqa: TID251  a budget is in real seconds
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftrepo.designs import named_policies, policy_named_or_file
from sim.arguments import (
    INTERRUPTED,
    add_scenario,
    console,
    count,
    positive,
    progress_bar,
    seed,
)
from sim.explore import timeline
from sim.explore.happenings import Asked
from sim.explore.judging import Verdict, names_of_invariants
from sim.explore.report import (
    as_json,
    coverage,
    place_text,
    searched_text,
    size_text,
    unseen_text,
    verdict_text,
)
from sim.explore.searching import SEEDS, End, Found, Grounds, Plan, Search, search
from sim.explore.smallest import Smallest, file_name, judged_again, smallest
from sim.explore.world_file import Kept, player_digest, read_kept, write_kept
from sim.study.parallel import WorkersLostError
from sim.world.errors import InputError
from sim.world.scenario_file import load_scenario, named_scenarios

if TYPE_CHECKING:
    from rich.console import Console

    from sim.explore.happenings import Chronicle, Violation
    from sim.explore.tally import Tally

BROKEN = 1
"""The exit code if an invariant was broken."""

_RAREST = 6
"""How many of a group's behaviours the table names, those seen least; the JSON has every one."""

_STORIES = 2
"""So many keys have their story told where a violation concerns none in particular."""

_EXAMPLES = f"""\
Each seed is one world: a few dozen calls, and all that may go wrong meanwhile. Without SCENARIO
everything is drawn; with one, primary, instances and journal are as it says. Without --policy that
is drawn, too.

examples:
  python -m sim explore
  python -m sim explore fleet --policy policy.toml --budget 60
  python -m sim explore --all --seeds 200 --json build/explore.json
  python -m sim explore --replay build/explore/seed-17-durability.json

The exit code is {BROKEN} if an invariant was broken.
"""


def add_command(commands: Any) -> None:
    """Add it to the parser of `python -m sim`."""
    parser = commands.add_parser(
        "explore",
        help="search thousands of hostile worlds for one that breaks an invariant",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_scenario(parser, optional=True)
    _add_plan(parser)
    parser.add_argument(
        "--workers", type=count, metavar="N", help="processes; default: one for each processor"
    )
    parser.add_argument(
        "--replay", type=Path, metavar="FILE", help="play the world of a file, and nothing else"
    )
    output = parser.add_argument_group("output")
    output.add_argument("--json", type=Path, metavar="FILE", help="write all figures as JSON")
    output.add_argument(
        "--keep",
        type=Path,
        default=Path("build/explore"),
        metavar="DIR",
        help="where the world that was found is kept; default: %(default)s",
    )
    parser.set_defaults(command=_explore)


def _add_plan(parser: argparse.ArgumentParser) -> None:
    plan = parser.add_argument_group("what is searched")
    plan.add_argument(
        "--all",
        action="store_true",
        help="each seed in every named scenario, and once with everything drawn",
    )
    plan.add_argument(
        "--seeds",
        type=count,
        metavar="N",
        help=f"how many; default: {SEEDS}, or as many as the budget allows",
    )
    plan.add_argument(
        "--from", type=seed, default=0, dest="first", metavar="SEED", help="default: %(default)s"
    )
    plan.add_argument(
        "--budget", type=positive, metavar="SECONDS", help="after how long nothing more is begun"
    )
    plan.add_argument(
        "--policy",
        metavar="POLICY",
        help=f"a name ({', '.join(named_policies())}) or a TOML file; default: drawn",
    )
    plan.add_argument("--only", metavar="INVARIANT", help="the one that counts; default: all")


def _explore(options: argparse.Namespace) -> int:
    if options.only is not None and options.only not in names_of_invariants():
        raise InputError(
            f"--only {options.only}: the invariants are {', '.join(names_of_invariants())}"
        )
    if options.replay is not None:
        return _replay(options)
    if options.json is not None:
        # Before the search, not after it, for what cannot be written.
        options.json.parent.mkdir(parents=True, exist_ok=True)
        if options.json.is_dir():
            raise InputError(f"--json {options.json}: a folder; give a file in it")
    done = _searched(options)
    screen = console()
    _print_plain(searched_text(done))
    shrunk = None
    if done.found is None:
        _print_coverage(screen, done.tally)
    else:
        with progress_bar("shrinking", units="plays", speed=True) as progress:
            shrunk = smallest(done.found, progress=progress)
        path = options.keep / file_name(done.found)
        _print_found(screen, done.found, shrunk, path)
        write_kept(path, shrunk.kept)
    if options.json:
        text = json.dumps(as_json(done, kept=str(path) if shrunk else None), indent=1)
        options.json.write_text(text + "\n", encoding="utf-8")
        screen.print(f"figures as JSON in {options.json}", style="dim")
    screen.print(verdict_text(done), style="bold red" if done.found else "bold")
    if done.end is End.INTERRUPTED or (shrunk is not None and shrunk.interrupted):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    return BROKEN if done.found else 0


def _searched(options: argparse.Namespace) -> Search:
    plan = _plan(options)
    try:
        with progress_bar("exploring", units="worlds", speed=True) as progress:
            return search(
                plan,
                now=time.monotonic,
                workers=options.workers,
                budget_s=options.budget,
                progress=progress,
            )
    except WorkersLostError as error:
        raise InputError(str(error)) from error


def _plan(options: argparse.Namespace) -> Plan:
    if options.all and options.scenario:
        raise InputError(f"--all has {options.scenario} among others; give one of the two")
    grounds = [Grounds()]
    if options.scenario:
        scenario = load_scenario(options.scenario)
        grounds = [Grounds(name=options.scenario, within=scenario)]
    elif options.all:
        grounds += [Grounds(name=each, within=load_scenario(each)) for each in named_scenarios()]
    seeds = options.seeds
    if seeds is None and options.budget is None:
        seeds = SEEDS
    return Plan(
        grounds=tuple(grounds),
        policy=None if options.policy is None else policy_named_or_file(options.policy),
        only=options.only,
        first=options.first,
        seeds=seeds,
    )


def _print_coverage(screen: Console, tally: Tally) -> None:
    from rich.table import Table

    if not tally.worlds:
        return
    table = Table(title="what was reached", title_justify="left")
    table.add_column("of")
    table.add_column("reached", justify="right")
    table.add_column("the rarest, and in how many worlds", overflow="fold")
    table.add_column("never", overflow="fold")
    for row in coverage(tally):
        rarest = ", ".join(f"{name} {many:,}" for name, many in row.reached[:_RAREST])
        never = ", ".join(row.never[: 2 * _RAREST])
        if len(row.never) > 2 * _RAREST:
            never += f" and {len(row.never) - 2 * _RAREST} more"
        table.add_row(row.group, f"{len(row.reached)} of {row.known}", rarest, never)
    screen.print(table)
    screen.print(unseen_text(tally), style="dim")


def _print_found(screen: Console, found: Found, shrunk: Smallest, path: Path) -> None:
    violation = found.verdict.violations[0]
    screen.print(f"\n{place_text(found)} breaks {violation.invariant}", style="bold red")
    _print_plain(f"{violation.at_s:.3f} s: {violation.said}")
    _print_plain(f"it has {size_text(found.case)}")
    _print_plain(f"made smaller in {shrunk.plays} plays: {size_text(shrunk.kept.case)}")
    if shrunk.exhausted:
        _print_plain("that was as many plays as there may be; it might get smaller still")
    for each in shrunk.verdict.violations[:1]:
        _print_story(screen, shrunk.verdict, each)
    command = ["python", "-m", "sim", "explore", "--replay", str(path)]
    _print_plain(f"to play it again: {shlex.join(command)}\n")


def _print_story(screen: Console, verdict: Verdict, violation: Violation) -> None:
    screen.print(f"\n{violation.at_s:.3f} s: {violation.invariant}", style="bold red")
    _print_plain(violation.said)
    _print_timelines(verdict.chronicle, violation)


def _print_timelines(chronicle: Chronicle | None, violation: Violation) -> None:
    """The story of the key concerned; if it is none in particular, of those that come first."""
    if chronicle is None:
        return
    known = dict.fromkeys(each.key_id for each in chronicle.happenings if isinstance(each, Asked))
    key_ids = [each for each in known if each is not None][:_STORIES]
    for key_id in key_ids if violation.key_id is None else [violation.key_id]:
        _print_plain(timeline.of_key(chronicle, key_id))


def _replay(options: argparse.Namespace) -> int:
    of_a_search = {
        "SCENARIO": options.scenario,
        "--all": options.all,
        "--seeds": options.seeds,
        "--from": options.first,
        "--budget": options.budget,
        "--policy": options.policy,
        "--workers": options.workers,
        "--json": options.json,
    }
    given = [name for name, value in of_a_search.items() if value]
    if given:
        raise InputError(f"--replay plays one file as it is; it goes without {', '.join(given)}")
    kept = read_kept(options.replay)
    verdict = judged_again(kept.case, only=options.only)
    screen = console()
    _print_plain(f"{kept.about}\n{size_text(kept.case)}")
    for each in verdict.violations[:1]:
        _print_story(screen, verdict, each)
    others = len(verdict.violations) - 1
    if others > 0:
        _print_plain(f"and {others} more: " + ", ".join(_names(verdict)))
    if not verdict.violations:
        screen.print("no invariant is broken", style="bold")
        if kept.violation is not None:
            _print_timelines(verdict.chronicle, kept.violation)
    same = _compared(kept, verdict)
    if same:
        _print_plain(same)
    return BROKEN if verdict.violations or same == _ANOTHER else 0


_ANOTHER = (
    "another history than when the file was written, by the same code: it is not reproducible"
)


def _compared(kept: Kept, verdict: Verdict) -> str:
    """Say whether the history is the one that was seen when the file was written."""
    if kept.digest is None:
        return ""
    if kept.digest == verdict.digest:
        return "the same history as when the file was written, to the bit"
    if kept.code == player_digest():
        return _ANOTHER
    return "another history than when the file was written: the code has changed since"


def _names(verdict: Verdict) -> list[str]:
    return sorted({each.invariant for each in verdict.violations})


def _print_plain(text: str) -> None:
    """Text with brackets and long lines, which are not to be touched."""
    print(text)
