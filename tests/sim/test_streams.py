"""The random streams behind common random numbers."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from sim.world.errors import InputError
from sim.world.streams import WORD_MAX, Streams


def test_the_values_of_a_stream_are_pinned() -> None:
    """Seed 7, replication 3 and the name "traffic" give these bits on every Python and platform."""
    generator = Streams(7, 3).generator("traffic")
    assert generator.bit_generator.random_raw(3).tolist() == [  # type: ignore[union-attr]
        10308516394556640150,
        11176451928297040069,
        15423842750782404618,
    ]
    assert Streams(7, 3).generator("traffic").random() == 0.5588257935040374


def test_another_process_with_another_hash_seed_draws_the_same() -> None:
    """A stream does not depend on Python's per-process hash of strings."""
    program = (
        "from sim.world.streams import Streams; print(Streams(7, 3).generator('traffic').random())"
    )
    for hash_seed in ("1", "2"):
        printed = subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert float(printed) == 0.5588257935040374


def test_asking_twice_gives_the_same_numbers() -> None:
    """Each generator starts at the beginning of its stream."""
    streams = Streams(1)
    assert streams.generator("a").random(9).tolist() == streams.generator("a").random(9).tolist()


def test_seed_replication_and_name_each_change_every_stream() -> None:
    """No two of a grid of seeds, replications and names share a first draw."""
    names = ["", "a", "b", "traffic", "outages/0", "outages/1"]
    first = [
        Streams(seed, replication).generator(name).bit_generator.random_raw()  # type: ignore[union-attr]
        for seed in (0, 1, 2, WORD_MAX)
        for replication in (0, 1, 2, WORD_MAX)
        for name in names
    ]
    assert len(set(first)) == 4 * 4 * len(names)


def test_streams_of_different_names_are_uncorrelated() -> None:
    """The correlation of 20,000 draws of two names lies within 4 standard errors of zero."""
    one = Streams(5).generator("one").standard_normal(20_000)
    other = Streams(5).generator("other").standard_normal(20_000)
    assert abs(float(np.corrcoef(one, other)[0, 1])) < 4 / np.sqrt(20_000)


@pytest.mark.parametrize("seed", [-1, WORD_MAX + 1, 1.5, "1", True])
def test_a_seed_out_of_range_is_refused(seed: object) -> None:
    """A seed that SeedSequence could confuse with another is refused by name."""
    with pytest.raises(InputError, match="seed must be"):
        Streams(seed)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="replication must be"):
        Streams(1, seed)  # type: ignore[arg-type]
