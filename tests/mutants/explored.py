"""Searches for worlds that break an invariant, in the code that is imported here.

`python -m tests.mutants.explored` runs in a copy of the checkout with a fault in it. It prints one
line of JSON: the first seed whose world breaks an invariant, or with `--all` every such seed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from sim.explore.judging import drawn, judge


def main(arguments: Sequence[str] | None = None) -> None:
    """Search, and print what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.explored", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000)
    parser.add_argument("--all", action="store_true", help="do not end at the first violation")
    parser.add_argument("--pass-over", type=int, nargs="*", default=[], metavar="SEED")
    parser.add_argument("--disregard", nargs="*", default=[], metavar="TEXT")
    options = parser.parse_args(arguments)
    found = []
    for seed in range(options.seeds):
        if seed not in options.pass_over and (seen := broken(seed, options.disregard)):
            found.append(seen)
            if not options.all:
                break
    print(json.dumps(found))


def broken(seed: int, disregard: Sequence[str] = ()) -> dict[str, Any] | None:
    """Return what the world of a seed breaks first; `None` if it breaks nothing.

    Args:
        seed: of the world.
        disregard: violations that say one of these texts count for nothing.
    """
    violations = [
        each
        for each in judge(drawn(seed)).violations
        if not any(text in each.said for text in disregard)
    ]
    if not violations:
        return None
    return {"seed": seed, "invariant": violations[0].invariant, "said": violations[0].said}


if __name__ == "__main__":
    main()
