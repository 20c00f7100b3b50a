"""What the table and the figures of a sweep say in words: labels, numbers and findings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from sim.measures import MEASURES
from sim.show.tables import number
from sim.study.grid import label
from sim.study.intervals import CONFIDENCE, Interval
from sim.study.swept import Sweep
from sim.world.errors import InputError
from sim.world.settings import did_you_mean

DEFAULT_MEASURES = (
    "availability",
    "sync_lag_p99_s",
    "primary_attempts_during_outage_per_s",
)
"""What a sweep shows when nobody says otherwise: what callers, other instances and the primary
notice of an outage."""

_UNITS = {"_per_s": ", 1/s", "_per_h": ", 1/h", "_ms": ", ms", "_s": ", s"}
_KINDS = {each.name: each.kind for each in MEASURES}


def check_measure(name: str) -> str:
    """Return the name of a measure, if it is one.

    Raises:
        InputError: it is none; suggests a near one.
    """
    if name not in _KINDS:
        raise InputError(f"{name} is not a measure{did_you_mean(name, _KINDS)}")
    return name


def measure_label(name: str) -> str:
    """The name of a measure for an axis: `sync lag p99, s`."""
    return _with_unit(name).replace("_", " ")


def setting_label(name: str) -> str:
    """The name of a setting for an axis, as it is typed, and its unit."""
    return name + (", seconds" if name.endswith("_s") else "")


def is_share(measure: str) -> bool:
    """Whether a measure lies between 0 and 1 and is better high."""
    return _KINDS[measure] == "share"


def mean_text(measure: str, interval: Interval) -> str:
    """The mean of a figure; where no failure was seen, the bound that confidence leaves.

    A share gets so many digits that its distance to 1 has two.
    """
    if math.isnan(interval.mean):
        return "none"
    if not is_share(measure):
        return number(interval.mean)
    if interval.mean < 1.0:
        return f"{interval.mean:.{_digits(interval.mean)}f}"
    if math.isnan(interval.low):
        return "no failure"
    digits = _digits(interval.low)
    return f"≥ {math.floor(interval.low * 10**digits) / 10**digits:.{digits}f}"


def span_text(measure: str, interval: Interval) -> str:
    """The two ends of an interval; empty if there are none, or if the mean says it all."""
    if math.isnan(interval.low) or (is_share(measure) and interval.mean == 1.0):
        return ""
    if is_share(measure):
        digits = _digits(interval.mean)
        return f"{interval.low:.{digits}f} … {interval.high:.{digits}f}"
    return f"{number(interval.low)} … {number(interval.high)}"


def finding_of(sweep: Sweep, measure: str) -> str:
    """What a sweep says of one measure, in one sentence: from where to where it goes, if it does.

    The two extreme points are compared, replication by replication, at a level that makes up for
    their being chosen among all pairs (Bonferroni); without that, the more points, the surer it
    would be to find a difference where there is none.
    """
    means = [(sweep.interval(point, measure).mean, point) for point in sweep.points]
    known = sorted((each for each in means if not math.isnan(each[0])), key=lambda each: each[0])
    what, _, unit = measure_label(measure).partition(", ")
    if not known:
        return f"No run has a {what}"
    (least, lowest), (most, highest) = known[0], known[-1]
    low, high = (
        f"{mean_text(measure, sweep.interval(point, measure))} {unit}".strip()
        for point in (lowest, highest)
    )
    if least == most:
        return f"{what} is {low} at every point"
    if not _differ(sweep, lowest, highest, measure):
        return f"{what}: {sweep.replications} replications show no clear difference"
    return f"{what}: from {low} ({label(lowest)}) to {high} ({label(highest)})"


def study_text(sweep: Sweep) -> str:
    """How the figures came about, in one sentence without its end."""
    scenario = sweep.scenario
    return (
        f"{len(sweep.cases)} points, {sweep.replications} replications each, seed {sweep.seed}, "
        f"scenario {scenario.name}, warm-up of {scenario.warmup_s:g} s not counted"
    )


def _differ(
    sweep: Sweep, first: Mapping[str, Any], second: Mapping[str, Any], measure: str
) -> bool:
    """Whether two points chosen for their distance differ by more than chance explains."""
    pairs = math.comb(len(sweep.cases), 2)
    return sweep.p_value(first, second, measure) * pairs < 1 - CONFIDENCE


def _with_unit(name: str) -> str:
    for suffix, unit in _UNITS.items():
        if name.endswith(suffix):
            return name.removesuffix(suffix) + unit
    return name


def _digits(share: float) -> int:
    missing = 1 - share
    return 4 if missing <= 0 else min(9, max(4, 1 - math.floor(math.log10(missing))))
