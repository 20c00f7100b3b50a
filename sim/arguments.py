"""What the commands of `python -m sim` share: how arguments are read, and where output goes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftrepo.designs import named_policies
from sim.measures import MEASURES
from sim.study.precision import REPLICATIONS_MAX, Precision
from sim.world.access_log import read_access_log
from sim.world.errors import InputError
from sim.world.outage_trace import read_trace
from sim.world.outages import PARTIAL, OutageMode
from sim.world.scenario_file import load_scenario, with_primary
from sim.world.streams import WORD_MAX, Streams

if TYPE_CHECKING:
    from rich.console import Console

    from sim.world.scenario import Scenario

INTERRUPTED = 130
"""The exit code of a program that Ctrl-C ended, by the custom of shells."""

MANY_REQUESTS = 10_000_000
"""From so many on it is worth saying beforehand that a study will take long."""


def add_scenario(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """Add the argument that names a scenario."""
    parser.add_argument(
        "scenario",
        metavar="SCENARIO",
        nargs="?" if optional else None,
        help="a name (see `python -m sim scenarios`) or a TOML file",
    )


def add_policy(parser: argparse.ArgumentParser) -> None:
    """Add the option that names one policy."""
    parser.add_argument(
        "--policy",
        default="default",
        metavar="POLICY",
        help=f"a name ({', '.join(named_policies())}) or a TOML file; default: %(default)s",
    )


def add_world(
    parser: argparse.ArgumentParser, *, optional: bool = False, several_traces: bool = False
) -> None:
    """Add a scenario, and what may take the place of its outages, traffic and primary.

    Args:
        parser: of the command.
        optional: whether the command does something without a scenario, too.
        several_traces: whether `--outages` may be repeated.
    """
    add_scenario(parser, optional=optional)
    world = parser.add_argument_group("your own world")
    world.add_argument(
        "--outages",
        type=Path,
        action="append" if several_traces else "store",
        metavar="FILE.csv",
        help="a recorded trace (start_time,end_time,status), in place of the scenario's outages"
        + ("; may be repeated, for one world each" if several_traces else ""),
    )
    world.add_argument(
        "--full-outage",
        choices=[mode.value for mode in OutageMode if mode not in PARTIAL],
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
        type=positive,
        default=1.0,
        metavar="FACTOR",
        help="the access log's pattern passes so many times faster; default: %(default)s",
    )
    world.add_argument(
        "--primary",
        type=Path,
        metavar="FILE.toml",
        help="how fast the primary is, as `calibrate` wrote it",
    )


def add_seed_and_workers(parser: argparse.ArgumentParser) -> Any:
    """Add the seed and the processes of a study, and return their group of options."""
    study = parser.add_argument_group("the study")
    study.add_argument("--seed", type=seed, default=1, metavar="N", help="default: %(default)s")
    study.add_argument(
        "--workers", type=count, metavar="N", help="processes; default: one for each processor"
    )
    return study


def add_precision(study: Any) -> None:
    """Add to a study's group of options how narrow its intervals must be."""
    study.add_argument(
        "--precision",
        type=width,
        action="append",
        default=[],
        metavar="MEASURE=HALF_WIDTH",
        help="add runs until the interval is so narrow: availability=0.001, or 5%% for a share of "
        "the mean; may be repeated; of several policies it means the paired differences",
    )
    study.add_argument(
        "--replications-max",
        type=count,
        default=REPLICATIONS_MAX,
        metavar="N",
        help="where --precision gives up; default: %(default)s",
    )


def wanted_precision(
    widths: Sequence[tuple[str, float, bool]], *, difference_to: str | None
) -> list[Precision]:
    """Return what --precision asks for.

    Args:
        widths: as `width` reads them.
        difference_to: the policy that differences are taken to; `None` for the figures themselves.

    Raises:
        InputError: there is no such measure.
    """
    known = [each.name for each in MEASURES]
    precision = []
    for measure, most, relative in widths:
        if measure not in known:
            raise InputError(f"--precision {measure}: the measures are {', '.join(known)}")
        precision.append(
            Precision(
                measure=measure,
                half_width=None if relative else most,
                relative=most if relative else None,
                difference_to=difference_to,
            )
        )
    return precision


def policy_name(text: str) -> str:
    """Return what a policy is called in tables: its name, or that of its file."""
    return text if text in named_policies() else Path(text).stem


def world_scenario(options: argparse.Namespace) -> Scenario:
    """Return the scenario that the options of `add_world` ask for.

    Raises:
        InputError: one of its files cannot be read, or says what cannot be.
    """
    scenario = load_scenario(options.scenario)
    if options.primary is not None:
        scenario = with_primary(scenario, options.primary)
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


def warn_of_many_requests(scenario: Scenario, options: argparse.Namespace, *, runs: int) -> None:
    """Say beforehand, on standard error, if a study will take long."""
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


@contextmanager
def progress_bar(
    what: str, *, units: str = "runs", speed: bool = False
) -> Iterator[Callable[[int, int | None], None] | None]:
    """A progress bar on standard error, if that is a terminal.

    Args:
        what: is done.
        units: of what is counted.
        speed: whether it says how many there are a second.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
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
        units,
        *([_speed_column()] if speed else []),
        TimeElapsedColumn(),
        "left:",
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _speed_column() -> Any:
    from rich.progress import ProgressColumn, Task  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    class PerSecond(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:,.0f}/s" if task.speed else "", style="dim")

    return PerSecond()


def add_store(output: Any) -> None:
    """Add the option that says where finished runs are kept, to a group of options."""
    output.add_argument(
        "--store",
        type=Path,
        default=Path("build/runs"),
        metavar="DIR",
        help="where finished runs are kept, for every study to find, and to go on from after an "
        "interruption; default: %(default)s",
    )


def console() -> Console:
    """Return where tables go."""
    from rich.console import Console  # noqa: PLC0415  `--help` takes no second

    # A table in a file or a pipe should not be cut to the width of no terminal.
    return Console(width=None if sys.stdout.isatty() else 200, highlight=False)


def seed(text: str) -> int:
    """Read a seed: a whole number, zero included."""
    return _whole_number(text, least=0)


def count(text: str) -> int:
    """Read a count: a whole number, at least 1."""
    return _whole_number(text, least=1)


def positive(text: str) -> float:
    """Read a finite number above zero."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a finite number above 0")
    return number


def width(text: str) -> tuple[str, float, bool]:
    """Read MEASURE=HALF_WIDTH: the measure, the width, and if that is a share of the mean (%)."""
    measure, separator, most = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is not MEASURE=HALF_WIDTH")
    relative = most.endswith("%")
    number = positive(most.removesuffix("%"))
    return measure, number / 100 if relative else number, relative


def _whole_number(text: str, *, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
    if not least <= number <= WORD_MAX:
        raise argparse.ArgumentTypeError(f"{number} is not between {least} and {WORD_MAX}")
    return number
