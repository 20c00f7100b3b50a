"""Results as tables on a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from sim.measures import MEASURES, Measure
from sim.study.agreement import Check
from sim.study.comparisons import simultaneous
from sim.study.experiment import Experiment
from sim.study.intervals import Interval
from sim.study.nines import alike_statement, harm_statement, nines_statement, unlike_share

_ALIKE = "in every run"
"""What stands in the place of an interval that has no width."""


def run_table(experiment: Experiment, policy: str) -> Table:
    """One row for each measure: its mean, its interval and what it is."""
    table = Table(title=f"{experiment.scenario.name}, policy {policy}", title_justify="left")
    table.add_column("measure")
    table.add_column("mean", justify="right")
    table.add_column("95% interval", justify="right")
    table.add_column("what it is", style="dim")
    for each in MEASURES:
        interval = experiment.interval(policy, each.name)
        mean, span = _texts(each, interval)
        table.add_row(each.name, mean, span, each.doc.removesuffix("."))
    return table


def comparison_table(experiment: Experiment) -> Table:
    """One row for each measure, a column for each policy, and the differences to the first."""
    first, *others = experiment.policies
    confidence = simultaneous(len(others))
    table = Table(title=f"{experiment.scenario.name}, policies compared", title_justify="left")
    table.add_column("measure")
    for name in experiment.policies:
        table.add_column(name, justify="right")
    for name in others:
        table.add_column(f"{name} - {first}\n[95% interval, paired]", justify="right")
    for each in MEASURES:
        cells: list[str | Text] = [
            _texts(each, experiment.interval(name, each.name))[0] for name in experiment.policies
        ]
        cells += [
            _difference(experiment.difference(first, name, each.name, confidence=confidence))
            for name in others
        ]
        table.add_row(each.name, *cells)
    return table


def agreement_table(title: str, checks: Sequence[Check]) -> Table:
    """One row for each figure: simulated and real, and whether they agree as the rule has it."""
    table = Table(title=title, title_justify="left")
    table.add_column("figure")
    for heading in ("simulated", "95% interval", "same seed", "real"):
        table.add_column(heading, justify="right")
    table.add_column("agreement")
    for check in checks:
        low, high = number(check.simulated.low), number(check.simulated.high)
        verdict = Text("not judged", style="dim")
        if check.rule:
            verdict = Text("yes: " if check.agrees else "NO: ", style="" if check.agrees else "red")
            verdict.append(check.rule, style="dim")
        table.add_row(
            check.name,
            number(check.simulated.mean),
            f"{low} … {high}",
            number(check.paired),
            number(check.real),
            verdict,
        )
    return table


def notes(experiment: Experiment) -> list[str]:
    """What a reader must know to judge the figures."""
    scenario = experiment.scenario
    runs = [figures for name in experiment.policies for figures in experiment.runs[name]]
    outages = [figures.outages for figures in runs]
    first = runs[0]
    few, many = min(outages), max(outages)
    seen = f"{few}" if few == many else f"{few} to {many}"
    study = (
        f"{experiment.replications} replications, seed {experiment.seed}, "
        f"{_hours(scenario.length_s)} each, the first {_hours(scenario.warmup_s)} left out; "
        f"{seen} outages a run"
    )
    lines = [study]
    if first.played_s < scenario.length_s:
        lines.append(
            f"long healthy stretches are condensed: {_hours(first.played_s)} of "
            f"{_hours(scenario.length_s)} are played, and healthy time is weighted for the rest"
        )
    if experiment.replications == 1:
        lines.append("one replication has no confidence interval; use --replications 2 or more")
    if len(experiment.policies) > 2:
        lines.append(
            f"the {len(experiment.policies) - 1} intervals of differences in a row hold all at "
            "once in 95 of 100 studies (Bonferroni); each is wider for it"
        )
    lines += map(str, experiment.precision)
    lines += [f"{name}: {_evidence(experiment, name)}" for name in experiment.policies]
    for name in experiment.policies:
        wrong = sum(experiment.values(name, "wrong_answers"))
        if wrong:
            lines.append(f"DEFECT: policy {name} gave {wrong:g} wrong answers; this must never be")
    if any(_spotless(experiment, name) for name in experiment.policies):
        lines.append(
            "≥ means that no failure was seen: the figure is what 95% confidence leaves, given how "
            "few outages were tried"
        )
    alike = [
        interval.replications
        for name in experiment.policies
        for interval in experiment.intervals(name).values()
        if alike_statement(interval)
    ]
    if alike:
        lines.append(
            f"“{_ALIKE}”: all agree, which leaves at most {100 * unlike_share(min(alike)):.2g} of "
            "100 others with another figure"
        )
    return lines


def _evidence(experiment: Experiment, policy: str) -> str:
    """What the availability rests on."""
    shown = nines_statement(experiment.interval(policy, "availability"))
    return f"{harm_statement(*experiment.harmful_outages(policy))}; {shown}"


def _spotless(experiment: Experiment, policy: str) -> bool:
    return any(
        experiment.interval(policy, each.name).mean == 1.0
        for each in MEASURES
        if each.kind == "share"
    )


def _texts(measure: Measure, interval: Interval) -> tuple[str, str]:
    if math.isnan(interval.mean):
        return "none", ""
    if measure.kind == "share":
        digits = _share_digits(interval)
        if interval.mean == 1.0:
            return (
                f"≥ {math.floor(interval.low * 10**digits) / 10**digits:.{digits}f}",
                "no failure",
            )
        mean = f"{interval.mean:.{digits}f}"
        span = f"{interval.low:.{digits}f} … {interval.high:.{digits}f}"
    else:
        mean = number(interval.mean)
        span = f"{number(interval.low)} … {number(interval.high)}"
        if alike_statement(interval):
            span = _ALIKE
    return mean, "" if math.isnan(interval.low) else span


def _share_digits(interval: Interval) -> int:
    """As many digits as show the two leading ones of the distance to 1."""
    missing = 1 - (interval.mean if interval.mean < 1 else interval.low)
    return 4 if missing <= 0 else min(9, max(4, 1 - math.floor(math.log10(missing))))


def _difference(interval: Interval) -> Text:
    if math.isnan(interval.mean):
        return Text("none", style="dim")
    text = f"{number(interval.mean, signed=True)}"
    if not math.isnan(interval.low):
        text += f" [{number(interval.low, signed=True)}, {number(interval.high, signed=True)}]"
    return Text(text, style="bold" if interval.excludes_zero() else "dim")


def number(value: float, *, signed: bool = False) -> str:
    """A figure with three significant digits, and thousands apart."""
    if math.isnan(value):
        return "none"
    sign = "+" if signed and value > 0 else ""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{sign}{value:,.0f}"
    return f"{sign}{value:.3g}"


def _hours(seconds: float) -> str:
    if seconds >= 2 * 86400:
        return f"{seconds / 86400:.1f} days"
    return f"{seconds / 3600:.2f} h" if seconds >= 3600 else f"{seconds:.0f} s"
