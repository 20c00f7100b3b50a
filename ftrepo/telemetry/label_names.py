"""Bounds how many series there are: names from outside get labels, but not all of them."""

from __future__ import annotations

from ftrepo.redact import one_line
from ftrepo.telemetry.metric import Metric
from ftrepo.telemetry.reading import Labels

OTHER = "other"
"""The label of whatever has no label of its own."""

NAMES_MAX = 100
"""How many names from outside each label may have, by default. Prometheus keeps every series for
hours, and a service may have a breaker for each tenant."""

NAME_LENGTH_MAX = 200
"""The most characters of such a name."""


class LabelNames:
    """Says under which labels a series is shown.

    Args:
        names_max: how many names each label may have whose values are not listed, at least 1. The
            first that come have one; all others are "other".

    Raises:
        ValueError: `names_max` is below 1.
    """

    def __init__(self, names_max: int) -> None:
        if names_max < 1:
            raise ValueError(f"names_max is {names_max}; it must be at least 1")
        self._names_max = names_max
        self._names: dict[str, dict[str, str]] = {}

    def of(self, metric: Metric, given: Labels) -> Labels:
        """The labels that take the place of those given."""
        if not given:
            return given
        return tuple(map(self._label, metric.labels.items(), given))

    def _label(self, label: tuple[str, tuple[str, ...] | None], value: str) -> str:
        name, allowed = label
        if allowed is not None:
            return value if value in allowed else OTHER
        names = self._names.setdefault(name, {})
        if value not in names:
            if len(names) >= self._names_max:
                return OTHER
            # It must not break a scrape, whatever it is.
            names[value] = one_line(value)[:NAME_LENGTH_MAX]
        return names[value]
