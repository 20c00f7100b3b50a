"""A design review as one self-contained page that a meeting can decide from.

The order is that of a meeting: the question, the recommendation and how sure it is, the evidence,
the alternatives and why not, what would change it, what was not seen, and how to do it again.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from sim.show.as_json import comparison_json, write_json
from sim.show.design_words import (
    design_table,
    recommendation,
    sensitivity_table,
    sensitivity_words,
    unseen_table,
)
from sim.show.figure_availability import availability_by_policy
from sim.show.figure_designs import (
    failures_by_cause,
    sensitivity_of_designs,
    what_designs_give_up,
)
from sim.show.html import is_review, rendered, replaced, shared_parts
from sim.show.markdown import MarkdownTable, assumption_table, option_table
from sim.show.page import Section, loaded_from_elsewhere, picture, text
from sim.study.designs import Verdict, survives, verdict
from sim.study.experiment import Experiment
from sim.study.run_digest import code_digest
from sim.world.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LIMITS = """
- The primary is simulated; the repository, its breaker, its buffer and its key rotation are the
  code that runs in production. How far the simulated primary is from a real one is a study of its
  own (`python -m sim validate`).
- Availability is that of `get` for keys that exist. An instance that is not ready is not asked, but
  a call for which none is ready counts as failed.
- A design that has less in memory is not charged for it, and one that calls the primary more often
  does not slow it down, unless the scenario gives the primary a capacity.
- The variations change one assumption at a time, not several at once.
- Outages of the hosts, of the network between callers and service, and of the clocks are left out,
  unless the scenario has them.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DesignReview:
    """What a page is made from.

    Attributes:
        worlds: every design in every world, by the world's name; the first is the one that is
            varied.
        varied: the closest designs under other assumptions, by what is assumed.
        preferred: the design that was preferred beforehand.
        objective: the availability that is wanted.
        command: what makes this page again.
        fast: whether few replications were played, for a first look.
    """

    worlds: Mapping[str, Experiment]
    varied: Mapping[str, Experiment] = field(default_factory=dict)
    preferred: str
    objective: float
    command: str
    fast: bool = False

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """Which design to take, by world."""
        return {world: verdict(study, self.preferred) for world, study in self.worlds.items()}

    @property
    def recommended(self) -> str:
        """The design that the first world recommends."""
        return next(iter(self.verdicts.values())).recommended


