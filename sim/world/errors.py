"""What the laboratory raises when its input is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class InputError(ValueError):
    """A file, a setting or an argument that the user gave is wrong.

    The message is one sentence that names what is wrong and where, fit to be shown as it is.
    """

    @classmethod
    def at(cls, path: Path | str, what: str, *, line: int | None = None) -> InputError:
        """Return an error that begins with its place: the file and, unless `None`, the line."""
        place = f"{path}, line {line}" if line is not None else str(path)
        return cls(f"{place}: {what}")
