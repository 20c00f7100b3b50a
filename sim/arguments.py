"""What the commands of `python -m sim` share: how arguments are read, and where output goes."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from ftrepo.policy import named_policies
from sim.world.streams import WORD_MAX

if TYPE_CHECKING:
    from rich.console import Console


def add_scenario(parser: argparse.ArgumentParser) -> None:
    """Add the argument that names a scenario."""
    parser.add_argument(
        "scenario", metavar="SCENARIO", help="a name (see `python -m sim scenarios`) or a TOML file"
    )


def add_policy(parser: argparse.ArgumentParser) -> None:
    """Add the option that names one policy."""
    parser.add_argument(
        "--policy",
        default="default",
        metavar="POLICY",
        help=f"a name ({', '.join(named_policies())}) or a TOML file; default: %(default)s",
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


def _whole_number(text: str, *, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
    if not least <= number <= WORD_MAX:
        raise argparse.ArgumentTypeError(f"{number} is not between {least} and {WORD_MAX}")
    return number
