"""Every closed form that is held against the laboratory, by what it is about."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sim.study.validation import availability, growth, lag, load
from sim.study.validation.points import Form

FORMS: Mapping[str, Mapping[str, Callable[[], Form]]] = {
    "availability": {
        "primary_only": availability.primary_only,
        "without_pending_writes": availability.without_pending_writes,
        "with_pending_writes": availability.with_pending_writes,
        "unannounced": availability.unannounced,
    },
    "lag": {
        "mean_lag": lag.mean_lag,
        "lag_distribution": lag.lag_distribution,
        "mean_wait": lag.mean_wait,
    },
    "growth": {
        "cached_by_fleet": growth.cached_by_fleet,
        "pending_by_length": growth.pending_by_length,
        "cached_by_length": growth.cached_by_length,
    },
    "load": {
        "wasted": load.wasted,
        "wasted_by_length": load.wasted_by_length,
        "burst": load.burst,
    },
}
"""What makes each form, by what it is about and by its name."""


def forms(about: str) -> dict[str, Form]:
    """Return the forms of one subject, by name.

    Raises:
        KeyError: there is no such subject in `FORMS`.
    """
    return {name: make() for name, make in FORMS[about].items()}