def check_replaceable(out: Path) -> None:
    """Check, before hours of work, that a review may be written to this folder.

    Raises:
        InputError: it has something else in it, which is not replaced.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; a review is a folder")
    if out.exists() and any(out.iterdir()) and not is_review(out):
        raise InputError(f"{out} is not empty and holds no review: it is not replaced")


def write_decision(review: DesignReview, out: Path, *, built: datetime | None = None) -> Path:
    """Write the page, the figures as JSON and the recommended policy, and return the page.

    Args:
        review: what was found.
        out: a folder, replaced as a whole if it holds an older review.
        built: the time that the page gives; `None` for now.

    Raises:
        InputError: as `check_replaceable`.
    """
    check_replaceable(out)
    built = built or datetime.now(UTC)  # noqa: TID251 - a fact about this world, not a simulated one
    html = rendered(
        "decision.html",
        **shared_parts(built),
        question="Which design keeps verifiers going when PostgreSQL does not?",
        worlds=list(review.worlds),
        fast=review.fast,
        sections=_sections(review),
    )
    loaded = loaded_from_elsewhere(html)
    assert not loaded, f"the page would load {loaded[0][:80]}"
    first = next(iter(review.worlds.values()))
    with replaced(out) as folder:
        (folder / "index.html").write_text(html, encoding="utf-8")
        policy = first.policies[review.recommended].to_toml()
        (folder / f"{review.recommended}.toml").write_text(policy, encoding="utf-8")
        figures = {world: comparison_json(study) for world, study in review.worlds.items()}
        write_json(folder / "figures.json", figures)
    return out / "index.html"


def _sections(review: DesignReview) -> list[Section]:
    sections = [
        Section(Markup("Decision"), _decision(review)),
        Section(Markup("Evidence"), _evidence(review)),
        Section(Markup("Alternatives, and why not"), _alternatives(review)),
        Section(Markup("What each design gives up"), _trade_offs(review)),
        Section(Markup("Where failures come from"), _causes(review)),
    ]
    if review.varied:
        sections.append(Section(Markup("Sensitivity"), _sensitivity(review)))
    return [
        *sections,
        Section(Markup("What was not seen"), _unseen(review)),
        Section(Markup("Assumptions"), _assumptions(review)),
        Section(Markup("Limits"), [text(_LIMITS)]),
        Section(Markup("How to reproduce it"), _reproduce(review)),
    ]


def _decision(review: DesignReview) -> list[Markup]:
    paragraphs = recommendation(
        review.worlds, preferred=review.preferred, objective=review.objective
    )
    if review.varied:
        verdicts = survives(next(iter(review.verdicts.values())), review.varied)
        paragraphs.append(f"**What would change it?** {sensitivity_words(verdicts)}")
    return [text(each) for each in paragraphs]


def _evidence(review: DesignReview) -> list[Markup]:
    return [
        _drawn(
            availability_by_policy(
                review.worlds,
                against=review.recommended,
                against_best=True,
                chosen_after=review.recommended != review.preferred,
                objective=review.objective,
                finding=_finding(review),
            )
        ),
        text(
            "Every design met the same outages, calls and latencies, replication by replication; "
            "so the differences at the right are much surer than the intervals at the left are "
            "narrow. Those of one world hold all at once in 95 of 100 studies (Bonferroni)."
        ),
    ]


def _finding(review: DesignReview) -> str:
    study = next(iter(review.worlds.values()))
    name, interval = review.recommended, study.interval(review.recommended, "availability")
    if interval.mean < 1:
        text = f"Under {name} {100 * (1 - interval.mean):.2g}% of the get calls fail"
    else:
        text = f"Under {name} no get call was seen to fail"
    # Without an interval, all that can be said is what was seen.
    if not math.isnan(interval.low):
        text += f" (at most {100 * (1 - interval.low):.2g}%)"
    means = {each: study.interval(each, "availability").mean for each in study.policies}
    worst = min(means, key=lambda each: means[each])
    if not means[worst] < interval.mean:
        return text
    # Means are compared with means: a bound of one beside the mean of another would mislead.
    return f"{text}, under {worst} {100 * (1 - means[worst]):.2g}%"


def _alternatives(review: DesignReview) -> list[Markup]:
    blocks = []
    for world, found in review.verdicts.items():
        if len(review.worlds) > 1:
            blocks.append(text(f"### {world}"))
        blocks.append(_table(design_table(review.worlds[world], found)))
    blocks.append(text("The designs differ in these settings of one class, and in nothing else:"))
    policies = next(iter(review.worlds.values())).policies
    blocks.append(_folded("The settings", option_table(policies)))
    return blocks


def _trade_offs(review: DesignReview) -> list[Markup]:
    blocks = []
    for world, study in review.worlds.items():
        finding = f"What each design costs besides availability: {world}"
        blocks.append(_drawn(what_designs_give_up(study, finding=finding)))
    return blocks


def _causes(review: DesignReview) -> list[Markup]:
    return [
        _drawn(failures_by_cause(review.worlds)),
        text(
            "*Only the maker had the key*: it was made on schedule, and the primary did not have "
            "it yet. *A first key*: likewise, but a process that has just started has no older key "
            "to go on signing with. *Not learned*: the primary had it, and the instance that was "
            "asked had not read it. *Started with empty memory*: that instance began after the "
            "key was committed, and could not load it."
        ),
    ]


def _sensitivity(review: DesignReview) -> list[Markup]:
    base = next(iter(review.verdicts.values()))
    verdicts = survives(base, review.varied)
    others = list(next(iter(review.varied.values())).policies)
    world = next(iter(review.worlds))
    rows = {"as assumed": _only(review.worlds[world], others), **review.varied}
    stood = sum(found.recommended == base.recommended for found in verdicts.values())
    return [
        text(
            f"{sensitivity_words(verdicts)} One assumption of {world} is changed at a time; only "
            f"the designs that came closest are played: {', '.join(others)}."
        ),
        _drawn(
            sensitivity_of_designs(
                rows,
                base.recommended,
                finding=f"No other design is clearly better in {stood} of {len(verdicts)} "
                "variations",
            )
        ),
        _table(sensitivity_table(review.varied, verdicts)),
    ]


def _only(study: Experiment, policies: list[str]) -> Experiment:
    return Experiment(
        scenario=study.scenario,
        policies={name: study.policies[name] for name in policies},
        seed=study.seed,
        runs={name: study.runs[name] for name in policies},
    )


def _unseen(review: DesignReview) -> list[Markup]:
    study = next(iter(review.worlds.values()))
    reached = [f"- {each}" for each in study.precision]
    return [
        text(
            "A design that failed in none of few outages may fail in the next. This is how many "
            "were tried, and what share of outages may do harm all the same, at 95% confidence:"
        ),
        _table(unseen_table(review.worlds)),
        text("\n".join(["The precision that was asked for:", "", *reached]) if reached else ""),
    ]


def _assumptions(review: DesignReview) -> list[Markup]:
    scenarios = {world: study.scenario for world, study in review.worlds.items()}
    return [_table(assumption_table(scenarios))]


def _reproduce(review: DesignReview) -> list[Markup]:
    study = next(iter(review.worlds.values()))
    counts = ", ".join(f"{each.replications} of {world}" for world, each in review.worlds.items())
    return [
        Markup("<pre>{}</pre>").format(review.command),
        text(
            f"Seed {study.seed}; replications of each design: {counts}. The same seed gives the "
            "same figures to the bit, whatever the number of processes, with the same code "
            f"(digest `{code_digest()}`) on a machine of the same kind ({platform.machine()}). All "
            f"figures are in `figures.json`, and the recommended policy is in "
            f"`{review.recommended}.toml`, both beside this page."
        ),
    ]


def _drawn(figure: Figure) -> Markup:
    alt = figure.get_suptitle().replace("\n", " ")
    return picture(figure._repr_mimebundle_(), alt)  # type: ignore[attr-defined]


def _table(table: MarkdownTable) -> Markup:
    shown = text(repr(MarkdownTable(table.headings, table.rows)))
    if not table.folded:
        return shown
    return shown + _folded(table.summary, MarkdownTable(table.headings, table.folded))


def _folded(summary: str, table: MarkdownTable) -> Markup:
    return Markup("<details><summary>{}</summary>{}</details>").format(summary, _table(table))
