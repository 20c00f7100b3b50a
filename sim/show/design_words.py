"""A design review in words: every sentence is computed from the figures that it states."""

from __future__ import annotations

import math
from collections.abc import Mapping

from sim.show.markdown import MarkdownTable
from sim.study.designs import Trade, Verdict, trades, verdict
from sim.study.experiment import Experiment
from sim.study.intervals import CONFIDENCE, Interval
from sim.study.nines import harm_statement, nines_statement

_PHRASES = {
    "create_availability": "{mine} of its new keys are acknowledged instead of {theirs}",
    "lost_keys": "{mine} keys a run are lost instead of {theirs}",
    "expired_pending_keys": "{mine} keys a run expire unwritten instead of {theirs}",
    "sync_lag_p99_s": "1 key in 100 waits {mine} s for the primary instead of {theirs} s",
    "visibility_lag_p99_s": "1 key in 100 is seen by all after {mine} s instead of {theirs} s",
    "cache_entries_max": "{mine} keys are in memory instead of {theirs}",
    "primary_attempts_during_outage_per_s": "a failing primary is called {mine} times a second "
    "instead of {theirs}",
    "primary_attempts_after_outage_per_s": "a primary that has just returned is called {mine} "
    "times a second instead of {theirs}",
    "get_latency_p99_s": "1 get in 100 takes {mine} s instead of {theirs} s",
}


def gives_up(study: Experiment, policy: str, recommended: str, *, availability: bool = True) -> str:
    """What a design gives up against the recommended one, and what it gains: clear ones only.

    Args:
        study: both designs, and the others that the intervals have to hold for.
        policy: the design.
        recommended: the other.
        availability: whether that is told too.
    """
    rows = trades(study, policy, recommended)
    if not availability:
        rows = [each for each in rows if each.measure != "availability"]
    worse = "; ".join(_phrase(each) for each in rows if each.better is False)
    better = "; ".join(_phrase(each) for each in rows if each.better)
    parts = [f"Gives up: {worse}." if worse else "", f"Gains: {better}." if better else ""]
    none = "No clear difference in any figure." if availability else "No other clear difference."
    return " ".join(filter(None, parts)) or none


def design_table(study: Experiment, found: Verdict) -> MarkdownTable:
    """One row for each design: how often it fails, how much more often, and what it gives up."""
    recommended = found.recommended
    rows = []
    for name in [recommended, *(each for each in study.policies if each != recommended)]:
        share = failed_words(study.interval(name, "availability"))
        if name == recommended:
            rows.append((f"**`{name}`**", share, "", "recommended"))
            continue
        compared = found.against(name)
        more = difference_words(compared.difference)
        text = gives_up(study, name, recommended, availability=False)
        clear = compared.difference.excludes_zero()
        shown = f"**{more}**" if clear else f"{more}, may be chance"
        rows.append((f"`{name}`", share, shown, text))
    headings = ("design", "get calls that fail", f"more than {recommended}", "and besides")
    return MarkdownTable(headings, rows)


def recommendation(
    studies: Mapping[str, Experiment], *, preferred: str, objective: float
) -> list[str]:
    """The recommendation with its confidence, as Markdown paragraphs, the choice first.

    Args:
        studies: by the name of their world; all with the same designs.
        preferred: the design that was preferred beforehand.
        objective: the availability that is wanted.
    """
    verdicts = {world: verdict(study, preferred) for world, study in studies.items()}
    chosen = list(dict.fromkeys(each.recommended for each in verdicts.values()))
    lines = [_choice(chosen, verdicts)]
    for world, found in verdicts.items():
        lines.append(f"- **{world}**: {_evidence(studies[world], found, objective)}")
    return [lines[0], "\n".join(lines[1:])]


def _choice(chosen: list[str], verdicts: Mapping[str, Verdict]) -> str:
    if len(chosen) > 1:
        best = ", ".join(f"`{found.recommended}` in {world}" for world, found in verdicts.items())
        return f"**No one design is best everywhere: take {best}, or decide which world counts.**"
    name = chosen[0]
    doubts = [other for found in verdicts.values() for other in found.not_told_apart]
    doubtful = list(dict.fromkeys(doubts))
    if not doubtful:
        where = "" if len(verdicts) == 1 else f" in each of the {len(verdicts)} worlds"
        return f"**Take `{name}`: every other design is clearly less available{where}.**"
    others = ", ".join(f"`{each}`" for each in doubtful)
    total = len(next(iter(verdicts.values())).comparisons)
    if len(doubtful) == total:
        return (
            f"**No design is clearly best.** `{name}` is preferred for what it does besides; its "
            f"availability cannot be told from that of {others} by these runs."
        )
    return (
        f"**Take `{name}`, but not for certain: it is not shown to be more available than {others}"
        f"{'' if len(verdicts) == 1 else ' everywhere'}.** Every other design is clearly less so."
    )


