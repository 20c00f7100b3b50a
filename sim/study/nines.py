"""How many nines a study supports, and how little it saw: for readers of tables.

A study with no failure does not show an availability of 100%. It shows that harm is rare: of n
outages of which h did harm, Clopper's and Pearson's interval (Biometrika 26, 1934) bounds the share
that does. It takes outages to be independent of one another.
"""

from __future__ import annotations

import math

from sim.study.intervals import CONFIDENCE, Interval


def nines(share: float) -> float:
    """How many nines a share has, -log10(1 - share): 3 for 0.999; infinite for 1, NaN for NaN."""
    if not share < 1:
        return math.inf if share >= 1 else math.nan
    return -math.log10(1 - share)


def nines_supported(interval: Interval) -> int:
    """The whole nines that the interval's lower end has: what the study has shown; 0 if none."""
    shown = nines(interval.low)
    # An availability of exactly 0.999 has three nines, which a logarithm may miss by a hair.
    return 0 if math.isnan(shown) else max(0, math.floor(shown + 1e-9))


def nines_statement(interval: Interval) -> str:
    """The nines in words, such as "3 nines shown; the mean has 4.2"."""
    if math.isnan(interval.low):
        return "no nines shown: there is no interval"
    count = nines_supported(interval)
    shown = f"{count or 'no'} nine{'' if count == 1 else 's'} shown"
    if interval.mean >= 1:
        return f"{shown}; no failure was seen"
    return f"{shown}; the mean has {nines(interval.mean):.1f}"


def harm_statement(harmful: int, outages: int) -> str:
    """How many outages did harm, and how many of 100 may: "no failure in 37 outages: at most …".

    Args:
        harmful: how many of the outages did harm.
        outages: how many there were.

    Raises:
        ValueError: more did harm than there were.
    """
    if not 0 <= harmful <= outages:
        raise ValueError(f"{harmful} of {outages} outages cannot have done harm")
    if not outages:
        return "no outage was seen, so nothing is known of any"
    from scipy import stats  # noqa: PLC0415  half a second, and many tables need none of it

    test = stats.binomtest(harmful, outages)
    if not harmful:
        # One-sided, as nothing lies below.
        most = unlike_share(outages)
        return f"no failure in {outages} outages: at most {_percent(most)} of 100 do harm"
    bounds = test.proportion_ci(CONFIDENCE, method="exact")
    return (
        f"failures in {harmful} of {outages} outages: between {_percent(bounds.low)} and "
        f"{_percent(bounds.high)} of 100 do harm"
    )


def unlike_share(alike: int) -> float:
    """The share of runs, or of outages, that may be unlike a number of them that were all alike.

    1 - 0.05^(1/n), about 3/n: Clopper's and Pearson's one-sided limit. It takes them to be
    independent, and nothing of how much another one may differ.

    Args:
        alike: n, how many there were, at least 1.
    """
    return 1 - math.pow(1 - CONFIDENCE, 1 / alike)


def alike_statement(interval: Interval) -> str:
    """What an interval without width, of all replications alike, shows; empty for any other."""
    count = interval.replications
    if count < 1 or not interval.low == interval.mean == interval.high:
        return ""
    most = _percent(unlike_share(count))
    return f"the same in all {count} runs: at most {most} of 100 give another value"


def _percent(share: float) -> str:
    return f"{100 * share:.2g}" if share < 0.995 else "100"
