"""What is watched, and how far its counters have been taken into account."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ftrepo.telemetry.metric import Metric
from ftrepo.telemetry.reading import Labels

Things = Callable[[], Iterable[tuple[Labels, object]]]
"""Gives what is watched, each with its names."""


def itself(thing: object) -> object:
    """Return a thing as it is."""
    return thing


@dataclass(frozen=True, slots=True)
class Watched:
    """Things of one kind.

    Attributes:
        metrics: the rows that are read from each.
        things: gives them, anew at each reading.
        look: returns what the rows read from, so that it is put together once for all of them.
        begin: counters that events will count for each thing, with what follows its own labels.
            They begin at zero, or the first of anything would not show up as an increase.
    """

    metrics: Sequence[Metric]
    things: Things
    look: Callable[[Any], object] = itself
    begin: Sequence[tuple[Metric, Labels]] = ()


@dataclass(slots=True)
class Counted:
    """How far the counters of one thing have been taken into account.

    It keeps the thing alive until the next reading, so that no other can have its `id`.
    """

    thing: object
    values: dict[Metric, float] = field(default_factory=dict)