def _evidence(study: Experiment, found: Verdict, objective: float) -> str:
    interval = study.interval(found.recommended, "availability")
    wanted = f"{100 * objective:.10g}%"
    if math.isnan(interval.low):
        within = "one replication has no interval"
    elif interval.low >= objective:
        within = f"all of that interval is within the objective of {wanted}"
    elif interval.high < objective:
        within = f"the objective of {wanted} is missed"
    else:
        within = f"the interval reaches beyond the objective of {wanted}"
    closest = max(found.comparisons, key=lambda each: each.difference.mean, default=None)
    if interval.mean >= 1 and not math.isnan(interval.low):
        most = _share(1 - interval.low)
        text = f"under `{found.recommended}` no get call failed, which leaves at most {most}; "
    else:
        text = f"under `{found.recommended}` {failed_words(interval)} of the get calls failed; "
    text += f"{within}."
    if closest is not None:
        text += (
            f" The closest other design, `{closest.policy}`, failed in "
            f"{difference_words(closest.difference)} more of all calls."
        )
    return f"{text} {lost_words(study.values(found.recommended, 'lost_keys'))}"


def lost_words(lost: list[float]) -> str:
    """How many keys were lost, and how little a zero means: Clopper and Pearson, one-sided."""
    if any(lost):
        return f"It lost {sum(lost) / len(lost):.3g} keys a run."
    most = 1 - (1 - CONFIDENCE) ** (1 / len(lost))
    return f"It lost no key in {len(lost)} runs, so at most {100 * most:.0f} of 100 such runs do."


def unseen_table(studies: Mapping[str, Experiment]) -> MarkdownTable:
    """One row for each world and design: how many outages were tried, and what that can show."""
    rows = [
        (
            world,
            name,
            harm_statement(*study.harmful_outages(name)),
            nines_statement(study.interval(name, "availability")),
        )
        for world, study in studies.items()
        for name in study.policies
    ]
    return MarkdownTable(("world", "design", "outages that did harm", "nines"), rows)


def sensitivity_table(
    varied: Mapping[str, Experiment], verdicts: Mapping[str, Verdict]
) -> MarkdownTable:
    """One row for each assumption: how much more the others fail, and whether the choice stands."""
    rows = []
    for words, found in verdicts.items():
        study = varied[words]
        more = "; ".join(
            f"{each.policy} {difference_words(each.difference)}" for each in found.comparisons
        )
        fails = failed_words(study.interval(found.recommended, "availability"))
        rows.append((words, fails, more, stands(found)))
    preferred = next(iter(verdicts.values())).preferred if verdicts else ""
    headings = ("assumption", f"fail under {preferred}", "more under others", "recommendation")
    return MarkdownTable(headings, rows)


def stands(found: Verdict) -> str:
    """Whether a recommendation survives, in a few words."""
    if found.recommended != found.preferred:
        return f"**changes to {found.recommended}**"
    return "stands" if found.clear else f"not told from {', '.join(found.not_told_apart)}"


def sensitivity_words(verdicts: Mapping[str, Verdict]) -> str:
    """Whether the recommendation survives all variations, in a sentence or two."""
    changed = [name for name, found in verdicts.items() if found.recommended != found.preferred]
    doubtful = [name for name, found in verdicts.items() if name not in changed and not found.clear]
    count = len(verdicts)
    if changed:
        return f"It changes with: {'; '.join(changed)} ({len(changed)} of {count} variations)."
    if doubtful:
        where = (
            f"all {count}" if len(doubtful) == count else f"{len(doubtful)}: {'; '.join(doubtful)}"
        )
        return (
            f"In none of {count} variations is another design clearly more available. The "
            f"difference to the closest may be chance in {where}."
        )
    return f"It stands in all {count} variations, clearly."


def failed_words(availability: Interval) -> str:
    """The share of calls that failed with its interval; never a bare zero."""
    if math.isnan(availability.mean):
        return "none asked"
    if math.isnan(availability.low):
        return _share(1 - availability.mean)
    most = _share(1 - availability.low)
    if availability.mean >= 1:
        return f"none seen, at most {most}"
    return f"{_share(1 - availability.mean)} [{_share(1 - availability.high)}, {most}]"


def difference_words(availability: Interval) -> str:
    """A difference of availability, turned into how many more calls fail, with its interval."""
    if math.isnan(availability.low):
        return _share(-availability.mean)
    # Few replications may leave more than there is: no share differs by more than all.
    low, high = max(-1.0, -availability.high), min(1.0, -availability.low)
    return f"{_share(-availability.mean)} [{_share(low)}, {_share(high)}]"


def _phrase(trade: Trade) -> str:
    if trade.measure == "availability":
        which = "fewer" if trade.better else "more"
        size = trade.difference if trade.better else _negative(trade.difference)
        ends = f"[{_share(size.low)}, {_share(size.high)}]"
        return f"{_share(size.mean)} {which} of all calls fail {ends}"
    number = _share if trade.measure.endswith("availability") else _number
    return _PHRASES[trade.measure].format(mine=number(trade.mine), theirs=number(trade.theirs))


def _negative(interval: Interval) -> Interval:
    return Interval(-interval.mean, -interval.high, -interval.low, interval.replications)


def _share(share: float) -> str:
    """Two digits of a small share, and as many of a large one as show how far it is from 1."""
    share = share + 0.0
    if 0.9 < share < 1:
        return f"{100 * share:.{max(1, -1 - math.floor(math.log10(1 - share)))}f}%"
    if 0 < abs(share) < 1e-6:
        return "<0.0001%" if share > 0 else ">-0.0001%"
    return f"{100 * share:.2g}%" if abs(share) < 0.1 else f"{100 * share:.0f}%"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.2g}"
