"""What a row of the table of panels says, and the queries that most of them make.

In a query, `$here` is the selector of the chosen jobs and instances; `$__rate_interval` and
`$__range` are Grafana's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel.

    Attributes:
        title: what is shown.
        reading: how to read it, and what to do about it; Grafana shows it beside the title.
        queries: each with what its series are called.
        unit: in Grafana's spelling: "s", "bytes", "short", "reqps" for things a second,
            "percentunit" for shares.
        form: "stat" for one number, "states" for a coloured line of time, otherwise a graph.
        steps: from which value on the colour changes: green first, then yellow and red; or red at
            once if there is one step.
        names: words for values, with the colour of each.
        width: of 24.
    """

    title: str
    reading: str
    queries: Sequence[tuple[str, str]]
    unit: str = "short"
    form: Literal["graph", "stat", "states"] = "graph"
    steps: Sequence[float] = ()
    names: Sequence[tuple[int, str, str]] = ()
    width: int = 8


def rate(name: str, *by: str, only: str = "") -> str:
    """How many a second, in all or for each combination of labels."""
    return f"sum{_grouped(by)} (rate({name}{{$here{only}}}[$__rate_interval]))"


def most(name: str, *by: str, only: str = "") -> str:
    """The greatest, of all or for each combination of labels."""
    return f"max{_grouped(by)} ({name}{{$here{only}}})"


def quantile(share: float, name: str, *by: str) -> str:
    """A quantile of a histogram over the last minutes."""
    buckets = rate(f"{name}_bucket", "le", *by)
    return f"histogram_quantile({share}, {buckets})"


def _grouped(by: Sequence[str]) -> str:
    return f" by ({', '.join(by)})" if by else ""
