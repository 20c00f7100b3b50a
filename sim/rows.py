"""Rows in the making: a few bytes each, however many there will be.

A list of tuples takes ten times the memory, and Python's garbage collector looks through all of it
again and again: with a million rows a run would be slower for each of them than with ten thousand.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FORMATS = {"i8": "q", "f8": "d", "u1": "B", "?": "?"}
"""What `struct` calls the types of numpy."""


class Rows:
    """A table that grows by rows and is read by columns.

    Args:
        types: the type of each column by its name, as numpy calls it: `i8`, `f8`, `u1` or `?`.
    """

    def __init__(self, **types: str) -> None:
        self._dtype = np.dtype(list(types.items()))
        # Without padding, as numpy lays its own out.
        self._pack = struct.Struct("=" + "".join(_FORMATS[each] for each in types.values())).pack
        self._packed = bytearray()

    def __len__(self) -> int:
        return len(self._packed) // self._dtype.itemsize

    def append(self, row: Iterable[float]) -> None:
        """Add a row: one number for each column."""
        self._packed += self._pack(*row)

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return the rows so far, in the order in which they came, as an array for each column."""
        table = np.frombuffer(self._packed, self._dtype)
        # Copies, because nothing can be appended while an array looks into the same memory.
        return {name: table[name].copy() for name in self._dtype.names or ()}
