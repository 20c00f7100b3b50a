"""Named, independent streams of random numbers: the ground under common random numbers.

Every random thing in a run has a name ("outages/0", "traffic") and its own generator, so that one
more draw in one place never shifts the draws in another.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from sim.world.errors import InputError

WORD_MAX = 2**32 - 1
"""The largest seed and replication number. `numpy.random.SeedSequence` cuts larger ones into
32-bit words and pads with zeros, after which (3, 5) and (3 + 5·2³², 0) would be the same run."""


@dataclass(frozen=True, slots=True)
class Streams:
    """The generators of one run, by name.

    The same seed, replication and name give the same numbers in every process, on every Python
    and on every platform: the name enters by its SHA-256, not by `hash()`, and PCG64 is named
    rather than taken as numpy's default of the day.

    Args:
        seed: the seed of the whole study, 0 to `WORD_MAX`.
        replication: the number of the run in the study, 0 to `WORD_MAX`. Each has streams of its
            own, independent of every other replication's.

    Raises:
        InputError: the seed or the replication is not a whole number in that range.
    """

    seed: int
    replication: int = 0

    def __post_init__(self) -> None:
        for name, number in (("seed", self.seed), ("replication", self.replication)):
            if isinstance(number, bool) or not isinstance(number, int | np.integer):
                raise InputError(f"{name} must be a whole number, not {number!r}")
            if not 0 <= number <= WORD_MAX:
                raise InputError(f"{name} must be from 0 to {WORD_MAX}, not {number}")

    def generator(self, name: str) -> np.random.Generator:
        """Return a new generator at the beginning of the stream called `name`.

        Asking twice for one name gives two generators that draw the same numbers.
        """
        digest = hashlib.sha256(name.encode()).digest()
        words = tuple(int.from_bytes(digest[at : at + 4], "big") for at in range(0, 16, 4))
        sequence = np.random.SeedSequence([self.seed, self.replication], spawn_key=words)
        return np.random.Generator(np.random.PCG64(sequence))


def of_instance(name: str, instance: int) -> str:
    """The stream of one instance of the service; the first has the name alone."""
    return name if instance == 0 else f"{name} of instance {instance}"
