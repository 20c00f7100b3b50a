"""Tables of a search through hostile worlds: what it reached, and the stories of what it found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sim.explore.invariants import INVARIANTS
from sim.explore.judging import COMPLETION, DETERMINISM
from sim.explore.planted import Hunt
from sim.explore.report import coverage, size_text
from sim.explore.tally import Tally
from sim.explore.world_file import Kept
from sim.show.markdown import MarkdownTable
from sim.study.intervals import Interval

RAREST = 3
"""How many of a group's behaviours are named, those that were seen least."""


def invariant_table() -> MarkdownTable:
    """One row for each invariant, the gravest first: what holds in every world."""
    rows = [(each.name, each.says) for each in INVARIANTS]
    rows.append((COMPLETION, "Every play comes to an end, without an error that nobody caught."))
    rows.append((DETERMINISM, "Of one world and one policy there is one history, to the bit."))
    return MarkdownTable(("invariant", "what holds in every world"), rows)


def coverage_table(tally: Tally) -> MarkdownTable:
    """One row for each group of behaviours: how many were reached, the rarest, and what never was.

    Args:
        tally: of at least one world.
    """
    rows = []
    for row in coverage(tally):
        rarest = ", ".join(f"{name} ({many:,})" for name, many in row.reached[:RAREST])
        never = ", ".join(row.never)
        rows.append((row.group, f"{len(row.reached)} of {row.known}", rarest, never or "nothing"))
    return MarkdownTable(("of", "reached", "rarest, in how many worlds", "never"), rows)


def story_table(worlds: Iterable[Kept]) -> MarkdownTable:
    """One row for each kept world: what was wrong, what it broke, and where it was found."""
    rows = []
    for kept in worlds:
        broken = "" if kept.violation is None else kept.violation.invariant
        seed = "" if kept.origin is None else f"{kept.origin.seed:,}"
        rows.append((kept.about, broken, seed, size_text(kept.case)))
    return MarkdownTable(("what was wrong", "what it broke", "seed then", "made as small as"), rows)


def hunt_table(hunts: Mapping[str, Hunt]) -> MarkdownTable:
    """One row for each fault that was put in: when it was found, as what, and how often it shows.

    Args:
        hunts: by what is wrong, in words.
    """
    rows = []
    for words, each in hunts.items():
        found, small = each.search.found, each.smallest
        if found is None or small is None:
            rows.append((words, f"not in {each.search.seeds:,}", "", _share(each.share), ""))
            continue
        broken = found.verdict.violations[0].invariant
        size = size_text(small.kept.case)
        rows.append((words, f"{each.search.seeds:,}", broken, _share(each.share), size))
    headings = ("what was put in", "seeds until it is found", "what it breaks")
    return MarkdownTable((*headings, "worlds that show it", "made as small as"), rows)


def _share(share: Interval) -> str:
    return f"{share.mean:.1%} [{share.low:.1%}, {share.high:.1%}]"
