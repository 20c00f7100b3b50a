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
from sim.study.nines import alike_statement, unlike_share
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
            what = f"set back; difference in {first}: {difference_text(set_back[name].difference)}"
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
    if tuning.recommended != next(iter(tuning.kept)):
        lines.append(
            f"{next(iter(tuning.kept))} was preferred, and not shown to keep every constraint on "
            "these runs; so the differences are of a policy that was chosen on them, and may be "
            "larger than the truth"
        )
    lines += _none_seen(tuning)
    if len(goals.objectives) > 1:
        lines.append(
            f"of several objectives the first decides ({goals.objectives[0].measure}); the next "
            "one among policies that are not clearly worse in it"
        )
    if tuning.checked:
        lines.append(
            "a recorded trace is one history: its intervals are of what else is random, and say "
            "nothing of other outages; verdicts on all traces hold together, differences those of "
            "one trace"
        )
    studies = {"": tuning.fresh} | {f" on {each.name}": each.study for each in tuning.checked}
    return lines + [
        f"DEFECT: policy {name} gave wrong answers{where}; this must never be"
        for where, study in studies.items()
        for name in study.policies
        if any(value > 0 for value in study.values(name, "wrong_answers"))
    ]


def _none_seen(tuning: Tuning) -> list[str]:
    """What it means that something which must never happen was not seen."""
    runs = tuning.fresh.replications
    return [
        f"{each}: no number of runs shows that there is never one; of {runs} without, at most "
        f"{100 * unlike_share(runs):.0f} of 100 others have one, and the interval's end is for one "
        "at a time"
        for each in tuning.goals.constraints
        if each.is_never
    ]


def verdict_text(tuning: Tuning) -> str:
    """The outcome in one sentence."""
    if not tuning.changed:
        found = "nothing found is clearly better than the base policy: keep it"
    else:
        found = f"recommended: {label(tuning.changed)}"
        found += _against_base(tuning)
    if failed := _not_kept(tuning.verdicts):
        found += f"; NOT SHOWN to keep {failed}"
    for trace in tuning.checked:
        if failed := _not_kept(trace.kept):
            found += f"; on {trace.name} NOT SHOWN to keep {failed}"
    return found


def _against_base(tuning: Tuning) -> str:
    """In which objectives the recommendation is clearly better than the base policy, or worse."""
    differences = {each.measure: each.difference for each in tuning.gains}
    better, worse = [], []
    for each in tuning.goals.objectives:
        if each.clearly_better(differences[each.measure]):
            better.append(each.measure)
        elif each.clearly_worse(differences[each.measure]):
            worse.append(each.measure)
    words = f"clearly better than the base policy in {', '.join(better)}"
    if not better:
        words = "NOT SHOWN to be better than the base policy in any objective"
    needed = [
        str(mine.constraint)
        for mine, its in zip(tuning.verdicts, tuning.kept[BASE], strict=True)
        if mine.holds and not its.holds
    ]
    if needed:
        words += f"; keeps {' and '.join(needed)}, which the base policy is not shown to"
    return f"; {words}" + (f"; clearly worse in {', '.join(worse)}" if worse else "")


def _not_kept(kept: Sequence[Kept]) -> str:
    """The constraints that are not shown to hold, each with how far it is missed; may be empty."""
    words = []
    for each in kept:
        if each.holds:
            continue
        if math.isnan(each.margin):
            how = "no interval"
        else:
            broken = "broken, and " if each.verdict == "broken" else ""
            how = f"{broken}missed by {number(-each.margin)} at the interval's far end"
        words.append(f"{each.constraint} ({how})")
    return " and ".join(words)


def interval_text(measure: str, interval: Interval) -> str:
    """A mean and its interval; for a share without failure what confidence leaves.

    Where all runs gave the same figure there is no interval, and that is said.
    """
    if alike_statement(interval):
        return f"{number(interval.mean)} in all {interval.replications} runs"
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
