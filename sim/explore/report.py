"""What a search says of itself: in words, as the rows of a table, and as plain values for JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sim.explore.behaviours import BEHAVIOURS, GROUPS, PAIRS, SITUATIONS, behaviour
from sim.explore.rarefaction import Growth
from sim.explore.searching import End, Found, Search
from sim.explore.shrinking import size
from sim.explore.tally import Tally, new_in_the_next, share_max

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sim.explore.judging import Case

_ENDS = {
    End.SEEDS: "",
    End.VIOLATION: "; the search ends at the first seed that breaks something",
    End.BUDGET: "; the time was up",
    End.INTERRUPTED: "; interrupted, and nothing that was still being played counts",
}

_WORLDS_TO_FORETELL = 200
"""From so few worlds nothing is foretold: the estimates were tried from here on."""

_KINDS = {"behaviours": BEHAVIOURS, "pairs": PAIRS, "situations": SITUATIONS}
"""What is counted, from the plainest to the most."""

_ONES = {
    "operations": "operation",
    "restarts": "restart",
    "outages": "outage",
    "clock_steps": "clock step",
    "disk_faults": "disk fault",
    "keys": "key",
    "instances": "instance",
    "changed_settings": "setting that is not the default",
}
_MANY = {"changed_settings": "settings that are not the default"}


@dataclass(frozen=True, slots=True)
class CoverageRow:
    """What was reached of one group of behaviours.

    Attributes:
        group: its name.
        known: how many behaviours it has.
        reached: those that were reached and in how many worlds, the rarest first.
        never: those that were not.
    """

    group: str
    known: int
    reached: tuple[tuple[str, int], ...]
    never: tuple[str, ...]


def coverage(tally: Tally) -> list[CoverageRow]:
    """Return a row for each group of behaviours, and one for all pairs."""
    rows = [
        _row(group, {name: behaviour(group, name) for name in names}, tally)
        for group, names in GROUPS.items()
    ]
    return [*rows, _row("outage × meanwhile", {name: name for name in PAIRS}, tally)]


def searched_text(search: Search) -> str:
    """Say how much was searched."""
    tally, plan = search.tally, search.plan
    last = plan.first + search.seeds - 1
    seeds = f"seeds {plan.first} to {last}" if search.seeds > 1 else f"seed {plan.first}"
    if not search.seeds:
        return f"nothing was searched{_ENDS[search.end]}"
    speed = ""
    if search.wall_s is not None and search.seeds_per_s is not None:
        speed = f" in {search.wall_s:.1f} s ({search.seeds_per_s:,.0f} seeds a second)"
    text = (
        f"{seeds}, {tally.worlds:,} worlds{speed}: {tally.operations:,} operations, "
        f"{tally.happenings:,} happenings, {tally.virtual_s / 3600:,.1f} h of virtual time"
    )
    return text + _ENDS[search.end]


def verdict_text(search: Search) -> str:
    """Say what follows from it, no more than that."""
    worlds = search.tally.worlds
    if search.found is not None:
        return f"{place_text(search.found)} breaks {search.found.verdict.violations[0].invariant}"
    if not worlds:
        return "nothing is known"
    which = f"invariant {search.plan.only}" if search.plan.only else "any invariant"
    return (
        f"no world broke {which}; with 95% confidence fewer than {_share(share_max(worlds))} of "
        "the worlds that are drawn like these do"
    )


def unseen_text(tally: Tally) -> str:
    """Say what was never reached and how rare it must be, of at least one world."""
    never = (*tally.never(), *tally.pairs_never())
    text = f"all {len(BEHAVIOURS)} behaviours and {len(PAIRS)} pairs were reached"
    if never:
        text = (
            f"what was never reached is in fewer than {_share(share_max(tally.worlds))} of such "
            "worlds (95%), or cannot be"
        )
    situations = sum(each in tally.times for each in SITUATIONS)
    text = f"{text}; {situations} situations (outage, breaker, what happens) were seen"
    if tally.worlds < _WORLDS_TO_FORETELL:
        return text
    growth = Growth.of(tally, SITUATIONS)
    new = growth.after(tally.worlds + 1000).mean - situations
    return f"{text}, and 1,000 worlds more would show {new:,.0f} new ones, or more"


def place_text(found: Found) -> str:
    """Say which world it is."""
    return f"seed {found.seed}{found.grounds.said}"


def size_text(case: Case) -> str:
    """Say of what a case consists: "4 operations, 1 outage, 1 key, 1 instance"."""
    parts = []
    for name, many in size(case).items():
        if many:
            plural = _MANY.get(name, _ONES[name] + "s")
            parts.append(f"{many} {_ONES[name] if many == 1 else plural}")
    return ", ".join(parts)


def as_json(search: Search, *, kept: str | None = None) -> dict[str, Any]:
    """Return all that is known of a search as plain values.

    Args:
        search: what was done.
        kept: the file that what it found was written to.
    """
    tally, plan = search.tally, search.plan
    return {
        "first_seed": plan.first,
        "seeds": search.seeds,
        "grounds": [each.name or None for each in plan.grounds],
        "policy": "drawn" if plan.policy is None else "given",
        "only": plan.only,
        "end": search.end.value,
        "wall_s": search.wall_s,
        "seeds_per_s": search.seeds_per_s,
        "worlds": tally.worlds,
        "incomplete": tally.incomplete,
        "operations": tally.operations,
        "happenings": tally.happenings,
        "virtual_s": tally.virtual_s,
        "unseen_share_max": share_max(tally.worlds),
        "behaviours": _reached(BEHAVIOURS, tally),
        "pairs": _reached(PAIRS, tally),
        "situations": [each for each in _reached(SITUATIONS, tally) if each["worlds"]],
        "growth": {name: tally.growth(names) for name, names in _KINDS.items()},
        "new_in_the_next": {
            name: new_in_the_next(tally, names) if tally.worlds else None
            for name, names in _KINDS.items()
        },
        "found": None if search.found is None else _found(search.found, kept),
    }


def _found(found: Found, kept: str | None) -> dict[str, Any]:
    return {
        "seed": found.seed,
        "scenario": found.grounds.name or None,
        "violations": [
            {
                "invariant": each.invariant,
                "at_s": each.at_s,
                "said": each.said,
                "key_id": each.key_id,
                "instance": each.instance,
            }
            for each in found.verdict.violations
        ],
        "size": size(found.case),
        "file": kept,
    }


def _reached(names: Iterable[str], tally: Tally) -> list[dict[str, Any]]:
    return [
        {"name": name, "worlds": tally.times[name], "first_seed": tally.first.get(name)}
        for name in names
    ]


def _row(group: str, names: dict[str, str], tally: Tally) -> CoverageRow:
    times = {name: tally.times[full] for name, full in names.items()}
    return CoverageRow(
        group=group,
        known=len(names),
        reached=tuple(sorted(((n, k) for n, k in times.items() if k), key=lambda each: each[1])),
        never=tuple(name for name, many in times.items() if not many),
    )


def _share(share: float) -> str:
    """A small share as people say it: "1 in 1,000", or "9%" of few."""
    return f"1 in {1 / share:,.0f}" if share < 0.01 else f"{100 * share:.0f}%"
