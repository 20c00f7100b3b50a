"""The names of metrics and labels in a query of PromQL."""

from __future__ import annotations

import re

WORDS = frozenset({"and", "bool", "by", "offset", "on", "or", "unless"})
FUNCTIONS = frozenset(
    {
        "avg_over_time",
        "count",
        "histogram_quantile",
        "increase",
        "last_over_time",
        "max",
        "min",
        "min_over_time",
        "rate",
        "sum",
        "vector",
    }
)
"""What may be called in a query of the project's."""


def selectors(query: str) -> list[tuple[str, set[str]]]:
    """Each metric that a query names, with the labels by which it is selected."""
    query = re.sub(r"\b(?:by|on) *\([^)]*\)|\boffset \w+", "", query)
    found = []
    for name, matchers in re.findall(r"([a-zA-Z_:][\w:]*)(?!\w|\s*\()(\{[^}]*\})?", bare(query)):
        if name not in WORDS | FUNCTIONS:
            found.append((name, set(re.findall(r"([\w]+)\s*(?:=~|!~|!=|=)", matchers))))
    return found


def bare(query: str) -> str:
    """A query without its strings and its spans of time."""
    return re.sub(r"\[[^\]]*\]", "", re.sub(r'"(?:[^"\\]|\\.)*"', '""', query))


def grouping(query: str) -> set[str]:
    """Every label by which a query groups or joins."""
    groups = re.findall(r"\b(?:by|on) *\(([^)]*)\)", query)
    return {label.strip() for group in groups for label in group.split(",")}
