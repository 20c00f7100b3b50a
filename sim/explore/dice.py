"""Draws of plain Python values from one generator: what a schedule is put together from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")


class Dice:
    """One stream of random choices. Each costs one uniform number, whatever is chosen among.

    Args:
        rng: where they come from.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._random = rng.random

    def chance(self, share: float) -> bool:
        """Return true with this probability."""
        return self._random() < share

    def between(self, low: float, high: float) -> float:
        """Return a number, even over [low, high)."""
        return low + (high - low) * self._random()

    def whole(self, least: int, most: int) -> int:
        """Return a whole number, even over both ends and what lies between."""
        return least + int(self._random() * (most - least + 1))

    def pick(self, choices: Sequence[T]) -> T:
        """Return one of them, each with the same probability."""
        return choices[int(self._random() * len(choices))]

    def some(self, choices: Sequence[T], share: float) -> list[T]:
        """Return each of them with this probability, in their order; at least one."""
        return [each for each in choices if self.chance(share)] or [self.pick(choices)]

    def wait(self, mean: float) -> float:
        """Return an exponential time: mostly short."""
        return -mean * math.log1p(-self._random())
