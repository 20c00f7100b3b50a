"""Deliberate faults in `ftrepo`: small, exact changes of its text, each of which must be caught.

They lie in `faults/*.toml`, one table each under the mutant's name. A mutant whose text is no
longer there, or is there twice, is an error: then the code has moved on, and so must the mutant.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
"""The checkout that this file lies in."""

FAULTS = Path(__file__).with_name("faults")


class StaleMutantError(Exception):
    """The text that a mutant changes is not there exactly once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One fault.

    Attributes:
        name: in words, with hyphens.
        file: which file is changed, from the root of the checkout.
        wrong: what goes wrong, in one sentence.
        changes: texts that are replaced, each exactly as it stands there, once; and by what.
        tests: the files of tests that are there to catch it, from `tests/ftrepo`.
        hazard: the letter of the known hazard that comes back with it; empty for none.
        unseen: why no world can show it; empty if worlds can.
        postgres: whether its tests need a real PostgreSQL.
    """

    name: str
    file: str
    wrong: str
    changes: tuple[tuple[str, str], ...]
    tests: tuple[str, ...]
    hazard: str = ""
    unseen: str = ""
    postgres: bool = False

    @property
    def is_explored(self) -> bool:
        """Whether worlds can show it."""
        return not self.unseen

    def applied_to(self, text: str) -> str:
        """Return the text of `file` with the fault in it.

        Raises:
            StaleMutantError: an old text is not in it exactly once, or the fault changes nothing.
        """
        for old, new in self.changes:
            if (count := text.count(old)) != 1:
                raise StaleMutantError(
                    f"mutant {self.name}: {old!r} is {count} times in {self.file}, not once"
                )
            if old == new:
                raise StaleMutantError(f"mutant {self.name}: old and new text are the same")
            text = text.replace(old, new)
        return text

    def apply(self, root: Path) -> None:
        """Put the fault into a copy of the checkout.

        Raises:
            StaleMutantError: as `applied_to`.
        """
        path = root / self.file
        path.write_text(self.applied_to(path.read_text("utf-8")), "utf-8")


def mutants() -> tuple[Mutant, ...]:
    """Return every mutant, in the order of the files and of the tables in them."""
    return tuple(
        _mutant(name, table)
        for path in sorted(FAULTS.glob("*.toml"))
        for name, table in _tables(path)
    )


def _tables(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from tomllib.loads(path.read_text("utf-8")).items()


def _mutant(name: str, table: dict[str, Any]) -> Mutant:
    old, new = table.pop("old"), table.pop("new")
    changes = ((old, new),) if isinstance(old, str) else tuple(zip(old, new, strict=True))
    return Mutant(name=name, **{**table, "changes": changes, "tests": tuple(table["tests"])})
