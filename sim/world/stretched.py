"""Another pattern's outages, each longer or shorter by one factor: what if they last twice as long?

They begin when they did, so that runs with and without the factor can be compared in pairs.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

from sim.world.outage_patterns import AlternatingRenewal, FixedWindows, Flapping
from sim.world.outage_trace import RecordedTrace
from sim.world.outages import Outage, clip, merge
from sim.world.recorded_shape import RecordedShape
from sim.world.settings import about, check

if TYPE_CHECKING:
    import numpy as np

AnyPattern = FixedWindows | AlternatingRenewal | Flapping | RecordedShape | RecordedTrace
"""The patterns that can be stretched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretched:
    """The outages of a pattern, each as many times as long as the factor says.

    One that then reaches into the next is merged with it, the worst winning; one that reaches
    beyond the end of the run is cut off there. A recorded trace gives the run no length here.
    """

    kind: ClassVar[str] = "stretched"
    pattern: AnyPattern
    factor: float = field(
        metadata=about("How many times as long each outage is as its pattern has it.", above=0)
    )

    def __post_init__(self) -> None:
        check(self)

    def draw(self, rng: np.random.Generator, duration_s: float) -> tuple[Outage, ...]:
        """Return the pattern's schedule with other lengths."""
        drawn = self.pattern.draw(rng, duration_s)
        longer = (
            replace(each, end_s=each.start_s + self.factor * (each.end_s - each.start_s))
            for each in drawn
        )
        return clip(merge(longer), duration_s)
