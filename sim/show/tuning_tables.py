"""A tuning as tables, for a terminal and a notebook: what is recommended, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sim.measures import MEASURES
from sim.show.markdown import MarkdownTable
from sim.show.sweep_words import mean_text, span_text
from sim.show.tables import number
from sim.study.grid import label, value_text
from sim.study.intervals import Interval
from sim.study.tune.objectives import measures_of
from sim.study.tune.search import BASE
from sim.study.tune.space import value_in
from sim.study.tune.tuning import Tuning
from sim.study.tune.verdict import Kept

_SHARES = {each.name for each in MEASURES if each.kind == "share"}


def change_table(tuning: Tuning) -> MarkdownTable:
    """One row for each searched setting: what it was, what the best trial had, and what it is."""
    best, set_back = (
        tuning.simplified.best,
        {each.name: each for each in tuning.simplified.set_back},
    )
    first = tuning.goals.objectives[0].measure
    rows = []
    for each in tuning.goals.space:
        name = each.name
        what = "changed" if name in tuning.changed else "as in the base policy"
        if name in set_back and name not in tuning.changed:
            what = f"set back: without it {first} is {difference_text(set_back[name].difference)}"
        rows.append(
            (
                name,
                value_text(value_in(tuning.goals.base, name)),
                value_text(best.point.get(name, value_in(best.policy, name))),
                value_text(value_in(tuning.policy, name)),
                what,
            )
        )
    return MarkdownTable(("setting", BASE, best.name, "recommended", ""), rows)


def front_table(tuning: Tuning) -> MarkdownTable:
    """One row for each point of the Pareto front, and for the base policy, on fresh seeds."""
    measures = measures_of(tuning.goals.objectives, tuning.goals.constraints)
    names = list(dict.fromkeys([*tuning.front, tuning.recommended, BASE]))
    rows = []
    for name in names:
        role = f"{name} (recommended)" if name == tuning.recommended else name
        cells = [interval_text(each, tuning.fresh.interval(name, each)) for each in measures]
        rows.append((role, *cells, label(tuning.changes_of(name)) or "none"))
    return MarkdownTable(("policy", *measures, "settings that differ from base"), rows)


def gain_table(tuning: Tuning) -> MarkdownTable:
    """One row for each measure: the base policy, the recommended one, and the paired difference."""
    rows = [
        (
            each.measure,
            interval_text(each.measure, each.base),
            interval_text(each.measure, each.policy),
            difference_text(each.difference),
        )
        for each in tuning.gains
    ]
    return MarkdownTable(("measure", BASE, "recommended", "difference, paired"), rows)


def constraint_table(tuning: Tuning) -> MarkdownTable:
    """One row for each candidate and constraint: whether it is kept, and by what margin."""
    rows = []
    for name, kept in tuning.kept.items():
        role = f"{name} (recommended)" if name == tuning.recommended else name
        rows += [(role, *_kept_cells(each)) for each in kept]
    return MarkdownTable(("policy", "constraint", "found", "margin", "verdict"), rows)


def check_table(tuning: Tuning) -> MarkdownTable:
    """One row for each other trace and constraint: met or missed, and by how much."""
    rows = []
    for trace in tuning.checked:
        for mine, base in zip(trace.kept, trace.base_kept, strict=True):
            found = interval_text(base.constraint.measure, base.interval)
            rows.append((trace.name, *_kept_cells(mine), f"{found}: {base.verdict}"))
    headings = ("trace", "constraint", "recommended", "margin", "verdict", BASE)
    return MarkdownTable(headings, rows)


def check_gain_table(tuning: Tuning) -> MarkdownTable:
    """One row for each other trace and objective: what the recommendation changes there."""
    wanted = {each.measure for each in tuning.goals.objectives}
    rows = [
        (
            trace.name,
            each.measure,
            interval_text(each.measure, each.base),
            interval_text(each.measure, each.policy),
            difference_text(each.difference),
        )
        for trace in tuning.checked
        for each in trace.gains
        if each.measure in wanted
    ]
    headings = ("trace", "objective", BASE, "recommended", "difference, paired")
    return MarkdownTable(headings, rows)


def effect_table(tuning: Tuning) -> MarkdownTable:
    """One row for each setting and value: what moving it there does to each measure.

    The last column is the setting's share of what set good trials apart, by PED-ANOVA; it is left
    out where there were too few trials to say.
    """
    measures = measures_of(tuning.goals.objectives, tuning.goals.constraints)
    found = {
        (each.name, value_text(each.value), each.measure): each.difference
        for each in tuning.effects
    }
    origin = {each.name: value_text(each.recommended) for each in tuning.effects}
    moved = dict.fromkeys((name, value) for name, value, _ in found)
    shares = tuning.importances
    rows = []
    for name, value in moved:
        cells = [difference_text(found[name, value, each]) for each in measures]
        share = (f"{shares.get(name, 0.0):.0%}",) if shares else ()
        rows.append((name, f"{origin[name]} → {value}", *cells, *share))
    last = ("share in good trials",) if shares else ()
    return MarkdownTable(("setting", "moved", *measures, *last), rows)


def tuning_notes(tuning: Tuning) -> list[str]:
    """What a reader must know to judge the tables."""
    searched, goals = tuning.searched, tuning.goals
    trials = searched.trials[1:]
    stopped = sum(1 for each in trials if each.stopped)
    several = "s" if len(tuning.kept) != 1 else ""
    search = (
        f"{len(trials)} trials of {searched.study.replications} replications on seed "
        f"{tuning.seed}, {stopped} of them stopped early; {tuning.played} runs played now"
    )
    fresh = (
        f"figures on seed {tuning.fresh_seed}, {tuning.fresh.replications} replications that the "
        "search has not met; 95% intervals; a constraint holds if the far end of its interval "
        "keeps it"
    )
    together = (
        "differences to the base policy hold together (Bonferroni), and so do the verdicts on "
        f"{len(tuning.kept)} candidate{several}"
    )
    lines = [search, fresh, together]
    if len(goals.objectives) > 1:
        lines.append(
            f"of several objectives the first decides ({goals.objectives[0].measure}); the next "
            "one among policies that are not clearly worse in it"
        )
    if tuning.checked:
        lines.append(
            "a recorded trace is one history: its intervals are of what else is random, and say "
            "nothing of other outages"
        )
    wrong = [
        name for name in tuning.fresh.policies if any(tuning.fresh.values(name, "wrong_answers"))
    ]
    lines += [f"DEFECT: policy {name} gave wrong answers; this must never be" for name in wrong]
    return lines


def verdict_text(tuning: Tuning) -> str:
    """The outcome in one sentence."""
    if not tuning.changed:
        found = "nothing found is clearly better than the base policy: keep it"
    else:
        found = f"recommended: {label(tuning.changed)}"
    failed = [str(each.constraint) for each in tuning.verdicts if each.verdict != "holds"]
    elsewhere = [trace.name for trace in tuning.checked if _fails(trace.kept)]
    if failed:
        found += f"; NOT SHOWN to keep {' and '.join(failed)}"
    if elsewhere:
        found += f"; misses a constraint on {', '.join(elsewhere)}"
    return found


def interval_text(measure: str, interval: Interval) -> str:
    """A mean and its interval; for a share without failure what confidence leaves."""
    mean, span = mean_text(measure, interval), span_text(measure, interval)
    return f"{mean} [{span.replace(' … ', ', ')}]" if span else mean


def difference_text(difference: Interval) -> str:
    """A difference with its sign, and its interval; `no difference` if no replication has one."""
    if math.isnan(difference.mean):
        return "none"
    if difference.mean == difference.low == difference.high == 0:
        return "no difference"
    mean, low, high = (
        number(end, signed=True) for end in (difference.mean, difference.low, difference.high)
    )
    return f"{mean} [{low}, {high}]"


def _kept_cells(kept: Kept) -> tuple[str, str, str, str]:
    return (
        str(kept.constraint),
        interval_text(kept.constraint.measure, kept.interval),
        "none" if math.isnan(kept.margin) else number(kept.margin, signed=True),
        kept.verdict,
    )


def _fails(kept: Sequence[Kept]) -> bool:
    return any(each.verdict != "holds" for each in kept)
