"""From a world that a search found to its smallest form, ready to be kept in a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sim.explore.judging import DETERMINISM, judge
from sim.explore.shrinking import PLAYS_MAX, Shrinking, breaks_like, is_alike
from sim.explore.world_file import Kept, Origin, player_digest

if TYPE_CHECKING:
    from sim.explore.happenings import Violation
    from sim.explore.judging import Case, Verdict
    from sim.explore.searching import Found


@dataclass(frozen=True, slots=True, kw_only=True)
class Smallest:
    """What became of a world that was found.

    Attributes:
        kept: what its file is to hold.
        verdict: of the small world.
        plays: how many it took.
        exhausted: whether it stopped for want of plays.
        interrupted: whether Ctrl-C cut it short.
    """

    kept: Kept
    verdict: Verdict
    plays: int
    exhausted: bool
    interrupted: bool


def smallest(
    found: Found,
    *,
    plays_max: int = PLAYS_MAX,
    progress: Callable[[int, int], None] | None = None,
) -> Smallest:
    """Make a world smaller that broke an invariant, until Ctrl-C is pressed at the latest.

    Args:
        found: the world; of its violations the first one counts.
        plays_max: how many plays there may be.
        progress: is told how many plays there were, and of at most how many.
    """
    violation = found.verdict.violations[0]
    shrinking = Shrinking(
        found.case, breaks_like(violation), plays_max=plays_max, progress=progress
    )
    interrupted = False
    try:
        shrinking.run()
    except KeyboardInterrupt:
        interrupted = True
    verdict = _with_first(judged_again(shrinking.best, only=violation.invariant), violation)
    seen = verdict.violations[0] if verdict.violations else violation
    kept = Kept(
        about=seen.said,
        case=shrinking.best,
        origin=Origin(seed=found.seed, scenario=found.grounds.name),
        violation=seen,
        digest=verdict.digest,
        code=player_digest(),
    )
    return Smallest(
        kept=kept,
        verdict=verdict,
        plays=shrinking.plays,
        exhausted=shrinking.exhausted,
        interrupted=interrupted,
    )


def _with_first(verdict: Verdict, violation: Violation) -> Verdict:
    """Return a verdict with what is like a violation before whatever else was seen."""
    in_order = sorted(verdict.violations, key=lambda each: not is_alike(each, violation))
    return replace(verdict, violations=tuple(in_order))


def judged_again(case: Case, *, only: str | None) -> Verdict:
    """Judge a case that is known, with a second play if that may count."""
    return judge(case, only=only, twice=only in (None, DETERMINISM))


def file_name(found: Found) -> str:
    """Return how the file of a world is called: by scenario, seed and invariant."""
    scenario = Path(found.grounds.name).stem
    invariant = found.verdict.violations[0].invariant.replace(" ", "-")
    return "-".join(filter(None, (scenario, f"seed-{found.seed}", invariant))) + ".json"
